//! What a node is when it comes up again: after an ordinary stop, a power cut, or in a wrong place.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use proptest::prelude::*;
use ringwood_lsm::{Db, Durability, KeyspaceOptions};
use ringwood_node::{
    DEFAULT_NAMESPACE as NS, KeyReply, Node, OpenError, Outcome, Policy, Reply, Request,
};
use ringwood_types::{PartitionCount, PartitionId, Routing, Version};

use crate::world::{World, put};

#[test]
fn a_node_stays_who_it_is() {
    let mut world = World::new();
    let identity = *world.node().identity();
    world.set(NS, "key", "value");
    world.restart();
    assert_eq!(*world.node().identity(), identity);
    assert_eq!(world.get(NS, "key"), Some(b"value".into()));
    let other = World::with(|config| {
        config.engine.random = std::sync::Arc::new(ringwood_env::SeededRandom::new(8));
    });
    assert_ne!(other.node().identity().node, identity.node);
    assert!(
        !format!("{identity:?}").contains('['),
        "secrets do not print"
    );
}

#[test]
fn another_number_of_partitions_is_refused_and_none_means_as_it_is() {
    let mut world = World::new();
    world.stop();
    world.config.partitions = PartitionCount::new(32);
    let refused = world.open().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "this store has 16 partitions, fixed when it was made; the configuration asks for 32"
    );
    world.config.partitions = None;
    world.start();
    assert_eq!(world.node().identity().ring.partitions().get(), 16);
}

#[test]
fn a_store_of_something_else_is_refused_and_left_as_it_is() {
    let mut world = World::new();
    world.config.engine.path = "other".into();
    let db = Db::open(world.config.engine.clone()).unwrap();
    db.create_keyspace("users", KeyspaceOptions::default())
        .unwrap();
    db.close().unwrap();
    assert!(matches!(world.open(), Err(OpenError::NotANode { .. })));
    let db = Db::open(world.config.engine.clone()).unwrap();
    assert_eq!(db.keyspaces(), ["users"]);
}

#[test]
fn a_store_of_a_newer_version_is_refused_by_its_number() {
    let mut world = World::new();
    let system = world.node().engine().keyspace("system").unwrap();
    let newer = br#"{"format":2,"whatever":"that has"}"#;
    system.put(b"identity", newer, Durability::Synced).unwrap();
    world.stop();
    assert!(matches!(
        world.open(),
        Err(OpenError::UnsupportedFormat {
            found: 2,
            supported: 1,
            ..
        })
    ));
}

#[test]
fn a_node_that_stopped_while_it_was_made_is_made_again() {
    let world = World::new();
    let operations = {
        let fresh = World::with(|config| config.engine.threads = 0);
        fresh.disk.operations()
    };
    for at in 1..=operations {
        let disk = ringwood_env::faulty::FaultyDisk::new(at);
        disk.set_plan(ringwood_env::FaultPlan::crash_at(at));
        let mut config = world.config.clone();
        config.engine.threads = 0;
        config.engine.disk = std::sync::Arc::new(disk.clone());
        let first = Node::open(config.clone()).map(|node| *node.identity());
        disk.crash(ringwood_env::CrashMode::Subset);
        let again = Node::open(config).unwrap_or_else(|error| panic!("at {at}: {error}"));
        again.namespace(NS).unwrap();
        if let Ok(first) = first {
            assert_eq!(*again.identity(), first, "at {at}");
        }
    }
}

