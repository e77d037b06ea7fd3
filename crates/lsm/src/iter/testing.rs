//! Sources in memory, and a walk that compares any two cursors step by step.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use ringwood_env::UnixMillis;

use crate::cursor::Cursor;
use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::files::FileNumber;
use crate::iter::level::Run;
use crate::key::{InternalKey, Kind, SeqNo, split_deadline};
use crate::range_tombstone::{RangeTombstone, RangeTombstones};
use crate::slice::Slice;
use crate::sstable::TableMeta;

/// An owned entry; sorts as internal keys do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) user: Vec<u8>,
    pub(crate) seq: SeqNo,
    pub(crate) kind: Kind,
    pub(crate) value: Vec<u8>,
}

impl Entry {
    pub(crate) fn key(&self) -> InternalKey<'_> {
        InternalKey::new(&self.user, self.seq, self.kind)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Sorted entries with sequence numbers that do not repeat, over few short keys.
pub(crate) fn any_entries(len: Range<usize>) -> impl Strategy<Value = Vec<Entry>> {
    let kind = prop_oneof![
        3 => Just(Kind::Put),
        1 => Just(Kind::PutExpiring),
        1 => Just(Kind::Delete),
    ];
    let change = (any_key(), kind, 0..20_u64);
    proptest::collection::vec(change, len).prop_map(|changes| {
        let entry = |(n, (user, kind, deadline)): (usize, (Vec<u8>, Kind, u64))| {
            let mut value = match kind {
                Kind::PutExpiring => deadline.to_le_bytes().to_vec(),
                _ => Vec::new(),
            };
            if kind != Kind::Delete {
                value.extend_from_slice(format!("value {n}").as_bytes());
            }
            let seq = SeqNo::new(n as u64 + 1);
            Entry {
                user,
                seq,
                kind,
                value,
            }
        };
        let mut entries: Vec<_> = changes.into_iter().enumerate().map(entry).collect();
        entries.sort();
        entries
    })
}

/// Short keys over a small alphabet, so that prefixes and repetitions occur.
pub(crate) fn any_key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(b'a'..b'd', 0..4)
}

/// Entries in memory; can be made to fail once.
pub(crate) struct VecCursor {
    entries: Arc<Vec<Entry>>,
    at: Option<usize>,
    moves_until_failure: Option<u32>,
}

