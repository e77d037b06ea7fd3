//! The store under test with its model: how it is opened, checked and restarted.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use ringwood_env::faulty::{Operation, TraceEntry};
use ringwood_env::{CrashMode, FaultPlan, FaultyDisk, ManualClock, SeededRandom};
use ringwood_lsm::{
    Db, Error, Iter, Job, Keyspace, Options, ReadOptions, Result, Snapshot, Ticket,
};

use super::coverage::Coverage;
use super::draw::{self, Data};
use super::habits::Habits;
use super::interlude::{self, Interlude};
use super::model::{History, Map, Restart, State, Write};

pub const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

/// A broken promise, in words.
#[derive(Debug)]
pub struct Violation(pub String);

/// Whether the store kept its promises so far.
pub type Kept<T = ()> = std::result::Result<T, Violation>;

pub fn violation<T>(what: impl fmt::Display) -> Kept<T> {
    Err(Violation(what.to_string()))
}

/// An iterator that is held, and what it must show.
pub struct HeldIter {
    pub iter: Iter,
    pub map: Map,
    pub bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    /// Where it stands.
    pub at: Option<Vec<u8>>,
    /// Times it may have read on the clock.
    pub times: Vec<u64>,
}

/// Creating or dropping a keyspace that failed with the store.
pub struct Doubt {
    pub name: String,
    /// `None`: it was being created.
    pub dropped: Option<u32>,
}

pub struct World {
    pub random: SeededRandom,
    pub disk: FaultyDisk,
    pub clock: Arc<ManualClock>,
    pub options: Options,
    pub data: Data,
    pub habits: Habits,
    pub interlude: Interlude,
    pub coverage: Coverage,
    /// A defect of the disk, there all the time.
    pub plant: FaultPlan,
    /// Whether calls may fail without the power failing.
    pub faults_planned: bool,
    /// Whether a sector is bad.
    pub is_spoilt: bool,

    pub db: Option<Db>,
    pub spaces: BTreeMap<String, u32>,
    pub doubt: Option<Doubt>,
    pub history: History,
    pub queued: Vec<(Write, Ticket)>,
    pub snapshots: Vec<(Snapshot, State)>,
    pub iters: Vec<HeldIter>,
    pub jobs: Vec<Job>,
    pub checkpoints: Vec<(PathBuf, State, BTreeMap<String, u32>)>,
    pub directories_made: u32,
    /// The last time that must not be forgotten by a crash, and the last one shown.
    pub durable_now: u64,
    pub last_now: u64,
    /// What was done, for the report.
    pub log: Vec<String>,
}

impl World {
    pub fn new(seed: u64, keys_max: u64, plant: FaultPlan) -> Self {
        let random = SeededRandom::new(seed);
        let disk = FaultyDisk::new(random.below(u64::MAX));
        let interlude = Interlude::default();
        interlude.attach(&disk);
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let memtable_len =
            *random.pick(&[1 << 10, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10]);
        let mut options = Options {
            memory_budget: *random.pick(&[1 << 20, 8 << 20]),
            memtable_len: Some(memtable_len),
            log_segment_len: *random.pick(&[16 << 10, 16 << 10, 32 << 10, 64 << 10]),
            log_len_max: *random.pick(&[None, Some(64 << 10)]),
            threads: 0,
            open_tables_max: *random.pick(&[16, 64]),
            disk: Arc::new(disk.clone()),
            clock: Arc::clone(&clock) as _,
            random: Arc::new(random.fork()),
            ..Options::new("store")
        };
        let habits = Habits::new(&random);
        disk.refuse_direct(habits.refuses_direct);
        options.expiry_filters = habits.expiry_filters();
        let mut coverage = Coverage::default();
        coverage.note_if(habits.refuses_direct, "disks that refuse direct writes");
        let world = Self {
            data: Data::new(&random, keys_max),
            random,
            disk,
            clock,
            options,
            habits,
            interlude,
            coverage,
            plant,
            faults_planned: false,
            is_spoilt: false,
            db: None,
            spaces: BTreeMap::new(),
            doubt: None,
            history: History::default(),
            queued: Vec::new(),
            snapshots: Vec::new(),
            iters: Vec::new(),
            jobs: Vec::new(),
            checkpoints: Vec::new(),
            directories_made: 0,
            durable_now: 0,
            last_now: 0,
            log: Vec::new(),
        };
        world.plan_disk(FaultPlan::default());
        world
    }

    pub fn db(&self) -> &Db {
        self.db.as_ref().expect("it is open")
    }

    pub fn say(&mut self, what: impl fmt::Display) {
        let at = self.disk.operations();
        self.log.push(format!("{at:>6} {what}"));
    }

