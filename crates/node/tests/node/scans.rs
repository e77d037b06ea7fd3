//! Ranges over many partitions, page by page.

use std::cell::Cell;
use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use ringwood_node::{
    CursorError, DEFAULT_NAMESPACE as NS, NodeError, Page, Policy, Put, Routing, Scan, Ttl,
};

use crate::world::{World, bytes, put};

fn scan(limit: usize) -> Scan {
    Scan {
        limit,
        ..Scan::default()
    }
}

fn fill(world: &World, count: usize) -> Vec<Bytes> {
    let keys: Vec<Bytes> = (0..count).map(|n| bytes(format!("{n:04}"))).collect();
    for key in &keys {
        world.set(NS, key, key);
    }
    keys
}

#[test]
fn keys_of_all_partitions_come_in_one_order() {
    let world = World::new();
    let keys = fill(&world, 300);
    for limit in [1, 7, 299, 300, 301, 10_000] {
        assert_eq!(world.keys(NS, scan(limit)), keys, "pages of {limit}");
    }
    let backwards: Vec<Bytes> = keys.iter().rev().cloned().collect();
    let reverse = Scan {
        reverse: true,
        ..scan(7)
    };
    assert_eq!(world.keys(NS, reverse), backwards);
    assert!(world.keys("default", scan(300)).len() == 300);
}

#[test]
fn values_come_along_unless_they_are_not_wanted() {
    let world = World::new();
    let long = vec![7; 100_000];
    let photo = Put {
        content_type: Some("image/jpeg".into()),
        ..put("long", &long)
    };
    world.put(NS, photo).unwrap();
    let version = world.set(NS, "short", "value");
    let page = world.page(NS, scan(10)).unwrap();
    assert!(page.cursor.is_none());
    let [first, second] = &page.entries[..] else {
        panic!("{page:?}")
    };
    let entry = first.entry.as_ref().unwrap();
    assert_eq!((&first.key[..], entry.value()), (&b"long"[..], &long[..]));
    assert_eq!(entry.content_type(), Some("image/jpeg"));
    let entry = second.entry.as_ref().unwrap();
    assert_eq!((entry.value(), entry.version()), (&b"value"[..], version));

    let keys_only = Scan {
        keys_only: true,
        ..scan(10)
    };
    let page = world.page(NS, keys_only).unwrap();
    assert_eq!(page.entries.len(), 2);
    assert!(page.entries.iter().all(|found| found.entry.is_none()));
}

#[test]
fn a_page_ends_when_it_is_long_enough() {
    let world = World::with(|config| config.page_len_max = 10_000);
    for n in 0..20 {
        world.set(NS, format!("{n}"), vec![1; 4000]);
    }
    let page = world.page(NS, scan(100)).unwrap();
    assert_eq!(
        page.entries.len(),
        3,
        "the entry that passes the limit is the last"
    );
    assert_eq!(world.keys(NS, scan(100)).len(), 20);
}

#[test]
fn wrong_limits_and_ranges_are_refused() {
    let world = World::with(|config| config.page_entries_max = 50);
    fill(&world, 10);
    for limit in [0, 51, usize::MAX] {
        assert!(matches!(
            world.page(NS, scan(limit)),
            Err(NodeError::InvalidLimit { limit_max: 50, .. })
        ));
    }
    let between = |start: &str, end: &str| Scan {
        start: Some(bytes(start)),
        end: Some(bytes(end)),
        ..scan(10)
    };
    assert!(matches!(
        world.page(NS, between("b", "a")),
        Err(NodeError::InvertedRange)
    ));
    assert!(world.keys(NS, between("0003", "0003")).is_empty());
    assert_eq!(world.keys(NS, between("0003", "0005")), ["0003", "0004"]);
}

