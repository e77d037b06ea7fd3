//! Power cuts under many threads: writers, flushes and compactions at once, on a disk that fails.
//!
//! What runs beside what is up to the machine, so a seed names the faults, not the run; what is found
//! after a cut must be right whichever it was. The long run: `cargo xtask power --stores 600`.
//!
//! What it holds the store to:
//! - P1: what was acknowledged as durable survives, and everything numbered before it.
//! - P2: what is left is a prefix of the numbers, batches whole.
//! - P3: opening again, also with the power failing meanwhile, changes nothing.
//! - P4: no number is issued twice.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod oracle;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use oracle::coverage::Coverage;
use oracle::draw::skewed;
use ringwood_env::{CrashMode, FaultPlan, FaultyDisk, SeededRandom};
use ringwood_lsm::{Batch, Db, Durability, Error, KeyspaceOptions, Options, ReadOptions};

const WRITERS: usize = 4;
/// Writes of one writer before the power fails at the latest.
const WRITES_MAX: u64 = 300;
/// Lives of one store.
const LIVES: usize = 5;
const SPACES: [&str; 2] = ["one", "other"];

#[test]
fn power_cuts_under_threads_leave_a_prefix() {
    let from_env = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let first = from_env("RINGWOOD_POWER_FIRST", 0);
    let mut coverage = Coverage::default();
    for seed in first..first + from_env("RINGWOOD_POWER_STORES", 10) {
        Machine::new(seed).run(&mut coverage);
    }
    println!("{coverage}");
    let cuts = ["cut in the middle of work", "opened"];
    for reached in cuts {
        assert!(coverage.of(reached) > 0, "{reached}: never reached");
    }
}

/// A write of one writer.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// Counted from 1 for each writer: what it wrote.
    n: u64,
    /// `None`: nobody was told.
    seq: Option<u64>,
    synced: bool,
}

