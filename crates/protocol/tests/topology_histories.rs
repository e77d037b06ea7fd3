//! Random lives of clusters: what must hold, holds after every command; and the log alone makes the
//! state.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod cluster;

use std::collections::BTreeSet;

use cluster::history::History;
use cluster::origin;
use ringwood_protocol::topology::placement::Goal;
use ringwood_protocol::topology::{Plan, Request, Topology, View};
use ringwood_types::bytes::{Reader, Writer};

const SEEDS: u64 = 150;
const STEPS: usize = 400;

fn lived(seed: u64, mut look: impl FnMut(&History)) -> History {
    let mut history = History::new(seed);
    for _ in 0..STEPS {
        if let Err(why) = history.step() {
            panic!("seed {seed}, command {}: {why}", history.log.len());
        }
        look(&history);
    }
    history
}

#[test]
fn what_must_hold_holds_after_every_command() {
    let (mut applied, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..SEEDS {
        let history = lived(seed, |_| ());
        applied.extend(history.applied());
        refused.extend(history.refused());
    }
    // Rare ones were reached too: all kinds of commands.
    assert_eq!(applied.len(), 29, "{applied:?}");
    assert!(refused.len() >= 22, "{refused:?}");
}

#[test]
fn the_log_alone_makes_the_state_and_so_does_a_snapshot_with_the_rest() {
    for seed in 0..SEEDS / 5 {
        let history = lived(seed, |_| ());
        let mut replayed = Topology::bootstrap(origin(4));
        let mut resumed = Topology::bootstrap(origin(4));
        for (at, (request, outcome)) in history.log.iter().zip(&history.outcomes).enumerate() {
            let bytes = request.to_bytes();
            let request = Request::from_bytes(&bytes).unwrap();
            assert_eq!(request.to_bytes(), bytes);
            assert_eq!(replayed.apply(&request), *outcome);
            assert_eq!(resumed.apply(&request), *outcome);
            if at % 97 == 7 {
                let snapshot = resumed.to_snapshot();
                resumed = Topology::from_snapshot(&snapshot).unwrap();
                assert_eq!(resumed.to_snapshot(), snapshot);
            }
        }
        assert_eq!(replayed.to_snapshot(), history.topology.to_snapshot());
        assert_eq!(resumed.to_snapshot(), history.topology.to_snapshot());
    }
}

#[test]
fn a_snapshot_with_a_changed_byte_is_refused_or_holds_what_must_hold() {
    let history = lived(3, |_| ());
    let snapshot = history.topology.to_snapshot();
    for at in (0..snapshot.len()).step_by(7) {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = snapshot.clone();
            changed[at] ^= change;
            if let Ok(topology) = Topology::from_snapshot(&changed) {
                topology.check().unwrap();
                let _ = View::new(&topology);
            }
        }
        assert!(Topology::from_snapshot(&snapshot[..at]).is_err());
    }
}

#[test]
fn what_the_data_path_sees_is_what_is_committed() {
    for seed in 0..SEEDS / 5 {
        lived(seed, |history| {
            let view = View::new(&history.topology);
            let partitions = view
                .ring()
                .partitions()
                .iter()
                .zip(history.topology.partitions());
            for (id, partition) in partitions {
                let set = view.replicas(id);
                assert_eq!(set.epoch(), partition.epoch);
                let readers = partition
                    .read_set()
                    .into_iter()
                    .filter(|one| !one.rebuilding);
                let mut readers: Vec<_> = readers.map(|one| one.node).collect();
                let mut seen = set.readers().as_slice().to_vec();
                readers.sort_unstable();
                seen.sort_unstable();
                assert_eq!(seen, readers);
                for member in partition.members() {
                    assert_eq!(view.incarnation(id, member.node), Some(member.incarnation));
                    assert!(view.partitions_of(member.node).any(|one| one == id));
                }
                assert_eq!(set.nodes().len(), partition.members().count());
            }
        });
    }
}

#[test]
fn a_plan_that_is_carried_out_ends_where_it_said() {
    for seed in 0..SEEDS / 5 {
        let mut history = lived(seed, |_| ());
        for goal in [Goal::Repair, Goal::Balance] {
            history.settle_down();
            let plan = Plan::new(&history.topology, goal, &[1000; 4]);
            let planned = plan.moves.iter().filter(|one| one.to.is_some()).count() as u64;
            assert_eq!(plan.bytes, planned * 1000);
            history.must(plan.command());
            history.settle_down();
            for wanted in &plan.wanted {
                let partition = &history.topology.partitions()[wanted.partition.index()];
                let nodes: Vec<_> = partition.replicas.iter().map(|one| one.node).collect();
                assert_eq!(nodes, wanted.nodes, "seed {seed}, {goal:?}");
            }
            let again = Plan::new(&history.topology, goal, &[1000; 4]);
            assert!(again.is_empty(), "seed {seed}, {goal:?}: {again:?}");
            for (id, load) in &plan.loads {
                let held = history.topology.partitions().iter();
                let held = held.filter(|one| one.replica(*id).is_some()).count();
                assert_eq!(held, load.after);
            }
        }
    }
}

/// The log and the snapshot of a version that went before: nobody may read them otherwise, now or later.
#[test]
fn what_an_earlier_version_wrote_is_read_as_it_was_meant() {
    let log = include_bytes!("fixtures/topology-1.log");
    let snapshot = &include_bytes!("fixtures/topology-1.snapshot")[..];
    let mut replayed = Topology::bootstrap(origin(4));
    let mut log = Reader(&log[..]);
    while let Some(bytes) = log.bytes() {
        let request = Request::from_bytes(bytes).unwrap();
        assert_eq!(request.to_bytes(), bytes);
        let _ = replayed.apply(&request);
    }
    assert!(log.is_empty());
    assert_eq!(replayed.to_snapshot(), snapshot);
    assert_eq!(
        Topology::from_snapshot(snapshot).unwrap().to_snapshot(),
        snapshot
    );
}

/// Writes the fixtures of the present format, for a version that changes it.
#[test]
#[ignore = "writes files of the source tree"]
#[allow(clippy::disallowed_methods)]
fn write_fixtures() {
    let mut history = History::new(3);
    let mut log = Writer::new();
    for _ in 0..250 {
        history.step().unwrap();
        log.bytes(&history.log.last().unwrap().to_bytes());
    }
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(format!("{directory}/topology-1.log"), log.into_vec()).unwrap();
    let snapshot = history.topology.to_snapshot();
    std::fs::write(format!("{directory}/topology-1.snapshot"), snapshot).unwrap();
}
