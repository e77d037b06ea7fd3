//! Very many range deletes: in memory, written out, and read back.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::atomic::{AtomicBool, Ordering};

use ringwood_lsm::{Batch, Db, Durability, KeyspaceOptions, Options, ReadOptions};
use tempfile::TempDir;

const COUNT: u32 = 25_000;

fn key(n: u32) -> Vec<u8> {
    format!("q/{n:08}").into_bytes()
}

fn memtable_bytes(db: &Db) -> usize {
    let memory = db.statistics().memory;
    memory
        .iter()
        .find(|(name, _)| *name == "memtables")
        .map_or(0, |(_, bytes)| *bytes)
}

/// Range deletes, one write each; then what they delete is gone and nothing else, before and after they
/// are written out and read back. Returns what they took of the budget.
fn delete_and_look(range: impl Fn(u32) -> (u32, u32)) -> usize {
    let directory = TempDir::new().unwrap();
    let options = || Options {
        memory_budget: 64 << 20,
        memtable_len: Some(32 << 20),
        ..Options::new(directory.path())
    };
    let db = Db::open(options()).unwrap();
    let keyspace = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    for n in 0..2 * COUNT {
        keyspace.put(&key(n), b"v", Durability::Buffered).unwrap();
    }
    let before = memtable_bytes(&db);
    let mut deleted = vec![false; 2 * COUNT as usize];
    for n in 0..COUNT {
        let (start, end) = range(n);
        keyspace
            .delete_range(&key(start), &key(end), Durability::Buffered)
            .unwrap();
        deleted[start as usize..end as usize].fill(true);
    }
    let taken = memtable_bytes(&db) - before;
    let check = |db: &Db| {
        let keyspace = db.keyspace("data").unwrap();
        for n in (0..2 * COUNT).step_by(7) {
            let found = keyspace.get(&key(n)).unwrap();
            assert_eq!(found.is_none(), deleted[n as usize], "{n}");
        }
    };
    check(&db);
    drop((keyspace, db)); // without writing them out: they are replayed
    let db = Db::open(options()).unwrap();
    check(&db);
    db.flush().unwrap();
    check(&db);
    drop(db);
    let db = Db::open(options()).unwrap();
    check(&db);
    db.keyspace("data").unwrap().compact().unwrap();
    check(&db);
    taken
}

#[test]
fn growing_range_deletes_take_next_to_nothing_and_are_read_back() {
    let taken = delete_and_look(|n| (0, n + 1));
    assert!(taken < 64 << 10, "{taken} bytes");
}

#[test]
fn range_deletes_apart_take_their_own_room_and_are_read_back() {
    let taken = delete_and_look(|n| (2 * n, 2 * n + 1));
    let each = taken / COUNT as usize;
    assert!((40..160).contains(&each), "{each} bytes each");
}

/// `read-3`: each batch deletes everything and puts one key. A reader sees exactly one at any moment.
#[test]
fn a_reader_sees_a_range_delete_with_all_of_its_batch_read_3() {
    let directory = TempDir::new().unwrap();
    let db = Db::open(Options::new(directory.path())).unwrap();
    let keyspace = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    keyspace.put(&key(0), b"v", Durability::Buffered).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..20_000 {
                let mut batch = Batch::new();
                batch.delete_range(keyspace.id(), b"", b"r").unwrap();
                batch.put(keyspace.id(), &key(n % 8), b"v").unwrap();
                db.write(&batch, Durability::Buffered).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let keys: Vec<_> = (0..8).map(key).collect();
        let keys: Vec<_> = keys.iter().map(|key| &key[..]).collect();
        while !done.load(Ordering::Acquire) {
            let all = keyspace.multi_get(&keys, &ReadOptions::default());
            let found = all
                .into_iter()
                .filter(|one| one.as_ref().unwrap().is_some());
            assert_eq!(found.count(), 1);
        }
    });
}
