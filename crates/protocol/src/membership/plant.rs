//! Defects planted on purpose, which show that the tests of membership find what they are there for.
//!
//! Without the feature `plant` the question is a constant, and nothing of it is in the program.

/// A defect of failure detection.
#[cfg_attr(not(feature = "plant"), allow(unreachable_pub))] // the tests' way in is closed then
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plant {
    /// A node that hears that it is silent does not mind.
    NoRefutation,
    /// A node never doubts itself: not when it was stopped, and not when nobody answers it.
    NoLocalHealth,
    /// Failures are proposed however many there are.
    NoBrake,
    /// Messages take all that is new.
    NoBound,
    /// What was said of an earlier process counts for the next one.
    GenerationIgnored,
    /// What others report is taken to have lasted as long as they say.
    ReportedAgeBelieved,
}

/// A detector's defect, if it has one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Planted(#[cfg(feature = "plant")] pub(super) Option<Plant>);

impl Planted {
    #[cfg(feature = "plant")]
    pub(super) fn has(self, defect: Plant) -> bool {
        self.0 == Some(defect)
    }

    #[cfg(not(feature = "plant"))]
    #[inline]
    #[allow(clippy::unused_self)] // as with the feature
    pub(super) const fn has(self, _defect: Plant) -> bool {
        false
    }
}
