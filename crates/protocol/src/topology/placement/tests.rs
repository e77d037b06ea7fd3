extern crate std;

use std::collections::BTreeSet;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use ringwood_types::NodeId;

use super::*;

#[derive(Clone, Debug)]
struct Machine {
    node: NodeId,
    weight: u32,
    zone: String,
    holds: bool,
}

fn machine(node: u64, weight: u32, zone: usize) -> Machine {
    Machine {
        node: NodeId::new(node),
        weight,
        zone: format!("z{zone}"),
        holds: true,
    }
}

fn equal(nodes: u64, zones: usize) -> Vec<Machine> {
    let zone = |node: u64| usize::try_from(node).unwrap() % zones;
    (1..=nodes)
        .map(|node| machine(node, 100, zone(node)))
        .collect()
}

fn run(machines: &[Machine], table: &[Vec<NodeId>], wants: usize, goal: Goal) -> Placement {
    let candidates: Vec<_> = machines
        .iter()
        .map(|one| Candidate {
            node: one.node,
            weight: one.weight,
            zone: &one.zone,
            holds: one.holds,
        })
        .collect();
    place(&candidates, table, wants, goal)
}

fn empty(partitions: usize) -> Vec<Vec<NodeId>> {
    vec![Vec::new(); partitions]
}

fn load(table: &[Vec<NodeId>], node: NodeId) -> usize {
    table.iter().filter(|row| row.contains(&node)).count()
}

fn primaries(table: &[Vec<NodeId>], node: NodeId) -> usize {
    table.iter().filter(|row| row[0] == node).count()
}

/// Replicas that must be copied to where they were not.
fn moves(before: &[Vec<NodeId>], after: &[Vec<NodeId>]) -> usize {
    let new = |(old, new): (&Vec<NodeId>, &Vec<NodeId>)| {
        new.iter().filter(|node| !old.contains(node)).count()
    };
    before.iter().zip(after).map(new).sum()
}

/// placement-1, and that shortages are told.
fn check_shape(machines: &[Machine], placement: &Placement, wants: usize, goal: Goal) {
    let holding: Vec<_> = machines.iter().filter(|one| one.holds).collect();
    let zone_of = |node: &NodeId| &holding.iter().find(|one| one.node == *node).unwrap().zone;
    let zones: BTreeSet<_> = holding.iter().map(|one| &one.zone).collect();
    let len = wants.min(holding.len());
    let mut short = 0;
    for row in &placement.table {
        assert_eq!(row.len(), len);
        assert_eq!(row.iter().collect::<BTreeSet<_>>().len(), len, "distinct");
        let in_zones = row.iter().map(zone_of).collect::<BTreeSet<_>>().len();
        if goal == Goal::Balance {
            assert_eq!(in_zones, len.min(zones.len()), "zones of {row:?}");
        }
        short += usize::from(len < wants) + usize::from(in_zones < len.min(zones.len()));
    }
    assert_eq!(placement.shortages.len(), short, "shortages are told");
}

fn max_and_mean(machines: &[Machine], table: &[Vec<NodeId>]) -> (usize, f64) {
    let loads: Vec<_> = machines.iter().map(|one| load(table, one.node)).collect();
    let mean = loads.iter().sum::<usize>() as f64 / loads.len() as f64;
    (*loads.iter().max().unwrap(), mean)
}

#[test]
fn placement_2_equal_nodes_hold_the_same_and_stand_first_as_often() {
    for nodes in [3, 4, 5, 6, 7, 10, 16, 33, 100] {
        for zones in [1, 3, 5] {
            let machines = equal(nodes, zones);
            let placement = run(&machines, &empty(256), 3, Goal::Balance);
            check_shape(&machines, &placement, 3, Goal::Balance);
            let table = &placement.table;
            if usize::try_from(nodes).unwrap() % zones == 0 {
                let (max, mean) = max_and_mean(&machines, table);
                assert!(max as f64 <= mean.ceil(), "{nodes} nodes: {max} of {mean}");
            }
            for one in &machines {
                // In proportion to what it holds, rounded up or down.
                let share = load(table, one.node) as f64 / 3.0;
                let first = primaries(table, one.node) as f64;
                assert!((first - share).abs() < 1.0, "{first} of {share}");
            }
        }
    }
}

#[test]
fn placement_2_with_five_and_six_nodes_nobody_has_a_twentieth_too_much() {
    for nodes in [5, 6] {
        let machines = equal(nodes, 1);
        let placement = run(&machines, &empty(256), 3, Goal::Balance);
        let (max, mean) = max_and_mean(&machines, &placement.table);
        assert!(max as f64 / mean <= 1.05);
    }
}

#[test]
fn placement_3_a_node_that_joins_takes_its_share_and_nobody_else_moves() {
    for nodes in [3u64, 4, 5, 9, 20, 50] {
        let before = run(&equal(nodes, 1), &empty(256), 3, Goal::Balance).table;
        let machines = equal(nodes + 1, 1);
        let after = run(&machines, &before, 3, Goal::Balance).table;
        let fair = 768.0 / (nodes + 1) as f64;
        let moved = moves(&before, &after);
        assert!(
            moved as f64 <= (1.05 * fair).max(fair.ceil()),
            "{nodes}: {moved} of {fair}"
        );
        assert_eq!(moved, load(&after, NodeId::new(nodes + 1)));
    }
}

