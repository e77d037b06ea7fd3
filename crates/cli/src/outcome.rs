//! How a command ends, as its exit code tells.

use std::process::ExitCode;

/// The exit codes; stable, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All of it was done.
    Done = 0,
    /// Something else went wrong.
    Error = 1,
    /// The command, or the configuration, is not what it should be.
    Usage = 2,
    /// The key or the namespace is not there.
    NotFound = 3,
    /// A condition did not hold: something exists, or is protected.
    Precondition = 4,
    /// The server cannot be reached, or cannot do it now; later it may.
    Unavailable = 5,
    /// Some was done, and what was not is listed.
    Partial = 6,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome as u8)
    }
}
