//! Walking every byte that a store relies on, to find damage before a reader does.
//!
//! Nothing is changed, and nothing stops at the first damage: each file is looked at for itself, and
//! of a damaged table or log every damaged part is named.

use std::path::Path;
use std::sync::Arc;

use ringwood_env::{Disk, OpenMode};

use crate::batch::BatchReader;
use crate::cache::BlockCache;
use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::files::{self, FileKind, FileNumber};
use crate::manifest::{KeyspaceState, Manifest, ObsoleteFiles, Reading, State, Table, Version};
use crate::options::Options;
use crate::recovery::{self, TornLog};
use crate::sstable::{self, Block, BlockKind, LostBytes, TableMeta, TableOwner, TableReader};
use crate::store::Store;
use crate::wal::{self, LiveSegment};

/// What verifying a store found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Files read.
    pub files: u64,
    /// Bytes of them that count.
    pub bytes: u64,
    /// Entries of tables, range deletes among them.
    pub table_entries: u64,
    /// Changes that stand in the log.
    pub log_entries: u64,
    /// Damage. Empty: everything is as it was written.
    pub problems: Vec<Corruption>,
    /// Damage of what stands twice, or of one byte of the log that can be told: nothing is lost. It goes
    /// with the next opening, or the next write to the file.
    pub healed: Vec<Corruption>,
    /// The end of the log that a crash tore off, if one did: writes nobody was told of.
    pub torn_tail: Option<TornLog>,
}

impl VerifyReport {
    /// Whether there are no problems.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Reads and checks everything of a store that no process has open. Changes nothing.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Locked`], [`Error::UnsupportedFormat`], and [`Error::Io`] where not
/// even the directory can be read. Damage is no error: it is in the report.
pub fn verify(options: &Options) -> Result<VerifyReport> {
    let disk = Arc::clone(&options.disk);
    let _lock = match recovery::lock_store(&*disk, options) {
        // A copy without a lock where none can be made: nobody writes there.
        Err(Error::Io { source, .. })
            if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem =>
        {
            None
        }
        lock => Some(lock?),
    };
    let mut check = Check::new(&*disk, options);
    let reading = match Manifest::read(&*disk, &options.path) {
        Ok(reading) => reading,
        Err(error) => {
            check.problem(error)?;
            check.tables_without_manifest()?;
            return Ok(check.report);
        }
    };
    check.manifest(&reading);
    match recovery::refuse_older_manifest(&*disk, options, &reading.state) {
        Ok(()) => {}
        Err(error) => check.problem(error)?,
    }
    let live = recovery::live_segments(options, &reading.state);
    check.logs(&reading.state, &live)?;
    check.tables(&reading.state)?;
    Ok(check.report)
}

impl Store {
    /// As [`verify`], while the store is in use. What is written meanwhile may be left out.
    pub(crate) fn verify(&self) -> Result<VerifyReport> {
        let mut check = Check::new(&*self.disk, &self.options);
        let (reading, _pinned) = {
            // Views follow the manifest: while it is held, they name the same tables.
            let _manifest = self.manifest();
            let views: Vec<_> = self
                .keyspaces
                .all()
                .values()
                .map(|one| one.view_owned())
                .collect();
            (Manifest::read(&*self.disk, &self.options.path), views)
        };
        match reading {
            Ok(reading) => {
                check.manifest(&reading);
                self.verify_logs(&mut check)?;
                check.tables(&reading.state)?;
            }
            Err(error) => check.problem(error)?,
        }
        Ok(check.report)
    }

