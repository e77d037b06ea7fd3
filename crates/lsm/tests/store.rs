//! What a user of the engine sees, on a real disk.

use std::ops::Bound;

use ringwood_lsm::{
    Batch, Db, Durability, Error, KeyspaceOptions, Options, ReadOptions, ReadTier, Update,
};
use tempfile::TempDir;

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

fn small(directory: &TempDir) -> Options {
    Options {
        memory_budget: 8 << 20,
        memtable_len: Some(256 << 10),
        log_segment_len: 1 << 20,
        ..Options::new(directory.path())
    }
}

fn small_tables() -> KeyspaceOptions {
    KeyspaceOptions {
        table_len: 256 << 10,
        block_len: 1 << 10,
        ..KeyspaceOptions::default()
    }
}

fn key(i: u32) -> Vec<u8> {
    format!("key-{i:06}").into_bytes()
}

fn value(i: u32, round: u32) -> Vec<u8> {
    format!("value-{i}-{round}-").repeat(10).into_bytes()
}

#[test]
fn what_was_written_is_read_back_through_flushes_compactions_and_reopening() {
    let directory = TempDir::new().unwrap();
    for round in 0..4 {
        let db = Db::open(small(&directory)).unwrap();
        let keyspace = db
            .keyspace("data")
            .or_else(|_| db.create_keyspace("data", small_tables()))
            .unwrap();
        for i in (0..10_000).filter(|i| i % 4 >= round) {
            keyspace
                .put(&key(i), &value(i, round), Durability::Buffered)
                .unwrap();
        }
        for i in (0..10_000).step_by(100) {
            keyspace.delete(&key(i), Durability::Buffered).unwrap();
        }
        if round == 2 {
            db.flush().unwrap();
            keyspace.compact().unwrap();
        }
        let check = |db: &Db| {
            let keyspace = db.keyspace("data").unwrap();
            let mut expected = Vec::new();
            for i in 0..10_000 {
                let newest = (i % 4).min(round);
                let found = keyspace.get(&key(i)).unwrap();
                if i % 100 == 0 {
                    assert!(found.is_none(), "{i} was deleted");
                } else {
                    assert_eq!(found.unwrap(), value(i, newest), "key {i} round {round}");
                    expected.push((key(i), value(i, newest)));
                }
            }
            let mut iter = keyspace.range(ALL, &ReadOptions::default()).unwrap();
            iter.seek_to_first().unwrap();
            let all: Vec<_> = iter
                .entries()
                .map(|entry| entry.unwrap())
                .map(|(k, v)| (k, v.to_vec()))
                .collect();
            assert!(all == expected, "the scan differs in round {round}");
        };
        check(&db);
        db.close().unwrap();
        let db = Db::open(small(&directory)).unwrap();
        assert!(db.open_report().clean);
        check(&db);
    }
}

#[test]
fn a_memtable_is_written_out_at_its_length_and_not_before() {
    let directory = TempDir::new().unwrap();
    let options = Options {
        memtable_len: Some(64 << 10),
        threads: 0,
        ..small(&directory)
    };
    let db = Db::open(options).unwrap();
    let written = db.create_keyspace("written", small_tables()).unwrap();
    db.create_keyspace("empty", small_tables()).unwrap();
    let sealed = || -> Vec<_> {
        let keyspaces = db.statistics().keyspaces;
        keyspaces.iter().map(|one| one.sealed_memtables).collect()
    };
    let value = [7; 1000];
    for i in 0..55 {
        written.put(&key(i), &value, Durability::Buffered).unwrap();
    }
    assert_eq!(sealed(), [0, 0], "it has taken 55 of 64 KiB");
    for i in 55..70 {
        written.put(&key(i), &value, Durability::Buffered).unwrap();
    }
    assert_eq!(sealed(), [1, 0]);
}

#[test]
fn many_writers_share_syncs_and_lose_nothing() {
    let directory = TempDir::new().unwrap();
    let db = Db::open(small(&directory)).unwrap();
    let keyspace = db.create_keyspace("data", small_tables()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..16 {
            let keyspace = keyspace.clone();
            scope.spawn(move || {
                for i in 0..50 {
                    let n = writer * 1000 + i;
                    keyspace
                        .put(&key(n), &value(n, 0), Durability::Synced)
                        .unwrap();
                }
            });
        }
    });
    assert!(db.statistics().log_syncs < 800, "groups share syncs");
    for writer in 0..16 {
        for i in 0..50 {
            let n = writer * 1000 + i;
            assert_eq!(keyspace.get(&key(n)).unwrap().unwrap(), value(n, 0));
        }
    }
}