#[test]
fn a_cursor_is_only_good_for_its_own_scan() {
    let world = World::new();
    world.create("other", Policy::default());
    fill(&world, 20);
    let cursor = world.page(NS, scan(5)).unwrap().cursor.unwrap();
    let with = |scan: Scan, cursor: &str| Scan {
        cursor: Some(cursor.into()),
        ..scan
    };
    let refusal = |namespace: &str, scan: Scan| match world.page(namespace, scan) {
        Err(NodeError::InvalidCursor(error)) => error,
        other => panic!("{other:?}"),
    };
    let reverse = Scan {
        reverse: true,
        ..scan(5)
    };
    let prefixed = Scan {
        prefix: Some(bytes("0")),
        ..scan(5)
    };
    assert_eq!(
        refusal("other", with(scan(5), &cursor)),
        CursorError::Foreign
    );
    assert_eq!(refusal(NS, with(reverse, &cursor)), CursorError::Foreign);
    assert_eq!(refusal(NS, with(prefixed, &cursor)), CursorError::Foreign);
    for forged in ["", "AAAA", &cursor[1..], &cursor[..cursor.len() - 1]] {
        assert_eq!(refusal(NS, with(scan(5), forged)), CursorError::Malformed);
    }
    let next = world.page(NS, with(scan(3), &cursor)).unwrap();
    assert_eq!(next.entries[0].key, "0005", "another page length is fine");
    let again = world.page(NS, with(scan(3), &cursor)).unwrap();
    assert_eq!(again.entries[0].key, "0005", "so is asking twice");
}

#[test]
fn cursors_survive_a_restart_and_cold_pages_equal_warm_ones() {
    let mut world = World::new();
    let keys = fill(&world, 100);
    let mut listed = Vec::new();
    let mut next = scan(9);
    for turn in 0.. {
        let page = world.page(NS, next.clone()).unwrap();
        listed.extend(page.entries.into_iter().map(|entry| entry.key));
        let Some(cursor) = page.cursor else { break };
        next.cursor = Some(cursor);
        match turn % 3 {
            0 => world.restart(),
            1 => {
                world.pass(11);
                world.node().sweep(world.node().now());
                assert_eq!(world.node().statistics().parked_scans, 0);
            }
            _ => {}
        }
    }
    assert_eq!(listed, keys);
}

#[test]
fn scan_2_a_page_shows_the_moment_it_is_asked_for_warm_or_cold() {
    let world = World::new();
    fill(&world, 40);
    let first = world.page(NS, scan(10)).unwrap();
    let next = Scan {
        cursor: first.cursor,
        ..scan(10)
    };
    let keys = |page: Page| -> Vec<Bytes> {
        let entries = page.entries.into_iter();
        entries.take(4).map(|entry| entry.key).collect()
    };
    let pages = |world: &World| {
        let statistics = world.node().statistics();
        (statistics.pages_cold, statistics.pages_warm)
    };
    let warm = world.page(NS, next.clone()).unwrap();
    assert_eq!(keys(warm), ["0010", "0011", "0012", "0013"]);
    assert_eq!(pages(&world), (1, 1), "nothing was written");
    let first = world.page(NS, scan(10)).unwrap();
    let next = Scan {
        cursor: first.cursor,
        ..scan(10)
    };
    world.delete(NS, "0012");
    world.set(NS, "0010x", "new");
    let expected = ["0010", "0010x", "0011", "0013"];
    let kept = world.page(NS, next.clone()).unwrap();
    assert_eq!(keys(kept), expected, "the scan was kept");
    let again = world.page(NS, next.clone()).unwrap();
    assert_eq!(keys(again), expected, "asked twice");
    world.pass(60);
    world.node().sweep(world.node().now());
    assert_eq!(keys(world.page(NS, next).unwrap()), expected, "long after");
    assert_eq!(pages(&world), (5, 1));
}

