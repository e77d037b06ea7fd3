//! Range deletes, cut into fragments that do not overlap, so that "is this key deleted?" is one
//! binary search.
//!
//! *Invariants*
//! - `range-1`: fragments are sorted, not empty, and do not overlap.
//! - `range-2`: a fragment's sequence numbers are those of all range deletes over it, newest first,
//!   each once, at least one.
//! - `range-3`: fragments that touch differ in their sequence numbers. What a table boundary cut
//!   apart grows together again when both halves meet.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use crate::key::SeqNo;

/// Every key from `start` up to `end` (excluded) was deleted at `seq`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RangeTombstone {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
    pub(crate) seq: SeqNo,
}

/// A range over which the same range deletes hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) start: Vec<u8>,
    /// Excluded.
    pub(crate) end: Vec<u8>,
    /// Newest first, never empty.
    pub(crate) seqs: Vec<SeqNo>,
}

impl Fragment {
    /// The newest range delete at or before `at`.
    pub(crate) fn newest(&self, at: SeqNo) -> Option<SeqNo> {
        // Most readers are newer than every range delete.
        let newest = self.seqs[0];
        if newest <= at {
            return Some(newest);
        }
        let newer = self.seqs.partition_point(|&seq| seq > at);
        self.seqs.get(newer).copied()
    }

    /// The fragment's range deletes one by one.
    pub(crate) fn tombstones(&self) -> impl Iterator<Item = RangeTombstone> {
        self.seqs.iter().map(|&seq| RangeTombstone {
            start: self.start.clone(),
            end: self.end.clone(),
            seq,
        })
    }
}

/// The range deletes of one source, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeTombstones {
    fragments: Vec<Fragment>,
}

impl RangeTombstones {
    /// Cuts range deletes, in any order and overlapping in any way, into fragments. Empty ranges vanish.
    pub(crate) fn from_tombstones(tombstones: impl IntoIterator<Item = RangeTombstone>) -> Self {
        let mut starting: Vec<_> = tombstones.into_iter().filter(|t| t.start < t.end).collect();
        starting.sort_unstable_by(|a, b| a.start.cmp(&b.start));
        fragment(&starting)
    }

    /// The set without range deletes.
    pub(crate) fn empty() -> Arc<Self> {
        static EMPTY: LazyLock<Arc<RangeTombstones>> = LazyLock::new(Arc::default);
        Arc::clone(&EMPTY)
    }