#[test]
fn a_snapshot_shows_its_moment_whatever_happens_after() {
    let directory = TempDir::new().unwrap();
    let db = Db::open(small(&directory)).unwrap();
    let keyspace = db.create_keyspace("data", small_tables()).unwrap();
    for i in 0..1000 {
        keyspace
            .put(&key(i), &value(i, 0), Durability::Buffered)
            .unwrap();
    }
    let snapshot = db.snapshot();
    keyspace
        .delete_range(&key(100), &key(900), Durability::Buffered)
        .unwrap();
    for i in 0..100 {
        keyspace
            .put(&key(i), &value(i, 1), Durability::Buffered)
            .unwrap();
    }
    keyspace.compact().unwrap();
    let old = ReadOptions {
        snapshot: Some(&snapshot),
        ..ReadOptions::default()
    };
    for i in 0..1000 {
        assert_eq!(
            keyspace.get_with(&key(i), &old).unwrap().unwrap().value,
            value(i, 0)
        );
        let new = keyspace.get(&key(i)).unwrap();
        match i {
            0..100 => assert_eq!(new.unwrap(), value(i, 1)),
            100..900 => assert!(new.is_none()),
            _ => assert_eq!(new.unwrap(), value(i, 0)),
        }
    }
    let seen = |options: &ReadOptions<'_>| {
        let mut iter = keyspace.range(ALL, options).unwrap();
        iter.seek_to_first().unwrap();
        iter.entries().count()
    };
    assert_eq!(seen(&old), 1000);
    assert_eq!(seen(&ReadOptions::default()), 200);
    drop(snapshot);
    keyspace.compact().unwrap();
    assert_eq!(seen(&ReadOptions::default()), 200);
}

#[test]
fn keyspaces_are_apart_and_a_batch_spans_them() {
    let directory = TempDir::new().unwrap();
    let db = Db::open(small(&directory)).unwrap();
    let a = db.create_keyspace("a", KeyspaceOptions::default()).unwrap();
    let b = db.create_keyspace("b", KeyspaceOptions::default()).unwrap();
    assert!(matches!(
        db.create_keyspace("a", KeyspaceOptions::default()),
        Err(Error::KeyspaceExists { .. })
    ));
    let mut batch = Batch::new();
    batch.put(a.id(), b"k", b"in a").unwrap();
    batch.put(b.id(), b"k", b"in b").unwrap();
    db.write(&batch, Durability::Synced).unwrap();
    assert_eq!(a.get(b"k").unwrap().unwrap(), b"in a");
    assert_eq!(b.get(b"k").unwrap().unwrap(), b"in b");
    db.drop_keyspace("a").unwrap();
    assert!(matches!(a.get(b"k"), Err(Error::NoSuchKeyspace { .. })));
    assert!(matches!(
        db.keyspace("a"),
        Err(Error::NoSuchKeyspace { .. })
    ));
    let again = db.create_keyspace("a", KeyspaceOptions::default()).unwrap();
    assert!(
        again.get(b"k").unwrap().is_none(),
        "a name's second life begins empty"
    );
    drop((a, b, again));
    db.close().unwrap();
    let db = Db::open(small(&directory)).unwrap();
    assert_eq!(db.keyspaces(), ["a", "b"]);
    assert!(db.keyspace("a").unwrap().get(b"k").unwrap().is_none());
    assert_eq!(
        db.keyspace("b").unwrap().get(b"k").unwrap().unwrap(),
        b"in b"
    );
}

#[test]
fn updates_of_one_key_follow_each_other() {
    let directory = TempDir::new().unwrap();
    let db = Db::open(small(&directory)).unwrap();
    let keyspace = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let add_one = |found: Option<&ringwood_lsm::Found>| {
                        let count = found.map_or(0, |found| {
                            u32::from_le_bytes(found.value[..].try_into().unwrap())
                        });
                        Update::Put((count + 1).to_le_bytes().to_vec())
                    };
                    keyspace
                        .update(b"counter", Durability::Buffered, add_one)
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(
        keyspace.get(b"counter").unwrap().unwrap(),
        400u32.to_le_bytes()
    );
}

