//! Handles that do not belong to the store: of another one, of an earlier opening, of what was dropped.
#![allow(clippy::unwrap_used, missing_docs)]

use std::ops::Bound;
use std::path::Path;

use ringwood_lsm::{
    Batch, Db, Durability, Error, Keyspace, KeyspaceId, KeyspaceOptions, Options, ReadOptions,
};

fn open(directory: &Path) -> (Db, Keyspace) {
    let db = Db::open(Options::new(directory)).unwrap();
    let space = db
        .keyspace("data")
        .or_else(|_| db.create_keyspace("data", KeyspaceOptions::default()))
        .unwrap();
    (db, space)
}

/// So much that the next log segment is to be made ready.
fn fill(space: &Keyspace) {
    let value = vec![0; 100_000];
    space.put(b"key", &value, Durability::Buffered).unwrap();
}

fn one_put(space: KeyspaceId) -> Batch {
    let mut batch = Batch::new();
    batch.put(space, b"key", b"value").unwrap();
    batch
}

fn is_foreign<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::OfAnotherStore { .. }))
}

#[test]
fn a_batch_for_another_store_is_refused_and_harms_neither() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (db, space) = open(here.path());
    let (other, _) = open(there.path());
    // A number that the first store does not know yet.
    let far = other.create_keyspace("far", KeyspaceOptions::default());
    for foreign in [far.unwrap().id(), other.keyspace("data").unwrap().id()] {
        assert!(is_foreign(&db.write(&one_put(foreign), Durability::Synced)));
        assert!(is_foreign(
            &db.submit(&one_put(foreign), Durability::Synced)
        ));
    }
    assert!(space.get(b"key").unwrap().is_none());
    drop((space, db));
    let (_, space) = open(here.path());
    assert!(space.get(b"key").unwrap().is_none());
}

#[test]
fn a_batch_from_before_the_store_was_opened_again_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (db, space) = open(directory.path());
    let (stale, number) = (space.id(), space.id().number());
    drop((space, db));
    let (db, space) = open(directory.path());
    assert_eq!(space.id().number(), number);
    assert!(is_foreign(&db.write(&one_put(stale), Durability::Synced)));
    assert!(space.get(b"key").unwrap().is_none());
}

#[test]
fn a_batch_that_touches_a_dropped_keyspace_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (db, space) = open(directory.path());
    let gone = db.create_keyspace("gone", KeyspaceOptions::default());
    let gone = gone.unwrap();
    let mut batch = one_put(space.id());
    batch.put(gone.id(), b"key", b"value").unwrap();
    db.drop_keyspace("gone").unwrap();
    for result in [
        db.write(&batch, Durability::Synced).map(drop),
        db.submit(&batch, Durability::Synced).map(drop),
        gone.put(b"key", b"value", Durability::Synced).map(drop),
    ] {
        assert!(
            matches!(result, Err(Error::NoSuchKeyspace { .. })),
            "{result:?}"
        );
    }
    assert!(space.get(b"key").unwrap().is_none());
}

#[test]
fn a_snapshot_of_another_store_reads_nothing() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_db, space) = open(here.path());
    let (other, _) = open(there.path());
    space.put(b"key", b"value", Durability::Buffered).unwrap();
    let snapshot = other.snapshot();
    let options = ReadOptions {
        snapshot: Some(&snapshot),
        ..ReadOptions::default()
    };
    assert!(is_foreign(&space.get_with(b"key", &options)));
    assert!(is_foreign(&space.multi_get(&[b"key"], &options)[0]));
    let all = (Bound::Unbounded, Bound::Unbounded);
    assert!(is_foreign(&space.range(all, &options)));
}

#[test]
fn a_job_of_another_store_is_not_run() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let by_hand = |directory: &Path| {
        let mut options = Options::new(directory);
        options.threads = 0;
        let db = Db::open(options).unwrap();
        let space = db
            .create_keyspace("data", KeyspaceOptions::default())
            .unwrap();
        fill(&space);
        (db, space)
    };
    let (db, _space) = by_hand(here.path());
    let (other, _other_space) = by_hand(there.path());
    let job = other.next_job().expect("a log segment is to be made ready");
    assert!(is_foreign(&db.run(job)));
    let job = other.next_job().expect("it is offered again");
    other.run(job).unwrap();
}

#[test]
fn a_job_taken_before_the_store_was_closed_writes_nothing_after() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path());
    options.threads = 0;
    let db = Db::open(options).unwrap();
    let space = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    fill(&space);
    drop(space);
    let job = db.next_job().expect("a log segment is to be made ready");
    let handle = db.clone();
    db.close().unwrap();
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = names();
    assert!(matches!(handle.run(job), Err(Error::Closed)));
    assert_eq!(names(), before);
}
