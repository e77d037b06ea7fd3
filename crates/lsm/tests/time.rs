//! A machine's clock that is wrong, and what a store makes of it.

#![allow(clippy::unwrap_used, missing_docs)]

mod store_kit;

use std::sync::Arc;
use std::time::Duration;

use ringwood_env::faulty::{Class, Failure, Fault};
use ringwood_env::{FaultPlan, FaultyDisk, ManualClock};
use ringwood_lsm::{
    Db, Durability, Error, Keyspace, KeyspaceOptions, ReadOptions, reset_clock, verify,
};
use store_kit::{after_a_crash, options_by as options};

const START: u64 = 1_700_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const HOUR_MS: u64 = 3_600_000;
const TEN_YEARS_MS: u64 = 10 * 365 * 24 * HOUR_MS;

fn keyspace(db: &Db) -> Keyspace {
    db.keyspace("data")
        .or_else(|_| db.create_keyspace("data", KeyspaceOptions::default()))
        .unwrap()
}

fn put(space: &Keyspace, key: &[u8], deadline: u64) {
    space
        .put_expiring(key, b"value", deadline, Durability::Synced)
        .unwrap();
}

#[test]
fn a_leap_of_the_clock_expires_nothing_and_leaves_no_trace() {
    for powered_off in [false, true] {
        let (disk, clock) = (FaultyDisk::new(0), Arc::new(ManualClock::new(START)));
        let db = Db::open(options(&disk, &clock)).unwrap();
        let space = keyspace(&db);
        put(&space, b"hour", START + HOUR_MS);
        clock.set_wall(START + TEN_YEARS_MS);
        assert!(space.get(b"hour").unwrap().is_some());
        put(&space, b"leap", db.now() + HOUR_MS);
        db.flush().unwrap();
        space.compact().unwrap();
        put(&space, b"log", db.now() + HOUR_MS);
        assert_eq!(db.now(), START);
        assert_eq!(db.statistics().clock_held_back_ms, TEN_YEARS_MS);

        clock.set_wall(START + 1000);
        let disk = if powered_off {
            after_a_crash(&disk)
        } else {
            assert_eq!(db.statistics().clock_held_back_ms, 0);
            db.close().unwrap();
            disk
        };
        let db = Db::open(options(&disk, &clock)).unwrap();
        let space = keyspace(&db);
        assert_eq!(db.now(), START + 1000);
        for key in [b"hour", b"leap", b"log " as &[u8]] {
            let found = space.get_with(key.trim_ascii_end(), &ReadOptions::default());
            let deadline = found.unwrap().unwrap().deadline.unwrap();
            assert_eq!(deadline, START + HOUR_MS, "{key:?}");
        }
        clock.advance(HOUR);
        assert!(space.get(b"hour").unwrap().is_none(), "and expires in time");
    }
}

#[test]
fn a_clock_that_stays_ahead_is_believed_at_the_next_open() {
    let (disk, clock) = (FaultyDisk::new(0), Arc::new(ManualClock::new(START)));
    let db = Db::open(options(&disk, &clock)).unwrap();
    put(&keyspace(&db), b"hour", START + HOUR_MS);
    clock.set_wall(START + TEN_YEARS_MS);
    assert_eq!(db.now(), START);
    db.close().unwrap();
    let db = Db::open(options(&disk, &clock)).unwrap();
    assert_eq!(db.now(), START + TEN_YEARS_MS);
    assert!(keyspace(&db).get(b"hour").unwrap().is_none());
}

#[test]
fn a_wrong_clock_at_an_open_is_not_noted_before_something_rests_on_it() {
    let (disk, clock) = (FaultyDisk::new(0), Arc::new(ManualClock::new(START)));
    let db = Db::open(options(&disk, &clock)).unwrap();
    put(&keyspace(&db), b"hour", START + HOUR_MS);
    let disk = after_a_crash(&disk);
    clock.set_wall(START + TEN_YEARS_MS);
    let db = Db::open(options(&disk, &clock)).unwrap();
    assert_eq!(db.now(), START + TEN_YEARS_MS);
    let disk = after_a_crash(&disk);
    clock.set_wall(START + 1000);
    let db = Db::open(options(&disk, &clock)).unwrap();
    assert_eq!(db.now(), START + 1000);
    assert!(keyspace(&db).get(b"hour").unwrap().is_some());
}

/// A store that a clock ten years ahead was believed in: what expired by it is in tables and in the log.
fn poisoned(clock: &Arc<ManualClock>, closed: bool) -> FaultyDisk {
    let disk = FaultyDisk::new(0);
    let db = Db::open(options(&disk, clock)).unwrap();
    let space = keyspace(&db);
    put(&space, b"in a table", START + HOUR_MS);
    db.flush().unwrap();
    put(&space, b"in the log", START + HOUR_MS);
    db.close().unwrap();
    clock.set_wall(START + TEN_YEARS_MS);
    let db = Db::open(options(&disk, clock)).unwrap();
    let space = keyspace(&db);
    assert!(space.get(b"in a table").unwrap().is_none());
    put(&space, b"for good", u64::MAX);
    if closed {
        db.close().unwrap();
        return disk;
    }
    after_a_crash(&disk)
}

