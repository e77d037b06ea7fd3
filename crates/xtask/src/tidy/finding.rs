//! What a check finds.

use std::fmt;

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Where: a file, `file:line`, or a crate.
    pub(crate) place: String,
    /// What is wrong, and what would be right.
    pub(crate) what: String,
    /// Printed, but does not fail the run.
    pub(crate) warning: bool,
}

impl Finding {
    pub(crate) fn error(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
            warning: false,
        }
    }

    pub(crate) fn warning(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            warning: true,
            ..Self::error(place, what)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning" } else { "error" };
        write!(out, "{kind}: {}: {}", self.place, self.what)
    }
}
