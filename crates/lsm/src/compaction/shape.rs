//! How large each level should be, and what it costs that it is not.
//!
//! Level sizes are *dynamic* (RocksDB's `level_compaction_dynamic_level_bytes`): the lowest level is
//! as large as it is, each level above it is smaller by the ratio, and L0 is compacted straight into
//! the *base level*, the highest that is worth having. So a small store has L0 and L6, and about a
//! ninth of the space is taken by data that is overwritten further up, whatever the store's size.

use crate::compaction::plan::InProgress;
use crate::manifest::{BOTTOM, LEVELS, Version};
use crate::options::KeyspaceOptions;

/// Debt at which writes begin to be held back, in base levels, and at which they are held back most.
const DEBT_SLOW: u64 = 64;
const DEBT_SLOWEST: u64 = 256;
/// Bytes a second that writes are held to when they are held back least, and most.
const FASTEST: f64 = (512 << 20) as f64;
const SLOWEST: f64 = (1 << 20) as f64;

/// The sizes levels should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The level that L0 is compacted into. Those between are empty.
    pub(super) base: usize,
    targets: [u64; LEVELS],
    lens: [u64; LEVELS],
}

impl Shape {
    pub(super) fn of(version: &Version, options: &KeyspaceOptions) -> Self {
        let lens: [u64; LEVELS] = std::array::from_fn(|level| version.level_len(level));
        let ratio = u64::from(options.level_ratio);
        let base_max = base_len(options);
        let highest_used = (1..=BOTTOM).find(|&level| lens[level] > 0);
        let mut base = BOTTOM;
        let mut len = lens[1..].iter().copied().max().unwrap_or_default();
        // Levels that are in use cannot be passed by, as small as they may have become.
        while base > highest_used.unwrap_or(BOTTOM) {
            base -= 1;
            len /= ratio;
        }
        while base > 1 && len > base_max {
            base -= 1;
            len /= ratio;
        }
        let mut targets = [0; LEVELS];
        let mut target = len.clamp(base_max / ratio, base_max);
        for level_target in &mut targets[base..] {
            *level_target = target.max(base_max);
            target = target.saturating_mul(ratio);
        }
        Self {
            base,
            targets,
            lens,
        }
    }

    /// How full a level is, that is not already being emptied: above 1 it wants a compaction.
    pub(super) fn score(
        &self,
        level: usize,
        version: &Version,
        options: &KeyspaceOptions,
        running: &InProgress,
    ) -> f64 {
        let len = self.lens[level].saturating_sub(running.leaving(level)) as f64;
        if level > 0 {
            return len / self.targets[level] as f64;
        }
        let sublevels = version.sublevels().iter();
        let waiting = sublevels.filter(|run| {
            let mut tables = run.tables().iter();
            tables.any(|table| !running.is_busy(table))
        });
        let depth = waiting.count() as f64 / options.l0_trigger as f64;
        depth.max(len / base_len(options) as f64)
    }

    /// Bytes that must be rewritten until no level is larger than it should be.
    fn debt(&self, version: &Version, options: &KeyspaceOptions) -> u64 {
        let l0_is_due =
            version.sublevels().len() >= options.l0_trigger || self.lens[0] > base_len(options);
        let (mut debt, mut arriving) = (0, 0);
        if l0_is_due {
            arriving = self.lens[0];
            debt = arriving + self.lens[self.base];
        }
        for level in self.base..BOTTOM {
            let len = self.lens[level] + arriving;
            let excess = len.saturating_sub(self.targets[level]);
            // Each byte that goes down is written with as many as it overlaps.
            let at_most = excess.saturating_mul(options.level_ratio.into());
            let overlap = u128::from(excess) * u128::from(self.lens[level + 1]);
            let overlap = u64::try_from(overlap / u128::from(len.max(1)));
            debt += excess + overlap.map_or(at_most, |overlap| overlap.min(at_most));
            arriving = excess;
        }
        debt
    }
}

/// Bytes that the base level may hold before it gets a level above it: as many as come in one go
/// from L0, so that rewriting them costs no more than writing what comes.
fn base_len(options: &KeyspaceOptions) -> u64 {
    options.table_len.saturating_mul(options.l0_trigger as u64)
}

/// Bytes that must be rewritten until no level is larger than it should be.
pub(crate) fn debt(version: &Version, options: &KeyspaceOptions) -> u64 {
    Shape::of(version, options).debt(version, options)
}

/// How far writes must be held back so that compaction keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WritePressure {
    /// Not at all.
    None,
    /// To this rate, for all writers of the keyspace together.
    Delay { bytes_per_second: u64 },
    /// Until compaction has caught up.
    Stop,
}

