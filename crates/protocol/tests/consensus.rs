//! A group in a seeded world of faults: nothing unsafe happens, and it converges when they stop.
//!
//! `RINGWOOD_CONSENSUS_SEEDS` and `RINGWOOD_CONSENSUS_FIRST` choose how many worlds are run, and from where.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod order;
mod world;

use std::collections::BTreeMap;

use world::{Plan, World};

/// What a sweep of some hundred seeds must have seen, or it shows little.
const SOMETIMES: &[&str] = &[
    "batches lost",
    "changes applied",
    "crashes",
    "partitions",
    "pauses",
    "power cuts",
    "proposals applied",
    "proposals refused",
    "proposals unknown",
    "reads",
    "reads refused",
    "replacements asked",
    "snapshots installed",
    "transfers asked",
];

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn seeded_worlds_stay_safe_and_converge() {
    let first = variable("RINGWOOD_CONSENSUS_FIRST", 0);
    let seeds = variable("RINGWOOD_CONSENSUS_SEEDS", 40);
    let mut totals = BTreeMap::<&str, u64>::new();
    let mut violations = Vec::new();
    for seed in first..first + seeds {
        let report = World::run(&Plan::new(seed));
        for (what, count) in report.counts {
            *totals.entry(what).or_default() += count;
        }
        violations.extend(report.violation);
    }
    println!("{seeds} worlds of 90 s: {totals:?}");
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

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..5 {
        let run = || World::run(&Plan::new(seed));
        let (one, other) = (run(), run());
        assert_eq!(
            (one.trace, one.counts),
            (other.trace, other.counts),
            "seed {seed}"
        );
    }
}
