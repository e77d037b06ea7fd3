//! One file's bytes: what programs read, what a crash is sure to leave, and the changes between.
//!
//! *Invariants*
//! - `inode-1`: durable bytes with all pending changes applied, in order, are the cached bytes
//!   (until a failed sync drops changes, or a bit is flipped).
//! - `inode-2`: a crash leaves each sector as it was after some prefix of the changes to it; the
//!   page cache has one version of a page, so a later write never reaches the disk alone.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::plan::{CrashMode, SECTOR};
use crate::random::SeededRandom;

/// Bytes are shared between the copies of an image until one of them changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    cached: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Arc<[u8]> },
    SetLen(usize),
}

/// How much of one pending change a crash keeps.
enum Kept {
    Nothing,
    All,
    /// Pieces of a write, by sector.
    Pieces(Vec<bool>),
}

impl Inode {
    /// A file with durable bytes.
    pub(super) fn durable_with(bytes: Vec<u8>) -> Self {
        let bytes = Arc::new(bytes);
        Self {
            cached: bytes.clone(),
            durable: bytes,
            pending: Vec::new(),
        }
    }

    /// What programs read.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.cached
    }

    /// What every crash leaves at the least.
    pub(super) fn durable_bytes(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn len(&self) -> usize {
        self.cached.len()
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        put(Arc::make_mut(&mut self.cached), at, bytes);
        self.pending.push(Change::Write {
            at,
            bytes: bytes.into(),
        });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        Arc::make_mut(&mut self.cached).resize(len, 0);
        self.pending.push(Change::SetLen(len));
    }

    /// Writes so that these bytes, and the length they need, are durable at once. Other pending
    /// writes stay pending, but for those to the same bytes: they cannot undo this one.
    pub(super) fn write_durably(&mut self, at: usize, bytes: &[u8]) {
        self.make_length_durable();
        let span = at..at + bytes.len();
        self.pending = std::mem::take(&mut self.pending)
            .into_iter()
            .flat_map(|change| change.outside(&span))
            .collect();
        put(Arc::make_mut(&mut self.cached), at, bytes);
        put(Arc::make_mut(&mut self.durable), at, bytes);
    }

    /// Applies pending changes of the length, and with each cut what it cuts off earlier writes.
    fn make_length_durable(&mut self) {
        let durable = Arc::make_mut(&mut self.durable);
        let mut writes: Vec<Change> = Vec::new();
        for change in self.pending.drain(..) {
            match change {
                Change::SetLen(len) => {
                    durable.resize(len, 0);
                    writes = writes
                        .into_iter()
                        .flat_map(|write| write.outside(&(len..usize::MAX)))
                        .collect();
                }
                Change::Write { .. } => writes.push(change),
            }
        }
        self.pending = writes;
    }

    /// Everything pending becomes durable.
    pub(super) fn sync(&mut self) {
        let durable = Arc::make_mut(&mut self.durable);
        for change in self.pending.drain(..) {
            change.apply(durable);
        }
    }

    /// What a failed sync does: some of the pending changes reach the disk, none is pending any
    /// more, and programs go on reading them all from the cache.
    pub(super) fn fail_sync(&mut self, random: &SeededRandom) {
        self.settle(CrashMode::Subset, random);
    }

    /// The machine stops and starts: the cache is gone.
    pub(super) fn crash(&mut self, mode: CrashMode, random: &SeededRandom) {
        self.settle(mode, random);
        self.cached = self.durable.clone();
    }

    /// Inverts one bit below everything that could notice.
    pub(super) fn flip(&mut self, offset: usize, bit: u8) {
        for bytes in [&mut self.cached, &mut self.durable] {
            if let Some(byte) = Arc::make_mut(bytes).get_mut(offset) {
                *byte ^= 1 << bit;
            }
        }
    }

    fn settle(&mut self, mode: CrashMode, random: &SeededRandom) {
        let kept = match mode {
            CrashMode::LoseAll => Vec::new(),
            CrashMode::Prefix => self.draw_prefix(random),
            CrashMode::Subset => self.draw_subset(random),
        };
        let durable = Arc::make_mut(&mut self.durable);
        for (change, kept) in self.pending.drain(..).zip(kept) {
            match kept {
                Kept::Nothing => {}
                Kept::All => change.apply(durable),
                Kept::Pieces(pieces) => change.apply_pieces(durable, &pieces),
            }
            // A length may reach the disk without the data it was extended for.
            if let Change::Write { at, bytes } = &change
                && at + bytes.len() > durable.len()
                && mode != CrashMode::LoseAll
                && random.chance(0.25)
            {
                durable.resize(at + bytes.len(), 0);
            }
        }
    }

    fn draw_prefix(&self, random: &SeededRandom) -> Vec<Kept> {
        let whole = random.index(self.pending.len() + 1);
        let mut kept: Vec<Kept> = (0..whole).map(|_| Kept::All).collect();
        if let Some(first_lost) = self.pending.get(whole) {
            kept.push(first_lost.tear(random));
        }
        kept
    }

    fn draw_subset(&self, random: &SeededRandom) -> Vec<Kept> {
        // Drawn once per file: else nearly every draw would keep about half of many changes.
        let keep = *random.pick(&[0.0, 0.1, 0.5, 0.9, 1.0]);
        let mut later = Later::default();
        let mut kept: Vec<Kept> = self
            .pending
            .iter()
            .rev()
            .map(|change| {
                let drawn = if random.chance(keep) {
                    Kept::All
                } else {
                    change.tear(random)
                };
                later.pull(change, drawn)
            })
            .collect();
        kept.reverse();
        kept
    }
}

