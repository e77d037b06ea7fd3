//! A disk in memory that fails as disks and power supplies do, from a seed.
//!
//! It keeps apart what programs see and what the disk is sure to hold: per file the durable bytes
//! and the changes since the last good sync, and the same for names until their directory is
//! synced. A [crash](FaultyDisk::crash) draws what is left of the changes; a [`FaultPlan`] says
//! what goes wrong before. Everything is drawn from one seed: the same calls in the same order
//! meet the same faults.
//!
//! # How to enumerate crashes
//!
//! Run the workload once to learn how many operations it takes; then once for each of them with the
//! power failing there; and reopen several times from copies of what was left:
//!
//! ```
//! use std::path::Path;
//! use ringwood_env::{CrashMode, Disk, FaultPlan, FaultyDisk, OpenMode};
//!
//! let workload = |disk: &FaultyDisk| -> std::io::Result<()> {
//!     let file = disk.open(Path::new("new"), OpenMode::CreateNew)?;
//!     file.write_at(b"complete", 0)?;
//!     file.sync()?;
//!     disk.rename(Path::new("new"), Path::new("name"))?;
//!     disk.sync_dir(Path::new(""))
//! };
//! let disk = FaultyDisk::new(1);
//! workload(&disk)?;
//! for n in 1..=disk.operations() {
//!     let disk = FaultyDisk::new(n);
//!     disk.set_plan(FaultPlan::crash_at(n));
//!     assert!(workload(&disk).is_err() && disk.is_crashed());
//!     for seed in 0..10 {
//!         let image = disk.image(seed);
//!         image.crash(CrashMode::Subset);
//!         if let Some(bytes) = image.read_file("name") {
//!             assert_eq!(bytes, b"complete");
//!         }
//!     }
//! }
//! # std::io::Result::Ok(())
//! ```
//!
//! # How to end a process
//!
//! A program that is killed leaves the machine running, and with it the cache, which shows what no
//! disk has (`faulty-4`). Its successor opens an [image](FaultyDisk::image) of the disk without a
//! [crash](FaultyDisk::crash): whatever the old one still does reaches nobody. The power fails later.
//!
//! ```
//! use std::path::Path;
//! use ringwood_env::faulty::{Class, Failure, Fault};
//! use ringwood_env::{CrashMode, Disk, FaultPlan, FaultyDisk, OpenMode};
//!
//! let disk = FaultyDisk::new(1);
//! let file = disk.open(Path::new("name"), OpenMode::CreateNew)?;
//! disk.sync_dir(Path::new(""))?;
//! disk.set_plan(FaultPlan::fail(Failure::once(Class::Syncs, 1, Fault::Io)));
//! file.write_at(b"lost", 0)?;
//! assert!(file.sync().is_err());
//!
//! let disk = disk.image(2);
//! let file = disk.open(Path::new("name"), OpenMode::Write)?;
//! let mut read = [0; 4];
//! file.read_at(&mut read, 0)?;
//! file.sync()?; // it has nothing to do
//! assert_eq!(&read, b"lost");
//! file.write_at(&read, 0)?;
//! file.sync()?;
//! disk.crash(CrashMode::LoseAll);
//! assert_eq!(disk.read_file("name").unwrap(), b"lost");
//! # std::io::Result::Ok(())
//! ```
//!
//! *What counts as an operation*: every call of [`Disk`](crate::Disk) and
//! [`DiskFile`](crate::DiskFile) but `len`, hints, closing and unlocking.
//!
//! *The call in which the power fails* has reached the cache, but is durable no more than anything
//! else pending: a direct write may be torn; a sync has done nothing.
//!
//! *Invariants*
//! - `faulty-1`: bytes whose sync returned `Ok`, or written through
//!   [`DirectSync`](crate::OpenMode::DirectSync), survive every crash unless overwritten or cut.
//! - `faulty-2`: names whose directory's sync returned `Ok` survive every crash unless changed,
//!   provided that the directory's own name does.
//! - `faulty-3`: a sector (512 bytes) is old or new, never a mixture.
//! - `faulty-4`: a failed sync leaves nothing pending: what it did not save is lost at the next
//!   crash, though programs go on reading it and later syncs return `Ok`.
//!
//! *Not here*: the paths of a disk start at a root that always exists; `/a`, `a` and `./a` are one.

mod calls;
mod inode;
mod machine;
mod names;
mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use inode::Inode;
use machine::Machine;
pub use machine::is_crash;
use names::Node;
use plan::plain;
pub use plan::{
    BadSector, Class, CrashMode, Delay, Failure, Fault, FaultPlan, Operation, TraceEntry,
};

/// A disk in memory that loses, tears and flips; see the module. Clones are the same disk.
#[derive(Clone)]
pub struct FaultyDisk {
    shared: Arc<Shared>,
}

type DelayHook = Arc<dyn Fn(Duration) + Send + Sync>;

struct Shared {
    machine: Mutex<Machine>,
    on_delay: RwLock<Option<DelayHook>>,
}

impl Shared {
    fn new(machine: Machine) -> Arc<Self> {
        Arc::new(Self {
            machine: Mutex::new(machine),
            on_delay: RwLock::new(None),
        })
    }

