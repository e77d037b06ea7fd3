//! The system says no, and nothing has happened: an error of that call, not the end of the store.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ringwood_env::faulty::{Class, Failure, Fault, FaultPlan, Operation};
use ringwood_env::{Disk, FaultyDisk, ManualClock};
use ringwood_lsm::{
    Batch, Compression, Db, Durability, Error, Keyspace, KeyspaceOptions, Options, ReadOptions,
    TargetProblem,
};

struct Site {
    disk: FaultyDisk,
    db: Db,
    space: Keyspace,
}

fn options(disk: &FaultyDisk) -> Options {
    let mut options = Options::new("store");
    options.disk = Arc::new(disk.clone());
    options.threads = 0;
    options.memory_budget = 8 << 20;
    options
}

fn site() -> Site {
    let disk = FaultyDisk::new(7);
    let db = Db::open(options(&disk)).unwrap();
    let space = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    Site { disk, db, space }
}

impl Site {
    fn put(&self, n: u64) -> Result<(), Error> {
        let written = self
            .space
            .put(&n.to_be_bytes(), &[7; 100], Durability::Synced);
        written.map(drop)
    }

    /// Tables that overlap: a get may look into each.
    fn make_tables(&self, count: u64) {
        for n in 0..count {
            self.put(n).unwrap();
            self.db.flush().unwrap();
        }
    }

    fn fail(&self, on: Class, fault: Fault) {
        let all = Failure::for_good(on, 1, fault);
        self.disk.set_plan(FaultPlan::fail(all));
    }

    fn mend(&self) {
        self.disk.set_plan(FaultPlan::default());
    }

    fn check_all(&self, count: u64) {
        for n in 0..count {
            assert!(self.space.get(&n.to_be_bytes()).unwrap().is_some(), "{n}");
        }
    }
}

#[test]
fn latch_2_a_refused_create_is_an_error_of_that_call() {
    for fault in [Fault::TooManyFiles, Fault::Denied] {
        let site = site();
        site.make_tables(3);
        site.put(3).unwrap();
        site.fail(Class::Only(Operation::Create), fault);
        let refused = site.db.flush();
        assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
        assert!(site.db.failure().is_none(), "{fault:?}");
        site.put(4).unwrap();
        site.mend();
        site.db.flush().unwrap();
        site.check_all(5);
    }
}

#[test]
fn latch_2_a_directory_that_cannot_be_opened_is_no_failed_sync() {
    let site = site();
    site.put(0).unwrap();
    site.fail(Class::Only(Operation::SyncDir), Fault::TooManyFiles);
    assert!(site.db.flush().is_err());
    assert!(site.db.failure().is_none());
    site.mend();
    site.db.flush().unwrap();
    site.check_all(1);
}

#[test]
fn latch_4_tables_are_closed_when_files_are_too_many() {
    let site = site();
    site.make_tables(8);
    site.check_all(8);
    assert!(site.db.statistics().open_tables >= 4);
    // The next open is refused once, and then no more: as if closing had helped.
    for on in [Operation::Open, Operation::Create] {
        let once = Failure::once(Class::Only(on), 1, Fault::TooManyFiles);
        site.disk.set_plan(FaultPlan::fail(once));
        site.put(8).unwrap();
        site.db.flush().unwrap();
        site.check_all(9);
        site.mend();
    }
    assert!(site.db.failure().is_none());
}

#[test]
fn gets_go_on_where_few_files_may_be_open() {
    let site = site();
    site.make_tables(8);
    site.fail(Class::Only(Operation::Open), Fault::TooManyFiles);
    let shown = (0..8_u64).map(|n| site.space.get(&n.to_be_bytes()));
    let shown: Vec<_> = shown.collect();
    assert!(
        shown
            .iter()
            .all(|get| !matches!(get, Err(Error::Failed { .. })))
    );
    site.mend();
    site.check_all(8);
    site.put(9).unwrap();
}

