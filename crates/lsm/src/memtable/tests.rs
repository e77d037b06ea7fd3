//! The memtable against a sorted map, and many threads against each other.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use proptest::prelude::*;

use super::*;
use crate::cursor::Cursor;

/// Entries in the memtable's order: user key, then newest first.
type Model = BTreeMap<Key, Vec<u8>>;

fn user_key() -> impl Strategy<Value = Vec<u8>> {
    // Few bytes, so that keys repeat and are each other's prefixes, around the length of 8 too.
    let alphabet = || prop::sample::select(vec![0, b'a', 0xff]);
    prop_oneof![
        prop::collection::vec(alphabet(), 0..4),
        prop::collection::vec(alphabet(), 0..4)
            .prop_map(|tail| [b"common\0".as_slice(), &tail].concat()),
    ]
}

fn change() -> impl Strategy<Value = (Vec<u8>, Kind, Vec<u8>)> {
    let kind = prop::sample::select(vec![Kind::Put, Kind::Delete, Kind::PutExpiring]);
    (
        user_key(),
        kind,
        prop::collection::vec(any::<u8>(), 0..if cfg!(miri) { 20 } else { 2000 }),
    )
}

fn filled(changes: &[(Vec<u8>, Kind, Vec<u8>)], order: &[usize]) -> (Arc<Memtable>, Model) {
    let (memtable, mut model) = (Memtable::new(), Model::new());
    for &i in order {
        let (user, kind, value) = &changes[i];
        // Two changes share a sequence number, as those of a batch may.
        let key = InternalKey::new(user, SeqNo::new(i as u64 / 2), *kind);
        if let Entry::Vacant(entry) = model.entry((user.clone(), Reverse(key.trailer()))) {
            entry.insert(value.clone());
            memtable.insert(key, value);
        }
    }
    (memtable, model)
}

type Key = (Vec<u8>, Reverse<u64>);
type Found = (Key, Vec<u8>);

fn here(cursor: &MemtableCursor) -> Option<Found> {
    cursor.valid().then(|| {
        let key = cursor.key();
        assert_eq!(cursor.pin_value(), cursor.value());
        (
            (key.user.to_vec(), Reverse(key.trailer())),
            cursor.value().to_vec(),
        )
    })
}

