//! Background work, as values: somebody takes a job and runs it.
//!
//! What is to be done is read off the store's state each time somebody asks; only what is being done
//! is remembered, by a mark that goes with the job. So a job that fails, or is dropped, is offered again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringwood_env::Clock;

use crate::batch::KeyspaceId;
use crate::commit::Token;
use crate::compaction::{CompactionPlan, InProgress, JobId, ManualCompaction, ManualStep};
use crate::error::{Error, Result};
use crate::keyspaces::OpenKeyspace;
use crate::locks::lock;
use crate::store::Store;
use crate::view::LoggedMemtable;

/// How long work rests after a failure, and how often idle workers look at the disk's room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A piece of background work. Dropped without being run, it is offered again.
pub struct Job {
    work: Work,
    /// Says that the work is being done, until the job is dropped.
    _mark: Mark,
}

enum Work {
    /// Write what waits to be logged; only where no thread does.
    WriteLog,
    /// Make the next log segment ready.
    PrepareLog,
    /// Write out a keyspace's sealed memtables.
    Flush(Arc<OpenKeyspace>),
    Compact(Arc<OpenKeyspace>, CompactionPlan),
    /// Delete tables that nobody reads any more.
    RemoveTables,
}

/// What a manual compaction does next.
pub(crate) enum ManualJob {
    Run(Job),
    /// Ask again when this many jobs have ended.
    WaitFor(u64),
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
    changed: Condvar,
    /// Cancels running compactions, and ends workers.
    pub(crate) stopping: AtomicBool,
    /// Jobs that ended, well or not.
    ended: AtomicU64,
    has_threads: bool,
}

#[derive(Debug, Default)]
struct Marks {
    preparing: bool,
    removing: bool,
    flushing: BTreeSet<KeyspaceId>,
    compacting: BTreeMap<KeyspaceId, InProgress>,
    /// Work rests until then, on the monotonic clock, once some of its kind has failed. Compactions
    /// by themselves: a table that cannot be read must not keep memtables from being written out.
    flushes_rest_until: Duration,
    compactions_rest_until: Duration,
    last_failure: Option<Error>,
}

struct Mark {
    marks: Arc<Mutex<Marks>>,
    kind: MarkKind,
}

enum MarkKind {
    None,
    Preparing,
    Removing,
    Flushing(KeyspaceId),
    Compacting(KeyspaceId, JobId),
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

    /// How many jobs have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn last_failure(&self) -> Option<Error> {
        self.lock().last_failure.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        lock(&self.marks)
    }
}

impl Store {
    /// The next piece of work, if there is any.
    pub(crate) fn next_job(&self) -> Option<Job> {
        if !self.jobs.has_threads && self.commit.has_work() {
            return Some(self.job(Work::WriteLog, MarkKind::None));
        }
        self.find_job(&mut self.jobs.lock(), Role::Any)
    }

    /// Waits for work; `None` when the store closes.
    pub(crate) fn wait_for_job(&self, role: Role) -> Option<Job> {
        let mut marks = self.jobs.lock();
        loop {
            if self.jobs.stopping.load(Ordering::Acquire) {
                return None;
            }
            if let Some(job) = self.find_job(&mut marks, role) {
                return Some(job);
            }
            let waited = self.jobs.changed.wait_timeout(marks, RETRY_AFTER);
            marks = waited.unwrap_or_else(PoisonError::into_inner).0;
            if self.space.is_short() {
                self.look_for_space();
            }
        }
    }

    /// What writers wait for comes first.
    fn find_job(&self, marks: &mut Marks, role: Role) -> Option<Job> {
        if self.check_writable().is_err() {
            return None;
        }
        let now = self.clock.monotonic();
        let flushes = now >= marks.flushes_rest_until;
        if flushes
            && !marks.preparing
            && lock(&self.segments).wants_spare()
            && !self.space.is_short()
        {
            marks.preparing = true;
            return Some(self.job(Work::PrepareLog, MarkKind::Preparing));
        }
        let keyspaces = self.keyspaces.all();
        for keyspace in keyspaces.values() {
            if flushes && !keyspace.view().sealed.is_empty() && marks.flushing.insert(keyspace.id) {
                let mark = MarkKind::Flushing(keyspace.id);
                return Some(self.job(Work::Flush(Arc::clone(keyspace)), mark));
            }
        }
        if !marks.removing && !self.obsolete.is_empty() {
            marks.removing = true;
            return Some(self.job(Work::RemoveTables, MarkKind::Removing));
        }
        if role == Role::Urgent || now < marks.compactions_rest_until {
            return None;
        }
        keyspaces.values().find_map(|keyspace| {
            let running = marks.compacting.entry(keyspace.id).or_default();
            let view = keyspace.view();
            let plan = self.picker(keyspace, &view.version, running).pick()?;
            Some(self.compaction_job(keyspace, plan, running))
        })
    }

