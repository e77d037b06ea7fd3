use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use proptest::sample::Index;
use ringwood_env::clock::ManualClock;

use super::*;
use crate::compaction::output::Boundary;
use crate::compaction::testing::{NOT_CANCELLED, Shelf, no_limit};
use crate::files::FileNumber;
use crate::iter::testing::{Entry, TestRun, TestTable, VecCursor, any_key, visible};
use crate::iter::{LevelCursor, MergeCursor, View, VisibleCursor};
use crate::key::SeqNo;
use crate::options::ExpiryFilter;
use crate::range_tombstone::{RangeTombstone, Readers};

/// A mistake that a compaction could make, for the oracle to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    None,
    /// Drops what an open snapshot sees.
    ForgetsSnapshots,
    /// Drops deletes although older changes lie below.
    TakesEveryLevelForTheLowest,
    /// Takes what will expire for expired.
    RunsAhead,
    /// Ends no range delete at the table's end.
    LosesRangeDeletes,
}

#[derive(Clone, Debug)]
enum Op {
    Put(Vec<u8>),
    /// With milliseconds to live.
    PutExpiring(Vec<u8>, u64),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
    Snapshot,
    Release(Index),
    Wait(u64),
    Flush,
    /// Merges so many of the newest sublevels of L0.
    CompactWithinL0(usize),
    CompactL0,
    CompactL1(Index),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => any_key().prop_map(Op::Put),
        4 => (any_key(), 0..9_u64).prop_map(|(key, ttl)| Op::PutExpiring(key, ttl)),
        6 => any_key().prop_map(Op::Delete),
        3 => (any_key(), any_key()).prop_map(|(a, b)| {
            let (start, end) = if a <= b { (a, b) } else { (b, a) };
            Op::DeleteRange(start, end)
        }),
        3 => Just(Op::Snapshot),
        3 => any::<Index>().prop_map(Op::Release),
        2 => (1..5_u64).prop_map(Op::Wait),
        4 => Just(Op::Flush),
        1 => (2..4_usize).prop_map(Op::CompactWithinL0),
        2 => Just(Op::CompactL0),
        2 => any::<Index>().prop_map(Op::CompactL1),
    ]
}

type Tables = Vec<Arc<TestTable>>;

/// A store without a log, and everything that was ever written to it.
struct Store {
    defect: Defect,
    history: Vec<Entry>,
    range_history: Vec<RangeTombstone>,
    snapshots: Vec<SeqNo>,
    clock: Arc<ManualClock>,
    memtable: Vec<Entry>,
    memtable_ranges: Vec<RangeTombstone>,
    /// Newest first.
    l0: Vec<Tables>,
    l1: Tables,
    l2: Tables,
    shelf: Shelf,
    last_seq: SeqNo,
}

impl Store {
    fn new(defect: Defect) -> Self {
        Self {
            defect,
            history: Vec::new(),
            range_history: Vec::new(),
            snapshots: Vec::new(),
            clock: Arc::new(ManualClock::new(1000)),
            memtable: Vec::new(),
            memtable_ranges: Vec::new(),
            l0: Vec::new(),
            l1: Vec::new(),
            l2: Vec::new(),
            shelf: Shelf::default(),
            last_seq: SeqNo::ZERO,
        }
    }

