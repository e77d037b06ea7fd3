//! A disk that stops accepting changes after its first failure.
//!
//! After a failed sync the kernel may have dropped the unwritten pages and called them clean: the
//! next sync succeeds and means nothing. The only safe answer is to change nothing more and to
//! reopen from what the disk really holds. Every part of a store would have to remember that;
//! here it is remembered once, below all of them.
//!
//! *Invariants*
//! - `latch-1`: after the first failed sync (of a file or a directory, whatever the error), and
//!   after the first failed change whose effect is unknown, every later change fails at once,
//!   naming that first failure. Reads go on.
//! - `latch-2`: a refusal does not latch: no space, `NotFound`, `AlreadyExists`,
//!   `DirectoryNotEmpty`, `Unsupported`. Names are as before; of a refused write some bytes may
//!   stand in the file, so the caller writes that range again or cuts it off.
//! - `latch-3`: a sync that returns `Ok` did not run beside one of the same file (or, for
//!   directories, of the same disk) that failed: they run one after the other, for the kernel may
//!   report an error to the first of two callers only.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::disk::{DirEntry, Disk, DiskFile, DiskLock, OpenMode};

/// Wraps a disk and latches its first failure; see the module.
#[derive(Debug)]
pub struct LatchedDisk {
    disk: Arc<dyn Disk>,
    latch: Arc<Latch>,
    /// Held during a directory sync (`latch-3`).
    syncing: Mutex<()>,
}

impl LatchedDisk {
    /// Wraps `disk`, which has not failed yet.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            latch: Arc::default(),
            syncing: Mutex::new(()),
        }
    }

    /// The failure that stopped all changes, if there was one. Costs one atomic load.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<io::Error>> {
        self.latch.first.get().cloned()
    }
}

impl Disk for LatchedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = match mode {
            OpenMode::CreateNew => self
                .latch
                .change("create", path, || self.disk.open(path, mode))?,
            OpenMode::Read | OpenMode::Write | OpenMode::DirectSync => {
                self.disk.open(path, mode)?
            }
        };
        Ok(Arc::new(LatchedFile {
            file,
            path: path.to_owned(),
            latch: self.latch.clone(),
            syncing: Mutex::new(()),
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.latch
            .change("create directory", path, || self.disk.create_dir_all(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.read_dir(path)
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        self.disk.file_len(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.latch
            .change("rename", from, || self.disk.rename(from, to))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.latch
            .change("link", to, || self.disk.hard_link(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.latch
            .change("remove", path, || self.disk.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.latch
            .change("remove directory", path, || self.disk.remove_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.latch
            .sync("sync directory", path, || self.disk.sync_dir(path))
    }

    /// Not latched: a lock holds no data, and one refused says nothing about the disk.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }

    fn available_space(&self, path: &Path) -> io::Result<u64> {
        self.disk.available_space(path)
    }
}

#[derive(Debug)]
struct LatchedFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    latch: Arc<Latch>,
    /// Held during a sync (`latch-3`).
    syncing: Mutex<()>,
}

impl DiskFile for LatchedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.latch
            .change("write", &self.path, || self.file.write_at(buf, offset))
    }

    fn sync(&self) -> io::Result<()> {
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.latch.sync("sync", &self.path, || self.file.sync())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.latch
            .change("set length", &self.path, || self.file.set_len(len))
    }

    fn will_need(&self, offset: u64, len: u64) {
        self.file.will_need(offset, len);
    }

    fn will_not_need(&self, offset: u64, len: u64) {
        self.file.will_not_need(offset, len);
    }
}

/// The first failure of a disk, shared by it and its files.
#[derive(Debug, Default)]
struct Latch {
    first: OnceLock<Arc<io::Error>>,
}

impl Latch {
    fn change<T>(
        &self,
        operation: &'static str,
        path: &Path,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.check()?;
        call().inspect_err(|error| {
            if !is_refusal(error.kind()) {
                self.trip(operation, path, error);
            }
        })
    }

    fn sync(
        &self,
        operation: &'static str,
        path: &Path,
        call: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        self.check()?;
        call().inspect_err(|error| self.trip(operation, path, error))
    }

    fn check(&self) -> io::Result<()> {
        match self.first.get() {
            None => Ok(()),
            // Of no particular kind: a caller must not take this for, say, a full disk that will
            // have space again.
            Some(first) => Err(io::Error::other(ChangesStopped {
                first: first.clone(),
            })),
        }
    }

    /// Only the first failure stays; what followed is likely its consequence.
    fn trip(&self, operation: &'static str, path: &Path, error: &io::Error) {
        self.first.get_or_init(|| {
            let cause = match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            };
            Arc::new(io::Error::new(
                error.kind(),
                FirstFailure {
                    operation,
                    path: path.to_owned(),
                    cause,
                },
            ))
        });
    }
}

/// Whether an error means that the call was refused and no name or length changed.
fn is_refusal(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::NotFound
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::Unsupported
    )
}

/// What the latch remembers.
#[derive(Debug)]
struct FirstFailure {
    operation: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl fmt::Display for FirstFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.operation, self.path.display())?;
        write!(f, " failed: {}", self.cause)
    }
}

impl Error for FirstFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// What every change gets after the first failure.
#[derive(Debug)]
struct ChangesStopped {
    first: Arc<io::Error>,
}

impl fmt::Display for ChangesStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "nothing is written since the disk's first failure: {}",
            self.first
        )
    }
}

impl Error for ChangesStopped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.first)
    }
}

#[cfg(test)]
#[cfg(feature = "faulty")]
mod tests;
