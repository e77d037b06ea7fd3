//! The topology, command by command: what each does, and what it is refused without.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod cluster;

use cluster::{Cluster, DRAWN, P0, new_node, node, origin, start_of};
use ringwood_protocol::topology::{
    Command, CommandId, DEFAULT_NAMESPACE, NodeChange, NodeState, Refused, Request, Settings,
    Topology, Wanted,
};
use ringwood_types::{NamespaceId, PartitionId};

#[test]
fn a_store_of_one_node_becomes_the_first_of_a_cluster() {
    let topology = Topology::bootstrap(origin(16));
    assert_eq!(topology.partitions().len(), 16);
    for partition in topology.partitions() {
        assert_eq!(partition.replicas.len(), 1);
        assert_eq!(partition.replicas[0].node, node(1));
        assert_eq!(partition.replicas[0].incarnation, DRAWN);
        assert!(!partition.replicas[0].rebuilding);
    }
    assert_eq!(topology.ring(), origin(16).ring);
    assert_eq!(topology.cursor_secret(), &[7; 32]);
    let ids: Vec<_> = topology.namespaces().map(|one| one.id.get()).collect();
    assert_eq!(ids, [1, 4]);
    assert_eq!(topology.settings().replicas, 3);
    topology.check().unwrap();
}

#[test]
fn topology_26_what_the_first_store_had_drawn_is_never_issued() {
    let mut cluster = Cluster::of(3);
    for _ in 0..5 {
        let start = start_of(2);
        cluster.must(Command::NewIncarnation {
            node: node(2),
            start,
            partitions: None,
        });
    }
    let with_it = cluster
        .p0()
        .replicas
        .iter()
        .filter(|one| one.incarnation == DRAWN);
    assert_eq!(with_it.count(), 1);
}

#[test]
fn a_start_that_the_disk_does_not_follow_is_refused() {
    let mut cluster = Cluster::of(3);
    let started = |previous, start| Command::Start {
        node: node(2),
        previous,
        start,
    };
    cluster.must(started(start_of(2), 5));
    cluster.must(started(5, 6));
    assert_eq!(cluster.refuses(started(5, 7)), Refused::AnotherStart);
    let damaged = Command::NewIncarnation {
        node: node(2),
        start: 5,
        partitions: Some(vec![P0]),
    };
    assert_eq!(cluster.refuses(damaged), Refused::AnotherStart);
    let incarnation = cluster.on(2).incarnation;
    cluster.must(Command::NewIncarnation {
        node: node(2),
        start: 7,
        partitions: None,
    });
    assert_ne!(cluster.on(2).incarnation, incarnation);
}

#[test]
fn topology_20_nodes_come_and_go_along_legal_edges() {
    let mut cluster = Cluster::of(3);
    let state = |cluster: &Cluster, n| cluster.topology.node(node(n)).unwrap().state;
    let leave = |n, fewer| Command::Leave {
        node: node(n),
        fewer,
    };
    let remove = |n, fewer| Command::Remove {
        node: node(n),
        fewer,
    };
    let failed = |n, by_operator| Command::MarkPermanentlyFailed {
        node: node(n),
        by_operator,
    };
    let one_too_many = Refused::TooFewNodes {
        left: 2,
        replicas: 3,
    };
    assert_eq!(cluster.refuses(leave(2, false)), one_too_many);
    assert_eq!(
        cluster.refuses(leave(9, false)),
        Refused::UnknownNode { node: node(9) }
    );
    assert_eq!(
        cluster.refuses(remove(2, true)),
        Refused::NodeLives { node: node(2) }
    );
    cluster.must(failed(2, false));
    assert_eq!(
        cluster.refuses(failed(3, false)),
        Refused::TooManyFailures { failed: 1 }
    );
    assert_eq!(
        cluster.refuses(leave(2, true)),
        Refused::NodeFailed { node: node(2) }
    );
    assert_eq!(cluster.refuses(remove(2, false)), one_too_many);
    cluster.must(Command::Returned { node: node(2) });
    assert_eq!(state(&cluster, 2), NodeState::Joined);
    cluster.must(Command::AddNode { node: new_node(4) });
    cluster.must(failed(2, true));
    cluster.must(remove(2, false));
    assert_eq!(state(&cluster, 2), NodeState::Removing);
    let back = cluster.refuses(Command::Returned { node: node(2) });
    assert_eq!(back, Refused::NodeGoes { node: node(2) });
    cluster.want(&[1, 3, 4]);
    cluster.must(Command::Begin { partition: P0 });
    cluster.must(cluster.streamed(cluster.word(&[1, 3])));
    cluster.must(cluster.read_new(cluster.word(&[1, 3])));
    cluster.must(cluster.use_new(cluster.word(&[1, 3])));
    assert_eq!(state(&cluster, 2), NodeState::Removed);
    let gone = Refused::NodeRemoved { node: node(2) };
    let rejoin = Command::AddNode { node: new_node(2) };
    assert_eq!(cluster.refuses(rejoin), gone);
    for command in [
        leave(2, true),
        remove(2, true),
        Command::Returned { node: node(2) },
        Command::Start {
            node: node(2),
            previous: start_of(2),
            start: 1,
        },
    ] {
        assert_eq!(cluster.refuses(command), gone);
    }
    // Its name is free again, for another node.
    let mut other = new_node(5);
    other.name = "n2".into();
    cluster.must(Command::AddNode { node: other });
    cluster.must(leave(5, false));
    assert_eq!(state(&cluster, 5), NodeState::Removed, "it held nothing");
    cluster.must(leave(4, true));
    cluster.must(Command::Stay { node: node(4) });
    assert_eq!(state(&cluster, 4), NodeState::Joined);
    cluster.must(leave(4, true));
    cluster.must(failed(4, true));
    assert_eq!(
        state(&cluster, 4),
        NodeState::Removing,
        "it was to go anyway"
    );
    cluster.must(failed(3, true));
    assert_eq!(cluster.refuses(failed(1, true)), Refused::LastNode);
    assert_eq!(cluster.refuses(leave(1, true)), Refused::LastNode);
}

