//! The inside of an open store: what its threads, its readers and its jobs share.

mod log_room;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use ringwood_env::{Clock, Disk, LatchedDisk};

use crate::batch::{Batch, BatchReader, KeyspaceId, KeyspaceNumber, MalformedBatch, StoreTag};
use crate::budget::MemoryBudget;
use crate::cache::BlockCache;
use crate::clock::ForwardClock;
use crate::commit::{CommitQueue, CommitTarget, Token};
use crate::compaction::{self, WritePressure};
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::files::{FileNumber, FileNumbers};
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
use crate::wal::{Frame, LogWriter, SegmentPool, payload_len_max, segment_len_for};

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

/// After so long without a write, one that waits for background work which fails hears why.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

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
            log.has_begun().then(|| log.position())
        };
        let next = self.numbers.issue();
        let edits = if self.has_unflushed() {
            // Where no log has begun, nothing was written: the next open reads what this one has read.
            let Some(end) = end else {
                return Ok(());
            };
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
            Ok(()) => {
                let unwanted = lock(&self.segments).give_back();
                self.discard_logs(unwanted);
            }
            Err(error) => {
                tracing::warn!(%error, "the log was closed, but its end could not be noted");
            }
        }
        Ok(())
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
            return Err(self.blocked().unwrap_or(Error::Stalled));
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
        let refused = self.check_writable().and_then(|()| self.admit(batch));
        refused.err().or_else(|| self.blocked())
    }

    /// Why writers who are stopped would wait for ever, if so.
    fn blocked(&self) -> Option<Error> {
        let stopped_for = self.pressure.stopped_for(&*self.clock)?;
        let cause = (stopped_for >= STOP_PATIENCE).then(|| self.jobs.failing())??;
        Some(Error::Blocked {
            cause: Arc::new(cause),
        })
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
        let wanted = self.share.kept_free().saturating_add(self.in_memory_len());
        self.space.look(&*self.disk, &self.options.path, wanted)
    }

    /// Bytes that must be written before the log can go, the next segment's included.
    pub(crate) fn in_memory_len(&self) -> u64 {
        self.unflushed_len() as u64 + lock(&self.segments).next_len()
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
        let wanted = keyspaces.values().map(|keyspace| {
            let view = keyspace.view();
            let tables = compaction::pressure(&view.version, &keyspace.options);
            if view.sealed.len() >= SEALED_MAX {
                WritePressure::Stop
            } else {
                tables
            }
        });
        self.pressure.update(wanted, self.clock.monotonic());
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
