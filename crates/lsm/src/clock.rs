//! The store's own idea of now, which never goes back: what was seen expired stays expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringwood_env::{Clock, UnixMillis};

use crate::cursor::ReadTier;
use crate::error::Result;

/// A clock whose wall time is never less than what it showed, or was told, before.
#[derive(Debug)]
pub(crate) struct ForwardClock {
    inner: Arc<dyn Clock>,
    high: AtomicU64,
}

impl ForwardClock {
    pub(crate) fn new(inner: Arc<dyn Clock>, high: UnixMillis) -> Self {
        Self {
            inner,
            high: AtomicU64::new(high),
        }
    }

    /// Notes a time that was seen before a restart.
    pub(crate) fn raise(&self, seen: UnixMillis) {
        self.high.fetch_max(seen, Ordering::Relaxed);
    }
}

impl Clock for ForwardClock {
    fn wall(&self) -> UnixMillis {
        let now = self.inner.wall();
        let high = self.high.load(Ordering::Relaxed);
        // The common case writes nothing shared more than once a millisecond.
        if now > high {
            self.high.fetch_max(now, Ordering::Relaxed).max(now)
        } else {
            high
        }
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }
}

/// What readers compare deadlines with.
pub(crate) trait Deadlines: Send + Sync {
    /// What deadlines up to and including are past.
    fn now(&self) -> UnixMillis;

    /// Asked before anybody is told that `deadline`, which is not after [`now`](Self::now), has passed:
    /// he may have to be right for ever.
    ///
    /// # Errors
    /// [`Error::WouldBlock`](crate::Error::WouldBlock) where that takes the disk and `tier` is memory;
    /// [`Error::Io`](crate::Error::Io), [`Error::Failed`](crate::Error::Failed): he must not be told.
    fn tell_passed(&self, deadline: UnixMillis, tier: ReadTier) -> Result<()>;
}

/// A clock that nobody sets back needs no memory.
#[cfg(test)]
impl<C: Clock> Deadlines for C {
    fn now(&self) -> UnixMillis {
        self.wall()
    }

    fn tell_passed(&self, _: UnixMillis, _: ReadTier) -> Result<()> {
        Ok(())
    }
}
