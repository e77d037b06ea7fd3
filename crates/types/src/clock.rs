//! Clocks: sets of dots of one partition. What a replica has seen is one, what it has purged another.
//!
//! For each incarnation the counters are kept as ranges. Nearly always there is one, from 1 on; what
//! arrives out of order stands beyond it until the gap is filled.
//!
//! # Invariants
//! - `clock-1`: a clock is a set of dots: merging is its union, [`Clock::intersection`] its intersection,
//!   [`Clock::contains`] its inclusion, and equal sets are equal values.
//!
//! # Format
//! ```text
//! incarnations varint | incarnations × (incarnation u64 | ranges varint | ranges × (skipped varint | held varint))
//! ```
//! Incarnations ascend. `skipped` counters are not in the set (0 only before the first range), then
//! `held` are, at least 1.

use alloc::vec::Vec;

use crate::bytes::{Reader, Writer};
use crate::dot::{Dot, Incarnation};
use crate::past::Past;
use crate::version::VersionVector;

/// Fewest bytes of an incarnation with a range.
const ENTRY_LEN_MIN: usize = 8 + 1 + RANGE_LEN_MIN;
const RANGE_LEN_MIN: usize = 2;

/// A set of dots of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Clock {
    /// Sorted by incarnation; none is empty.
    entries: Vec<(Incarnation, Counters)>,
}

/// Counters of one incarnation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Counters {
    /// Sorted; between two of them at least one counter is missing.
    ranges: Vec<Range>,
}

/// Counters from `first` to `last`, which counts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Range {
    first: u64,
    last: u64,
}

impl Clock {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether `dot` is in it.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        self.counters(dot.incarnation)
            .is_some_and(|counters| counters.covers(dot.counter))
    }

    /// Whether every dot that `vector` stands for is in it: for each entry all from 1 on.
    #[must_use]
    pub fn covers_all(&self, vector: &VersionVector) -> bool {
        vector
            .iter()
            .all(|dot| self.base(dot.incarnation) >= dot.counter)
    }

    /// Whether every dot that `past` stands for is in it, those of other keys in its ranges included.
    #[must_use]
    pub fn covers_past(&self, past: &Past) -> bool {
        self.covers_all(past.vector()) && past.singles().iter().all(|&dot| self.covers(dot))
    }

    /// The counter up to which, from 1 on, everything of `incarnation` is in it.
    #[must_use]
    pub fn base(&self, incarnation: Incarnation) -> u64 {
        self.counters(incarnation).map_or(0, Counters::base)
    }

    /// The greatest counter of `incarnation` in it; 0 for none.
    #[must_use]
    pub fn last(&self, incarnation: Incarnation) -> u64 {
        let last = |counters: &Counters| counters.ranges.last().map_or(0, |range| range.last);
        self.counters(incarnation).map_or(0, last)
    }

    /// Adds `dot`; whether it is new. Counters begin with 1: there is no dot 0 to add.
    pub fn add(&mut self, dot: Dot) -> bool {
        let is_new = dot.counter > 0 && !self.covers(dot);
        if is_new {
            let at = Range {
                first: dot.counter,
                last: dot.counter,
            };
            self.entry(dot.incarnation).add(at);
        }
        is_new
    }

    /// Adds all dots of `incarnation` from 1 up to `counter`.
    pub fn add_up_to(&mut self, incarnation: Incarnation, counter: u64) {
        if counter > 0 {
            self.entry(incarnation).add(Range {
                first: 1,
                last: counter,
            });
        }
    }

    /// Adds every dot of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (incarnation, counters) in &other.entries {
            let mine = self.entry(*incarnation);
            for &range in &counters.ranges {
                mine.add(range);
            }
        }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let both = self.entries.iter().filter_map(|(incarnation, mine)| {
            let both = mine.intersection(other.counters(*incarnation)?);
            (!both.ranges.is_empty()).then_some((*incarnation, both))
        });
        Self {
            entries: both.collect(),
        }
    }

    /// Whether every dot of `other` is in it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.entries.iter().all(|(incarnation, theirs)| {
            let mine = self.counters(*incarnation);
            mine.is_some_and(|mine| mine.contains(theirs))
        })
    }

    /// Takes everything of `incarnation` out.
    pub fn forget(&mut self, incarnation: Incarnation) {
        self.entries.retain(|(one, _)| *one != incarnation);
    }

    /// What of `incarnation` is in it, as a clock.
    #[must_use]
    pub fn of(&self, incarnation: Incarnation) -> Self {
        let mine = self.entries.iter().filter(|(one, _)| *one == incarnation);
        Self {
            entries: mine.cloned().collect(),
        }
    }

    /// The incarnations of which something is in it, sorted.
    pub fn incarnations(&self) -> impl ExactSizeIterator<Item = Incarnation> + '_ {
        self.entries.iter().map(|(incarnation, _)| *incarnation)
    }

    /// Appends the encoding.
    pub fn write(&self, to: &mut Writer) {
        to.varint(self.entries.len() as u64);
        for (incarnation, counters) in &self.entries {
            to.u64(incarnation.get());
            counters.write(to);
        }
    }

    /// Takes a clock off the front; `None` where there is none.
    #[must_use]
    pub fn read(from: &mut Reader<'_>) -> Option<Self> {
        let count = from.short_count(ENTRY_LEN_MIN)?;
        let mut entries: Vec<(Incarnation, Counters)> = Vec::with_capacity(count);
        for _ in 0..count {
            let incarnation = Incarnation::new(from.u64()?);
            if entries.last().is_some_and(|(last, _)| *last >= incarnation) {
                return None;
            }
            entries.push((incarnation, Counters::read(from)?));
        }
        Some(Self { entries })
    }

    fn find(&self, incarnation: Incarnation) -> Result<usize, usize> {
        self.entries
            .binary_search_by_key(&incarnation, |entry| entry.0)
    }

    fn counters(&self, incarnation: Incarnation) -> Option<&Counters> {
        let at = self.find(incarnation).ok()?;
        Some(&self.entries[at].1)
    }

    /// To add to: whoever asks adds something.
    fn entry(&mut self, incarnation: Incarnation) -> &mut Counters {
        let at = self.find(incarnation).unwrap_or_else(|at| {
            self.entries.insert(at, (incarnation, Counters::default()));
            at
        });
        &mut self.entries[at].1
    }
}

