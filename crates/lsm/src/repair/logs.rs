//! The log: left alone where it is sound, else every whole frame of it becomes a part of L0.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::batch::{BatchEntry, BatchReader, KeyspaceNumber};
use crate::compaction::files::TableFiles;
use crate::compaction::output::Cuts;
use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::files::FileKind;
use crate::flush::Flush;
use crate::key::{InternalKey, SeqNo};
use crate::manifest::{Edit, LogPart, State};
use crate::memtable::Memtable;
use crate::options::KeyspaceOptions;
use crate::range_tombstone::Readers;
use crate::rate::RateLimiter;
use crate::recovery;
use crate::sstable::{TableOptions, TableOwner};
use crate::verify::damage_of;
use crate::wal::{self, LiveSegment};

use super::catalog::Catalog;
use super::{Aside, Bench, Loss};

/// Puts into `state` what the log has, unless the store can read it as it is.
pub(super) fn mend(bench: &mut Bench<'_>, catalog: &Catalog, state: &mut State) -> Result<()> {
    let segments = if catalog.is_trusted {
        let live = recovery::live_segments(bench.options, &catalog.state);
        let read = wal::read_log(&*bench.disk, &live, &mut |frame| {
            let batches = BatchReader::new(frame.payload);
            if batches.clone().any(|entry| entry.is_err()) {
                let (at, kind) = (frame.position.offset, CorruptionKind::Encoding);
                return Err(Corruption::new(frame.file, at, kind).into());
            }
            recovery::refuse_unknown_keyspace(bench.options, &catalog.state, batches)
        });
        match read {
            Ok(sound) => {
                bench.report.healed.extend(sound.mended);
                return Ok(());
            }
            Err(error) => bench.problem(damage_of(error)?),
        }
        live
    } else {
        segments_found(bench, &catalog.state)?
    };
    replay(bench, &segments, state)
}

/// The segments of the directory that an earlier state does not say are obsolete.
fn segments_found(bench: &Bench<'_>, hint: &State) -> Result<Vec<LiveSegment>> {
    let path = &bench.options.path;
    let names = bench
        .disk
        .read_dir(path)
        .map_err(|error| Error::io("list", path, error))?;
    let mut segments = Vec::new();
    for entry in names {
        if let Some(FileKind::Log(number)) = FileKind::parse(&entry.name) {
            let end = match hint.log_part(number) {
                LogPart::Whole => None,
                LogPart::Until(end) => Some(end),
                LogPart::Nothing => continue,
            };
            segments.push(recovery::segment(bench.options, number, end));
        }
    }
    segments.sort_unstable_by_key(|segment| segment.number);
    Ok(segments)
}

fn replay(bench: &mut Bench<'_>, segments: &[LiveSegment], state: &mut State) -> Result<()> {
    let disk = Arc::clone(&bench.disk);
    let mut malformed = Vec::new();
    let mut replay = Replay {
        bench,
        state,
        memtables: BTreeMap::new(),
        skipped: BTreeSet::new(),
    };
    let found = wal::salvage(&*disk, segments, &mut |frame| {
        let entries: Result<Vec<_>, _> = BatchReader::new(frame.payload).collect();
        match entries {
            Ok(entries) => {
                for (entry, offset) in entries.into_iter().zip(0..) {
                    replay.insert(entry, frame.first_seq.plus(offset))?;
                }
                let clock = Edit::ClockHigh(frame.time_ms);
                replay
                    .state
                    .apply(&clock)
                    .expect("a bound contradicts nothing");
            }
            Err(_) => malformed.push((frame.file.to_owned(), frame.position.offset, frame.count)),
        }
        Ok(())
    })?;
    replay.flush_all()?;
    for (file, offset, count) in malformed {
        bench.problem(Corruption::new(&file, offset, CorruptionKind::Encoding));
        lose(bench, file, None, Some(count.into()));
    }
    bench.report.healed.extend(found.mended);
    for lost in found.lost {
        bench.problem(lost.to_corruption());
        let bytes = (!lost.bytes.is_empty()).then_some(lost.bytes);
        lose(bench, lost.file, bytes, lost.entries);
    }
    *state = state.without_logs();
    Ok(())
}