    /// All range deletes of several sets. Nothing is copied where at most one has any.
    pub(crate) fn merged(sets: &[Arc<Self>]) -> Arc<Self> {
        let mut filled = sets.iter().filter(|set| !set.is_empty());
        match (filled.next(), filled.next()) {
            (None, _) => Self::empty(),
            (Some(only), None) => Arc::clone(only),
            _ => Arc::new(Self::from_tombstones(
                sets.iter().flat_map(|set| set.tombstones()),
            )),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// The fragments in order.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Fragment> {
        self.fragments.iter()
    }

    /// The range deletes one by one, cut as the fragments are.
    pub(crate) fn tombstones(&self) -> impl Iterator<Item = RangeTombstone> {
        self.fragments.iter().flat_map(Fragment::tombstones)
    }

    /// The newest range delete at or before `at` that covers `key`.
    #[inline]
    pub(crate) fn newest_covering(&self, key: &[u8], at: SeqNo) -> Option<SeqNo> {
        if self.is_empty() {
            return None;
        }
        self.fragment_at(key)?.newest(at)
    }

    /// The fragment that covers `key`.
    pub(crate) fn fragment_at(&self, key: &[u8]) -> Option<&Fragment> {
        let behind = self.first_behind(key);
        self.covering(behind, key)
    }

    /// The part from `lower` up to `upper` (excluded; `None`: no limit).
    pub(crate) fn clip(&self, lower: &[u8], upper: Option<&[u8]>) -> Self {
        let first = self.fragments.partition_point(|f| &f.end[..] <= lower);
        let before_upper = |f: &&Fragment| upper.is_none_or(|upper| &f.start[..] < upper);
        let fragments = self.fragments[first..]
            .iter()
            .take_while(before_upper)
            .filter_map(|fragment| {
                let start = lower.max(&fragment.start);
                let end = upper.map_or(&fragment.end[..], |upper| upper.min(&fragment.end));
                (start < end).then(|| Fragment {
                    start: start.to_vec(),
                    end: end.to_vec(),
                    seqs: fragment.seqs.clone(),
                })
            })
            .collect();
        Self { fragments }
    }

    /// Adds a fragment behind all others.
    fn push(&mut self, start: &[u8], end: &[u8], seqs: Vec<SeqNo>) {
        match self.fragments.last_mut() {
            Some(last) if last.end == start && last.seqs == seqs => last.end = end.to_vec(),
            _ => self.fragments.push(Fragment {
                start: start.to_vec(),
                end: end.to_vec(),
                seqs,
            }),
        }
    }

    /// How many fragments begin at or before `key`: the index of the first one behind it.
    fn first_behind(&self, key: &[u8]) -> usize {
        self.fragments.partition_point(|f| &f.start[..] <= key)
    }

    /// The fragment that covers `key`, where `behind` is [`RangeTombstones::first_behind`] of it.
    fn covering(&self, behind: usize, key: &[u8]) -> Option<&Fragment> {
        let fragment = &self.fragments[behind.checked_sub(1)?];
        (key < &fragment.end[..]).then_some(fragment)
    }
}

impl FromIterator<RangeTombstone> for RangeTombstones {
    fn from_iter<I: IntoIterator<Item = RangeTombstone>>(tombstones: I) -> Self {
        Self::from_tombstones(tombstones)
    }
}

/// Sweeps over range deletes sorted by their start, keeping those that hold at the current place.
fn fragment(starting: &[RangeTombstone]) -> RangeTombstones {
    let mut starting = starting.iter().peekable();
    let mut holding: BTreeSet<(Reverse<SeqNo>, &[u8])> = BTreeSet::new();
    let mut set = RangeTombstones::default();
    let mut place: &[u8] = &[];
    loop {
        let next_start = starting.peek().map(|tombstone| &tombstone.start[..]);
        let next_end = holding.iter().map(|(_, end)| *end).min();
        let Some(next) = next_start.into_iter().chain(next_end).min() else {
            return set;
        };
        if !holding.is_empty() {
            let mut seqs: Vec<_> = holding.iter().map(|(seq, _)| seq.0).collect();
            seqs.dedup();
            set.push(place, next, seqs);
        }
        place = next;
        holding.retain(|(_, end)| *end > place);
        while let Some(tombstone) = starting.next_if(|tombstone| tombstone.start == place) {
            holding.insert((Reverse(tombstone.seq), &tombstone.end));
        }
    }
}

/// A place in the fragments, for keys that are asked for in order, forward or backward: as long as
/// they stay near each other, two comparisons find the fragment.
#[derive(Clone, Debug)]
pub(crate) struct RangeTombstoneCursor {
    set: Arc<RangeTombstones>,
    /// [`RangeTombstones::first_behind`] of the last key asked for.
    behind: usize,
}

impl RangeTombstoneCursor {
    pub(crate) fn new(set: Arc<RangeTombstones>) -> Self {
        Self { set, behind: 0 }
    }

    /// As [`RangeTombstones::newest_covering`].
    #[inline]
    pub(crate) fn newest_covering(&mut self, key: &[u8], at: SeqNo) -> Option<SeqNo> {
        if self.set.is_empty() {
            return None;
        }
        self.fragment_at(key)?.newest(at)
    }

    /// As [`RangeTombstones::fragment_at`].
    pub(crate) fn fragment_at(&mut self, key: &[u8]) -> Option<&Fragment> {
        let near = [
            Some(self.behind),
            self.behind.checked_add(1),
            self.behind.checked_sub(1),
        ];
        let hit = near
            .into_iter()
            .flatten()
            .find(|&behind| self.is_behind(behind, key));
        self.behind = hit.unwrap_or_else(|| self.set.first_behind(key));
        self.set.covering(self.behind, key)
    }

