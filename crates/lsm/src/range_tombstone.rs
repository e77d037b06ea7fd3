//! Range deletes, cut into fragments that do not overlap, so that "is this key deleted?" is one
//! search in a tree.
//!
//! Of the range deletes over a fragment only those are kept that some reader can tell apart
//! ([`Readers`]): any number of them over the same keys is then as good as one, and a set is never
//! larger than what was put into it, times the snapshots that are open.
//!
//! *Invariants*
//! - `range-1`: fragments are sorted, not empty, and do not overlap.
//! - `range-2`: a fragment's sequence numbers are newest first, each once, at least one; for every reader
//!   the newest range delete that he sees is among them.
//! - `range-3`: fragments that touch differ in their sequence numbers. What a table boundary cut
//!   apart grows together again when both halves meet.

mod sweep;
mod tree;

use std::fmt;
use std::sync::{Arc, LazyLock};

pub(crate) use self::tree::Fragments;
use self::tree::{Node, Run};
use crate::key::SeqNo;

/// Whoever reads, by the moments they read at: what they cannot tell apart need not be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readers<'a> {
    /// Somebody reads at every moment.
    Everywhere,
    /// At these, in ascending order, and at any that is newer than every change.
    At(&'a [SeqNo]),
}

impl Readers<'_> {
    /// The newest moment at which a change is not seen.
    fn before(self, seq: SeqNo) -> Option<SeqNo> {
        match self {
            Self::Everywhere => seq.get().checked_sub(1).map(SeqNo::new),
            Self::At(moments) => {
                let older = moments.partition_point(|&moment| moment < seq);
                Some(moments[older.checked_sub(1)?])
            }
        }
    }

    /// Those of some sequence numbers, newest first, that are the newest for anybody.
    fn told_apart(self, seqs: impl Iterator<Item = SeqNo>) -> Vec<SeqNo> {
        let mut limit = Some(SeqNo::MAX);
        let mut kept = Vec::new();
        for seq in seqs {
            if limit.is_some_and(|limit| seq <= limit) {
                kept.push(seq);
                limit = self.before(seq);
            }
        }
        kept
    }
}

/// Every key from `start` up to `end` (excluded) was deleted at `seq`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RangeTombstone {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
    pub(crate) seq: SeqNo,
}

/// A range over which the same range deletes hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment<'a> {
    pub(crate) start: &'a [u8],
    /// Excluded.
    pub(crate) end: &'a [u8],
    /// Newest first, never empty.
    pub(crate) seqs: &'a [SeqNo],
}

impl<'a> Fragment<'a> {
    /// The newest range delete at or before `at`.
    #[inline]
    pub(crate) fn newest(self, at: SeqNo) -> Option<SeqNo> {
        // Most readers are newer than every range delete.
        let newest = self.seqs[0];
        if newest <= at {
            return Some(newest);
        }
        let newer = self.seqs.partition_point(|&seq| seq > at);
        self.seqs.get(newer).copied()
    }

    /// The fragment's range deletes one by one.
    pub(crate) fn tombstones(self) -> impl Iterator<Item = RangeTombstone> + use<'a> {
        self.seqs.iter().map(move |&seq| RangeTombstone {
            start: self.start.to_vec(),
            end: self.end.to_vec(),
            seq,
        })
    }

    /// The part from `lower` up to `upper` (excluded; `None`: no limit), if there is any.
    fn clip(self, lower: &'a [u8], upper: Option<&'a [u8]>) -> Option<Self> {
        let start = self.start.max(lower);
        let end = upper.map_or(self.end, |upper| self.end.min(upper));
        (start < end).then_some(Self { start, end, ..self })
    }
}

/// The range deletes of one source, or of several. A clone costs nothing, and is not changed by
/// what is inserted afterwards.
#[derive(Clone, Default)]
pub(crate) struct RangeTombstones {
    root: Option<Arc<Node>>,
}