fn lose(
    bench: &mut Bench<'_>,
    file: std::path::PathBuf,
    bytes: Option<std::ops::Range<u64>>,
    entries: Option<u64>,
) {
    let aside = Aside {
        path: file.clone(),
        link: false,
    };
    if !bench.asides.contains(&aside) {
        bench.asides.push(aside);
    }
    bench.report.lost.push(Loss {
        file,
        bytes: bytes.into_iter().collect(),
        entries,
        ..Loss::default()
    });
}

/// Changes on their way from the log into tables.
struct Replay<'r, 'b> {
    bench: &'r mut Bench<'b>,
    state: &'r mut State,
    memtables: BTreeMap<KeyspaceNumber, Arc<Memtable>>,
    /// Keyspaces that were dropped.
    skipped: BTreeSet<KeyspaceNumber>,
}

impl Replay<'_, '_> {
    fn insert(&mut self, entry: BatchEntry<'_>, seq: SeqNo) -> Result<()> {
        self.bench.last_seq = self.bench.last_seq.max(seq);
        if !self.knows(entry.keyspace) || seq <= self.state.keyspaces[&entry.keyspace].flushed {
            return Ok(());
        }
        let memtable = self
            .memtables
            .entry(entry.keyspace)
            .or_insert_with(Memtable::new);
        let key = InternalKey::new(entry.key, seq, entry.kind);
        memtable.insert_for(key, entry.value, || Readers::At(&[]));
        self.bench.report.log_entries_saved += 1;
        if memtable.filled() >= self.bench.options.memtable_len() {
            self.flush(entry.keyspace)?;
        }
        Ok(())
    }

    /// Whether the keyspace is there; one that the manifest never had is made.
    fn knows(&mut self, id: KeyspaceNumber) -> bool {
        if self.state.keyspaces.contains_key(&id) {
            return true;
        }
        if id < self.state.next_keyspace || self.skipped.contains(&id) {
            return false;
        }
        let create = Edit::CreateKeyspace {
            id,
            name: format!("recovered-{}", id.0),
            options: KeyspaceOptions::default(),
        };
        let made = self.state.apply(&create).is_ok();
        if !made {
            self.skipped.insert(id);
        }
        made
    }

    fn flush_all(&mut self) -> Result<()> {
        let waiting: Vec<_> = self.memtables.keys().copied().collect();
        waiting.into_iter().try_for_each(|id| self.flush(id))
    }

    /// Writes a memtable out. Its changes are newer than all that its keyspace has in tables.
    fn flush(&mut self, id: KeyspaceNumber) -> Result<()> {
        let memtable = self.memtables.remove(&id).expect("it was filled");
        let upto = memtable.last_seq().expect("it was filled");
        let keyspace = &self.state.keyspaces[&id];
        let owner = TableOwner {
            id,
            name: keyspace.name.as_str().into(),
        };
        let bench = &self.bench;
        let flush = Flush {
            memtables: &[memtable],
            snapshots: super::tables::keep_newest().snapshots,
            expiry_filter: None,
            now: 0,
            cuts: Cuts::at(u64::MAX, []),
            tables: TableFiles::new(
                Arc::clone(&bench.disk),
                bench.options.path.clone(),
                TableOptions::new(owner, &keyspace.options, false),
                bench.now,
                || bench.numbers.issue(),
            ),
            rate: &RateLimiter::new(None, Arc::clone(&bench.options.clock), |_| {}),
            cancelled: &NEVER,
        };
        let made = flush.run()?.expect("it is never cancelled").tables;
        let added = made.into_iter().map(|meta| Edit::AddTable {
            keyspace: id,
            level: 0,
            meta: Arc::new(meta),
        });
        let flushed = Edit::Flushed { keyspace: id, upto };
        for edit in added.chain([flushed]) {
            self.state.apply(&edit).expect("a new table");
        }
        Ok(())
    }
}

static NEVER: AtomicBool = AtomicBool::new(false);
