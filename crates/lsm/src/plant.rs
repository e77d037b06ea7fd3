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
    /// A flush is named although older writes, of other keyspaces, may not be in the log yet.
    FlushBeforeLogSync,
    /// A table leaves L0 without the older tables that lie below those which it overlaps.
    OlderLeftInL0,
    /// A read asks for the moment before it loads the view.
    MomentBeforeView,
    /// A flush asks for the moments that readers see before it has decided what it writes out.
    MomentsBeforeInputs,
    /// The moments that readers see: snapshots first, and then what is published. Harmless where they
    /// are asked for after the inputs, as all inputs are older than either.
    PublishedAfterSnapshots,
    /// Memtables are asked which logs they need, and then which log is current.
    CurrentLogAfterMemtables,
}

/// A place between two steps whose order matters, where a test does what another thread might.
#[cfg_attr(not(feature = "plant"), allow(unreachable_pub))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// A read, between the view and the moment.
    Read,
    /// A flush, between its inputs and the moments that readers see.
    Flush,
    /// Between the published moment and the list of snapshots.
    Moments,
    /// Between the current log and what memtables need.
    NeededLog,
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

#[cfg(feature = "plant")]
type Act = Box<dyn FnOnce()>;

#[cfg(feature = "plant")]
std::thread_local! {
    static NEXT: std::cell::RefCell<Option<(Pause, Act)>> = const { std::cell::RefCell::new(None) };
}

/// Does `act` when this thread comes to `pause` the next time, once.
#[cfg(feature = "plant")]
pub fn at_next(pause: Pause, act: impl FnOnce() + 'static) {
    NEXT.set(Some((pause, Box::new(act))));
}

/// Does what a test has for this place.
#[cfg(feature = "plant")]
pub(crate) fn pause(at: Pause) {
    let act = NEXT.with_borrow_mut(|next| next.take_if(|(pause, _)| *pause == at));
    if let Some((_, act)) = act {
        act();
    }
}

#[cfg(not(feature = "plant"))]
#[inline]
pub(crate) const fn pause(_at: Pause) {}