    fn now(&self) -> UnixMillis {
        ringwood_env::Clock::wall(&*self.clock)
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Put(key) => self.write(key, Kind::Put, &[]),
            Op::PutExpiring(key, ttl) => {
                let deadline = self.now() + ttl;
                self.write(key, Kind::PutExpiring, &deadline.to_le_bytes());
            }
            Op::Delete(key) => self.write(key, Kind::Delete, &[]),
            Op::DeleteRange(start, end) => {
                self.last_seq = self.last_seq.plus(1);
                let tombstone = RangeTombstone {
                    start: start.clone(),
                    end: end.clone(),
                    seq: self.last_seq,
                };
                self.range_history.push(tombstone.clone());
                self.memtable_ranges.push(tombstone);
            }
            Op::Snapshot => self.snapshots.push(self.last_seq),
            Op::Release(_) if self.snapshots.is_empty() => {}
            Op::Release(index) => {
                self.snapshots.remove(index.index(self.snapshots.len()));
            }
            Op::Wait(ms) => self.clock.advance(std::time::Duration::from_millis(*ms)),
            Op::Flush => self.flush(),
            Op::CompactWithinL0(count) => self.compact_within_l0(*count),
            Op::CompactL0 => self.compact_l0(),
            Op::CompactL1(_) if self.l1.is_empty() => {}
            Op::CompactL1(index) => self.compact_l1(index.index(self.l1.len())),
        }
    }

    fn write(&mut self, key: &[u8], kind: Kind, prefix: &[u8]) {
        self.last_seq = self.last_seq.plus(1);
        let mut value = prefix.to_vec();
        if kind != Kind::Delete {
            value.extend_from_slice(format!("value {}", self.last_seq.get()).as_bytes());
        }
        let entry = Entry {
            user: key.to_vec(),
            seq: self.last_seq,
            kind,
            value,
        };
        self.history.push(entry.clone());
        self.memtable.push(entry);
    }

    fn run(&self, inputs: &[Tables], older: &[&Tables], below: &Tables) -> Tables {
        let cursors = inputs
            .iter()
            .map(|run| LevelCursor::new(TestRun::new(run.clone())));
        let ranges: Vec<_> = inputs
            .iter()
            .flatten()
            .map(|t| Arc::clone(&t.ranges))
            .collect();
        let mut snapshots = self.snapshots.clone();
        snapshots.sort_unstable();
        snapshots.push(self.last_seq);
        if self.defect == Defect::ForgetsSnapshots {
            snapshots = vec![self.last_seq];
        }
        let older_below = |start: &[u8], end: &[u8]| {
            self.defect != Defect::TakesEveryLevelForTheLowest
                && older
                    .iter()
                    .any(|run| run.iter().any(|table| table.meta.overlaps(start, end)))
        };
        let compacted = Compaction {
            inputs: MergeCursor::new(cursors.collect()),
            tombstones: match self.defect {
                Defect::LosesRangeDeletes => RangeTombstones::empty(),
                _ => RangeTombstones::merged(&ranges, Readers::At(&snapshots)),
            },
            retention: Retention {
                snapshots,
                older_below: &older_below,
                expiry_filter: None,
                now: self.now()
                    + if self.defect == Defect::RunsAhead {
                        5
                    } else {
                        0
                    },
            },
            cuts: Cuts {
                overlap_max: 100,
                ..Cuts::beside(60, below.iter().map(|table| &table.meta))
            },
            tables: self.shelf.maker(),
            rate: &no_limit(),
            urgency: Urgency::Compaction,
            cancelled: &NOT_CANCELLED,
        };
        let compacted = compacted.run().unwrap().expect("nobody cancels");
        compacted
            .tables
            .iter()
            .map(|meta| self.shelf.get(meta))
            .collect()
    }

    fn flush(&mut self) {
        let mut entries = std::mem::take(&mut self.memtable);
        entries.sort();
        let ranges: RangeTombstones = self.memtable_ranges.drain(..).collect();
        if entries.is_empty() && ranges.is_empty() {
            return;
        }
        let memtable = Arc::new(TestTable::new(FileNumber::new(0), entries, ranges));
        let everything = vec![Arc::clone(&memtable)];
        let run = self.run(&[vec![memtable]], &[&everything], &self.l1);
        self.l0.insert(0, run);
    }

    fn compact_within_l0(&mut self, count: usize) {
        let rest = self.l0.split_off(count.min(self.l0.len()));
        let inputs = std::mem::take(&mut self.l0);
        let older: Vec<_> = rest.iter().chain([&self.l1, &self.l2]).collect();
        let run = self.run(&inputs, &older, &self.l1);
        self.l0 = rest;
        self.l0.insert(0, run);
    }

    fn compact_l0(&mut self) {
        let mut inputs = std::mem::take(&mut self.l0);
        let (overlapping, rest) = split_overlapping(&self.l1, &inputs.concat());
        inputs.push(overlapping);
        let outputs = self.run(&inputs, &[&self.l2], &self.l2);
        self.l1 = insert(rest, outputs);
    }

    fn compact_l1(&mut self, index: usize) {
        let picked = vec![self.l1.remove(index)];
        let (overlapping, rest) = split_overlapping(&self.l2, &picked);
        let outputs = self.run(&[picked, overlapping], &[], &Vec::new());
        self.l2 = insert(rest, outputs);
    }

    /// What is wrong, if anything: what is seen at any snapshot, or how tables lie.
    fn check(&self) -> Result<(), String> {
        for level in self.l0.iter().chain([&self.l1, &self.l2]) {
            check_layout(level)?;
        }
        for &at in self.snapshots.iter().chain([&self.last_seq]) {
            let expected = visible(&self.history, &self.range_history, at, self.now());
            let found = self.scan(at);
            if found != expected {
                return Err(format!(
                    "at {at:?}\n   found {found:?}\nexpected {expected:?}"
                ));
            }
        }
        Ok(())
    }

    fn scan(&self, at: SeqNo) -> BTreeMap<Vec<u8>, (Vec<u8>, Option<UnixMillis>)> {
        let mut memtable = self.memtable.clone();
        memtable.sort();
        let levels = self.l0.iter().chain([&self.l1, &self.l2]);
        let mut sources: Vec<Box<dyn Cursor>> = vec![Box::new(VecCursor::new(memtable))];
        let mut tombstones = vec![Arc::new(self.memtable_ranges.iter().cloned().collect())];
        for level in levels {
            sources.push(Box::new(LevelCursor::new(TestRun::new(level.clone()))));
            tombstones.extend(level.iter().map(|table| Arc::clone(&table.ranges)));
        }
        let view = View {
            at,
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            tombstones,
            deadlines: Arc::clone(&self.clock) as Arc<dyn crate::clock::Deadlines>,
            tier: crate::cursor::ReadTier::Disk,
        };
        let mut cursor = VisibleCursor::new(MergeCursor::new(sources), view);
        let mut found = BTreeMap::new();
        cursor.seek_to_first().unwrap();
        while cursor.valid() {
            found.insert(
                cursor.key().to_vec(),
                (cursor.value().to_vec(), cursor.deadline()),
            );
            cursor.next().unwrap();
        }
        found
    }
}

