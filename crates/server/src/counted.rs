//! Counts of what is there now.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// One more in a count, until it is dropped.
pub(crate) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    /// `None` when the count is at its limit.
    pub(crate) fn below(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let counted = Self(count);
        (count.fetch_add(1, Relaxed) < limit).then_some(counted)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
