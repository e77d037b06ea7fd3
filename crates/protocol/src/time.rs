//! The time that protocols count in: a node's own, which only goes up.

use core::time::Duration;

/// A moment on a node's monotonic clock. Of no meaning to any other node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The clock's own beginning.
    pub const ZERO: Self = Self(0);

    /// This many microseconds after the clock's beginning.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the clock's beginning.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// This much later. Ends at the end of time, 584,000 years on.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        let wait = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(wait))
    }

    /// How long ago `earlier` was; nothing for what is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_up_and_stops_at_its_end() {
        let second = Duration::from_secs(1);
        let time = Time::from_micros(5).after(second);
        assert_eq!(time.micros(), 1_000_005);
        assert_eq!(time.since(Time::from_micros(5)), second);
        assert_eq!(Time::ZERO.since(time), Duration::ZERO);
        assert_eq!(
            Time::from_micros(u64::MAX - 1).after(second).micros(),
            u64::MAX
        );
    }
}
