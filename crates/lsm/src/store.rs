//! The inside of an open store: what its threads, its readers and its jobs share.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ringwood_env::{Clock, Disk, LatchedDisk};

use crate::batch::{Batch, BatchReader, KeyspaceId, KeyspaceNumber, MalformedBatch, StoreTag};
use crate::budget::MemoryBudget;
use crate::cache::BlockCache;
use crate::clock::ForwardClock;
use crate::commit::{CommitQueue, CommitTarget, Token};
use crate::compaction::{self, WritePressure};
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::files::{self, FileNumber, FileNumbers};
use crate::jobs::{Jobs, Sealed};
use crate::key::{InternalKey, SeqNo};
use crate::keyspaces::{Keyspaces, OpenKeyspace};
use crate::locks::lock;
use crate::manifest::{Edit, Manifest, ObsoleteFiles};
use crate::options::{Durability, Options};
use crate::plant::{Pause, Plant, is_planted, pause};
use crate::pressure::Pressure;
use crate::range_tombstone::Readers;
use crate::rate::RateLimiter;
use crate::snapshot::SnapshotList;
use crate::space::{Share, Space};
use crate::sstable::Block;
use crate::statistics::{CheckpointProgress, Counters};
use crate::tables::TableCache;
use crate::ticket::Ticket;
use crate::view::LoggedMemtable;
use crate::wal::{
    FIRST_LEN, Frame, LogWriter, Preparation, Segment, SegmentPool, payload_len_max,
    segment_len_for,
};

/// Everything an open store consists of.
pub(crate) struct Store {
    /// Handles bear it, so that those of other stores are known.
    pub(crate) tag: StoreTag,
    pub(crate) options: Options,
    /// All I/O goes through it: the first failed sync or write ends all others.
    pub(crate) disk: Arc<LatchedDisk>,
    pub(crate) clock: Arc<ForwardClock>,
    pub(crate) expiry: Arc<Expiry>,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) cache: Arc<BlockCache<Block>>,
    pub(crate) tables: Arc<TableCache>,
    pub(crate) obsolete: Arc<ObsoleteFiles>,
    pub(crate) keyspaces: Keyspaces,
    pub(crate) snapshots: Arc<SnapshotList>,
    pub(crate) commit: CommitQueue,
    /// Written by the commit token's holder; locked for a moment by a flush that frees segments.
    log: Mutex<LogWriter>,
    /// Number of the segment in `log`, to be read without it.
    current_log: AtomicU64,
    /// Whether the present segment is so full that the next one should be made.
    spare_due: AtomicBool,
    /// Whether a segment was begun since the log's length was last looked at.
    log_grew: AtomicBool,
    pub(crate) segments: Mutex<SegmentPool>,
    /// Signalled when a preparation ends.
    segment_prepared: Condvar,
    numbers: Arc<FileNumbers>,
    /// Its holder decides what the store consists of.
    manifest: Arc<Mutex<Manifest>>,
    pub(crate) pressure: Pressure,
    pressure_update: Mutex<()>,
    pub(crate) space: Space,
    pub(crate) share: Share,
    pub(crate) rate: Arc<RateLimiter>,
    pub(crate) jobs: Jobs,
    pub(crate) counters: Counters,
    /// Held while a checkpoint notes what it consists of.
    pub(crate) checkpointing: Mutex<()>,
    pub(crate) checkpoint_progress: Mutex<Option<CheckpointProgress>>,
}

/// What a store is made of when it is opened.
pub(crate) struct StoreParts {
    pub(crate) options: Options,
    pub(crate) disk: Arc<LatchedDisk>,
    pub(crate) clock: Arc<ForwardClock>,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) cache: Arc<BlockCache<Block>>,
    pub(crate) tables: Arc<TableCache>,
    pub(crate) obsolete: Arc<ObsoleteFiles>,
    pub(crate) keyspaces: Keyspaces,
    pub(crate) commit: CommitQueue,
    pub(crate) log: LogWriter,
    pub(crate) segments: SegmentPool,
    pub(crate) manifest: Manifest,
    pub(crate) share: Share,
}

