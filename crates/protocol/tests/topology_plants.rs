//! Tests of the tests: every defect planted in the topology is found by random histories.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod cluster;

use cluster::history::History;
use ringwood_protocol::topology::plant::Plant;

const STEPS: usize = 400;

/// The first seed that finds it, counted from 1, and what it finds.
fn first_found(budget: u64, defect: Plant) -> Option<(u64, String)> {
    (0..budget).find_map(|seed| {
        let mut history = History::with(seed, |topology| topology.planted(defect));
        let found = (0..STEPS).find_map(|_| history.step().err());
        found.map(|why| (seed + 1, why))
    })
}

#[test]
fn every_defect_of_the_state_machine_is_found() {
    for (defect, budget) in [
        (Plant::IncarnationKept, 20),
        (Plant::RebuiltFromOne, 50),
        (Plant::StreamedFromRebuilding, 100),
        (Plant::SessionBeforeEpoch, 20),
        (Plant::ServeFenceIgnored, 20),
        (Plant::UseNewAtOnce, 50),
        (Plant::AbortAtOnce, 20),
        (Plant::SettledBeforeClose, 20),
        (Plant::SettledWithoutPending, 100),
        (Plant::AppliedTwice, 20),
        (Plant::NamespaceIdReused, 20),
        (Plant::StalePlanApplied, 20),
    ] {
        let found = first_found(budget, defect);
        let (seeds, why) = found.unwrap_or_else(|| panic!("{defect:?}: not in {budget} seeds"));
        let why = why.split(" after ").next().unwrap_or_default();
        println!("{defect:?}: found after {seeds} of {budget}: {why}");
    }
}

/// Placement's own tests find these; the state machine has nothing to do with them.
#[test]
fn defects_of_placement_are_none_of_the_state_machine() {
    for defect in [Plant::ZonesIgnored, Plant::Unbalanced] {
        assert_eq!(first_found(3, defect), None);
    }
}
