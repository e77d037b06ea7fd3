//! A small store with every kind of file, and what must be read from it.

#![allow(clippy::unwrap_used)] // a test's own module, outside its functions
#![allow(dead_code, unreachable_pub)] // each test uses a part

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Bound;
use std::sync::Arc;

use ringwood_env::{CrashMode, FaultyDisk, ManualClock, SeededRandom};
use ringwood_lsm::{
    Batch, Compression, Db, Durability, Error, KeyspaceOptions, Options, ReadOptions,
};

pub const PATH: &str = "/store";
const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);
const FAR: u64 = 1 << 50;

/// What each keyspace must show.
pub type Expected = BTreeMap<&'static str, BTreeMap<Vec<u8>, Vec<u8>>>;

const KEYSPACES: [(&str, Compression); 3] = [
    ("plain", Compression::None),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd(3)),
];

/// Keys and values, in order.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

pub fn options(disk: &FaultyDisk) -> Options {
    Options {
        memory_budget: 4 << 20,
        memtable_len: Some(1 << 20),
        log_segment_len: 32 << 10,
        threads: 0,
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(1_000_000)),
        random: Arc::new(SeededRandom::new(1)),
        ..Options::new(PATH)
    }
}

/// With a clock that the test sets.
pub fn options_by(disk: &FaultyDisk, clock: &Arc<ManualClock>) -> Options {
    Options {
        clock: Arc::clone(clock) as _,
        ..options(disk)
    }
}

/// What is there after the power failed, and only durable things are left.
pub fn after_a_crash(disk: &FaultyDisk) -> FaultyDisk {
    let left = disk.image(0);
    left.crash(CrashMode::LoseAll);
    left
}

pub fn key(i: u32) -> Vec<u8> {
    format!("key-{i:04}").into_bytes()
}

pub fn value(i: u32, round: u32) -> Vec<u8> {
    format!("value-{i}-{round}-").repeat(3).into_bytes()
}

/// Keys that some table or log holds, and some between them.
pub const KEYS: u32 = 120;

/// A store of three keyspaces with tables in two levels, range deletes, entries that expire and have
/// expired, and changes that stand in the log only; closed in order.
pub fn closed_store() -> (FaultyDisk, Expected) {
    let disk = FaultyDisk::new(7);
    let db = Db::open(options(&disk)).unwrap();
    let mut expected = Expected::new();
    for (name, compression) in KEYSPACES {
        let options = KeyspaceOptions {
            block_len: 1 << 10,
            table_len: 4 << 10,
            compression,
            bottom_compression: compression,
            ..KeyspaceOptions::default()
        };
        db.create_keyspace(name, options).unwrap();
        expected.insert(name, BTreeMap::new());
    }
    for round in 0..4 {
        for (name, _) in KEYSPACES {
            write_round(&db, name, round, expected.get_mut(name).unwrap());
        }
        if round == 0 {
            db.flush().unwrap();
            for (name, _) in KEYSPACES {
                db.keyspace(name).unwrap().compact().unwrap();
            }
        } else if round < 3 {
            db.flush().unwrap();
        }
    }
    db.close().unwrap();
    // Opening removes files that nothing needs any more; the log is kept, and a new segment begun.
    let db = Db::open(options(&disk)).unwrap();
    for (name, model) in &mut expected {
        let keyspace = db.keyspace(name).unwrap();
        keyspace
            .put(b"last", b"of all", Durability::Synced)
            .unwrap();
        model.insert(b"last".to_vec(), b"of all".to_vec());
    }
    db.close().unwrap();
    (disk, expected)
}

fn write_round(db: &Db, name: &str, round: u32, model: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let keyspace = db.keyspace(name).unwrap();
    for i in (0..KEYS).filter(|i| round == 0 || i % (round + 3) == 0) {
        let (key, value) = (key(i), value(i, round));
        let mut batch = Batch::new();
        match i % 10 {
            8 => batch
                .put_expiring(keyspace.id(), &key, &value, FAR)
                .unwrap(),
            9 => batch.put_expiring(keyspace.id(), &key, &value, 5).unwrap(),
            _ => batch.put(keyspace.id(), &key, &value).unwrap(),
        }
        if i % 10 == 9 {
            model.remove(&key);
        } else {
            model.insert(key.clone(), value);
        }
        db.write(&batch, Durability::Buffered).unwrap();
    }
    if round > 0 {
        let (from, to) = (key(20 * round), key(20 * round + 9));
        keyspace
            .delete_range(&from, &to, Durability::Buffered)
            .unwrap();
        model.retain(|key, _| *key < from || *key >= to);
        for i in (round..KEYS).step_by(17) {
            keyspace.delete(&key(i), Durability::Synced).unwrap();
            model.remove(&key(i));
        }
    }
}

/// Reads every key, and scans in both directions. Every answer that is no error must be right; returns
/// the errors.
pub fn read_everything(db: &Db, expected: &Expected, what: &dyn Display) -> Vec<Error> {
    let mut errors = Vec::new();
    for (name, model) in expected {
        let keyspace = match db.keyspace(name) {
            Ok(keyspace) => keyspace,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for key in (0..KEYS + 2).map(key).chain([b"last".to_vec()]) {
            match keyspace.get(&key) {
                Ok(found) => assert_eq!(
                    found.as_deref(),
                    model.get(&key).map(|value| &value[..]),
                    "{what}: {name} {key:?}"
                ),
                Err(error) => errors.push(error),
            }
        }
        for forward in [true, false] {
            match scan(&keyspace, forward) {
                Ok(mut found) => {
                    if !forward {
                        found.reverse();
                    }
                    let model: Vec<_> = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                    assert!(found == model, "{what}: {name} scan, forward {forward}");
                }
                Err(error) => errors.push(error),
            }
        }
    }
    errors
}

fn scan(keyspace: &ringwood_lsm::Keyspace, forward: bool) -> Result<Entries, Error> {
    let mut iter = keyspace.range(ALL, &ReadOptions::default())?;
    let mut found = Vec::new();
    if forward {
        iter.seek_to_first()?;
    } else {
        iter.seek_to_last()?;
    }
    while iter.valid() {
        found.push((iter.key().to_vec(), iter.value().to_vec()));
        if forward {
            iter.next()?;
        } else {
            iter.prev()?;
        }
    }
    Ok(found)
}