/// Bytes that the next open replays at most after a close in order: a few milliseconds.
const REPLAYED_LEN_MAX: usize = 1 << 20;
/// A close in order leaves segments of about this length at most, where little is in them.
const LOG_LEN_CLOSED_MAX: u64 = 4 << 20;
/// More segments than this are too many where little is in them.
const LOGS_MANY: usize = 16;
/// At rest a segment that is more than this many times as long as what needs it is left.
const LONG_AT_REST: u64 = 4;
/// Memtables that may wait to be written out before writes must wait for them.
pub(crate) const SEALED_MAX: usize = 3;

impl Store {
    pub(crate) fn new(parts: StoreParts) -> Arc<Self> {
        let clock = Arc::clone(&parts.clock) as Arc<dyn Clock>;
        let rate = RateLimiter::new(parts.options.background_rate, clock, std::thread::sleep);
        let has_threads = parts.options.threads > 0;
        let numbers = Arc::clone(parts.manifest.numbers());
        let manifest = Arc::new(Mutex::new(parts.manifest));
        let expiry = Expiry::new(Arc::clone(&parts.clock), Arc::clone(&manifest));
        Arc::new(Self {
            tag: StoreTag::unused(),
            current_log: AtomicU64::new(parts.log.number().get()),
            log: Mutex::new(parts.log),
            spare_due: AtomicBool::new(false),
            log_grew: AtomicBool::new(false),
            segments: Mutex::new(parts.segments),
            segment_prepared: Condvar::new(),
            numbers,
            manifest,
            expiry: Arc::new(expiry),
            pressure: Pressure::new(has_threads),
            pressure_update: Mutex::default(),
            space: Space::default(),
            share: parts.share,
            rate: Arc::new(rate),
            jobs: Jobs::new(has_threads),
            counters: Counters::default(),
            checkpointing: Mutex::default(),
            checkpoint_progress: Mutex::default(),
            snapshots: Arc::default(),
            options: parts.options,
            disk: parts.disk,
            clock: parts.clock,
            budget: parts.budget,
            cache: parts.cache,
            tables: parts.tables,
            obsolete: parts.obsolete,
            keyspaces: parts.keyspaces,
            commit: parts.commit,
        })
    }

    /// Ends the log in order, once no job runs any more. The commit queue is closed.
    pub(crate) fn close(&self) -> Result<()> {
        self.jobs.close();
        let ended = self.end_log();
        // Whoever still has a handle changes nothing: another may open the directory next.
        self.manifest().close();
        ended
    }

    fn end_log(&self) -> Result<()> {
        self.check_not_failed()?;
        self.flush_before_close();
        let end = {
            let mut log = self.log();
            log.close(self.clock.wall())?;
            log.position()
        };
        let next = self.numbers.issue();
        let edits = if self.has_unflushed() {
            // Written by now and never again: noted, so that a log which is not all there at the next
            // open is damage, and no tail torn off by a crash.
            vec![Edit::SealLogs {
                last: end.log,
                end: end.offset,
                next,
            }]
        } else {
            vec![
                Edit::LastSeq(self.commit.published()),
                Edit::ClockHigh(self.clock.wall()),
                Edit::MinLog { number: next },
            ]
        };
        match self.release_logs(&edits) {
            Ok(()) => self.discard_logs(lock(&self.segments).give_back()),
            Err(error) => {
                tracing::warn!(%error, "the log was closed, but its end could not be noted");
            }
        }
        Ok(())
    }

    /// Whether a memtable holds what only the log has besides.
    fn has_unflushed(&self) -> bool {
        let keyspaces = self.keyspaces.all();
        keyspaces.values().any(|keyspace| {
            let view = keyspace.view();
            view.memtables().any(|memtable| !memtable.table.is_empty())
        })
    }

    /// Writes out what the next open would replay for long, or what keeps many segments. Nobody writes
    /// any more, and no job runs: the closer holds the token, as it were.
    fn flush_before_close(&self) {
        let roomy = self.live_log_len() > LOG_LEN_CLOSED_MAX;
        if self.unflushed_len() < REPLAYED_LEN_MAX && !self.has_many_logs() && !roomy {
            return;
        }
        for keyspace in self.keyspaces.all().values() {
            if !keyspace.view().active.table.is_empty() {
                keyspace.seal(&self.new_memtable());
            }
            if let Err(error) = self.flush_keyspace(keyspace) {
                tracing::warn!(%error, "memtables could not be written out; the log keeps them");
                return;
            }
        }
    }