#[test]
fn a_read_limited_to_memory_does_not_wait_for_the_disk() {
    let directory = TempDir::new().unwrap();
    let db = Db::open(small(&directory)).unwrap();
    let keyspace = db.create_keyspace("data", small_tables()).unwrap();
    keyspace.put(b"k", b"v", Durability::Buffered).unwrap();
    let memory = ReadOptions {
        tier: ReadTier::Memory,
        ..ReadOptions::default()
    };
    assert_eq!(
        keyspace.get_with(b"k", &memory).unwrap().unwrap().value,
        b"v"
    );
    db.flush().unwrap();
    assert!(matches!(
        keyspace.get_with(b"k", &memory),
        Err(Error::WouldBlock)
    ));
    assert_eq!(keyspace.get(b"k").unwrap().unwrap(), b"v");
    assert_eq!(
        keyspace.get_with(b"k", &memory).unwrap().unwrap().value,
        b"v"
    );
    let keys: [&[u8]; 3] = [b"k", b"missing", b"k"];
    let found = keyspace.multi_get(&keys, &ReadOptions::default());
    let values: Vec<_> = found
        .into_iter()
        .map(|one| one.unwrap().map(|f| f.value))
        .collect();
    assert!(values[0].is_some() && values[1].is_none() && values[2].is_some());
}

#[test]
fn a_checkpoint_is_a_store_of_its_own() {
    let directory = TempDir::new().unwrap();
    let db = Db::open(small(&directory)).unwrap();
    let keyspace = db.create_keyspace("data", small_tables()).unwrap();
    for i in 0..5000 {
        keyspace
            .put(&key(i), &value(i, 0), Durability::Buffered)
            .unwrap();
    }
    let copy = TempDir::new_in(directory.path().parent().unwrap()).unwrap();
    let copy_path = copy.path().join("copy");
    db.checkpoint(&copy_path).unwrap();
    for i in 0..5000 {
        keyspace.delete(&key(i), Durability::Buffered).unwrap();
    }
    keyspace.compact().unwrap();
    let copied = Db::open(Options::new(&copy_path)).unwrap();
    let keyspace = copied.keyspace("data").unwrap();
    for i in 0..5000 {
        assert_eq!(keyspace.get(&key(i)).unwrap().unwrap(), value(i, 0));
    }
    assert!(
        db.checkpoint(&copy_path).is_err(),
        "it is not empty any more"
    );
}

#[test]
fn a_store_is_open_once() {
    let directory = TempDir::new().unwrap();
    let missing = Options {
        create: false,
        ..small(&directory)
    };
    assert!(matches!(Db::open(missing), Err(Error::NotFound { .. })));
    let db = Db::open(small(&directory)).unwrap();
    assert!(matches!(
        Db::open(small(&directory)),
        Err(Error::Locked { .. })
    ));
    db.close().unwrap();
    Db::open(small(&directory)).unwrap();
}

#[test]
fn ranges_are_measured_to_within_some_blocks() {
    let directory = TempDir::new().unwrap();
    let db = Db::open(small(&directory)).unwrap();
    let keyspace = db.create_keyspace("data", small_tables()).unwrap();
    let measure = |from: u32, to: u32| keyspace.approximate_len(&key(from), &key(to)).unwrap();
    assert_eq!(measure(0, 10_000), 0);
    // Values that do not get shorter by compression, so that lengths are known.
    let random = |i: u32| -> Vec<u8> {
        let mut x = u64::from(i) + 1;
        let byte = |_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x.to_le_bytes()[3]
        };
        (0..200).map(byte).collect()
    };
    for i in 0..10_000 {
        let value = random(i);
        keyspace.put(&key(i), &value, Durability::Buffered).unwrap();
    }
    db.flush().unwrap();
    keyspace.compact().unwrap();
    for (from, to) in [(0, 10_000), (0, 5000), (2500, 2600), (9990, 10_000)] {
        let expected = u64::from(to - from) * 213;
        let found = measure(from, to);
        let slack = expected / 10 + 8 * 1024;
        assert!(found.abs_diff(expected) < slack, "{from}..{to}: {found}");
    }
    assert_eq!(measure(20_000, 30_000), 0);
    assert!(keyspace.approximate_len(b"b", b"a").is_err());
}
