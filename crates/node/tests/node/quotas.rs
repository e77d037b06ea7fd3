//! What a namespace may take: requests a second, and bytes.

use std::time::Duration;

use ringwood_env::{Random, SeededRandom};
use ringwood_node::{
    BatchItem, DEFAULT_NAMESPACE as NS, NodeError, Policy, PolicyChange, Put, Request, Step,
};

use crate::world::{World, bytes, put};

fn rated(per_second: u64) -> Policy {
    Policy {
        requests_per_second: Some(per_second),
        ..Policy::default()
    }
}

/// How many puts pass until one is refused, and how long that is told to wait.
fn burst(world: &World, namespace: &str) -> (usize, Duration) {
    for passed in 0..10_000 {
        match world.put(namespace, put("k", "v")) {
            Ok(_) => {}
            Err(error @ NodeError::RateLimited { retry_after, .. }) => {
                assert!(error.retryable());
                return (passed, retry_after);
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("never refused")
}

#[test]
fn a_namespace_over_its_rate_waits_and_others_do_not() {
    let world = World::new();
    world.create("limited", rated(5));
    assert_eq!(burst(&world, "limited"), (5, Duration::from_millis(200)));
    for n in 0..100 {
        world.set(NS, format!("{n}"), "others go on");
    }
    let read = world.ask(Request::Get {
        namespace: world.namespace("limited"),
        key: bytes("k"),
    });
    assert!(
        matches!(read, Err(NodeError::RateLimited { .. })),
        "reads count too"
    );
    world.clock.advance(Duration::from_millis(400));
    assert_eq!(burst(&world, "limited").0, 2);
    let statistics = world.node().statistics();
    assert_eq!(statistics.requests_limited, 3);
    assert_eq!(statistics.keys_put, 107);
}

#[test]
fn rates_go_on_while_the_wall_clock_is_set_back() {
    let world = World::new();
    world.create("limited", rated(5));
    burst(&world, "limited");
    let hour_ago = world.node().now() - 3_600_000;
    world.clock.set_wall(hour_ago);
    world.clock.advance_monotonic(Duration::from_secs(1));
    assert_eq!(burst(&world, "limited").0, 5);
}

#[test]
fn items_of_a_batch_count_each_for_itself() {
    let world = World::new();
    world.create("limited", rated(10));
    let items = || {
        (0..30)
            .map(|n| BatchItem::Put(put(format!("{n}"), "v")))
            .collect()
    };
    world.batch("limited", items()).unwrap();
    let (passed, wait) = burst(&world, "limited");
    assert_eq!((passed, wait), (0, Duration::from_millis(2100)));
    let refused = world.batch("limited", items()).unwrap_err();
    assert!(matches!(refused, NodeError::RateLimited { .. }));
}

#[test]
fn a_rate_is_kept_over_changes_of_the_policy_and_a_new_one_begins_afresh() {
    let mut world = World::new();
    world.create("limited", rated(5));
    burst(&world, "limited");
    let ttl = PolicyChange {
        default_ttl: Some(Some(60)),
        ..PolicyChange::default()
    };
    world.node().update_namespace("limited", &ttl).unwrap();
    assert_eq!(burst(&world, "limited").0, 0);
    let faster = PolicyChange {
        requests_per_second: Some(Some(7)),
        ..PolicyChange::default()
    };
    world.node().update_namespace("limited", &faster).unwrap();
    world.restart();
    assert_eq!(
        world.namespace("limited").policy().requests_per_second,
        Some(7)
    );
    assert_eq!(burst(&world, "limited").0, 7);
    let free = PolicyChange {
        requests_per_second: Some(None),
        ..PolicyChange::default()
    };
    world.node().update_namespace("limited", &free).unwrap();
    for _ in 0..100 {
        world.set("limited", "k", "v");
    }
}

#[test]
fn a_full_namespace_takes_no_puts_until_there_is_room_again() {
    let mut world = World::new();
    let policy = Policy {
        bytes_max: Some(100_000),
        ..Policy::default()
    };
    world.create("full", policy);
    let random = SeededRandom::new(1);
    let put_one = |world: &World, n: usize| {
        // Values that do not get shorter by compression.
        let value: Vec<u8> = (0..125)
            .flat_map(|_| random.next_u64().to_le_bytes())
            .collect();
        world.put("full", put(format!("{n}"), value))
    };
    let taken = (0..1000)
        .take_while(|n| put_one(&world, *n).is_ok())
        .count();
    assert!(
        (90..=100).contains(&taken),
        "puts count as they come: {taken}"
    );
    let is_full = |result| matches!(result, Err(NodeError::QuotaExceeded { limit: 100_000, .. }));
    assert!(is_full(put_one(&world, 1000)));
    world.set(NS, "k", "others go on");
    assert!(world.get("full", "5").is_some(), "reads go on");
    assert_eq!(world.node().statistics().puts_over_quota, 2);
    let sized = |len: usize| put("5", vec![1; len]);
    assert!(is_full(world.put("full", sized(1000))), "no shorter");
    world.put("full", sized(999)).unwrap();
    let typed = Put {
        content_type: Some("text/plain".into()),
        ..sized(995)
    };
    assert!(is_full(world.put("full", typed)), "types count");
    let items = vec![
        BatchItem::Put(sized(998)),
        BatchItem::Put(put("6", vec![2; 1001])),
        BatchItem::Put(put("new", "")),
        BatchItem::Delete {
            key: bytes("7"),
            context: None,
        },
    ];
    let results = world.batch("full", items).unwrap();
    let taken_of: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(taken_of, [true, false, false, true]);
    assert_eq!(world.get("full", "5").unwrap().len(), 998);

    world.node().engine().flush().unwrap();
    world.node().sweep(world.node().now());
    assert!(is_full(put_one(&world, 1000)), "it lies in tables now");
    world.restart();
    world.node().sweep(world.node().now());
    assert!(is_full(put_one(&world, 1000)), "also after a restart");
    let request = |len| Request::Put {
        namespace: world.namespace("full"),
        put: put("8", vec![1; len]),
        durability: None,
    };
    let step = world.step(request(10));
    assert!(
        matches!(step, Step::Blocking(_)),
        "its length is on the disk: {step:?}"
    );
    step.wait().unwrap();
    assert_eq!(world.get("full", "8").unwrap(), [1; 10]);

    for n in 0..taken / 2 {
        world.delete("full", format!("{n}"));
    }
    let data = world.node().engine().keyspace("data").unwrap();
    data.compact().unwrap();
    world.node().sweep(world.node().now());
    let again = (0..1000)
        .take_while(|n| put_one(&world, *n).is_ok())
        .count();
    assert!(
        (taken / 2 - 5..=taken / 2 + 5).contains(&again),
        "{again} of {taken}"
    );
}
