//! A full disk on which room does not come as expected: deletes that meet little, files that others keep or
//! put there, damage, many keyspaces.

use std::ops::Bound;
use std::path::Path;

use ringwood_env::Disk;
use ringwood_lsm::{Error, ReadOptions};

use super::*;

const ALIEN: &str = "elsewhere/file";

/// What became of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Deleted,
    Refused,
    /// It would still wait, though all background work there is was done many times.
    Waits,
}

impl Store {
    fn free(&self) -> u64 {
        self.disk.available_space("store".as_ref()).unwrap()
    }

    /// Somebody else takes what is left of the disk.
    fn crowd(&self) {
        let taken = self.disk.read_file(ALIEN).map_or(0, |bytes| bytes.len());
        let len = taken + usize::try_from(self.free()).unwrap();
        self.disk.write_file(ALIEN, vec![7; len]);
    }

    /// What they took is free again.
    fn leave(&self) {
        self.disk.remove_file(Path::new(ALIEN)).unwrap();
    }

    fn in_key_order(&self) -> Vec<u64> {
        let mut numbers: Vec<_> = self.stored.iter().copied().collect();
        numbers.sort_unstable_by_key(|number| Self::key(*number));
        numbers
    }

    fn try_delete(&mut self, number: u64) -> End {
        for _ in 0..20 {
            let key = Self::key(number);
            match self.data().delete(&key, Durability::Synced) {
                Ok(_) => {
                    self.stored.remove(&number);
                    return End::Deleted;
                }
                Err(Error::Stalled) => self.rest(),
                Err(error) if error.is_disk_full() => return End::Refused,
                Err(error) => panic!("{error}"),
            }
        }
        End::Waits
    }

    /// One delete a second.
    fn trickle(&mut self, numbers: &[u64]) -> Vec<End> {
        let trickled = numbers.iter().map(|number| {
            let end = self.try_delete(*number);
            self.work();
            self.clock.advance(Duration::from_secs(1));
            end
        });
        trickled.collect()
    }

    /// Many deletes a second.
    fn delete_all(&mut self, numbers: &[u64]) {
        for (at, number) in numbers.iter().enumerate() {
            assert_eq!(self.try_delete(*number), End::Deleted);
            self.breathe(at);
        }
    }

    fn breathe(&self, at: usize) {
        if at.is_multiple_of(16) {
            self.work();
            self.clock.advance(Duration::from_millis(100));
        }
    }

    /// Everything that is left is deleted: then there must be room.
    fn empty(&mut self) {
        self.delete_all(&self.in_key_order());
        for _ in 0..10 {
            self.rest();
        }
        assert!(self.put(), "no room although all is deleted");
        self.check();
    }
}

fn all_deleted(ends: &[End]) -> bool {
    ends.iter().all(|end| *end == End::Deleted)
}

/// A few range deletes that meet next to nothing, far apart: more comes of their compaction than expected,
/// more than there is room for. Those behind must have their turn.
#[test]
fn range_deletes_that_meet_little_keep_nothing_from_room() {
    let mut store = Store::new(24 * MIB, 5_000);
    store.fill();
    let keys = store.in_key_order();
    for chunk in keys.chunks(keys.len() / 4) {
        for number in [chunk[0], chunk[chunk.len() * 9 / 10]] {
            let (start, end) = (Store::key(number), [&Store::key(number)[..], &[0]].concat());
            let deleted = store.data().delete_range(&start, &end, Durability::Synced);
            deleted.unwrap();
            store.stored.remove(&number);
        }
    }
    store.rest();
    store.empty();
}

/// As many deletes of keys that are not there.
#[test]
fn deletes_that_meet_nothing_keep_nothing_from_room() {
    let mut store = Store::new(24 * MIB, 5_000);
    store.fill();
    for (at, number) in store.in_key_order().into_iter().enumerate() {
        let mut key = Store::key(number).to_vec();
        for byte in 0..4 {
            key.push(byte);
            store.data().delete(&key, Durability::Synced).unwrap();
        }
        store.breathe(at);
    }
    store.rest();
    store.empty();
}

/// Attacks space-3: no table goes while a checkpoint on the same disk has it too, so no compaction ends in
/// room.
#[test]
fn space_3_deletes_go_on_beside_a_checkpoint() {
    let mut store = Store::new(64 * MIB, 20_000);
    store.fill();
    store.db().checkpoint("copy".as_ref()).unwrap();
    let numbers = store.in_key_order();
    let some: Vec<_> = numbers.into_iter().step_by(8).collect();
    let ends = store.trickle(&some);
    assert!(all_deleted(&ends), "{ends:?}, free: {}", store.free());
    store.check();
    for path in store.disk.paths() {
        if path.starts_with("copy/") {
            store.disk.remove(path);
        }
    }
    store.empty();
}

/// Nor while somebody reads.
#[test]
fn space_3_deletes_go_on_beside_a_long_scan() {
    let mut store = Store::new(64 * MIB, 20_000);
    store.fill();
    let all = (Bound::Unbounded, Bound::Unbounded);
    let scan = store.data().range(all, &ReadOptions::default()).unwrap();
    let numbers = store.in_key_order();
    let some: Vec<_> = numbers.into_iter().step_by(8).collect();
    let ends = store.trickle(&some);
    assert!(all_deleted(&ends), "{ends:?}, free: {}", store.free());
    drop(scan);
    store.empty();
}

