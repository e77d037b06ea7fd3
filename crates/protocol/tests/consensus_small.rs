//! Every choice there is in a small world: deliver any message or none, write or crash at any point,
//! stand for election at any time.
//!
//! What is visited is bounded by `RINGWOOD_CONSENSUS_STATES`; a run says where it was cut.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod order;
mod small;

use std::collections::HashSet;

use ringwood_protocol::consensus::Role;
use small::Small;

/// How much may happen in one future.
#[derive(Clone, Copy, Debug, Hash)]
struct Budget {
    elections: u32,
    proposals: u32,
    crashes: u32,
    heartbeats: u32,
}

#[derive(Clone)]
struct Node {
    small: Small,
    budget: Budget,
    depth: u32,
}

#[derive(Debug, Default)]
struct Explored {
    states: usize,
    depth: u32,
    complete: bool,
    elected: usize,
    committed: usize,
    violation: Option<(u32, String)>,
}

fn states_max(otherwise: usize) -> usize {
    std::env::var("RINGWOOD_CONSENSUS_STATES").map_or(otherwise, |text| text.parse().unwrap())
}

fn explore(small: Small, budget: Budget, states_max: usize) -> Explored {
    let mut explored = Explored::default();
    let mut seen = HashSet::new();
    let mut waiting = vec![Node {
        small,
        budget,
        depth: 0,
    }];
    // Deep first: what waits is then as long as one future, and not as broad as all of them.
    while let Some(node) = waiting.pop() {
        explored.depth = explored.depth.max(node.depth);
        for next in choices(&node) {
            let mut key = std::hash::DefaultHasher::new();
            std::hash::Hash::hash(&(next.small.fingerprint(), next.budget), &mut key);
            if !seen.insert(std::hash::Hasher::finish(&key)) {
                continue;
            }
            explored.states += 1;
            let ids = next.small.ids();
            explored.elected += usize::from(next.small.leader().is_some());
            explored.committed += usize::from(ids.iter().any(|id| next.small.commit(*id) > 2));
            if let Some(why) = &next.small.violation {
                explored.violation = Some((next.depth, why.clone()));
                return explored;
            }
            if explored.states >= states_max {
                return explored;
            }
            waiting.push(next);
        }
    }
    explored.complete = true;
    explored
}

fn choices(node: &Node) -> Vec<Node> {
    let mut next = Vec::new();
    let mut choose = |budget: Budget, act: &dyn Fn(&mut Small)| {
        let mut small = node.small.clone();
        act(&mut small);
        let depth = node.depth + 1;
        next.push(Node {
            small,
            budget,
            depth,
        });
    };
    let Node { small, budget, .. } = node;
    for at in 0..small.net.len() {
        // One that is lost is one that is never chosen.
        choose(*budget, &|small| small.deliver(at));
    }
    for id in small.ids() {
        let waiting = small.waiting_batches(id);
        if waiting > 0 {
            choose(*budget, &|small| small.written(id));
        }
        if let Some(crashes) = budget.crashes.checked_sub(1) {
            let budget = Budget { crashes, ..*budget };
            for kept in 0..=waiting {
                choose(budget, &|small| small.crash(id, kept));
            }
        }
        match small.role(id) {
            Role::Leader => {
                if let Some(proposals) = budget.proposals.checked_sub(1) {
                    let number = u64::from(proposals);
                    let budget = Budget {
                        proposals,
                        ..*budget
                    };
                    choose(budget, &|small| small.propose(id, number));
                }
                if let Some(heartbeats) = budget.heartbeats.checked_sub(1) {
                    choose(
                        Budget {
                            heartbeats,
                            ..*budget
                        },
                        &|small| small.wake(id),
                    );
                }
            }
            Role::Follower | Role::Candidate => {
                if let Some(elections) = budget.elections.checked_sub(1) {
                    choose(
                        Budget {
                            elections,
                            ..*budget
                        },
                        &|small| small.wake(id),
                    );
                }
            }
        }
    }
    next
}

fn check(name: &str, small: Small, budget: Budget, states: usize) {
    let explored = explore(small, budget, states_max(states));
    println!("{name}: {explored:?}");
    assert_eq!(explored.violation, None, "{name}");
    assert!(explored.elected > 0, "{name}: nobody was ever elected");
}

#[test]
fn two_nodes_two_elections_and_a_crash() {
    let budget = Budget {
        elections: 2,
        proposals: 1,
        crashes: 1,
        heartbeats: 0,
    };
    check("quick disks", Small::new(2, 2, true, None), budget, 150_000);
    check("slow disks", Small::new(2, 2, false, None), budget, 150_000);
}

#[test]
fn three_nodes_behind_an_election() {
    let mut led = Small::new(3, 3, true, None);
    led.elect(1, &[2]);
    let budget = Budget {
        elections: 2,
        proposals: 1,
        crashes: 1,
        heartbeats: 1,
    };
    check("three nodes", led, budget, 150_000);
}

#[cfg(feature = "plant")]
#[test]
fn defects_are_found_among_all_choices() {
    use ringwood_protocol::consensus::plant::Plant;

    let budget = Budget {
        elections: 1,
        proposals: 1,
        crashes: 0,
        heartbeats: 1,
    };
    // Only a sole voter could win by a vote that is not durable: others ask behind it. What needs more
    // elections than this the seeded worlds find.
    let defect = Plant::OwnVoteAtOnce;
    let explored = explore(Small::new(1, 1, false, Some(defect)), budget, 100);
    let (depth, why) = explored.violation.expect("it is not found");
    println!(
        "{defect:?}: found after {} states, {depth} steps: {why}",
        explored.states
    );
}
