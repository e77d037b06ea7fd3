//! Plans: what they say, and that a large cluster is planned, held and looked up in little.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod cluster;

use std::mem::size_of;
use std::time::Duration;

use cluster::{Cluster, P0, new_node, node};
use ringwood_protocol::topology::placement::{Goal, Shortage};
use ringwood_protocol::topology::{
    Command, Node, NodeChange, Partition, Plan, Refused, Replica, View, Why,
};
use ringwood_types::{NodeId, PartitionId, Routing};

const MIB: u64 = 1 << 20;

fn whys(plan: &Plan) -> Vec<(Option<u64>, Option<u64>, Why)> {
    let number = |node: Option<NodeId>| node.map(NodeId::get);
    let moves = plan.moves.iter();
    moves
        .map(|one| (number(one.from), number(one.to), one.why))
        .collect()
}

fn add(cluster: &mut Cluster, n: u64, zone: &str) {
    let mut node = new_node(n);
    node.zone = zone.into();
    cluster.must(Command::AddNode { node });
}

#[test]
fn a_plan_says_what_moves_why_and_how_long_it_takes() {
    let mut cluster = Cluster::new(1);
    let plan = Plan::new(&cluster.topology, Goal::Repair, &[100 * MIB]);
    assert!(plan.is_empty());
    let short = Shortage::Replicas { has: 1, wants: 3 };
    assert_eq!(plan.shortages, [(P0, short)]);
    assert_eq!(cluster.topology.shortages(), [(P0, short)]);
    add(&mut cluster, 2, "");
    add(&mut cluster, 3, "");
    let plan = Plan::new(&cluster.topology, Goal::Repair, &[100 * MIB]);
    let mut moves = whys(&plan);
    moves.sort_unstable_by_key(|one| one.1);
    let missing = |to| (None, Some(to), Why::Missing);
    assert_eq!(moves, [missing(2), missing(3)]);
    assert_eq!(plan.bytes, 200 * MIB);
    // The one source sends both, at 50 MB/s.
    assert_eq!(plan.time, Duration::from_millis(4194));
    assert_eq!(plan.loads[&node(1)].bytes_out, 200 * MIB);
    assert_eq!(plan.loads[&node(2)].bytes_in, 100 * MIB);
    assert!(plan.shortages.is_empty());
    cluster.must(plan.command());
    assert_eq!(cluster.topology.due(1), [P0]);
    // The ring has changed since: the same plan is refused.
    assert!(matches!(
        cluster.refuses(plan.command()),
        Refused::RingChanged { .. }
    ));
    for _ in 0..2 {
        cluster.must(Command::Begin { partition: P0 });
        cluster.finish();
    }
    assert!(cluster.topology.shortages().is_empty());
    add(&mut cluster, 4, "");
    cluster.must(Command::Leave {
        node: node(2),
        fewer: false,
    });
    let plan = Plan::new(&cluster.topology, Goal::Repair, &[]);
    assert_eq!(whys(&plan), [(Some(2), Some(4), Why::Leaves)]);
    assert_eq!((plan.bytes, plan.time), (0, Duration::ZERO));
    cluster.must(Command::Stay { node: node(2) });
    let plan = Plan::new(&cluster.topology, Goal::Repair, &[]);
    assert!(
        plan.is_empty(),
        "a node that came is used when balance is asked for"
    );
    cluster.must(Command::MarkPermanentlyFailed {
        node: node(3),
        by_operator: false,
    });
    let plan = Plan::new(&cluster.topology, Goal::Repair, &[MIB]);
    assert_eq!(whys(&plan), [(Some(3), Some(4), Why::Dead)]);
    assert_eq!(plan.loads[&node(3)].bytes_out, 0, "the dead send nothing");
    cluster.must(Command::Returned { node: node(3) });
    cluster.must(Command::SetNode {
        node: node(4),
        change: NodeChange {
            zone: Some("other".into()),
            ..NodeChange::default()
        },
    });
    let plan = Plan::new(&cluster.topology, Goal::Balance, &[MIB]);
    assert_eq!(plan.moves.len(), 1);
    assert_eq!(
        (plan.moves[0].to, plan.moves[0].why),
        (Some(node(4)), Why::Zone)
    );
}

