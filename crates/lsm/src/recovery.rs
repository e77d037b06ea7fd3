//! How a store is opened: what the manifest lists, then what the log adds.
//!
//! The log is replayed into memtables, not into tables: a store is ready as soon as it is read. One
//! edit then closes the book on the old log ([`Edit::SealLogs`]) and opens the next segment, so that
//! what a crash tore off can never be read as if it belonged to what is written from now on. Where the
//! disk has no room for either, the store is opened without a log: see [`Opening::begin_log`].
//!
//! # Invariants
//! - recovery-1: until that edit is durable nothing is changed, so a crash while opening changes
//!   nothing either.
//! - recovery-2: sequence numbers of writes that were torn off are not issued again.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringwood_env::{Clock, Disk, DiskLock, LatchedDisk, UnixMillis};

use crate::batch::BatchReader;
use crate::budget::MemoryBudget;
use crate::cache::BlockCache;
use crate::clock::ForwardClock;
use crate::commit::CommitQueue;
use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::files::{self, FileKind, FileNumber};
use crate::key::SeqNo;
use crate::keyspaces::{Keyspaces, OpenKeyspace};
use crate::manifest::{Edit, LogPart, Manifest, ObsoleteFiles, State, Table, Version};
use crate::options::Options;
use crate::range_tombstone::Readers;
use crate::space::Share;
use crate::store::{Store, StoreParts, apply};
use crate::tables::TableCache;
use crate::view::LoggedMemtable;
use crate::wal::{
    LiveSegment, LogWriter, Recovered, Segment, SegmentPool, TornTail, holds_frames,
    payload_len_max, recover,
};

/// What opening a store found.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// Whether the store was made.
    pub created: bool,
    /// Whether it was closed in order the last time.
    pub clean: bool,
    /// Changes replayed from the log.
    pub replayed: u64,
    /// The end of the log that a crash tore off, if one did: writes nobody was told of.
    pub torn_tail: Option<TornLog>,
    /// Damage passed by without loss: of what stands twice, or of one byte of the log that can be told.
    pub healed: Vec<Corruption>,
    /// The latest time that the store knew of, in milliseconds since the Unix epoch; 0: none. Its clock does
    /// not start before.
    pub known_time: UnixMillis,
}

/// Where the time of a store starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeSource {
    /// With the latest time it knows of, or the machine's clock where that is later.
    Store,
    /// With the machine's clock, as what the store knows may be wrong.
    Machine,
}

/// Where a crash tore the log off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornLog {
    /// The segment.
    pub file: std::path::PathBuf,
    /// Where the last whole record ends.
    pub offset: u64,
    /// Bytes behind it that were left out.
    pub skipped_bytes: u64,
}

impl From<TornTail> for TornLog {
    fn from(torn: TornTail) -> Self {
        Self {
            file: torn.file,
            offset: torn.offset,
            skipped_bytes: torn.skipped_bytes,
        }
    }
}

/// Numbers left out when the log was torn off: more than one log can hold.
pub(crate) const SEQ_GAP: u64 = 1 << 32;