impl FromIterator<Dot> for Clock {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut clock = Self::new();
        dots.into_iter().for_each(|dot| {
            clock.add(dot);
        });
        clock
    }
}

impl Counters {
    fn base(&self) -> u64 {
        let first = self.ranges.first().filter(|range| range.first == 1);
        first.map_or(0, |range| range.last)
    }

    fn covers(&self, counter: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.last < counter);
        let range = self.ranges.get(at);
        range.is_some_and(|range| range.first <= counter)
    }

    fn add(&mut self, added: Range) {
        let Range { first, last } = added;
        // Those that it overlaps or touches become one.
        let start = self.ranges.partition_point(|range| range.last < first - 1);
        let behind = last.saturating_add(1);
        let touched = self.ranges[start..].partition_point(|range| range.first <= behind);
        let end = start + touched;
        let union = match self.ranges.get(start..end) {
            Some([one, .., other]) => Range {
                first: first.min(one.first),
                last: last.max(other.last),
            },
            Some([one]) => Range {
                first: first.min(one.first),
                last: last.max(one.last),
            },
            _ => added,
        };
        if end == start + 1 {
            self.ranges[start] = union; // the usual case moves nothing
        } else {
            self.ranges.splice(start..end, [union]);
        }
    }

    fn intersection(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let (mut mine, mut theirs) = (
            self.ranges.iter().peekable(),
            other.ranges.iter().peekable(),
        );
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            let both = Range {
                first: a.first.max(b.first),
                last: a.last.min(b.last),
            };
            if both.first <= both.last {
                ranges.push(both);
            }
            if a.last <= b.last {
                mine.next();
            } else {
                theirs.next();
            }
        }
        Self { ranges }
    }

    fn contains(&self, other: &Self) -> bool {
        other.ranges.iter().all(|range| {
            let at = self.ranges.partition_point(|mine| mine.last < range.last);
            self.ranges
                .get(at)
                .is_some_and(|mine| mine.first <= range.first)
        })
    }

    fn write(&self, to: &mut Writer) {
        to.varint(self.ranges.len() as u64);
        let mut end = 0;
        for range in &self.ranges {
            to.varint(range.first - end - 1);
            to.varint(range.last - range.first + 1);
            end = range.last;
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let count = from.short_count(RANGE_LEN_MIN).filter(|count| *count > 0)?;
        let mut ranges: Vec<Range> = Vec::with_capacity(count);
        let mut end = 0_u64;
        for at in 0..count {
            let skipped = from.varint()?;
            let held = from.varint()?;
            if held == 0 || at > 0 && skipped == 0 {
                return None;
            }
            let first = end.checked_add(skipped)?.checked_add(1)?;
            let last = first.checked_add(held - 1)?;
            ranges.push(Range { first, last });
            end = last;
        }
        Some(Self { ranges })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    type Set = BTreeSet<(u64, u64)>;

    fn dot(incarnation: u64, counter: u64) -> Dot {
        Dot {
            incarnation: Incarnation::new(incarnation),
            counter,
        }
    }

    fn sets() -> impl Strategy<Value = Set> {
        proptest::collection::btree_set((0u64..3, 1u64..14), 0..24)
    }

    fn clock(set: &Set) -> Clock {
        set.iter().map(|&(i, c)| dot(i, c)).collect()
    }

    fn encoded(clock: &Clock) -> Vec<u8> {
        let mut writer = Writer::new();
        clock.write(&mut writer);
        writer.into_vec()
    }

    proptest! {
        #[test]
        fn clock_1_a_clock_is_a_set(a in sets(), b in sets(), shuffled in any::<prop::sample::Index>()) {
            let (x, y) = (clock(&a), clock(&b));
            let mut merged = x.clone();
            merged.merge(&y);
            prop_assert_eq!(&merged, &clock(&(&a | &b)));
            prop_assert_eq!(x.intersection(&y), clock(&(&a & &b)));
            prop_assert_eq!(x.contains(&y), a.is_superset(&b));
            prop_assert_eq!(x == y, a == b);
            prop_assert_eq!(x.is_empty(), a.is_empty());
            for (i, c) in (0..4).flat_map(|i| (0..16).map(move |c| (i, c))) {
                prop_assert_eq!(x.covers(dot(i, c)), a.contains(&(i, c)));
                let mut more = x.clone();
                prop_assert_eq!(more.add(dot(i, c)), c > 0 && !a.contains(&(i, c)));
                let mut up_to = x.clone();
                up_to.add_up_to(Incarnation::new(i), c);
                let all = (1..=c).map(|c| (i, c)).collect();
                prop_assert_eq!(up_to, clock(&(&a | &all)));
            }
            for i in 0..4 {
                let incarnation = Incarnation::new(i);
                let mine: BTreeSet<u64> = a.iter().filter(|one| one.0 == i).map(|one| one.1).collect();
                let base = (1..).take_while(|c| mine.contains(c)).last().unwrap_or(0);
                prop_assert_eq!(x.base(incarnation), base);
                prop_assert_eq!(x.last(incarnation), mine.last().copied().unwrap_or(0));
                let mut rest = x.clone();
                rest.forget(incarnation);
                let others = a.iter().copied().filter(|one| one.0 != i).collect();
                prop_assert_eq!(&rest, &clock(&others));
                rest.merge(&x.of(incarnation));
                prop_assert_eq!(&rest, &x);
            }
            // The order in which dots come makes no difference.
            let mut dots: Vec<Dot> = a.iter().map(|&(i, c)| dot(i, c)).collect();
            if !dots.is_empty() {
                let at = shuffled.index(dots.len());
                dots.rotate_left(at);
            }
            prop_assert_eq!(dots.into_iter().rev().collect::<Clock>(), x);
        }

        #[test]
        fn a_vector_is_covered_with_everything_before(a in sets(), vector in crate::version::tests::vectors()) {
            let all = vector.iter().all(|last| {
                (1..=last.counter).all(|counter| a.contains(&(last.incarnation.get(), counter)))
            });
            prop_assert_eq!(clock(&a).covers_all(&vector), all);
        }

        #[test]
        fn a_clock_is_read_back_and_no_other_bytes_stand_for_it(a in sets(), bytes: Vec<u8>) {
            let x = clock(&a);
            let stored = encoded(&x);
            let mut reader = Reader(&stored);
            prop_assert_eq!(Clock::read(&mut reader), Some(x));
            prop_assert!(reader.is_empty());
            for cut in 0..stored.len() {
                prop_assert_eq!(Clock::read(&mut Reader(&stored[..cut])), None);
            }
            let mut reader = Reader(&bytes);
            if let Some(found) = Clock::read(&mut reader) {
                let len = bytes.len() - reader.0.len();
                prop_assert_eq!(&encoded(&found)[..], &bytes[..len]);
            }
        }
    }

    #[test]
    fn counters_end_where_numbers_do() {
        let mut clock = Clock::new();
        assert!(clock.add(dot(1, u64::MAX)));
        clock.add_up_to(Incarnation::new(1), 3);
        assert!(clock.add(dot(1, u64::MAX - 1)));
        assert_eq!(clock.last(Incarnation::new(1)), u64::MAX);
        let stored = encoded(&clock);
        assert_eq!(Clock::read(&mut Reader(&stored)), Some(clock));
    }
}
