//! The alphabet: what a run is made of.

use std::ops::Bound;
use std::path::PathBuf;
use std::time::Duration;

use ringwood_lsm::{Durability, Error, ReadOptions, ReadTier, Update};

use super::draw;
use super::interlude::{Done, Part};
use super::model::{Change, ChangeKind, Write};
use super::world::{Doubt, HeldIter, Kept, Violation, World, violation};

/// A key's number that a walk came by, with its value.
type Walked = (u64, Option<Vec<u8>>);

type Letter = fn(&mut World) -> Kept;

/// What is done, and how often among a thousand times if a seed does not like it more or less.
pub const ALPHABET: [(u64, Letter); 22] = [
    (420, World::write),
    (80, World::submit),
    (20, World::update),
    (80, World::run_a_job),
    (15, World::hold_a_job),
    (25, World::run_all_jobs),
    (15, World::flush),
    (12, World::compact),
    (13, World::sync),
    (100, World::get),
    (10, World::multi_get),
    (40, World::take_snapshot),
    (20, World::read_snapshot),
    (20, World::drop_snapshot),
    (30, World::make_iter),
    (50, World::walk_iter),
    (15, |world| world.check_all(None)),
    (20, World::move_clock),
    (4, World::create_keyspace),
    (3, World::drop_keyspace),
    (4, World::checkpoint),
    (4, World::drop_iters),
];

impl World {
    /// Does one thing, drawn at random, and checks what it shows.
    pub fn step(&mut self) -> Kept {
        if self.spaces.is_empty() {
            return self.create_keyspace();
        }
        if self.spaces.len() < self.habits.spaces_min && !self.is_down() && self.random.chance(0.3)
        {
            return self.create_keyspace();
        }
        let letter = self.habits.letter(&self.random);
        ALPHABET[letter].1(self)?;
        self.poll()
    }

    pub fn some_space(&self) -> (String, u32) {
        let at = self.random.index(self.spaces.len());
        let (name, id) = self.spaces.iter().nth(at).expect("it is below the number");
        (name.clone(), *id)
    }

    fn draw_change(&mut self) -> Change {
        let space = self.some_space().1;
        self.data.change(&self.random, space, self.last_now)
    }

    fn draw_write(&mut self) -> Write {
        let count = if self.random.chance(0.6) {
            1
        } else {
            draw::skewed(&self.random, 12)
        };
        let durability = if self.random.chance(self.habits.synced) {
            Durability::Synced
        } else {
            Durability::Buffered
        };
        Write {
            changes: (0..count).map(|_| self.draw_change()).collect(),
            durability,
            first_seq: None,
        }
    }

    fn write(&mut self) -> Kept {
        let write = self.draw_write();
        self.say(format!("write {:?} {}", write.durability, summary(&write)));
        self.write_now(write)
    }

    /// Writes, making room for it where background work is behind.
    pub fn write_now(&mut self, write: Write) -> Kept {
        let batch = write.batch(self.db());
        let mut told = self.db().write(&batch, write.durability);
        if matches!(told, Err(Error::Stalled)) {
            self.coverage.note("writes stalled");
            self.run_all_jobs()?;
            told = self.db().write(&batch, write.durability);
            if matches!(told, Err(Error::Stalled)) && !self.is_down() && !self.faults_planned {
                return violation("writes stall, and there is nothing to do");
            }
        }
        // What was queued before was written before.
        self.poll()?;
        self.note(write, told)
    }

    fn submit(&mut self) -> Kept {
        let write = self.draw_write();
        self.say(format!("submit {:?} {}", write.durability, summary(&write)));
        match self.db().submit(&write.batch(self.db()), write.durability) {
            Ok(ticket) => {
                self.queued.push((write, ticket));
                Ok(())
            }
            Err(error) => self.note(write, Err(error)),
        }
    }

