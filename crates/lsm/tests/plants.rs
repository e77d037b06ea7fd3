//! Tests of the tests: every planted defect is found, within a budget of schedules.
//!
//! `cargo test -p ringwood-lsm --features plant --test plants -- --nocapture`

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod oracle;

use std::sync::atomic::{AtomicBool, Ordering};

use oracle::schedule::Schedule;
use ringwood_env::FaultPlan;
use ringwood_lsm::plant::{Plant, plant};
use ringwood_lsm::{Db, Durability, KeyspaceOptions, Options, ReadOptions};

/// Runs schedules until one finds a defect; how many it took and what was said.
fn first_found(defects: &FaultPlan, budget: u64) -> Option<(u64, String)> {
    // What the store says of itself when it finds the defect first is no news here.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..budget).find_map(|seed| {
        let schedule = Schedule {
            plant: defects.clone(),
            ..Schedule::new(seed)
        };
        let what = schedule.run().violation?;
        Some((seed + 1, what.lines().nth(1)?.to_owned()))
    });
    std::panic::set_hook(hook);
    found
}

fn must_find(name: &str, defects: &FaultPlan, budget: u64) {
    let (schedules, what) = first_found(defects, budget)
        .unwrap_or_else(|| panic!("{name}: not found in {budget} schedules"));
    println!("{name}: found after {schedules} schedules: {what}");
}

/// One test, as plants are of the whole process.
#[test]
fn every_planted_defect_is_found() {
    let none = FaultPlan::default();
    assert_eq!(first_found(&none, 300), None, "there is nothing to find");
    let log_sync = FaultPlan {
        ignore_sync_of: vec![".log".to_owned()],
        ..none.clone()
    };
    must_find("the log's sync is skipped", &log_sync, 100);
    let directory_sync = FaultPlan {
        ignore_sync_dir: true,
        ..none.clone()
    };
    must_find("directory syncs are skipped", &directory_sync, 100);
    for (defect, budget) in [
        (Plant::FilterWithoutLastWord, 500),
        (Plant::TombstoneForgotten, 5000),
        (Plant::ReplayedNotRewritten, 20_000),
        (Plant::ExpiryNotNoted, 5000),
        (Plant::FlushBeforeLogSync, 3000),
        (Plant::OlderLeftInL0, 1000),
    ] {
        plant(Some(defect));
        must_find(&format!("{defect:?}"), &none, budget);
    }
    plant(None);
    assert_eq!(readers_beside_a_writer(20_000), None, "nothing to find");
    plant(Some(Plant::PublishBeforeApply));
    let found = readers_beside_a_writer(200_000).expect("PublishBeforeApply: not found");
    println!("PublishBeforeApply: found: {found}");
    plant(None);
}

/// Every write adds one to a counter and takes one number: at a snapshot, number and counter agree.
fn readers_beside_a_writer(writes: u64) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(Options::new(directory.path())).unwrap();
    let space = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    let put = |n: u64| space.put(b"counter", &n.to_le_bytes(), Durability::Buffered);
    let first = put(0).unwrap().get();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..writes {
                put(n).unwrap();
                if done.load(Ordering::Relaxed) {
                    return;
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let snapshot = db.snapshot();
            let options = ReadOptions {
                snapshot: Some(&snapshot),
                ..ReadOptions::default()
            };
            let found = space.get_with(b"counter", &options).unwrap().unwrap();
            let count = u64::from_le_bytes(found.value[..].try_into().unwrap());
            let expected = snapshot.seq().get() - first;
            if count != expected {
                done.store(true, Ordering::Relaxed);
                return Some(format!(
                    "{count} at a snapshot that shows {expected} writes"
                ));
            }
        }
        None
    })
}