/// What was kept of later changes, which pulls in the earlier ones it could not be without.
#[derive(Default)]
struct Later {
    sectors: BTreeSet<usize>,
    /// Where the kept writes end.
    end: usize,
    set_len: bool,
}

impl Later {
    fn pull(&mut self, change: &Change, drawn: Kept) -> Kept {
        match change {
            // One field of the inode holds the length, and blocks behind a cut belong to the file
            // again only once the cut is on the disk.
            Change::SetLen(len) => {
                self.set_len |= matches!(drawn, Kept::All) || self.end > *len;
                if self.set_len {
                    Kept::All
                } else {
                    Kept::Nothing
                }
            }
            // INVARIANT inode-2
            Change::Write { at, bytes } => {
                let pieces = pieces(*at, bytes.len()).enumerate().map(|(i, piece)| {
                    let sector = piece.start / SECTOR;
                    let keep = match &drawn {
                        Kept::All => true,
                        Kept::Nothing => false,
                        Kept::Pieces(pieces) => pieces[i],
                    };
                    let keep = keep || self.sectors.contains(&sector);
                    if keep {
                        self.sectors.insert(sector);
                        self.end = self.end.max(piece.end);
                    }
                    keep
                });
                Kept::Pieces(pieces.collect())
            }
        }
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => put(to, *at, bytes),
            Self::SetLen(len) => to.resize(*len, 0),
        }
    }

    fn apply_pieces(&self, to: &mut Vec<u8>, kept: &[bool]) {
        let Self::Write { at, bytes } = self else {
            unreachable!("only writes are torn");
        };
        for (piece, kept) in pieces(*at, bytes.len()).zip(kept) {
            if *kept {
                put(to, piece.start, &bytes[piece.start - at..piece.end - at]);
            }
        }
    }

    /// Draws what is left of a change that did not make it as a whole.
    fn tear(&self, random: &SeededRandom) -> Kept {
        let Self::Write { at, bytes } = self else {
            return Kept::Nothing;
        };
        let count = pieces(*at, bytes.len()).count();
        match random.below(3) {
            0 => Kept::Nothing,
            1 => {
                let whole = random.index(count + 1);
                Kept::Pieces((0..count).map(|i| i < whole).collect())
            }
            _ => Kept::Pieces((0..count).map(|_| random.chance(0.5)).collect()),
        }
    }

    /// What is left of a write outside `span`: up to two writes.
    fn outside(self, span: &Range<usize>) -> Vec<Self> {
        let Self::Write { at, bytes } = &self else {
            return vec![self];
        };
        let end = at + bytes.len();
        if end <= span.start || span.end <= *at {
            return vec![self];
        }
        let part = |range: Range<usize>| Self::Write {
            at: range.start,
            bytes: bytes[range.start - at..range.end - at].into(),
        };
        [*at..span.start, span.end..end]
            .into_iter()
            .filter(|range| range.start < range.end)
            .map(part)
            .collect()
    }
}

/// Writes `bytes` at an offset, filling a gap with zeros.
fn put(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if bytes.is_empty() {
        return;
    }
    if to.len() < end {
        to.resize(end, 0);
    }
    to[at..end].copy_from_slice(bytes);
}

/// The range of a write, cut at the sectors' bounds.
fn pieces(at: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = at + len;
    let mut start = at;
    std::iter::from_fn(move || {
        let piece = start..end.min((start / SECTOR + 1) * SECTOR);
        start = piece.end;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests;
