//! The store's own idea of now, which never goes back, and does not follow a clock that leaps ahead.
//!
//! What was seen expired stays expired, so a clock that goes back is waited for. One that leaps ahead
//! would expire everything for good, in one reading. So the wall clock is followed only as far as
//! `leap_max` beyond what monotonic time says has passed since the last reading that was believed;
//! beyond that the store's time goes on at the pace of monotonic time, until the wall clock comes
//! back into reach or the store is opened again.
//!
//! # Invariants
//! - clock-1: no reading is less than one before it.
//! - clock-2: a reading is at most `leap_max` ahead of the first believed one and twice what has passed since.
//!
//! What the clock says when the store is opened is believed: a machine may have been off for years. One
//! that lies further than `leap_max` behind what the store knows is wrong at that moment (there are
//! machines that learn the time only after their start), so the first believed reading is the one that
//! is not behind any more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringwood_env::{Clock, UnixMillis};

use crate::cursor::ReadTier;
use crate::error::Result;
use crate::locks::lock;

/// A clock whose wall time is never less than what it showed, or was told, before.
#[derive(Debug)]
pub(crate) struct ForwardClock {
    inner: Arc<dyn Clock>,
    high: AtomicU64,
    leap_max_ms: u64,
    /// Readings up to this one need no look at monotonic time: it only grows.
    followed_until: AtomicU64,
    /// The last believed reading.
    believed: Mutex<Option<Reading>>,
    /// How far the wall clock is ahead while it is not followed; 0 while it is.
    held_back_ms: AtomicU64,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: UnixMillis,
    monotonic: Duration,
}

impl ForwardClock {
    pub(crate) fn new(inner: Arc<dyn Clock>, high: UnixMillis, leap_max: Duration) -> Self {
        Self {
            inner,
            high: AtomicU64::new(high),
            leap_max_ms: millis(leap_max),
            followed_until: AtomicU64::new(0),
            believed: Mutex::default(),
            held_back_ms: AtomicU64::new(0),
        }
    }

    /// Notes a time that was seen before a restart.
    pub(crate) fn raise(&self, seen: UnixMillis) {
        self.high.fetch_max(seen, Ordering::Relaxed);
    }

    /// The latest time that was shown or told of.
    pub(crate) fn high(&self) -> UnixMillis {
        self.high.load(Ordering::Relaxed)
    }

    /// Milliseconds that the wall clock is ahead of monotonic time while it is not followed.
    pub(crate) fn held_back_ms(&self) -> u64 {
        self.wall();
        self.held_back_ms.load(Ordering::Relaxed)
    }

    /// Milliseconds that the wall clock is behind what this one shows.
    pub(crate) fn behind_ms(&self) -> u64 {
        self.wall().saturating_sub(self.inner.wall())
    }

    /// What to make of a reading that lies beyond what can be followed without a look.
    #[cold]
    fn judge(&self, wall: UnixMillis) -> UnixMillis {
        let mut believed = lock(&self.believed);
        let monotonic = self.inner.monotonic();
        let high = self.high();
        let Some(last) = *believed else {
            if wall.saturating_add(self.leap_max_ms) < high {
                return high;
            }
            self.believe(&mut believed, wall.max(high), monotonic);
            return wall;
        };
        let passed = millis(monotonic.saturating_sub(last.monotonic));
        let expected = last.wall.saturating_add(passed);
        if wall > expected.saturating_add(self.leap_max_ms) {
            self.hold(wall, expected);
            return expected;
        }
        if self.held_back_ms.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!("the machine's clock is followed again");
        }
        // Many small steps are no way around the limit: they count for what has passed beside them.
        let credit = expected.saturating_add(passed);
        self.believe(&mut believed, wall.clamp(expected, credit), monotonic);
        wall
    }

    fn believe(&self, believed: &mut Option<Reading>, wall: UnixMillis, monotonic: Duration) {
        *believed = Some(Reading { wall, monotonic });
        let until = wall.saturating_add(self.leap_max_ms);
        self.followed_until.store(until, Ordering::Relaxed);
    }

    /// INVARIANT clock-2.
    fn hold(&self, wall: UnixMillis, expected: UnixMillis) {
        // Every reading is looked at, so that the clock's return is seen.
        self.followed_until.store(0, Ordering::Relaxed);
        let ahead_ms = wall - expected;
        if self.held_back_ms.swap(ahead_ms, Ordering::Relaxed) == 0 {
            tracing::error!(
                ahead_ms,
                limit_ms = self.leap_max_ms,
                "the machine's clock leapt ahead by more than has passed, and is not followed: nothing \
                 expires by it. Set the clock right; if it is right now, restart, and it is believed"
            );
        }
    }
}

