//! Many threads on one store on a real disk, flushing and compacting all the time.
//!
//! The long run: `cargo xtask threads --seconds 3600`.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::disallowed_methods)] // a real disk, for as long as was said

mod crew;
mod oracle;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crew::check::{compare_all, states};
use crew::site::Site;
use crew::writer::Writer;
use crew::{keeper, reader};
use oracle::coverage::Coverage;
use oracle::model::State;
use ringwood_env::SeededRandom;
use ringwood_lsm::{Options, Snapshot};
use tempfile::TempDir;

const WRITERS: usize = 3;
const READERS: usize = 2;
/// Times that a store is opened.
const LIVES: usize = 3;
/// Times in each life that all writers meet.
const LEGS: usize = 4;
/// How long they work in between.
const LEG: Duration = Duration::from_millis(120);
/// Snapshots held.
const HELD_MAX: usize = 3;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn threads_see_their_own_writes_and_whole_moments() {
    let seconds = from_env("RINGWOOD_THREADS_SECONDS", 3);
    let first = from_env("RINGWOOD_THREADS_FIRST", 0);
    let (began, mut coverage) = (Instant::now(), Coverage::default());
    for seed in first.. {
        coverage.merge(&one_store(seed));
        coverage.note("stores");
        if began.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
    }
    println!("{:?}:\n{coverage}", began.elapsed());
    for reached in ["compactions", "flushes", "snapshots compared", "chores"] {
        assert!(coverage.of(reached) > 0, "{reached}: never reached");
    }
}

/// Several lives of a store that is drawn from a seed.
fn one_store(seed: u64) -> Coverage {
    let directory = TempDir::new().unwrap();
    let random = SeededRandom::new(seed);
    let options = Options {
        memory_budget: *random.pick(&[1 << 20, 4 << 20]),
        memtable_len: Some(*random.pick(&[16 << 10, 64 << 10, 256 << 10])),
        log_segment_len: *random.pick(&[64 << 10, 256 << 10]),
        threads: 1 + random.index(3),
        open_tables_max: *random.pick(&[16, 64]),
        ..Options::new(directory.path().join("store"))
    };
    println!("seed {seed}: {options:?}");
    let mut writers: Vec<_> = (0..WRITERS).map(|id| Writer::new(id, &random)).collect();
    let mut coverage = Coverage::default();
    for _ in 0..LIVES {
        let written: Vec<_> = writers.iter().map(|writer| writer.written).collect();
        let site = Site::open(options.clone(), &random, &written);
        let report = site.db.open_report();
        assert!(report.clean && report.torn_tail.is_none(), "{report:?}");
        one_life(&site, &mut writers, &random, directory.path());
        coverage.merge(&site.coverage());
        if random.chance(0.5) {
            site.db.clone().close().unwrap();
        }
    }
    coverage
}

fn one_life(site: &Site, writers: &mut [Writer], random: &SeededRandom, directory: &Path) {
    // T4
    compare_all(&site.db, site.spaces(), None, &states(writers));
    thread::scope(|scope| {
        let _working = site.until_dropped();
        for _ in 0..READERS {
            let random = random.fork();
            scope.spawn(move || reader::read(site, &random));
        }
        let random = random.fork();
        scope.spawn(move || keeper::keep(site, &random, directory));
        let mut held = Vec::new();
        for _ in 0..LEGS {
            one_leg(site, writers, &held);
            compare_all(&site.db, site.spaces(), None, &states(writers));
            held.truncate(HELD_MAX - 1);
            let copies: Vec<State> = writers.iter().map(|one| one.state.clone()).collect();
            held.insert(0, (site.db.snapshot(), copies));
        }
    });
}

/// The writers work, while snapshots of earlier moments are read.
fn one_leg(site: &Site, writers: &mut [Writer], held: &[(Snapshot, Vec<State>)]) {
    let end = Instant::now() + LEG;
    thread::scope(|scope| {
        for writer in writers {
            scope.spawn(move || writer.work(site, end));
        }
        for (snapshot, copies) in held {
            // T3
            let copies: Vec<_> = copies.iter().collect();
            compare_all(&site.db, site.spaces(), Some(snapshot), &copies);
            site.note("snapshots compared");
        }
    });
}
