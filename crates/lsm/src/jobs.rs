//! Background work, as values: somebody takes a job and runs it.
//!
//! What is to be done is read off the store's state each time somebody asks; only what is being done
//! is remembered, by a mark that goes with the job. So a job that fails, or is dropped, is offered again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::batch::KeyspaceNumber;
use crate::compaction::{CompactionPlan, InProgress, JobId};
use crate::error::{Corruption, Error, Result};
use crate::key::SeqNo;
use crate::keyspaces::OpenKeyspace;
use crate::locks::lock;
use crate::view::LoggedMemtable;

/// A piece of background work. Dropped without being run, it is offered again.
pub struct Job {
    work: Work,
    /// Says that the work is being done, until the job is dropped.
    mark: Mark,
}

pub(crate) enum Work {
    /// Write what waits to be logged; only where no thread does, or it is in a call of a user's.
    WriteLog,
    /// Make the next log segment ready.
    PrepareLog,
    /// Give back room that the log does not need at its present rate.
    TrimLog,
    /// Give up what is kept for speed, on a disk that is full.
    MakeRoom,
    /// Write out a keyspace's sealed memtables.
    Flush(Arc<OpenKeyspace>),
    Compact(Arc<OpenKeyspace>, CompactionPlan),
    /// Delete tables that nobody reads any more.
    RemoveTables,
    /// Note ahead of need what will have expired.
    NoteTime,
}

/// What a manual compaction does next.
pub(crate) enum ManualJob {
    Run(Job),
    /// Ask again when this many jobs have ended.
    WaitFor(u64),
    /// What is left to do is in the way of a damaged table.
    Damaged(Corruption),
    Done,
}

/// What a worker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Any,
    /// Only what writers wait for, and what is done in a moment.
    Urgent,
}

/// A keyspace with memtables that wait to be written out.
pub(crate) type Sealed = (Arc<OpenKeyspace>, Vec<Arc<LoggedMemtable>>);

/// What is being done.
#[derive(Debug)]
pub(crate) struct Jobs {
    marks: Arc<Mutex<Marks>>,
    pub(crate) changed: Condvar,
    /// Cancels running compactions, and ends workers.
    pub(crate) stopping: AtomicBool,
    /// Jobs that ended, well or not.
    pub(crate) ended: AtomicU64,
    pub(crate) has_threads: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub(crate) preparing: bool,
    pub(crate) removing: bool,
    pub(crate) noting_time: bool,
    pub(crate) flushing: BTreeSet<KeyspaceNumber>,
    pub(crate) compacting: BTreeMap<KeyspaceNumber, InProgress>,
    /// Work rests until then, on the monotonic clock, once some of its kind has failed. Compactions
    /// by themselves: a table that cannot be read must not keep memtables from being written out.
    pub(crate) flushes_rest_until: Duration,
    pub(crate) compactions_rest_until: Duration,
    /// Until then no room is made by force: what could be given up was.
    pub(crate) room_rests_until: Duration,
    /// How often work of a kind has failed, and why it did last.
    failures: BTreeMap<WorkKind, (u64, Error)>,
    /// Kinds whose last work failed.
    failing: BTreeSet<WorkKind>,
    /// Memtables with later changes are not written out yet: a checkpoint is taken.
    flush_upto: Option<SeqNo>,
    /// Jobs that are being run.
    running: u32,
    /// No job is run any more.
    closed: bool,
}

/// Work that somebody may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WorkKind {
    Flush(KeyspaceNumber),
    Compact(KeyspaceNumber),
    Other,
}

/// While it lives, memtables of later changes wait.
pub(crate) struct HeldFlushes<'a>(&'a Jobs);

impl Drop for HeldFlushes<'_> {
    fn drop(&mut self) {
        self.0.lock().flush_upto = None;
        self.0.wake();
    }
}

/// Held while a job runs; closing waits for it.
pub(crate) struct Running<'a>(&'a Jobs);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.changed.notify_all();
    }
}

struct Mark {
    marks: Arc<Mutex<Marks>>,
    kind: MarkKind,
}

pub(crate) enum MarkKind {
    None,
    Preparing,
    Removing,
    NotingTime,
    Flushing(KeyspaceNumber),
    Compacting(KeyspaceNumber, JobId),
}

impl Marks {
    pub(crate) fn note_failure(&mut self, kind: WorkKind, error: &Error) {
        let (count, last) = self.failures.entry(kind).or_insert((0, error.clone()));
        *count += 1;
        *last = error.clone();
        self.failing.insert(kind);
    }

    pub(crate) fn note_success(&mut self, kind: WorkKind) {
        self.failing.remove(&kind);
    }

    /// What keeps memtables or tables from being written out, as far as it is known.
    fn failing(&self) -> Option<Error> {
        let failing = self.failing.iter();
        let mut failing = failing.filter(|kind| **kind != WorkKind::Other);
        let failed = failing.find_map(|kind| self.failures.get(kind));
        let damage = || {
            let mut damaged = self.compacting.values().flat_map(InProgress::damaged);
            damaged.next().cloned().map(Error::from)
        };
        failed.map(|(_, error)| error.clone()).or_else(damage)
    }