#[test]
fn what_expires_between_two_pages_is_not_shown() {
    let world = World::new();
    for n in 0..60 {
        let mortal = Put {
            ttl: if n % 2 == 0 {
                Ttl::Seconds(5)
            } else {
                Ttl::Never
            },
            ..put(
                format!("{n:02}"),
                vec![0; if n % 3 == 0 { 9000 } else { 10 }],
            )
        };
        world.put(NS, mortal).unwrap();
    }
    let first = world.page(NS, scan(2)).unwrap();
    world.pass(5);
    let rest = Scan {
        cursor: first.cursor,
        ..scan(100)
    };
    let keys = world.keys(NS, rest);
    let lasting: Vec<String> = (3..60).step_by(2).map(|n| format!("{n:02}")).collect();
    assert_eq!(keys, lasting);
    assert_eq!(world.node().statistics().pages_warm, 1);
}

#[test]
fn warm_scans_are_bounded_in_memory_and_time() {
    let world = World::with(|config| {
        config.parked_scans_len = 400 << 10;
    });
    fill(&world, 200);
    let open = |world: &World| world.page(NS, scan(1)).unwrap().cursor.unwrap();
    let cursors: Vec<String> = (0..50).map(|_| open(&world)).collect();
    let statistics = world.node().statistics();
    assert!((1..7).contains(&statistics.parked_scans), "{statistics:?}");
    assert!(statistics.parked_scans_len <= 400 << 10);
    for cursor in cursors {
        let next = Scan {
            cursor: Some(cursor),
            ..scan(1)
        };
        assert_eq!(world.page(NS, next).unwrap().entries[0].key, "0001");
    }
    assert!(world.node().statistics().pages_cold > 50);

    // One that is paged on and on is let go all the same, for the sake of what it keeps from being freed.
    let before = world.node().statistics().pages_cold;
    let mut next = scan(1);
    for _ in 0..20 {
        next.cursor = world.page(NS, next.clone()).unwrap().cursor;
        world.pass(9);
        world.node().sweep(world.node().now());
    }
    let renewed = world.node().statistics().pages_cold - before;
    assert_eq!(renewed, 3, "180 s in lives of a minute");
}

#[derive(Clone, Debug)]
struct Question {
    start: Option<String>,
    end: Option<String>,
    prefix: Option<String>,
    reverse: bool,
    keys_only: bool,
    limit: usize,
    /// Before each page but the first: a change, and whether the scan goes cold.
    between: Vec<(Change, bool)>,
}

#[derive(Clone, Debug)]
enum Change {
    Put(String, u16),
    Delete(String),
}

fn keys() -> impl Strategy<Value = String> {
    "[ab/{}]{1,4}"
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => (keys(), 0u16..12_000).prop_map(|(key, len)| Change::Put(key, len)),
        1 => keys().prop_map(Change::Delete),
    ]
}

fn questions() -> impl Strategy<Value = Question> {
    let bound = || proptest::option::of("[ab/{}]{0,2}");
    let between = proptest::collection::vec((changes(), proptest::bool::weighted(0.2)), 0..12);
    let flags = (any::<bool>(), any::<bool>());
    (bound(), bound(), bound(), flags, 1usize..9, between).prop_map(
        |(start, end, prefix, (reverse, keys_only), limit, between)| Question {
            start,
            end,
            prefix,
            reverse,
            keys_only,
            limit,
            between,
        },
    )
}

type Model = BTreeMap<String, Vec<u8>>;

fn apply(world: &World, namespace: &str, model: &mut Model, change: &Change) {
    match change {
        Change::Put(key, len) => {
            let value = key.as_bytes()[..1].repeat(usize::from(*len));
            world.set(namespace, key, &value);
            model.insert(key.clone(), value);
        }
        Change::Delete(key) => {
            world.delete(namespace, key);
            model.remove(key);
        }
    }
}

impl Question {
    fn scan(&self) -> Scan {
        let bytes = |text: &Option<String>| text.as_ref().map(bytes);
        Scan {
            len_max: None,
            start: bytes(&self.start),
            end: bytes(&self.end),
            prefix: bytes(&self.prefix),
            reverse: self.reverse,
            keys_only: self.keys_only,
            limit: self.limit,
            cursor: None,
        }
    }

    fn wants(&self, key: &str) -> bool {
        self.start.as_deref().is_none_or(|start| key >= start)
            && self.end.as_deref().is_none_or(|end| key < end)
            && self
                .prefix
                .as_deref()
                .is_none_or(|prefix| key.starts_with(prefix))
    }

