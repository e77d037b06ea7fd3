//! The store's own idea of now, which never goes back: what was seen expired stays expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringwood_env::{Clock, UnixMillis};

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