/// Opens the store that `options` describe. The lock is held until it is dropped.
pub(crate) fn open(
    options: Options,
    has_log_thread: bool,
    time: TimeSource,
) -> Result<(Arc<Store>, Box<dyn DiskLock>, OpenReport)> {
    options.validate()?;
    let disk = Arc::new(LatchedDisk::new(Arc::clone(&options.disk)));
    let lock = enter_directory(&*disk, &options)?;
    let share = Share::of(&*disk, &options.path);
    let (mut manifest, created) = open_manifest(&disk, &options)?;
    let state = manifest.state().clone();
    refuse_older_manifest(&*disk, &options, &state)?;
    let clock = Arc::new(ForwardClock::new(
        Arc::clone(&options.clock),
        0,
        options.clock_leap_max,
    ));
    let cache = BlockCache::new(options.memory_budget);
    let budget = MemoryBudget::new(options.memory_budget, Arc::clone(&cache) as _);
    let obsolete = Arc::new(ObsoleteFiles::default());
    let keyspaces = open_keyspaces(&options, share, &state, &budget, &obsolete)?;

    let mut report = OpenReport {
        created,
        healed: manifest.damage().to_vec(),
        known_time: state.clock_high,
        ..Default::default()
    };
    let recovered = replay_log(
        &*disk,
        &options,
        share,
        &state,
        &keyspaces,
        &budget,
        &mut report,
    )?;
    let next_seq = next_seq(&state, &recovered);
    if time == TimeSource::Store {
        clock.raise(report.known_time);
        warn_of_time(&options, report.known_time);
    }

    let mut segments = SegmentPool::new(
        Arc::clone(&disk) as Arc<dyn Disk>,
        Arc::clone(&options.random),
        &options.path,
        share.segment_len_max(&options),
        SEGMENTS_KEPT,
    );
    remove_leftovers(&*disk, &options, &manifest, &mut segments)?;
    let number = manifest.numbers().issue();
    let mut edits = Vec::new();
    if let Some(end) = recovered.end {
        edits.push(Edit::SealLogs {
            last: end.log,
            end: end.offset,
            next: number,
        });
    }
    edits.extend([
        Edit::LastSeq(SeqNo::new(next_seq.get() - 1)),
        // What the machine's clock says is not noted before something rests on it: it may be wrong.
        Edit::ClockHigh(report.known_time),
    ]);
    // Most logs are in tables: a store that is opened often must not grow by it.
    let min_log = first_needed_log(&keyspaces).unwrap_or(number);
    let opening = Opening {
        number,
        edits,
        min_log,
    };
    let segment = opening.begin_log(&disk, &options, &mut manifest, &mut segments)?;
    if segment.is_some() {
        segments.begun(None, clock.monotonic());
    }
    let min_log = manifest.state().min_log;

    let tables = TableCache::new(
        Arc::clone(&disk) as Arc<dyn Disk>,
        &options.path,
        Arc::clone(&cache),
        &budget,
        open_tables_max(&options),
    );
    let spare = Arc::downgrade(&tables);
    disk.on_too_many_files(move || spare.upgrade().is_some_and(|tables| tables.close_some()));
    let store = Store::new(StoreParts {
        tables,
        commit: CommitQueue::new(
            next_seq,
            has_log_thread,
            payload_len_max(options.log_segment_len),
            Arc::clone(&budget),
        ),
        log: match segment {
            Some(segment) => LogWriter::new(segment, recovered.end, next_seq),
            None => LogWriter::without_segment(number, recovered.end, next_seq),
        },
        options,
        disk,
        clock,
        budget,
        cache,
        obsolete,
        keyspaces,
        segments,
        manifest,
        share,
    });
    store.free_logs(state.logs.into_iter().filter(|log| *log < min_log), min_log);
    store.look_for_space();
    store.flush_many_logs();
    store.update_pressure();
    Ok((store, lock, report))
}

/// How the log goes on once it has been read.
struct Opening {
    /// Of its next segment.
    number: FileNumber,
    /// What recovery found.
    edits: Vec<Edit>,
    min_log: FileNumber,
}