    fn update(&mut self) -> Kept {
        let (name, space) = self.some_space();
        let key = self.data.key(&self.random);
        let value = self.data.value(&self.random);
        self.say(format!("update {}", key.escape_ascii()));
        let kind = match self.random.below(3) {
            0 => ChangeKind::Delete,
            _ => ChangeKind::Put {
                value,
                deadline: None,
            },
        };
        let change = match &kind {
            ChangeKind::Put { value, .. } => Update::Put(value.to_vec()),
            _ => Update::Delete,
        };
        let mut shown = None;
        let told = self.space(&name).update(&key, Durability::Synced, |found| {
            shown = Some(found.map(|found| found.value.to_vec()));
            change
        });
        let now = self.db().now();
        let expected = self
            .history
            .visible
            .get(space, &key, now)
            .map(|e| e.value.to_vec());
        if shown.is_some_and(|shown| shown != expected) {
            return violation("E5: an update was shown something else");
        }
        self.poll()?;
        let write = Write {
            changes: vec![Change { space, key, kind }],
            durability: Durability::Synced,
            first_seq: None,
        };
        match told {
            Ok(seq) => self.note(write, Ok(seq.expect("it was not told to keep"))),
            Err(error) => self.note(write, Err(error)),
        }
    }

    fn run_a_job(&mut self) -> Kept {
        let held = self.jobs.len() as u64;
        let job = if held > 0 && self.random.chance(0.5) {
            let at = self.random.index(self.jobs.len());
            Some(self.jobs.swap_remove(at))
        } else {
            self.db().next_job()
        };
        job.map_or(Ok(()), |job| self.run(job))
    }

    /// Takes a job and runs it later, as a slow thread would.
    fn hold_a_job(&mut self) -> Kept {
        if let Some(job) = self.db().next_job() {
            self.say(
                format!("hold: {job:?}")
                    .chars()
                    .take(60)
                    .collect::<String>(),
            );
            self.jobs.push(job);
        }
        Ok(())
    }

    fn run(&mut self, job: ringwood_lsm::Job) -> Kept {
        let what: String = format!("{job:?}").chars().take(30).collect();
        self.say(format!("run: {what}"));
        let compacts = what.starts_with("compact");
        let flushes = what.starts_with("flush");
        self.plan_interlude();
        let ran = self.db().run(job);
        self.note_interlude()?;
        let crashed = ran.is_err() && self.disk.is_crashed();
        self.coverage
            .note_if(crashed && compacts, "crashes in a compaction");
        self.coverage
            .note_if(crashed && flushes, "crashes in a flush");
        self.coverage.note_if(
            ran.is_err() && !crashed && (compacts || flushes),
            "background work failed",
        );
        self.poll()?;
        self.allow("job", ran).map(drop)
    }

