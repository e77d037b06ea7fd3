//! Several items in one request.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use ringwood_node::{
    BatchItem, DEFAULT_NAMESPACE as NS, KeyReply, NodeError, Policy, Request, Routing,
};

use crate::world::{World, bytes, put};

fn get_item(key: &str) -> BatchItem {
    BatchItem::Get { key: bytes(key) }
}

fn put_item(key: &str, value: impl AsRef<[u8]>) -> BatchItem {
    BatchItem::Put(put(key, value))
}

fn delete_item(key: &str) -> BatchItem {
    BatchItem::Delete {
        key: bytes(key),
        context: None,
    }
}

/// What a get found: `None` for nothing.
fn found(result: &Result<KeyReply, NodeError>) -> Option<&[u8]> {
    match result {
        Ok(KeyReply::Entry(entry)) => Some(entry.value()),
        Ok(KeyReply::Missing) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn items_take_effect_in_their_order() {
    let world = World::new();
    world.set(NS, "a", "old");
    let results = world
        .batch(
            NS,
            vec![
                get_item("a"),
                put_item("a", "new"),
                get_item("a"),
                delete_item("a"),
                get_item("a"),
                get_item("b"),
                put_item("b", "stays"),
            ],
        )
        .unwrap();
    assert_eq!(found(&results[0]), Some(&b"old"[..]));
    assert_eq!(found(&results[2]), Some(&b"new"[..]));
    assert_eq!(found(&results[4]), None);
    assert_eq!(found(&results[5]), None);
    let version = |index: usize| match &results[index] {
        Ok(KeyReply::Stored { version, .. } | KeyReply::Deleted { version }) => *version,
        other => panic!("{other:?}"),
    };
    assert!(version(1) < version(3) && version(3) < version(6));
    assert_eq!(world.get(NS, "a"), None);
    assert_eq!(world.get(NS, "b"), Some(b"stays".into()));
}

#[test]
fn each_item_has_a_result_of_its_own() {
    let world = World::new();
    let results = world
        .batch(
            NS,
            vec![
                put_item("", "no key"),
                put_item("good", "value"),
                put_item("long", vec![0; 2 << 20]),
                get_item(""),
                get_item("long"),
            ],
        )
        .unwrap();
    assert!(matches!(results[0], Err(NodeError::EmptyKey)));
    assert!(matches!(results[1], Ok(KeyReply::Stored { .. })));
    assert!(matches!(results[2], Err(NodeError::ValueTooLarge { .. })));
    assert!(matches!(results[3], Err(NodeError::EmptyKey)));
    assert_eq!(found(&results[4]), None, "a refused write has no effect");
    assert_eq!(world.get(NS, "good"), Some(b"value".into()));
}

#[test]
fn too_many_items_are_refused_and_none_is_fine() {
    let world = World::with(|config| config.batch_items_max = 2);
    let items = |n: usize| (0..n).map(|n| put_item(&format!("{n}"), "")).collect();
    assert_eq!(world.batch(NS, items(0)).unwrap().len(), 0);
    assert_eq!(world.batch(NS, items(2)).unwrap().len(), 2);
    assert!(matches!(
        world.batch(NS, items(3)),
        Err(NodeError::BatchTooLarge { items: 3, limit: 2 })
    ));
    assert_eq!(world.get(NS, "2"), None);
}

/// INVARIANT batch-1.
#[test]
fn what_does_not_fit_one_engine_batch_comes_back_by_whole_partitions() {
    let world = World::new(); // segments of 4 MiB: 2 MiB a batch
    let mut items: Vec<BatchItem> = (0..40)
        .flat_map(|n| {
            let key = format!("{n}");
            [put_item(&key, vec![n; 100_000]), get_item(&key)]
        })
        .collect();
    let mut rounds = 0;
    while !items.is_empty() {
        let results = world.batch(NS, items.clone()).unwrap();
        let mut whole: BTreeMap<_, bool> = BTreeMap::new();
        let mut left = Vec::new();
        for (item, result) in items.into_iter().zip(&results) {
            let done = match result {
                Err(error @ NodeError::Unprocessed) => {
                    assert!(error.retryable());
                    left.push(item.clone());
                    false
                }
                Ok(_) => true,
                Err(other) => panic!("{other}"),
            };
            let ring = world.node().identity().ring;
            let partition = ring.partition(item.key(), Routing::WholeKey);
            assert_eq!(*whole.entry(partition).or_insert(done), done);
        }
        items = left;
        rounds += 1;
    }
    assert!(
        (2..=3).contains(&rounds),
        "4 MB in batches of 2 MiB: {rounds}"
    );
    for n in 0..40 {
        assert_eq!(world.get(NS, format!("{n}")), Some(vec![n; 100_000]));
    }
}

#[test]
fn what_never_fits_one_engine_batch_is_refused_for_good() {
    let world = World::new();
    let grouped = Policy {
        routing: Routing::Before(b'/'),
        ..Policy::default()
    };
    world.create("grouped", grouped);
    let mut items: Vec<BatchItem> = (0..30)
        .map(|n| put_item(&format!("g/{n}"), vec![n; 100_000]))
        .collect();
    items.push(put_item("h/1", "fits"));
    let results = world.batch("grouped", items).unwrap();
    let (fits, long) = results.split_last().unwrap();
    for result in long {
        assert!(
            matches!(result, Err(error @ NodeError::BatchTooLong { .. }) if !error.retryable())
        );
    }
    assert!(fits.is_ok());
}

#[test]
fn reads_that_need_the_disk_leave_the_thread_before_anything_is_written() {
    let mut world = World::new();
    world.set(NS, "cold", "value");
    world.node().engine().flush().unwrap();
    world.restart();
    let request = Request::Batch {
        namespace: world.namespace(NS),
        items: vec![put_item("new", "value"), get_item("cold"), get_item("new")],
        durability: None,
    };
    let ringwood_node::Step::Blocking(blocking) = world.step(request) else {
        panic!("nothing of the table is in memory yet")
    };
    assert_eq!(world.get(NS, "new"), None);
    let Ok(ringwood_node::Reply::Batch(results)) = blocking.run() else {
        panic!("no results")
    };
    assert_eq!(found(&results[1]), Some(&b"value"[..]));
    assert_eq!(found(&results[2]), Some(&b"value"[..]));
}

#[derive(Clone, Debug)]
enum Op {
    Get(u8),
    Put(u8, u8),
    Delete(u8),
}

fn ops() -> impl Strategy<Value = Vec<Vec<Op>>> {
    let op = prop_oneof![
        (0u8..6).prop_map(Op::Get),
        (0u8..6, any::<u8>()).prop_map(|(key, value)| Op::Put(key, value)),
        (0u8..6).prop_map(Op::Delete),
    ];
    let batch = proptest::collection::vec(op, 0..12);
    proptest::collection::vec(batch, 1..8)
}

#[test]
fn batches_equal_a_map() {
    let world = World::new();
    let rounds = Cell::new(0);
    proptest!(ProptestConfig::with_cases(40), |(batches in ops())| {
        let round = rounds.replace(rounds.get() + 1);
        let name = |key: u8| format!("{round}/{key}");
        let mut model: BTreeMap<u8, u8> = BTreeMap::new();
        for batch in batches {
            let items = batch.iter().map(|op| match *op {
                Op::Get(key) => get_item(&name(key)),
                Op::Put(key, value) => put_item(&name(key), [value]),
                Op::Delete(key) => delete_item(&name(key)),
            });
            let results = world.batch(NS, items.collect()).unwrap();
            for (op, result) in batch.iter().zip(&results) {
                match *op {
                    Op::Get(key) => {
                        let expected = model.get(&key).map(std::slice::from_ref);
                        prop_assert_eq!(found(result), expected);
                    }
                    Op::Put(key, value) => { model.insert(key, value); }
                    Op::Delete(key) => { model.remove(&key); }
                }
            }
        }
        for key in 0..6 {
            prop_assert_eq!(world.get(NS, name(key)), model.get(&key).map(|value| vec![*value]));
        }
    });
}
