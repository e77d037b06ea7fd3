//! Tests of the tests: every defect planted in the protocol, or in the node around it, is found.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod order;
mod world;

use ringwood_protocol::consensus::plant::Plant;
use world::{NodeDefect, Plan, World};

fn first_found(budget: u64, defect: impl Fn(&mut Plan)) -> Option<(u64, String)> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..budget).find_map(|seed| {
        let mut plan = Plan::new(seed);
        defect(&mut plan);
        // A member that notices the damage itself has found it too.
        match std::panic::catch_unwind(|| World::run(&plan)) {
            Ok(report) => report
                .violation
                .filter(|_| !report.only_stuck)
                .map(|why| (seed + 1, why)),
            Err(_) => Some((seed + 1, "an assertion".to_owned())),
        }
    });
    std::panic::set_hook(hook);
    found
}

fn must_find(name: &str, budget: u64, defect: impl Fn(&mut Plan)) {
    let found = first_found(budget, defect);
    let (seeds, why) = found.unwrap_or_else(|| panic!("{name}: not found in {budget} seeds"));
    println!("{name}: found after {seeds} of {budget}: {why}");
}

#[test]
fn there_is_nothing_to_find_without_a_defect() {
    assert_eq!(first_found(20, |_| ()), None);
    assert_eq!(first_found(20, |plan| plan.aim_at_votes = true), None);
}

#[test]
fn every_defect_of_the_node_is_found() {
    for (defect, budget) in [
        (NodeDefect::AckBeforeDurable, 100),
        (NodeDefect::PersistedEarly, 50),
        (NodeDefect::VoteNotPersisted, 500),
        (NodeDefect::TermNotPersisted, 50),
        (NodeDefect::TailNotCut, 200),
        (NodeDefect::LocalReads, 50),
        (NodeDefect::SnapshotWithoutState, 50),
    ] {
        must_find(&format!("{defect:?}"), budget, |plan| {
            plan.defect = Some(defect);
            plan.aim_at_votes = defect == NodeDefect::VoteNotPersisted;
        });
    }
}

/// Those that random worlds find. `consensus_scripts` finds the others: a leader that counts copies of
/// older terms, a change before a commit, and three about members.
#[test]
fn every_defect_of_the_protocol_is_found() {
    for (defect, budget) in [
        (Plant::VoteWithoutComparing, 50),
        (Plant::ReadWithoutRound, 500),
        (Plant::SecondChangeAtOnce, 500),
        (Plant::OwnCopyAtOnce, 100),
        (Plant::OwnVoteAtOnce, 50),
        (Plant::ApplyBeforeDurable, 50),
        (Plant::TermNotAwaited, 50),
    ] {
        must_find(&format!("{defect:?}"), budget, |plan| {
            plan.plant = Some(defect)
        });
    }
}
