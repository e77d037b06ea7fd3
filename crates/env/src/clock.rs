//! Time, as an argument: read once per request or batch, never in the middle of logic.

use std::fmt::Debug;
use std::time::Duration;

/// Milliseconds since the Unix epoch.
pub type UnixMillis = u64;

/// Where time comes from.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Wall-clock time. May jump in both directions.
    fn wall(&self) -> UnixMillis;

    /// Time since some fixed point of this process. Never goes back, and goes on while the machine
    /// sleeps, where the system has a clock that does.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that reads the wall clock
    fn wall(&self) -> UnixMillis {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    #[cfg(target_os = "linux")]
    fn monotonic(&self) -> Duration {
        use rustix::time::{ClockId, clock_gettime};
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::disallowed_methods)] // the one place that reads the monotonic clock
    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }
}

/// A clock that moves only when told to, for tests and simulation.
#[cfg(feature = "faulty")]
#[derive(Debug, Default)]
pub struct ManualClock {
    wall: std::sync::atomic::AtomicU64,
    monotonic_nanos: std::sync::atomic::AtomicU64,
}

#[cfg(feature = "faulty")]
impl ManualClock {
    /// A clock that shows `wall`, and zero as its monotonic time.
    #[must_use]
    pub fn new(wall: UnixMillis) -> Self {
        let clock = Self::default();
        clock.set_wall(wall);
        clock
    }

    /// Sets the wall clock, forwards or back, as an administrator or a time server may. Monotonic
    /// time does not notice.
    pub fn set_wall(&self, wall: UnixMillis) {
        self.wall.store(wall, std::sync::atomic::Ordering::SeqCst);
    }

    /// Lets time pass: both clocks go forward. Less than a millisecond moves monotonic time only.
    pub fn advance(&self, by: Duration) {
        self.advance_monotonic(by);
        let millis = u64::try_from(by.as_millis()).expect("tests stay below 500 million years");
        self.wall
            .fetch_add(millis, std::sync::atomic::Ordering::SeqCst);
    }

    /// Moves monotonic time only: the wall clock was stopped or set back meanwhile.
    pub fn advance_monotonic(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).expect("tests stay below 500 years");
        self.monotonic_nanos
            .fetch_add(nanos, std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(feature = "faulty")]
impl Clock for ManualClock {
    fn wall(&self) -> UnixMillis {
        self.wall.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(
            self.monotonic_nanos
                .load(std::sync::atomic::Ordering::SeqCst),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_is_past_2020_and_monotonic_time_does_not_go_back() {
        let clock = SystemClock;
        assert!(clock.wall() > 1_577_836_800_000);
        let before = clock.monotonic();
        assert!(clock.monotonic() >= before);
    }

    #[cfg(feature = "faulty")]
    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(1_000);
        assert_eq!((clock.wall(), clock.monotonic()), (1_000, Duration::ZERO));

        clock.advance(Duration::from_millis(250));
        assert_eq!(clock.wall(), 1_250);
        assert_eq!(clock.monotonic(), Duration::from_millis(250));

        clock.set_wall(10);
        clock.advance_monotonic(Duration::from_nanos(1));
        assert_eq!(clock.wall(), 10, "set back, and left there");
        assert_eq!(clock.monotonic(), Duration::from_nanos(250_000_001));
    }
}
