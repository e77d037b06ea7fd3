//! Defects planted on purpose, which show that the tests of causality find what they are there for: the
//! refuted shortcuts of CAUSALITY, by the row of its table.
//!
//! Without the feature `plant` the question is a constant, and nothing of it is in the program.

/// A defect of the rules.
#[cfg_attr(not(feature = "plant"), allow(unreachable_pub))] // the tests' way in is closed then
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plant {
    /// Row 1: a tombstone is purged when its own dot is stable.
    PurgedByDotAlone,
    /// Row 2: a tombstone is purged whatever others have seen.
    PurgedAtOnce,
    /// Row 4: what a version replaces counts as seen.
    ContextsSeen,
    /// Row 5: the new version travels alone.
    VersionAlone,
    /// Row 7: the fast path is taken whatever was purged.
    NoFence,
    /// Row 7: a full compare removes nothing.
    AbsenceIgnored,
    /// Row 18: a tombstone where the last write wins does not wait for earlier times.
    NoHorizon,
    /// Rule 4: what was seen and is not held is stored again.
    SeenStoredAgain,
    /// Row 29: what was seen counts as held.
    SkipIsHeld,
    /// Row 3: the clock of a source is merged, and not its data.
    DataNotStored,
}

/// A replica's defect, if it has one.
#[derive(Clone, Copy, Debug, Default, Hash)]
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
