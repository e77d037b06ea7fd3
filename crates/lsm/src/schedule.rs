//! Which job is next, and running it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ringwood_env::Clock;

use crate::compaction::{CompactionPlan, InProgress, ManualCompaction, ManualStep};
use crate::error::{Error, Result};
use crate::files::FileKind;
use crate::jobs::{Job, ManualJob, MarkKind, Marks, Role, Sealed, Work, WorkKind};
use crate::keyspaces::OpenKeyspace;
use crate::store::Store;

/// How long work rests after a failure, and how often idle workers look at the disk's room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// After so long a compaction for which there was too little room is tried again with as little: what held
/// changes back, say a snapshot, may be gone.
const TOO_LARGE_FOR_MS: u64 = 60_000;

/// A caller who runs jobs by hand and waits for one goes past so many failures of others.
const IDLE_FAILURES_MAX: u32 = 16;

impl Store {
    /// The next piece of work, if there is any.
    pub(crate) fn next_job(&self) -> Option<Job> {
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
            if self.space.is_tight() {
                self.look_for_space();
            }
        }
    }

    /// What writers wait for comes first.
    fn find_job(&self, marks: &mut Marks, role: Role) -> Option<Job> {
        if self.commit.needs_writer() {
            return Some(self.jobs.job(Work::WriteLog, MarkKind::None));
        }
        if self.check_writable().is_err() {
            return None;
        }
        let now = self.clock.monotonic();
        let flushes = now >= marks.flushes_rest_until;
        if flushes && !marks.preparing && self.wants_spare() && !self.space.is_short() {
            marks.preparing = true;
            return Some(self.jobs.job(Work::PrepareLog, MarkKind::Preparing));
        }
        let is_short = self.space.is_short();
        let makes_room = is_short && now >= marks.room_rests_until;
        if makes_room && !marks.preparing && self.has_room_to_give() {
            marks.room_rests_until = now + RETRY_AFTER;
            marks.preparing = true;
            return Some(self.jobs.job(Work::MakeRoom, MarkKind::Preparing));
        }
        let keyspaces = self.keyspaces.all();
        for keyspace in keyspaces.values() {
            if flushes
                && marks.has_flushable(&keyspace.view().sealed)
                && marks.flushing.insert(keyspace.id)
            {
                let mark = MarkKind::Flushing(keyspace.id);
                return Some(self.jobs.job(Work::Flush(Arc::clone(keyspace)), mark));
            }
        }
        if flushes && !marks.preparing && !is_short && self.log_rests() {
            marks.preparing = true;
            return Some(self.jobs.job(Work::TrimLog, MarkKind::Preparing));
        }
        if !marks.removing && !self.obsolete.is_empty() {
            marks.removing = true;
            return Some(self.jobs.job(Work::RemoveTables, MarkKind::Removing));
        }
        if flushes && !marks.noting_time && self.should_note_time() {
            marks.noting_time = true;
            return Some(self.jobs.job(Work::NoteTime, MarkKind::NotingTime));
        }
        if role == Role::Urgent || now < marks.compactions_rest_until {
            return None;
        }
        // What runs takes room that is still free; and deletes need log and flushes, also where inputs stay
        // on the disk for the sake of a checkpoint or a reader.
        let room = self.space.is_tight().then(|| {
            let running = marks.compacting.values().flat_map(InProgress::plans);
            let running: u64 = running.map(CompactionPlan::expected_len).sum();
            let for_deletes = self.in_memory_len() + self.share.kept_for_deletes();
            self.free_space().saturating_sub(running + for_deletes)
        });
        keyspaces.values().find_map(|keyspace| {
            let running = marks.compacting.entry(keyspace.id).or_default();
            let view = keyspace.view();
            let picker = self.picker(keyspace, &view.version, running);
            let plan = match room {
                Some(room) if is_short || self.pressure.must_stop() => {
                    picker.within(room).pick_for_room()
                }
                Some(room) => picker.without_rest().within(room).pick(),
                None => picker.pick(),
            }?;
            Some(self.compaction_job(keyspace, plan, running))
        })
    }

    /// Whether readers may soon have to be told of deadlines that are not noted as past.
    fn should_note_time(&self) -> bool {
        let Some((noted, until)) = self.expiry.unnoted() else {
            return false;
        };
        let is_due = |least, greatest| least <= until && greatest > noted;
        self.keyspaces.all().values().any(|keyspace| {
            let view = keyspace.view();
            let mut memtables = view.memtables().filter_map(|one| one.table.deadlines());
            let mut tables = view.version.tables().filter_map(|(_, table)| {
                let (least, greatest) = table.deadlines?;
                is_due(least, greatest).then_some(&table.spread)
            });
            memtables.any(|(least, greatest)| is_due(least, greatest))
                || tables.any(|spread| spread.may_expire_within(noted, until))
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
            ManualStep::Wait if running.plans().next().is_none() => {
                match running.damaged().next() {
                    Some(damage) => ManualJob::Damaged(damage.clone()),
                    None => ManualJob::WaitFor(self.jobs.ended() + 1),
                }
            }
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
        self.jobs
            .job(Work::Compact(Arc::clone(keyspace), plan), mark)
    }

    /// Does a piece of work.
    pub(crate) fn run_job(&self, job: Job) -> Result<()> {
        let running = self.jobs.begin(&job)?;
        let result = self.run_work(job.work());
        match &result {
            Ok(()) => self.jobs.lock().note_success(job.work().kind()),
            Err(error) => self.note_failure(job.work(), error),
        }
        drop(job);
        drop(running);
        self.jobs.ended.fetch_add(1, Ordering::Release);
        // What was done may make other work possible.
        self.jobs.wake();
        self.commit.make_calls();
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
            Work::PrepareLog => self.prepare_spare(0),
            Work::TrimLog => self.trim_log(),
            Work::MakeRoom => self.make_room(),
            Work::Flush(keyspace) => self.flush_keyspace(keyspace),
            Work::Compact(keyspace, plan) => self.compact(keyspace, plan),
            Work::NoteTime => self.expiry.note_ahead(),
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
        marks.note_failure(work.kind(), error);
        set_damaged_table_aside(&mut marks, work, error);
        if let Work::Compact(keyspace, plan) = work
            && error.is_disk_full()
            && let Some(running) = marks.compacting.get_mut(&keyspace.id)
        {
            let now = self.clock.wall();
            running.note_too_large(plan, now, now.saturating_add(TOO_LARGE_FOR_MS));
        }
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

    /// Waits until these memtables are written out. Fails as soon as one of their flushes does, whatever
    /// becomes of other work.
    pub(crate) fn wait_for_flush(&self, sealed: &[Sealed]) -> Result<()> {
        let kinds: Vec<_> = sealed
            .iter()
            .map(|(keyspace, _)| WorkKind::Flush(keyspace.id))
            .collect();
        self.work_until(&kinds, |_| {
            sealed.iter().all(|(keyspace, sealed)| {
                let view = keyspace.view();
                !sealed
                    .iter()
                    .any(|one| view.sealed.iter().any(|left| Arc::ptr_eq(left, one)))
            })
        })
    }

    /// Waits until `done`, running jobs where no thread does. Fails as soon as a job of these kinds does.
    pub(crate) fn work_until(
        &self,
        kinds: &[WorkKind],
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let failed_before: Vec<_> = kinds
            .iter()
            .map(|kind| self.jobs.failures(*kind).0)
            .collect();
        let failed = || {
            let counts = kinds.iter().zip(&failed_before);
            counts.into_iter().find_map(|(kind, before)| {
                let (count, last) = self.jobs.failures(*kind);
                last.filter(|_| count > *before)
            })
        };
        let mut idle_failures = 0;
        self.jobs.wake();
        while !done(self) {
            self.check_writable()?;
            if let Some(error) = failed() {
                return Err(error);
            }
            if self.jobs.has_threads {
                let marks = self.jobs.lock();
                if self.jobs.stopping.load(Ordering::Acquire) {
                    return Err(Error::Closed);
                }
                let pause = Duration::from_millis(10);
                drop(self.jobs.changed.wait_timeout(marks, pause));
                continue;
            }
            // What is wanted may stand behind work that fails again and again.
            let wanted = || self.job_of(kinds).or_else(|| self.next_job());
            match wanted() {
                None if done(self) => return Ok(()),
                // What is left is in the hands of somebody who took a job and has not run it.
                None => return Err(Error::Stalled),
                Some(job) => {
                    if let Err(error) = self.run_job(job) {
                        idle_failures += 1;
                        if idle_failures > IDLE_FAILURES_MAX {
                            return Err(failed().unwrap_or(error));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A flush of one of these kinds.
    fn job_of(&self, kinds: &[WorkKind]) -> Option<Job> {
        let mut marks = self.jobs.lock();
        let keyspaces = self.keyspaces.all();
        kinds.iter().find_map(|kind| {
            let WorkKind::Flush(id) = kind else {
                return None;
            };
            let keyspace = keyspaces.get(id)?;
            let wanted = marks.has_flushable(&keyspace.view().sealed) && marks.flushing.insert(*id);
            let mark = MarkKind::Flushing(*id);
            wanted.then(|| self.jobs.job(Work::Flush(Arc::clone(keyspace)), mark))
        })
    }
}

/// A compaction that met a damaged table would meet it again and again.
fn set_damaged_table_aside(marks: &mut Marks, work: &Work, error: &Error) {
    let (Work::Compact(keyspace, plan), Error::Corruption(damage)) = (work, error) else {
        return;
    };
    let name = damage.file.file_name().unwrap_or_default();
    if let Some(FileKind::Table(number)) = FileKind::parse(&name.to_string_lossy())
        && plan.tables().any(|table| table.number == number)
        && let Some(running) = marks.compacting.get_mut(&keyspace.id)
    {
        tracing::error!(%damage, "a damaged table is set aside; repair salvages what is intact");
        running.set_aside(number, damage.clone());
    }
}