#[test]
fn placement_3_a_node_that_leaves_gives_what_it_held_and_nobody_else_moves() {
    for nodes in [4u64, 5, 6, 10, 30] {
        let mut machines = equal(nodes, 1);
        let before = run(&machines, &empty(256), 3, Goal::Balance).table;
        machines[1].holds = false;
        for goal in [Goal::Repair, Goal::Balance] {
            let placement = run(&machines, &before, 3, goal);
            check_shape(&machines, &placement, 3, goal);
            assert_eq!(
                moves(&before, &placement.table),
                load(&before, NodeId::new(2))
            );
            machines.retain(|one| one.holds);
            let (max, mean) = max_and_mean(&machines, &placement.table);
            assert!(max as f64 <= mean.ceil() + 1.0);
            machines.push(Machine {
                holds: false,
                ..machine(2, 100, 0)
            });
        }
    }
}

#[test]
fn replicas_that_are_missing_are_placed_when_nodes_come_and_no_others() {
    let one = run(&equal(1, 1), &empty(16), 3, Goal::Repair);
    assert_eq!(one.shortages.len(), 16);
    assert_eq!(one.shortages[0].1, Shortage::Replicas { has: 1, wants: 3 });
    let two = run(&equal(2, 1), &one.table, 3, Goal::Repair);
    assert_eq!(
        (moves(&one.table, &two.table), two.shortages.len()),
        (16, 16)
    );
    let three = run(&equal(3, 1), &two.table, 3, Goal::Repair);
    assert_eq!(
        (moves(&two.table, &three.table), three.shortages.len()),
        (16, 0)
    );
    let four = run(&equal(4, 1), &three.table, 3, Goal::Repair);
    assert_eq!(moves(&three.table, &four.table), 0);
    let balanced = run(&equal(4, 1), &three.table, 3, Goal::Balance);
    assert_eq!(moves(&three.table, &balanced.table), 12);
}

#[test]
fn a_zone_that_comes_is_used_when_balance_is_wanted() {
    let before = run(&equal(3, 1), &empty(64), 3, Goal::Balance).table;
    let mut machines = equal(3, 1);
    machines.push(machine(4, 100, 9));
    let kept = run(&machines, &before, 3, Goal::Repair);
    assert_eq!(moves(&before, &kept.table), 0);
    assert_eq!(kept.shortages.len(), 64);
    assert_eq!(kept.shortages[0].1, Shortage::Zones { has: 1, wants: 2 });
    let spread = run(&machines, &before, 3, Goal::Balance);
    check_shape(&machines, &spread, 3, Goal::Balance);
    assert_eq!(load(&spread.table, NodeId::new(4)), 64);
}

#[test]
fn fewer_replicas_wanted_leaves_fewer_and_moves_none() {
    let machines = equal(5, 1);
    let before = run(&machines, &empty(64), 3, Goal::Balance).table;
    let fewer = run(&machines, &before, 2, Goal::Balance);
    check_shape(&machines, &fewer, 2, Goal::Balance);
    assert_eq!(moves(&before, &fewer.table), 0);
}

#[test]
fn nobody_to_hold_anything_is_a_shortage() {
    let placement = run(&[], &[vec![NodeId::new(1)]], 3, Goal::Balance);
    assert_eq!(placement.table, [vec![]]);
    assert_eq!(
        placement.shortages[0].1,
        Shortage::Replicas { has: 0, wants: 3 }
    );
}

#[test]
fn no_replicas_wanted_are_none_placed() {
    let placement = run(&equal(3, 1), &empty(4), 0, Goal::Balance);
    assert_eq!((placement.table, placement.shortages), (empty(4), vec![]));
}

#[test]
fn who_holds_what_together_is_spread() {
    let machines = equal(20, 1);
    let table = run(&machines, &empty(256), 3, Goal::Balance).table;
    for one in &machines {
        let rows = table.iter().filter(|row| row.contains(&one.node));
        let partners: BTreeSet<_> = rows.flatten().collect();
        assert!(
            partners.len() > 15,
            "{} share with {}",
            partners.len(),
            one.node
        );
    }
}

#[test]
fn a_thousand_nodes_are_balanced_too() {
    let machines = equal(1000, 1);
    let before = run(&machines, &empty(4096), 3, Goal::Balance).table;
    let (max, mean) = max_and_mean(&machines, &before);
    assert!(max as f64 <= mean.ceil(), "{max} of {mean}");
    let machines = equal(1001, 1);
    let after = run(&machines, &before, 3, Goal::Balance).table;
    assert!(moves(&before, &after) <= 13);
    assert!(load(&after, NodeId::new(1001)) >= 12);
}

