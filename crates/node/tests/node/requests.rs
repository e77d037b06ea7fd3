//! Put, get, head and delete.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use ringwood_lsm::{Error, MAX_VALUE_LEN};
use ringwood_node::{
    DEFAULT_NAMESPACE as NS, Durability, KEY_LEN_MAX, KeyReply, NodeError, OpenError, Outcome,
    Policy, Put, Reply, Request, Step, Ttl, reset_clock,
};

use crate::world::{START, World, bytes, put};

#[test]
fn what_was_put_is_read_until_it_is_deleted() {
    let world = World::new();
    assert!(world.entry(NS, "key").is_none());
    let first = world.set(NS, "key", "one");
    let photo = Put {
        content_type: Some("image/jpeg".into()),
        ..put("key", "two")
    };
    let KeyReply::Stored {
        version,
        context,
        deadline,
    } = world.put(NS, photo).unwrap()
    else {
        panic!("not stored")
    };
    assert!(version > first && deadline.is_none());

    let entry = world.entry(NS, "key").unwrap();
    assert_eq!(entry.value(), b"two");
    assert_eq!(entry.content_type(), Some("image/jpeg"));
    assert_eq!((entry.version(), entry.context()), (version, context));
    assert_eq!(entry.version().time.millis(), START);
    assert_eq!(entry.into_value(), b"two");

    let deleted = world.delete(NS, "key");
    assert!(deleted > version);
    assert!(world.entry(NS, "key").is_none());
    assert!(world.delete(NS, "key") > deleted, "deleting is idempotent");
    assert!(world.set(NS, "key", "three") > deleted);
}

#[test]
fn a_value_of_no_bytes_is_a_value() {
    let world = World::new();
    world.set(NS, "key", "");
    let entry = world.entry(NS, "key").unwrap();
    assert!(entry.value().is_empty() && entry.content_type().is_none());
}

#[test]
fn any_bytes_make_a_key() {
    let world = World::new();
    let keys: Vec<Vec<u8>> = vec![vec![0], vec![0, 0], vec![0xff; 300], b"a/b%2f{c}".to_vec()];
    for key in &keys {
        world.set(NS, key, key);
    }
    for key in &keys {
        assert_eq!(world.get(NS, key).as_ref(), Some(key));
    }
}

#[test]
fn limits_hold_to_the_byte_and_a_refusal_changes_nothing() {
    let world = World::with(|config| config.value_len_max = 1000);
    world.create(
        "small",
        Policy {
            value_len_max: Some(10),
            ..Policy::default()
        },
    );
    let refused = |namespace, put: Put| {
        let error = world.put(namespace, put).unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert!(!error.retryable());
        error
    };
    world.set(NS, vec![1; KEY_LEN_MAX], vec![2; 1000]);
    assert_eq!(world.get(NS, vec![1; KEY_LEN_MAX]), Some(vec![2; 1000]));
    assert!(matches!(
        refused(NS, put(vec![1; KEY_LEN_MAX + 1], "")),
        NodeError::KeyTooLarge {
            limit: KEY_LEN_MAX,
            ..
        }
    ));
    assert!(matches!(
        refused(NS, put("k", vec![2; 1001])),
        NodeError::ValueTooLarge {
            len: 1001,
            limit: 1000
        }
    ));
    assert!(matches!(refused(NS, put("", "v")), NodeError::EmptyKey));
    world.set("small", "k", vec![2; 10]);
    assert!(matches!(
        refused("small", put("k", vec![2; 11])),
        NodeError::ValueTooLarge { len: 11, limit: 10 }
    ));
    let unprintable = Put {
        content_type: Some("a\r\nb".into()),
        ..put("k", "v")
    };
    assert!(matches!(
        refused(NS, unprintable),
        NodeError::InvalidContentType { .. }
    ));
    let ill_timed = Put {
        ttl: Ttl::Seconds(0),
        ..put("k", "v")
    };
    assert!(matches!(
        refused(NS, ill_timed),
        NodeError::InvalidTtl { .. }
    ));
    assert!(world.entry(NS, "k").is_none());
    assert_eq!(world.get("small", "k"), Some(vec![2; 10]));
}

