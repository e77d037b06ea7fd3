//! What other threads would do in the middle of a job, done there by the one thread there is.
//!
//! The disk calls back between two calls of a job that writes tables, when no lock is held.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringwood_env::FaultyDisk;
use ringwood_env::faulty::{Class, Delay, Operation};
use ringwood_lsm::{Batch, Db, Result, SeqNo, Snapshot};

use super::model::Write;

/// One thing to do.
pub enum Part {
    Write(Write, Batch),
    TakeSnapshot,
    Sync,
    /// Another job, as a second thread would run it.
    Job,
}

/// What was done, and what came of it.
pub enum Done {
    Wrote(Write, Result<SeqNo>),
    Took(Snapshot),
    Synced(Result<()>),
    Ran(String, Result<()>),
}

type Act = Box<dyn FnOnce() + Send>;

/// What is to be done in the middle of the next job, and what was.
#[derive(Clone, Default)]
pub struct Interlude {
    next: Arc<Mutex<Option<Act>>>,
    done: Arc<Mutex<Vec<Done>>>,
}

impl Interlude {
    /// From now on the disk calls back; what it calls depends on [`delays`].
    pub fn attach(&self, disk: &FaultyDisk) {
        let next = Arc::clone(&self.next);
        disk.on_delay(move |_| {
            let act = next.lock().unwrap().take();
            if let Some(act) = act {
                act();
            }
        });
    }

    /// Plans what is done in the middle of a job of `db`.
    pub fn plan(&self, db: Db, parts: Vec<Part>) {
        let done = Arc::clone(&self.done);
        let act = move || {
            for part in parts {
                let came_of_it = part.play(&db);
                done.lock().unwrap().extend(came_of_it);
            }
        };
        *self.next.lock().unwrap() = Some(Box::new(act));
    }

    /// Ends it: what was done, in order.
    pub fn end(&self) -> Vec<Done> {
        *self.next.lock().unwrap() = None;
        std::mem::take(&mut self.done.lock().unwrap())
    }
}

impl Part {
    fn play(self, db: &Db) -> Option<Done> {
        Some(match self {
            Self::Write(write, batch) => {
                let told = db.write(&batch, write.durability);
                Done::Wrote(write, told)
            }
            Self::TakeSnapshot => Done::Took(db.snapshot()),
            Self::Sync => Done::Synced(db.sync()),
            Self::Job => {
                let job = db.next_job()?;
                let name = format!("{job:?}").chars().take(30).collect();
                Done::Ran(name, db.run(job))
            }
        })
    }
}

/// Calls in the middle of which something may be done: a job's that makes a table.
pub fn delays() -> Vec<Delay> {
    let calls = [Class::Only(Operation::Create), Class::Writes, Class::Syncs];
    calls
        .map(|on| Delay {
            on,
            suffix: ".sst",
            chance: 0.3,
            by: Duration::from_millis(1),
        })
        .to_vec()
}