    /// Logs that become obsolete while they are read are written anew: their damage is none.
    fn verify_logs(&self, check: &mut Check<'_>) -> Result<()> {
        let report = check.report.clone();
        loop {
            check.report = report.clone();
            let written = self.log().position();
            let state = self.manifest().state().clone();
            let mut live = recovery::live_segments(&self.options, &state);
            live.retain(|segment| segment.number <= written.log);
            for segment in live.iter_mut().filter(|one| one.number == written.log) {
                segment.end = Some(written.offset);
            }
            check.logs(&state, &live)?;
            let is_current = self.manifest().state().min_log == state.min_log;
            if is_current || check.report.problems.len() == report.problems.len() {
                return Ok(());
            }
        }
    }
}

/// Checks one table: its bytes, and that they are what the manifest says.
///
/// # Errors
/// The first damage found.
pub(crate) fn check_table(
    disk: &dyn Disk,
    path: &Path,
    owner: &TableOwner,
    meta: &TableMeta,
) -> Result<()> {
    let table = TableReader::open(disk, path, meta.number, BlockCache::<Block>::new(0))?;
    table.verify()?;
    let properties = table.properties();
    if properties.meta == *meta && properties.owner == *owner {
        Ok(())
    } else {
        Err(Corruption::new(path, 0, CorruptionKind::Encoding).into())
    }
}

/// Whether the levels and sublevels of a keyspace are in order.
pub(crate) fn levels_are_sound(keyspace: &KeyspaceState) -> bool {
    let obsolete = Arc::new(ObsoleteFiles::default());
    let tables = keyspace.tables.values().map(|(level, meta)| {
        let table = Table::new(Arc::clone(meta), Arc::clone(&obsolete));
        (usize::from(*level), table)
    });
    Version::load(tables).is_ok()
}

/// Damage for what it is; any other error is passed on.
pub(crate) fn damage_of(error: Error) -> Result<Corruption> {
    match error {
        Error::Corruption(damage) => Ok(damage),
        Error::Io {
            operation: "read" | "open",
            path,
            ..
        } => Ok(Corruption::new(&path, 0, CorruptionKind::Unreadable)),
        error => Err(error),
    }
}

/// Whether entries or range deletes may have stood in lost bytes.
pub(crate) fn held_entries(lost: &LostBytes) -> bool {
    matches!(
        lost.kind,
        None | Some(BlockKind::Data | BlockKind::RangeTombstones)
    )
}

struct Check<'a> {
    disk: &'a dyn Disk,
    options: &'a Options,
    report: VerifyReport,
}

impl<'a> Check<'a> {
    fn new(disk: &'a dyn Disk, options: &'a Options) -> Self {
        Self {
            disk,
            options,
            report: VerifyReport::default(),
        }
    }

    fn problem(&mut self, error: Error) -> Result<()> {
        let damage = damage_of(error)?;
        if !self.report.problems.contains(&damage) {
            self.report.problems.push(damage);
        }
        Ok(())
    }

    fn manifest(&mut self, reading: &Reading) {
        let report = &mut self.report;
        report.files += 2;
        let current = self.disk.file_len(&self.options.file(files::CURRENT));
        report.bytes += reading.len + current.unwrap_or(0);
        report.healed.extend(reading.damage.iter().cloned());
        for keyspace in reading.state.keyspaces.values() {
            if !levels_are_sound(keyspace) {
                let damage = Corruption::new(&reading.path, 0, CorruptionKind::Order);
                report.problems.push(damage);
            }
        }
    }

    fn logs(&mut self, state: &State, live: &[LiveSegment]) -> Result<()> {
        let (disk, options) = (self.disk, self.options);
        for segment in live {
            self.log_header(segment);
        }
        let report = &mut self.report;
        let read = wal::read_log(disk, live, &mut |frame| {
            let batches = BatchReader::new(frame.payload);
            let malformed = batches.clone().any(|entry| entry.is_err());
            if malformed {
                let (at, kind) = (frame.position.offset, CorruptionKind::Encoding);
                return Err(Corruption::new(frame.file, at, kind).into());
            }
            report.log_entries += u64::from(frame.count);
            recovery::refuse_unknown_keyspace(options, state, batches)
        });
        match read {
            Ok(recovered) => {
                self.report.torn_tail = recovered.torn.map(TornLog::from);
                self.report.healed.extend(recovered.mended);
                Ok(())
            }
            Err(error) => {
                self.problem(error)?;
                let found = wal::salvage(self.disk, live, &mut |_| Ok(()))?;
                self.report.healed.extend(found.mended);
                for lost in found.lost {
                    self.problem(lost.to_corruption().into())?;
                }
                Ok(())
            }
        }
    }