    /// Plans faults, on top of the planted one.
    pub fn plan(&mut self, plan: FaultPlan) {
        self.is_spoilt = !plan.bad_sectors.is_empty();
        self.faults_planned = !plan.failures.is_empty() || self.is_spoilt;
        self.plan_disk(plan);
    }

    fn plan_disk(&self, plan: FaultPlan) {
        self.disk.set_plan(FaultPlan {
            delays: interlude::delays(),
            ignore_sync_of: self.plant.ignore_sync_of.clone(),
            ignore_sync_dir: self.plant.ignore_sync_dir,
            ..plan
        });
    }

    /// Whether the store must not go on, be it right in that or not.
    pub fn is_down(&self) -> bool {
        self.disk.is_crashed() || self.db.as_ref().is_none_or(|db| db.failure().is_some())
    }

    /// Whether such a call failed lately, on a path that ends so.
    pub fn has_failed(&self, operation: Operation, suffix: &str) -> bool {
        let matches = |entry: &TraceEntry| {
            entry.operation == operation && entry.path.ends_with(suffix) && entry.outcome.is_err()
        };
        self.disk.trace().iter().any(matches)
    }

    /// The outcome of a call, `None` where it failed and was allowed to.
    pub fn allow<T>(&mut self, what: &str, outcome: Result<T>) -> Kept<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.say(format!("  {what}: {error}"));
                self.check_error(what, &error)?;
                Ok(None)
            }
        }
    }

    fn check_error(&mut self, what: &str, error: &Error) -> Kept {
        let is_damage = matches!(
            error,
            Error::Corruption(_) | Error::UnsupportedFormat { .. } | Error::Panicked { .. }
        );
        if is_damage || !(self.disk.is_crashed() || self.faults_planned) {
            return violation(format!("E4: {what} failed for no good reason: {error}"));
        }
        let cause = match error {
            Error::Io { source, .. } => source.raw_os_error().and_then(counted_as),
            _ => None,
        };
        self.coverage
            .note_if(!self.disk.is_crashed(), "calls failed with I/O errors");
        if let Some(what) = cause {
            self.coverage.note(what);
            self.coverage
                .note_if(self.is_spoilt, "reads of a bad sector");
        }
        Ok(())
    }

    /// Ends the process, or the machine, without closing the store.
    pub fn restart(&mut self, restart: Restart) {
        self.note_how_it_was();
        let seed = self.random.below(u64::MAX);
        if restart == Restart::Process {
            // The old process closes its store on a disk that nobody looks at any more.
            self.disk = self.disk.image(seed);
            self.options.disk = Arc::new(self.disk.clone());
            self.interlude.attach(&self.disk);
        }
        self.forget_handles();
        if restart == Restart::Power {
            let mode = *self.random.pick(&CrashMode::ALL);
            self.disk.crash(mode);
            self.say(format!("power failed: {mode:?}"));
        } else {
            self.say("the process was killed");
        }
        self.plan(FaultPlan::default());
        self.disk.set_capacity(None);
        if self.random.chance(0.2) {
            self.set_clock_back();
        }
    }

    pub fn set_clock_back(&mut self) {
        let now = ringwood_env::Clock::wall(&*self.clock);
        self.clock.set_wall(now - 1 - self.random.below(5000));
        self.coverage.note("clocks set back");
    }

    /// Closes the store in order.
    pub fn close(&mut self) -> Kept<bool> {
        self.jobs.clear();
        self.iters.clear();
        self.snapshots.clear();
        let db = self.db.take().expect("it is open");
        let now = db.now();
        let closed = db.clone().close();
        self.poll()?;
        let closed = self.allow("close", closed)?.is_some();
        if closed {
            self.history.all_durable();
            self.durable_now = now;
        }
        Ok(closed)
    }

    pub fn forget_handles(&mut self) {
        self.jobs.clear();
        self.queued.clear();
        self.iters.clear();
        self.snapshots.clear();
        // Closes on a disk that fails, if it was not closed before.
        self.db = None;
    }

    fn note_how_it_was(&mut self) {
        let is_recycling = |entry: &TraceEntry| {
            entry.operation == Operation::Rename && entry.path.ends_with(".log")
        };
        let recycled = self.disk.trace().iter().any(is_recycling);
        self.coverage
            .note_if(recycled, "restarts soon after a log segment was recycled");
        let asked = self.habits.times_filter_was_asked();
        self.coverage.add("times an expiry filter was asked", asked);
        let Some(db) = &self.db else { return };
        let statistics = db.statistics();
        let coverage = &mut self.coverage;
        coverage.add("compactions", statistics.compactions);
        coverage.add("flushes", statistics.flushes);
        coverage.add("stalls", statistics.stalls);
        coverage.note_if(
            self.history.at_risk() > 0,
            "restarts with buffered writes at risk",
        );
        coverage.note_if(statistics.snapshots > 0, "restarts with open snapshots");
        let deep = |space: &ringwood_lsm::KeyspaceStatistics| {
            space.levels.iter().filter(|level| level.tables > 0).count()
        };
        let deepest = statistics.keyspaces.iter().map(deep).max().unwrap_or(0);
        coverage.note_if(deepest >= 2, "restarts with two levels or more");
        coverage.note_if(deepest >= 3, "restarts with three levels or more");
    }

    /// Opens the store after `restart`, with the power failing meanwhile now and then, and checks
    /// what is left.
    pub fn open(&mut self, mut restart: Restart) -> Kept {
        let mut crashes_left = self.random.below(8).saturating_sub(4);
        loop {
            if crashes_left > 0 {
                let at = draw::skewed(&self.random, 60);
                self.plan(FaultPlan::crash_at(at));
            }
            let opened = Db::open(self.options.clone());
            let cut_short = self.disk.is_crashed();
            if cut_short || crashes_left > 0 && opened.is_err() {
                self.say(format!("the power failed while opening: {opened:?}"));
                self.coverage.note("crashes in recovery");
                drop(opened);
                restart = Restart::Power;
                let mode = *self.random.pick(&CrashMode::ALL);
                self.disk.crash(mode);
                crashes_left = crashes_left.saturating_sub(1);
                if crashes_left == 0 {
                    self.plan(FaultPlan::default());
                }
                continue;
            }
            self.plan(FaultPlan::default());
            match opened {
                Ok(db) => self.db = Some(db),
                Err(error) => return violation(format!("E1: the store does not open: {error}")),
            }
            break;
        }
        let report = self.db().open_report().clone();
        self.say(format!("opened: {report:?}"));
        self.coverage.note("opened");
        self.coverage
            .note_if(report.torn_tail.is_some(), "torn tails recovered");
        self.coverage.note_if(
            report.clean && !report.created,
            "opened after a clean close",
        );
        self.coverage.note_if(report.replayed > 0, "logs replayed");
        self.coverage
            .note_if(!report.healed.is_empty(), "damage healed");
        let manifests = self.disk.paths().into_iter();
        let mut manifests = manifests.filter(|path| path.starts_with("store/MANIFEST-"));
        let grown = manifests.any(|path| path != "store/MANIFEST-000001");
        self.coverage
            .note_if(grown, "opened from a manifest written anew");
        self.check_recovered(restart)
    }

    /// E1, E2: what was recovered is one of the outcomes that the restart may have had.
    fn check_recovered(&mut self, restart: Restart) -> Kept {
        self.last_now = self.db().now();
        if self.last_now < self.durable_now {
            let (now, before) = (self.last_now, self.durable_now);
            return violation(format!("the clock went back from {before} to {now}"));
        }
        self.check_keyspaces()?;
        let found = self.scan_all(None)?.expect("nothing fails after a restart");
        let now = self.last_now;
        let outcomes = self.history.outcomes(restart);
        let matches = |state: &State| {
            self.spaces
                .iter()
                .all(|(name, id)| same(state.range(*id, ALL, now), &found[name]))
        };
        let mut tried = Vec::new();
        let mut outcome = None;
        for (count, state) in outcomes {
            if matches(&state) {
                outcome = Some((count, state));
                break;
            }
            tried.push((count, state));
        }
        let Some((count, state)) = outcome else {
            return violation(self.explain(&tried, &found));
        };
        self.coverage
            .note_if(tried.len() > 1, "recovered more than what was durable");
        // What the clock says at an open is noted once somebody was told of what it expired.
        let spaces: Vec<_> = self.spaces.values().copied().collect();
        self.told_passed(state.passed(&spaces, |_| true, now));
        self.history.settle(count, state);
        if restart == Restart::Power {
            self.check_checkpoints()?;
        }
        self.check_seqs()
    }

    fn explain(&self, tried: &[(usize, State)], found: &BTreeMap<String, Found>) -> String {
        let mut text = "E1/E2: what was recovered is no prefix of the writes\n".to_owned();
        for (count, state) in [tried.first(), tried.last()].into_iter().flatten() {
            text += &format!(" beside {count} writes behind the durable ones:\n");
            for (name, id) in &self.spaces {
                let expected: BTreeMap<_, _> = state
                    .range(*id, ALL, self.last_now)
                    .map(|(key, entry)| (key.clone(), entry.clone()))
                    .collect();
                text += &differences(name, &expected, &found[name]);
            }
        }
        text
    }

    fn check_keyspaces(&mut self) -> Kept {
        let mut expected: Vec<_> = self.spaces.keys().cloned().collect();
        let found = self.db().keyspaces();
        if found != expected
            && let Some(doubt) = self.doubt.take()
        {
            self.coverage
                .note("keyspace changes of unknown outcome that happened");
            match doubt.dropped {
                Some(_) => drop(self.spaces.remove(&doubt.name)),
                None => {
                    let created = self.db().keyspace(&doubt.name);
                    let id = created.map(|space| space.id().number()).unwrap_or_default();
                    self.spaces.insert(doubt.name, id);
                }
            }
            expected = self.spaces.keys().cloned().collect();
        }
        self.doubt = None;
        if found != expected {
            return violation(format!("E1: keyspaces {found:?}, expected {expected:?}"));
        }
        for (name, id) in &self.spaces {
            if self.space(name).id().number() != *id {
                return violation(format!("E1: keyspace {name} has another id"));
            }
        }
        Ok(())
    }

    /// E6, for writes that nobody was told of: what they were numbered is not issued again.
    fn check_seqs(&mut self) -> Kept {
        for (name, id) in self.spaces.clone() {
            let space = self.space(&name);
            for key in self.history.visible.map(id).keys() {
                let Ok(Some(found)) = space.get_with(key, &ReadOptions::default()) else {
                    continue; // expired
                };
                self.history.last_seq = self.history.last_seq.max(found.seq.get());
            }
        }
        Ok(())
    }

    /// Checkpoints that were finished before the power failed are whole stores.
    fn check_checkpoints(&mut self) -> Kept {
        for (path, state, spaces) in std::mem::take(&mut self.checkpoints) {
            self.check_checkpoint(path, &state, &spaces)?;
        }
        Ok(())
    }

    pub fn check_checkpoint(
        &mut self,
        path: PathBuf,
        state: &State,
        spaces: &BTreeMap<String, u32>,
    ) -> Kept {
        self.coverage.note("checkpoints opened");
        let options = Options {
            path,
            create: false,
            ..self.options.clone()
        };
        let copy = match Db::open(options) {
            Ok(copy) => copy,
            Err(error) => return violation(format!("the checkpoint does not open: {error}")),
        };
        for (name, id) in spaces {
            let space = copy.keyspace(name).map_err(|e| Violation(e.to_string()))?;
            let found = scan(&space, &ReadOptions::default());
            let found = found.map_err(|e| Violation(e.to_string()))?;
            if !same(state.range(*id, ALL, copy.now()), &found) {
                return violation(format!("the checkpoint differs in {name}"));
            }
        }
        Ok(())
    }

    /// The store's clock never goes back.
    pub fn check_time(&mut self) -> Kept {
        let (now, before) = (self.db().now(), self.last_now);
        self.last_now = now;
        if now < before {
            return violation(format!("time went back from {before} to {now}"));
        }
        Ok(())
    }

    pub fn space(&self, name: &str) -> Keyspace {
        self.db().keyspace(name).expect("the model knows it")
    }

    /// Everything the store shows, by keyspace; `None` where reading failed and was allowed to.
    pub fn scan_all(
        &mut self,
        snapshot: Option<&Snapshot>,
    ) -> Kept<Option<BTreeMap<String, Found>>> {
        let names: Vec<_> = self.spaces.keys().cloned().collect();
        let mut all = BTreeMap::new();
        for name in names {
            let options = ReadOptions {
                snapshot,
                ..ReadOptions::default()
            };
            let found = scan(&self.space(&name), &options);
            match self.allow("scan", found)? {
                Some(found) => all.insert(name, found),
                None => return Ok(None),
            };
        }
        Ok(Some(all))
    }

    /// E7: notes that the store has called a deadline past.
    pub fn told_passed(&mut self, deadline: Option<u64>) {
        let told = deadline.unwrap_or(0);
        self.coverage
            .note_if(told > self.durable_now, "told that a key has expired");
        self.durable_now = self.durable_now.max(told);
    }

    /// E5: everything is as the model has it, now or at a snapshot.
    pub fn check_all(&mut self, snapshot: Option<(&Snapshot, &State)>) -> Kept {
        let Some(found) = self.scan_all(snapshot.map(|(snapshot, _)| snapshot))? else {
            return Ok(());
        };
        let now = self.db().now();
        let spaces: Vec<_> = self.spaces.values().copied().collect();
        let state = snapshot.map_or(&self.history.visible, |(_, state)| state);
        let passed = state.passed(&spaces, |_| true, now);
        self.told_passed(passed);
        let state = snapshot.map_or(&self.history.visible, |(_, state)| state);
        for (name, id) in &self.spaces {
            if !same(state.range(*id, ALL, now), &found[name]) {
                let expected = state.range(*id, ALL, now);
                let expected = expected.map(|(k, e)| (k.clone(), e.clone())).collect();
                let what = if snapshot.is_some() {
                    "a snapshot"
                } else {
                    "a scan"
                };
                let differences = differences(name, &expected, &found[name]);
                return violation(format!("E5: {what} differs\n{differences}"));
            }
        }
        Ok(())
    }

    /// Notes what became of queued writes.
    pub fn poll(&mut self) -> Kept {
        while let Some((_, ticket)) = self.queued.first()
            && ticket.is_done()
        {
            let (write, ticket) = self.queued.remove(0);
            self.note(write, ticket.wait())?;
        }
        Ok(())
    }

    /// Notes what a write was told.
    pub fn note(&mut self, write: Write, told: Result<ringwood_lsm::SeqNo>) -> Kept {
        let synced = write.durability == ringwood_lsm::Durability::Synced;
        match &told {
            Ok(_) if synced => self.durable_now = self.db.as_ref().map_or(0, Db::now),
            Ok(_) => {}
            // Refused, which needs no fault.
            Err(Error::Stalled | Error::Closed) => {}
            Err(Error::BatchTooLarge { .. }) => self.coverage.note("batches too large"),
            Err(error) => {
                self.say(format!("  write: {error}"));
                self.check_error("write", &error.clone())?;
                self.coverage.note(match error {
                    Error::OutcomeUnknown { .. } => "writes of unknown outcome",
                    _ => "writes refused",
                });
            }
        }
        self.history.note(write, told).map_err(Violation)
    }
}

