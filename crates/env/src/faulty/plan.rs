//! What shall go wrong, and what a crash leaves: said by a test, obeyed by the faulty disk.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

/// What a disk reads and writes as a whole or not at all.
pub(super) const SECTOR: usize = 512;

/// What one call does, as faults select it and the trace shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Opening an existing file.
    Open,
    /// Creating a file.
    Create,
    /// Reading a file.
    Read,
    /// Writing a file.
    Write,
    /// Cutting or extending a file.
    SetLen,
    /// Syncing a file.
    Sync,
    /// Syncing a directory.
    SyncDir,
    /// Renaming a file or directory.
    Rename,
    /// Giving a file a second name.
    Link,
    /// Removing a file's name.
    Remove,
    /// Creating directories.
    CreateDir,
    /// Removing a directory.
    RemoveDir,
    /// Listing a directory, asking a file's length by name or the free space.
    List,
    /// Locking a file.
    Lock,
}

/// A set of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// All of them.
    Any,
    /// Those that only look: `Open`, `Read`, `List`.
    Reads,
    /// Those that change bytes or lengths: `Write`, `SetLen`.
    Writes,
    /// `Sync` and `SyncDir`.
    Syncs,
    /// Those that change names: `Create`, `Rename`, `Link`, `Remove`, `CreateDir`, `RemoveDir`.
    Names,
    /// One kind.
    Only(Operation),
}

impl Class {
    /// Whether `operation` belongs to it.
    #[must_use]
    pub fn contains(self, operation: Operation) -> bool {
        use Operation as Op;
        match self {
            Self::Any => true,
            Self::Reads => matches!(operation, Op::Open | Op::Read | Op::List),
            Self::Writes => matches!(operation, Op::Write | Op::SetLen),
            Self::Syncs => matches!(operation, Op::Sync | Op::SyncDir),
            Self::Names => matches!(
                operation,
                Op::Create | Op::Rename | Op::Link | Op::Remove | Op::CreateDir | Op::RemoveDir
            ),
            Self::Only(one) => one == operation,
        }
    }
}

/// The error a failing call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `EIO`: the device failed.
    Io,
    /// `ENOSPC`: the device is full.
    NoSpace,
    /// `EACCES`: the user may not.
    Denied,
    /// `EMFILE`: the process has too many open files.
    TooManyFiles,
    /// `EXDEV`: the other name lies on another file system.
    OtherFileSystem,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io => rustix::io::Errno::IO.into(),
            Fault::NoSpace => rustix::io::Errno::NOSPC.into(),
            Fault::Denied => rustix::io::Errno::ACCESS.into(),
            Fault::TooManyFiles => rustix::io::Errno::MFILE.into(),
            Fault::OtherFileSystem => rustix::io::Errno::XDEV.into(),
        }
    }
}

/// One rule of a plan: which calls fail.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Calls that count.
    pub on: Class,
    /// Only files (or directories) whose path ends so count; empty for all.
    pub suffix: String,
    /// The call that fails, counted from 1 over those that match since the plan was set.
    pub nth: u64,
    /// Whether all later matching calls fail too.
    pub for_good: bool,
    /// What they return.
    pub fault: Fault,
}

impl Failure {
    /// The `nth` call of `on` fails, no other.
    #[must_use]
    pub fn once(on: Class, nth: u64, fault: Fault) -> Self {
        Self {
            on,
            suffix: String::new(),
            nth,
            for_good: false,
            fault,
        }
    }

    /// The `nth` call of `on` fails and all that follow.
    #[must_use]
    pub fn for_good(on: Class, nth: u64, fault: Fault) -> Self {
        Self {
            for_good: true,
            ..Self::once(on, nth, fault)
        }
    }

    /// The same, counting only paths that end in `suffix`.
    #[must_use]
    pub fn of(mut self, suffix: &str) -> Self {
        suffix.clone_into(&mut self.suffix);
        self
    }
}

/// Calls that take long.
#[derive(Clone, Copy, Debug)]
pub struct Delay {
    /// Calls that may.
    pub on: Class,
    /// Only files (or directories) whose path ends so; empty for all.
    pub suffix: &'static str,
    /// How likely each is to.
    pub chance: f64,
    /// For how long; handed to the hook of [`FaultyDisk::on_delay`](super::FaultyDisk::on_delay).
    pub by: Duration,
}

/// A sector that cannot be read any more.
#[derive(Clone, Debug)]
pub struct BadSector {
    /// The file, as it is opened.
    pub path: String,
    /// A byte of the sector.
    pub offset: u64,
}

