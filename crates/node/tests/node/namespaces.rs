//! Namespaces: created, changed, kept apart, dropped.

use std::ops::Bound::Unbounded;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringwood_env::faulty::{Class, Failure, Fault, FaultPlan};
use ringwood_lsm::ReadOptions;
use ringwood_node::{
    ConflictPolicy, DEFAULT_NAMESPACE as NS, Mode, Node, NodeError, Outcome, Policy, PolicyChange,
    Request, Scan,
};

use crate::world::{World, bytes, put};

fn names(world: &World) -> Vec<String> {
    let all = world.node().namespaces(1000, None).unwrap();
    all.namespaces
        .iter()
        .map(|namespace| namespace.name().into())
        .collect()
}

/// Keys of all namespaces together, as the engine has them.
fn stored_keys(node: &Node) -> usize {
    let data = node.engine().keyspace("data").unwrap();
    let mut iter = data
        .range((Unbounded, Unbounded), &ReadOptions::default())
        .unwrap();
    iter.seek_to_first().unwrap();
    let mut count = 0;
    while iter.valid() {
        count += 1;
        iter.next().unwrap();
    }
    count
}

fn all(limit: usize) -> Scan {
    Scan {
        limit,
        ..Scan::default()
    }
}

#[test]
fn the_default_namespace_is_there_and_stays() {
    let world = World::new();
    assert_eq!(names(&world), [NS]);
    assert_eq!(*world.namespace(NS).policy(), Policy::default());
    assert!(matches!(
        world.node().drop_namespace(NS),
        Err(NodeError::DefaultNamespace)
    ));
    assert!(matches!(
        world.node().create_namespace(NS, Policy::default()),
        Err(NodeError::NamespaceExists { .. })
    ));
}

#[test]
fn namespaces_and_their_policies_survive_a_restart() {
    let mut world = World::new();
    let policy = Policy {
        default_ttl: Some(60),
        routing: "before:/".parse().unwrap(),
        ..Policy::default()
    };
    let id = world.create("b", policy.clone()).id();
    world.create("a", Policy::default());
    let change = PolicyChange {
        value_len_max: Some(Some(5)),
        ..PolicyChange::default()
    };
    world.node().update_namespace("b", &change).unwrap();
    world.restart();
    assert_eq!(names(&world), ["a", "b", NS]);
    let b = world.namespace("b");
    let changed = Policy {
        value_len_max: Some(5),
        ..policy
    };
    assert_eq!((b.id(), b.policy()), (id, &changed));
    assert!(world.put("b", put("k", "123456")).is_err());
}

#[test]
fn what_cannot_be_kept_or_found_is_refused_and_changes_nothing() {
    let world = World::new();
    let node = world.node();
    let strong = Policy {
        mode: Mode::Strong,
        ..Policy::default()
    };
    let siblings = Policy {
        conflicts: ConflictPolicy::Siblings,
        ..Policy::default()
    };
    for policy in [strong, siblings] {
        assert!(matches!(
            node.create_namespace("new", policy),
            Err(NodeError::UnsupportedPolicy { .. })
        ));
    }
    assert!(matches!(
        node.create_namespace("No", Policy::default()),
        Err(NodeError::InvalidNamespaceName { .. })
    ));
    let change = PolicyChange {
        default_ttl: Some(Some(0)),
        ..PolicyChange::default()
    };
    assert!(matches!(
        node.update_namespace(NS, &change),
        Err(NodeError::UnsupportedPolicy {
            field: "default_ttl",
            ..
        })
    ));
    for result in [
        node.update_namespace("none", &PolicyChange::default())
            .err(),
        node.drop_namespace("none").err(),
        node.namespace("none").err(),
    ] {
        assert!(matches!(result, Some(NodeError::NoSuchNamespace { name }) if name == "none"));
    }
    assert_eq!(names(&world), [NS]);
    assert_eq!(*world.namespace(NS).policy(), Policy::default());
}

#[test]
fn namespaces_do_not_see_each_other() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.create(name, Policy::default());
        for n in 0..50 {
            world.set(name, format!("{n}"), name);
        }
    }
    world.node().drop_namespace("b").unwrap();
    for name in ["a", "c"] {
        assert_eq!(world.get(name, "7"), Some(name.into()));
        assert_eq!(world.keys(name, all(7)).len(), 50);
    }
    world.delete("a", "7");
    assert_eq!(world.get("c", "7"), Some(b"c".into()));
    assert!(world.keys(NS, all(10)).is_empty());
}

#[test]
fn a_dropped_namespace_is_gone_with_its_keys_and_its_id() {
    let mut world = World::new();
    let old = world.create("n", Policy::default());
    for n in 0..200 {
        world.set("n", format!("{n}"), "value");
    }
    assert_eq!(stored_keys(world.node()), 200);
    world.node().drop_namespace("n").unwrap();
    assert_eq!(stored_keys(world.node()), 0);
    let key = || bytes("1");
    for request in [
        Request::Get {
            namespace: old.clone(),
            key: key(),
        },
        Request::Put {
            namespace: old.clone(),
            put: put("1", ""),
            durability: None,
        },
        Request::Delete {
            namespace: old.clone(),
            key: key(),
            context: None,
            durability: None,
        },
        Request::Scan {
            namespace: old.clone(),
            scan: all(1),
        },
        Request::Batch {
            namespace: old.clone(),
            items: vec![],
            durability: None,
        },
    ] {
        assert!(matches!(
            world.ask(request),
            Err(NodeError::NoSuchNamespace { .. })
        ));
    }
    world.restart();
    assert_eq!(names(&world), [NS]);
    let new = world.create("n", Policy::default());
    assert!(new.id() > old.id());
    assert_eq!(world.get("n", "1"), None);
}