    /// Bytes that only the log and memtables have.
    fn unflushed_len(&self) -> usize {
        let keyspaces = self.keyspaces.all();
        let views = keyspaces.values().map(|keyspace| keyspace.view_owned());
        views
            .map(|view| {
                let filled = view.memtables().map(|memtable| memtable.table.filled());
                filled.sum::<usize>()
            })
            .sum()
    }

    /// Bytes of all segments that are listed.
    fn live_log_len(&self) -> u64 {
        let logs = self.manifest().state().logs.clone();
        let segments = lock(&self.segments);
        logs.iter().map(|log| segments.len_of(*log)).sum()
    }

    /// Whether opening the store again and again has left many segments with little in them.
    fn has_many_logs(&self) -> bool {
        self.manifest().state().logs.len() > LOGS_MANY
    }

    /// Writes out what was replayed, where many segments hold it: a store that is opened often, and
    /// never closed, must not grow by it. Waits for it where it is little.
    pub(crate) fn flush_many_logs(&self) {
        if !self.has_many_logs() {
            return;
        }
        let Some(token) = self.commit.take_token() else {
            return;
        };
        let little = self.unflushed_len() < REPLAYED_LEN_MAX;
        for (keyspace, _) in self.seal_all(&token) {
            let flushed = if little {
                self.flush_keyspace(&keyspace)
            } else {
                Ok(())
            };
            if let Err(error) = flushed {
                tracing::warn!(%error, "memtables could not be written out; it is tried again");
            }
        }
    }

    /// Appends edits to the manifest, and frees the logs that it does not list afterwards.
    fn release_logs(&self, edits: &[Edit]) -> Result<()> {
        let mut manifest = self.manifest();
        let before: Vec<_> = manifest.state().logs.iter().copied().collect();
        manifest.append(edits)?;
        let min_log = manifest.state().min_log;
        drop(manifest);
        self.free_logs(before.into_iter().filter(|log| *log < min_log), min_log);
        Ok(())
    }

    /// Whether the log keeps room for a rate at which it does not grow any more.
    pub(crate) fn log_rests(&self) -> bool {
        lock(&self.segments).rests(self.clock.monotonic())
    }

    /// Gives back the room that only a higher rate of writes needed.
    pub(crate) fn trim_log(&self) -> Result<()> {
        self.discard_logs(lock(&self.segments).give_back());
        let segment = {
            let current = self.current_log();
            let mut segments = lock(&self.segments);
            let len = segments.len_of(current);
            let is_long = len > FIRST_LEN && len > LONG_AT_REST * self.unflushed_len() as u64;
            if segments.is_preparing() || !is_long {
                return Ok(());
            }
            segments.begin(self.numbers.issue(), 0)
        };
        self.finish_preparation(segment)?;
        let token = self.commit.take_token().ok_or(Error::Closed)?;
        self.check_writable()?;
        self.leave_segment(0)?;
        self.seal_all(&token);
        if self.has_unflushed() {
            return Ok(()); // freed when that is written out
        }
        self.release_logs(&[Edit::MinLog {
            number: self.first_needed_log(&[]),
        }])
    }

    /// Whether there is something that [`make_room`](Self::make_room) would give up.
    pub(crate) fn has_room_to_give(&self) -> bool {
        lock(&self.segments).has_obsolete() || self.has_unsealed()
    }

    /// INVARIANT space-2: gives up what is kept for speed, and has all that is in memory written out, so
    /// that the log can go.
    pub(crate) fn make_room(&self) -> Result<()> {
        self.discard_logs(lock(&self.segments).give_back());
        {
            let token = self.commit.take_token().ok_or(Error::Closed)?;
            self.check_writable()?;
            self.seal_all(&token);
        }
        match self.trim_log() {
            // Then there is not even room for a short segment in the place of a long one, until the
            // memtables are written out.
            Err(error) if error.is_disk_full() => Ok(()),
            trimmed => trimmed,
        }
    }

