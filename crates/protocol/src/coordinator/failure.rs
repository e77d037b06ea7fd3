//! Why a replica did not do what it was asked.

use core::fmt;

use ringwood_types::{Epoch, Hlc};

/// Why, and thereby whether anything can have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Nothing could be sent to it, or it is known to be down.
    Unreachable,
    /// It was asked, and no answer will come. It may have done it, or still do it.
    Silent,
    /// It has applied this later epoch.
    Fenced(Epoch),
    /// Its disk is full.
    DiskFull,
    /// It has more to do than it takes.
    Overloaded,
    /// It would have to mint above the limit: its hybrid time.
    AboveLimit(Hlc),
    /// It will not, for a reason of its own: no owner, being rebuilt, a time too far ahead.
    Refused,
    /// Its disk failed meanwhile. It may have done it.
    DiskFailed,
}

impl Failure {
    /// Whether nothing was done and nothing will be.
    #[must_use]
    pub const fn did_nothing(self) -> bool {
        !matches!(self, Self::Silent | Self::DiskFailed)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("unreachable"),
            Self::Silent => f.write_str("did not answer"),
            Self::Fenced(epoch) => write!(f, "has moved on to epoch {}", epoch.get()),
            Self::DiskFull => f.write_str("its disk is full"),
            Self::Overloaded => f.write_str("overloaded"),
            Self::AboveLimit(_) => f.write_str("its clock is too far ahead"),
            Self::Refused => f.write_str("refused"),
            Self::DiskFailed => f.write_str("its disk failed"),
        }
    }
}