impl RangeTombstones {
    /// Cuts range deletes, in any order and overlapping in any way, into fragments. Empty ranges vanish.
    pub(crate) fn from_tombstones(
        tombstones: impl IntoIterator<Item = RangeTombstone>,
        readers: Readers<'_>,
    ) -> Self {
        let tombstones: Vec<_> = tombstones.into_iter().collect();
        let pieces = tombstones.iter().map(|tombstone| sweep::Piece {
            start: &tombstone.start,
            end: &tombstone.end,
            seq: tombstone.seq,
        });
        Self::from_run(&sweep::sweep(pieces.collect(), readers))
    }

    fn from_run(run: &Run) -> Self {
        Self {
            root: tree::tree(run),
        }
    }

    /// The set without range deletes.
    pub(crate) fn empty() -> Arc<Self> {
        static EMPTY: LazyLock<Arc<RangeTombstones>> = LazyLock::new(Arc::default);
        Arc::clone(&EMPTY)
    }

    /// All range deletes of several sets. Nothing is copied where at most one has any.
    pub(crate) fn merged(sets: &[Arc<Self>], readers: Readers<'_>) -> Arc<Self> {
        let mut filled = sets.iter().filter(|set| !set.is_empty());
        match (filled.next(), filled.next()) {
            (None, _) => Self::empty(),
            (Some(only), None) => Arc::clone(only),
            _ => {
                let fragments = sets.iter().flat_map(|set| set.iter());
                let pieces = fragments.flat_map(|fragment| {
                    fragment.seqs.iter().map(move |&seq| sweep::Piece {
                        start: fragment.start,
                        end: fragment.end,
                        seq,
                    })
                });
                Arc::new(Self::from_run(&sweep::sweep(pieces.collect(), readers)))
            }
        }
    }

    /// The same, with every key from `start` up to `end` (excluded) deleted at `seq` as well. Takes time
    /// for the fragments that this reaches, and for the logarithm of all.
    pub(crate) fn with(&self, start: &[u8], end: &[u8], seq: SeqNo, readers: Readers<'_>) -> Self {
        if start >= end {
            return self.clone();
        }
        let mut new = Run::default();
        let mut first = start;
        // Up to here the range is dealt with.
        let mut place = start;
        // Those that only touch it too: they may grow together with what comes beside them.
        let near = Fragments::from(self.root.as_ref(), start).skip_while(|f| f.end < start);
        for fragment in near.take_while(|f| f.start <= end) {
            first = first.min(fragment.start);
            new.append(fragment.start, fragment.end.min(start), fragment.seqs);
            let (from, to) = (fragment.start.max(start), fragment.end.min(end));
            new.append(place, from, &[seq]);
            if from < to {
                let newer = fragment.seqs.iter().take_while(|&&other| other > seq);
                let older = fragment.seqs.iter().skip_while(|&&other| other >= seq);
                let seqs = newer.chain([&seq]).chain(older).copied();
                new.append(from, to, &readers.told_apart(seqs));
            }
            new.append(fragment.start.max(end), fragment.end, fragment.seqs);
            place = place.max(to);
        }
        new.append(place, end, &[seq]);
        let root = match &self.root {
            None => tree::tree(&new),
            Some(root) => tree::root_over(root.splice(first, end, &new)),
        };
        Self { root }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Bytes of memory held.
    pub(crate) fn memory_used(&self) -> usize {
        self.root.as_ref().map_or(0, |root| root.memory_used())
    }

    /// The fragments in order.
    pub(crate) fn iter(&self) -> Fragments<'_> {
        Fragments::from(self.root.as_ref(), &[])
    }

    /// The range deletes one by one, cut as the fragments are.
    #[cfg(test)]
    pub(crate) fn tombstones(&self) -> impl Iterator<Item = RangeTombstone> {
        self.iter().flat_map(Fragment::tombstones)
    }

    /// The newest range delete at or before `at` that covers `key`.
    #[inline]
    pub(crate) fn newest_covering(&self, key: &[u8], at: SeqNo) -> Option<SeqNo> {
        let leaf = self.root.as_ref()?.locate(key);
        covering(leaf.run, leaf.run.first_behind(key), key)?.newest(at)
    }