    /// Whether an active memtable has changes.
    fn has_unsealed(&self) -> bool {
        let keyspaces = self.keyspaces.all();
        let mut keyspaces = keyspaces.values();
        keyspaces.any(|keyspace| !keyspace.view().active.table.is_empty())
    }

    /// Removes log segments that nobody keeps.
    pub(crate) fn discard_logs(&self, logs: Vec<FileNumber>) {
        for number in logs {
            self.discard_file(&files::log_path(&self.options.path, number));
        }
    }

    /// Applies a batch and waits for it, holding the caller back while background work is behind.
    pub(crate) fn write(&self, batch: &Batch, durability: Durability) -> Result<SeqNo> {
        self.admit(batch)?;
        if batch.is_empty() {
            return Ok(self.commit.published());
        }
        self.pressure
            .hold_back(batch.encoded_len(), &*self.clock, || self.refusal(batch))?;
        self.commit.write(batch, durability, self)
    }

    /// Queues a batch.
    pub(crate) fn submit(&self, batch: &Batch, durability: Durability) -> Result<Ticket> {
        self.admit(batch)?;
        if batch.is_empty() {
            return Ok(Ticket::done(self.commit.published()));
        }
        if self.pressure.must_stop() {
            self.counters.stalls.add(1);
            return Err(Error::Stalled);
        }
        self.pressure.note(batch.encoded_len(), &*self.clock);
        let ticket = self.commit.submit(batch, durability)?;
        if self.commit.is_log_thread_away() {
            self.jobs.wake();
        }
        Ok(ticket)
    }

    /// Why a batch that waits would not be written, if so.
    fn refusal(&self, batch: &Batch) -> Option<Error> {
        self.check_writable().and_then(|()| self.admit(batch)).err()
    }

    /// Makes every buffered write durable.
    pub(crate) fn sync(&self) -> Result<()> {
        let _token = self.commit.take_token().ok_or(Error::Closed)?;
        self.check_writable()?;
        self.sync_log()
    }

    /// Refuses what could not be written in any case.
    fn admit(&self, batch: &Batch) -> Result<()> {
        for keyspace in batch.keyspaces() {
            self.check_keyspace(keyspace)?;
        }
        let limit = payload_len_max(self.options.log_segment_len);
        if batch.encoded_len() > limit {
            return Err(Error::BatchTooLarge {
                len: batch.encoded_len(),
                limit,
            });
        }
        // Deletes go on: they are what makes space.
        if self.space.is_short() && !batch.makes_room() && !self.look_for_space() {
            return Err(Error::DiskFull {
                path: self.options.path.clone(),
            });
        }
        Ok(())
    }

    /// Whether the keyspace is one of this store's, and was not dropped. One that is dropped after this
    /// was asked takes the write with it: then the write came first.
    fn check_keyspace(&self, keyspace: KeyspaceId) -> Result<()> {
        if !keyspace.is_of(self.tag) {
            return Err(Error::OfAnotherStore { what: "keyspace" });
        }
        if self.keyspaces.contains(keyspace.name_in_files()) {
            return Ok(());
        }
        Err(Error::NoSuchKeyspace {
            name: format!("number {}", keyspace.number()),
        })
    }

