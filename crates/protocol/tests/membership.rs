//! Failure detection in seeded worlds of faults: nobody that is there is called down, nobody that others
//! reach is proposed as failed, and when faults stop all are healthy to all.
//!
//! `RINGWOOD_MEMBERSHIP_SEEDS` and `RINGWOOD_MEMBERSHIP_FIRST` choose how many worlds are run, and from where.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod membership_world;

use std::collections::BTreeMap;

use membership_world::{Plan, World};

/// What a sweep of some dozens of seeds must have seen, or it shows little.
const SOMETIMES: &[&str] = &[
    "deaf or dumb nodes",
    "downs",
    "failures committed",
    "kills",
    "partitions",
    "pauses",
    "proposals",
    "recoveries",
    "removals",
    "slow nodes",
    "suspicions",
];

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn seeded_worlds_stay_right_and_converge() {
    let first = variable("RINGWOOD_MEMBERSHIP_FIRST", 0);
    let seeds = variable("RINGWOOD_MEMBERSHIP_SEEDS", 40);
    let mut totals = BTreeMap::<&str, u64>::new();
    let mut violations = Vec::new();
    for seed in first..first + seeds {
        let world = World::live(Plan::wild(seed));
        for (what, count) in world.counts {
            *totals.entry(what).or_default() += count;
        }
        violations.extend(world.violation);
    }
    println!("{seeds} worlds of 700 s: {totals:?}");
    assert!(violations.is_empty(), "{violations:#?}");
    let unseen: Vec<_> = SOMETIMES
        .iter()
        .filter(|what| !totals.contains_key(**what))
        .collect();
    assert!(
        seeds < 40 || unseen.is_empty(),
        "never happened: {unseen:?}"
    );
}

/// It once found that a node which was stopped proposed a failure before it had looked at its brake.
#[test]
fn seed_478_stays_right() {
    assert_eq!(World::live(Plan::wild(478)).violation, None);
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..5 {
        let run = || World::live(Plan::wild(seed));
        let (one, other) = (run(), run());
        assert_eq!(
            (one.trace, one.counts),
            (other.trace, other.counts),
            "seed {seed}"
        );
    }
}
