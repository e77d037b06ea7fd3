//! A whole tree of tables whose entries are kept beside it, so that thousands of flushes and
//! compactions run in a second, and every answer can be compared with a map's.

use std::collections::BTreeMap;

use ringwood_env::random::SeededRandom;

use super::*;
use crate::compaction::plan::JobId;
use crate::compaction::shape::{WritePressure, debt, pressure};
use crate::key::{InternalKey, Kind};
use crate::manifest::LEVELS;
use crate::manifest::testing::{meta, of, table};
use crate::options::ExpiryFilter;
use crate::sstable::{Expiring, Spread, TableMeta};

const ENTRY_LEN: u64 = 100;

/// Key, sequence number, and whether it is a put.
type Entry = (u32, u64, bool);

struct Tree {
    version: Version,
    options: KeyspaceOptions,
    running: InProgress,
    jobs: Vec<(JobId, CompactionPlan)>,
    entries: BTreeMap<FileNumber, Vec<Entry>>,
    model: BTreeMap<u32, Entry>,
    number: u64,
    seq: u64,
    now_ms: u64,
    flushed: u64,
    written: u64,
    moves: u64,
    intra: u64,
    depth_max: usize,
}

impl Tree {
    fn new(table_entries: u64) -> Self {
        let options = KeyspaceOptions {
            table_len: table_entries * ENTRY_LEN,
            ..KeyspaceOptions::default()
        };
        Self {
            version: Version::default(),
            options,
            running: InProgress::default(),
            jobs: Vec::new(),
            entries: BTreeMap::new(),
            model: BTreeMap::new(),
            number: 0,
            seq: 0,
            now_ms: 0,
            flushed: 0,
            written: 0,
            moves: 0,
            intra: 0,
            depth_max: 0,
        }
    }