impl Clock for ForwardClock {
    fn wall(&self) -> UnixMillis {
        let wall = self.inner.wall();
        let now = if wall <= self.followed_until.load(Ordering::Relaxed) {
            wall
        } else {
            self.judge(wall)
        };
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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

/// For those to whom nothing has expired.
pub(crate) struct NothingPasses;

impl Deadlines for NothingPasses {
    fn now(&self) -> UnixMillis {
        UnixMillis::MIN
    }

    fn tell_passed(&self, _: UnixMillis, _: ReadTier) -> Result<()> {
        Ok(())
    }
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

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ringwood_env::ManualClock;

    const NOW: u64 = 1_700_000_000_000;
    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: u64 = 3_600_000;
    const TEN_YEARS_MS: u64 = 10 * 365 * 24 * HOUR_MS;

    fn clocks(high: UnixMillis) -> (Arc<ManualClock>, ForwardClock) {
        let inner = Arc::new(ManualClock::new(NOW));
        let clock = ForwardClock::new(Arc::clone(&inner) as Arc<dyn Clock>, high, HOUR);
        (inner, clock)
    }

    #[test]
    fn clock_2_a_leap_is_not_followed_until_it_is_taken_back() {
        let (inner, clock) = clocks(0);
        assert_eq!(clock.wall(), NOW);
        inner.set_wall(NOW + TEN_YEARS_MS);
        assert_eq!(clock.wall(), NOW);
        assert_eq!(clock.held_back_ms(), TEN_YEARS_MS);
        inner.advance(Duration::from_secs(90));
        assert_eq!(clock.wall(), NOW + 90_000, "monotonic time goes on");
        inner.set_wall(NOW + 91_000);
        assert_eq!((clock.wall(), clock.held_back_ms()), (NOW + 91_000, 0));
        inner.set_wall(NOW + TEN_YEARS_MS);
        assert_eq!(clock.wall(), NOW + 91_000, "nor the next one");
    }

    #[test]
    fn a_step_within_the_limit_is_followed_at_any_time() {
        let (inner, clock) = clocks(0);
        clock.wall();
        inner.advance(1000 * HOUR); // nobody asked meanwhile
        let hours = 1000 * HOUR_MS;
        assert_eq!(clock.wall(), NOW + hours);
        inner.set_wall(NOW + hours + HOUR_MS);
        assert_eq!(clock.wall(), NOW + hours + HOUR_MS);
        inner.set_wall(NOW + hours + HOUR_MS + 1);
        assert_eq!(clock.wall(), NOW + hours + HOUR_MS, "steps add up");
        assert_eq!(clock.held_back_ms(), HOUR_MS + 1);
    }

    #[test]
    fn a_clock_set_back_and_right_again_is_no_leap() {
        for held_before in [false, true] {
            let (inner, clock) = clocks(0);
            clock.wall();
            if held_before {
                inner.set_wall(NOW + TEN_YEARS_MS);
                clock.wall();
            }
            inner.set_wall(NOW - TEN_YEARS_MS);
            assert_eq!(clock.wall(), NOW, "clock-1");
            inner.advance(5 * HOUR);
            assert_eq!(clock.wall(), NOW);
            assert_eq!(clock.behind_ms(), TEN_YEARS_MS - 5 * HOUR_MS);
            inner.set_wall(NOW + 5 * HOUR_MS);
            assert_eq!(clock.wall(), NOW + 5 * HOUR_MS);
            assert_eq!(clock.held_back_ms(), 0);
        }
    }

    #[test]
    fn a_machine_that_learns_the_time_after_its_start_is_believed_once() {
        let high = NOW + 2 * HOUR_MS;
        let (inner, clock) = clocks(high);
        assert_eq!((clock.wall(), clock.behind_ms()), (high, 2 * HOUR_MS));
        inner.set_wall(NOW + TEN_YEARS_MS);
        assert_eq!(clock.wall(), NOW + TEN_YEARS_MS);
        inner.set_wall(NOW + 2 * TEN_YEARS_MS);
        assert_eq!(clock.wall(), NOW + TEN_YEARS_MS);
    }

    #[test]
    fn a_clock_a_little_behind_at_the_start_may_not_leap() {
        let (inner, clock) = clocks(NOW + 1000);
        assert_eq!(clock.wall(), NOW + 1000);
        inner.set_wall(NOW + TEN_YEARS_MS);
        assert_eq!(clock.wall(), NOW + 1000);
    }

    proptest! {
        #[test]
        fn clock_1_and_2_hold_whatever_the_wall_clock_does(
            steps: Vec<(u16, Option<u64>)>, high in 0..2 * NOW,
        ) {
            let (inner, clock) = clocks(high);
            let mut last = clock.wall();
            // The first believed reading, and twice what has passed since.
            let mut bound: Option<u64> = None;
            for (passed, wall) in steps {
                inner.advance(Duration::from_millis(passed.into()));
                if let Some(wall) = wall {
                    inner.set_wall(wall % (4 * NOW));
                }
                let now = clock.wall();
                prop_assert!(now >= last);
                if lock(&clock.believed).is_some() {
                    let ahead = bound.map_or(now, |bound| bound + 2 * u64::from(passed));
                    prop_assert!(now <= ahead + HOUR_MS);
                    bound = Some(ahead);
                }
                last = now;
            }
        }
    }
}
