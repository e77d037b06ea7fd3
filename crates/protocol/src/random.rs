//! Chance from a seed that comes in: SplitMix64 (Steele et al., 2014).

use core::time::Duration;

/// Numbers that look random and follow from the seed alone.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 for none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = (end as u64).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    /// A time shorter than `limit`, to the microsecond; nothing for no limit.
    pub(crate) fn shorter_than(&mut self, limit: Duration) -> Duration {
        match u64::try_from(limit.as_micros()).unwrap_or(u64::MAX) {
            0 => Duration::ZERO,
            micros => Duration::from_micros(self.next() % micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_and_limits_hold() {
        let (mut one, mut other) = (Random::new(7), Random::new(7));
        for _ in 0..1000 {
            let wait = one.shorter_than(Duration::from_millis(1));
            assert!(wait < Duration::from_millis(1));
            assert_eq!(wait, other.shorter_than(Duration::from_millis(1)));
        }
        assert_ne!(one.next(), Random::new(8).next());
        assert_eq!(one.shorter_than(Duration::ZERO), Duration::ZERO);
    }
}