/// What of an operating system's errors is counted.
fn counted_as(code: i32) -> Option<&'static str> {
    const EIO: i32 = 5;
    const EACCES: i32 = 13;
    const EMFILE: i32 = 24;
    match code {
        EIO => Some("calls failed with EIO"),
        EACCES => Some("calls failed with EACCES"),
        EMFILE => Some("calls failed with EMFILE"),
        _ => None,
    }
}

/// Key, value and deadline of every entry, in order.
pub type Found = Vec<(Vec<u8>, Vec<u8>, Option<u64>)>;

pub fn scan(space: &Keyspace, options: &ReadOptions<'_>) -> Result<Found> {
    walk(space, ALL, options, true)
}

/// What an iterator shows of `bounds`, in order whichever way it goes.
pub fn walk(
    space: &Keyspace,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
    options: &ReadOptions<'_>,
    forward: bool,
) -> Result<Found> {
    let mut iter = space.range(bounds, options)?;
    let mut found = Vec::new();
    if forward {
        iter.seek_to_first()?;
    } else {
        iter.seek_to_last()?;
    }
    while iter.valid() {
        found.push((iter.key().to_vec(), iter.value().to_vec(), iter.deadline()));
        if forward {
            iter.next()?;
        } else {
            iter.prev()?;
        }
    }
    if !forward {
        found.reverse();
    }
    Ok(found)
}

