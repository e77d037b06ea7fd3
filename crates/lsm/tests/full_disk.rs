//! A small disk that is filled until it takes nothing more: deletes always end in room (`space-1`,
//! `space-2`), and nothing that was acknowledged is missing.

#![allow(clippy::unwrap_used, missing_docs)] // helpers of the tests, outside their functions

mod crowded_disk;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ringwood_env::{FaultyDisk, ManualClock};
use ringwood_lsm::{Db, Durability, Keyspace, KeyspaceOptions, Options};

const MIB: u64 = 1 << 20;

struct Store {
    disk: FaultyDisk,
    clock: Arc<ManualClock>,
    db: Option<Db>,
    value_len: usize,
    /// Numbers of the values that are there.
    stored: BTreeSet<u64>,
    next: u64,
}

impl Store {
    fn new(capacity: u64, value_len: usize) -> Self {
        let disk = FaultyDisk::new(0);
        disk.set_capacity(Some(capacity));
        let mut store = Self {
            disk,
            clock: Arc::default(),
            db: None,
            value_len,
            stored: BTreeSet::new(),
            next: 0,
        };
        store.open();
        let made = store
            .db()
            .create_keyspace("data", KeyspaceOptions::default());
        made.unwrap();
        store
    }

    fn options(&self) -> Options {
        Options {
            threads: 0,
            disk: Arc::new(self.disk.clone()),
            clock: Arc::clone(&self.clock) as _,
            ..Options::new("store")
        }
    }

    fn open(&mut self) {
        self.db = Some(Db::open(self.options()).unwrap());
    }

    fn close(&mut self) {
        self.db.take().unwrap().close().unwrap();
    }

    fn kill(&mut self) {
        self.die();
        self.open();
    }

