//! The room that the log takes, and directories of the format's first writers.

#![allow(clippy::unwrap_used, missing_docs)] // helpers of the tests, outside their functions

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringwood_env::{Disk, FaultyDisk, ManualClock, OpenMode, RealDisk};
use ringwood_lsm::{Db, Durability, Keyspace, KeyspaceOptions, Options, verify};

const MIB: u64 = 1 << 20;

fn options(disk: &FaultyDisk, clock: &Arc<ManualClock>) -> Options {
    Options {
        threads: 0,
        disk: Arc::new(disk.clone()),
        clock: Arc::clone(clock) as _,
        ..Options::new("store")
    }
}

/// Bytes of all files, or of those whose name ends so.
fn room(disk: &FaultyDisk, suffix: &str) -> u64 {
    let paths = disk.paths().into_iter();
    let files = paths.filter(|path| path.ends_with(suffix));
    files
        .map(|path| disk.read_file(&path).unwrap().len() as u64)
        .sum()
}

fn run_jobs(db: &Db) {
    while let Some(job) = db.next_job() {
        db.run(job).unwrap();
    }
}

fn made(db: &Db) -> Keyspace {
    db.keyspace("data")
        .or_else(|_| db.create_keyspace("data", KeyspaceOptions::default()))
        .unwrap()
}

fn number(i: u32) -> [u8; 4] {
    i.to_be_bytes()
}

#[test]
fn a_new_store_takes_less_than_a_mebibyte() {
    let disk = FaultyDisk::new(0);
    let db = Db::open(options(&disk, &Arc::default())).unwrap();
    run_jobs(&db);
    assert!(room(&disk, "") < MIB, "{}", room(&disk, ""));
    made(&db).put(b"key", b"value", Durability::Synced).unwrap();
    run_jobs(&db);
    assert!(room(&disk, "") < MIB, "{}", room(&disk, ""));
}

#[test]
fn a_thousand_opens_with_an_unflushed_key_each_take_little_room() {
    for in_order in [true, false] {
        let mut disk = FaultyDisk::new(0);
        let clock = Arc::default();
        for i in 0..1000 {
            let db = Db::open(options(&disk, &clock)).unwrap();
            let keyspace = made(&db);
            keyspace
                .put(&number(i), b"value", Durability::Synced)
                .unwrap();
            drop(keyspace);
            if in_order {
                db.close().unwrap();
            } else {
                disk = disk.image(0);
                std::mem::forget(db); // killed
            }
        }
        assert!(room(&disk, "") < 10 * MIB, "{}", room(&disk, ""));
        let db = Db::open(options(&disk, &clock)).unwrap();
        let keyspace = made(&db);
        for i in 0..1000 {
            assert_eq!(keyspace.get(&number(i)).unwrap().unwrap(), b"value");
        }
    }
}

#[test]
fn a_log_grows_with_the_rate_of_writes_and_gives_its_room_back_at_rest() {
    let disk = FaultyDisk::new(0);
    let clock = Arc::new(ManualClock::default());
    let db = Db::open(Options {
        log_segment_len: 4 * MIB,
        memtable_len: Some(4 << 20),
        ..options(&disk, &clock)
    })
    .unwrap();
    let keyspace = made(&db);
    for i in 0..1600 {
        keyspace
            .put(&number(i), &[7; 10_000], Durability::Buffered)
            .unwrap();
        clock.advance(Duration::from_micros(100));
        run_jobs(&db);
    }
    let longest = |disk: &FaultyDisk| {
        let logs = disk.paths().into_iter();
        let logs = logs.filter(|path| path.ends_with(".log"));
        logs.map(|path| disk.read_file(&path).unwrap().len() as u64)
            .max()
    };
    assert_eq!(longest(&disk), Some(4 * MIB));
    db.flush().unwrap();
    clock.advance(Duration::from_secs(60));
    run_jobs(&db);
    assert!(room(&disk, ".log") < MIB, "{}", room(&disk, ".log"));
    for i in 0..1600 {
        assert_eq!(keyspace.get(&number(i)).unwrap().unwrap(), [7; 10_000]);
    }
}