    /// Whether any of a view's sealed memtables may be written out now.
    pub(crate) fn has_flushable(&self, sealed: &[Arc<LoggedMemtable>]) -> bool {
        sealed
            .iter()
            .any(|memtable| is_flushable(memtable, self.flush_upto))
    }
}

fn is_flushable(memtable: &LoggedMemtable, upto: Option<SeqNo>) -> bool {
    upto.is_none_or(|upto| memtable.table.last_seq().is_none_or(|last| last <= upto))
}

impl Work {
    pub(crate) fn kind(&self) -> WorkKind {
        match self {
            Self::Flush(keyspace) => WorkKind::Flush(keyspace.id),
            Self::Compact(keyspace, _) => WorkKind::Compact(keyspace.id),
            Self::WriteLog
            | Self::PrepareLog
            | Self::TrimLog
            | Self::MakeRoom
            | Self::RemoveTables
            | Self::NoteTime => WorkKind::Other,
        }
    }
}

impl Job {
    pub(crate) fn work(&self) -> &Work {
        &self.work
    }
}

impl Jobs {
    pub(crate) fn new(has_threads: bool) -> Self {
        Self {
            marks: Arc::default(),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
            ended: AtomicU64::new(0),
            has_threads,
        }
    }

    /// Says that there may be something to do.
    pub(crate) fn wake(&self) {
        if self.has_threads {
            // With the lock: a worker that has just found nothing must not miss it.
            let _marks = self.lock();
            self.changed.notify_all();
        }
    }

    /// Ends workers as soon as they are done with what they do; compactions are cancelled.
    pub(crate) fn shut_down(&self) {
        self.stopping.store(true, Ordering::Release);
        let _marks = self.lock();
        self.changed.notify_all();
    }

    /// Why memtables or tables that wait are not written out, if it is known.
    pub(crate) fn failing(&self) -> Option<Error> {
        self.lock().failing()
    }

    /// A job, marked as being done.
    pub(crate) fn job(&self, work: Work, kind: MarkKind) -> Job {
        let marks = Arc::clone(&self.marks);
        Job {
            work,
            mark: Mark { marks, kind },
        }
    }

    /// Lets a job run, if it is one of this store's and the store is not closed.
    pub(crate) fn begin(&self, job: &Job) -> Result<Running<'_>> {
        if !Arc::ptr_eq(&self.marks, &job.mark.marks) {
            return Err(Error::OfAnotherStore { what: "job" });
        }
        let mut marks = self.lock();
        if marks.closed {
            return Err(Error::Closed);
        }
        marks.running += 1;
        Ok(Running(self))
    }

    /// Waits for jobs that run, and lets no more begin.
    pub(crate) fn close(&self) {
        let mut marks = self.lock();
        marks.closed = true;
        while marks.running > 0 {
            let waited = self.changed.wait(marks);
            marks = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many jobs have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Damaged tables that compactions leave alone.
    pub(crate) fn damaged_tables(&self) -> Vec<Corruption> {
        let marks = self.lock();
        let all = marks.compacting.values().flat_map(InProgress::damaged);
        all.cloned().collect()
    }

    /// How often work of this kind has failed, and why it did last.
    pub(crate) fn failures(&self, kind: WorkKind) -> (u64, Option<Error>) {
        match self.lock().failures.get(&kind) {
            Some((count, last)) => (*count, Some(last.clone())),
            None => (0, None),
        }
    }

    /// Keeps memtables with changes behind `seq` from being written out. One at a time.
    pub(crate) fn hold_flushes_behind(&self, seq: SeqNo) -> HeldFlushes<'_> {
        self.lock().flush_upto = Some(seq);
        HeldFlushes(self)
    }

    /// The part of a view's sealed memtables that may be written out now. The view was loaded before.
    pub(crate) fn flushable(&self, sealed: &[Arc<LoggedMemtable>]) -> Vec<Arc<LoggedMemtable>> {
        let upto = self.lock().flush_upto;
        let may_go = |memtable: &&Arc<LoggedMemtable>| is_flushable(memtable, upto);
        sealed.iter().filter(may_go).cloned().collect()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Marks> {
        lock(&self.marks)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut marks = lock(&self.marks);
        match &self.kind {
            MarkKind::None => {}
            MarkKind::Preparing => marks.preparing = false,
            MarkKind::Removing => marks.removing = false,
            MarkKind::NotingTime => marks.noting_time = false,
            MarkKind::Flushing(id) => {
                marks.flushing.remove(id);
            }
            MarkKind::Compacting(id, job) => {
                if let Some(running) = marks.compacting.get_mut(id) {
                    running.end(*job);
                }
            }
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.work {
            Work::WriteLog => write!(f, "write the log"),
            Work::PrepareLog => write!(f, "prepare a log segment"),
            Work::TrimLog => write!(f, "give back room of the log"),
            Work::MakeRoom => write!(f, "make room on a full disk"),
            Work::Flush(keyspace) => write!(f, "flush {:?}", keyspace.name),
            Work::Compact(keyspace, plan) => write!(f, "compact {:?}: {plan:?}", keyspace.name),
            Work::RemoveTables => write!(f, "remove obsolete tables"),
            Work::NoteTime => write!(f, "note the time"),
        }
    }
}
