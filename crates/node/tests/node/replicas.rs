//! A node as a replica: what coordinators ask of it, over a disk in memory.

use std::sync::Arc;

use bytes::Bytes;
use ringwood_node::{
    DEFAULT_NAMESPACE, Durability, Found, Payload, PeerReply, PeerRequest, PolicyChange,
    ReplicaRequest, Serving,
};
use ringwood_protocol::coordinator::Failure;
use ringwood_protocol::coordinator::write::Answer;
use ringwood_protocol::topology::{
    Command, CommandId, NewNode, NodeChange, Origin, Request, Topology, View,
};
use ringwood_types::{
    ClusterId, Dot, Hlc, Incarnation, NamespaceId, Record, RecordHead, Routing, Version,
};

use crate::world::{START, World};

const OTHERS: Incarnation = Incarnation::new(77);
const FIRST: NamespaceId = NamespaceId::new(1);

fn node_of(world: &World) -> NewNode {
    NewNode {
        id: world.node().identity().node,
        name: "n0".into(),
        peer_address: "n0:7410".into(),
        client_address: "n0:7400".into(),
        zone: String::new(),
        weight: 100,
        start: 1,
    }
}

fn topology(world: &World) -> Topology {
    let identity = world.node().identity();
    Topology::bootstrap(Origin {
        cluster: ClusterId::new(1),
        node: node_of(world),
        incarnation: identity.incarnation,
        ring: identity.ring,
        cursor_secret: *identity.cursor_secret(),
        namespaces: Vec::new(),
        next_namespace: NamespaceId::new(2),
    })
}

/// A node that is the replica of everything.
fn replica() -> World {
    let world = World::with(|config| config.engine.threads = 0);
    let view = View::new(&topology(&world));
    world.node().set_view(Arc::new(view)).unwrap();
    world
}

fn serve(world: &World, key: impl Into<Bytes>, request: ReplicaRequest) -> Serving {
    let node = world.node();
    let key = key.into();
    let view = node.view().unwrap();
    let (_, replicas) = view.route(&key, Routing::WholeKey);
    let request = PeerRequest {
        epoch: replicas.epoch(),
        namespace: FIRST,
        key,
        request,
    };
    match node.serve(node.now(), request) {
        Serving::Blocking(deferred) => deferred.run(node.now()),
        other => other,
    }
}

/// Does what is there to do, and waits for it.
fn settle(world: &World, serving: Serving) -> PeerReply {
    match serving {
        Serving::Reply(reply) => reply,
        Serving::Persisting(ticket, reply) => {
            work(world);
            reply.once(ticket.wait().map(drop))
        }
        other => panic!("{other:?}"),
    }
}

fn work(world: &World) {
    let engine = world.node().engine();
    while let Some(job) = engine.next_job() {
        engine.run(job).unwrap();
    }
}

fn put(value: &'static str) -> Payload {
    Payload::Put {
        value: value.into(),
        content_type: String::new(),
        deadline: None,
    }
}

fn mint(payload: Payload) -> ReplicaRequest {
    ReplicaRequest::Mint {
        payload,
        above: Hlc::ZERO,
        limit: Hlc::at(START + 10_000),
    }
}

fn minted(reply: &PeerReply) -> Version {
    match reply {
        PeerReply::Minted(version) => *version,
        other => panic!("{other:?}"),
    }
}

fn arrives(counter: u64, millis: u64, value: &str) -> ReplicaRequest {
    let version = Version {
        time: Hlc::at(millis),
        dot: Dot {
            incarnation: OTHERS,
            counter,
        },
    };
    stored(version, value)
}

fn stored(version: Version, value: &str) -> ReplicaRequest {
    let record = Record {
        version,
        content_type: "",
        value: value.as_bytes(),
    };
    ReplicaRequest::Store {
        record: record.to_vec().into(),
        deadline: None,
    }
}

