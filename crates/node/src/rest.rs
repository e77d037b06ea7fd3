//! When a node rests: nothing was written for a while. Then it writes its memtables out, which gives
//! their memory back and leaves nothing to be replayed at the next start.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Without a write for so long, a node rests.
pub(crate) const REST_AFTER: Duration = Duration::from_secs(30);

/// What was seen of writes.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    writes: u64,
    since: Option<Duration>,
    told: bool,
}

impl Rest {
    /// Whether a rest has begun: once for each. `writes` counts all writes ever, `now` is monotonic.
    pub(crate) fn begins(&self, writes: u64, now: Duration) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.writes != writes || seen.since.is_none() {
            *seen = Seen {
                writes,
                since: Some(now),
                told: false,
            };
        }
        let rested = now.saturating_sub(seen.since.unwrap_or(now));
        rested >= REST_AFTER && !std::mem::replace(&mut seen.told, rested >= REST_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_begins_once_after_the_last_write() {
        let rest = Rest::default();
        let begins = |writes, second| rest.begins(writes, Duration::from_secs(second));
        assert!(
            !begins(0, 100),
            "what a start replayed counts from when it is seen"
        );
        assert!(!begins(0, 129));
        assert!(begins(0, 130));
        assert!(!begins(0, 131), "once");
        assert!(!begins(5, 132));
        assert!(!begins(6, 160), "a write begins it anew");
        assert!(!begins(6, 189));
        assert!(begins(6, 190));
        assert!(!begins(6, 1000));
    }
}
