//! The HTTP client of the trials: it shares nothing with the binary.

use std::time::Duration;

use ureq::Agent;

/// A client that asks nobody in between, and does not wait for ever. Whoever asks looks at the status.
pub(crate) fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}