fn found(world: &World, key: &'static str) -> Option<Version> {
    match settle(world, serve(world, key, ReplicaRequest::Read)) {
        PeerReply::Found(found) => {
            found.map(|Found { record, .. }| RecordHead::decode(&record).unwrap().version)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_power_cut_takes_from_a_minter_comes_back() {
    let world = replica();
    let change = PolicyChange {
        durability: Some(Durability::Buffered),
        ..PolicyChange::default()
    };
    std::thread::scope(|scope| {
        let change = scope.spawn(|| {
            let node = world.node();
            node.update_namespace(DEFAULT_NAMESPACE, &change).map(drop)
        });
        while !change.is_finished() {
            work(&world);
        }
        change.join().unwrap().unwrap();
    });
    // The first moves a mark, and is synced.
    minted(&settle(&world, serve(&world, "a", mint(put("first")))));
    for seed in 0..8 {
        let version = minted(&settle(&world, serve(&world, "a", mint(put("left")))));
        let after = world.after_power_cut(seed);
        let view = View::new(&topology(&after));
        after.node().set_view(Arc::new(view)).unwrap();
        // Another replica has it, and a read repairs.
        let answer = settle(&after, serve(&after, "a", stored(version, "left")));
        assert_eq!(answer, PeerReply::Stored(Answer::Held), "seed {seed}");
        assert_eq!(found(&after, "a"), Some(version), "seed {seed}");
    }
}

#[test]
fn arrivals_come_through_while_a_key_is_minted_all_the_time() {
    let world = replica();
    let minting = serve(&world, "hot", mint(put("mine")));
    let mut arrival = serve(&world, "hot", arrives(1, START - 1000, "theirs"));
    let mut under_way = minting;
    for _ in 0..5 {
        let Serving::Behind(ticket, deferred) = arrival else {
            return;
        };
        // Its queue is never empty: the next is there before the last one is done.
        let Serving::Persisting(..) = &under_way else {
            panic!("{under_way:?}")
        };
        while !ticket.is_done() {
            let job = world.node().engine().next_job().unwrap();
            world.node().engine().run(job).unwrap();
        }
        under_way = serve(&world, "hot", mint(put("mine again")));
        arrival = deferred.run(world.node().now());
    }
    panic!("an arrival waits for ever: {arrival:?}");
}

#[test]
fn forged_questions_are_refused() {
    let world = replica();
    let long = Payload::Put {
        value: "v".into(),
        content_type: "x".repeat(256),
        deadline: None,
    };
    let refused = PeerReply::Failed(Failure::Refused);
    assert_eq!(settle(&world, serve(&world, "a", mint(long))), refused);
    for key in [Bytes::new(), vec![7; (64 << 10) + 1].into()] {
        for request in [
            mint(put("v")),
            mint(Payload::Delete),
            arrives(1, START, "v"),
            ReplicaRequest::Read,
        ] {
            assert_eq!(
                settle(&world, serve(&world, key.clone(), request)),
                refused,
                "a key of {} bytes",
                key.len()
            );
        }
    }
    let version = Version {
        time: Hlc::at(START),
        dot: Dot {
            incarnation: OTHERS,
            counter: 1,
        },
    };
    for (record, deadline) in [
        (Bytes::from_static(&[1, 3, 0, 0]), None),
        (Bytes::from_static(b"no record"), None),
        (
            Bytes::copy_from_slice(&Record::tombstone(version)),
            Some(START + 1000),
        ),
    ] {
        let request = ReplicaRequest::Store { record, deadline };
        assert_eq!(settle(&world, serve(&world, "a", request)), refused);
    }
    let nobodys = stored(
        Version {
            dot: Dot {
                counter: 0,
                ..version.dot
            },
            ..version
        },
        "v",
    );
    assert_eq!(settle(&world, serve(&world, "a", nobodys)), refused);
    assert_eq!(found(&world, "a"), None);
}

/// topology-3: a member of the metadata group may hand out an old view late.
#[test]
fn a_view_that_is_behind_changes_nothing() {
    let world = replica();
    let first = world.node().view().unwrap();
    let mut later = topology(&world);
    let id = CommandId {
        proposer: world.node().identity().node,
        number: 1,
    };
    let command = Command::SetNode {
        node: world.node().identity().node,
        change: NodeChange {
            zone: Some("z".into()),
            ..NodeChange::default()
        },
    };
    later.apply(&Request { id, command }).unwrap();
    let later = Arc::new(View::new(&later));
    world.node().set_view(Arc::clone(&later)).unwrap();
    world.node().set_view(first).unwrap();
    assert_eq!(world.node().view().unwrap().epoch(), later.epoch());
}