#[test]
fn a_snapshot_does_not_end_deletes() {
    let mut store = Store::new(24 * MIB, 5_000);
    store.fill();
    let snapshot = store.db().snapshot();
    let numbers = store.in_key_order();
    let some: Vec<_> = numbers.into_iter().step_by(8).collect();
    assert!(all_deleted(&store.trickle(&some)));
    drop(snapshot);
    store.empty();
}

/// Attacks space-3: memtables that cannot be written out must not pile up until all writing stops.
#[test]
fn space_3_nobody_waits_for_ever_where_others_took_the_disk() {
    let mut store = Store::new(32 * MIB, 20_000);
    store.fill();
    store.crowd();
    let numbers = store.in_key_order();
    let ends = store.trickle(&numbers[..200]);
    assert!(!ends.contains(&End::Waits), "{ends:?}");
    store.disk.remove(ALIEN);
    store.check();
    store.empty();
}

#[test]
fn a_store_is_closed_on_a_disk_with_nothing_free() {
    let mut store = Store::new(32 * MIB, 20_000);
    store.fill();
    store.crowd();
    let numbers = store.in_key_order();
    assert_eq!(store.try_delete(numbers[0]), End::Deleted);
    store.db.take().unwrap().close().unwrap();
    store.disk.remove(ALIEN);
    store.open();
    store.check();
}

/// A fourth of all tables is damaged, each fourth in turn.
#[test]
fn damaged_tables_do_not_end_deletes() {
    for part in 0..4 {
        let mut store = Store::new(32 * MIB, 20_000);
        store.fill();
        let numbers = store.in_key_order();
        let (first, others) = numbers.split_at(numbers.len() / 4);
        store.delete_all(first);
        let paths = store.disk.paths();
        let tables = paths.iter().filter(|path| path.ends_with(".sst"));
        for table in tables.skip(part).step_by(4) {
            assert!(store.disk.flip(table, 5_000, 1));
        }
        store.kill();
        assert!(all_deleted(&store.trickle(&others[..100])));
    }
}

/// A process that ends again and again, with a delete each time and no background work.
#[test]
fn space_3_a_store_is_opened_after_many_kills() {
    let mut store = Store::new(24 * MIB, 5_000);
    store.fill();
    for number in store.in_key_order().into_iter().take(40) {
        assert_eq!(store.try_delete(number), End::Deleted);
        store.kill();
    }
    store.empty();
}

/// What is deleted in one of many keyspaces is room for all.
#[test]
fn many_keyspaces_share_the_room() {
    let store = Store::new(48 * MIB, 20_000);
    let names: Vec<_> = (0..12).map(|n| format!("k{n}")).collect();
    for name in &names {
        store
            .db()
            .create_keyspace(name, KeyspaceOptions::default())
            .unwrap();
    }
    let put = |number: u64| {
        let keyspace = store
            .db()
            .keyspace(&names[usize::try_from(number % 12).unwrap()])
            .unwrap();
        for _ in 0..100 {
            match keyspace.put(
                &Store::key(number),
                &store.value(number),
                Durability::Synced,
            ) {
                Ok(_) => return true,
                Err(error) if error.is_disk_full() => return false,
                Err(Error::Stalled) => store.work(),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("stopped");
    };
    let mut next = 0;
    for _ in 0..2 {
        let begin = next;
        loop {
            while put(next) {
                next += 1;
                store.work();
            }
            store.rest();
            if !put(next) {
                break;
            }
            next += 1;
        }
        assert!((next - begin) * 20_000 > 20 * MIB, "{}", next - begin);
        for number in begin..next {
            let keyspace = store
                .db()
                .keyspace(&names[usize::try_from(number % 12).unwrap()])
                .unwrap();
            keyspace
                .delete(&Store::key(number), Durability::Synced)
                .unwrap();
            store.breathe(usize::try_from(number).unwrap());
        }
        for _ in 0..5 {
            store.rest();
        }
    }
    assert!(put(next));
}

/// Filled by others to the last byte, and opened so, twice.
fn opened_without_a_free_byte(end: impl Fn(&mut Store)) {
    let mut store = Store::new(24 * MIB, 5_000);
    for _ in 0..300 {
        assert!(store.put());
        store.work();
    }
    for round in 0..2 {
        end(&mut store);
        store.crowd();
        assert_eq!(store.free(), 0);
        store.open();
        assert!(store.db().is_disk_full());
        store.check();
        assert!(!store.put());
        assert_ne!(store.try_delete(round), End::Waits);
        store.work();
        store.check();
    }
    store.leave();
    store.rest();
    assert!(store.put(), "not writable although there is room again");
    store.delete(100);
    store.kill();
    store.check();
    store.close();
    let verified = ringwood_lsm::verify(&store.options());
    assert!(verified.unwrap().is_clean());
}

#[test]
fn a_killed_store_opens_without_a_free_byte() {
    opened_without_a_free_byte(Store::die);
}

#[test]
fn a_closed_store_opens_without_a_free_byte() {
    opened_without_a_free_byte(Store::close);
}

/// The log begins once there is room: before that memtables are written out, or not.
#[test]
fn what_was_replayed_outlives_a_log_that_begins_late() {
    for flushed in [false, true] {
        let mut store = Store::new(24 * MIB, 5_000);
        for _ in 0..50 {
            assert!(store.put());
        }
        for killed in [true, false] {
            store.die();
            store.crowd();
            store.open();
            store.leave();
            if flushed {
                store.db().flush().unwrap();
            }
            if killed {
                store.kill();
                store.check();
            }
            assert!(store.put());
            store.check();
        }
        store.kill();
        store.check();
        store.close();
        store.open();
        store.check();
    }
}