#[test]
fn the_longest_value_fits_the_engine() {
    let longest = MAX_VALUE_LEN - 283;
    let world = World::with(|config| {
        config.value_len_max = longest;
        config.engine.memory_budget = 256 << 20;
        config.engine.log_segment_len = 64 << 20;
    });
    let put = Put {
        content_type: Some("x".repeat(255)),
        ..put("k", vec![3; longest])
    };
    world.put(NS, put).unwrap();
    assert_eq!(world.get(NS, "k").map(|value| value.len()), Some(longest));
}

#[test]
fn what_has_expired_is_gone_and_does_not_come_back() {
    let mut world = World::new();
    let mortal = Policy {
        default_ttl: Some(60),
        ..Policy::default()
    };
    world.create("mortal", mortal);
    world.set("mortal", "a", "by default");
    world.set_for(NS, "b", "by request", 60);
    let immortal = Put {
        ttl: Ttl::Never,
        ..put("c", "never")
    };
    world.put("mortal", immortal).unwrap();
    let deadline = world.entry("mortal", "a").unwrap().deadline();
    assert_eq!(deadline, Some(START + 60_000));

    world.pass(59);
    assert!(world.get("mortal", "a").is_some() && world.get(NS, "b").is_some());
    world.pass(1);
    let gone = |world: &World| {
        assert!(world.get("mortal", "a").is_none() && world.get(NS, "b").is_none());
        assert!(world.get("mortal", "c").is_some());
    };
    gone(&world);
    world.clock.set_wall(START);
    gone(&world);
    world.clock.set_wall(START + 60_000);
    world.set(NS, "later", "so that the time is recorded");
    world.restart();
    gone(&world);
}

#[test]
fn versions_grow_when_the_clock_is_set_back() {
    let mut world = World::new();
    let before = world.set(NS, "key", "before");
    world.clock.set_wall(START - 3_600_000);
    let during = world.set(NS, "key", "during");
    world.restart();
    let after = world.set(NS, "key", "after");
    assert!(before < during && during < after);
    assert!(
        after.time.millis() < START + 20_000,
        "a restart may be ahead by what was reserved, no more"
    );
}

#[test]
fn no_version_or_deadline_follows_a_clock_that_leaps() {
    const TEN_YEARS_MS: u64 = 315_360_000_000;
    let mut world = World::new();
    world.set_for(NS, "before", "value", 60);
    world.clock.set_wall(START + TEN_YEARS_MS);
    world.set_for(NS, "during", "value", 60);
    let version = world.entry(NS, "during").unwrap().version();
    assert_eq!(version.time.millis(), START);
    let deadline = world.entry(NS, "during").unwrap().deadline();
    assert_eq!(deadline, Some(START + 60_000));
    assert!(world.get(NS, "before").is_some());
    world.clock.set_wall(START + 1000);
    world.restart();
    assert!(world.get(NS, "before").is_some());
    let after = world.set(NS, "after", "value");
    assert!(after.time.millis() < START + 20_000);
}

#[test]
fn a_node_that_believed_a_wrong_clock_is_taken_back() {
    const TEN_YEARS_MS: u64 = 315_360_000_000;
    let mut world = World::new();
    world.set_for(NS, "key", "value", 60);
    world.stop();
    world.clock.set_wall(START + TEN_YEARS_MS);
    world.start();
    assert!(world.get(NS, "key").is_none());
    let during = world.set(NS, "during", "value");
    assert_eq!(during.time.millis(), START + TEN_YEARS_MS);
    world.clock.set_wall(START + 1000);
    let refused = reset_clock(&world.config.engine);
    assert!(
        matches!(refused, Err(OpenError::Engine(Error::Locked { .. }))),
        "{refused:?}"
    );
    world.stop();

    let reset = reset_clock(&world.config.engine).unwrap();
    assert!(
        reset.taken_back && reset.before >= START + TEN_YEARS_MS,
        "{reset:?}"
    );
    world.start();
    assert!(world.get(NS, "key").is_some());
    assert!(world.get(NS, "during").is_some());
    let after = world.set(NS, "during", "other");
    assert!(after.time.millis() < START + 20_000 && after.dot.counter > during.dot.counter);
    world.stop();
    assert!(!reset_clock(&world.config.engine).unwrap().taken_back);
    world.start();
}

#[test]
fn a_healthy_node_that_was_killed_again_and_again_has_no_time_to_take_back() {
    let mut world = World::new();
    for seed in 0..4 {
        world.set(NS, "key", "value");
        world = world.after_power_cut(seed);
    }
    world.set(NS, "key", "value");
    world.stop();
    let reset = reset_clock(&world.config.engine).unwrap();
    assert!(!reset.taken_back, "{reset:?}");
}