    /// Now and then something else is done in the middle of the job that comes.
    fn plan_interlude(&mut self) {
        if self.spaces.is_empty() || !self.random.chance(self.habits.interludes) {
            return;
        }
        let mut parts = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            parts.push(match self.random.below(10) {
                0..6 => {
                    let write = self.draw_write();
                    let batch = write.batch(self.db());
                    Part::Write(write, batch)
                }
                6 | 7 => Part::TakeSnapshot,
                8 => Part::Sync,
                _ => Part::Job,
            });
        }
        self.interlude.plan(self.db().clone(), parts);
    }

    /// Notes what was done in the middle of a job.
    fn note_interlude(&mut self) -> Kept {
        let mut queue_is_written = false;
        for done in self.interlude.end() {
            // What was queued before is written before the first write, and is the first job: a snapshot
            // taken earlier does not show it.
            let writes = matches!(done, Done::Wrote(..) | Done::Ran(..));
            if writes && !queue_is_written {
                queue_is_written = true;
                self.poll()?;
            }
            match done {
                Done::Wrote(write, told) => {
                    self.say(format!(
                        "  meanwhile: write {:?} {}",
                        write.durability,
                        summary(&write)
                    ));
                    self.coverage.note("writes in the middle of a job");
                    self.note(write, told)?;
                }
                Done::Took(snapshot) => {
                    self.say("  meanwhile: take a snapshot");
                    self.coverage.note("snapshots taken in the middle of a job");
                    let state = self.history.visible.clone();
                    self.snapshots.push((snapshot, state));
                }
                Done::Synced(synced) => {
                    self.say("  meanwhile: sync");
                    if self.allow("sync", synced)?.is_some() {
                        self.coverage.note("syncs in the middle of a job");
                        self.history.all_durable();
                    }
                }
                Done::Ran(what, ran) => {
                    self.say(format!("  meanwhile: run {what}"));
                    self.coverage.note("jobs in the middle of a job");
                    self.allow("job", ran)?;
                }
            }
        }
        Ok(())
    }

    /// Runs jobs until there are none, or one fails.
    pub fn run_all_jobs(&mut self) -> Kept {
        for turn in 0..10_000 {
            // What is done in the middle of jobs makes more of them, for as long as it is.
            if turn == 1000 {
                self.habits.interludes = 0.0;
            }
            let Some(job) = self.jobs.pop().or_else(|| self.db().next_job()) else {
                return Ok(());
            };
            let failed_before = self.db().statistics().job_failures;
            self.run(job)?;
            if self.is_down() || self.db().statistics().job_failures > failed_before {
                return Ok(());
            }
        }
        violation("background work never ends")
    }

    fn finish_held_jobs(&mut self) -> Kept {
        while let Some(job) = self.jobs.pop() {
            self.run(job)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Kept {
        self.finish_held_jobs()?;
        self.say("flush");
        let flushed = self.db().flush();
        if self.allow("flush", flushed)?.is_some() {
            // Not what was queued, and written while others were flushed.
            self.history.all_durable();
        }
        Ok(())
    }

    fn compact(&mut self) -> Kept {
        self.finish_held_jobs()?;
        let (name, _) = self.some_space();
        self.say(format!("compact {name}"));
        let compacted = self.space(&name).compact();
        self.poll()?;
        let crashed = compacted.is_err() && self.disk.is_crashed();
        self.coverage.note_if(crashed, "crashes in a compaction");
        self.allow("compact", compacted).map(drop)
    }

    fn sync(&mut self) -> Kept {
        self.say("sync");
        let synced = self.db().sync();
        if self.allow("sync", synced)?.is_some() {
            self.history.all_durable();
        }
        Ok(())
    }

    fn get(&mut self) -> Kept {
        let (name, space) = self.some_space();
        let key = self.data.key(&self.random);
        let held = self.snapshots.len();
        let snapshot = (held > 0 && self.random.chance(0.3)).then(|| self.random.index(held));
        let options = ReadOptions {
            snapshot: snapshot.map(|at| &self.snapshots[at].0),
            tier: self.habits.tier(&self.random),
            ..ReadOptions::default()
        };
        let tier = options.tier;
        let found = self.space(&name).get_with(&key, &options);
        if tier == ReadTier::Memory {
            if matches!(found, Err(Error::WouldBlock)) {
                self.coverage.note("reads in memory that would have waited");
                return Ok(());
            }
            self.coverage.note("reads in memory that were answered");
        }
        let state = snapshot.map_or(&self.history.visible, |at| &self.snapshots[at].1);
        let now = self.db().now();
        let expected = state.get(space, &key, now).cloned();
        let passed = state.passed(&[space], |other| other == key, now);
        let Some(found) = self.allow("get", found)? else {
            return Ok(());
        };
        self.told_passed(passed);
        let agrees = match (&found, &expected) {
            (None, None) => true,
            (Some(found), Some(entry)) => {
                found.value[..] == entry.value[..]
                    && found.deadline == entry.deadline
                    && entry.seq.is_none_or(|seq| seq == found.seq.get())
            }
            _ => false,
        };
        if !agrees {
            let key = key.escape_ascii();
            let at = options_name(snapshot);
            return violation(format!(
                "E5: get of {name}/{key}{at} gave {found:?}, expected {expected:?}"
            ));
        }
        Ok(())
    }

    fn multi_get(&mut self) -> Kept {
        let (name, space) = self.some_space();
        let keys: Vec<_> = (0..1 + self.random.index(6))
            .map(|_| self.data.key(&self.random))
            .collect();
        let borrowed: Vec<_> = keys.iter().map(Vec::as_slice).collect();
        let found = self
            .space(&name)
            .multi_get(&borrowed, &ReadOptions::default());
        let now = self.db().now();
        for (key, found) in keys.iter().zip(found) {
            let Some(found) = self.allow("multi_get", found)? else {
                continue;
            };
            let state = &self.history.visible;
            let passed = state.passed(&[space], |other| other == &key[..], now);
            let expected = state.get(space, key, now);
            if found.map(|found| found.value.to_vec()) != expected.map(|e| e.value.to_vec()) {
                return violation(format!("E5: multi_get of {} differs", key.escape_ascii()));
            }
            self.told_passed(passed);
        }
        Ok(())
    }

    fn take_snapshot(&mut self) -> Kept {
        if self.snapshots.len() < 4 {
            self.say("take a snapshot");
            let snapshot = self.db().snapshot();
            self.snapshots
                .push((snapshot, self.history.visible.clone()));
        }
        Ok(())
    }

    fn read_snapshot(&mut self) -> Kept {
        if self.snapshots.is_empty() {
            return Ok(());
        }
        let at = self.random.index(self.snapshots.len());
        let (snapshot, state) = self.snapshots[at].clone();
        self.check_all(Some((&snapshot, &state)))
    }

    fn drop_snapshot(&mut self) -> Kept {
        if !self.snapshots.is_empty() {
            self.say("drop a snapshot");
            let at = self.random.index(self.snapshots.len());
            drop(self.snapshots.swap_remove(at));
        }
        Ok(())
    }

    fn make_iter(&mut self) -> Kept {
        if self.iters.len() >= 3 {
            return Ok(());
        }
        let (name, space) = self.some_space();
        let (start, end) = self.data.range(&self.random);
        let lower = match self.random.below(3) {
            0 => Bound::Unbounded,
            1 => Bound::Included(start),
            _ => Bound::Excluded(start),
        };
        let upper = match self.random.below(3) {
            0 => Bound::Unbounded,
            1 => Bound::Excluded(end),
            _ => Bound::Included(end),
        };
        let held = self.snapshots.len();
        let snapshot = (held > 0 && self.random.chance(0.3)).then(|| self.random.index(held));
        let options = ReadOptions {
            snapshot: snapshot.map(|at| &self.snapshots[at].0),
            ..ReadOptions::default()
        };
        let borrowed = (as_slice(&lower), as_slice(&upper));
        if is_empty(borrowed) {
            return Ok(());
        }
        let iter = self.space(&name).range(borrowed, &options);
        let state = snapshot.map_or(&self.history.visible, |at| &self.snapshots[at].1);
        let map = state.map(space);
        if let Some(iter) = self.allow("range", iter)? {
            self.iters.push(HeldIter {
                iter,
                map,
                bounds: (lower, upper),
                at: None,
                times: Vec::new(),
            });
        }
        Ok(())
    }

    fn walk_iter(&mut self) -> Kept {
        if self.iters.is_empty() {
            return Ok(());
        }
        let at = self.random.index(self.iters.len());
        let mut held = self.iters.swap_remove(at);
        for _ in 0..1 + self.random.below(20) {
            let key = self.data.key(&self.random);
            let way = self.random.below(10);
            let now = self.db().now();
            let (moved, expected) = held.step(way, &key, now);
            if self.allow("move an iterator", moved)?.is_none() {
                return Ok(()); // it stands nowhere: given up
            }
            held.check(&expected).map_err(Violation)?;
        }
        self.iters.push(held);
        Ok(())
    }

    fn drop_iters(&mut self) -> Kept {
        self.iters.clear();
        Ok(())
    }

    fn move_clock(&mut self) -> Kept {
        if self.random.chance(0.2) {
            self.set_clock_back();
        } else {
            self.clock
                .advance(Duration::from_millis(1 + self.random.below(1000)));
        }
        self.check_time()?;
        // Somebody looks, and is told of what has expired by now.
        if self.random.chance(0.5) {
            self.check_all(None)?;
        }
        Ok(())
    }

    fn create_keyspace(&mut self) -> Kept {
        if self.spaces.len() >= 4 {
            return Ok(());
        }
        self.directories_made += 1;
        let name = format!("space-{}", self.directories_made);
        self.say(format!("create {name}"));
        let mut options = draw::keyspace_options(&self.random);
        options.expiry_filter = self.options.expiry_filters.get(&name).cloned();
        let created = self.db().create_keyspace(&name, options);
        if created.is_err() && self.doubt.is_none() && self.is_down() {
            self.doubt = Some(Doubt {
                name: name.clone(),
                dropped: None,
            });
        }
        if let Some(space) = self.allow("create", created)? {
            self.spaces.insert(name, space.id().number());
        }
        Ok(())
    }

    fn drop_keyspace(&mut self) -> Kept {
        if self.spaces.len() < 2 {
            return Ok(());
        }
        let (name, id) = self.some_space();
        self.say(format!("drop {name}"));
        let dropped = self.db().drop_keyspace(&name);
        if dropped.is_err() && self.doubt.is_none() && self.is_down() {
            self.doubt = Some(Doubt {
                name: name.clone(),
                dropped: Some(id),
            });
        }
        if self.allow("drop", dropped)?.is_some() {
            self.spaces.remove(&name);
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Kept {
        self.finish_held_jobs()?;
        self.directories_made += 1;
        let path = PathBuf::from(format!("copy-{}", self.directories_made));
        self.say(format!("checkpoint {}", path.display()));
        if !self.queued.is_empty() {
            self.run_a_job()?; // it writes the log, so that all is acknowledged before
        }
        let made = self.db().checkpoint(&path);
        if self.allow("checkpoint", made)?.is_some() {
            self.history.all_durable();
            let state = self.history.visible.clone();
            self.checkpoints.push((path, state, self.spaces.clone()));
        }
        Ok(())
    }
}

impl HeldIter {
    /// Moves, and says where it may stand then, by the time it goes by: an iterator reads the clock
    /// once, when it first meets an entry that expires.
    fn step(&mut self, way: u64, key: &[u8], now: u64) -> (ringwood_lsm::Result<()>, Vec<Walked>) {
        if !self.times.contains(&now) {
            self.times.push(now);
        }
        let expected = self
            .times
            .iter()
            .map(|time| (*time, self.expected(way, key, *time).cloned()))
            .collect();
        let moved = match way {
            0 => self.iter.seek_to_first(),
            1 => self.iter.seek_to_last(),
            2 => self.iter.seek(key),
            3 => self.iter.seek_back(key),
            4..7 => self.iter.next(),
            _ => self.iter.prev(),
        };
        (moved, expected)
    }

    fn expected(&self, way: u64, key: &[u8], now: u64) -> Option<&Vec<u8>> {
        let bounds = (as_slice(&self.bounds.0), as_slice(&self.bounds.1));
        let mut shown = self
            .map
            .range::<[u8], _>(bounds)
            .filter(|(_, entry)| entry.is_visible(now))
            .map(|(key, _)| key);
        match (way, &self.at) {
            (0, _) => shown.next(),
            (1, _) => shown.next_back(),
            (2, _) => shown.find(|shown| shown[..] >= *key),
            (3, _) => shown.rfind(|shown| shown[..] <= *key),
            (4..7, Some(at)) => shown.find(|shown| *shown > at),
            (_, Some(at)) => shown.rfind(|shown| *shown < at),
            (_, None) => None,
        }
    }

    fn check(&mut self, expected: &[(u64, Option<Vec<u8>>)]) -> Result<(), String> {
        let found = self.iter.valid().then(|| self.iter.key().to_vec());
        let fits = |time: &u64| expected.iter().any(|(t, key)| t == time && *key == found);
        self.times.retain(fits);
        if self.times.is_empty() {
            let show = |key: &Option<Vec<u8>>| key.as_ref().map(|k| k.escape_ascii().to_string());
            let from = show(&self.at);
            let (found, expected) = (show(&found), expected.iter().map(|(_, key)| show(key)));
            let expected: Vec<_> = expected.collect();
            return Err(format!(
                "E5: an iterator went from {from:?} to {found:?}, not {expected:?}"
            ));
        }
        self.at = found;
        let Some(key) = &self.at else { return Ok(()) };
        let entry = &self.map[key];
        if self.iter.value() != &entry.value[..] || self.iter.deadline() != entry.deadline {
            let key = key.escape_ascii();
            return Err(format!("E5: an iterator shows another value of {key}"));
        }
        Ok(())
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// Ranges that a `BTreeMap` does not take.
fn is_empty((lower, upper): (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match (lower, upper) {
        (Bound::Excluded(a), Bound::Excluded(b)) => a >= b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a > b,
        _ => false,
    }
}

fn options_name(snapshot: Option<usize>) -> &'static str {
    if snapshot.is_some() {
        " at a snapshot"
    } else {
        ""
    }
}

fn summary(write: &Write) -> String {
    let change = |change: &Change| {
        let key = change.key.escape_ascii();
        match &change.kind {
            ChangeKind::Put { value, deadline } => {
                let value = value[..value.len().min(6)].escape_ascii();
                format!(
                    "{key}={value}{}",
                    if deadline.is_some() { "+ttl" } else { "" }
                )
            }
            ChangeKind::Delete => format!("-{key}"),
            ChangeKind::DeleteRange { end } => format!("-[{key},{})", end.escape_ascii()),
        }
    };
    let all: Vec<_> = write.changes.iter().map(change).collect();
    all.join(" ")
}
