//! How writers are slowed while background work is behind: evenly, by debt, rather than stop and go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use ringwood_env::Clock;

use crate::compaction::WritePressure;
use crate::error::{Error, Result};
use crate::locks::lock;

const NO_LIMIT: u64 = 0;
const STOP: u64 = u64::MAX;
/// Shorter waits are saved up: a sleep is never shorter than this, as the kernel's are not.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// How often a stopped writer looks whether the store has failed meanwhile.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// The rate at which writes are let in.
#[derive(Debug)]
pub(crate) struct Pressure {
    /// Bytes a second, [`NO_LIMIT`] or [`STOP`].
    limit: AtomicU64,
    /// Since when writers are stopped, on the monotonic clock.
    stopped_since: Mutex<Option<Duration>>,
    /// When, on the monotonic clock, what was let in is paid for.
    paid_until: Mutex<Duration>,
    eased: Condvar,
    /// Whether writers may sleep: not where the caller runs the background work itself.
    may_wait: bool,
    waits: AtomicU64,
}

impl Pressure {
    pub(crate) fn new(may_wait: bool) -> Self {
        Self {
            limit: AtomicU64::new(NO_LIMIT),
            stopped_since: Mutex::default(),
            paid_until: Mutex::default(),
            eased: Condvar::new(),
            may_wait,
            waits: AtomicU64::new(0),
        }
    }

    /// Takes the hardest of what the keyspaces ask for.
    pub(crate) fn update(&self, wanted: impl Iterator<Item = WritePressure>, now: Duration) {
        let limits = wanted.map(|pressure| match pressure {
            WritePressure::None => NO_LIMIT,
            WritePressure::Delay { bytes_per_second } => bytes_per_second.clamp(1, STOP - 1),
            WritePressure::Stop => STOP,
        });
        // The lowest rate is the hardest, but for the two that are no rates.
        let hardest = limits.reduce(|a, b| match (a, b) {
            (STOP, _) | (_, STOP) => STOP,
            (NO_LIMIT, limit) | (limit, NO_LIMIT) => limit,
            (a, b) => a.min(b),
        });
        let limit = hardest.unwrap_or(NO_LIMIT);
        {
            let mut stopped_since = lock(&self.stopped_since);
            *stopped_since = (limit == STOP).then(|| stopped_since.unwrap_or(now));
        }
        if self.limit.swap(limit, Ordering::Relaxed) == STOP && limit != STOP {
            let _guard = lock(&self.paid_until);
            self.eased.notify_all();
        }
    }

    pub(crate) fn must_stop(&self) -> bool {
        self.limit.load(Ordering::Relaxed) == STOP
    }

    /// How long writers have been stopped, if they are.
    pub(crate) fn stopped_for(&self, clock: &dyn Clock) -> Option<Duration> {
        let since = (*lock(&self.stopped_since))?;
        Some(clock.monotonic().saturating_sub(since))
    }

    /// Times a writer had to wait.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// How long a writer that does not want to block should wait before its next write.
    pub(crate) fn delay(&self, clock: &dyn Clock) -> Option<Duration> {
        match self.limit.load(Ordering::Relaxed) {
            NO_LIMIT => None,
            STOP => Some(STOP_CHECK),
            _ => {
                let paid_until = *lock(&self.paid_until);
                paid_until
                    .checked_sub(clock.monotonic())
                    .filter(|delay| *delay >= SLEEP_MIN)
            }
        }
    }

    /// Keeps the caller until `len` more bytes may be written.
    pub(crate) fn hold_back(
        &self,
        len: usize,
        clock: &dyn Clock,
        refusal: impl Fn() -> Option<Error>,
    ) -> Result<()> {
        match self.limit.load(Ordering::Relaxed) {
            NO_LIMIT => Ok(()),
            STOP => self.wait_while_stopped(refusal),
            rate => self.pay(len, rate, clock, refusal),
        }
    }

    /// Notes that `len` bytes were let in without waiting: [`Pressure::delay`] then asks for the time.
    pub(crate) fn note(&self, len: usize, clock: &dyn Clock) {
        match self.limit.load(Ordering::Relaxed) {
            NO_LIMIT | STOP => {}
            rate => {
                self.charge(len, rate, clock);
            }
        }
    }