/// INVARIANT catalog-2.
#[test]
fn no_write_slips_in_behind_a_drop() {
    let world = World::new();
    for round in 0..10 {
        let name = format!("n{round}");
        let namespace = world.create(&name, Policy::default());
        let dropped = AtomicBool::new(false);
        thread::scope(|scope| {
            for writer in 0..3 {
                let (world, namespace, dropped) = (&world, &namespace, &dropped);
                scope.spawn(move || {
                    for n in 0.. {
                        let was_dropped = dropped.load(Ordering::SeqCst);
                        let result = world.ask(Request::Put {
                            namespace: namespace.clone(),
                            put: put(format!("{writer}/{n}"), "value"),
                            durability: None,
                        });
                        match result {
                            Ok(_) => assert!(!was_dropped),
                            Err(NodeError::NoSuchNamespace { .. }) => break,
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
            }
            while stored_keys(world.node()) < 20 {
                thread::yield_now();
            }
            world.node().drop_namespace(&name).unwrap();
            dropped.store(true, Ordering::SeqCst);
        });
        assert_eq!(stored_keys(world.node()), 0, "round {round}");
    }
}

/// INVARIANT catalog-3, where nothing was written.
#[test]
fn a_drop_that_found_no_room_leaves_the_namespace_as_it_was() {
    let mut world = World::with_short_logs();
    world.create("n", Policy::default());
    world.set("n", "key", "value");
    world.fill_log_to_the_brim();
    let refused = world.node().drop_namespace("n").unwrap_err();
    assert_eq!(refused.outcome(), Outcome::NotApplied, "{refused}");
    assert_eq!(world.get("n", "key"), Some(b"value".into()));

    world.disk.set_plan(FaultPlan::default());
    world.set("n", "key", "newer");
    assert_eq!(world.get("n", "key"), Some(b"newer".into()));
    world.node().drop_namespace("n").unwrap();
    world.restart();
    assert_eq!(names(&world), [NS]);
}

/// INVARIANT catalog-3, where nobody knows.
#[test]
fn a_drop_of_unknown_outcome_keeps_the_namespace_shut_until_the_next_start() {
    let world = World::new();
    let namespace = world.create("n", Policy::default());
    world.set("n", "key", "value");
    let broken = Failure::for_good(Class::Writes, 1, Fault::Io);
    world.disk.set_plan(FaultPlan::fail(broken));
    let failed = world.node().drop_namespace("n").unwrap_err();
    assert_eq!(failed.outcome(), Outcome::Unknown, "{failed}");

    let key = bytes("key");
    let read = world.ask(Request::Get { namespace, key });
    let write = world.put("n", put("key", "other")).map(drop);
    let again = world.node().drop_namespace("n");
    for refused in [read.map(drop), write, again] {
        assert!(matches!(refused, Err(NodeError::NamespaceInDoubt { name }) if name == "n"));
    }
    assert_eq!(names(&world), [NS, "n"]);

    let after = world.after_power_cut(1);
    match names(&after).as_slice() {
        [_] => assert_eq!(stored_keys(after.node()), 0),
        _ => assert_eq!(after.get("n", "key"), Some(b"value".into())),
    }
}

#[test]
fn a_node_takes_so_many_namespaces_and_lists_them_page_by_page() {
    let mut world = World::with(|config| config.namespaces_max = 20);
    for n in 1..20 {
        world.create(&format!("n{n:02}"), Policy::default());
    }
    let one_more = |world: &World| world.node().create_namespace("more", Policy::default());
    let refused = one_more(&world).unwrap_err();
    assert!(
        matches!(
            refused,
            NodeError::TooManyNamespaces {
                count: 20,
                limit: 20
            }
        ),
        "{refused}"
    );
    world.restart();
    assert!(one_more(&world).is_err(), "also after a restart");
    assert_eq!(names(&world).len(), 20, "nothing was made");

    for limit in [1, 7, 20, 21] {
        let mut listed = Vec::new();
        let mut cursor = None;
        loop {
            let page = world.node().namespaces(limit, cursor.as_deref()).unwrap();
            assert!(page.namespaces.len() <= limit);
            listed.extend(page.namespaces.iter().map(|one| one.name().to_owned()));
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(listed, names(&world), "pages of {limit}");
    }
    let first = world.node().namespaces(5, None).unwrap().cursor.unwrap();
    world.node().drop_namespace("n04").unwrap();
    world.node().drop_namespace("n05").unwrap();
    let next = world.node().namespaces(1, Some(&first)).unwrap();
    assert_eq!(
        next.namespaces[0].name(),
        "n06",
        "its place outlives a name"
    );
    one_more(&world).unwrap();

    let page = Scan {
        limit: 1,
        ..Scan::default()
    };
    for key in ["a", "b"] {
        world.set(NS, key, "v");
    }
    let of_keys = world.page(NS, page).unwrap().cursor.unwrap();
    for wrong in [&of_keys[..], "forged", ""] {
        let refused = world.node().namespaces(1, Some(wrong)).unwrap_err();
        assert!(matches!(refused, NodeError::InvalidCursor(_)), "{refused}");
    }
    assert!(matches!(
        world.node().namespaces(0, None),
        Err(NodeError::InvalidLimit { .. })
    ));
}