    /// The keys of a page behind `last`, from a map.
    fn expected(&self, model: &Model, last: Option<&String>) -> Vec<String> {
        let is_behind = |key: &&String| match last {
            None => true,
            Some(last) if self.reverse => *key < last,
            Some(last) => *key > last,
        };
        let wanted = model.keys().filter(|key| self.wants(key) && is_behind(key));
        let mut keys: Vec<String> = wanted.cloned().collect();
        if self.reverse {
            keys.reverse();
        }
        keys.truncate(self.limit);
        keys
    }

    /// INVARIANT scan-1 and scan-2, with writes going on between pages.
    fn check(&self, world: &World, namespace: &str, model: &mut Model) {
        let mut steady: Model = model.clone();
        steady.retain(|key, _| self.wants(key));
        let mut ever = steady.clone();
        let mut listed: Vec<String> = Vec::new();
        let mut scan = self.scan();
        for turn in 0.. {
            let page = match world.page(namespace, scan.clone()) {
                Err(NodeError::InvertedRange) => {
                    assert!(self.start > self.end && self.end.is_some());
                    return;
                }
                page => page.unwrap(),
            };
            let found = page.entries.iter();
            let found: Vec<_> = found.map(|one| one.key.to_vec()).collect();
            let expected = self.expected(model, listed.last());
            let expected: Vec<_> = expected.into_iter().map(String::into_bytes).collect();
            assert_eq!(found, expected, "as it is now");
            for found in page.entries {
                let key = String::from_utf8(found.key.to_vec()).unwrap();
                assert_eq!(found.entry.is_none(), self.keys_only);
                if let Some(entry) = found.entry
                    && let Some(value) = steady.get(&key)
                {
                    assert_eq!(entry.value(), value);
                }
                listed.push(key);
            }
            let Some(cursor) = page.cursor else { break };
            scan.cursor = Some(cursor);
            if let Some((change, cold)) = self.between.get(turn) {
                apply(world, namespace, model, change);
                let (Change::Put(key, _) | Change::Delete(key)) = change;
                steady.remove(key);
                if self.wants(key) {
                    ever.insert(key.clone(), Vec::new());
                }
                if *cold {
                    world.pass(20);
                }
            }
        }
        let ordered = |a: &String, b: &String| if self.reverse { a > b } else { a < b };
        assert!(listed.is_sorted_by(ordered), "{listed:?}");
        for key in steady.keys() {
            assert!(listed.contains(key), "{key} is missing in {listed:?}");
        }
        for key in &listed {
            assert!(ever.contains_key(key), "{key} was never there");
        }
    }
}

#[test]
fn scan_1_and_2_scans_equal_a_map_with_any_routing_and_writes_between_pages() {
    const ROUTINGS: &[Routing] = &[Routing::WholeKey, Routing::Braces, Routing::Before(b'/')];
    let world = World::new();
    let rounds = Cell::new(0);
    proptest!(ProptestConfig::with_cases(60), |(
        routing in proptest::sample::select(ROUTINGS),
        first in proptest::collection::vec(changes(), 0..60),
        neighbour in proptest::collection::vec(changes(), 0..10),
        questions in proptest::collection::vec(questions(), 1..12),
        flush: bool,
    )| {
        let round = rounds.replace(rounds.get() + 1);
        let policy = Policy { routing, ..Policy::default() };
        let namespace = &format!("n{round}");
        world.create(namespace, policy.clone());
        world.create(&format!("n{round}.next"), policy);
        let (mut model, mut other) = (Model::new(), Model::new());
        for change in &first {
            apply(&world, namespace, &mut model, change);
        }
        for change in &neighbour {
            apply(&world, &format!("n{round}.next"), &mut other, change);
        }
        if flush {
            world.node().engine().flush().unwrap();
        }
        for question in &questions {
            question.check(&world, namespace, &mut model);
        }
    });
}
