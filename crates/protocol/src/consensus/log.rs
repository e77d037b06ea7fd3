//! The entries that a member holds, behind a snapshot.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::entry::{Entry, Payload, Snapshot};
use super::index::{Index, Term};

/// What is charged for an entry beside its command.
const ENTRY_OVERHEAD: usize = 32;

#[derive(Clone, Debug, Hash)]
pub(super) struct Log {
    snapshot: Snapshot,
    entries: VecDeque<Entry>,
    /// The first entry that no batch holds yet.
    unwritten: Option<Index>,
}

impl Log {
    pub(super) fn new(snapshot: Snapshot, entries: Vec<Entry>) -> Self {
        Self {
            snapshot,
            entries: entries.into(),
            unwritten: None,
        }
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The index that the log begins behind.
    pub(super) fn base(&self) -> Index {
        self.snapshot.index
    }

    pub(super) fn last(&self) -> Index {
        self.base().plus(self.entries.len() as u64)
    }

    pub(super) fn last_term(&self) -> Term {
        self.entries
            .back()
            .map_or(self.snapshot.term, |entry| entry.term)
    }

    /// The term of the entry at `index`; `None` before the base and behind the end.
    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base() {
            return Some(self.snapshot.term);
        }
        self.place(index)
            .and_then(|at| self.entries.get(at))
            .map(|entry| entry.term)
    }

    /// Adds an entry behind the last one.
    ///
    /// # Panics
    /// When it does not belong there.
    pub(super) fn push(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.last().next(), "the log has no gaps");
        self.unwritten.get_or_insert(entry.index);
        self.entries.push_back(entry);
    }

    /// Cuts off the entries from `index` on.
    pub(super) fn cut(&mut self, index: Index) {
        let keep = self.place(index).expect("only entries are cut");
        self.entries.truncate(keep);
        self.unwritten = self.unwritten.map(|unwritten| unwritten.min(index));
    }

    /// The entries that no batch held until now.
    pub(super) fn take_unwritten(&mut self) -> Vec<Entry> {
        match self.unwritten.take() {
            Some(from) => self.iter_from(from).cloned().collect(),
            None => Vec::new(),
        }
    }

    /// Entries from `from` on, of about `len_max` bytes; one at least, where there is one.
    pub(super) fn chunk(&self, from: Index, count_max: u64, len_max: usize) -> Vec<Entry> {
        let mut len = 0;
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        let fitting = self.iter_from(from).take(count_max).take_while(|entry| {
            let first = len == 0;
            len += ENTRY_OVERHEAD + payload_len(&entry.payload);
            first || len <= len_max
        });
        fitting.cloned().collect()
    }

    /// Entries behind `after`, up to `last`.
    pub(super) fn between(&self, after: Index, last: Index) -> Vec<Entry> {
        let wanted = self.iter_from(after.next());
        wanted
            .take_while(|entry| entry.index <= last)
            .cloned()
            .collect()
    }

    /// A snapshot takes the place of entries that it covers, and of those behind it that belong to
    /// another history.
    pub(super) fn replace_by(&mut self, snapshot: Snapshot) {
        let same = self.term_at(snapshot.index) == Some(snapshot.term);
        let covered = snapshot.index.beyond(self.base());
        if same {
            let covered = usize::try_from(covered)
                .unwrap_or(usize::MAX)
                .min(self.entries.len());
            self.entries.drain(..covered);
        } else {
            self.entries.clear();
            self.unwritten = None;
        }
        self.snapshot = snapshot;
    }

    fn iter_from(&self, from: Index) -> impl Iterator<Item = &Entry> {
        let skipped = from.beyond(self.base().next());
        self.entries
            .iter()
            .skip(usize::try_from(skipped).unwrap_or(usize::MAX))
    }

    fn place(&self, index: Index) -> Option<usize> {
        let behind = index.beyond(self.base()).checked_sub(1)?;
        usize::try_from(behind).ok()
    }
}

fn payload_len(payload: &Payload) -> usize {
    match payload {
        Payload::Empty => 0,
        Payload::Data(data) => data.len(),
        Payload::Change(members) => members.all().len() * size_of::<u64>(),
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec;

    use super::*;
    use crate::consensus::membership::Members;

    fn entry(index: u64, term: u64) -> Entry {
        Entry {
            index: Index::new(index),
            term: Term::new(term),
            payload: Payload::Data(Arc::from(vec![0; 100])),
        }
    }

    fn snapshot(index: u64, term: u64) -> Snapshot {
        Snapshot {
            index: Index::new(index),
            term: Term::new(term),
            members: Members::default(),
            state: Arc::from([]),
        }
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.index.get()).collect()
    }

    fn log() -> Log {
        let mut log = Log::new(snapshot(4, 1), vec![entry(5, 1), entry(6, 2)]);
        log.push(entry(7, 2));
        log
    }

    #[test]
    fn terms_are_known_from_the_base_to_the_end() {
        let log = log();
        let terms = (3..9).map(|index| log.term_at(Index::new(index)).map(Term::get));
        let expected = [None, Some(1), Some(1), Some(2), Some(2), None];
        assert!(terms.eq(expected));
        assert_eq!((log.last(), log.last_term()), (Index::new(7), Term::new(2)));
    }

    #[test]
    fn what_was_cut_and_written_anew_is_unwritten() {
        let mut log = log();
        assert_eq!(indexes(&log.take_unwritten()), [7]);
        log.push(entry(8, 2));
        log.cut(Index::new(6));
        log.push(entry(6, 3));
        assert_eq!(indexes(&log.take_unwritten()), [6]);
        assert_eq!(log.last(), Index::new(6));
    }

    #[test]
    fn a_chunk_has_one_entry_at_least() {
        let log = log();
        assert_eq!(indexes(&log.chunk(Index::new(5), 64, 1)), [5]);
        assert_eq!(indexes(&log.chunk(Index::new(5), 2, 1000)), [5, 6]);
        assert_eq!(indexes(&log.chunk(Index::new(6), 64, 1000)), [6, 7]);
        assert!(log.chunk(Index::new(8), 64, 1000).is_empty());
        assert_eq!(indexes(&log.between(Index::new(4), Index::new(6))), [5, 6]);
    }

    #[test]
    fn a_snapshot_of_this_history_keeps_what_is_behind_it() {
        let mut log = log();
        log.replace_by(snapshot(6, 2));
        assert_eq!((log.base(), log.last()), (Index::new(6), Index::new(7)));
        let mut log = self::log();
        log.replace_by(snapshot(6, 3));
        assert_eq!((log.base(), log.last()), (Index::new(6), Index::new(6)));
        let mut log = self::log();
        log.replace_by(snapshot(9, 3));
        assert_eq!(
            (log.base(), log.last(), log.last_term()),
            (Index::new(9), Index::new(9), Term::new(3))
        );
    }
}
