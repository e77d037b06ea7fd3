//! The store that a crew works on, and what its threads tell each other.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringwood_env::SeededRandom;
use ringwood_lsm::{Db, Keyspace, Options};

use crate::oracle::coverage::Coverage;
use crate::oracle::draw;

/// Where the writers' random changes go.
const DATA: [&str; 2] = ["data", "more data"];
/// Where each writer numbers its batches; see [`writer`](super::writer).
const JOURNAL: &str = "journal";
/// Where each writer's last number stands once more.
const MIRROR: &str = "mirror";

/// An open store.
pub struct Site {
    pub db: Db,
    pub data: Vec<Keyspace>,
    pub journal: Keyspace,
    pub mirror: Keyspace,
    progress: Vec<Progress>,
    is_done: AtomicBool,
    coverage: Mutex<Coverage>,
}

/// How far a writer is.
#[derive(Default)]
struct Progress {
    begun: AtomicU64,
    acknowledged: AtomicU64,
}

impl Site {
    /// Opens the store, and makes its keyspaces where it is new. `written` says how many batches each
    /// writer has written.
    pub fn open(options: Options, random: &SeededRandom, written: &[u64]) -> Self {
        let db = Db::open(options).unwrap();
        let space = |name: &str| match db.keyspace(name) {
            Ok(space) => space,
            Err(_) => db
                .create_keyspace(name, draw::keyspace_options(random))
                .unwrap(),
        };
        let progress = |written: &u64| Progress {
            begun: AtomicU64::new(*written),
            acknowledged: AtomicU64::new(*written),
        };
        Self {
            data: DATA.map(space).into(),
            journal: space(JOURNAL),
            mirror: space(MIRROR),
            db,
            progress: written.iter().map(progress).collect(),
            is_done: AtomicBool::new(false),
            coverage: Mutex::default(),
        }
    }

    pub fn writers(&self) -> usize {
        self.progress.len()
    }

    /// Every keyspace.
    pub fn spaces(&self) -> impl Iterator<Item = &Keyspace> {
        self.data.iter().chain([&self.journal, &self.mirror])
    }

    /// Says that a writer begins with this batch.
    pub fn begin(&self, writer: usize, number: u64) {
        self.progress[writer].begun.store(number, Ordering::SeqCst);
    }

    /// Says that this batch and all before it were acknowledged.
    pub fn acknowledge(&self, writer: usize, number: u64) {
        let progress = &self.progress[writer];
        progress.acknowledged.store(number, Ordering::SeqCst);
    }

    pub fn begun(&self, writer: usize) -> u64 {
        self.progress[writer].begun.load(Ordering::SeqCst)
    }

    pub fn acknowledged(&self, writer: usize) -> u64 {
        self.progress[writer].acknowledged.load(Ordering::SeqCst)
    }

    pub fn is_done(&self) -> bool {
        self.is_done.load(Ordering::SeqCst)
    }

    /// Lets readers and keepers end when the value is dropped, by a panic too.
    pub fn until_dropped(&self) -> impl Drop + '_ {
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        Done(&self.is_done)
    }

    pub fn note(&self, what: &'static str) {
        self.coverage.lock().unwrap().note(what);
    }

    /// What was reached since it was opened.
    pub fn coverage(&self) -> Coverage {
        let mut coverage = self.coverage.lock().unwrap().clone();
        let statistics = self.db.statistics();
        coverage.add("flushes", statistics.flushes);
        coverage.add("compactions", statistics.compactions);
        coverage.add("stalls", statistics.stalls);
        coverage.add("waits for a log segment", statistics.log_waits);
        let levels = |space: &ringwood_lsm::KeyspaceStatistics| {
            space.levels.iter().filter(|level| level.tables > 0).count()
        };
        let deepest = statistics.keyspaces.iter().map(levels).max();
        coverage.note_if(deepest >= Some(3), "three levels or more");
        assert_eq!(
            statistics.job_failures, 0,
            "nothing goes wrong on this disk"
        );
        coverage
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").finish_non_exhaustive()
    }
}
