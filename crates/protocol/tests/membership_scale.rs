//! Failure detection among many: how soon a death is known to all, and what it costs to look out for it.
//!
//! `RINGWOOD_MEMBERSHIP_NODES` chooses among how many; `cargo xtask scale membership` runs it at length.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod membership_world;

use std::collections::BTreeMap;
use std::time::Duration;

use membership_world::{Plan, World};
use ringwood_protocol::Time;
use ringwood_protocol::membership::{State, Tuning};
use ringwood_types::NodeId;

/// What a run has shown.
struct Figures {
    /// From a death until the first, and the last, has the dead one suspicious, and down.
    suspicious: (Duration, Duration),
    down: (Duration, Duration),
    /// Bytes that each node sends in a second, on average: before anything happens, and around a death.
    quiet: u64,
    busy: u64,
    false_suspicions: usize,
    false_downs: usize,
}

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn run(seed: u64, nodes: u64, loss: u64, deaths: u64) -> Figures {
    let calm = Plan::calm(seed, nodes, Tuning::default());
    let mut world = World::new(Plan {
        loss,
        compares: false,
        delay_max: Duration::from_millis(20),
        ..calm
    });
    world.run_for(60);
    let bytes_per_second = |world: &mut World, seconds: u64| {
        let before = world.bytes_sent;
        world.run_for(seconds);
        (world.bytes_sent - before) / seconds / nodes
    };
    let quiet = bytes_per_second(&mut world, 30);
    let died = world.now;
    (1..=deaths).for_each(|one| world.kill(NodeId::new(one)));
    let busy = bytes_per_second(&mut world, 20);
    world.run_for(70);
    let is_dead = |node: &NodeId| node.get() <= deaths;
    let of_living = |state| {
        let changes = world.changes.iter().filter(move |change| change.3 == state);
        changes.filter(move |change| !is_dead(&change.2)).count()
    };
    assert_eq!(world.violation, None);
    assert_eq!(world.proposals, []);
    Figures {
        suspicious: first_and_last(&world, died, nodes, deaths, State::Suspicious),
        down: first_and_last(&world, died, nodes, deaths, State::Down),
        quiet,
        busy,
        false_suspicions: of_living(State::Suspicious),
        false_downs: of_living(State::Down),
    }
}

fn first_and_last(
    world: &World,
    died: Time,
    nodes: u64,
    deaths: u64,
    state: State,
) -> (Duration, Duration) {
    let mut at = BTreeMap::new();
    for (when, observer, node, to) in &world.changes {
        if *to == state && node.get() <= deaths && observer.get() > deaths {
            at.entry((*observer, *node)).or_insert(when.since(died));
        }
    }
    let pairs = usize::try_from((nodes - deaths) * deaths).unwrap();
    assert_eq!(at.len(), pairs, "all have every dead one {state}");
    (*at.values().min().unwrap(), *at.values().max().unwrap())
}

#[test]
fn a_death_is_known_to_all_and_costs_little() {
    let nodes = variable("RINGWOOD_MEMBERSHIP_NODES", 50);
    let worlds = if nodes > 200 { 1 } else { 3 };
    println!(
        "| nodes | lost messages | died | suspicious to the first, to all | down to all | sent, quiet | sent, around it | false suspicions | false downs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (loss, deaths) in [(0, 1), (0, nodes / 50), (10, 1), (50, 1)] {
        let deaths = deaths.max(1);
        let mut rows: Vec<_> = (0..worlds)
            .map(|seed| run(seed, nodes, loss, deaths))
            .collect();
        rows.sort_by_key(|figures| figures.suspicious.1);
        let worst = rows.last().unwrap();
        let (quiet, busy) = (
            rows.iter().map(|one| one.quiet).max(),
            rows.iter().map(|one| one.busy).max(),
        );
        let sum = |of: fn(&Figures) -> usize| rows.iter().map(of).sum::<usize>();
        let down = rows.iter().map(|one| one.down.1).max().unwrap();
        println!(
            "| {nodes} | {:.0} % | {deaths} | {:.1} s, {:.1} s | {:.1} s | {:.2} KB/s | {:.2} KB/s | {} | {} |",
            loss as f64 / 10.0,
            worst.suspicious.0.as_secs_f64(),
            worst.suspicious.1.as_secs_f64(),
            down.as_secs_f64(),
            quiet.unwrap() as f64 / 1000.0,
            busy.unwrap() as f64 / 1000.0,
            sum(|one| one.false_suspicions),
            sum(|one| one.false_downs),
        );
        for figures in &rows {
            assert!(
                figures.suspicious.1 <= Duration::from_secs(15),
                "known too late"
            );
            assert_eq!(figures.false_downs, 0);
            assert!(figures.quiet.max(figures.busy) <= 10_000, "too talkative");
        }
    }
}