/// The tables of `level` between the first and the last key of `picked`, and the others. One that lies
/// in a gap of `picked` is among them, as an output may span the gap.
fn split_overlapping(level: &Tables, picked: &Tables) -> (Tables, Tables) {
    let start = picked.iter().map(|table| table.meta.smallest().user).min();
    let end = picked.iter().map(|table| table.meta.largest().user).max();
    let bounds = start.zip(end);
    level
        .iter()
        .cloned()
        .partition(|table| bounds.is_some_and(|(start, end)| table.meta.overlaps(start, end)))
}

fn insert(mut level: Tables, tables: Tables) -> Tables {
    level.extend(tables);
    level.sort_by(|a, b| a.meta.smallest().cmp(&b.meta.smallest()));
    level
}

// output-1, output-2
fn check_layout(level: &Tables) -> Result<(), String> {
    for pair in level.windows(2) {
        let (left, right) = (&pair[0].meta, &pair[1].meta);
        let reaches = left.reaches(right.smallest().user);
        if left.largest() >= right.smallest() || reaches {
            return Err(format!("{left:?} overlaps {right:?}"));
        }
    }
    for table in level {
        if table.entries.is_empty() && table.ranges.is_empty() {
            return Err("an empty table".to_owned());
        }
    }
    Ok(())
}

