//! What becomes of what has expired.

#![allow(clippy::unwrap_used, missing_docs)]

mod store_kit;

use std::ops::Bound::Unbounded;
use std::sync::Arc;
use std::time::Duration;

use ringwood_env::{Clock, FaultyDisk, ManualClock};
use ringwood_lsm::{Batch, Db, Durability, KeyspaceOptions, ReadOptions, ReadTier, verify};
use store_kit::{after_a_crash, options_by as options};

const START: u64 = 1_700_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const HOUR_MS: u64 = 3_600_000;
const HUNDRED_YEARS_MS: u64 = 100 * 365 * 24 * HOUR_MS;

/// Runs all jobs there are, and says how many.
fn work(db: &Db) -> usize {
    let mut jobs = 0;
    while let Some(job) = db.next_job() {
        db.run(job).unwrap();
        jobs += 1;
        assert!(jobs < 1000, "it never ends");
    }
    jobs
}

fn table_bytes(db: &Db) -> u64 {
    let keyspaces = db.statistics().keyspaces;
    let levels = keyspaces.iter().flat_map(|one| &one.levels);
    levels.map(|level| level.bytes).sum()
}

/// Nine tenths that live for an hour, and a tenth that lives for a hundred years.
fn short_and_far(db: &Db) {
    let space = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    let mut batch = Batch::new();
    for i in 0..1000_u32 {
        let deadline = match i % 10 {
            0 => START + HUNDRED_YEARS_MS,
            _ => START + HOUR_MS + u64::from(i),
        };
        let value = [&i.to_le_bytes()[..], &[7; 96]].concat();
        let value: Vec<u8> = value.iter().map(|byte| byte.wrapping_mul(31)).collect();
        batch
            .put_expiring(space.id(), &i.to_be_bytes(), &value, deadline)
            .unwrap();
        if batch.encoded_len() > 8000 {
            db.write(&batch, Durability::Synced).unwrap();
            batch = Batch::new();
        }
    }
    db.write(&batch, Durability::Synced).unwrap();
    db.flush().unwrap();
}

#[test]
fn one_far_deadline_does_not_hold_the_room_of_what_has_expired() {
    for at_the_bottom in [false, true] {
        let (disk, clock) = (FaultyDisk::new(0), Arc::new(ManualClock::new(START)));
        let db = Db::open(options(&disk, &clock)).unwrap();
        short_and_far(&db);
        if at_the_bottom {
            db.keyspace("data").unwrap().compact().unwrap();
        }
        // What is known of a table is known after a restart.
        db.close().unwrap();
        let db = Db::open(options(&disk, &clock)).unwrap();
        work(&db);
        let before = table_bytes(&db);
        clock.advance(HOUR / 2);
        assert_eq!(work(&db), 0, "nothing has expired");
        clock.advance(HOUR);
        work(&db);
        let after = table_bytes(&db);
        assert!(after * 5 < before, "{after} of {before}");
        let space = db.keyspace("data").unwrap();
        for i in 0..1000_u32 {
            let found = space.get(&i.to_be_bytes()).unwrap();
            assert_eq!(found.is_some(), i % 10 == 0);
        }
        let compactions = db.statistics().compactions;
        for _ in 0..100 {
            clock.advance(HOUR);
            work(&db);
        }
        assert_eq!(
            db.statistics().compactions,
            compactions,
            "there is no more to gain"
        );
        db.close().unwrap();
        assert!(verify(&options(&disk, &clock)).unwrap().is_clean());
    }
}