    /// The next job of a manual compaction.
    pub(crate) fn next_manual_job(
        &self,
        keyspace: &Arc<OpenKeyspace>,
        wish: &ManualCompaction,
    ) -> ManualJob {
        let mut marks = self.jobs.lock();
        let running = marks.compacting.entry(keyspace.id).or_default();
        let view = keyspace.view();
        match self.picker(keyspace, &view.version, running).manual(wish) {
            ManualStep::Run(plan) => ManualJob::Run(self.compaction_job(keyspace, plan, running)),
            ManualStep::Wait => ManualJob::WaitFor(self.jobs.ended() + 1),
            ManualStep::Done => ManualJob::Done,
        }
    }

    fn compaction_job(
        &self,
        keyspace: &Arc<OpenKeyspace>,
        plan: CompactionPlan,
        running: &mut InProgress,
    ) -> Job {
        let mark = MarkKind::Compacting(keyspace.id, running.begin(plan.clone()));
        self.job(Work::Compact(Arc::clone(keyspace), plan), mark)
    }

    /// Does a piece of work.
    pub(crate) fn run_job(&self, job: Job) -> Result<()> {
        let result = self.run_work(&job.work);
        if let Err(error) = &result {
            self.note_failure(&job.work, error);
        }
        drop(job);
        self.jobs.ended.fetch_add(1, Ordering::Release);
        // What was done may make other work possible.
        self.jobs.wake();
        result
    }

    fn run_work(&self, work: &Work) -> Result<()> {
        match work {
            Work::WriteLog => {
                if let Some(token) = self.commit.take_token() {
                    self.commit.run(token, self, u32::MAX);
                }
                Ok(())
            }
            Work::PrepareLog => self.prepare_spare(),
            Work::Flush(keyspace) => self.flush_keyspace(keyspace),
            Work::Compact(keyspace, plan) => self.compact(keyspace, plan),
            Work::RemoveTables => {
                self.remove_tables(self.obsolete.take().into_iter());
                Ok(())
            }
        }
    }

    fn note_failure(&self, work: &Work, error: &Error) {
        self.counters.job_failures.add(1);
        if error.is_disk_full() {
            self.space.note_full();
        }
        tracing::error!(%error, "background work failed; it is tried again");
        let mut marks = self.jobs.lock();
        marks.last_failure = Some(error.clone());
        let rest_until = match work {
            Work::Compact(..) => &mut marks.compactions_rest_until,
            _ => &mut marks.flushes_rest_until,
        };
        // A caller who runs jobs by hand decides for himself when to try again.
        if self.jobs.has_threads {
            *rest_until = self.clock.monotonic() + RETRY_AFTER;
        }
    }

    /// Seals every memtable and waits until all of them are written out.
    pub(crate) fn flush_all(&self) -> Result<()> {
        let sealed = {
            let token = self.commit.take_token().ok_or(Error::Closed)?;
            self.check_writable()?;
            self.seal_all(&token)
        };
        self.wait_for_flush(&sealed)
    }

    /// The same, while the caller holds the token: nothing is written meanwhile.
    pub(crate) fn flush_with(&self, token: &Token<'_>) -> Result<()> {
        self.check_writable()?;
        let sealed = self.seal_all(token);
        self.wait_for_flush(&sealed)
    }

    fn wait_for_flush(&self, sealed: &[Sealed]) -> Result<()> {
        self.work_until(|_| {
            sealed.iter().all(|(keyspace, sealed)| {
                let view = keyspace.view();
                !sealed
                    .iter()
                    .any(|one| view.sealed.iter().any(|left| Arc::ptr_eq(left, one)))
            })
        })
    }

    /// Waits until `done`, running jobs where no thread does. Fails as soon as any job does.
    pub(crate) fn work_until(&self, done: impl Fn(&Self) -> bool) -> Result<()> {
        let failures_before = self.counters.job_failures.get();
        self.jobs.wake();
        while !done(self) {
            self.check_writable()?;
            if self.counters.job_failures.get() > failures_before {
                return Err(self.jobs.last_failure().expect("one was counted"));
            }
            if self.jobs.has_threads {
                let marks = self.jobs.lock();
                if self.jobs.stopping.load(Ordering::Acquire) {
                    return Err(Error::Closed);
                }
                let pause = Duration::from_millis(10);
                drop(self.jobs.changed.wait_timeout(marks, pause));
            } else if let Some(job) = self.next_job() {
                self.run_job(job)?;
            } else {
                // What is left is in the hands of somebody who took a job and has not run it.
                return if done(self) {
                    Ok(())
                } else {
                    Err(Error::Stalled)
                };
            }
        }
        Ok(())
    }

    fn job(&self, work: Work, kind: MarkKind) -> Job {
        Job {
            work,
            _mark: Mark {
                marks: Arc::clone(&self.jobs.marks),
                kind,
            },
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut marks = lock(&self.marks);
        match &self.kind {
            MarkKind::None => {}
            MarkKind::Preparing => marks.preparing = false,
            MarkKind::Removing => marks.removing = false,
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
            Work::Flush(keyspace) => write!(f, "flush {:?}", keyspace.name),
            Work::Compact(keyspace, plan) => write!(f, "compact {:?}: {plan:?}", keyspace.name),
            Work::RemoveTables => write!(f, "remove obsolete tables"),
        }
    }
}
