//! What users of the library do where the store calls them: in callbacks, wakers and updates.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use ringwood_lsm::{
    Batch, Db, Durability, Error, Keyspace, KeyspaceOptions, Options, Ticket, Update,
};

/// Long enough for anything that is not a deadlock.
const PATIENCE: Duration = Duration::from_secs(60);

struct Site {
    db: Db,
    space: Keyspace,
    directory: tempfile::TempDir,
}

fn site(threads: usize) -> Site {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path());
    options.threads = threads;
    let db = Db::open(options).unwrap();
    let space = db
        .create_keyspace("data", KeyspaceOptions::default())
        .unwrap();
    Site {
        db,
        space,
        directory,
    }
}

fn submit(site: &Site, key: &[u8]) -> Ticket {
    let mut batch = Batch::new();
    batch.put(site.space.id(), key, b"value").unwrap();
    site.db.submit(&batch, Durability::Synced).unwrap()
}

fn wait<T>(receiver: &Receiver<T>) -> T {
    receiver
        .recv_timeout(PATIENCE)
        .expect("nobody waits for ever")
}

#[test]
fn a_callback_may_write_and_wait_for_it() {
    for threads in [1, 2] {
        let site = site(threads);
        let (told, hear) = channel();
        for n in 0..20_u8 {
            let (space, told) = (site.space.clone(), told.clone());
            submit(&site, &[n]).on_complete(move |outcome| {
                outcome.unwrap();
                let durability = [Durability::Synced, Durability::Buffered][usize::from(n % 2)];
                told.send(space.put(&[n, n], b"inside", durability))
                    .unwrap();
            });
        }
        for _ in 0..20 {
            wait(&hear).unwrap();
        }
        assert!((0..20_u8).all(|n| site.space.get(&[n, n]).unwrap().is_some()));
    }
}

#[test]
fn a_callback_may_write_where_the_user_runs_the_jobs() {
    let site = site(0);
    let (told, hear) = channel();
    let space = site.space.clone();
    submit(&site, b"first").on_complete(move |_| {
        told.send(space.put(b"second", b"inside", Durability::Synced))
            .unwrap();
    });
    while let Some(job) = site.db.next_job() {
        site.db.run(job).unwrap();
    }
    wait(&hear).unwrap();
    assert!(site.space.get(b"second").unwrap().is_some());
}

#[test]
fn a_callback_may_wait_for_another_threads_write() {
    let site = site(2);
    let (told, hear) = channel();
    let space = site.space.clone();
    submit(&site, b"first").on_complete(move |_| {
        let other = thread::spawn(move || space.put(b"second", b"", Durability::Synced).map(drop));
        told.send(other.join().unwrap()).unwrap();
    });
    wait(&hear).unwrap();
}

#[test]
fn writes_go_on_while_a_callback_takes_its_time() {
    let site = site(2);
    let (entered, inside) = channel();
    let (leave, left) = channel::<()>();
    submit(&site, b"slow").on_complete(move |_| {
        entered.send(()).unwrap();
        left.recv_timeout(PATIENCE).unwrap();
    });
    wait(&inside);
    // Of every sort: inline, through a ticket, and many together.
    site.space.put(b"one", b"", Durability::Synced).unwrap();
    submit(&site, b"two").wait().unwrap();
    let tickets: Vec<_> = (0..50_u8).map(|n| submit(&site, &[n])).collect();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    site.db.flush().unwrap();
    leave.send(()).unwrap();
}

#[test]
fn a_waker_may_write() {
    struct Writes(Keyspace, Mutex<std::sync::mpsc::Sender<Result<(), Error>>>);
    impl Wake for Writes {
        fn wake(self: Arc<Self>) {
            let written = self.0.put(b"inside", b"", Durability::Synced).map(drop);
            self.1.lock().unwrap().send(written).unwrap();
        }
    }
    let site = site(1);
    let (told, hear) = channel();
    let waker = Waker::from(Arc::new(Writes(site.space.clone(), Mutex::new(told))));
    for _ in 0..20 {
        let mut ticket = Box::pin(submit(&site, b"key"));
        let pending = ticket
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending();
        if pending {
            wait(&hear).unwrap();
        }
    }
}

#[test]
fn the_last_handle_may_be_dropped_in_a_callback() {
    for threads in [1, 2] {
        let Site {
            db,
            space,
            directory,
        } = site(threads);
        let (told, hear) = channel();
        let mut batch = Batch::new();
        batch.put(space.id(), b"key", b"value").unwrap();
        let ticket = db.submit(&batch, Durability::Synced).unwrap();
        ticket.on_complete(move |_| {
            drop((space, db));
            told.send(()).unwrap();
        });
        wait(&hear);
        let db = Db::open(Options::new(directory.path())).unwrap();
        assert!(db.keyspace("data").unwrap().get(b"key").unwrap().is_some());
    }
}

#[test]
fn key_lock_1_an_update_inside_an_update_is_refused_whatever_the_keys() {
    let site = site(1);
    for n in 0..=u16::MAX >> 4 {
        let inner = n.to_be_bytes();
        let updated = site.space.update(b"outer", Durability::Buffered, |_| {
            let nested = site
                .space
                .update(&inner, Durability::Buffered, |_| Update::Delete);
            assert!(matches!(nested, Err(Error::NestedUpdate)));
            Update::Put(inner.to_vec())
        });
        assert!(updated.unwrap().is_some());
    }
    // It may be updated again afterwards, and in another store meanwhile.
    let other = self::site(1);
    let updated = site.space.update(b"outer", Durability::Buffered, |_| {
        other
            .space
            .update(b"outer", Durability::Buffered, |_| Update::Keep)
            .unwrap();
        Update::Delete
    });
    assert!(updated.unwrap().is_some());
}

#[test]
fn commit_5_a_callback_may_update_the_key_that_is_being_updated() {
    let site = site(1);
    let (told, hear) = channel();
    // The group of an update's own write takes other writers' changes along, and their callbacks.
    for n in 0..200_u8 {
        let (space, told) = (site.space.clone(), told.clone());
        submit(&site, &[n]).on_complete(move |_| {
            let updated = space.update(b"key", Durability::Buffered, |_| Update::Put(vec![n]));
            told.send(updated.map(drop)).unwrap();
        });
        let updated = site
            .space
            .update(b"key", Durability::Synced, |_| Update::Put(vec![n]));
        updated.unwrap();
    }
    for _ in 0..200 {
        wait(&hear).unwrap();
    }
}
