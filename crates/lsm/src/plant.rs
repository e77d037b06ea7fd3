//! Defects planted on purpose, which show that the tests of the store find what they are there for.
//!
//! Without the feature `plant` the question is a constant, and nothing of it is in the program.

/// A defect.
#[cfg_attr(not(feature = "plant"), allow(unreachable_pub))] // the tests' way in is closed then
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Plant {
    /// Readers are shown a group before its changes are in memtables.
    PublishBeforeApply = 1,
    /// The last eight bytes of a filter's last line are lost.
    FilterWithoutLastWord,
    /// A compaction that reaches the bottom forgets tombstones that an open snapshot needs.
    TombstoneForgotten,
    /// Recovery syncs what it replayed, but does not write it again.
    ReplayedNotRewritten,
    /// Readers are told that a key has expired before the disk knows how late it is.
    ExpiryNotNoted,
}

#[cfg(feature = "plant")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Plants a defect in every store of the process, or takes it out.
#[cfg(feature = "plant")]
pub fn plant(defect: Option<Plant>) {
    let code = defect.map_or(0, |defect| defect as u8);
    PLANTED.store(code, std::sync::atomic::Ordering::SeqCst);
}

/// Whether a defect is to show.
#[cfg(feature = "plant")]
pub(crate) fn is_planted(defect: Plant) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::SeqCst) == defect as u8
}

#[cfg(not(feature = "plant"))]
#[inline]
pub(crate) const fn is_planted(_defect: Plant) -> bool {
    false
}