fn run_all(defect: Defect, ops: &[Op]) -> Result<(), String> {
    let mut store = Store::new(defect);
    for (n, op) in ops.iter().enumerate() {
        store.apply(op);
        if matches!(
            op,
            Op::Flush | Op::CompactWithinL0(_) | Op::CompactL0 | Op::CompactL1(_)
        ) {
            store
                .check()
                .map_err(|wrong| format!("after step {n}, {op:?}: {wrong}"))?;
        }
    }
    store.check()
}

fn cases(default: u32) -> ProptestConfig {
    let knob = std::env::var("RINGWOOD_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig::with_cases(knob.unwrap_or(default))
}

proptest! {
    #![proptest_config(cases(300))]

    // retain-1 to retain-4
    #[test]
    fn no_reader_sees_a_compaction(ops in proptest::collection::vec(any_op(), 0..150)) {
        if let Err(wrong) = run_all(Defect::None, &ops) {
            prop_assert!(false, "{}", wrong);
        }
    }
}

/// The oracle above is only worth what it finds.
#[test]
fn planted_defects_are_found() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    for defect in [
        Defect::ForgetsSnapshots,
        Defect::TakesEveryLevelForTheLowest,
        Defect::RunsAhead,
        Defect::LosesRangeDeletes,
    ] {
        let mut runner = TestRunner::deterministic();
        let sequences = proptest::collection::vec(any_op(), 100..150);
        let found = (0..100).find(|_| {
            let ops = sequences.new_tree(&mut runner).unwrap().current();
            run_all(defect, &ops).is_err()
        });
        assert!(found.is_some(), "nothing wrong was seen of {defect:?}");
    }
}

fn put(user: &str, seq: u64) -> Entry {
    Entry {
        user: user.into(),
        seq: SeqNo::new(seq),
        kind: Kind::Put,
        value: vec![b'v'; 10],
    }
}

fn range(start: &str, end: &str, seq: u64) -> RangeTombstone {
    RangeTombstone {
        start: start.into(),
        end: end.into(),
        seq: SeqNo::new(seq),
    }
}

/// What a compaction to the lowest level makes of these inputs.
struct Simple<'a> {
    entries: Vec<Entry>,
    ranges: Vec<RangeTombstone>,
    retention: Retention<'a>,
    cuts: Cuts,
    shelf: Shelf,
    cancelled: AtomicBool,
}

impl Simple<'_> {
    fn new(entries: Vec<Entry>, ranges: Vec<RangeTombstone>) -> Self {
        Self {
            entries,
            ranges,
            retention: Retention {
                snapshots: Vec::new(),
                older_below: &|_, _| false,
                expiry_filter: None,
                now: 100,
            },
            cuts: Cuts {
                target_len: 1000,
                boundaries: Vec::new(),
                overlap_max: u64::MAX,
            },
            shelf: Shelf::default(),
            cancelled: AtomicBool::new(false),
        }
    }

    fn try_run(self) -> Result<Option<Compacted>> {
        let compaction = Compaction {
            inputs: VecCursor::new(self.entries),
            tombstones: Arc::new(self.ranges.into_iter().collect()),
            retention: self.retention,
            cuts: self.cuts,
            tables: self.shelf.maker(),
            rate: &no_limit(),
            urgency: Urgency::Compaction,
            cancelled: &self.cancelled,
        };
        compaction.run()
    }

    fn run(self) -> (Compacted, Tables) {
        let shelf = self.shelf.clone();
        let compacted = self.try_run().unwrap().unwrap();
        let tables = compacted
            .tables
            .iter()
            .map(|meta| shelf.get(meta))
            .collect();
        (compacted, tables)
    }
}