/// A snapshot keeps what it sees from being forgotten, so the table does not shrink: that is seen once.
#[test]
fn a_table_that_does_not_shrink_is_not_rewritten_again_and_again() {
    let (disk, clock) = (FaultyDisk::new(0), Arc::new(ManualClock::new(START)));
    let db = Db::open(options(&disk, &clock)).unwrap();
    short_and_far(&db);
    db.keyspace("data").unwrap().compact().unwrap();
    let space = db.keyspace("data").unwrap();
    space.put(b"later", b"", Durability::Synced).unwrap();
    let snapshot = db.snapshot();
    let before = db.statistics().compactions;
    for _ in 0..200 {
        clock.advance(HOUR);
        work(&db);
    }
    let rewrites = db.statistics().compactions - before;
    assert!((1..=2).contains(&rewrites), "{rewrites}");
    drop(snapshot);
}

/// expiry-1, and a disk that does nothing any more: whatever has just expired was noted before.
#[test]
fn a_get_of_a_newly_expired_key_waits_for_no_disk() {
    let memory = ReadOptions {
        tier: ReadTier::Memory,
        ..ReadOptions::default()
    };
    for in_a_table in [false, true] {
        let (disk, clock) = (FaultyDisk::new(0), Arc::new(ManualClock::new(START)));
        let db = Db::open(options(&disk, &clock)).unwrap();
        let space = db
            .create_keyspace("data", KeyspaceOptions::default())
            .unwrap();
        for second in 1..60_u64 {
            let deadline = START + 1000 * second;
            let key = second.to_be_bytes();
            let put = space.put_expiring(&key, b"value", deadline, Durability::Synced);
            put.unwrap();
        }
        space.put(b"other", b"", Durability::Synced).unwrap();
        if in_a_table {
            db.flush().unwrap();
        }
        work(&db);
        space.get(b"other").unwrap(); // opens the table
        let before = disk.operations();
        assert!(space.get(b"other").unwrap().is_some());
        assert_eq!(work(&db), 0, "nobody has met a value that expires");
        assert_eq!(disk.operations(), before);
        let mut noted = 0;
        for second in 1..60_u64 {
            let next = second.to_be_bytes();
            assert!(space.get(&next).unwrap().is_some());
            noted += work(&db); // as idle threads do, once a second
            clock.advance(Duration::from_secs(1));
            let before = disk.operations();
            assert!(space.get_with(&next, &memory).unwrap().is_none());
            assert_eq!(disk.operations(), before);
            if second % 7 == 0 {
                let (left, back) = (after_a_crash(&disk), Arc::new(ManualClock::new(START)));
                let db = Db::open(options(&left, &back)).unwrap();
                let space = db.keyspace("data").unwrap();
                assert!(space.get(&next).unwrap().is_none(), "it came back");
            }
        }
        assert!((12..40).contains(&noted), "{noted}: not at every look");
    }
}

/// Who remembers what was there sees it until a compaction has dropped it.
#[test]
fn what_has_expired_is_shown_to_whoever_asks_for_it() {
    let (disk, clock) = (FaultyDisk::new(0), Arc::new(ManualClock::new(START)));
    let db = Db::open(options(&disk, &clock)).unwrap();
    short_and_far(&db);
    let space = db.keyspace("data").unwrap();
    let all = ReadOptions {
        show_expired: true,
        ..ReadOptions::default()
    };
    let key = 1_u32.to_be_bytes();
    clock.advance(2 * HOUR);
    assert!(space.get(&key).unwrap().is_none());
    let found = space.get_with(&key, &all).unwrap().unwrap();
    assert!(found.deadline.unwrap() <= clock.wall());
    assert!(
        space.multi_get(&[&key], &all)[0]
            .as_ref()
            .unwrap()
            .is_some()
    );
    let count = |options: &ReadOptions<'_>| {
        let mut iter = space.range((Unbounded, Unbounded), options).unwrap();
        iter.seek_to_first().unwrap();
        let mut count = 0;
        while iter.valid() {
            count += 1;
            iter.next().unwrap();
        }
        count
    };
    assert_eq!((count(&ReadOptions::default()), count(&all)), (100, 1000));
    work(&db);
    space.compact().unwrap();
    assert!(space.get_with(&key, &all).unwrap().is_none());
    assert_eq!(count(&all), 100);
}