fn owned(found: Option<(&Key, &Vec<u8>)>) -> Option<Found> {
    found.map(|(key, value)| (key.clone(), value.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 128 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn equals_a_sorted_map(
        (changes, order) in prop::collection::vec(change(), 1..if cfg!(miri) { 12 } else { 300 })
            .prop_flat_map(|changes| {
                let order = Just((0..changes.len()).collect::<Vec<_>>()).prop_shuffle();
                (Just(changes), order)
            }),
        probes in prop::collection::vec((user_key(), 0..160_u64), 8),
        sorted in any::<bool>(),
    ) {
        let mut order = order;
        if sorted {
            order.sort_by_key(|&i| &changes[i].0); // the finger's case
        }
        let (memtable, model) = filled(&changes, &order);
        let mut cursor = memtable.cursor();

        let mut forward = Vec::new();
        cursor.seek_to_first().unwrap();
        while let Some(found) = here(&cursor) {
            forward.push(found);
            cursor.next().unwrap();
        }
        prop_assert!(forward.iter().map(|(k, v)| (k, v)).eq(&model));

        let mut backward = Vec::new();
        cursor.seek_to_last().unwrap();
        while let Some(found) = here(&cursor) {
            backward.push(found);
            cursor.prev().unwrap();
        }
        backward.reverse();
        prop_assert_eq!(forward, backward);

        for (user, seq) in probes {
            let at = SeqNo::new(seq);
            let target = InternalKey::seek_to(&user, at);
            let bound = (user.clone(), Reverse(target.trailer()));
            cursor.seek(target).unwrap();
            prop_assert_eq!(here(&cursor), owned(model.range(&bound..).next()));
            cursor.seek_back(target).unwrap();
            prop_assert_eq!(here(&cursor), owned(model.range(..=&bound).next_back()));

            let newest = model.range(&bound..).next().filter(|((found, _), _)| *found == user);
            let got = memtable.get(&user, at);
            prop_assert_eq!(
                got.map(|(seq, kind, value)| (seq.get() << 8 | kind as u64, value.to_vec())),
                newest.map(|((_, Reverse(trailer)), value)| (*trailer, value.clone()))
            );
        }
        prop_assert_eq!(memtable.len(), model.len());
    }
}

#[test]
fn seeks_find_an_entry_itself() {
    let memtable = Memtable::new();
    let key = InternalKey::new(b"key", SeqNo::new(3), Kind::Put);
    memtable.insert(key, b"value");
    let mut cursor = memtable.cursor();
    cursor.seek(key).unwrap();
    assert_eq!(cursor.key(), key);
    cursor.seek_back(key).unwrap();
    assert_eq!(cursor.key(), key);
    cursor
        .seek_back(InternalKey::seek_to(b"key", SeqNo::MAX))
        .unwrap();
    assert!(!cursor.valid());
}

#[test]
#[should_panic(expected = "inserted once")]
#[cfg(debug_assertions)]
fn the_same_change_twice_is_a_mistake_memtable_1() {
    let memtable = Memtable::new();
    let key = InternalKey::new(b"key", SeqNo::new(3), Kind::Put);
    memtable.insert(key, b"value");
    memtable.insert(key, b"value");
}

#[test]
fn bytes_outlive_every_handle_memtable_2() {
    let memtable = Memtable::new();
    let longest = (
        vec![7; crate::key::MAX_KEY_LEN],
        vec![8; crate::key::MAX_VALUE_LEN + 8],
    );
    for (seq, value) in [(1, b"".as_slice()), (2, b"small"), (3, &longest.1)] {
        let key = InternalKey::new(&longest.0, SeqNo::new(seq), Kind::Put);
        memtable.insert(key, value);
    }
    let mut cursor = memtable.cursor();
    let (seq, kind, large) = memtable.get(&longest.0, SeqNo::MAX).unwrap();
    assert!(memtable.memory_used() > large.len());
    drop(memtable);
    assert_eq!((seq, kind), (SeqNo::new(3), Kind::Put));
    assert_eq!(large, longest.1);
    cursor.seek_to_last().unwrap();
    let none = cursor.pin_value();
    cursor.prev().unwrap();
    let small = cursor.pin_value();
    drop((cursor, large));
    assert_eq!(none, b"");
    assert_eq!(small, b"small");
}

#[test]
#[cfg(not(shuttle))]
fn reserves_what_it_holds_for_as_long_as_a_reader_holds_it() {
    let cache = crate::cache::BlockCache::<()>::new(0);
    let budget = crate::budget::MemoryBudget::new(64 << 20, cache);
    let reserved = || budget.usage()[crate::budget::Consumer::Memtables as usize].1;
    let memtable = Memtable::reserving(&budget);
    assert_eq!(reserved(), memtable.memory_used());
    let key = InternalKey::new(b"key", SeqNo::new(1), Kind::Put);
    memtable.insert(key, &vec![0; 1 << 20]);
    memtable.insert(
        InternalKey::new(b"a", SeqNo::new(2), Kind::RangeDelete),
        b"b",
    );
    assert_eq!(reserved(), memtable.memory_used());
    let slice = memtable.get(b"key", SeqNo::MAX).unwrap().2;
    drop(memtable);
    assert!(reserved() > slice.len());
    drop(slice);
    assert_eq!(reserved(), 0);
}

#[test]
fn tallies_what_a_table_must_know() {
    let memtable = Memtable::new();
    assert!(memtable.is_empty());
    assert_eq!((memtable.first_seq(), memtable.last_seq()), (None, None));
    assert_eq!(memtable.deadlines(), None);
    let add = |user: &[u8], seq, kind, value: &[u8]| {
        memtable.insert(InternalKey::new(user, SeqNo::new(seq), kind), value);
    };
    add(b"a", 7, Kind::Put, b"value");
    add(b"b", 5, Kind::Delete, b"");
    add(b"c", 9, Kind::PutExpiring, &300_u64.to_le_bytes());
    add(b"c", 8, Kind::PutExpiring, &200_u64.to_le_bytes());
    add(b"c", 6, Kind::RangeDelete, b"e");
    assert_eq!((memtable.len(), memtable.delete_count()), (5, 1));
    assert_eq!(memtable.range_delete_count(), 1);
    assert_eq!(memtable.first_seq(), Some(SeqNo::new(5)));
    assert_eq!(memtable.last_seq(), Some(SeqNo::new(9)));
    assert_eq!(memtable.deadlines(), Some((200, 300)));
}

#[test]
fn range_deletes_are_seen_as_soon_as_inserted() {
    let memtable = Memtable::new();
    assert!(memtable.range_tombstones().is_empty());
    assert_eq!(memtable.newest_range_delete(b"c", SeqNo::MAX), None);
    let delete = |start: &[u8], end: &[u8], seq| {
        let key = InternalKey::new(start, SeqNo::new(seq), Kind::RangeDelete);
        memtable.insert(key, end);
    };
    delete(b"b", b"f", 3);
    let before = memtable.range_tombstones();
    assert!(Arc::ptr_eq(&before, &memtable.range_tombstones()), "kept");
    delete(b"a", b"d", 5);
    let covering = |user: &[u8], at| memtable.newest_range_delete(user, SeqNo::new(at));
    assert_eq!(covering(b"c", 9), Some(SeqNo::new(5)));
    assert_eq!(covering(b"c", 4), Some(SeqNo::new(3)));
    assert_eq!(covering(b"a", 4), None);
    assert_eq!(
        before.newest_covering(b"c", SeqNo::MAX),
        Some(SeqNo::new(3))
    );
    assert!(memtable.get(b"c", SeqNo::MAX).is_none(), "no point entry");
}

#[cfg(not(shuttle))]
mod threads {
    use std::sync::Barrier;
    use std::sync::atomic::Ordering::{Acquire, Release};
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;

    const THREADS: usize = 4;
    const EACH: usize = if cfg!(miri) { 20 } else { 20_000 };

    /// Spreads the numbers so that threads insert between each other's keys.
    fn key_of(n: usize) -> [u8; 12] {
        let mut key = [b'k'; 12];
        key[4..].copy_from_slice(&(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        key
    }

    fn seq_of(n: usize) -> SeqNo {
        SeqNo::new(n as u64 + 1)
    }

    fn insert(memtable: &Memtable, n: usize) {
        let key = key_of(n);
        let value = [&key[..], &vec![1; n % 300]].concat();
        memtable.insert(InternalKey::new(&key, seq_of(n), Kind::Put), &value);
    }

    #[test]
    fn insert_at_once_and_lose_nothing() {
        let memtable = Memtable::new();
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (memtable, start) = (&memtable, &start);
                scope.spawn(move || {
                    start.wait();
                    (0..EACH).for_each(|n| insert(memtable, n * THREADS + thread));
                });
            }
        });
        let total = THREADS * EACH;
        assert_eq!(memtable.len(), total);
        for n in 0..total {
            let (seq, _, value) = memtable.get(&key_of(n), SeqNo::MAX).unwrap();
            assert_eq!(seq, seq_of(n));
            assert!(value.starts_with(&key_of(n)));
            assert_eq!(value.len(), 12 + n % 300);
        }
        assert_eq!(check_order(&memtable), total);
    }

    /// Counts the entries, in whichever state they are, while checking order and content.
    fn check_order(memtable: &Arc<Memtable>) -> usize {
        let mut cursor = memtable.cursor();
        let mut previous = Vec::new();
        let mut count = 0;
        cursor.seek_to_first().unwrap();
        while cursor.valid() {
            let user = cursor.key().user;
            assert!(previous.as_slice() < user, "out of order");
            assert!(cursor.value().starts_with(user), "half an entry");
            previous = user.to_vec();
            count += 1;
            cursor.next().unwrap();
        }
        count
    }

    #[test]
    fn readers_see_all_that_was_inserted_before_and_always_in_order() {
        let memtable = Memtable::new();
        let inserted = AtomicUsize::new(0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = || {
                while !done.load(Relaxed) {
                    let before = inserted.load(Acquire);
                    if before > 0 {
                        assert!(memtable.get(&key_of(before - 1), SeqNo::MAX).is_some());
                        assert!(memtable.get(&key_of(before / 2), SeqNo::MAX).is_some());
                    }
                    assert!(check_order(&memtable) >= before);
                }
            };
            scope.spawn(reader);
            scope.spawn(reader);
            for n in 0..EACH {
                insert(&memtable, n);
                inserted.store(n + 1, Release);
            }
            done.store(true, Relaxed);
        });
        assert_eq!(check_order(&memtable), EACH);
    }
}