fn users(table: &TestTable) -> String {
    let users = table
        .entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.user));
    users.collect::<Vec<_>>().join(" ")
}

#[test]
fn tables_end_when_full_but_never_within_a_key() {
    let mut entries = vec![put("a", 1)];
    entries.extend((2..=9).rev().map(|seq| put("b", seq)));
    entries.extend([put("c", 10), put("d", 11)]);
    let mut job = Simple::new(entries, Vec::new());
    job.retention.snapshots = (1..=11).map(SeqNo::new).collect();
    job.cuts.target_len = 38; // two entries
    let (_, tables) = job.run();
    let contents: Vec<_> = tables.iter().map(|table| users(table)).collect();
    assert_eq!(contents, ["a b b b b b b b b", "c d"]);
}

#[test]
fn tables_end_with_those_below_when_half_full_or_overlapping_too_much() {
    let entries: Vec<_> = ('a'..='z').map(|c| put(&c.to_string(), 1)).collect();
    let mut job = Simple::new(entries, Vec::new());
    let boundary = |key: &str, len| Boundary {
        key: key.into(),
        len,
    };
    job.cuts = Cuts {
        target_len: 10 * 19,
        boundaries: vec![
            boundary("c", 10),
            boundary("h", 10),
            boundary("i", 60),
            boundary("j", 60),
        ],
        overlap_max: 100,
    };
    let (_, tables) = job.run();
    let firsts: Vec<_> = tables
        .iter()
        .map(|table| users(table)[..1].to_owned())
        .collect();
    assert_eq!(firsts, ["a", "h", "j", "t"]);
}

#[test]
fn a_range_delete_is_shared_out_and_reaches_no_further_than_its_table() {
    let mut job = Simple::new(vec![put("b", 9), put("m", 9)], vec![range("a", "z", 5)]);
    job.retention.older_below = &|_, _| true;
    job.cuts.target_len = 1;
    let (_, tables) = job.run();
    let bounds: Vec<_> = tables
        .iter()
        .map(|table| (table.meta.smallest().user, table.meta.largest().user))
        .collect();
    assert_eq!(bounds, [(&b"a"[..], &b"m"[..]), (b"m", b"z")]);
    assert!(tables.iter().all(|table| table.meta.largest_is_excluded()));
    check_layout(&tables).unwrap();
}

#[test]
fn a_range_delete_alone_is_cut_where_tables_below_begin() {
    let mut job = Simple::new(Vec::new(), vec![range("a", "z", 5)]);
    job.retention.older_below = &|_, _| true;
    job.cuts.overlap_max = 15;
    job.cuts.boundaries = ["a", "f", "k", "p", "u", "zz"]
        .map(|key| Boundary {
            key: key.into(),
            len: 10,
        })
        .into();
    let (_, tables) = job.run();
    let starts: Vec<_> = tables
        .iter()
        .map(|table| table.meta.smallest().user)
        .collect();
    assert_eq!(starts, [&b"a"[..], b"f", b"p"]);
}

#[test]
fn range_deletes_go_at_the_bottom_unless_a_snapshot_is_older() {
    let job = || Simple::new(vec![put("b", 4)], vec![range("a", "z", 5)]);
    let (compacted, tables) = job().run();
    assert!(tables.is_empty());
    assert_eq!(compacted.statistics.dropped.covered, 1);

    let mut watched = job();
    watched.retention.snapshots = vec![SeqNo::new(4)];
    let (_, tables) = watched.run();
    assert_eq!(
        (tables[0].meta.entries, tables[0].meta.range_deletes),
        (1, 1)
    );

    let mut above = job();
    above.retention.older_below = &|start, end| start <= &b"y"[..] && end >= &b"y"[..];
    let (_, tables) = above.run();
    assert_eq!(
        (tables[0].meta.entries, tables[0].meta.range_deletes),
        (0, 1)
    );
}

