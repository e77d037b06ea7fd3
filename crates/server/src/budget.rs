//! A number of bytes that many requests share: whoever holds some gives them back when it lets go.
//!
//! Nobody is given bytes for what a client claims, only for what is there or is being made.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::counted::Counted;

/// Bytes to be shared.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: Arc<Semaphore>,
    most: u32,
    waiting: AtomicUsize,
}

/// Some bytes of a budget, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

impl Budget {
    /// `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        let most = u32::try_from(most.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self {
            bytes: Arc::new(Semaphore::new(most as usize)),
            most,
            waiting: AtomicUsize::new(0),
        }
    }

    /// So many bytes, or all there are where that is fewer; `None`: not now.
    pub(crate) fn try_take(&self, len: usize) -> Option<Share> {
        let taken = Arc::clone(&self.bytes).try_acquire_many_owned(self.within(len));
        taken.ok().map(Share)
    }

    /// As [`Budget::try_take`], in turn; `None`: not in time.
    pub(crate) async fn take(&self, len: usize, until: Instant) -> Option<Share> {
        if let Some(share) = self.try_take(len) {
            return Some(share);
        }
        let _waiting = Counted::below(&self.waiting, usize::MAX);
        let taken = Arc::clone(&self.bytes).acquire_many_owned(self.within(len));
        timeout_at(until, taken).await.ok()?.ok().map(Share)
    }

    /// Makes a share longer, waiting for it in turn. Whether it did.
    pub(crate) async fn grow(&self, share: &mut Option<Share>, by: usize, until: Instant) -> bool {
        // Who has all that there is has enough.
        let held = share.as_ref().map_or(0, Share::len);
        let by = by.min((self.most as usize).saturating_sub(held));
        match (self.take(by, until).await, share) {
            (None, _) => false,
            (Some(more), Some(share)) => {
                share.0.merge(more.0);
                true
            }
            (more, share) => {
                *share = more;
                true
            }
        }
    }

    /// How many wait for bytes that others hold.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Bytes that are held.
    pub(crate) fn held(&self) -> usize {
        (self.most as usize).saturating_sub(self.bytes.available_permits())
    }

    fn within(&self, len: usize) -> u32 {
        u32::try_from(len).map_or(self.most, |len| len.min(self.most))
    }
}

impl Share {
    pub(crate) fn len(&self) -> usize {
        self.0.num_permits()
    }

    /// Gives back what is held beyond `len`.
    pub(crate) fn shrink_to(&mut self, len: usize) {
        drop(self.0.split(self.len().saturating_sub(len)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn shares_are_given_out_up_to_the_budget_and_come_back() {
        let budget = Budget::new(100);
        let mut first = budget.try_take(70).unwrap();
        assert!(budget.try_take(31).is_none());
        assert!(budget.take(31, soon()).await.is_none(), "nobody lets go");
        first.shrink_to(60);
        assert_eq!((first.len(), budget.held()), (60, 60));
        let second = budget.take(40, soon()).await.unwrap();
        drop(first);
        drop(second);
        assert_eq!(budget.held(), 0);
        let all = budget.try_take(1000).unwrap();
        assert_eq!(all.len(), 100, "what is longer than the budget goes alone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_grows_while_there_is_room_and_no_further_than_all() {
        let budget = Budget::new(100);
        let other = budget.try_take(30).unwrap();
        let mut share = None;
        assert!(budget.grow(&mut share, 50, soon()).await);
        assert!(budget.grow(&mut share, 20, soon()).await);
        assert!(!budget.grow(&mut share, 20, soon()).await, "others hold it");
        assert_eq!(share.as_ref().map(Share::len), Some(70));
        drop(other);
        assert!(budget.grow(&mut share, 500, soon()).await);
        assert!(budget.grow(&mut share, 500, soon()).await, "it has all");
        assert_eq!(share.as_ref().map(Share::len), Some(100));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_counted_and_served_in_turn() {
        let budget = Arc::new(Budget::new(10));
        let all = budget.try_take(10).unwrap();
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.take(10, soon()).await.is_some() }
        });
        while budget.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        drop(all);
        assert!(budget.try_take(1).is_none(), "it goes to who waited");
        assert!(waiting.await.unwrap());
        assert_eq!((budget.waiting(), budget.held()), (0, 0));
    }
}
