//! Past bugs of recovery, each found by the crash oracle first.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;

use ringwood_env::faulty::{Class, Failure, Fault};
use ringwood_env::{CrashMode, FaultPlan, FaultyDisk};
use ringwood_lsm::{Batch, Db, Durability, KeyspaceOptions, Options};

fn options(disk: &FaultyDisk) -> Options {
    Options {
        memory_budget: 1 << 20,
        log_segment_len: 16 << 10,
        threads: 0,
        disk: Arc::new(disk.clone()),
        ..Options::new("store")
    }
}

/// What is there after the power failed, and only durable things are left.
fn after_a_crash(disk: &FaultyDisk) -> FaultyDisk {
    let left = disk.image(0);
    left.crash(CrashMode::LoseAll);
    left
}

#[test]
fn a_store_opens_any_number_of_times_with_nothing_written_in_between() {
    let mut disk = FaultyDisk::new(0);
    let db = Db::open(options(&disk)).unwrap();
    let space = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    space.put(b"key", b"value", Durability::Synced).unwrap();
    for _ in 0..4 {
        disk = after_a_crash(&disk);
        let db = Db::open(options(&disk)).unwrap();
        let space = db.keyspace("data").unwrap();
        assert_eq!(space.get(b"key").unwrap().unwrap(), b"value");
        std::mem::forget(db); // no order in its end
    }
}

#[test]
fn numbers_of_lost_writes_are_not_issued_again_after_an_earlier_clean_close() {
    let disk = FaultyDisk::new(0);
    let db = Db::open(options(&disk)).unwrap();
    let space = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    space.put(b"a", b"1", Durability::Synced).unwrap();
    drop(space);
    db.close().unwrap();

    let db = Db::open(options(&disk)).unwrap();
    assert!(db.open_report().clean);
    let space = db.keyspace("data").unwrap();
    let lost = space.put(b"b", b"2", Durability::Buffered).unwrap();

    let disk = after_a_crash(&disk);
    let db = Db::open(options(&disk)).unwrap();
    assert!(!db.open_report().clean, "it was opened since it was closed");
    let space = db.keyspace("data").unwrap();
    assert!(space.get(b"b").unwrap().is_none());
    let next = space.put(b"c", b"3", Durability::Synced).unwrap();
    assert!(next > lost, "{next:?} was issued before as {lost:?}");
}

#[test]
fn batches_that_queue_up_beyond_a_segment_go_into_several_groups() {
    let disk = FaultyDisk::new(0);
    let db = Db::open(options(&disk)).unwrap();
    let space = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    let tickets: Vec<_> = (0..20_u8)
        .map(|n| {
            let mut batch = Batch::new();
            batch.put(space.id(), &[n], &[n; 3000]).unwrap();
            db.submit(&batch, Durability::Synced).unwrap()
        })
        .collect();
    while let Some(job) = db.next_job() {
        db.run(job).unwrap();
    }
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    let disk = after_a_crash(&disk);
    let db = Db::open(options(&disk)).unwrap();
    let space = db.keyspace("data").unwrap();
    for n in 0..20_u8 {
        assert_eq!(space.get(&[n]).unwrap().unwrap(), [n; 3000]);
    }
}

#[test]
fn a_checkpoint_in_a_new_directory_below_a_new_one_survives_a_crash() {
    let disk = FaultyDisk::new(0);
    let db = Db::open(options(&disk)).unwrap();
    db.create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    db.checkpoint(Path::new("copies/of/today")).unwrap();
    let disk = after_a_crash(&disk);
    let copy = Options {
        create: false,
        ..Options {
            path: "copies/of/today".into(),
            ..options(&disk)
        }
    };
    assert_eq!(Db::open(copy).unwrap().keyspaces(), ["data"]);
}

#[test]
fn an_end_mark_whose_write_failed_is_made_durable_before_it_is_relied_upon() {
    let disk = FaultyDisk::new(0);
    let db = Db::open(options(&disk)).unwrap();
    let space = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    space.put(b"key", b"value", Durability::Synced).unwrap();
    disk.set_plan(FaultPlan::fail(
        Failure::once(Class::Writes, 1, Fault::NoSpace).of(".log"),
    ));
    assert!(db.close().is_err());

    // Another process finds the mark in the page cache, or does not; then the power fails twice.
    let mut disk = disk.image(1);
    for _ in 0..3 {
        let db = Db::open(options(&disk)).unwrap();
        let space = db.keyspace("data").unwrap();
        assert_eq!(space.get(b"key").unwrap().unwrap(), b"value");
        std::mem::forget(db);
        disk = after_a_crash(&disk);
    }
}

/// The system calls pages clean that it could not write, and goes on showing them: the sync of the next
/// process succeeds and saves nothing (wal-6).
#[test]
fn what_a_failed_sync_left_in_the_cache_is_made_durable_by_the_next_process() {
    for seed in 0..20 {
        let disk = FaultyDisk::new(seed);
        let db = Db::open(options(&disk)).unwrap();
        let space = db
            .create_keyspace("data", KeyspaceOptions::default())
            .unwrap();
        // Over more than one segment.
        for n in 0..12_u8 {
            space.put(&[n], &[n; 3000], Durability::Buffered).unwrap();
        }
        disk.set_plan(FaultPlan::fail(
            Failure::once(Class::Syncs, 1, Fault::Io).of(".log"),
        ));
        assert!(db.sync().is_err());

        let mut disk = disk.image(seed);
        for opened in 0..3 {
            let db = Db::open(options(&disk)).unwrap();
            let space = db.keyspace("data").unwrap();
            for n in 0..12_u8 {
                let found = space.get(&[n]).unwrap();
                assert_eq!(found.unwrap(), [n; 3000], "open {opened} of seed {seed}");
            }
            std::mem::forget(db);
            disk = after_a_crash(&disk);
        }
    }
}