#[test]
fn a_flush_hears_of_its_own_failures_only() {
    let site = site();
    let other = site
        .db
        .create_keyspace("other", KeyspaceOptions::default())
        .unwrap();
    for n in 0..40_u64 {
        other
            .put(&n.to_be_bytes(), &[1; 100], Durability::Buffered)
            .unwrap();
        site.db.flush().unwrap();
    }
    // Compactions of the other keyspace cannot read their inputs, and are tried again and again.
    site.put(0).unwrap();
    let unreadable = Failure::for_good(Class::Only(Operation::Read), 1, Fault::Io).of(".sst");
    site.disk.set_plan(FaultPlan::fail(unreadable));
    site.db.flush().unwrap();
    site.db.checkpoint(Path::new("copy")).unwrap();
    site.mend();
    site.check_all(1);
}

/// No end of it is in sight, and nobody would know why.
#[test]
fn writers_hear_which_table_keeps_them_stopped() {
    let (disk, clock) = (FaultyDisk::new(7), Arc::new(ManualClock::default()));
    let mut options = options(&disk);
    options.clock = Arc::clone(&clock) as _;
    let db = Db::open(options).unwrap();
    let space = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    // Tables that all overlap.
    let submit = || {
        let mut batch = Batch::new();
        for key in [b"a", b"z"] {
            batch.put(space.id(), key, &[7; 100]).unwrap();
        }
        let ticket = db.submit(&batch, Durability::Buffered)?;
        let writer = db.next_job().unwrap();
        db.run(writer).unwrap();
        ticket.wait()
    };
    let unreadable = Failure::for_good(Class::Only(Operation::Read), 1, Fault::Io).of(".sst");
    disk.set_plan(FaultPlan::fail(unreadable));
    let stopped = (0..1000).find_map(|_| {
        let refused = submit().err();
        if refused.is_none() {
            db.flush().unwrap();
        }
        refused
    });
    let stopped = stopped.expect("tables pile up");
    assert!(matches!(stopped, Error::Stalled), "{stopped}");
    let mut jobs = (0..100).map_while(|_| db.next_job());
    assert!(jobs.any(|job| db.run(job).is_err()), "nothing is read");
    assert!(matches!(submit(), Err(Error::Stalled)), "it is tried again");
    clock.advance(Duration::from_secs(10));
    let blocked = submit().unwrap_err();
    assert!(matches!(blocked, Error::Blocked { .. }), "{blocked}");
    assert!(blocked.to_string().contains(".sst"), "{blocked}");
    disk.set_plan(FaultPlan::default());
    while let Some(job) = db.next_job() {
        db.run(job).unwrap();
    }
    submit().unwrap();
}

