//! Coordinators over replicas in memory, in many small worlds.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod requests;

use requests::{Plan, Report, World};

/// Seeds from the environment, where there are more to spend.
fn seeds() -> u64 {
    let asked = std::env::var("RINGWOOD_COORDINATOR_SEEDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(400)
}

#[test]
fn what_was_acknowledged_before_a_write_began_never_wins_over_it() {
    let mut all = Report::default();
    for seed in 0..seeds() {
        let report = World::run(&Plan::new(seed));
        assert_eq!(report.violation, None, "seed {seed}");
        all.applied += report.applied;
        all.not_applied += report.not_applied;
        all.unknown += report.unknown;
        all.minted_again += report.minted_again;
        all.hints += report.hints;
        all.renewed += report.renewed;
        all.purged += report.purged;
        all.silent_minters += report.silent_minters;
        all.moved += report.moved;
        all.rebuilt += report.rebuilt;
        all.reads += report.reads;
        all.reads_refused += report.reads_refused;
        all.repairs += report.repairs;
        all.doubts += report.doubts;
        all.repaired_before += report.repaired_before;
    }
    println!("{all:?}");
    // What is to be tested did happen.
    let rare = [
        all.not_applied,
        all.unknown,
        all.minted_again,
        all.hints,
        all.renewed,
        all.purged,
        all.silent_minters,
        all.moved,
        all.rebuilt,
        all.repairs,
        all.doubts,
        all.repaired_before,
    ];
    assert!(rare.iter().all(|&count| count > 20), "{all:?}");
    assert!(all.reads > 2 * all.reads_refused, "{all:?}");
    assert!(all.applied > 2 * (all.unknown + all.not_applied), "{all:?}");
}