#[test]
fn names_and_addresses_belong_to_one_node() {
    let mut cluster = Cluster::of(3);
    let epoch = cluster.epoch();
    let again = Command::AddNode { node: new_node(2) };
    assert_eq!(
        cluster.must(again).epoch,
        epoch,
        "joining twice is harmless"
    );
    let mut wiped = new_node(2);
    wiped.id = node(99);
    let refused = cluster.refuses(Command::AddNode {
        node: wiped.clone(),
    });
    let by = node(2);
    let same_address = true;
    assert_eq!(refused, Refused::NameTaken { by, same_address });
    wiped.name = "other".into();
    let refused = cluster.refuses(Command::AddNode {
        node: wiped.clone(),
    });
    assert_eq!(refused, Refused::AddressTaken { by });
    wiped.weight = 0;
    let refused = cluster.refuses(Command::AddNode { node: wiped });
    assert_eq!(refused, Refused::InvalidNode);
    let set = |change| Command::SetNode {
        node: node(2),
        change,
    };
    let taken = NodeChange {
        peer_address: Some(new_node(3).peer_address),
        ..NodeChange::default()
    };
    assert_eq!(
        cluster.refuses(set(taken)),
        Refused::AddressTaken { by: node(3) }
    );
    let layout = cluster.topology.layout();
    let moved = NodeChange {
        client_address: Some("h:1".into()),
        ..NodeChange::default()
    };
    cluster.must(set(moved));
    assert_eq!(
        cluster.topology.layout(),
        layout,
        "plans do not look at addresses"
    );
    let zone = NodeChange {
        zone: Some("z2".into()),
        weight: Some(50),
        ..NodeChange::default()
    };
    cluster.must(set(zone));
    assert!(cluster.topology.layout() > layout);
}

#[test]
fn one_node_takes_the_place_of_another() {
    let mut cluster = Cluster::of(3);
    cluster.must(Command::AddNode { node: new_node(4) });
    let replace = |old, new| Command::Replace {
        old: node(old),
        new: node(new),
    };
    assert_eq!(
        cluster.refuses(replace(2, 9)),
        Refused::UnknownNode { node: node(9) }
    );
    assert_eq!(
        cluster.refuses(replace(2, 2)),
        Refused::NodeGoes { node: node(2) }
    );
    cluster.must(replace(2, 4));
    assert_eq!(cluster.p0().wanted, [node(1), node(4), node(3)]);
    cluster.must(Command::Begin { partition: P0 });
    cluster.finish();
    assert_eq!(cluster.nodes_of_p0(), [1, 4, 3]);
    assert_eq!(
        cluster.topology.node(node(2)).unwrap().state,
        NodeState::Removed
    );
}

#[test]
fn a_plan_is_refused_when_the_ring_has_changed_and_not_when_moves_go_on() {
    let mut cluster = Cluster::of(3);
    cluster.must(Command::AddNode { node: new_node(4) });
    cluster.want(&[1, 3, 4]);
    let planned = cluster.topology.layout();
    let plan = |nodes: &[u64]| Command::ApplyPlan {
        based_on: planned,
        wanted: vec![Wanted {
            partition: P0,
            nodes: nodes.iter().copied().map(node).collect(),
        }],
    };
    cluster.must(Command::Begin { partition: P0 });
    cluster.must(cluster.streamed(cluster.word(&[2])));
    for bad in [&[][..], &[1, 1], &[1, 77]] {
        assert_eq!(
            cluster.refuses(plan(bad)),
            Refused::InvalidPlan { partition: P0 }
        );
    }
    cluster.must(plan(&[1, 3, 4]));
    let now = cluster.topology.layout();
    let changed = Refused::RingChanged { planned, now };
    assert_eq!(cluster.refuses(plan(&[1, 3, 4])), changed);
    let twice = Command::ApplyPlan {
        based_on: now,
        wanted: vec![
            Wanted {
                partition: P0,
                nodes: vec![node(1)],
            };
            2
        ],
    };
    assert_eq!(
        cluster.refuses(twice),
        Refused::InvalidPlan { partition: P0 }
    );
    let elsewhere = Command::Begin {
        partition: PartitionId::new(5),
    };
    assert!(matches!(
        cluster.refuses(elsewhere),
        Refused::UnknownPartition { .. }
    ));
}

