//! Tests of the tests: rules of order, each kept and each broken, while what matters is done in between.
//!
//! One thread does it all where it can: a plant says what is done at the next pause of this thread, so
//! that every run is the same.
//!
//! `cargo test -p ringwood-lsm --features plant --test orders -- --nocapture`

#![allow(clippy::unwrap_used, missing_docs)]

use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::thread;

use ringwood_env::FaultyDisk;
use ringwood_lsm::plant::{Pause, Plant, at_next, plant};
use ringwood_lsm::{
    Db, Durability, Job, Keyspace, KeyspaceOptions, Options, ReadOptions, Snapshot,
};

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

/// A broken promise, in words.
type Found = Option<String>;

/// Looks a key up, in one of the ways there are.
type Look = fn(&Keyspace) -> Option<Vec<u8>>;

const LOOKS: [(&str, Look); 3] = [
    ("get", |space| {
        let found = space.get_with(b"k", &ReadOptions::default()).unwrap();
        found.map(|found| found.value.to_vec())
    }),
    ("multi_get", |space| {
        let mut found = space.multi_get(&[b"k"], &ReadOptions::default());
        let found = found.pop().unwrap().unwrap();
        found.map(|found| found.value.to_vec())
    }),
    ("range", |space| {
        let mut iter = space.range(ALL, &ReadOptions::default()).unwrap();
        iter.seek_to_first().unwrap();
        iter.valid().then(|| iter.value().to_vec())
    }),
];

/// One test, as plants are of the whole process.
#[test]
fn every_rule_of_order_is_needed_and_tested() {
    type Scenario<'a> = &'a dyn Fn() -> Found;
    let read = || {
        LOOKS
            .iter()
            .find_map(|(name, look)| overwritten_in_a_read(name, *look))
    };
    let flush = || snapshot_taken_in_a_flush(Pause::Flush);
    let cases: [(Plant, Scenario<'_>); 3] = [
        (Plant::MomentBeforeView, &read),
        (Plant::MomentsBeforeInputs, &flush),
        (Plant::CurrentLogAfterMemtables, &log_begun_in_an_install),
    ];
    for (defect, scenario) in cases {
        plant(None);
        assert_eq!(scenario(), None, "{defect:?} is not planted");
        plant(Some(defect));
        let found = scenario().unwrap_or_else(|| panic!("{defect:?}: not found"));
        println!("{defect:?}: {found}");
    }
    // read-1, each way of reading by itself.
    plant(Some(Plant::MomentBeforeView));
    for (name, look) in LOOKS {
        assert!(overwritten_in_a_read(name, look).is_some(), "{name}");
    }
    // Not a rule by itself, as long as the inputs are decided on before.
    for defect in [None, Some(Plant::PublishedAfterSnapshots)] {
        plant(defect);
        assert_eq!(snapshot_taken_in_a_flush(Pause::Moments), None);
    }
    plant(None);
}

fn open(disk: &FaultyDisk) -> Db {
    let options = Options {
        memory_budget: 8 << 20,
        memtable_len: Some(32 << 10),
        log_segment_len: 64 << 10,
        threads: 0,
        disk: Arc::new(disk.clone()),
        ..Options::new("store")
    };
    Db::open(options).unwrap()
}

fn create(db: &Db, name: &str) -> Keyspace {
    db.create_keyspace(name, KeyspaceOptions::default())
        .unwrap()
}

fn put(space: &Keyspace, key: &[u8], value: &[u8]) {
    space.put(key, value, Durability::Buffered).unwrap();
}

/// More than a memtable takes: what was written so far is sealed.
fn put_much(space: &Keyspace) {
    put(space, b"much", &[7; 40 << 10]);
}

/// read-1: a key is overwritten, and its older version compacted away, in the middle of a read.
fn overwritten_in_a_read(name: &str, look: Look) -> Found {
    let db = open(&FaultyDisk::new(1));
    let space = create(&db, "data");
    put(&space, b"k", b"old");
    let (store, inside) = (db.clone(), space.clone());
    at_next(Pause::Read, move || {
        put(&inside, b"k", b"new");
        store.flush().unwrap();
        inside.compact().unwrap();
    });
    let found = look(&space);
    let is_right = matches!(found.as_deref(), Some(b"old" | b"new"));
    (!is_right).then(|| format!("{name} found {found:?} of a key that always was there"))
}

/// A snapshot is taken between two versions of a key in the middle of a flush.
fn snapshot_taken_in_a_flush(pause: Pause) -> Found {
    let db = open(&FaultyDisk::new(1));
    let space = create(&db, "data");
    put(&space, b"k", b"1");
    put_much(&space);
    let taken: Arc<Mutex<Option<Snapshot>>> = Arc::default();
    let (store, inside, slot) = (db.clone(), space.clone(), Arc::clone(&taken));
    at_next(pause, move || {
        put(&inside, b"k", b"2");
        *slot.lock().unwrap() = Some(store.snapshot());
        put(&inside, b"k", b"3");
        put_much(&inside);
    });
    while let Some(job) = db.next_job() {
        db.run(job).unwrap();
    }
    let snapshot = taken.lock().unwrap().take();
    let options = ReadOptions {
        snapshot: Some(&snapshot.expect("there was a flush")),
        ..ReadOptions::default()
    };
    let found = space.get_with(b"k", &options).unwrap();
    let found = found.map(|found| found.value.to_vec());
    (found.as_deref() != Some(b"2")).then(|| format!("a snapshot shows {found:?}, not 2"))
}

/// install-3: the first write of a keyspace, and then a new log segment, while a flush of another looks
/// for the oldest log that is needed. The process is killed afterwards.
fn log_begun_in_an_install() -> Found {
    let disk = FaultyDisk::new(1);
    let db = open(&disk);
    let (flushed, other) = (create(&db, "flushed"), create(&db, "other"));
    put_much(&flushed);
    let flush = the_flush(&db);
    let writer: Arc<Mutex<Option<thread::JoinHandle<()>>>> = Arc::default();
    let slot = Arc::clone(&writer);
    at_next(Pause::NeededLog, move || {
        put(&other, b"k", b"v");
        let space = other.clone();
        // It waits for the manifest, which is this thread's, once it is written.
        *slot.lock().unwrap() = Some(thread::spawn(move || put_much(&space)));
        while other
            .get_with(b"much", &ReadOptions::default())
            .unwrap()
            .is_none()
        {
            thread::yield_now();
        }
    });
    db.run(flush).unwrap();
    let writer = writer.lock().unwrap().take();
    writer.expect("there was an install").join().unwrap();
    let after = Db::open(Options {
        memory_budget: 8 << 20,
        threads: 0,
        disk: Arc::new(disk.image(2)),
        ..Options::new("store")
    });
    let space = match after.and_then(|db| db.keyspace("other")) {
        Ok(space) => space,
        Err(error) => return Some(format!("the store does not open: {error}")),
    };
    let found = space.get_with(b"k", &ReadOptions::default()).unwrap();
    found
        .is_none()
        .then(|| "a write is lost with its log".to_owned())
}

/// The flush that is to be done, once everything else is.
fn the_flush(db: &Db) -> Job {
    let mut flush = None;
    while let Some(job) = db.next_job() {
        if format!("{job:?}").starts_with("flush") {
            flush = Some(job);
        } else {
            db.run(job).unwrap();
        }
    }
    flush.expect("a memtable was sealed")
}