/// What shall go wrong. The default: nothing. Chances are probabilities, 0 to 1.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    /// The power fails in the n-th call, counted from 1 since the plan was set: that call and all
    /// later ones fail until [`FaultyDisk::crash`](super::FaultyDisk::crash), which forgets this.
    pub crash_at: Option<u64>,
    /// Calls that fail. The first rule that applies wins; all of them count.
    pub failures: Vec<Failure>,
    /// Calls that take long.
    pub delays: Vec<Delay>,
    /// Reads of these fail with `EIO`, every time.
    pub bad_sectors: Vec<BadSector>,
    /// A read returns one bit flipped; the disk still holds the right one.
    pub flipped_reads: f64,
    /// A read returns what stands at another aligned offset, of this file or another.
    pub misdirected_reads: f64,
    /// A write goes to another aligned offset, of this file or another, and not where it should.
    pub misdirected_writes: f64,
    /// A planted defect: [`DiskFile::sync`](crate::DiskFile::sync) of files opened under a path
    /// that ends in one of these does nothing and returns `Ok`; direct writes to them are not
    /// durable either. The empty suffix means all files.
    pub ignore_sync_of: Vec<String>,
    /// A planted defect: [`Disk::sync_dir`](crate::Disk::sync_dir) does nothing, returns `Ok`.
    pub ignore_sync_dir: bool,
}

impl FaultPlan {
    /// The power fails in the `n`-th call.
    #[must_use]
    pub fn crash_at(n: u64) -> Self {
        Self {
            crash_at: Some(n),
            ..Self::default()
        }
    }

    /// One rule, nothing else.
    #[must_use]
    pub fn fail(failure: Failure) -> Self {
        Self {
            failures: vec![failure],
            ..Self::default()
        }
    }
}

/// A plan and how far it has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    plan: FaultPlan,
    calls: u64,
    /// Calls that matched each failure, in the plan's order.
    matched: Vec<u64>,
}

/// What the plan says of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Proceed,
    Fail(Fault),
    CutPower,
}

impl Progress {
    pub(super) fn new(plan: FaultPlan) -> Self {
        Self {
            matched: vec![0; plan.failures.len()],
            calls: 0,
            plan,
        }
    }

    pub(super) fn plan(&self) -> &FaultPlan {
        &self.plan
    }

    pub(super) fn forget_crash(&mut self) {
        self.plan.crash_at = None;
    }

    pub(super) fn judge(&mut self, operation: Operation, path: &str) -> Verdict {
        self.calls += 1;
        let mut fault = None;
        for (failure, matched) in self.plan.failures.iter().zip(&mut self.matched) {
            if failure.on.contains(operation) && path.ends_with(&failure.suffix) {
                *matched += 1;
                let hit = *matched == failure.nth || failure.for_good && *matched > failure.nth;
                fault = fault.or(hit.then_some(failure.fault));
            }
        }
        if self.plan.crash_at.is_some_and(|n| self.calls >= n) {
            return Verdict::CutPower;
        }
        fault.map_or(Verdict::Proceed, Verdict::Fail)
    }

    /// Whether `len` bytes from `offset` can be read.
    pub(super) fn is_readable(&self, path: &str, offset: u64, len: usize) -> bool {
        let sector = SECTOR as u64;
        let (first, end) = (offset / sector, (offset + len as u64).div_ceil(sector));
        let is_hit =
            |bad: &BadSector| bad.path == path && (first..end).contains(&(bad.offset / sector));
        !self.plan.bad_sectors.iter().any(is_hit)
    }

    pub(super) fn ignores_sync_of(&self, path: &str) -> bool {
        let suffixes = &self.plan.ignore_sync_of;
        suffixes.iter().any(|suffix| path.ends_with(suffix))
    }
}

/// How much of what was not synced a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// Nothing.
    LoseAll,
    /// Of each file a prefix of its changes, the first one lost perhaps torn; of the changes to
    /// names a prefix over all directories, as one journal would.
    Prefix,
    /// Anything a disk may: of each file any subset of its changes, writes torn by sector, lengths
    /// extended without their data; of the changes to names any subset. Only what no system
    /// does is left out: a sector with a later write but not an earlier one, a name bound by a
    /// later change but not an earlier one (so a rename never loses both names).
    Subset,
}

impl CrashMode {
    /// All of them, to draw from.
    pub const ALL: [Self; 3] = [Self::LoseAll, Self::Prefix, Self::Subset];
}

/// One call, as [`FaultyDisk::trace`](super::FaultyDisk::trace) shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// Its number, counted from 1 over the disk's life.
    pub index: u64,
    /// What it was.
    pub operation: Operation,
    /// Of what; the old name where there are two.
    pub path: String,
    /// Where in the file.
    pub offset: u64,
    /// Bytes asked for, or the new length.
    pub len: u64,
    /// What the caller was told.
    pub outcome: Result<(), io::ErrorKind>,
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {:?} {}", self.index, self.operation, self.path)?;
        if self.len > 0 {
            write!(f, " {}+{}", self.offset, self.len)?;
        }
        match self.outcome {
            Ok(()) => Ok(()),
            Err(kind) => write!(f, ": {kind}"),
        }
    }
}

/// A path as the disk knows it, `/`-separated, without a root: `/db/x`, `db/x` and `./db/x` are one.
pub(super) fn plain(path: &Path) -> String {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            std::path::Component::Normal(part) => parts.push(part.to_string_lossy()),
            std::path::Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    parts.join("/")
}