    fn picker(&self) -> Picker<'_> {
        let newest = SeqNo::new(self.seq);
        Picker::new(
            &self.version,
            &self.options,
            &self.running,
            self.now_ms,
            newest,
        )
    }

    fn make(&mut self, entries: Vec<Entry>) -> Arc<Table> {
        self.number += 1;
        let first_seq = entries.iter().map(|(_, seq, _)| *seq).min().unwrap();
        let last_seq = entries.iter().map(|(_, seq, _)| *seq).max().unwrap();
        let [from, to] =
            [entries[0], entries[entries.len() - 1]].map(|(key, ..)| key.to_be_bytes());
        let meta = TableMeta {
            len: entries.len() as u64 * ENTRY_LEN,
            entries: entries.len() as u64,
            deletes: entries.iter().filter(|(.., is_put)| !is_put).count() as u64,
            created_at_ms: self.now_ms,
            ..meta(self.number, [&from, &to], [first_seq, last_seq])
        };
        self.entries.insert(meta.number, entries);
        of(meta)
    }

    /// Tables of at most `table_len` each.
    fn make_all(&mut self, entries: Vec<Entry>) -> Vec<Arc<Table>> {
        let per_table = usize::try_from(self.options.table_len / ENTRY_LEN).unwrap();
        let chunks = entries
            .chunks(per_table)
            .map(<[_]>::to_vec)
            .collect::<Vec<_>>();
        chunks.into_iter().map(|chunk| self.make(chunk)).collect()
    }

    /// Writes these changes as a memtable would be written.
    fn flush(&mut self, changes: impl IntoIterator<Item = (u32, bool)>) {
        let mut memtable = BTreeMap::new();
        for (key, is_put) in changes {
            self.seq += 1;
            memtable.insert(key, (key, self.seq, is_put));
        }
        self.model.extend(&memtable);
        self.flushed += memtable.len() as u64 * ENTRY_LEN;
        let tables = self.make_all(memtable.into_values().collect());
        let added: Vec<_> = tables.into_iter().map(|table| (0, table)).collect();
        self.version = self.version.with(&added, &[]);
        self.depth_max = self.depth_max.max(self.version.sublevels().len());
    }

    /// Takes up a compaction, if there is one; INVARIANT plan-1 and plan-2 are asserted by `begin`.
    fn begin(&mut self) -> bool {
        let plan = self.picker().pick();
        plan.is_some_and(|plan| {
            self.begin_plan(plan);
            true
        })
    }

    fn begin_plan(&mut self, plan: CompactionPlan) {
        let id = self.running.begin(plan.clone());
        self.jobs.push((id, plan));
    }

    fn finish(&mut self, at: usize) {
        let (id, plan) = self.jobs.swap_remove(at);
        let outputs = match plan.kind {
            CompactionKind::TrivialMove => {
                self.moves += 1;
                plan.tables().map(Arc::clone).collect()
            }
            _ => self.merge(&plan),
        };
        self.intra += u64::from(plan.kind == CompactionKind::IntraL0);
        let added: Vec<_> = outputs
            .into_iter()
            .map(|t| (plan.output_level, t))
            .collect();
        let inputs = plan.inputs.iter();
        let removed: Vec<_> = inputs
            .flat_map(|(level, tables)| tables.iter().map(|t| (*level, t.number)))
            .collect();
        self.version = self.version.with(&added, &removed);
        self.running.end(id);
    }

    fn merge(&mut self, plan: &CompactionPlan) -> Vec<Arc<Table>> {
        let mut newest: BTreeMap<u32, Entry> = BTreeMap::new();
        for table in plan.tables() {
            for entry in self.entries.remove(&table.number).unwrap() {
                let kept = newest.entry(entry.0).or_insert(entry);
                *kept = if kept.1 < entry.1 { entry } else { *kept };
            }
        }
        let kept: Vec<_> = newest
            .into_values()
            .filter(|(.., is_put)| *is_put || !plan.is_bottom)
            .collect();
        self.written += kept.len() as u64 * ENTRY_LEN;
        self.make_all(kept)
    }

    /// Does everything that is to be done.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            while self.begin() {}
            if self.jobs.is_empty() {
                return;
            }
            self.finish(0);
        }
        panic!("compaction does not come to an end");
    }

    fn get(&self, key: u32) -> Option<Entry> {
        self.version
            .tables_for(&key.to_be_bytes())
            .find_map(|table| {
                let entries = &self.entries[&table.number];
                let at = entries.binary_search_by_key(&key, |entry| entry.0);
                at.ok().map(|at| entries[at])
            })
    }

    fn check_all(&self) {
        for (key, entry) in &self.model {
            let found = self.get(*key).filter(|(.., is_put)| *is_put);
            assert_eq!(
                found,
                Some(*entry).filter(|(.., is_put)| *is_put),
                "key {key}"
            );
        }
    }

    fn check_shape(&self) {
        let shape = Shape::of(&self.version, &self.options);
        for level in [0].into_iter().chain(shape.base..BOTTOM) {
            let score = shape.score(level, &self.version, &self.options, &self.running);
            assert!(score < 1.0, "L{level} has score {score}");
        }
        assert_eq!(debt(&self.version, &self.options), 0);
        assert_eq!(pressure(&self.version, &self.options), WritePressure::None);
    }

    fn write_amplification(&self) -> f64 {
        self.written as f64 / self.flushed as f64
    }

    fn report(&self, name: &str) {
        let lens: Vec<_> = (0..LEVELS)
            .map(|level| self.version.level_len(level) / ENTRY_LEN)
            .collect();
        println!(
            "{name}: write amplification {:.2}, {} moves, {} within L0, at most {} sublevels, entries by level {lens:?}",
            1.0 + self.write_amplification(),
            self.moves,
            self.intra,
            self.depth_max,
        );
    }
}

/// `flushes` of 64 changes drawn by `change`, with up to two compactions at a time that end in random
/// order, as slowly as `pace` says: compactions ended for each flush.
fn run(
    seed: u64,
    flushes: u32,
    pace: f64,
    mut change: impl FnMut(&SeededRandom) -> (u32, bool),
) -> Tree {
    let random = SeededRandom::new(seed);
    let mut tree = Tree::new(64);
    for _ in 0..flushes {
        tree.now_ms += 1000;
        while pressure(&tree.version, &tree.options) == WritePressure::Stop {
            while tree.jobs.len() < 2 && tree.begin() {}
            tree.finish(random.index(tree.jobs.len()));
        }
        let changes: Vec<_> = (0..64).map(|_| change(&random)).collect();
        tree.flush(changes);
        let mut turns = pace;
        while turns >= 1.0 || random.chance(turns) {
            turns -= 1.0;
            while tree.jobs.len() < 2 && tree.begin() {}
            if !tree.jobs.is_empty() {
                tree.finish(random.index(tree.jobs.len()));
            }
            if turns <= 0.0 {
                break;
            }
        }
        if tree.number.is_multiple_of(50) {
            let keys: Vec<_> = tree.model.keys().copied().collect();
            for _ in 0..20 {
                let key = *random.pick(&keys);
                let (found, expected) = (tree.get(key), tree.model[&key]);
                assert!(
                    found == Some(expected) || (found.is_none() && !expected.2),
                    "key {key}"
                );
            }
        }
    }
    tree
}

