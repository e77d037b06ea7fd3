//! Past bugs of recovery, each found by the crash oracle first.

#![allow(clippy::unwrap_used, missing_docs)]

mod store_kit;

use std::path::Path;
use std::sync::Arc;

use ringwood_env::Disk as _;
use ringwood_env::faulty::{Class, Failure, Fault, Operation};
use ringwood_env::{FaultPlan, FaultyDisk, ManualClock};
use ringwood_lsm::{Batch, Db, Durability, Error, KeyspaceOptions, Options, ReadOptions, ReadTier};
use store_kit::after_a_crash;

fn options(disk: &FaultyDisk) -> Options {
    Options {
        memory_budget: 1 << 20,
        log_segment_len: 16 << 10,
        threads: 0,
        disk: Arc::new(disk.clone()),
        ..Options::new("store")
    }
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
    // Made just now by somebody who does not sync.
    disk.create_dir_all(Path::new("copies/of")).unwrap();
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

/// A directory that could not be listed was taken for one that has a durable name.
#[test]
fn a_checkpoint_that_was_made_beside_a_failed_read_survives_a_crash() {
    for nth in 1..12 {
        let disk = FaultyDisk::new(nth);
        let db = Db::open(options(&disk)).unwrap();
        db.create_keyspace("data", KeyspaceOptions::default())
            .unwrap();
        disk.create_dir_all(Path::new("copies/of")).unwrap();
        disk.set_plan(FaultPlan::fail(Failure::once(Class::Reads, nth, Fault::Io)));
        if db.checkpoint(Path::new("copies/of/today")).is_ok() {
            let disk = after_a_crash(&disk);
            let copy = Options {
                create: false,
                path: "copies/of/today".into(),
                ..options(&disk)
            };
            assert_eq!(Db::open(copy).unwrap().keyspaces(), ["data"], "read {nth}");
        }
    }
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

/// Logs whose changes are all in tables go at the next open, without a flush.
#[test]
fn a_store_does_not_grow_by_being_opened() {
    let mut disk = FaultyDisk::new(0);
    let db = Db::open(options(&disk)).unwrap();
    let space = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    space.put(b"key", b"value", Durability::Synced).unwrap();
    db.flush().unwrap();
    std::mem::forget((db, space));
    for _ in 0..20 {
        disk = after_a_crash(&disk);
        let db = Db::open(options(&disk)).unwrap();
        assert_eq!(db.statistics().log_segments, 1);
        let logs = disk
            .paths()
            .into_iter()
            .filter(|path| path.ends_with(".log"));
        assert!(logs.count() <= 3, "{:?}", disk.paths());
        std::mem::forget(db);
    }
}

#[test]
fn a_directory_that_takes_no_change_is_an_error_and_stays_as_it_is() {
    let disk = FaultyDisk::new(0);
    let db = Db::open(options(&disk)).unwrap();
    db.create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    db.close().unwrap();
    let before = disk.durable_snapshot();
    let denied = |on| Failure::for_good(on, 1, Fault::Denied);
    let all = [Class::Names, Class::Writes, Class::Only(Operation::Lock)];
    for first in 0..all.len() {
        disk.set_plan(FaultPlan {
            failures: all[first..].iter().copied().map(denied).collect(),
            ..FaultPlan::default()
        });
        let error = Db::open(options(&disk)).unwrap_err();
        assert!(error.to_string().contains("store"), "{error}");
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert_eq!(disk.durable_snapshot(), before);
    }
    disk.set_plan(FaultPlan::default());
    assert_eq!(Db::open(options(&disk)).unwrap().keyspaces(), ["data"]);
}

/// expiry-1: nothing is written after the key expired, but somebody was told.
#[test]
fn a_key_that_a_reader_saw_expire_does_not_come_back() {
    const START: u64 = 1_700_000_000_000;
    for way in 0..3 {
        let (disk, clock) = (FaultyDisk::new(0), Arc::new(ManualClock::new(START)));
        let with_clock = |disk: &FaultyDisk| Options {
            clock: Arc::clone(&clock) as _,
            ..options(disk)
        };
        let db = Db::open(with_clock(&disk)).unwrap();
        let space = db
            .create_keyspace("data", KeyspaceOptions::default())
            .unwrap();
        space
            .put_expiring(b"key", b"value", START + 5000, Durability::Synced)
            .unwrap();
        clock.set_wall(START + 5000);
        let memory = ReadOptions {
            tier: ReadTier::Memory,
            ..ReadOptions::default()
        };
        let not_yet = space.get_with(b"key", &memory);
        assert!(matches!(not_yet, Err(Error::WouldBlock)), "{not_yet:?}");
        match way {
            0 => assert!(space.get(b"key").unwrap().is_none()),
            1 => {
                let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
                let mut iter = space.range(all, &ReadOptions::default()).unwrap();
                iter.seek_to_first().unwrap();
                assert!(!iter.valid());
            }
            _ => assert!(db.has_expired(START + 5000, db.now()).unwrap()),
        }
        let calls = disk.operations();
        assert!(space.get_with(b"key", &memory).unwrap().is_none());
        assert_eq!(disk.operations(), calls, "noted once");

        let disk = after_a_crash(&disk);
        clock.set_wall(START - 1000);
        let db = Db::open(with_clock(&disk)).unwrap();
        let space = db.keyspace("data").unwrap();
        assert!(space.get(b"key").unwrap().is_none(), "way {way}");
    }
}

/// expiry-1: a store that cannot note it says so, unless there is merely no room.
#[test]
fn that_a_key_has_expired_is_not_told_where_it_cannot_be_noted() {
    const START: u64 = 1_700_000_000_000;
    for (fault, told) in [(Fault::Io, false), (Fault::NoSpace, true)] {
        let (disk, clock) = (FaultyDisk::new(0), Arc::new(ManualClock::new(START)));
        let db = Db::open(Options {
            clock: Arc::clone(&clock) as _,
            ..options(&disk)
        });
        let db = db.unwrap();
        let space = db
            .create_keyspace("data", KeyspaceOptions::default())
            .unwrap();
        space
            .put_expiring(b"key", b"value", START + 5000, Durability::Synced)
            .unwrap();
        clock.set_wall(START + 5000);
        let fails = Failure::for_good(Class::Only(Operation::Write), 1, fault);
        disk.set_plan(FaultPlan::fail(fails));
        assert_eq!(space.get(b"key").is_ok(), told);
    }
}
