//! How a command ends, as its exit code tells.

use std::io;
use std::path::Path;
use std::process::ExitCode;

/// The exit codes; stable, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All of it was done.
    Done = 0,
    /// Something else went wrong.
    Error = 1,
    /// The command, its input or the configuration is not what it should be.
    Usage = 2,
    /// The key or the namespace is not there.
    NotFound = 3,
    /// A condition did not hold: something exists, or is protected.
    Precondition = 4,
    /// The server cannot be reached, or cannot do it now; later it may.
    Unavailable = 5,
    /// Some was done, and what was not is listed.
    Partial = 6,
    /// Whoever reads stdout closed it early, as `head` does: what a shell tells of a program that SIGPIPE
    /// ended.
    ClosedPipe = 141,
}

impl Outcome {
    /// What the exit code of a command of ours means.
    pub(crate) fn of_code(code: i32) -> Self {
        let all = [
            Self::Done,
            Self::Usage,
            Self::NotFound,
            Self::Precondition,
            Self::Unavailable,
            Self::Partial,
            Self::ClosedPipe,
        ];
        let found = all.into_iter().find(|outcome| *outcome as i32 == code);
        found.unwrap_or(Self::Error)
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome as u8)
    }
}

/// A mistake in how a command was given, which its arguments alone do not show.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct UsageError {
    what: String,
    help: Option<String>,
}

impl UsageError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: None,
        }
    }

    /// Says what to do about it.
    pub(crate) fn with_help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// What to do about it.
    pub(crate) fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// What it means that a file or directory that a command names cannot be read: if it is not there, the
/// command is wrong.
pub(crate) fn unreadable(path: &Path, error: io::Error) -> anyhow::Error {
    let what = format!("cannot read {}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            UsageError::new(format!("{what}: {error}")).into()
        }
        _ => anyhow::Error::from(error).context(what),
    }
}

/// Whoever reads our output has had enough.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