/// A key below `n`.
fn key(random: &SeededRandom, n: u32) -> u32 {
    u32::try_from(random.below(n.into())).unwrap()
}

fn settle_and_check(tree: &mut Tree, name: &str) {
    tree.settle();
    tree.report(name);
    tree.check_all();
    tree.check_shape();
}

#[test]
fn random_writes_keep_their_shape_at_a_bounded_price() {
    let mut tree = run(1, 2000, 3.0, |random| (key(random, 50_000), true));
    settle_and_check(&mut tree, "random");
    assert!(tree.write_amplification() < 16.0);
}

#[test]
fn compaction_that_falls_behind_merges_l0_and_catches_up() {
    let mut tree = run(2, 800, 0.15, |random| (key(random, 50_000), true));
    settle_and_check(&mut tree, "behind");
    assert!(tree.depth_max > 2 * tree.options.l0_trigger && tree.intra > 0);
}

#[test]
fn writes_in_order_are_moved_and_never_rewritten() {
    let mut next = 0;
    let mut tree = run(3, 1000, 3.0, |_| {
        next += 1;
        (next, true)
    });
    settle_and_check(&mut tree, "in order");
    assert_eq!(tree.written, 0);
    assert!(tree.moves > 500);
}

#[test]
fn skewed_writes_stay_cheap() {
    let mut tree = run(4, 1000, 3.0, |random| {
        let hot = random.chance(0.9);
        let key = key(random, if hot { 500 } else { 50_000 });
        (key, true)
    });
    settle_and_check(&mut tree, "skewed");
    assert!(tree.write_amplification() < 12.0);
}

#[test]
fn deletes_give_their_space_back_even_when_no_level_is_too_large() {
    let mut tree = run(5, 600, 3.0, |random| (key(random, 20_000), true));
    settle_and_check(&mut tree, "before deletes");
    let keys: Vec<_> = tree.model.keys().copied().collect();
    for keys in keys.chunks(64) {
        tree.flush(keys.iter().map(|key| (*key, false)));
    }
    // Deletes rest in each level for a while before they are driven on.
    for _ in 0..2 * LEVELS {
        tree.now_ms += REST_MS;
        tree.settle();
    }
    tree.report("deletes");
    tree.check_all();
    assert_eq!(tree.version.tables().count(), 0, "nothing is left of it");
}

#[test]
fn a_mix_over_many_seeds_gives_right_answers_and_ends() {
    for seed in 100..106 {
        let random = SeededRandom::new(seed);
        let keys = 200 + key(&random, 20_000);
        let (deletes, pace) = (
            random.below(60) as f64 / 100.0,
            0.1 + random.below(30) as f64 / 10.0,
        );
        let mut tree = run(seed, 300, pace, |random| {
            (key(random, keys), !random.chance(deletes))
        });
        for _ in 0..2 * LEVELS {
            tree.now_ms += REST_MS;
            tree.settle();
        }
        tree.check_all();
        tree.check_shape();
    }
}

#[test]
fn a_manual_compaction_leaves_only_the_lowest_level_and_no_deletes() {
    let mut tree = run(6, 500, 0.5, |random| {
        (key(random, 10_000), random.chance(0.7))
    });
    let wish = ManualCompaction {
        start: Vec::new(),
        end: Bound::Unbounded,
        upto: SeqNo::new(tree.seq),
        since: FileNumber::new(tree.number + 1),
    };
    for _ in 0..10_000 {
        match tree.picker().manual(&wish) {
            ManualStep::Run(plan) => tree.begin_plan(plan),
            ManualStep::Wait => tree.finish(0),
            ManualStep::Done => break,
        }
    }
    assert!(matches!(tree.picker().manual(&wish), ManualStep::Done));
    while !tree.jobs.is_empty() {
        tree.finish(0);
    }
    tree.check_all();
    assert!(
        tree.version
            .tables()
            .all(|(level, table)| level == BOTTOM && table.deletes == 0)
    );
}

fn version(tables: &[(usize, &Arc<Table>)]) -> Version {
    Version::load(
        tables
            .iter()
            .map(|(level, table)| (*level, Arc::clone(table))),
    )
    .unwrap()
}