struct Machine {
    seed: u64,
    random: SeededRandom,
    disk: FaultyDisk,
    options: Options,
    /// What each writer's key holds for sure.
    settled: [u64; WRITERS],
    /// No larger number was seen.
    last_seq: u64,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let disk = FaultyDisk::new(random.below(u64::MAX));
        disk.refuse_direct(random.chance(0.25));
        let options = Options {
            memory_budget: 1 << 20,
            memtable_len: Some(*random.pick(&[4 << 10, 16 << 10, 64 << 10])),
            log_segment_len: *random.pick(&[16 << 10, 64 << 10]),
            threads: 1 + random.index(3),
            disk: Arc::new(disk.clone()),
            ..Options::new("store")
        };
        Self {
            seed,
            random,
            disk,
            options,
            settled: [0; WRITERS],
            last_seq: 0,
        }
    }

    fn run(&mut self, coverage: &mut Coverage) {
        let mut written = [const { Vec::new() }; WRITERS];
        for _ in 0..LIVES {
            let db = self.open(coverage);
            self.check(&db, &written);
            let at = skewed(&self.random, 4000);
            self.disk.set_plan(FaultPlan::crash_at(at));
            written = self.work(&db);
            let statistics = db.statistics();
            coverage.add("flushes", statistics.flushes);
            coverage.add("compactions", statistics.compactions);
            coverage.note_if(self.disk.is_crashed(), "cut in the middle of work");
            drop(db);
            self.cut(coverage);
        }
        for _ in 0..2 {
            let db = self.open(coverage);
            self.check(&db, &written);
            written = [const { Vec::new() }; WRITERS];
            drop(db);
            self.cut(coverage);
        }
    }

    fn cut(&self, coverage: &mut Coverage) {
        self.disk.crash(*self.random.pick(&CrashMode::ALL));
        self.disk.set_plan(FaultPlan::default());
        coverage.note("power cuts");
    }

    /// Opens it, with the power failing meanwhile now and then.
    fn open(&self, coverage: &mut Coverage) -> Db {
        for _ in 0..self.random.below(3) {
            let at = skewed(&self.random, 60);
            self.disk.set_plan(FaultPlan::crash_at(at));
            drop(Db::open(self.options.clone()));
            coverage.note_if(self.disk.is_crashed(), "cut while opening");
            self.cut(coverage);
        }
        coverage.note("opened");
        let db = Db::open(self.options.clone());
        db.unwrap_or_else(|error| panic!("seed {}: P1: it does not open: {error}", self.seed))
    }

    /// All writers at once, until the power fails or all have written enough.
    fn work(&self, db: &Db) -> [Vec<Written>; WRITERS] {
        for space in SPACES {
            let exists = db.keyspace(space).is_ok();
            if !exists && db.create_keyspace(space, small_tables()).is_err() {
                return Default::default();
            }
        }
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let writers: [_; WRITERS] = std::array::from_fn(|id| {
                let random = self.random.fork();
                let from = self.settled[id];
                scope.spawn(move || write(db, id, from, &random))
            });
            scope.spawn(|| self.end_with_the_power(db, &done));
            let written = writers.map(|writer| writer.join().unwrap());
            done.store(true, Ordering::Release);
            written
        })
    }

    /// A machine without power ends all its threads; here they must notice. Writers who wait for a
    /// compaction that cannot read write nothing by which they would.
    fn end_with_the_power(&self, db: &Db, done: &AtomicBool) {
        while !done.load(Ordering::Acquire) {
            if self.disk.is_crashed() {
                drop(db.create_keyspace("behind the end", small_tables()));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// P1, P2, P4.
    fn check(&mut self, db: &Db, written: &[Vec<Written>; WRITERS]) {
        let found: [_; WRITERS] = std::array::from_fn(|id| {
            let [one, other] = SPACES.map(|space| look(db, space, id));
            let text = format!(
                "seed {}: P2: a batch of writer {id} is not whole",
                self.seed
            );
            assert_eq!(one.map(|(n, _)| n), other.map(|(n, _)| n), "{text}");
            one.unwrap_or_default().0.max(other.unwrap_or_default().0)
        });
        let durable = written.iter().flatten().filter(|one| one.synced);
        let durable = durable.filter_map(|one| one.seq).max().unwrap_or(0);
        let shown = (0..WRITERS).filter_map(|id| Some(look(db, SPACES[0], id)?.1));
        let upto = durable.max(shown.max().unwrap_or(0));
        for (id, writes) in written.iter().enumerate() {
            let lost = writes
                .iter()
                .filter(|one| one.seq.is_some_and(|seq| seq <= upto) && one.n > found[id]);
            let lost: Vec<_> = lost.collect();
            let known = format!("{durable} was durable, {upto} is there");
            assert!(
                lost.is_empty(),
                "seed {}: P1, P2: {known}; writer {id} lost {lost:?}",
                self.seed
            );
            let last = writes.last().map_or(self.settled[id], |one| one.n);
            let range = self.settled[id]..=last;
            assert!(
                range.contains(&found[id]),
                "seed {}: {range:?}: {found:?}",
                self.seed
            );
            let reused = writes
                .iter()
                .filter_map(|one| one.seq)
                .find(|seq| *seq <= self.last_seq);
            assert_eq!(reused, None, "seed {}: P4", self.seed);
        }
        self.last_seq = self.last_seq.max(upto);
        self.settled = found;
    }
}

fn small_tables() -> KeyspaceOptions {
    KeyspaceOptions {
        block_len: 1 << 10,
        table_len: 16 << 10,
        level_ratio: 3,
        l0_trigger: 2,
        l0_stop: 8,
        ..KeyspaceOptions::default()
    }
}

fn key(id: usize) -> Vec<u8> {
    format!("writer-{id}").into_bytes()
}

/// What a writer's key holds, and as of when it was written.
fn look(db: &Db, space: &str, id: usize) -> Option<(u64, u64)> {
    let space = db.keyspace(space).ok()?;
    let found = space.get_with(&key(id), &ReadOptions::default()).unwrap()?;
    let n = u64::from_le_bytes(found.value[..8].try_into().unwrap());
    Some((n, found.seq.get()))
}

/// One writer's life: the same number to both keyspaces, and something beside it.
fn write(db: &Db, id: usize, from: u64, random: &SeededRandom) -> Vec<Written> {
    let spaces = SPACES.map(|space| db.keyspace(space).unwrap().id());
    let mut written = Vec::new();
    for n in from + 1..=from + WRITES_MAX {
        let mut value = n.to_le_bytes().to_vec();
        value.resize(8 + random.index(300), b'.');
        let beside = format!("beside-{id}-{:03}", random.below(50));
        let mut batch = Batch::new();
        // The last change bears the number that is told: the first keyspace shows it.
        for (space, key) in [
            (spaces[1], key(id)),
            (spaces[0], beside.into_bytes()),
            (spaces[0], key(id)),
        ] {
            batch.put(space, &key, &value).unwrap();
        }
        let synced = random.chance(0.2);
        let durability = if synced {
            Durability::Synced
        } else {
            Durability::Buffered
        };
        let told = db.write(&batch, durability);
        let seq = told.as_ref().ok().map(|seq| seq.get());
        match told {
            Ok(_) | Err(Error::OutcomeUnknown { .. }) => written.push(Written { n, seq, synced }),
            Err(_) => {}
        }
        if seq.is_none() {
            break;
        }
    }
    written
}
