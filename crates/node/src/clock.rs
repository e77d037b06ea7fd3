//! Wall-clock time that does not go back: what has expired stays expired when the machine's clock
//! is set back.
//!
//! # Invariants
//! - `clock-1`: times never go back within a run, nor behind what an earlier run's writes recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringwood_env::{Clock, UnixMillis};

/// A clock that stands still where another goes back.
#[derive(Debug)]
pub(crate) struct SteadyClock {
    machine: Arc<dyn Clock>,
    latest: AtomicU64,
}

impl SteadyClock {
    pub(crate) fn new(machine: Arc<dyn Clock>) -> Self {
        Self {
            machine,
            latest: AtomicU64::new(0),
        }
    }

    /// Never shows a time before `floor` again.
    pub(crate) fn raise(&self, floor: UnixMillis) {
        self.latest.fetch_max(floor, Ordering::Relaxed);
    }
}

impl Clock for SteadyClock {
    fn wall(&self) -> UnixMillis {
        let now = self.machine.wall();
        let latest = self.latest.load(Ordering::Relaxed);
        if now <= latest {
            return latest;
        }
        // Written once a millisecond at most, so the line stays shared between readers.
        now.max(self.latest.fetch_max(now, Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }
}