    fn die(&mut self) {
        self.disk = self.disk.image(0);
        std::mem::forget(self.db.take());
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    fn data(&self) -> Keyspace {
        self.db().keyspace("data").unwrap()
    }

    /// What a pool of threads would do meanwhile; failures for want of room are its daily bread.
    fn work(&self) {
        for _ in 0..10_000 {
            let Some(job) = self.db().next_job() else {
                return;
            };
            match self.db().run(job) {
                Err(error) if error.is_disk_full() => return,
                // Damage is told to whoever reads it.
                Err(ringwood_lsm::Error::Corruption(_)) => {}
                ended => ended.unwrap(),
            }
        }
        panic!("background work does not come to an end");
    }

    /// Keys lie anywhere in the key space, whatever order they come in.
    fn key(number: u64) -> [u8; 8] {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
    }

    fn value(&self, number: u64) -> Vec<u8> {
        let random = ringwood_env::random::SeededRandom::new(number);
        let mut value = Vec::new();
        while value.len() < self.value_len {
            value.extend(ringwood_env::Random::next_u64(&random).to_le_bytes());
        }
        value
    }

    /// Whether the next value was taken.
    fn put(&mut self) -> bool {
        let (key, value) = (Self::key(self.next), self.value(self.next));
        for _ in 0..100 {
            match self.data().put(&key, &value, Durability::Synced) {
                Ok(_) => {
                    self.stored.insert(self.next);
                    self.next += 1;
                    return true;
                }
                Err(error) if error.is_disk_full() => return false,
                Err(ringwood_lsm::Error::Stalled) => self.work(),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("writes are stopped for good");
    }

    /// Stores the next value, and does no more of the work in the background than it must wait for.
    fn put_unmerged(&mut self) {
        let (key, value) = (Self::key(self.next), self.value(self.next));
        while let Err(error) = self.data().put(&key, &value, Durability::Synced) {
            assert!(matches!(error, ringwood_lsm::Error::Stalled), "{error}");
            let job = self.db().next_job().unwrap();
            assert!(!format!("{job:?}").contains("compact"), "{job:?}");
            self.db().run(job).unwrap();
        }
        self.stored.insert(self.next);
        self.next += 1;
    }

    /// Until nothing is taken, not even some time later: what was deleted before is gone by then.
    fn fill(&mut self) -> usize {
        let before = self.stored.len();
        loop {
            while self.put() {
                self.work();
            }
            self.rest();
            if !self.put() {
                return self.stored.len() - before;
            }
        }
    }

    fn delete(&mut self, number: u64) {
        let key = Self::key(number);
        loop {
            match self.data().delete(&key, Durability::Synced) {
                Ok(_) => break,
                Err(ringwood_lsm::Error::Stalled) => self.work(),
                Err(error) => panic!("a delete is refused: {error}"),
            }
        }
        self.stored.remove(&number);
    }

    /// Ten seconds of background work.
    fn rest(&self) {
        for _ in 0..10 {
            self.work();
            self.clock.advance(Duration::from_secs(1));
        }
    }

    fn check(&self) {
        for number in 0..self.next {
            let found = self.data().get(&Self::key(number)).unwrap();
            match self.stored.contains(&number) {
                true => assert_eq!(found.as_deref(), Some(&self.value(number)[..]), "{number}"),
                false => assert!(found.is_none(), "{number} came back"),
            }
        }
    }
}

/// Fills and empties the store; a part of its values stays all the time.
fn fill_and_empty(capacity: u64, value_len: usize, cycles: u64) {
    let mut store = Store::new(capacity, value_len);
    for _ in 0..4 {
        assert!(store.put());
    }
    let mut taken = Vec::new();
    for cycle in 0..cycles {
        taken.push(store.fill());
        store.check();
        assert!(store.db().is_disk_full());
        if cycle % 3 == 1 {
            store.kill();
            store.check();
        }
        for part in 0..2 {
            let numbers: Vec<_> = store.stored.iter().copied().filter(|n| *n >= 4).collect();
            let numbers = numbers.into_iter().filter(|n| part == 1 || n % 2 == 0);
            for (at, number) in numbers.enumerate() {
                store.delete(number);
                // Threads would work beside.
                if at % 16 == 0 {
                    store.work();
                }
            }
            store.rest();
            assert!(store.put(), "no room after deletes of part {part}");
            store.check();
        }
    }
    let (least, most) = (*taken.iter().min().unwrap(), *taken.iter().max().unwrap());
    assert!(least * 10 >= most * 8, "room is lost: {taken:?}");
    let bytes = least as u64 * value_len as u64;
    assert!(bytes * 2 >= capacity, "{bytes} of {capacity}: {taken:?}");
}

#[test]
fn space_2_deletes_end_in_room_with_values_larger_than_tables() {
    fill_and_empty(64 * MIB, 600_000, 4);
}

#[test]
fn space_2_deletes_end_in_room_with_small_values() {
    fill_and_empty(24 * MIB, 5_000, 4);
}

/// Without a delete: what was overwritten is what there is to gain.
#[test]
fn space_2_values_that_were_overwritten_end_in_room() {
    let mut store = Store::new(32 * MIB, 20_000);
    for _ in 0..400 {
        assert!(store.put());
        store.work();
    }
    let stored = std::mem::take(&mut store.stored);
    let mut again = stored.iter().cycle().copied();
    for _ in 0..20_000 {
        store.next = again.next().unwrap();
        if !store.put() {
            store.rest();
            assert!(store.put(), "no room although most is overwritten");
        }
        store.work();
    }
    store.next = 400;
    store.stored = stored;
    store.check();
}

/// The disk is not full, and what has piled up in L0 is more than it has room for.
#[test]
fn space_3_compactions_fit_where_room_is_tight() {
    let mut store = Store::new(160 * MIB, 50_000);
    let l0_len = |store: &Store| store.db().statistics().keyspaces[0].levels[0].bytes;
    while l0_len(&store) < 40 * MIB {
        store.put_unmerged();
    }
    let used: usize = (store.disk.paths().iter())
        .map(|path| store.disk.read_file(path).unwrap().len())
        .sum();
    store.disk.set_capacity(Some(used as u64 + 36 * MIB));
    // The disk is looked at when the log grows.
    for _ in 0..120 {
        store.put_unmerged();
    }
    assert!(!store.db().is_disk_full());
    while let Some(job) = store.db().next_job() {
        store.db().run(job).unwrap();
    }
    assert!(l0_len(&store) < 20 * MIB, "nothing was merged");
    store.check();
}

#[test]
fn a_range_delete_ends_in_room() {
    let mut store = Store::new(32 * MIB, 50_000);
    for _ in 0..3 {
        store.fill();
        let data = store.data();
        data.delete_range(b"", &[0xff; 9], Durability::Synced)
            .unwrap();
        store.stored.clear();
        store.rest();
        assert!(store.put());
        store.check();
    }
}