/// INVARIANTS mint-1 and mint-2: whatever a power cut leaves, no dot that anybody saw is minted
/// again, and later writes have later versions.
#[test]
fn no_version_is_given_twice_whatever_a_power_cut_leaves() {
    let keys: Vec<String> = (0..20).map(|n| format!("{n}")).collect();
    let write = |world: &World, key: &str, durability| -> Version {
        let request = Request::Put {
            namespace: world.namespace(NS),
            put: put(key, "value"),
            durability: Some(durability),
        };
        match world.ask(request).unwrap() {
            Reply::Key(KeyReply::Stored { version, .. }) => version,
            other => panic!("{other:?}"),
        }
    };
    let dot = |world: &World, key: &str, version: Version| {
        let ring = world.node().identity().ring;
        (
            ring.partition(key.as_bytes(), Routing::WholeKey),
            version.dot,
        )
    };
    proptest!(ProptestConfig::with_cases(12), |(
        steps in proptest::collection::vec((0usize..20, any::<bool>(), 0u64..8000), 1..40),
        seed: u64,
    )| {
        let world = World::new();
        let mut seen = BTreeSet::new();
        let mut newest: BTreeMap<PartitionId, Version> = BTreeMap::new();
        for &(key, synced, pause) in &steps {
            let durability = if synced { Durability::Synced } else { Durability::Buffered };
            let version = write(&world, &keys[key], durability);
            let (partition, dot) = dot(&world, &keys[key], version);
            prop_assert!(seen.insert((partition, dot)));
            let before = newest.insert(partition, version);
            prop_assert!(before < Some(version));
            world.clock.advance(std::time::Duration::from_millis(pause));
        }
        let after = world.after_power_cut(seed);
        world.clock.set_wall(0);
        let latest = *newest.values().max().unwrap();
        for key in &keys {
            let version = write(&after, key, Durability::Buffered);
            prop_assert!(version.time > latest.time);
            prop_assert!(seen.insert(dot(&after, key, version)));
        }
    });
}

#[test]
fn acknowledged_writes_survive_a_power_cut_wherever_the_store_was_made() {
    for path in ["store", "/store", "new/directories/store"] {
        check_power_cuts(&World::with(|config| config.engine.path = path.into()));
    }
}

fn check_power_cuts(world: &World) {
    world.create("n", Policy::default());
    for n in 0..100 {
        world.set("n", format!("{n}"), format!("value {n}"));
    }
    for n in 0..50 {
        world.delete("n", format!("{n}"));
    }
    for seed in 0..5 {
        let after = world.after_power_cut(seed);
        for n in 0..50 {
            assert_eq!(after.get("n", format!("{n}")), None);
        }
        for n in 50..100 {
            assert_eq!(
                after.get("n", format!("{n}")),
                Some(format!("value {n}").into())
            );
        }
    }
}

/// INVARIANT mint-3: a write that fails for want of room takes the marks it carried with it.
#[test]
fn no_version_is_given_twice_after_a_write_that_found_no_room() {
    let world = World::with_short_logs();
    let filler = world.fill_log();
    world.pass(60);
    let key = world.key_of_another_partition(&filler);
    let refused = world.put(NS, put(&key, vec![0; 64 << 10])).unwrap_err();
    assert_eq!(refused.outcome(), Outcome::NotApplied, "{refused}");
    assert!(refused.retryable(), "{refused}");
    let seen = [(); 3].map(|()| world.set(NS, &key, "small enough for what is left"));

    let after = world.after_power_cut(1);
    world.clock.set_wall(0);
    assert_eq!(after.entry(NS, &key).unwrap().version(), seen[2]);
    for _ in 0..5 {
        let version = after.set(NS, &key, "after");
        assert!(version.dot.counter > seen[2].dot.counter);
        assert!(version.time > seen[2].time);
    }
}

#[test]
fn a_node_at_rest_writes_its_memtables_out() {
    let world = World::with(|config| config.engine.memory_budget = 128 << 20);
    let held = |world: &World| -> usize {
        let keyspaces = world.node().engine().statistics().keyspaces;
        keyspaces.iter().map(|one| one.memtable_bytes).sum()
    };
    let sweep_for = |world: &World, seconds: u64| {
        for _ in 0..seconds {
            world.pass(1);
            world.node().sweep(world.node().now());
        }
    };
    for n in 0..6000 {
        world.set(NS, format!("{n}"), [7; 1000]);
        if n % 1000 == 0 {
            sweep_for(&world, 10);
        }
    }
    let full = held(&world);
    assert!(full > 4 << 20, "it did not rest: {full}");
    sweep_for(&world, 29);
    assert_eq!(held(&world), full);
    sweep_for(&world, 3);
    assert!(held(&world) < 1 << 20, "{}", held(&world));
    let flushes = world.node().engine().statistics().flushes;
    world.set(NS, "one more", "is not worth a table");
    sweep_for(&world, 100);
    assert_eq!(world.node().engine().statistics().flushes, flushes);
    assert_eq!(world.get(NS, "5999"), Some(vec![7; 1000]));
}