/// How far writes must be held back so that compaction keeps up.
///
/// The rate falls by the same factor with each sublevel, and with each part of the debt, from far
/// more than a disk takes to almost nothing. Somewhere between lies what the disk keeps up with, and
/// there the writes settle, instead of stopping and going.
pub(crate) fn pressure(version: &Version, options: &KeyspaceOptions) -> WritePressure {
    let sublevels = version.sublevels().len();
    if sublevels >= options.l0_stop {
        return WritePressure::Stop;
    }
    let slow_from = options.l0_trigger + (options.l0_stop - options.l0_trigger) / 3;
    let by_sublevels = part_of_way(sublevels as u64, slow_from as u64, options.l0_stop as u64);
    let unit = base_len(options);
    let by_debt = part_of_way(
        debt(version, options),
        unit.saturating_mul(DEBT_SLOW),
        unit.saturating_mul(DEBT_SLOWEST),
    );
    let pressed = by_sublevels.max(by_debt);
    if pressed <= 0.0 {
        return WritePressure::None;
    }
    let rate = FASTEST * (SLOWEST / FASTEST).powf(pressed);
    #[allow(clippy::cast_possible_truncation)] // it lies between SLOWEST and FASTEST
    let bytes_per_second = rate as u64;
    WritePressure::Delay { bytes_per_second }
}

/// How far `at` is on the way from `from` to `to`, 0 to 1.
fn part_of_way(at: u64, from: u64, to: u64) -> f64 {
    let way = (to - from).max(1) as f64;
    (at.saturating_sub(from) as f64 / way).min(1.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::manifest::testing::table;

    fn options() -> KeyspaceOptions {
        KeyspaceOptions {
            table_len: 1000,
            l0_trigger: 4,
            l0_stop: 24,
            level_ratio: 10,
            ..KeyspaceOptions::default()
        }
    }

    /// `tables` of 1000 bytes each at a level.
    fn filled(levels: &[(usize, u32)]) -> Version {
        let mut number = 0;
        let mut tables = Vec::new();
        for &(level, count) in levels {
            for key in 0..count {
                number += 1;
                // Those of L0 overlap all.
                let (from, to) = if level == 0 {
                    (0, u32::MAX)
                } else {
                    (key, key)
                };
                tables.push((level, table(number, [from, to], [number, number])));
            }
        }
        Version::load(tables.iter().map(|(level, t)| (*level, Arc::clone(t)))).unwrap()
    }

    #[test]
    fn the_base_level_rises_as_the_lowest_level_grows() {
        let base = |levels: &[_]| Shape::of(&filled(levels), &options()).base;
        assert_eq!(base(&[]), 6);
        assert_eq!(base(&[(6, 4)]), 6);
        assert_eq!(base(&[(6, 5)]), 5);
        assert_eq!(base(&[(6, 40)]), 5);
        assert_eq!(base(&[(6, 41)]), 4);
        assert_eq!(base(&[(6, 401)]), 3);
        assert_eq!(
            base(&[(4, 1), (6, 4)]),
            4,
            "a level in use is not passed by"
        );
    }

    #[test]
    fn targets_grow_by_the_ratio_down_to_the_lowest_level() {
        let shape = Shape::of(&filled(&[(4, 4), (5, 35), (6, 350)]), &options());
        assert_eq!(shape.base, 4);
        assert_eq!(shape.targets, [0, 0, 0, 0, 4_000, 35_000, 350_000]);
    }

    #[test]
    fn debt_is_nothing_in_shape_and_grows_with_what_is_out_of_it() {
        let debt = |levels: &[_]| debt(&filled(levels), &options());
        assert_eq!(debt(&[(0, 3), (5, 4), (6, 40)]), 0);
        assert_eq!(debt(&[(0, 4), (6, 4)]), 4_000 + 4_000);
        // Four too many, each to be written with the four it overlaps below.
        assert_eq!(debt(&[(5, 8), (6, 32)]), 4_000 * (1 + 4));
        assert!(debt(&[(0, 9), (5, 8), (6, 32)]) > debt(&[(0, 8), (5, 8), (6, 32)]));
    }

    #[test]
    fn pressure_grows_smoothly_until_writes_stop() {
        let pressure = |sublevels| pressure(&filled(&[(0, sublevels)]), &options());
        assert_eq!(pressure(10), WritePressure::None);
        assert_eq!(pressure(24), WritePressure::Stop);
        let mut last = 512 << 20;
        for sublevels in 11..24 {
            let WritePressure::Delay { bytes_per_second } = pressure(sublevels) else {
                panic!("{sublevels} sublevels");
            };
            let step = last as f64 / bytes_per_second as f64;
            assert!((1.2..2.0).contains(&step), "{sublevels} sublevels: {step}");
            last = bytes_per_second;
        }
        assert!(last < 4 << 20);
    }
}