impl Opening {
    /// Makes and lists the log's next segment. `None`: the disk has no room for that. What is to be noted is
    /// noted then with whatever comes next, and the log begins with the first write that finds room.
    fn begin_log(
        self,
        disk: &LatchedDisk,
        options: &Options,
        manifest: &mut Manifest,
        segments: &mut SegmentPool,
    ) -> Result<Option<Segment>> {
        let number = self.number;
        let made = segments.begin(number, 0).run();
        segments.gave_up(); // that one is used at once: the spare is still to be made
        let begun = made.and_then(|segment| {
            let mut edits = self.edits.clone();
            edits.extend([
                Edit::AddLog { number },
                Edit::MinLog {
                    number: self.min_log,
                },
            ]);
            manifest.append(&edits).map(|()| segment)
        });
        match begun {
            Ok(segment) => {
                segments.note(number, segment.len());
                Ok(Some(segment))
            }
            Err(error)
                if error.is_disk_full() && !manifest.has_failed() && disk.failure().is_none() =>
            {
                tracing::warn!(
                    %error,
                    "the disk has no room to begin a log: there are only reads until it has"
                );
                discard_unlisted(disk, &files::log_path(&options.path, number));
                manifest.owe(self.edits);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Removes what there is of a segment that was not listed: it takes room that others need.
fn discard_unlisted(disk: &LatchedDisk, log: &Path) {
    for path in [log, &log.with_extension("log.tmp")] {
        match disk.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a file could not be removed");
            }
            _ => {}
        }
    }
}

/// So long a time without a write is more likely a wrong clock than a machine that was off.
const SILENCE_MAX: Duration = Duration::from_hours(30 * 24);

/// Says where the machine's clock is far from what the store knows of time. It is believed all the same:
/// nothing here can tell which of them is wrong.
fn warn_of_time(options: &Options, known: UnixMillis) {
    let wall = options.clock.wall();
    let days = |ms: u64| ms / 86_400_000;
    if known > 0 && u128::from(wall.saturating_sub(known)) > SILENCE_MAX.as_millis() {
        tracing::warn!(
            days = days(wall - known),
            "the machine's clock says that the store was not written to for a long time. It is believed, \
             and what it says is past expires; if it is wrong, stop now and set it right"
        );
    }
    if u128::from(known.saturating_sub(wall)) > options.clock_leap_max.as_millis() {
        tracing::warn!(
            behind_ms = known - wall,
            "the machine's clock is behind the store's time, which stands still until then. If the \
             machine's clock is right, it was ahead before: stop, and take the store's time back with \
             `ringwood reset-clock`"
        );
    }
}

/// Tables that may be open at once: what is asked for, but half of the files that the process may have.
fn open_tables_max(options: &Options) -> usize {
    let wanted = options.open_tables_max;
    let allowed = options.disk.open_files_max().map_or(wanted, |files| {
        usize::try_from(files / 2).unwrap_or(usize::MAX).max(1)
    });
    if allowed < wanted {
        tracing::info!(
            wanted,
            allowed,
            "fewer tables are kept open than asked for: the system allows few open files"
        );
    }
    wanted.min(allowed)
}

/// The oldest log that replayed memtables need.
fn first_needed_log(keyspaces: &Keyspaces) -> Option<FileNumber> {
    let keyspaces = keyspaces.all();
    let views = keyspaces.values().map(|keyspace| keyspace.view_owned());
    views
        .filter_map(|view| {
            view.memtables()
                .filter_map(|memtable| memtable.first_log())
                .min()
        })
        .min()
}

/// Obsolete log segments kept for another use.
const SEGMENTS_KEPT: usize = 4;

fn enter_directory(disk: &dyn Disk, options: &Options) -> Result<Box<dyn DiskLock>> {
    if !options.create {
        return lock_store(disk, options);
    }
    let path = &options.path;
    match disk.read_dir(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create_directory(disk, path)?,
        Err(error) => return Err(Error::io("list", path, error)),
    }
    lock_directory(disk, options)
}

/// Locks the directory, where there is a store or what is left of one. Anywhere else it would leave
/// a lock file among what is somebody else's.
pub(crate) fn lock_store(disk: &dyn Disk, options: &Options) -> Result<Box<dyn DiskLock>> {
    let path = &options.path;
    let names = disk.read_dir(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound { path: path.clone() },
        _ => Error::io("list", path, error),
    })?;
    let is_ours = |name: &str| FileKind::parse(name).is_some_and(|kind| kind != FileKind::Lock);
    if !names.iter().any(|entry| is_ours(&entry.name)) {
        return Err(Error::NotFound { path: path.clone() });
    }
    lock_directory(disk, options)
}

/// Locks the directory of a store for this process.
fn lock_directory(disk: &dyn Disk, options: &Options) -> Result<Box<dyn DiskLock>> {
    let lock_path = options.file(files::LOCK);
    disk.lock(&lock_path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Locked {
            path: lock_path.clone(),
        },
        _ => Error::io("lock", &lock_path, error),
    })
}