#[test]
fn a_dead_node_keeps_its_place_where_nobody_can_take_it() {
    let mut cluster = Cluster::of(3);
    cluster.must(Command::MarkPermanentlyFailed {
        node: node(3),
        by_operator: false,
    });
    let plan = Plan::new(&cluster.topology, Goal::Repair, &[]);
    assert!(
        plan.is_empty(),
        "two of two are as many as two of three: {plan:?}"
    );
    let short = Shortage::Replicas { has: 2, wants: 3 };
    assert_eq!(cluster.topology.shortages(), [(P0, short)]);
    // A person says that it goes all the same.
    cluster.must(Command::Remove {
        node: node(3),
        fewer: true,
    });
    let plan = Plan::new(&cluster.topology, Goal::Repair, &[]);
    assert_eq!(whys(&plan), [(Some(3), None, Why::Dead)]);
    cluster.must(plan.command());
    cluster.must(Command::Begin { partition: P0 });
    cluster.finish();
    assert_eq!(cluster.nodes_of_p0(), [1, 2]);
}

#[test]
fn the_partitions_in_the_greatest_need_move_first_and_no_node_moves_too_much() {
    let mut cluster = Cluster::new(16);
    for n in 2..=3 {
        add(&mut cluster, n, "");
    }
    let plan = Plan::new(&cluster.topology, Goal::Repair, &[]);
    cluster.must(plan.command());
    assert_eq!(
        cluster.topology.due(3).len(),
        6,
        "three for each of two joiners"
    );
    assert_eq!(cluster.topology.due(usize::MAX).len(), 16);
    let due = cluster.topology.due(1);
    assert_eq!(due.len(), 2);
    cluster.must(Command::Begin { partition: due[0] });
    assert_eq!(cluster.topology.due(1).len(), 1, "those under way count");
}

/// 1,000 nodes and 4,096 partitions with a move each.
fn large() -> Cluster {
    let mut cluster = Cluster::new(4096);
    for n in 2..=1000 {
        let mut node = new_node(n);
        node.zone = format!("zone-{}", n % 10);
        cluster.must_quietly(Command::AddNode { node });
    }
    let plan = Plan::new(&cluster.topology, Goal::Balance, &[]);
    cluster.must_quietly(plan.command());
    for _ in 0..3 {
        for id in cluster.topology.ring().partitions().iter() {
            if cluster.topology.partition(id).unwrap().wanted.is_empty() {
                continue;
            }
            cluster.finish_quietly(id);
        }
    }
    cluster
}

#[test]
fn a_thousand_nodes_take_less_than_four_megabytes() {
    let mut cluster = large();
    let shortages = cluster.topology.shortages();
    assert!(shortages.is_empty(), "{} shortages", shortages.len());
    let replicas = cluster.topology.settings().replicas;
    let after = ringwood_protocol::topology::Settings {
        replicas: replicas + 1,
        ..*cluster.topology.settings()
    };
    let before = *cluster.topology.settings();
    cluster.must_quietly(Command::SetSettings { before, after });
    let plan = Plan::new(&cluster.topology, Goal::Repair, &[]);
    assert_eq!(plan.moves.len(), 4096);
    cluster.must_quietly(plan.command());
    for id in cluster.topology.ring().partitions().iter() {
        cluster.must_quietly(Command::Begin { partition: id });
    }
    let view = View::new(&cluster.topology);
    let texts = |node: &Node| {
        let texts = [
            &node.name,
            &node.peer_address,
            &node.client_address,
            &node.zone,
        ];
        texts.map(String::capacity).iter().sum::<usize>()
    };
    let nodes: usize = cluster
        .topology
        .nodes()
        .map(|one| size_of::<Node>() + texts(one))
        .sum();
    let partition = |one: &Partition| {
        size_of::<Partition>()
            + one.replicas.capacity() * size_of::<Replica>()
            + one.wanted.capacity() * size_of::<NodeId>()
    };
    let partitions: usize = cluster.topology.partitions().iter().map(partition).sum();
    let state = nodes + partitions;
    println!("view {} bytes, state {state} bytes", view.bytes());
    println!("snapshot {} bytes", cluster.topology.to_snapshot().len());
    assert!(view.bytes() < 1_000_000 && view.bytes() + state < 4_000_000);
    let (partition, replicas) = view.route(b"key", Routing::WholeKey);
    assert_eq!(replicas.nodes().len(), 4);
    let joiner = replicas.nodes()[3];
    assert!(view.incarnation(partition, joiner).is_some());
    assert_eq!(view.incarnation(partition, NodeId::new(5000)), None);
    assert_eq!(view.node(joiner).unwrap().id, joiner);
    assert_eq!(view.nodes().len(), 1000);
    assert!(view.partitions_of(joiner).count() > 10);
    assert!(view.members_since(PartitionId::new(7)) < view.epoch());
}