impl VecCursor {
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        assert!(entries.is_sorted());
        Self::shared(Arc::new(entries))
    }

    pub(crate) fn shared(entries: Arc<Vec<Entry>>) -> Self {
        Self {
            entries,
            at: None,
            moves_until_failure: None,
        }
    }

    /// Move number `n` (from 0) will fail.
    pub(crate) fn fail_at_move(&mut self, n: u32) {
        self.moves_until_failure = Some(n);
    }

    fn go(&mut self, to: Option<usize>) -> Result<()> {
        self.at = to.filter(|&at| at < self.entries.len());
        match &mut self.moves_until_failure {
            Some(0) => {
                self.moves_until_failure = None;
                self.at = None;
                Err(planted_failure())
            }
            Some(moves) => {
                *moves -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn present(&self) -> usize {
        self.at.expect("a cursor that is used is valid")
    }
}

pub(crate) fn planted_failure() -> Error {
    Corruption::new(Path::new("planted"), 0, CorruptionKind::Checksum).into()
}

impl Cursor for VecCursor {
    fn valid(&self) -> bool {
        self.at.is_some()
    }
    fn seek_to_first(&mut self) -> Result<()> {
        self.go(Some(0))
    }
    fn seek_to_last(&mut self) -> Result<()> {
        self.go(self.entries.len().checked_sub(1))
    }
    fn seek(&mut self, target: InternalKey<'_>) -> Result<()> {
        let at = self.entries.partition_point(|entry| entry.key() < target);
        self.go(Some(at))
    }
    fn seek_back(&mut self, target: InternalKey<'_>) -> Result<()> {
        let behind = self.entries.partition_point(|entry| entry.key() <= target);
        self.go(behind.checked_sub(1))
    }
    fn next(&mut self) -> Result<()> {
        let at = self.present();
        self.go(Some(at + 1))
    }
    fn prev(&mut self) -> Result<()> {
        let at = self.present();
        self.go(at.checked_sub(1))
    }
    fn key(&self) -> InternalKey<'_> {
        self.entries[self.present()].key()
    }
    fn value(&self) -> &[u8] {
        &self.entries[self.present()].value
    }
    fn pin_value(&self) -> Slice {
        let at = self.present();
        Slice::of(Arc::clone(&self.entries), |entries| &entries[at].value)
    }
}

/// A table in memory.
#[derive(Debug)]
pub(crate) struct TestTable {
    pub(crate) meta: TableMeta,
    pub(crate) entries: Arc<Vec<Entry>>,
    pub(crate) ranges: Arc<RangeTombstones>,
}

impl TestTable {
    /// Describes it as a manifest would; there must be an entry or a range delete.
    pub(crate) fn new(number: FileNumber, entries: Vec<Entry>, ranges: RangeTombstones) -> Self {
        assert!(entries.is_sorted());
        let tombstones: Vec<_> = ranges.tombstones().collect();
        let points = entries.iter().map(|entry| entry.key().to_vec());
        let encode = |user, seq| InternalKey::new(user, seq, Kind::RangeDelete).to_vec();
        let starts = tombstones.iter().map(|t| encode(&t.start, t.seq));
        let ends = tombstones.iter().map(|t| encode(&t.end, SeqNo::MAX));
        let by_order =
            |a: &Vec<u8>, b: &Vec<u8>| InternalKey::decode(a).cmp(&InternalKey::decode(b));
        let seqs = entries.iter().map(|entry| entry.seq);
        let seqs = seqs.chain(tombstones.iter().map(|t| t.seq));
        let deletes = entries.iter().filter(|entry| entry.kind == Kind::Delete);
        let meta = TableMeta {
            number,
            len: entries.iter().map(entry_len).sum(),
            smallest: points.clone().chain(starts).min_by(by_order).unwrap(),
            largest: points.chain(ends).max_by(by_order).unwrap(),
            first_seq: seqs.clone().min().unwrap(),
            last_seq: seqs.max().unwrap(),
            entries: entries.len() as u64,
            deletes: deletes.count() as u64,
            range_deletes: tombstones.len() as u64,
            deadlines: None,
            spread: Default::default(),
            raw_key_len: 0,
            raw_value_len: 0,
            created_at_ms: 0,
        };
        Self {
            meta,
            entries: Arc::new(entries),
            ranges: Arc::new(ranges),
        }
    }
}

/// Bytes an entry takes in a table in memory.
pub(crate) fn entry_len(entry: &Entry) -> u64 {
    (entry.user.len() + entry.value.len() + 8) as u64
}

/// A run of tables in memory that counts how often one was opened.
#[derive(Clone, Debug)]
pub(crate) struct TestRun {
    tables: Vec<Arc<TestTable>>,
    opened: Arc<AtomicU32>,
}

impl TestRun {
    pub(crate) fn new(tables: Vec<Arc<TestTable>>) -> Self {
        Self {
            tables,
            opened: Arc::default(),
        }
    }

    /// Cuts sorted entries into tables of about `table_len`, never within a user key.
    pub(crate) fn cut(entries: &[Entry], table_len: usize) -> Self {
        let mut tables = Vec::new();
        let mut table: Vec<Entry> = Vec::new();
        for entry in entries {
            if table.len() >= table_len && table[table.len() - 1].user != entry.user {
                tables.push(std::mem::take(&mut table));
            }
            table.push(entry.clone());
        }
        if !table.is_empty() {
            tables.push(table);
        }
        let number = FileNumber::new(1);
        let table = |entries| TestTable::new(number, entries, RangeTombstones::default());
        Self::new(tables.into_iter().map(table).map(Arc::new).collect())
    }

    pub(crate) fn opened(&self) -> u32 {
        self.opened.load(Ordering::Relaxed)
    }
}

impl Run for TestRun {
    type Table = Arc<TestTable>;
    type Cursor = VecCursor;

    fn tables(&self) -> &[Arc<TestTable>] {
        &self.tables
    }

    fn meta(table: &Arc<TestTable>) -> &TableMeta {
        &table.meta
    }

    fn open(&self, table: &Arc<TestTable>) -> Result<VecCursor> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(VecCursor::shared(Arc::clone(&table.entries)))
    }
}