fn problem_of(made: Result<(), Error>) -> TargetProblem {
    match made {
        Err(Error::CheckpointTarget { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn checkpoint_2_a_wrong_place_is_refused_before_anything_is_made() {
    let site = site();
    site.make_tables(2);
    site.disk.create_dir_all(Path::new("full/thing")).unwrap();
    site.disk.create_dir_all(Path::new("empty")).unwrap();
    let problem = |path: &str| problem_of(site.db.checkpoint(Path::new(path)));
    assert!(matches!(problem("full"), TargetProblem::NotEmpty));
    assert!(matches!(problem("store"), TargetProblem::NotEmpty));
    assert!(matches!(
        problem("store/copy"),
        TargetProblem::InsideTheStore
    ));
    assert!(matches!(
        problem("empty/../store/copy"),
        TargetProblem::InsideTheStore
    ));
    assert!(matches!(problem("missing/copy"), TargetProblem::NoParent));
    assert!(matches!(
        problem("store/CURRENT"),
        TargetProblem::NotADirectory
    ));
    let names = |path: &str| site.disk.read_dir(Path::new(path)).unwrap().len();
    assert_eq!((names(""), names("full"), names("empty")), (3, 1, 0));
    site.db.checkpoint(Path::new("empty")).unwrap();
    site.put(2).unwrap();
}

#[test]
fn checkpoint_2_and_3_a_copy_that_fails_leaves_nothing_and_the_store_writing() {
    for (on, fault) in [
        (Operation::Link, Fault::Io),
        (Operation::Link, Fault::NoSpace),
        (Operation::CreateDir, Fault::Denied),
    ] {
        let site = site();
        site.make_tables(3);
        site.fail(Class::Only(on), fault);
        let made = site.db.checkpoint(Path::new("copy"));
        assert!(
            matches!(made, Err(Error::CheckpointNotMade { .. })),
            "{made:?}"
        );
        site.mend();
        assert!(
            site.disk.read_dir(Path::new("copy")).is_err(),
            "{on:?} {fault:?}"
        );
        assert!(site.db.failure().is_none());
        site.put(3).unwrap();
        site.db.checkpoint(Path::new("copy")).unwrap();
    }
}

#[test]
fn where_links_cannot_be_tables_are_copied_and_progress_is_told() {
    let site = site();
    site.make_tables(5);
    site.fail(Class::Only(Operation::Link), Fault::OtherFileSystem);
    let mut told = Vec::new();
    site.db
        .checkpoint_with(Path::new("copy"), |now| told.push(now))
        .unwrap();
    let last = *told.last().unwrap();
    assert_eq!(
        (last.tables_done, last.bytes_done),
        (last.tables, last.bytes)
    );
    assert!(last.tables >= 1 && last.bytes_copied == last.bytes);
    assert!(told.is_sorted_by_key(|now| now.bytes_done));
    assert_eq!(site.db.checkpoint_progress(), None);
    site.mend();
    site.put(5).unwrap();
    let copy = Options {
        path: "copy".into(),
        create: false,
        ..options(&site.disk)
    };
    let copy = Db::open(copy).unwrap();
    let space = copy.keyspace("data").unwrap();
    for n in 0..5_u64 {
        assert!(space.get(&n.to_be_bytes()).unwrap().is_some());
    }
    assert!(space.get(&5_u64.to_be_bytes()).unwrap().is_none());
}

/// Writes go on while memtables are written out for a checkpoint, and are not in it.
#[test]
fn checkpoint_1_writers_go_on_during_the_flush_and_the_copy_is_one_moment() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path().join("store"));
    // Memtables have room for all of it: nobody is held back for another reason.
    options.memory_budget = 256 << 20;
    let db = Db::open(options).unwrap();
    let spaces = ["a", "b"].map(|name| {
        // Not compressed: each flush takes as long as its bytes do.
        let options = KeyspaceOptions {
            compression: Compression::None,
            ..KeyspaceOptions::default()
        };
        db.create_keyspace(name, options).unwrap()
    });
    let put_both = |n: u64| {
        let mut batch = ringwood_lsm::Batch::new();
        for space in &spaces {
            batch.put(space.id(), b"count", &n.to_be_bytes()).unwrap();
            batch.put(space.id(), &n.to_be_bytes(), &[5; 2000]).unwrap();
        }
        db.write(&batch, Durability::Buffered).unwrap();
    };
    let count_in = |space: &Keyspace| {
        let found = space.get_with(b"count", &ReadOptions::default()).unwrap();
        u64::from_be_bytes(found.unwrap().value[..].try_into().unwrap())
    };
    (0..1000).for_each(put_both);
    // One mebibyte a second: the flush takes a while.
    db.set_background_rate(Some(1 << 20));
    let copy = directory.path().join("copy");
    let mut written = 1000;
    thread::scope(|scope| {
        let making = scope.spawn(|| db.checkpoint(&copy));
        while !making.is_finished() {
            put_both(written);
            written += 1;
            thread::yield_now();
            if written > 1300 {
                db.set_background_rate(None);
            }
        }
        making.join().unwrap().unwrap();
    });
    assert!(written > 1300, "{written}: nobody wrote while it was made");
    let copy = Db::open(Options::new(copy)).unwrap();
    let counts = ["a", "b"].map(|name| count_in(&copy.keyspace(name).unwrap()));
    assert_eq!(counts[0], counts[1], "one moment");
    assert!((999..written).contains(&counts[0]));
    for name in ["a", "b"] {
        let space = copy.keyspace(name).unwrap();
        let has = |n: u64| space.get(&n.to_be_bytes()).unwrap().is_some();
        assert!((0..=counts[0]).all(has), "all before it");
        assert!(!(counts[0] + 1..written).any(has), "none behind it");
    }
}
