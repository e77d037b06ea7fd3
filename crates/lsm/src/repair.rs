//! Making a damaged store one that opens again, and saying what was saved and what was not.
//!
//! What the manifest says is taken where it can be read; else it is made anew from what manifests
//! still say in part and from what each table says of itself ([`catalog`]). A damaged table is
//! replaced, in its place, by one with every entry that is intact ([`tables`]). The intact frames of
//! a damaged log become tables of L0 ([`logs`]). Damaged originals go to `lost/` ([`lost`]).
//!
//! # Invariants
//! - repair-1: until the new manifest is in force, no file of the store is changed or removed: a repair
//!   that ends half-way is simply done again.
//! - repair-2: a damaged original stands in `lost/`, durably, before anything else may remove it.
//! - repair-3: no older change comes to hide a newer one: a table keeps its place, or is merged with all
//!   that it overlaps.
//!
//! *Durability on return*: the repaired store is on the disk.

mod catalog;
mod logs;
mod lost;
mod tables;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use ringwood_env::{Disk, LatchedDisk, UnixMillis};

use crate::error::{Corruption, Error, Result};
use crate::files::FileNumbers;
use crate::key::SeqNo;
use crate::manifest::{Edit, Manifest, State, behind_all};
use crate::options::Options;
use crate::recovery::{SEQ_GAP, lock_store};
use lost::Aside;

/// What a repair found, saved and lost.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RepairReport {
    /// The damage found. Empty: nothing was done.
    pub problems: Vec<Corruption>,
    /// Damage of what stands twice, or of one byte of the log that can be told: nothing is lost, and the
    /// next opening, or the next write to the file, heals it.
    pub healed: Vec<Corruption>,
    /// Whether the manifest was made anew from the tables. Then what was deleted, or dropped, shortly
    /// before may be back.
    pub manifest_rebuilt: bool,
    /// Tables that were written anew.
    pub tables_rewritten: u64,
    /// Entries saved from damaged tables.
    pub table_entries_saved: u64,
    /// Changes saved from a damaged log.
    pub log_entries_saved: u64,
    /// What could not be saved. Where entries are lost, older values of their keys may show.
    pub lost: Vec<Loss>,
    /// Where damaged originals are kept.
    pub set_aside: Vec<PathBuf>,
}

impl RepairReport {
    /// Whether there was nothing to repair.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What one file has lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The file, under its name in the store.
    pub file: PathBuf,
    /// The bytes of which nothing could be saved; none where the file is missing or cannot be read.
    pub bytes: Vec<Range<u64>>,
    /// Of which keyspace the entries were, if of one and that is known.
    pub keyspace: Option<String>,
    /// Where the lost entries' keys lie; none where that is not known.
    pub keys: Vec<KeyRange>,
    /// How many changes are lost, where it can be told.
    pub entries: Option<u64>,
}

/// Keys from the first to the second, both included; `None`: without limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first.
    pub start: Option<Vec<u8>>,
    /// The last.
    pub end: Option<Vec<u8>>,
}

/// Makes a damaged store one that opens again, saving what can be saved. No process may have it open.
/// Does nothing to a store that is sound. Damaged files are kept in the directory `lost` below it.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Locked`], [`Error::UnsupportedFormat`], [`Error::Io`]: the store is as it
/// was, and the repair can be done again.
pub fn repair(options: &Options) -> Result<RepairReport> {
    options.validate()?;
    let disk = Arc::new(LatchedDisk::new(Arc::clone(&options.disk))) as Arc<dyn Disk>;
    let _lock = lock_store(&*disk, options)?;
    let mut bench = Bench::new(disk, options)?;
    let catalog = catalog::read(&mut bench)?;
    let mut state = if catalog.is_trusted {
        tables::mend(&mut bench, &catalog.state)?
    } else {
        tables::rebuild(&mut bench, &catalog.state)?
    };
    logs::mend(&mut bench, &catalog, &mut state)?;
    if bench.report.problems.is_empty() {
        return Ok(bench.report);
    }
    bench.put_in_force(state)
}

/// What a repair works with.
struct Bench<'a> {
    disk: Arc<dyn Disk>,
    options: &'a Options,
    numbers: Arc<FileNumbers>,
    now: UnixMillis,
    report: RepairReport,
    asides: Vec<Aside>,
    /// Behind everything found in damaged files.
    last_seq: SeqNo,
}

impl<'a> Bench<'a> {
    fn new(disk: Arc<dyn Disk>, options: &'a Options) -> Result<Self> {
        let names = disk
            .read_dir(&options.path)
            .map_err(|error| Error::io("list", &options.path, error))?;
        Ok(Self {
            disk,
            options,
            numbers: Arc::new(FileNumbers::starting_at(behind_all(&names))),
            now: options.clock.wall(),
            report: RepairReport::default(),
            asides: Vec::new(),
            last_seq: SeqNo::ZERO,
        })
    }

    fn problem(&mut self, damage: Corruption) {
        if !self.report.problems.contains(&damage) {
            tracing::warn!(%damage, "found while repairing");
            self.report.problems.push(damage);
        }
    }

    /// Makes `state` what the store consists of.
    fn put_in_force(mut self, mut state: State) -> Result<RepairReport> {
        let directory = &self.options.path;
        // INVARIANT repair-2.
        self.report.set_aside = lost::keep(&*self.disk, directory, &self.asides)?;
        let last_seq = state.last_seq.max(self.last_seq);
        for edit in [
            // Numbers of changes that are lost are not issued again.
            Edit::LastSeq(last_seq.plus(SEQ_GAP)),
            Edit::NextFile(self.numbers.next()),
        ] {
            state.apply(&edit).expect("a bound contradicts nothing");
        }
        // ORDER: the names of new tables are durable before the manifest names them.
        self.disk
            .sync_dir(directory)
            .map_err(|error| Error::io("sync", directory, error))?;
        Manifest::create_with(Arc::clone(&self.disk), directory, state)?;
        lost::remove_originals(&*self.disk, directory, &self.asides)?;
        Ok(self.report)
    }
}