/// What a reader sees at `at` when it is `now`, computed the slow way: values and deadlines.
pub(crate) fn visible(
    entries: &[Entry],
    ranges: &[RangeTombstone],
    at: SeqNo,
    now: UnixMillis,
) -> BTreeMap<Vec<u8>, (Vec<u8>, Option<UnixMillis>)> {
    let mut newest: BTreeMap<&[u8], &Entry> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.seq <= at) {
        let known = newest.entry(&entry.user).or_insert(entry);
        if entry.seq > known.seq {
            *known = entry;
        }
    }
    let covered = |entry: &Entry| {
        ranges.iter().any(|range| {
            (&range.start..&range.end).contains(&&entry.user)
                && range.seq > entry.seq
                && range.seq <= at
        })
    };
    newest.retain(|_, entry| entry.kind != Kind::Delete && !covered(entry));
    let shown = newest.into_values().filter_map(|entry| {
        let (deadline, value) = match entry.kind {
            Kind::PutExpiring => {
                let (deadline, value) = split_deadline(&entry.value).unwrap();
                (Some(deadline), value)
            }
            _ => (None, &entry.value[..]),
        };
        let lives = deadline.is_none_or(|deadline| deadline > now);
        lives.then(|| (entry.user.clone(), (value.to_vec(), deadline)))
    });
    shown.collect()
}

/// One move of a walk.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    First,
    Last,
    Seek(Vec<u8>, SeqNo),
    SeekBack(Vec<u8>, SeqNo),
    Next,
    Prev,
}

impl Arbitrary for Step {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let place = || (any_key(), (0..100_u64).prop_map(SeqNo::new));
        prop_oneof![
            1 => Just(Self::First),
            1 => Just(Self::Last),
            3 => place().prop_map(|(key, seq)| Self::Seek(key, seq)),
            3 => place().prop_map(|(key, seq)| Self::SeekBack(key, seq)),
            10 => Just(Self::Next),
            10 => Just(Self::Prev),
        ]
        .boxed()
    }
}

/// Makes a move; next and prev are left out where the cursor is not valid. `false`: it failed.
fn make(cursor: &mut impl Cursor, step: &Step) -> bool {
    let moved = match step {
        Step::First => cursor.seek_to_first(),
        Step::Last => cursor.seek_to_last(),
        Step::Seek(key, seq) => cursor.seek(InternalKey::seek_to(key, *seq)),
        Step::SeekBack(key, seq) => cursor.seek_back(InternalKey::seek_to(key, *seq)),
        Step::Next if cursor.valid() => cursor.next(),
        Step::Prev if cursor.valid() => cursor.prev(),
        Step::Next | Step::Prev => Ok(()),
    };
    moved.is_ok()
}

/// Walks both cursors through the same steps and compares where they stand. After a failure of
/// `cursor` it must not be valid, and steps are left out until the next seek.
pub(crate) fn check_walk(
    mut cursor: impl Cursor,
    mut model: impl Cursor,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let mut failed = false;
    for step in steps {
        if failed && matches!(step, Step::Next | Step::Prev) {
            continue;
        }
        failed = !make(&mut cursor, step);
        prop_assert!(make(&mut model, step));
        prop_assert_eq!(cursor.valid(), !failed && model.valid(), "after {:?}", step);
        if cursor.valid() {
            prop_assert_eq!(cursor.key(), model.key(), "after {:?}", step);
            prop_assert_eq!(cursor.value(), model.value());
            prop_assert_eq!(&cursor.pin_value()[..], model.value());
        }
    }
    Ok(())
}
