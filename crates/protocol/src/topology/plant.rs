//! Defects planted on purpose, which show that the tests of the topology find what they are there for.
//!
//! Without the feature `plant` the question is a constant, and nothing of it is in the program.

/// A defect of the topology.
#[cfg_attr(not(feature = "plant"), allow(unreachable_pub))] // the tests' way in is closed then
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plant {
    /// Placement does not look at zones.
    ZonesIgnored,
    /// Placement leaves loads as they come.
    Unbalanced,
}

/// A topology's defect, if it has one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted(#[cfg(feature = "plant")] pub(crate) Option<Plant>);

impl Planted {
    #[cfg(feature = "plant")]
    pub(crate) fn has(self, defect: Plant) -> bool {
        self.0 == Some(defect)
    }

    #[cfg(not(feature = "plant"))]
    #[inline]
    #[allow(clippy::unused_self)] // as with the feature
    pub(crate) const fn has(self, _defect: Plant) -> bool {
        false
    }
}