    /// Whether `behind` is [`RangeTombstones::first_behind`] of `key`.
    fn is_behind(&self, behind: usize, key: &[u8]) -> bool {
        let fragments = &self.set.fragments;
        behind <= fragments.len()
            && behind
                .checked_sub(1)
                .is_none_or(|before| &fragments[before].start[..] <= key)
            && fragments.get(behind).is_none_or(|f| key < &f.start[..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tombstone(start: &str, end: &str, seq: u64) -> RangeTombstone {
        RangeTombstone {
            start: start.into(),
            end: end.into(),
            seq: SeqNo::new(seq),
        }
    }

    fn fragment_of(start: &str, end: &str, seqs: &[u64]) -> Fragment {
        Fragment {
            start: start.into(),
            end: end.into(),
            seqs: seqs.iter().copied().map(SeqNo::new).collect(),
        }
    }

    #[test]
    fn overlaps_are_cut_and_halves_grow_together() {
        let set = RangeTombstones::from_tombstones([
            tombstone("c", "g", 7),
            tombstone("a", "e", 5),
            tombstone("x", "x", 9),
            tombstone("m", "p", 3),
            tombstone("p", "r", 3),
        ]);
        let expected = [
            fragment_of("a", "c", &[5]),
            fragment_of("c", "e", &[7, 5]),
            fragment_of("e", "g", &[7]),
            fragment_of("m", "r", &[3]),
        ];
        assert_eq!(set.fragments, expected);
        assert_eq!(
            set.newest_covering(b"d", SeqNo::new(6)),
            Some(SeqNo::new(5))
        );
        assert_eq!(set.newest_covering(b"d", SeqNo::new(4)), None);
        assert_eq!(set.newest_covering(b"g", SeqNo::MAX), None);
    }

    #[test]
    fn nothing_is_copied_when_one_set_has_range_deletes() {
        let one: Arc<_> = Arc::new(RangeTombstones::from_tombstones([tombstone("a", "b", 1)]));
        let merged = RangeTombstones::merged(&[RangeTombstones::empty(), Arc::clone(&one)]);
        assert!(Arc::ptr_eq(&merged, &one));
        assert!(RangeTombstones::merged(&[]).is_empty());
    }

    fn any_key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0..4_u8, 0..4)
    }

    fn any_tombstones() -> impl Strategy<Value = Vec<RangeTombstone>> {
        let one = (any_key(), any_key(), 1..30_u64).prop_map(|(start, end, seq)| RangeTombstone {
            start,
            end,
            seq: SeqNo::new(seq),
        });
        proptest::collection::vec(one, 0..20)
    }

    fn naive(tombstones: &[RangeTombstone], key: &[u8], at: SeqNo) -> Option<SeqNo> {
        let covering = tombstones
            .iter()
            .filter(|t| &t.start[..] <= key && key < &t.end[..] && t.seq <= at);
        covering.map(|t| t.seq).max()
    }

    fn check_invariants(set: &RangeTombstones) {
        for fragment in set.iter() {
            assert!(fragment.start < fragment.end, "range-1");
            assert!(!fragment.seqs.is_empty(), "range-2");
            assert!(fragment.seqs.is_sorted_by(|a, b| a > b), "range-2");
        }
        for pair in set.fragments.windows(2) {
            assert!(pair[0].end <= pair[1].start, "range-1");
            assert!(
                pair[0].end < pair[1].start || pair[0].seqs != pair[1].seqs,
                "range-3"
            );
        }
    }

    proptest! {
        #[test]
        fn answers_as_the_uncut_range_deletes(
            tombstones in any_tombstones(),
            split in any::<prop::sample::Index>(),
            questions in proptest::collection::vec((any_key(), 0..32_u64), 1..50),
        ) {
            let whole: RangeTombstones = tombstones.iter().cloned().collect();
            let (left, right) = tombstones.split_at(split.index(tombstones.len() + 1));
            let parts = [left, right].map(|part| Arc::new(part.iter().cloned().collect()));
            let merged = RangeTombstones::merged(&parts);
            check_invariants(&whole);
            prop_assert_eq!(&whole, &*merged);
            let mut cursor = RangeTombstoneCursor::new(merged);
            for (key, at) in questions {
                let at = SeqNo::new(at);
                let expected = naive(&tombstones, &key, at);
                prop_assert_eq!(whole.newest_covering(&key, at), expected);
                prop_assert_eq!(cursor.newest_covering(&key, at), expected);
            }
        }

        #[test]
        fn a_clipped_set_answers_the_same_inside_and_nothing_outside(
            tombstones in any_tombstones(),
            lower in any_key(),
            upper in proptest::option::of(any_key()),
            keys in proptest::collection::vec(any_key(), 1..50),
        ) {
            let whole: RangeTombstones = tombstones.iter().cloned().collect();
            let clipped = whole.clip(&lower, upper.as_deref());
            check_invariants(&clipped);
            for key in keys {
                let inside = key >= lower && upper.as_ref().is_none_or(|upper| key < *upper);
                let expected = whole.newest_covering(&key, SeqNo::MAX).filter(|_| inside);
                prop_assert_eq!(clipped.newest_covering(&key, SeqNo::MAX), expected);
            }
        }
    }
}