    /// Counts a segment, and notes where one of its two headers is damaged.
    fn log_header(&mut self, segment: &LiveSegment) {
        let mut page = [0; wal::format::PAGE_LEN];
        let read = self
            .disk
            .open(&segment.path, OpenMode::Read)
            .and_then(|file| {
                let len = file.len()?;
                Ok((file.read_at(&mut page, 0)?, len))
            });
        // What cannot be read is found when the frames are.
        if let Ok((read, len)) = read {
            self.report.files += 1;
            self.report.bytes += segment.end.unwrap_or(len);
            if read == page.len() && wal::format::SegmentHeader::is_half(&page) {
                let damage = Corruption::new(&segment.path, 0, CorruptionKind::Checksum);
                self.report.healed.push(damage);
            }
        }
    }

    fn tables(&mut self, state: &State) -> Result<()> {
        for (id, keyspace) in &state.keyspaces {
            let owner = TableOwner {
                id: *id,
                name: keyspace.name.as_str().into(),
            };
            for (_, meta) in keyspace.tables.values() {
                let path = files::table_path(&self.options.path, meta.number);
                match check_table(self.disk, &path, &owner, meta) {
                    Ok(()) => self.count_table(meta),
                    Err(error) => self.damaged_table(&path, meta.number, error)?,
                }
            }
        }
        Ok(())
    }

    /// Every table of the directory, each for itself.
    fn tables_without_manifest(&mut self) -> Result<()> {
        for number in table_files(self.disk, self.options)? {
            let path = files::table_path(&self.options.path, number);
            let cache = BlockCache::<Block>::new(0);
            let checked = TableReader::open(self.disk, &path, number, cache)
                .and_then(|table| table.verify().map(|()| table));
            match checked {
                Ok(table) => self.count_table(&table.properties().meta),
                Err(error) => self.damaged_table(&path, number, error)?,
            }
        }
        Ok(())
    }

    fn count_table(&mut self, meta: &TableMeta) {
        self.report.files += 1;
        self.report.bytes += meta.len;
        self.report.table_entries += meta.entries + meta.range_deletes;
    }

    /// Names every damaged part of a table.
    fn damaged_table(&mut self, path: &Path, number: FileNumber, first: Error) -> Result<()> {
        let first = damage_of(first)?;
        let is_missing = first.kind == CorruptionKind::MissingFile;
        let kind = match first.kind {
            CorruptionKind::Unreadable => CorruptionKind::Unreadable,
            _ => CorruptionKind::Checksum,
        };
        self.problem(first.into())?;
        if is_missing {
            return Ok(());
        }
        self.report.files += 1;
        self.report.bytes += self.disk.file_len(path).unwrap_or(0);
        let mut entries = 0;
        let salvaged = sstable::salvage(self.disk, path, number, &mut |_, _| {
            entries += 1;
            Ok(())
        });
        self.report.table_entries += entries;
        for lost in salvaged.into_iter().flat_map(|salvaged| salvaged.lost) {
            let at = lost.bytes.start;
            let is_known = |known: &Corruption| known.file == path && known.offset == at;
            if !self.report.problems.iter().any(is_known) {
                self.problem(Corruption::new(path, at, kind).into())?;
            }
        }
        Ok(())
    }
}

/// Numbers of all table files of the directory.
pub(crate) fn table_files(disk: &dyn Disk, options: &Options) -> Result<Vec<FileNumber>> {
    let names = disk
        .read_dir(&options.path)
        .map_err(|error| Error::io("list", &options.path, error))?;
    let mut numbers: Vec<_> = names
        .iter()
        .filter_map(|entry| match FileKind::parse(&entry.name) {
            Some(FileKind::Table(number)) => Some(number),
            _ => None,
        })
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}