#[test]
fn a_store_that_believed_a_wrong_clock_is_taken_back() {
    for closed in [false, true] {
        let clock = Arc::new(ManualClock::new(START));
        let disk = poisoned(&clock, closed);
        clock.set_wall(START + 1000);
        let db = Db::open(options(&disk, &clock)).unwrap();
        assert!(
            db.now() >= START + TEN_YEARS_MS,
            "and there is no other way back"
        );
        assert!(keyspace(&db).get(b"in the log").unwrap().is_none());
        let refused = reset_clock(&options(&disk, &clock));
        assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
        db.close().unwrap();

        let reset = reset_clock(&options(&disk, &clock)).unwrap();
        assert!(reset.taken_back && reset.before >= START + TEN_YEARS_MS);
        assert_eq!(reset.now, START + 1000);
        assert!(verify(&options(&disk, &clock)).unwrap().is_clean());
        let disk = after_a_crash(&disk);
        let db = Db::open(options(&disk, &clock)).unwrap();
        assert_eq!(db.now(), START + 1000);
        let space = keyspace(&db);
        for key in [b"in a table" as &[u8], b"in the log", b"for good"] {
            assert!(space.get(key).unwrap().is_some(), "{}", key.escape_ascii());
        }
        clock.advance(HOUR);
        assert!(space.get(b"in the log").unwrap().is_none());
        db.close().unwrap();
        let again = reset_clock(&options(&disk, &clock)).unwrap();
        assert!(!again.taken_back, "{again:?}");
    }
}

/// However little room there is, it ends or is done again once there is more.
#[test]
fn taking_time_back_goes_on_where_a_full_disk_ended_it() {
    let clock = Arc::new(ManualClock::new(START));
    let disk = poisoned(&clock, false);
    clock.set_wall(START + 1000);
    let used: usize = (disk.paths().iter())
        .map(|path| disk.read_file(path).unwrap().len())
        .sum();
    let ended = (0..10_000).find(|steps| {
        disk.set_capacity(Some(used as u64 + steps * 500));
        match reset_clock(&options(&disk, &clock)) {
            Ok(reset) => reset.taken_back,
            Err(error) => {
                assert!(error.is_disk_full(), "{error}");
                false
            }
        }
    });
    assert!(ended.is_some_and(|steps| steps > 0), "{ended:?}");
    let db = Db::open(options(&disk, &clock)).unwrap();
    assert_eq!(db.now(), START + 1000);
    let space = keyspace(&db);
    for key in [b"in a table" as &[u8], b"in the log", b"for good"] {
        assert!(space.get(key).unwrap().is_some(), "{}", key.escape_ascii());
    }
}

#[test]
fn a_store_that_was_killed_again_and_again_has_no_time_to_take_back() {
    let clock = Arc::new(ManualClock::new(START));
    let mut disk = FaultyDisk::new(0);
    for _ in 0..5 {
        let db = Db::open(options(&disk, &clock)).unwrap();
        put(&keyspace(&db), b"key", db.now() + 1000);
        // Some time after the deadline, which is noted with a bound that lies ahead.
        clock.advance(Duration::from_secs(2));
        keyspace(&db).get(b"key").unwrap();
        disk = after_a_crash(&disk);
    }
    let reset = reset_clock(&options(&disk, &clock)).unwrap();
    assert!(!reset.taken_back, "{reset:?}");
}

/// Whatever fails on the way, nothing is lost, and it can be done again.
#[test]
fn taking_time_back_may_fail_at_any_call() {
    let clock = Arc::new(ManualClock::new(START));
    let store = poisoned(&clock, false);
    clock.set_wall(START + 1000);
    for calls in 1.. {
        let disk = store.image(calls);
        disk.set_plan(FaultPlan::fail(Failure::for_good(
            Class::Any,
            calls,
            Fault::Io,
        )));
        let done = reset_clock(&options(&disk, &clock)).is_ok();
        disk.set_plan(FaultPlan::default());
        let disk = after_a_crash(&disk);
        reset_clock(&options(&disk, &clock)).unwrap();
        let db = Db::open(options(&disk, &clock)).unwrap();
        assert_eq!(db.now(), START + 1000, "call {calls}");
        let space = keyspace(&db);
        for key in [b"in a table" as &[u8], b"in the log", b"for good"] {
            assert!(space.get(key).unwrap().is_some(), "call {calls}");
        }
        if done {
            assert!(calls > 20, "{calls}");
            break;
        }
    }
}