    /// A test that panicked while holding it has failed already; what follows shall not hide why.
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, delay: Duration) {
        let hook = self.on_delay.read();
        let hook = hook.unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            hook(delay);
        }
    }
}

impl fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyDisk")
            .field("operations", &self.operations())
            .field("is_crashed", &self.is_crashed())
            .field("paths", &self.paths())
            .finish()
    }
}

/// What goes wrong, and what went on.
impl FaultyDisk {
    /// An empty disk on which nothing goes wrong yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            shared: Shared::new(Machine::new(seed)),
        }
    }

    /// Another disk with the same contents, durable and pending, crashed if this one is, that
    /// draws from another seed. Nobody has a file of it open, no fault is planned, no operation
    /// counted. Costs little: bytes are shared until one side changes them.
    #[must_use]
    pub fn image(&self, seed: u64) -> Self {
        Self {
            shared: Shared::new(self.shared.machine().image(seed)),
        }
    }

    /// From now on this goes wrong, instead of what was planned before. Counting starts anew.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.shared.machine().set_plan(plan);
    }

    /// Calls `hook` with the time a slow operation takes, after it and holding no lock: advance a
    /// clock, or sleep.
    pub fn on_delay(&self, hook: impl Fn(Duration) + Send + Sync + 'static) {
        let slot = self.shared.on_delay.write();
        *slot.unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    /// How many bytes all files together may have; `None` for no limit. What is there already stays.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.machine().capacity = bytes;
    }

    /// Whether [`DirectSync`](crate::OpenMode::DirectSync) is `Unsupported` from now on, as on some file
    /// systems. Files that are open stay as they are.
    pub fn refuse_direct(&self, refuses: bool) {
        self.shared.machine().refuses_direct = refuses;
    }

    /// Stops the machine and starts it again: draws what is left of everything not synced, forgets
    /// locks, and restores the power where a plan cut it. Files opened before fail every call, and
    /// those calls count nowhere. The rest of the plan stays in force.
    pub fn crash(&self, mode: CrashMode) {
        self.shared.machine().crash(mode);
    }

    /// Whether a planned crash has struck, so that every call fails until [`crash`](Self::crash).
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.shared.machine().is_crashed()
    }

    /// Operations since the disk was made.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.shared.machine().operations
    }

    /// The last operations (256 at most), oldest first.
    #[must_use]
    pub fn trace(&self) -> Vec<TraceEntry> {
        self.shared.machine().trace.iter().cloned().collect()
    }
}

/// The tester's own hands: these calls pass by all faults, count nowhere, and work while the power
/// is off.
impl FaultyDisk {
    /// Paths of all files, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let paths = self.shared.machine().names.paths();
        paths.into_iter().map(|(path, _)| path).collect()
    }

    /// What programs read in a file.
    #[must_use]
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let machine = self.shared.machine();
        let inode = machine.names.file(&plain(path.as_ref())).ok()?;
        Some(machine.inodes[&inode].bytes().to_vec())
    }

    /// Puts a file there with these bytes, durably, with its directories; replaces an older one.
    ///
    /// # Panics
    /// Where the path, or what would be its directory, is taken by something else.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) {
        let path = &plain(path.as_ref());
        let mut machine = self.shared.machine();
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let made = machine.names.create_dir_all(parent);
        made.expect("the path leads through directories");
        let key = machine.names.locate(path).expect("its directory exists");
        assert!(
            !matches!(machine.names.get(&key), Some(Node::Dir(_))),
            "{path} is a directory"
        );
        let inode = machine.add_inode(Inode::durable_with(bytes.into()));
        machine.names.bind(key, inode);
        machine.names.sync_path(path);
        machine.free_dead_files();
    }

    /// Takes a file away, durably. Whether there was one.
    pub fn remove(&self, path: impl AsRef<Path>) -> bool {
        let path = &plain(path.as_ref());
        let mut machine = self.shared.machine();
        if machine.names.file(path).is_err() {
            return false;
        }
        let key = machine.names.locate(path).expect("a file has a name");
        machine.names.unbind(key);
        machine.names.sync_path(path);
        machine.free_dead_files();
        true
    }

    /// Inverts bit `bit` (0–7) of the byte at `offset`, in the cache and on the disk, as a medium
    /// that rots under a file read for the first time. Whether there was such a byte.
    pub fn flip(&self, path: impl AsRef<Path>, offset: usize, bit: u8) -> bool {
        let mut machine = self.shared.machine();
        let Ok(inode) = machine.names.file(&plain(path.as_ref())) else {
            return false;
        };
        let inode = machine.inode(inode);
        inode.flip(offset, bit);
        offset < inode.len()
    }

    /// What every crash leaves: all files with a durable name, with their durable bytes.
    #[must_use]
    pub fn durable_snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        let machine = self.shared.machine();
        let paths = machine.names.durable_paths().into_iter();
        paths
            .map(|(path, inode)| (path, machine.inodes[&inode].durable_bytes().to_vec()))
            .collect()
    }
}

#[cfg(test)]
mod tests;