fn same<'a>(
    expected: impl Iterator<Item = (&'a Vec<u8>, &'a super::model::Entry)>,
    found: &Found,
) -> bool {
    let mut found = found.iter();
    for (key, entry) in expected {
        let Some((found_key, value, deadline)) = found.next() else {
            return false;
        };
        if found_key != key || value[..] != entry.value[..] || *deadline != entry.deadline {
            return false;
        }
    }
    found.next().is_none()
}

fn differences(name: &str, expected: &Map, found: &Found) -> String {
    let found: BTreeMap<_, _> = found.iter().map(|(k, v, d)| (k, (v, d))).collect();
    let short = |bytes: &[u8]| bytes[..bytes.len().min(16)].escape_ascii().to_string();
    let mut text = String::new();
    for (key, entry) in expected {
        let there = found
            .get(key)
            .map(|(value, deadline)| (short(value), **deadline));
        if there != Some((short(&entry.value), entry.deadline)) {
            let expected = (short(&entry.value), entry.deadline);
            text += &format!(
                "  {name}/{}: expected {expected:?}, found {there:?}\n",
                short(key)
            );
        }
    }
    for (key, (value, deadline)) in &found {
        if !expected.contains_key(*key) {
            let found = (short(value), deadline);
            text += &format!(
                "  {name}/{}: expected nothing, found {found:?}\n",
                short(key)
            );
        }
    }
    text
}