#[test]
fn a_full_disk_keeps_no_long_segment_for_a_rate_that_was() {
    let disk = FaultyDisk::new(0);
    let clock = Arc::new(ManualClock::default());
    let db = Db::open(options(&disk, &clock)).unwrap();
    let keyspace = made(&db);
    let lens = || -> Vec<u64> {
        let logs = disk.paths().into_iter();
        let logs = logs.filter(|path| path.ends_with(".log"));
        logs.map(|path| disk.read_file(&path).unwrap().len() as u64)
            .collect()
    };
    // Until a spare that is longer stands beside segments of the first length.
    let put = |i| keyspace.put(&number(i), &[7; 10_000], Durability::Buffered);
    let mut i = 0;
    while lens().iter().all(|len| *len <= MIB / 4) {
        put(i).unwrap();
        i += 1;
        clock.advance(Duration::from_micros(100));
        run_jobs(&db);
    }
    disk.set_capacity(Some(room(&disk, "") + 2 * MIB));
    while put(i).is_ok() {
        i += 1;
    }
    assert!(db.is_disk_full());
    for _ in 0..10 {
        run_jobs(&db);
        clock.advance(Duration::from_secs(1));
    }
    assert!(lens().iter().all(|len| *len <= MIB / 4), "{:?}", lens());
}

#[test]
fn a_batch_longer_than_the_first_segment_is_taken() {
    let disk = FaultyDisk::new(0);
    let clock = Arc::default();
    let db = Db::open(options(&disk, &clock)).unwrap();
    let keyspace = made(&db);
    // The first finds an empty segment, the second one that is too full.
    for key in [b"a", b"b"] {
        let value = vec![key[0]; 3 << 20];
        keyspace.put(key, &value, Durability::Synced).unwrap();
    }
    let left = disk.image(0);
    let db = Db::open(options(&left, &clock)).unwrap();
    assert!(db.open_report().torn_tail.is_none());
    for key in [b"a", b"b"] {
        let found = made(&db).get(key).unwrap().unwrap();
        assert_eq!(found, vec![key[0]; 3 << 20]);
    }
}

#[test]
fn a_store_closed_in_order_leaves_no_log_of_what_tables_hold() {
    let disk = FaultyDisk::new(0);
    let clock = Arc::default();
    for round in 0..2 {
        let db = Db::open(options(&disk, &clock)).unwrap();
        assert!(db.open_report().clean && db.open_report().replayed == 0);
        let keyspace = made(&db);
        for i in 0..300 {
            let value = vec![round; 10_000];
            keyspace
                .put(&number(i), &value, Durability::Buffered)
                .unwrap();
        }
        drop(keyspace);
        db.close().unwrap();
        assert_eq!(room(&disk, ".log"), 0);
        assert!(verify(&options(&disk, &clock)).unwrap().is_clean());
    }
    let db = Db::open(options(&disk, &clock)).unwrap();
    assert_eq!(
        made(&db).get(&number(299)).unwrap().unwrap(),
        [1; 10_000],
        "the second round"
    );
}

/// Written when every segment was as long as configured, and a close kept the log.
#[test]
fn directories_with_segments_of_one_length_still_open() {
    for (kind, clean) in [("closed", true), ("killed", false)] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/log-1");
        let disk = copied(&from.join(kind));
        let clock = Arc::default();
        assert!(verify(&options(&disk, &clock)).unwrap().is_clean());
        let db = Db::open(options(&disk, &clock)).unwrap();
        assert_eq!(db.open_report().clean, clean);
        assert!(db.open_report().torn_tail.is_none());
        let keyspace = db.keyspace("plain").unwrap();
        for i in 0..40 {
            let found = keyspace.get(format!("key-{i:02}").as_bytes()).unwrap();
            let value = format!("value-{i}").into_bytes();
            assert_eq!(found.as_deref(), (i != 5).then_some(&value[..]), "{i}");
        }
    }
}

fn copied(from: &Path) -> FaultyDisk {
    let disk = FaultyDisk::new(0);
    disk.create_dir_all(Path::new("store")).unwrap();
    for entry in RealDisk.read_dir(from).unwrap() {
        let path = from.join(&entry.name);
        let file = RealDisk.open(&path, OpenMode::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(entry.len).unwrap()];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
        disk.write_file(Path::new("store").join(&entry.name), bytes);
    }
    disk
}