fn clusters() -> impl Strategy<Value = Vec<Machine>> {
    let one = (
        prop_oneof![3 => Just(100u32), 1 => 1u32..400],
        0usize..5,
        prop::bool::weighted(0.9),
    );
    proptest::collection::vec(one, 1..14).prop_map(|parts| {
        let build = |(at, (weight, zone, holds)): (usize, (u32, usize, bool))| Machine {
            holds,
            ..machine(at as u64 * 7 + 1, weight, zone)
        };
        parts.into_iter().enumerate().map(build).collect()
    })
}

/// What happens to a cluster.
#[derive(Clone, Debug)]
enum Event {
    Joins(u32, usize),
    Leaves(prop::sample::Index),
    Reweighed(prop::sample::Index, u32),
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1u32..300, 0usize..5).prop_map(|(weight, zone)| Event::Joins(weight, zone)),
        any::<prop::sample::Index>().prop_map(Event::Leaves),
        (any::<prop::sample::Index>(), 1u32..300)
            .prop_map(|(at, weight)| Event::Reweighed(at, weight)),
    ]
}

proptest! {
    #[test]
    fn placement_1_and_2_over_random_clusters_and_their_lives(
        mut machines in clusters(),
        lives in proptest::collection::vec((events(), any::<bool>()), 0..6),
        partitions in prop_oneof![Just(1usize), Just(16), Just(64)],
        wants in 1usize..6,
    ) {
        let first = run(&machines, &empty(partitions), wants, Goal::Balance);
        check_shape(&machines, &first, wants, Goal::Balance);
        let mut table = first.table;
        let mut next = 1000;
        for (event, balance) in lives {
            match event {
                Event::Joins(weight, zone) => {
                    machines.push(machine(next, weight, zone));
                    next += 1;
                }
                Event::Leaves(at) => {
                    let at = at.index(machines.len());
                    machines[at].holds = false;
                }
                Event::Reweighed(at, weight) => {
                    let at = at.index(machines.len());
                    machines[at].weight = weight;
                }
            }
            let goal = if balance { Goal::Balance } else { Goal::Repair };
            let placement = run(&machines, &table, wants, goal);
            check_shape(&machines, &placement, wants, goal);
            // placement-4: also when nodes come in another order.
            let mut reversed = machines.clone();
            reversed.reverse();
            prop_assert_eq!(&run(&reversed, &table, wants, goal), &placement);
            table = placement.table;
            if balance {
                // Nothing is left to do.
                let again = run(&machines, &table, wants, Goal::Balance);
                prop_assert_eq!(moves(&table, &again.table), 0);
                prop_assert_eq!(&again.table, &table);
            }
        }
    }

    #[test]
    fn placement_2_loads_follow_weights(
        weights in proptest::collection::vec(50u32..400, 3..12),
    ) {
        let machines: Vec<_> = weights.iter().enumerate()
            .map(|(at, &weight)| machine(at as u64, weight, 0)).collect();
        let table = run(&machines, &empty(256), 1, Goal::Balance).table;
        let sum: u32 = weights.iter().sum();
        for one in &machines {
            let share = 256.0 * f64::from(one.weight) / f64::from(sum);
            let held = load(&table, one.node) as f64;
            prop_assert!((held - share).abs() < 1.0, "{held} of {share}");
        }
    }

    /// The share of each node with three replicas, zones and weights: computed, and then held.
    #[test]
    fn placement_2_nobody_is_off_its_quota(machines in clusters(), wants in 1usize..5) {
        let candidates: Vec<_> = machines.iter().map(|one| Candidate {
            node: one.node, weight: one.weight, zone: &one.zone, holds: one.holds,
        }).collect();
        let mut board = Board::new(&candidates, &empty(64), wants, Planted::default());
        prop_assume!(!board.nodes.is_empty());
        board.trim();
        board.fill();
        board.mend_zones();
        board.even();
        prop_assert_eq!(board.loads(), board.quotas.clone());
        prop_assert_eq!(board.quotas.iter().sum::<usize>(), 64 * board.len);
    }
}

#[cfg(feature = "plant")]
#[test]
fn planted_defects_are_noticed() {
    use crate::topology::plant::Plant;
    let caught = |plant: Plant| {
        let machines = equal(12, 4);
        let candidates: Vec<_> = machines
            .iter()
            .map(|one| Candidate {
                node: one.node,
                weight: one.weight,
                zone: &one.zone,
                holds: true,
            })
            .collect();
        let planted = Planted(Some(plant));
        let before = place_with(&candidates[..8], &empty(64), 3, Goal::Balance, planted).table;
        let placement = place_with(&candidates, &before, 3, Goal::Balance, planted);
        let shape =
            std::panic::catch_unwind(|| check_shape(&machines, &placement, 3, Goal::Balance));
        let (max, mean) = max_and_mean(&machines, &placement.table);
        shape.is_err() || max as f64 > mean.ceil()
    };
    assert!(caught(Plant::ZonesIgnored));
    assert!(caught(Plant::Unbalanced));
}
