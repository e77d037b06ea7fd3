//! How many bytes a second flushes and compactions write together.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringwood_env::Clock;

/// A budget not used within this time is lost.
const BURST: Duration = Duration::from_millis(100);
/// How long a wait goes on after it was cancelled, at most.
const NAP_MAX: Duration = Duration::from_millis(50);

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Writers wait for it: it waits for other flushes only. Compactions pay for what it took.
    Flush,
    Compaction,
}

/// A token bucket, kept as the time at which all that was taken is paid for.
///
/// Whoever takes bytes is told at once how long to wait, and waits without the lock. So nobody can be
/// overtaken for ever, and the rate holds whatever the number of threads.
pub(crate) struct RateLimiter {
    clock: Arc<dyn Clock>,
    sleep: Box<dyn Fn(Duration) + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None`: no limit.
    bytes_per_second: Option<u64>,
    /// When all bytes taken are paid for.
    paid_at: Duration,
    /// When those of flushes are, as if there were no compactions.
    flushes_paid_at: Duration,
}

impl RateLimiter {
    /// `sleep` lets time pass on `clock`.
    pub(crate) fn new(
        bytes_per_second: Option<u64>,
        clock: Arc<dyn Clock>,
        sleep: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Self {
        Self {
            clock,
            sleep: Box::new(sleep),
            state: Mutex::new(State {
                bytes_per_second,
                paid_at: Duration::ZERO,
                flushes_paid_at: Duration::ZERO,
            }),
        }
    }

    /// Holds from now on; what was taken before stays as it is.
    pub(crate) fn set_rate(&self, bytes_per_second: Option<u64>) {
        self.state().bytes_per_second = bytes_per_second;
    }

    /// Takes `bytes` and waits as long as that needs, or until `cancelled`.
    pub(crate) fn take(&self, bytes: u64, urgency: Urgency, cancelled: &AtomicBool) {
        if bytes == 0 {
            return;
        }
        let mut wait = self.state().reserve(bytes, urgency, self.clock.as_ref());
        while !wait.is_zero() && !cancelled.load(Ordering::Relaxed) {
            let nap = wait.min(NAP_MAX);
            (self.sleep)(nap);
            wait -= nap;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Each field is whole at any time, so a panic elsewhere left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes `bytes`; the time until they may be written.
    fn reserve(&mut self, bytes: u64, urgency: Urgency, clock: &dyn Clock) -> Duration {
        let Some(rate) = self.bytes_per_second else {
            return Duration::ZERO;
        };
        let now = clock.monotonic();
        let floor = now.saturating_sub(BURST);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.paid_at = self.paid_at.max(floor).saturating_add(cost);
        let free_at = match urgency {
            Urgency::Compaction => self.paid_at,
            Urgency::Flush => {
                self.flushes_paid_at = self.flushes_paid_at.max(floor).saturating_add(cost);
                self.flushes_paid_at
            }
        };
        free_at.saturating_sub(now)
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ringwood_env::clock::ManualClock;

    use super::*;

    static NEVER: AtomicBool = AtomicBool::new(false);

    /// Time passes only by sleeping.
    fn limiter(rate: Option<u64>) -> (Arc<ManualClock>, RateLimiter) {
        let clock = Arc::<ManualClock>::default();
        clock.advance(Duration::from_secs(60));
        let sleeper = Arc::clone(&clock);
        let sleep = move |time| sleeper.advance(time);
        let limiter = RateLimiter::new(rate, Arc::clone(&clock) as Arc<dyn Clock>, sleep);
        (clock, limiter)
    }

    fn seconds_for(clock: &ManualClock, work: impl FnOnce()) -> f64 {
        let before = clock.monotonic();
        work();
        (clock.monotonic() - before).as_secs_f64()
    }

    #[test]
    fn the_rate_holds_but_for_one_burst() {
        let (clock, limiter) = limiter(Some(1_000_000));
        let seconds = seconds_for(&clock, || {
            for _ in 0..100 {
                limiter.take(100_000, Urgency::Compaction, &NEVER);
            }
        });
        assert!(
            (9.85..=10.0).contains(&seconds),
            "{seconds} s for 10 MB at 1 MB/s"
        );
        clock.advance(Duration::from_secs(60));
        let seconds = seconds_for(&clock, || {
            limiter.take(1_100_000, Urgency::Compaction, &NEVER)
        });
        assert!(
            (0.99..=1.01).contains(&seconds),
            "idle time is saved for {seconds} s"
        );
    }

    #[test]
    fn a_flush_does_not_wait_for_compactions_and_they_pay_for_it() {
        let (clock, limiter) = limiter(Some(1_000_000));
        let cancelled = AtomicBool::new(true); // takes a second's worth without waiting for it
        limiter.take(1_000_000, Urgency::Compaction, &cancelled);
        let flush = seconds_for(&clock, || limiter.take(300_000, Urgency::Flush, &NEVER));
        assert!((0.19..=0.21).contains(&flush), "{flush}");
        let compaction = seconds_for(&clock, || limiter.take(1, Urgency::Compaction, &NEVER));
        assert!((0.99..=1.01).contains(&compaction), "{compaction}");
        let flush = seconds_for(&clock, || limiter.take(1_000_000, Urgency::Flush, &NEVER));
        assert!(
            (0.89..=1.01).contains(&flush),
            "a flush keeps to the rate too: {flush}"
        );
    }

    #[test]
    fn no_limit_and_cancelled_waits_end_at_once() {
        let (clock, limiter) = limiter(None);
        limiter.take(u64::MAX, Urgency::Flush, &NEVER);
        limiter.set_rate(Some(1));
        limiter.take(u64::MAX, Urgency::Flush, &AtomicBool::new(true));
        assert_eq!(clock.monotonic(), Duration::from_secs(60));
    }
}