    /// Notes that `len` bytes were let in; the time until they are paid for.
    fn charge(&self, len: usize, rate: u64, clock: &dyn Clock) -> Duration {
        let cost = Duration::from_nanos((len as u64).saturating_mul(1_000_000_000) / rate);
        let now = clock.monotonic();
        let mut paid_until = lock(&self.paid_until);
        *paid_until = (*paid_until).max(now) + cost;
        *paid_until - now
    }

    fn pay(
        &self,
        len: usize,
        rate: u64,
        clock: &dyn Clock,
        refusal: impl Fn() -> Option<Error>,
    ) -> Result<()> {
        let mut owed = self.charge(len, rate, clock);
        if !self.may_wait || owed < SLEEP_MIN {
            return Ok(());
        }
        self.waits.fetch_add(1, Ordering::Relaxed);
        // In pieces: the limit may be lifted meanwhile, and the store closed.
        while !owed.is_zero() && self.limit.load(Ordering::Relaxed) != NO_LIMIT {
            let nap = owed.min(STOP_CHECK);
            std::thread::sleep(nap);
            owed -= nap;
            if let Some(error) = refusal() {
                return Err(error);
            }
        }
        Ok(())
    }

    fn wait_while_stopped(&self, refusal: impl Fn() -> Option<Error>) -> Result<()> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        if !self.may_wait {
            return Err(Error::Stalled);
        }
        while self.must_stop() {
            if let Some(error) = refusal() {
                return Err(error);
            }
            let guard = lock(&self.paid_until);
            if self.must_stop() {
                let waited = self.eased.wait_timeout(guard, STOP_CHECK);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ringwood_env::SystemClock;
    use ringwood_env::clock::ManualClock;

    use super::*;

    #[test]
    fn the_hardest_wish_counts() {
        let pressure = Pressure::new(true);
        let delay = |bytes_per_second| WritePressure::Delay { bytes_per_second };
        for (wishes, expected) in [
            (vec![], NO_LIMIT),
            (vec![WritePressure::None], NO_LIMIT),
            (vec![delay(9), WritePressure::None, delay(5)], 5),
            (vec![delay(9), WritePressure::Stop, delay(5)], STOP),
        ] {
            pressure.update(wishes.into_iter(), Duration::ZERO);
            assert_eq!(pressure.limit.load(Ordering::Relaxed), expected);
        }
    }

    #[test]
    fn bytes_cost_time_at_the_rate() {
        let clock = ManualClock::default();
        let pressure = Pressure::new(false);
        pressure.update(
            [WritePressure::Delay {
                bytes_per_second: 1000,
            }]
            .into_iter(),
            Duration::ZERO,
        );
        assert_eq!(pressure.delay(&clock), None);
        pressure.hold_back(500, &clock, || None).unwrap();
        pressure.hold_back(500, &clock, || None).unwrap();
        assert_eq!(pressure.delay(&clock), Some(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(2));
        assert_eq!(pressure.delay(&clock), None);
    }

    #[test]
    fn a_stopped_writer_goes_on_when_eased_and_hears_of_failure() {
        let pressure = Arc::new(Pressure::new(true));
        pressure.update([WritePressure::Stop].into_iter(), Duration::ZERO);
        let waiter = {
            let pressure = Arc::clone(&pressure);
            std::thread::spawn(move || pressure.hold_back(1, &SystemClock, || None))
        };
        while pressure.waits() == 0 {
            std::thread::yield_now();
        }
        pressure.update([WritePressure::None].into_iter(), Duration::ZERO);
        waiter.join().unwrap().unwrap();

        pressure.update([WritePressure::Stop].into_iter(), Duration::ZERO);
        let failed = pressure.hold_back(1, &SystemClock, || Some(Error::Closed));
        assert!(matches!(failed, Err(Error::Closed)));
        let impatient = Pressure::new(false);
        impatient.update([WritePressure::Stop].into_iter(), Duration::ZERO);
        assert!(matches!(
            impatient.hold_back(1, &SystemClock, || None),
            Err(Error::Stalled)
        ));
    }
}