#[test]
fn taking_a_nodes_time_back_goes_on_where_a_full_disk_ended_it() {
    const TEN_YEARS_MS: u64 = 315_360_000_000;
    let mut world = World::new();
    world.stop();
    world.clock.set_wall(START + TEN_YEARS_MS);
    world.start();
    world.set(NS, "during", "value");
    world.stop();
    world.clock.set_wall(START + 1000);
    let used: usize = (world.disk.paths().iter())
        .map(|path| world.disk.read_file(path).unwrap().len())
        .sum();
    let ended = (0..10_000).find(|steps| {
        let capacity = used as u64 + steps * 500;
        world.disk.set_capacity(Some(capacity));
        match reset_clock(&world.config.engine) {
            Ok(reset) => reset.taken_back,
            Err(OpenError::Engine(error)) if error.is_disk_full() => false,
            Err(error) => panic!("{error}"),
        }
    });
    assert!(ended.is_some_and(|steps| steps > 0), "{ended:?}");
    world.disk.set_capacity(None);
    world.start();
    let after = world.set(NS, "after", "value");
    assert!(after.time.millis() < START + 20_000);
}

#[test]
fn a_context_is_only_good_for_its_key() {
    let world = World::new();
    world.create("other", Policy::default());
    world.set(NS, "key", "value");
    world.set("other", "key", "value");
    let own = world.entry(NS, "key").unwrap().context();
    let with = |context: &str| Put {
        context: Some(context.into()),
        ..put("key", "next")
    };
    world.put(NS, with(own.as_str())).unwrap();
    let foreign = world.entry("other", "key").unwrap().context();
    for bad in [foreign.as_str(), "", "forged", &own.as_str()[1..]] {
        assert!(matches!(
            world.put(NS, with(bad)),
            Err(NodeError::InvalidContext(_))
        ));
        let delete = Request::Delete {
            namespace: world.namespace(NS),
            key: bytes("key"),
            context: Some(bad.into()),
            durability: None,
        };
        assert!(matches!(
            world.ask(delete),
            Err(NodeError::InvalidContext(_))
        ));
    }
    assert_eq!(world.get(NS, "key"), Some(b"next".into()));
}

#[test]
fn a_read_from_memory_is_answered_at_once_and_one_from_disk_is_not() {
    let mut world = World::new();
    world.set(NS, "key", vec![5; 5000]);
    let get = |world: &World| Request::Get {
        namespace: world.namespace(NS),
        key: bytes("key"),
    };
    assert!(matches!(world.step(get(&world)), Step::Reply(Ok(_))));
    world.node().engine().flush().unwrap();
    world.restart();
    let Step::Blocking(blocking) = world.step(get(&world)) else {
        panic!("nothing of the table is in memory yet")
    };
    let Ok(Reply::Key(KeyReply::Entry(entry))) = blocking.run() else {
        panic!("not found")
    };
    assert_eq!(entry.value(), [5; 5000]);
    assert!(
        matches!(world.step(get(&world)), Step::Reply(Ok(_))),
        "it is cached now"
    );
    assert_eq!(world.node().statistics().requests_blocked, 1);
}

#[test]
fn a_write_can_be_awaited() {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let world = World::new();
    for durability in [Durability::Synced, Durability::Buffered] {
        let request = Request::Put {
            namespace: world.namespace(NS),
            put: put("key", "value"),
            durability: Some(durability),
        };
        let Step::Persisting(persisting) = world.step(request) else {
            panic!("a write persists")
        };
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut persisting = pin!(persisting);
        let reply = loop {
            match persisting.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(reply) => break reply,
                Poll::Pending => thread::park(),
            }
        };
        assert!(matches!(reply, Ok(Reply::Key(KeyReply::Stored { .. }))));
    }
}

#[test]
fn of_concurrent_writes_the_one_with_the_latest_version_stays() {
    let world = World::new();
    for round in 0..50 {
        let key = format!("key{round}");
        let versions: Vec<_> = thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|n: u8| {
                    scope.spawn({
                        let (key, world) = (&key, &world);
                        move || world.set(NS, key, [n])
                    })
                })
                .collect();
            writers
                .into_iter()
                .map(|writer| writer.join().unwrap())
                .collect()
        });
        let latest = *versions.iter().max().unwrap();
        assert_eq!(world.entry(NS, &key).unwrap().version(), latest);
    }
}
