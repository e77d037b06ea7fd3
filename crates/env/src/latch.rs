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
//! - `latch-2`: a refusal does not latch. Of a change of bytes: no space, `Unsupported`; some bytes may
//!   stand in the file, so the caller writes that range again or cuts it off. Of a change of names also
//!   what the system says before it changes any: too many open files, no memory, no permission, a
//!   read-only or another file system, a name that is taken, missing or not allowed. Of a sync nothing,
//!   but that the directory could not even be opened.
//! - `latch-4`: where files are too many, whoever registered is asked to close some, and the call is
//!   made again; an error only comes of it when there is nothing left to close.
//! - `latch-3`: a sync that returns `Ok` did not run beside one of the same file (or, for
//!   directories, of the same disk) that failed: they run one after the other, for the kernel may
//!   report an error to the first of two callers only.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

use crate::disk::{DirEntry, Disk, DiskFile, DiskLock, OpenMode};

/// Wraps a disk and latches its first failure; see the module.
#[derive(Debug)]
pub struct LatchedDisk {
    disk: Arc<dyn Disk>,
    latch: Arc<Latch>,
    /// Held during a directory sync (`latch-3`).
    syncing: Mutex<()>,
    spare_files: OnceLock<SpareFiles>,
}

/// Closes files that can be opened again when they are wanted; whether it has closed any.
struct SpareFiles(Box<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for SpareFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpareFiles")
    }
}

impl LatchedDisk {
    /// Wraps `disk`, which has not failed yet.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            latch: Arc::default(),
            syncing: Mutex::new(()),
            spare_files: OnceLock::new(),
        }
    }

    /// Has `close_some` asked when the process has too many open files: it closes some that can be opened
    /// again, and says whether there were any. The first to register stays.
    pub fn on_too_many_files(&self, close_some: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.spare_files.set(SpareFiles(Box::new(close_some)));
    }

    /// INVARIANT latch-4: makes a call that needs a file of its own.
    fn with_a_file<T>(&self, call: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match call() {
                Err(error) if is_too_many_files(&error) => {
                    let closed = self.spare_files.get().is_some_and(|spare| (spare.0)());
                    if !closed {
                        return Err(error);
                    }
                }
                done => return done,
            }
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
            OpenMode::CreateNew => self.latch.change_name("create", path, || {
                self.with_a_file(|| self.disk.open(path, mode))
            })?,
            OpenMode::Read | OpenMode::Write | OpenMode::DirectSync => {
                self.with_a_file(|| self.disk.open(path, mode))?
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
            .change_name("create directory", path, || self.disk.create_dir_all(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.with_a_file(|| self.disk.read_dir(path))
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        self.disk.file_len(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.latch
            .change_name("rename", from, || self.disk.rename(from, to))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.latch
            .change_name("link", to, || self.disk.hard_link(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.latch
            .change_name("remove", path, || self.disk.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.latch
            .change_name("remove directory", path, || self.disk.remove_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.latch.sync("sync directory", path, || {
            self.with_a_file(|| self.disk.sync_dir(path))
        })
    }

    /// Not latched: a lock holds no data, and one refused says nothing about the disk.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.with_a_file(|| self.disk.lock(path))
    }

    fn available_space(&self, path: &Path) -> io::Result<u64> {
        self.disk.available_space(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.disk.resolve(path)
    }

    fn open_files_max(&self) -> Option<u64> {
        self.disk.open_files_max()
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
        self.attempt(operation, path, is_refused_write, call)
    }

    fn change_name<T>(
        &self,
        operation: &'static str,
        path: &Path,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.attempt(operation, path, is_refused_name, call)
    }

    fn sync(
        &self,
        operation: &'static str,
        path: &Path,
        call: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        // No sync says that files are too many: nothing was begun.
        self.attempt(operation, path, is_too_many_files, call)
    }

    /// Makes a call unless one has failed before; a failure that is no refusal is the first.
    fn attempt<T>(
        &self,
        operation: &'static str,
        path: &Path,
        is_refusal: impl FnOnce(&io::Error) -> bool,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.check()?;
        call().inspect_err(|error| {
            if !is_refusal(error) {
                self.trip(operation, path, error);
            }
        })
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

/// Whether the process, or the system, has no more files to give.
#[must_use]
pub fn is_too_many_files(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

/// Whether a change of bytes was refused before it was told to the device.
fn is_refused_write(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::NotFound
            | Kind::AlreadyExists
            | Kind::DirectoryNotEmpty
            | Kind::Unsupported
    )
}

/// Whether a change of names was refused, and all names are as before.
fn is_refused_name(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let refused = matches!(
        error.kind(),
        Kind::PermissionDenied
            | Kind::ReadOnlyFilesystem
            | Kind::CrossesDevices
            | Kind::TooManyLinks
            | Kind::OutOfMemory
            | Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::InvalidFilename
            | Kind::ResourceBusy
    );
    refused || is_refused_write(error) || is_too_many_files(error)
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