/// Every interleaving that the checker finds: `RUSTFLAGS='--cfg shuttle' cargo test shuttle`.
#[cfg(shuttle)]
mod shuttle_schedules {
    use shuttle::thread;

    use super::*;

    /// Keys of two writers that fall into the same gap, in order for one and against it for the other.
    const WRITERS: [[&[u8]; 3]; 2] = [[b"a", b"c", b"e"], [b"f", b"d", b"b"]];

    fn write_and_read() {
        let memtable = Memtable::new();
        let mut threads = Vec::new();
        for (writer, keys) in WRITERS.into_iter().enumerate() {
            let memtable = Arc::clone(&memtable);
            threads.push(thread::spawn(move || {
                for (i, user) in keys.into_iter().enumerate() {
                    let seq = SeqNo::new((10 * writer + i) as u64);
                    memtable.insert(InternalKey::new(user, seq, Kind::Put), user);
                    assert_eq!(memtable.get(user, SeqNo::MAX).unwrap().2, user);
                }
            }));
        }
        let reader = Arc::clone(&memtable);
        threads.push(thread::spawn(move || {
            let mut before = 0;
            for _ in 0..3 {
                let keys = keys_of(&reader);
                assert!(keys.is_sorted(), "{keys:?}");
                assert!(keys.len() >= before, "an entry vanished");
                before = keys.len();
            }
        }));
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(keys_of(&memtable), [b"a", b"b", b"c", b"d", b"e", b"f"]);
    }

    fn keys_of(memtable: &Arc<Memtable>) -> Vec<Vec<u8>> {
        let mut cursor = memtable.cursor();
        let mut keys = Vec::new();
        cursor.seek_to_first().unwrap();
        while cursor.valid() {
            keys.push(cursor.key().user.to_vec());
            cursor.next().unwrap();
        }
        keys
    }

    #[test]
    fn shuttle_random() {
        shuttle::check_random(write_and_read, 5000);
    }

    #[test]
    fn shuttle_pct() {
        shuttle::check_pct(write_and_read, 5000, 4);
    }
}