    /// Fails once any write or sync of the disk has failed.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.commit.is_closed() {
            return Err(Error::Closed);
        }
        self.check_not_failed()
    }

    fn check_not_failed(&self) -> Result<()> {
        let latched = self.disk.failure().map(|source| Error::Io {
            operation: "write below",
            path: self.options.path.clone(),
            source,
        });
        match self.commit.failure().or(latched) {
            Some(cause) => Err(Error::Failed {
                cause: Arc::new(cause),
            }),
            None => Ok(()),
        }
    }

    /// Whether the disk has room again, or still; remembers the answer.
    pub(crate) fn look_for_space(&self) -> bool {
        // INVARIANT space-1
        let in_memory = self.unflushed_len() as u64 + lock(&self.segments).next_len();
        let wanted = self.share.kept_free().saturating_add(in_memory);
        self.space.look(&*self.disk, &self.options.path, wanted)
    }

    /// Bytes that are free on the disk.
    pub(crate) fn free_space(&self) -> u64 {
        let free = self.disk.available_space(&self.options.path);
        free.unwrap_or(u64::MAX)
    }

    /// Seals every memtable that is not empty, so that flushes write all of it out.
    pub(crate) fn seal_all(&self, token: &Token<'_>) -> Vec<Sealed> {
        let keyspaces = self.keyspaces.all();
        let sealed = keyspaces.values().map(|keyspace| {
            if !keyspace.view().active.table.is_empty() {
                self.seal_memtable(keyspace, token);
            }
            (Arc::clone(keyspace), keyspace.view().sealed.clone())
        });
        sealed.collect()
    }

    /// Gives the keyspace a new active memtable. INVARIANT commit-3: with the token only.
    fn seal_memtable(&self, keyspace: &OpenKeyspace, _token: &Token<'_>) {
        keyspace.seal(&self.new_memtable());
        self.update_pressure();
        self.jobs.wake();
    }

    pub(crate) fn new_memtable(&self) -> Arc<LoggedMemtable> {
        LoggedMemtable::new(&self.budget)
    }

    /// Recomputes how far background work is behind. Called when a view has changed.
    pub(crate) fn update_pressure(&self) {
        // One at a time: an older picture must not replace a newer one.
        let _turn = lock(&self.pressure_update);
        let keyspaces = self.keyspaces.all();
        self.pressure.update(keyspaces.values().map(|keyspace| {
            let view = keyspace.view();
            let tables = compaction::pressure(&view.version, &keyspace.options);
            if view.sealed.len() >= SEALED_MAX {
                WritePressure::Stop
            } else {
                tables
            }
        }));
    }

    pub(crate) fn manifest(&self) -> MutexGuard<'_, Manifest> {
        lock(&self.manifest)
    }

    /// The log. Held by the token's holder while it writes, and for moments by others.
    pub(crate) fn log(&self) -> MutexGuard<'_, LogWriter> {
        lock(&self.log)
    }

    /// The segment written now. Read BEFORE looking at memtables: whatever is applied later stands in
    /// this segment or in a later one.
    pub(crate) fn current_log(&self) -> FileNumber {
        FileNumber::new(self.current_log.load(Ordering::Acquire))
    }

    /// The oldest log that some memtable needs, but for those in `flushed`.
    pub(crate) fn first_needed_log(&self, flushed: &[Arc<LoggedMemtable>]) -> FileNumber {
        if is_planted(Plant::CurrentLogAfterMemtables) {
            let needed = self.first_log_in_memtables(flushed);
            pause(Pause::NeededLog);
            let current = self.current_log();
            return needed.map_or(current, |first| first.min(current));
        }
        let current = self.current_log();
        pause(Pause::NeededLog);
        let needed = self.first_log_in_memtables(flushed);
        needed.map_or(current, |first| first.min(current))
    }

    fn first_log_in_memtables(&self, flushed: &[Arc<LoggedMemtable>]) -> Option<FileNumber> {
        let keyspaces = self.keyspaces.all();
        let needed = keyspaces.values().filter_map(|keyspace| {
            let view = keyspace.view();
            let waiting = view
                .memtables()
                .filter(|memtable| !flushed.iter().any(|flushed| Arc::ptr_eq(flushed, memtable)));
            waiting.filter_map(|memtable| memtable.first_log()).min()
        });
        needed.min()
    }

    /// Makes every write that the log has durable.
    pub(crate) fn sync_log(&self) -> Result<()> {
        let begin = self.clock.monotonic();
        let result = self.log().sync();
        self.counters
            .log_sync
            .record(self.clock.monotonic().saturating_sub(begin));
        result
    }

    /// A fresh segment of at least `len` bytes: the spare, or one made now, while the writer waits.
    fn next_segment(&self, len: u64) -> Result<Segment> {
        loop {
            let mut segments = lock(&self.segments);
            if segments.has_spare(len)
                && let Some(segment) = segments.take_spare()
            {
                return Ok(segment);
            }
            drop(segments);
            self.counters.log_waits.add(1);
            self.prepare_spare(len)?;
        }
    }

    /// Continues the log in another segment, of at least `len` bytes. With the token only.
    fn leave_segment(&self, len: u64) -> Result<()> {
        let segment = self.next_segment(len)?;
        let mut log = self.log();
        let previous = log.number();
        log.rotate(segment)?;
        self.current_log
            .store(log.number().get(), Ordering::Release);
        drop(log);
        lock(&self.segments).begun(Some(previous), self.clock.monotonic());
        self.spare_due.store(false, Ordering::Relaxed);
        self.log_grew.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the next segment should be made now.
    pub(crate) fn wants_spare(&self) -> bool {
        self.spare_due.load(Ordering::Relaxed) && lock(&self.segments).wants_spare()
    }

    /// Makes the next segment, of at least `len` bytes, unless there is one or somebody is at it: then
    /// waits for that. One at a time: the log goes up in the order of their numbers.
    pub(crate) fn prepare_spare(&self, len: u64) -> Result<()> {
        let preparation = {
            let mut segments = lock(&self.segments);
            while segments.is_preparing() {
                let waited = self.segment_prepared.wait(segments);
                segments = waited.unwrap_or_else(PoisonError::into_inner);
            }
            if segments.has_spare(len) {
                return Ok(());
            }
            segments.begin(self.numbers.issue(), len)
        };
        self.finish_preparation(preparation)
    }

    fn finish_preparation(&self, preparation: Preparation) -> Result<()> {
        let prepared = self.prepare_segment(preparation);
        let mut segments = lock(&self.segments);
        let result = match prepared {
            Ok(segment) => {
                segments.put_spare(segment);
                Ok(())
            }
            Err(error) => {
                segments.gave_up();
                Err(error)
            }
        };
        drop(segments);
        self.segment_prepared.notify_all();
        result
    }

    /// Makes a segment and lists it in the manifest.
    fn prepare_segment(&self, preparation: Preparation) -> Result<Segment> {
        let number = preparation.number();
        let segment = preparation.run().inspect_err(|_| {
            // What a full disk cut short takes the room that a flush needs.
            let path = files::log_path(&self.options.path, number);
            self.discard_file(&path.with_extension("log.tmp"));
        })?;
        // ORDER: listed before it is written, so that recovery knows when it is missing.
        let mut manifest = self.manifest();
        let listed = manifest.append(&[Edit::AddLog { number }]);
        let is_unknown = manifest.has_failed();
        drop(manifest);
        if let Err(error) = listed {
            if is_unknown {
                self.commit.fail(error.clone());
            } else if !lock(&self.segments).retire(number, segment.len()) {
                self.discard_file(&files::log_path(&self.options.path, number));
            }
            return Err(error);
        }
        Ok(segment)
    }

    /// Removes a file that nobody names any more. One that stays costs room until the next open, and
    /// is no reason to stop writing.
    pub(crate) fn discard_file(&self, path: &Path) {
        if self.disk.failure().is_some() {
            return;
        }
        match self.options.disk.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "an obsolete file could not be removed");
            }
            _ => {}
        }
    }

    /// Seals the memtables that hold the oldest part of a log that has grown too long.
    fn bound_log(&self, token: &Token<'_>) {
        let oldest = self.manifest().state().logs.first().copied();
        let len_max = match self.space.is_short() {
            // Each delete that comes now takes log, of the room that is kept free.
            true => self.share.kept_free() / 4,
            false => self.share.log_len_max(&self.options),
        };
        if self.live_log_len() <= len_max {
            return;
        }
        let needed = self.first_needed_log(&[]);
        debug_assert!(
            oldest.is_none_or(|oldest| oldest <= needed),
            "needed logs are listed"
        );
        for keyspace in self.keyspaces.all().values() {
            if keyspace.view().active.first_log() == Some(needed) {
                self.seal_memtable(keyspace, token);
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.options.path)
            .finish_non_exhaustive()
    }
}