#[test]
fn another_order_moves_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.want(&[3, 1, 2]);
    assert_eq!(cluster.nodes_of_p0(), [3, 1, 2]);
    assert!(cluster.p0().wanted.is_empty() && cluster.p0().transition.is_none());
    assert_eq!(cluster.p0().epoch, cluster.epoch());
}

#[test]
fn namespaces_are_made_changed_and_dropped_and_ids_never_come_back() {
    let mut cluster = Cluster::new(1);
    let create = |name: &str| Command::CreateNamespace {
        name: name.into(),
        policy: (*b"p1").into(),
    };
    let id = cluster.must(create("music")).namespace.unwrap();
    assert_eq!(id, NamespaceId::new(9));
    assert_eq!(
        cluster.refuses(create("music")),
        Refused::NamespaceExists { id }
    );
    for bad in ["", "A", "-a", "a b", &"x".repeat(64)] {
        assert_eq!(cluster.refuses(create(bad)), Refused::InvalidNamespaceName);
    }
    let update = |revision| Command::UpdateNamespace {
        id,
        revision,
        policy: (*b"p2").into(),
    };
    cluster.must(update(1));
    assert_eq!(cluster.refuses(update(1)), Refused::NamespaceChanged { id });
    cluster.must(update(2));
    cluster.must(Command::DropNamespace { id });
    assert_eq!(cluster.refuses(update(3)), Refused::UnknownNamespace { id });
    let default = Command::DropNamespace {
        id: DEFAULT_NAMESPACE,
    };
    assert_eq!(cluster.refuses(default), Refused::DefaultNamespace);
    let next = cluster.must(create("music")).namespace.unwrap();
    assert_eq!(next, NamespaceId::new(10));
}

#[test]
fn settings_change_from_what_they_were() {
    let mut cluster = Cluster::new(1);
    let before = *cluster.topology.settings();
    let set = |before, after| Command::SetSettings { before, after };
    let after = Settings {
        replicas: 5,
        down_threshold_ms: 20_000,
        ..before
    };
    let layout = cluster.topology.layout();
    cluster.must(set(before, after));
    assert!(cluster.topology.layout() > layout);
    let other = Settings {
        hint_ttl_ms: 1,
        ..before
    };
    assert_eq!(
        cluster.refuses(set(before, other)),
        Refused::SettingsChanged
    );
    for bad in [
        Settings {
            replicas: 0,
            ..after
        },
        Settings {
            replicas: 8,
            ..after
        },
        Settings {
            suspicion_threshold_ms: 30_000,
            ..after
        },
        Settings {
            gossip_interval_ms: 0,
            ..after
        },
        Settings {
            streaming_throughput: 0,
            ..after
        },
    ] {
        assert_eq!(cluster.refuses(set(after, bad)), Refused::InvalidSettings);
    }
}

#[test]
fn a_command_that_comes_again_is_answered_and_not_applied() {
    let mut cluster = Cluster::new(1);
    let request = |number, name: &str| Request {
        id: CommandId {
            proposer: node(7),
            number,
        },
        command: Command::CreateNamespace {
            name: name.into(),
            policy: (*b"").into(),
        },
    };
    let first = cluster.topology.apply(&request(1, "a"));
    let refused = cluster.topology.apply(&request(2, "a"));
    assert!(first.is_ok() && refused.is_err());
    let id = first.unwrap().namespace.unwrap();
    cluster.must(Command::DropNamespace { id });
    let epoch = cluster.epoch();
    assert_eq!(cluster.topology.apply(&request(1, "a")), first);
    // Refused then, it does not take effect now that it could.
    assert_eq!(cluster.topology.apply(&request(2, "a")), refused);
    assert_eq!(cluster.epoch(), epoch);
}

#[test]
fn refusals_say_what_to_do() {
    let text = |refused: Refused| refused.to_string();
    assert!(text(Refused::NodeLives { node: node(1) }).contains("`leave`"));
    assert!(text(Refused::NodeFailed { node: node(1) }).contains("`remove`"));
    let removed = text(Refused::NodeRemoved { node: node(1) });
    assert!(removed.contains("empty data directory"));
    let few = Refused::TooFewNodes {
        left: 2,
        replicas: 3,
    };
    assert!(text(few).contains("`replace`"));
}
