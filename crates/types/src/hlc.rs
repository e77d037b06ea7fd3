//! Hybrid logical time (Kulkarni et al., 2014): wall-clock time that never goes back and that puts
//! a cause before its effect.
//!
//! # Invariants
//! - `hlc-1`: times given out by one [`HybridClock`] strictly grow, whatever the wall clock does.
//! - `hlc-2`: a time given out after a remote time was observed is later than that one.
//!
//! # Format
//! ```text
//! milliseconds since the Unix epoch (48 bits) | logical (16 bits)      one u64, compared as a number
//! ```

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

const LOGICAL_BITS: u32 = 16;
const MILLIS_MAX: u64 = (1 << 48) - 1;

/// A hybrid time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc(u64);

impl Hlc {
    /// Before every time that is given out.
    pub const ZERO: Self = Self(0);

    /// The first time of a millisecond. Years behind 10889 count as its end.
    #[must_use]
    pub const fn at(millis: u64) -> Self {
        let millis = if millis > MILLIS_MAX {
            MILLIS_MAX
        } else {
            millis
        };
        Self(millis << LOGICAL_BITS)
    }

    /// From its number.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// As a number.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Its wall-clock part: milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// The next time: the logical part carries over into the milliseconds.
    const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A remote time lies so far ahead that believing it would drag everybody's time along. Nothing
/// was changed; the sender's clock needs setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkewTooLarge {
    /// How far ahead it was, in milliseconds.
    pub ahead_ms: u64,
    /// How far ahead it may be, in milliseconds.
    pub limit_ms: u64,
}

impl fmt::Display for SkewTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ahead_ms, limit_ms } = self;
        write!(
            f,
            "a time {ahead_ms} ms ahead of this clock; the limit is {limit_ms} ms"
        )
    }
}

impl core::error::Error for SkewTooLarge {}

/// Gives out hybrid times. Wall-clock time comes in as an argument.
#[derive(Debug)]
pub struct HybridClock {
    last: AtomicU64,
    skew_max_ms: u64,
}

impl HybridClock {
    /// A clock whose times are all behind `high_mark`: what an earlier run may have given out.
    #[must_use]
    pub const fn starting_after(high_mark: Hlc, skew_max_ms: u64) -> Self {
        Self {
            last: AtomicU64::new(high_mark.0),
            skew_max_ms,
        }
    }

    /// The next time.
    pub fn tick(&self, wall_ms: u64) -> Hlc {
        self.advance_from(Hlc::at(wall_ms))
    }

    /// The last time that was given out or observed.
    #[must_use]
    pub fn last(&self) -> Hlc {
        Hlc(self.last.load(Ordering::Acquire))
    }

    /// Takes note of a time that came from another node.
    ///
    /// # Errors
    /// [`SkewTooLarge`]; the clock is unchanged.
    pub fn observe(&self, remote: Hlc, wall_ms: u64) -> Result<(), SkewTooLarge> {
        let ahead_ms = remote.millis().saturating_sub(wall_ms);
        if ahead_ms > self.skew_max_ms {
            return Err(SkewTooLarge {
                ahead_ms,
                limit_ms: self.skew_max_ms,
            });
        }
        self.last.fetch_max(remote.0, Ordering::AcqRel);
        Ok(())
    }

    fn advance_from(&self, floor: Hlc) -> Hlc {
        let step = |last: u64| Some(Hlc(last).next().max(floor).0);
        let last = self
            .last
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, step)
            .expect("the step always gives a value");
        Hlc(last).next().max(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn wall_time_shows_and_a_clock_set_back_does_not() {
        let clock = HybridClock::starting_after(Hlc::ZERO, 1000);
        let first = clock.tick(5000);
        assert_eq!(first, Hlc::at(5000));
        let back = clock.tick(5000 - 3600);
        assert!(back > first && back.millis() == 5000);
        assert_eq!(clock.tick(5001), Hlc::at(5001));
    }

    #[test]
    fn a_full_logical_part_carries_into_the_milliseconds() {
        let clock = HybridClock::starting_after(Hlc::from_bits(Hlc::at(8).to_bits() - 1), 0);
        assert_eq!(clock.tick(1), Hlc::at(8));
    }

    #[test]
    fn a_remote_time_too_far_ahead_is_refused_and_forgotten() {
        let clock = HybridClock::starting_after(Hlc::ZERO, 500);
        let skew = clock.observe(Hlc::at(1501), 1000).unwrap_err();
        assert_eq!((skew.ahead_ms, skew.limit_ms), (501, 500));
        assert_eq!(clock.tick(1000), Hlc::at(1000));
        clock.observe(Hlc::at(1500), 1000).unwrap();
        assert!(clock.tick(1000) > Hlc::at(1500));
    }

    #[test]
    fn hlc_1_threads_never_get_the_same_time() {
        let clock = HybridClock::starting_after(Hlc::ZERO, 0);
        let mut all: Vec<Hlc> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).map(|_| clock.tick(7)).collect::<Vec<_>>()))
                .collect();
            let times = runs.into_iter().flat_map(|run| {
                let times = run.join().unwrap();
                assert!(times.is_sorted());
                times
            });
            times.collect()
        });
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4000);
    }

    proptest! {
        #[test]
        fn hlc_1_and_2_hold_for_any_wall_clock(mark: u64, walls: Vec<(u64, Option<u64>)>) {
            let mark = Hlc::from_bits(mark >> 1);
            let clock = HybridClock::starting_after(mark, 60_000);
            let mut last = mark;
            for (wall, remote) in walls {
                let remote = remote.map(|bits| Hlc::from_bits(bits >> 1));
                if let Some(remote) = remote.filter(|&remote| clock.observe(remote, wall >> 17).is_ok()) {
                    last = last.max(remote);
                }
                let time = clock.tick(wall >> 17);
                prop_assert!(time > last);
                last = time;
            }
        }
    }
}