impl CommitTarget for Store {
    type Log<'a> = MutexGuard<'a, LogWriter>;

    fn make_room(&self, frame: &Frame) -> Result<MutexGuard<'_, LogWriter>> {
        self.check_writable()?;
        loop {
            let log = self.log();
            if log.fits(frame) {
                return Ok(log);
            }
            drop(log);
            let len = segment_len_for(frame.payload_len());
            self.leave_segment(len).map_err(|error| {
                if !error.is_disk_full() {
                    return error;
                }
                self.space.note_full();
                Error::DiskFull {
                    path: self.options.path.clone(),
                }
            })?;
            self.jobs.wake();
        }
    }

    fn append(
        &self,
        mut log: MutexGuard<'_, LogWriter>,
        frame: &mut Frame,
        first_seq: SeqNo,
        durability: Durability,
    ) -> Result<()> {
        let now_ms = self.clock.wall();
        let begin = self.clock.monotonic();
        let result = log.write(frame, first_seq, durability, now_ms);
        if log.is_well_begun() && !self.spare_due.load(Ordering::Relaxed) {
            self.spare_due.store(true, Ordering::Relaxed);
            self.jobs.wake();
        }
        if durability == Durability::Synced {
            self.counters
                .log_sync
                .record(self.clock.monotonic().saturating_sub(begin));
        }
        result
    }

    fn apply(&self, frame: &Frame, first_seq: SeqNo) {
        let moments = OnceCell::new();
        apply(
            &self.keyspaces,
            frame.batches(),
            first_seq,
            self.current_log(),
            &|| Readers::At(moments.get_or_init(|| self.moments())),
        )
        .expect("the frame was encoded by this process");
    }

    fn after_publish(&self, token: &Token<'_>) {
        let memtable_len = self.share.memtable_len(&self.options);
        let keyspaces = self.keyspaces.all();
        for keyspace in keyspaces.values() {
            if keyspace.view().active.table.filled() >= memtable_len {
                self.seal_memtable(keyspace, token);
            }
        }
        // Many keyspaces share one budget: none need be full for all of it to be taken.
        if self.budget.available() == 0 {
            let held = |keyspace: &&Arc<OpenKeyspace>| keyspace.view().active.table.filled();
            if let Some(largest) = keyspaces.values().max_by_key(held)
                && held(&largest) >= memtable_len / 8
                && largest.view().sealed.is_empty()
            {
                self.seal_memtable(largest, token);
            }
        }
        if self.log_grew.swap(false, Ordering::Relaxed) {
            self.bound_log(token);
            self.look_for_space();
        }
    }
}