fn pick_at(version: &Version, now_ms: u64, oldest_snapshot: u64) -> Option<CompactionPlan> {
    let (options, running) = (KeyspaceOptions::default(), InProgress::default());
    let oldest_snapshot = SeqNo::new(oldest_snapshot);
    Picker::new(version, &options, &running, now_ms, oldest_snapshot).pick()
}

fn numbers(tables: &[Arc<Table>]) -> Vec<u64> {
    tables.iter().map(|table| table.number.get()).collect()
}

#[test]
fn what_leaves_l0_takes_everything_older_along() {
    // The newest overlaps the second only; that one overlaps the oldest; the fourth stands aside.
    let oldest = table(1, [0, 10], [1, 1]);
    let second = table(2, [10, 20], [2, 2]);
    let aside = table(3, [50, 60], [3, 3]);
    let newest = table(4, [20, 30], [4, 4]);
    let below = table(5, [5, 6], [0, 0]);
    let version = version(&[
        (0, &oldest),
        (0, &second),
        (0, &aside),
        (0, &newest),
        (6, &below),
    ]);
    let options = KeyspaceOptions {
        l0_trigger: 3,
        ..KeyspaceOptions::default()
    };
    let running = InProgress::default();
    let plan = Picker::new(&version, &options, &running, 0, SeqNo::MAX)
        .pick()
        .unwrap();
    let [(0, l0), (6, bottom)] = &*plan.inputs else {
        panic!("{plan:?}");
    };
    assert_eq!(numbers(l0), [4, 2, 1]);
    assert_eq!(numbers(bottom), [5]);
    assert!(plan.is_bottom);
}

#[test]
fn an_expired_table_is_rewritten_once_and_again_after_as_long_as_it_waited() {
    let expiring = |created_at_ms| {
        let keys = [&b"a"[..], b"b"];
        of(TableMeta {
            deadlines: Some((500_000, 1_000_000)),
            created_at_ms,
            ..meta(1, keys, [1, 1])
        })
    };
    let kind_at = |table: &Arc<Table>, now_ms| {
        pick_at(&version(&[(6, table)]), now_ms, 9).map(|plan| plan.kind)
    };
    let fresh = expiring(0);
    assert_eq!(kind_at(&fresh, 1_000_000), None);
    assert_eq!(kind_at(&fresh, 1_000_001), Some(CompactionKind::Expired));
    let tried = expiring(1_200_000);
    assert_eq!(kind_at(&tried, 1_400_000), None);
    assert_eq!(kind_at(&tried, 1_400_001), Some(CompactionKind::Expired));
}

fn expiring(level: usize, buckets: &[(u64, u64)], created_at_ms: u64) -> (usize, Arc<Table>) {
    let buckets = buckets.iter();
    let buckets = buckets.map(|&(deadline, len)| Expiring { deadline, len });
    let bounds = (500_000, 1 << 50);
    let table = TableMeta {
        deadlines: Some(bounds),
        spread: Spread::from_buckets(buckets.collect()).unwrap(),
        created_at_ms,
        ..meta(level as u64 + 1, [b"a", b"b"], [1, 1])
    };
    (level, of(table))
}

#[test]
fn a_table_is_compacted_when_enough_of_it_has_expired() {
    let kind_at = |table: &(usize, Arc<Table>), now_ms| {
        pick_at(&version(&[(table.0, &table.1)]), now_ms, 9).map(|plan| plan.kind)
    };
    // Of 1000 bytes.
    let enough = [(500_000, 200), (600_000, 100), (1 << 50, 700)];
    for level in [6, 0] {
        let table = expiring(level, &enough, 0);
        assert_eq!(kind_at(&table, 600_000), None, "a fifth");
        assert_eq!(kind_at(&table, 600_001), Some(CompactionKind::Expired));
    }
    let young = expiring(6, &enough, 600_000);
    assert_eq!(kind_at(&young, 659_999), None, "it rests first");
    assert_eq!(kind_at(&young, 660_000), Some(CompactionKind::Expired));
    let too_little = expiring(6, &[(500_000, 299), (1 << 50, 700)], 0);
    assert_eq!(kind_at(&too_little, 1 << 40), None);
    let unknown = expiring(6, &[], 0);
    assert_eq!(kind_at(&unknown, 1 << 40), None, "of an earlier build");
    let ahead = expiring(6, &enough, 1 << 45);
    assert_eq!(
        kind_at(&ahead, 600_001),
        Some(CompactionKind::Expired),
        "made by a wrong clock"
    );
}