/// Makes a directory and those above it, with names that outlive a crash.
pub(crate) fn create_directory(disk: &dyn Disk, path: &Path) -> Result<()> {
    // ORDER: a name is durable before anything is put below it; so what a run that was stopped here
    // left unsure is empty.
    let is_unsure = |path: &Path| match disk.read_dir(path) {
        Ok(entries) => Ok(entries.is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        // Somebody else's, with something in it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(Error::io("list", path, error)),
    };
    let mut unsure = Vec::new();
    for path in path.ancestors().filter(|path| !path.as_os_str().is_empty()) {
        if !is_unsure(path)? {
            break;
        }
        unsure.push(path);
    }
    unsure.into_iter().rev().try_for_each(|path| {
        disk.create_dir_all(path)
            .map_err(|error| Error::io("create", path, error))?;
        sync_name(disk, path)
    })
}

/// Makes the name of a file or directory durable.
pub(crate) fn sync_name(disk: &dyn Disk, path: &Path) -> Result<()> {
    let parent = match path.parent() {
        None => return Ok(()), // the root
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    disk.sync_dir(parent)
        .map_err(|error| Error::io("sync", parent, error))
}

/// Fails where a log was written that the manifest does not know of, though every log is listed
/// before it is written: then the manifest is an older copy, or lost its end.
pub(crate) fn refuse_older_manifest(
    disk: &dyn Disk,
    options: &Options,
    state: &State,
) -> Result<()> {
    if let Some(number) = unlisted_logs(disk, options, state)?.first() {
        let path = files::log_path(&options.path, *number);
        tracing::error!(log = %path.display(), "the manifest does not know of a log that was written");
        let current = options.file(files::CURRENT);
        return Err(Corruption::new(&current, 0, CorruptionKind::MissingRecord).into());
    }
    Ok(())
}

/// Logs that were written, that are not obsolete, and that `state` does not list.
pub(crate) fn unlisted_logs(
    disk: &dyn Disk,
    options: &Options,
    state: &State,
) -> Result<Vec<FileNumber>> {
    let names = disk
        .read_dir(&options.path)
        .map_err(|error| Error::io("list", &options.path, error))?;
    let mut unlisted = Vec::new();
    for entry in names {
        if let Some(FileKind::Log(number)) = FileKind::parse(&entry.name)
            && number >= state.min_log
            && !state.logs.contains(&number)
            && holds_frames(disk, &segment(options, number, None))?
        {
            unlisted.push(number);
        }
    }
    unlisted.sort_unstable();
    Ok(unlisted)
}

fn open_manifest(disk: &Arc<LatchedDisk>, options: &Options) -> Result<(Manifest, bool)> {
    let disk = Arc::clone(disk) as Arc<dyn Disk>;
    match Manifest::open(Arc::clone(&disk), &options.path) {
        Err(Error::NotFound { .. }) if options.create => {
            let random = &options.random;
            let identity = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
            // A run that was stopped here may have made the directory and not got further.
            sync_name(&*disk, &options.path)?;
            Ok((Manifest::create(disk, &options.path, identity)?, true))
        }
        manifest => Ok((manifest?, false)),
    }
}

fn open_keyspaces(
    options: &Options,
    share: Share,
    state: &State,
    budget: &Arc<MemoryBudget>,
    obsolete: &Arc<ObsoleteFiles>,
) -> Result<Keyspaces> {
    let keyspaces = Keyspaces::default();
    for (id, keyspace) in &state.keyspaces {
        let tables = keyspace.tables.values().map(|(level, meta)| {
            (
                usize::from(*level),
                Table::new(Arc::clone(meta), Arc::clone(obsolete)),
            )
        });
        // Levels that overlap cannot be told from damage.
        let version = Version::load(tables).map_err(|_| {
            Corruption::new(&options.file(files::CURRENT), 0, CorruptionKind::Order)
        })?;
        let mut keyspace_options = keyspace.options.clone();
        keyspace_options.table_len = share.table_len(keyspace_options.table_len);
        keyspace_options.expiry_filter = options.expiry_filters.get(&keyspace.name).cloned();
        keyspaces.add(&OpenKeyspace::new(
            *id,
            keyspace.name.clone(),
            keyspace_options,
            keyspace.flushed,
            LoggedMemtable::new(budget),
            Arc::new(version),
        ));
    }
    Ok(keyspaces)
}

#[allow(clippy::too_many_arguments)] // parts of a store that is none yet
fn replay_log(
    disk: &dyn Disk,
    options: &Options,
    share: Share,
    state: &State,
    keyspaces: &Keyspaces,
    budget: &Arc<MemoryBudget>,
    report: &mut OpenReport,
) -> Result<Recovered> {
    let live = live_segments(options, state);
    let recovered = recover(disk, &live, &mut |frame| {
        let batches = BatchReader::new(frame.payload);
        refuse_unknown_keyspace(options, state, batches.clone())?;
        let nobody = || Readers::At(&[]);
        let position = frame.position;
        apply(keyspaces, batches, frame.first_seq, position.log, &nobody).map_err(|_| {
            Corruption::new(frame.file, frame.position.offset, CorruptionKind::Encoding)
        })?;
        report.replayed += u64::from(frame.count);
        report.known_time = report.known_time.max(frame.time_ms);
        seal_full_memtables(keyspaces, share.memtable_len(options), budget);
        Ok(())
    })?;
    // Marks have a time too, and no changes to replay.
    report.known_time = report.known_time.max(recovered.last_time_ms);
    // Every open lists a log, and only a close in order gives up the last one.
    report.clean = recovered.clean_close || state.logs.is_empty();
    report.healed.extend(recovered.mended.iter().cloned());
    report.torn_tail = recovered.torn.clone().map(TornLog::from);
    if let Some(torn) = &report.torn_tail {
        tracing::warn!(?torn, "a crash tore off the end of the log");
    }
    Ok(recovered)
}

/// Fails where the log speaks of a keyspace that the manifest never had: it lost its end.
pub(crate) fn refuse_unknown_keyspace(
    options: &Options,
    state: &State,
    batches: BatchReader<'_>,
) -> Result<()> {
    let mut known = batches.flatten();
    if known.all(|entry| entry.keyspace < state.next_keyspace) {
        return Ok(());
    }
    let current = options.file(files::CURRENT);
    Err(Corruption::new(&current, 0, CorruptionKind::MissingRecord).into())
}

pub(crate) fn segment(options: &Options, number: FileNumber, end: Option<u64>) -> LiveSegment {
    LiveSegment {
        number,
        path: files::log_path(&options.path, number),
        end,
    }
}

/// The log segments that count, in order.
pub(crate) fn live_segments(options: &Options, state: &State) -> Vec<LiveSegment> {
    let part = |number: &FileNumber| match state.log_part(*number) {
        LogPart::Whole => Some(segment(options, *number, None)),
        LogPart::Until(end) => Some(segment(options, *number, Some(end))),
        LogPart::Nothing => None,
    };
    state.logs.iter().filter_map(part).collect()
}

/// A log longer than a memtable becomes several, to be written out as soon as the store is open.
fn seal_full_memtables(keyspaces: &Keyspaces, memtable_len: usize, budget: &Arc<MemoryBudget>) {
    for keyspace in keyspaces.all().values() {
        if keyspace.view().active.table.filled() >= memtable_len {
            keyspace.seal(&LoggedMemtable::new(budget));
        }
    }
}

/// INVARIANT recovery-2.
fn next_seq(state: &State, recovered: &Recovered) -> SeqNo {
    let after_log = recovered.next_seq.unwrap_or(SeqNo::ZERO);
    let next = after_log.max(state.last_seq.plus(1));
    let anything_lost = recovered.end.is_some() && !recovered.clean_close;
    if anything_lost {
        next.plus(SEQ_GAP)
    } else {
        next
    }
}

/// Removes what a crash left unfinished, and offers old log segments for another use.
fn remove_leftovers(
    disk: &dyn Disk,
    options: &Options,
    manifest: &Manifest,
    segments: &mut SegmentPool,
) -> Result<()> {
    let state = manifest.state();
    let tables: BTreeSet<FileNumber> = state
        .keyspaces
        .values()
        .flat_map(|keyspace| keyspace.tables.keys().copied())
        .collect();
    let names = disk.read_dir(&options.path);
    for entry in names.map_err(|error| Error::io("list", &options.path, error))? {
        let leftover = match FileKind::parse(&entry.name) {
            Some(FileKind::Temporary) => true,
            Some(FileKind::Table(number)) => !tables.contains(&number),
            Some(FileKind::Log(number)) if state.logs.contains(&number) => {
                segments.note(number, entry.len);
                false
            }
            Some(FileKind::Log(number)) => !segments.retire(number, entry.len),
            // The manifest removes those before it.
            Some(FileKind::Manifest(_) | FileKind::Lock | FileKind::Current) | None => false,
        };
        if leftover {
            let path = options.file(&entry.name);
            disk.remove_file(&path)
                .map_err(|error| Error::io("remove", &path, error))?;
        }
    }
    Ok(())
}