/// Puts the changes of encoded batches, which stand in `log`, into the active memtables. Passes over
/// changes to keyspaces that were dropped meanwhile, and over those that are in tables already.
/// `readers` as for [`Memtable::insert_for`](crate::memtable::Memtable::insert_for).
pub(crate) fn apply<'r>(
    keyspaces: &Keyspaces,
    batches: BatchReader<'_>,
    first_seq: SeqNo,
    log: FileNumber,
    readers: &dyn Fn() -> Readers<'r>,
) -> Result<(), MalformedBatch> {
    let keyspaces = keyspaces.all();
    let mut target: Option<Target> = None;
    for (entry, offset) in batches.zip(0..) {
        let entry = entry?;
        // Runs of one keyspace are the rule: look it up once for each.
        let target = match &target {
            Some(target) if target.keyspace == entry.keyspace => target,
            _ => target.insert(Target::new(&keyspaces, entry.keyspace)),
        };
        let seq = first_seq.plus(offset);
        if let Some(memtable) = &target.memtable
            && seq > target.flushed
        {
            memtable.note_log(log);
            let key = InternalKey::new(entry.key, seq, entry.kind);
            memtable.table.insert_for(key, entry.value, readers);
        }
    }
    Ok(())
}

/// Where the changes of a keyspace go.
struct Target {
    keyspace: KeyspaceNumber,
    /// `None`: it was dropped.
    memtable: Option<Arc<LoggedMemtable>>,
    flushed: SeqNo,
}

impl Target {
    fn new(
        keyspaces: &BTreeMap<KeyspaceNumber, Arc<OpenKeyspace>>,
        keyspace: KeyspaceNumber,
    ) -> Self {
        let open = keyspaces.get(&keyspace);
        Self {
            keyspace,
            memtable: open.map(|open| Arc::clone(&open.view().active)),
            flushed: open.map_or(SeqNo::ZERO, |open| open.flushed),
        }
    }
}