    /// The parts of fragments from `lower` up to `upper` (excluded; `None`: no limit).
    pub(crate) fn clip<'a>(
        &'a self,
        lower: &'a [u8],
        upper: Option<&'a [u8]>,
    ) -> impl Iterator<Item = Fragment<'a>> {
        Fragments::from(self.root.as_ref(), lower)
            .skip_while(move |f| f.end <= lower)
            .map_while(move |f| f.clip(lower, upper))
    }
}

impl PartialEq for RangeTombstones {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for RangeTombstones {}

impl fmt::Debug for RangeTombstones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
impl FromIterator<RangeTombstone> for RangeTombstones {
    fn from_iter<I: IntoIterator<Item = RangeTombstone>>(tombstones: I) -> Self {
        Self::from_tombstones(tombstones, Readers::Everywhere)
    }
}

/// The fragment that covers `key`, where `behind` is [`Run::first_behind`] of it.
#[inline]
fn covering<'a>(run: &'a Run, behind: usize, key: &[u8]) -> Option<Fragment<'a>> {
    let fragment = run.get(behind.checked_sub(1)?);
    (key < fragment.end).then_some(fragment)
}

/// A place in the fragments, for keys that are asked for in order, forward or backward: as long as
/// they stay near each other, a few comparisons find the fragment.
#[derive(Clone, Debug)]
pub(crate) struct RangeTombstoneCursor {
    set: Arc<RangeTombstones>,
    place: Option<LeafPlace>,
}

#[derive(Clone, Debug)]
struct LeafPlace {
    leaf: Arc<Node>,
    is_first: bool,
    /// Where the next leaf begins.
    next: Option<Vec<u8>>,
    /// [`Run::first_behind`] of the last key asked for.
    behind: usize,
}

impl RangeTombstoneCursor {
    pub(crate) fn new(set: Arc<RangeTombstones>) -> Self {
        Self { set, place: None }
    }

    /// As [`RangeTombstones::newest_covering`].
    #[inline]
    pub(crate) fn newest_covering(&mut self, key: &[u8], at: SeqNo) -> Option<SeqNo> {
        self.fragment_at(key)?.newest(at)
    }

    /// The fragment that covers `key`.
    pub(crate) fn fragment_at(&mut self, key: &[u8]) -> Option<Fragment<'_>> {
        let root = self.set.root.as_ref()?;
        if self.place.as_ref().is_none_or(|place| !place.holds(key)) {
            let leaf = root.locate(key);
            self.place = Some(LeafPlace {
                leaf: Arc::clone(leaf.node),
                is_first: leaf.is_first,
                next: leaf.next.map(<[u8]>::to_vec),
                behind: 0,
            });
        }
        let place = self.place.as_mut()?;
        place.go_to(key);
        covering(place.run(), place.behind, key)
    }
}

impl LeafPlace {
    fn run(&self) -> &Run {
        match &*self.leaf {
            Node::Leaf(run) => run,
            Node::Inner(_) => unreachable!("a key leads to a leaf"),
        }
    }

    /// Whether this leaf is the one to look into.
    fn holds(&self, key: &[u8]) -> bool {
        (self.is_first || self.run().get(0).start <= key)
            && self.next.as_ref().is_none_or(|next| key < &next[..])
    }

    fn go_to(&mut self, key: &[u8]) {
        let near = [
            Some(self.behind),
            self.behind.checked_add(1),
            self.behind.checked_sub(1),
        ];
        let hit = (near.into_iter().flatten()).find(|&behind| self.is_behind(behind, key));
        self.behind = hit.unwrap_or_else(|| self.run().first_behind(key));
    }

    /// Whether `behind` is [`Run::first_behind`] of `key`.
    fn is_behind(&self, behind: usize, key: &[u8]) -> bool {
        let run = self.run();
        behind <= run.len()
            && (behind.checked_sub(1)).is_none_or(|before| run.get(before).start <= key)
            && (behind == run.len() || key < run.get(behind).start)
    }
}

#[cfg(test)]
mod tests;