#[test]
fn what_lies_below_counts_as_it_is_read_too() {
    let upper = expiring(5, &[(500_000, 500)], 0);
    let kind_with = |lower: &[(u64, u64)]| {
        let lower = expiring(6, lower, 0);
        let version = version(&[(upper.0, &upper.1), (lower.0, &lower.1)]);
        pick_at(&version, 1_000_000, 9).map(|plan| (plan.kind, plan.inputs.len()))
    };
    assert_eq!(kind_with(&[]), None, "500 of 2000");
    assert_eq!(
        kind_with(&[(600_000, 100)]),
        Some((CompactionKind::Expired, 2))
    );
}

#[test]
fn deletes_at_the_bottom_wait_for_the_snapshot_that_needs_them() {
    let deletes = of(TableMeta {
        range_deletes: 1,
        ..meta(1, [b"a", b"b"], [5, 7])
    });
    let version = version(&[(6, &deletes)]);
    assert!(pick_at(&version, 0, 6).is_none());
    let plan = pick_at(&version, 0, 7).unwrap();
    assert_eq!(plan.kind, CompactionKind::Bottom);
    assert!(plan.is_bottom);
}

#[test]
fn deletes_that_an_expiry_filter_may_hold_back_are_not_rewritten_in_a_loop() {
    #[derive(Debug)]
    struct Hold;
    impl ExpiryFilter for Hold {
        fn may_forget(&self, _: &[u8], _: u64) -> bool {
            false
        }
    }
    let held = of(TableMeta {
        deletes: 10,
        created_at_ms: 5,
        ..meta(1, [b"a", b"b"], [5, 7])
    });
    let version = version(&[(6, &held)]);
    let mut options = KeyspaceOptions::default();
    let running = InProgress::default();
    let pick = |options: &KeyspaceOptions, now_ms| {
        Picker::new(&version, options, &running, now_ms, SeqNo::MAX).pick()
    };
    assert!(pick(&options, 6).is_some());
    options.expiry_filter = Some(Arc::new(Hold));
    assert!(pick(&options, 6).is_none());
    assert!(pick(&options, 5 + ASK_AGAIN_MS).is_some());
}

#[test]
fn spans_that_touch_at_an_excluded_end_do_not_overlap() {
    let touching = of(TableMeta {
        largest: InternalKey::new(b"k", SeqNo::MAX, Kind::RangeDelete).to_vec(),
        ..meta(1, [b"a", b"k"], [1, 1])
    });
    let next = of(meta(2, [b"k", b"z"], [1, 1]));
    let (a, b) = (Span::of(&touching), Span::of(&next));
    assert!(!a.overlaps(b) && !b.overlaps(a));
    let both = a.union(b);
    assert_eq!(
        (both.start, both.end),
        (&b"a"[..], Bound::Included(&b"z"[..]))
    );
    assert!(a.is_within(both) && b.is_within(both) && !both.is_within(a));
    let longer = of(meta(3, [b"a", b"k"], [1, 1]));
    assert!(a.is_within(Span::of(&longer)) && !Span::of(&longer).is_within(a));
}

/// Half of the keys are deleted on a disk of which an eighth is free.
#[test]
fn on_a_full_disk_deletes_end_in_room_within_the_room_there_is() {
    for seed in 0..8 {
        let mut tree = run(seed, 700, 3.0, |random| (key(random, 20_000), true));
        tree.settle();
        let keys: Vec<_> = tree.model.keys().copied().step_by(2).collect();
        for keys in keys.chunks(64) {
            tree.flush(keys.iter().map(|key| (*key, false)));
        }
        let len = |tree: &Tree| (0..LEVELS).map(|l| tree.version.level_len(l)).sum::<u64>();
        let capacity = len(&tree) * 8 / 7;
        while let Some(plan) = tree.picker().within(capacity - len(&tree)).pick_for_room() {
            let before = tree.written;
            let occupied = len(&tree);
            tree.begin_plan(plan);
            tree.finish(0);
            let written = tree.written - before;
            assert!(occupied + written <= capacity, "{written} are too many");
        }
        tree.check_all();
        let live = tree.model.values().filter(|(.., is_put)| *is_put).count() as u64;
        let left = len(&tree) / ENTRY_LEN;
        assert!(left <= live + live / 10, "{left} entries, and {live} live");
    }
}