#[derive(Debug)]
struct ForgetUntil(UnixMillis);

impl ExpiryFilter for ForgetUntil {
    fn may_forget(&self, _key: &[u8], deadline: UnixMillis) -> bool {
        deadline <= self.0
    }
}

// retain-4
#[test]
fn what_expired_loses_its_value_and_stays_until_the_filter_lets_it_go() {
    let expiring = |user: &str, deadline: u64| Entry {
        kind: Kind::PutExpiring,
        value: [&deadline.to_le_bytes()[..], b"value"].concat(),
        ..put(user, 7)
    };
    let entries = vec![
        expiring("a", 100),
        put("a", 1),
        expiring("b", 101),
        expiring("c", 99),
    ];
    let run = |entries: &[Entry], until| {
        let mut job = Simple::new(entries.to_vec(), Vec::new());
        job.retention.expiry_filter = Some(Arc::new(ForgetUntil(until)));
        let (compacted, tables) = job.run();
        let entries = tables
            .first()
            .map_or(Vec::new(), |table| table.entries.to_vec());
        (compacted.statistics.dropped, entries)
    };
    let (dropped, kept) = run(&entries, 99);
    assert_eq!((dropped.expired, dropped.shadowed), (1, 1));
    assert_eq!((&kept[0].user[..], kept[0].kind), (&b"a"[..], Kind::Delete));
    assert_eq!(
        kept[0].value,
        100_u64.to_le_bytes(),
        "the deadline is remembered"
    );
    assert_eq!(kept[1], entries[2], "what lives is left alone");

    let (_, kept_again) = run(&kept, 99);
    assert_eq!(
        kept_again, kept,
        "the filter is asked about deletes that expiry left"
    );
    let (_, at_last) = run(&kept, 100);
    assert_eq!(at_last, [entries[2].clone()]);
}

// job-1
#[test]
fn whatever_fails_leaves_no_table_behind() {
    let entries: Vec<_> = ('a'..='z').map(|c| put(&c.to_string(), 1)).collect();
    for fail_at in 0..3 {
        let mut job = Simple::new(entries.clone(), Vec::new());
        job.cuts.target_len = 150;
        let shelf = job.shelf.clone();
        shelf.fail_at_finish(fail_at);
        assert!(job.try_run().is_err());
        assert!(shelf.is_empty());
    }

    let job = Simple::new(entries.clone(), Vec::new());
    let shelf = job.shelf.clone();
    job.cancelled.store(true, Ordering::Relaxed);
    assert_eq!(job.try_run().unwrap(), None);
    assert!(shelf.is_empty());

    for fail_at in 0..=26 {
        let mut inputs = VecCursor::new(entries.clone());
        inputs.fail_at_move(fail_at);
        let job = Simple::new(Vec::new(), Vec::new());
        let shelf = job.shelf.clone();
        let failing = Compaction {
            inputs,
            tombstones: RangeTombstones::empty(),
            retention: job.retention,
            cuts: Cuts {
                target_len: 150,
                ..job.cuts
            },
            tables: shelf.maker(),
            rate: &no_limit(),
            urgency: Urgency::Compaction,
            cancelled: &NOT_CANCELLED,
        };
        assert!(failing.run().is_err());
        assert!(shelf.is_empty());
    }
}

#[test]
fn inputs_out_of_order_are_corruption() {
    let disordered = [
        vec![put("b", 1), put("a", 1)],
        vec![put("a", 1), put("a", 2)],
    ];
    for entries in disordered {
        let retention = Simple::new(Vec::new(), Vec::new()).retention;
        let mut sieve = Sieve::new(&retention, RangeTombstones::empty());
        sieve.take(entries[0].key(), || &[]).unwrap();
        let taken = sieve.take(entries[1].key(), || &[]);
        assert!(
            matches!(taken, Err(crate::Error::Corruption(_))),
            "{taken:?}"
        );
    }
}
