//! Cutting range deletes that overlap in any way, in one pass.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::tree::Run;
use super::{Readers, SeqNo};

/// A range delete.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) start: &'a [u8],
    pub(super) end: &'a [u8],
    pub(super) seq: SeqNo,
}

/// The pieces that hold at a place.
#[derive(Default)]
struct Holding<'a> {
    /// How many there are of each sequence number.
    seqs: BTreeMap<SeqNo, usize>,
    ends: BinaryHeap<Reverse<(&'a [u8], SeqNo)>>,
}

impl<'a> Holding<'a> {
    fn begin(&mut self, piece: Piece<'a>) {
        *self.seqs.entry(piece.seq).or_default() += 1;
        self.ends.push(Reverse((piece.end, piece.seq)));
    }

    fn next_end(&self) -> Option<&'a [u8]> {
        self.ends.peek().map(|Reverse((end, _))| *end)
    }

    fn end_at(&mut self, place: &[u8]) {
        while let Some(&Reverse((end, seq))) = self.ends.peek()
            && end <= place
        {
            self.ends.pop();
            if let Some(count) = self.seqs.get_mut(&seq) {
                *count -= 1;
                if *count == 0 {
                    self.seqs.remove(&seq);
                }
            }
        }
    }

    /// The sequence numbers to keep, newest first. Those that nobody tells apart are not even looked at.
    fn told_apart(&self, readers: Readers<'_>, kept: &mut Vec<SeqNo>) {
        kept.clear();
        let mut limit = Some(SeqNo::MAX);
        while let Some((&seq, _)) = limit.and_then(|limit| self.seqs.range(..=limit).next_back()) {
            kept.push(seq);
            limit = readers.before(seq);
        }
    }
}

/// The fragments of range deletes. Empty ones vanish.
pub(super) fn sweep(mut pieces: Vec<Piece<'_>>, readers: Readers<'_>) -> Run {
    pieces.retain(|piece| piece.start < piece.end);
    pieces.sort_by(|a, b| a.start.cmp(b.start)); // stable: quick where they are sorted already
    let mut starting = pieces.into_iter().peekable();
    let mut holding = Holding::default();
    let mut seqs = Vec::new();
    let mut run = Run::default();
    let mut place: &[u8] = &[];
    loop {
        let next_start = starting.peek().map(|piece| piece.start);
        let Some(next) = next_start.into_iter().chain(holding.next_end()).min() else {
            return run;
        };
        holding.told_apart(readers, &mut seqs);
        if !seqs.is_empty() {
            run.append(place, next, &seqs);
        }
        place = next;
        holding.end_at(place);
        while let Some(piece) = starting.next_if(|piece| piece.start == place) {
            holding.begin(piece);
        }
    }
}
