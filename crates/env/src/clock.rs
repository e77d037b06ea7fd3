//! Time, as an argument: read once per request or batch, never in the middle of logic.

use std::fmt::Debug;
use std::time::Duration;

/// Milliseconds since the Unix epoch.
pub type UnixMillis = u64;

/// Where time comes from.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Wall-clock time. May jump in both directions.
    fn wall(&self) -> UnixMillis;

    /// Time since some fixed point of this process. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that reads the wall clock
    fn wall(&self) -> UnixMillis {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    #[allow(clippy::disallowed_methods)] // the one place that reads the monotonic clock
    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }
}
