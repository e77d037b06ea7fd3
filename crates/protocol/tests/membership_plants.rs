//! Tests of the tests: every defect planted in failure detection is found.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod membership_world;

use std::collections::BTreeSet;

use membership_world::{Plan, World};
use ringwood_protocol::membership::plant::Plant;
use ringwood_protocol::membership::{State, Tuning};
use ringwood_types::NodeId;

/// How many seeds it takes, and what is seen then.
fn first_found(budget: u64, run: impl Fn(u64) -> World) -> Option<(u64, String)> {
    (0..budget).find_map(|seed| run(seed).violation.map(|why| (seed + 1, why)))
}

fn must_find(plant: Plant, budget: u64, run: impl Fn(u64) -> World) {
    let found = first_found(budget, run);
    let (seeds, why) = found.unwrap_or_else(|| panic!("{plant:?}: not found in {budget} seeds"));
    println!("{plant:?}: found after {seeds} of {budget}: {why}");
}

fn wild(seed: u64, plant: Option<Plant>) -> World {
    World::live(Plan {
        plant,
        ..Plan::wild(seed)
    })
}

/// So many fail at once that not all of it fits one message.
fn crowd(seed: u64, plant: Option<Plant>) -> World {
    let calm = Plan::calm(seed, 100, Tuning::default());
    let mut world = World::new(Plan { plant, ..calm });
    world.run_for(20);
    (1..=40).for_each(|one| world.kill(NodeId::new(one)));
    world.run_for(30);
    world
}

/// One that was cut off for long comes back and tells what it thinks of all others.
fn hermit(seed: u64, plant: Option<Plant>) -> World {
    let calm = Plan::calm(seed, 60, Tuning::default());
    let mut world = World::new(Plan { plant, ..calm });
    world.run_for(100);
    let hermit = NodeId::new(1);
    let others = (2..=60).map(NodeId::new);
    let cut = others.flat_map(|other| [(hermit, other), (other, hermit)]);
    world.set_cut(cut.collect());
    world.run_for(120);
    world.set_cut(BTreeSet::new());
    world.run_for(60);
    let by_others = |change: &&(_, NodeId, NodeId, State)| change.1 != hermit && change.2 != hermit;
    let mut by_others = world.changes.iter().filter(by_others);
    if let Some(change) = by_others.find(|change| change.3 == State::Down) {
        let text = format!("believed at once: {change:?}");
        world.violation.get_or_insert(text);
    }
    world
}

#[test]
fn there_is_nothing_to_find_without_a_defect() {
    assert_eq!(first_found(20, |seed| wild(seed, None)), None);
    assert_eq!(first_found(1, |seed| crowd(seed, None)), None);
    assert_eq!(first_found(3, |seed| hermit(seed, None)), None);
}

#[test]
fn every_defect_is_found() {
    for (plant, budget) in [
        (Plant::NoRefutation, 20),
        (Plant::NoLocalHealth, 50),
        (Plant::NoBrake, 50),
        (Plant::GenerationIgnored, 20),
    ] {
        must_find(plant, budget, |seed| wild(seed, Some(plant)));
    }
    let believed = Some(Plant::ReportedAgeBelieved);
    must_find(Plant::ReportedAgeBelieved, 3, |seed| hermit(seed, believed));
    must_find(Plant::NoBound, 1, |seed| crowd(seed, Some(Plant::NoBound)));
}
