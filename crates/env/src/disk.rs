//! What a store may ask of a disk, and what it may believe afterwards.
//!
//! Calls are dispatched once per file operation, where their cost cannot be measured. There is no
//! memory map: faults could not be injected through one.
//!
//! *Durability*: bytes are durable after [`DiskFile::sync`] returned `Ok`, or after a write through
//! a file opened with [`OpenMode::DirectSync`]. A name (created, renamed, linked or removed) is
//! durable after [`Disk::sync_dir`] of its directory. **After a failed sync nothing may be believed
//! about bytes written since the last good one**, and the sync must not be tried again: the kernel
//! may have dropped the pages and called them clean.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Offsets, lengths and memory of direct I/O are multiples of this many bytes.
pub const DIRECT_ALIGNMENT: usize = 4096;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to be read.
    Read,
    /// An existing file, to be read and written.
    Write,
    /// A new file, to be read and written; fails with `AlreadyExists` where there is one.
    CreateNew,
    /// An existing file whose writes are durable when they return (`O_DIRECT|O_DSYNC`). Offset,
    /// length and memory of every access must be multiples of [`DIRECT_ALIGNMENT`]. Fails with
    /// `Unsupported` where the file system does not take it: use `Write` and `sync`.
    DirectSync,
}

/// A directory of files: the only way this project touches storage.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Opens a file.
    ///
    /// # Errors
    /// As the operating system's `open`; see [`OpenMode`].
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a directory and all its parents; nothing happens where it exists. Each new name is
    /// durable after [`sync_dir`](Self::sync_dir) of the directory above it: that is the caller's.
    ///
    /// # Errors
    /// As `mkdir`.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Lists a directory, in no particular order.
    ///
    /// # Errors
    /// As `opendir`; `NotFound` where there is none.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Length of a file in bytes.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    fn file_len(&self, path: &Path) -> io::Result<u64>;

    /// Gives `from` the name `to` atomically, replacing what bore it. After a crash before the
    /// directory is synced it has the old name or the new one.
    ///
    /// # Errors
    /// As `rename`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name.
    ///
    /// # Errors
    /// As `link`; across file systems it is refused.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    ///
    /// # Errors
    /// As `unlink`.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// As `rmdir`.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As `fsync` on the directory; see the module on what a failure means.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Locks a file (created where missing) against every other process and opener, until the
    /// value is dropped or the process ends.
    ///
    /// # Errors
    /// `WouldBlock` where another holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;

    /// Bytes an ordinary user may still write below `path`.
    ///
    /// # Errors
    /// As `statvfs`.
    fn available_space(&self, path: &Path) -> io::Result<u64>;

    /// The one path, without links, by which what is there at `path` is known.
    ///
    /// # Errors
    /// As `realpath`; `NotFound` where nothing is there.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// Files that the process may have open at once, where there is a limit.
    fn open_files_max(&self) -> Option<u64> {
        None
    }
}

/// One open file. All access is by position, from any thread.
pub trait DiskFile: Debug + Send + Sync {
    /// Reads into `buf` from `offset` until it is full or the file ends; returns the bytes read.
    ///
    /// # Errors
    /// As `pread`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`, extending the file where needed.
    ///
    /// # Errors
    /// As `pwrite`. Any part may have been written, also where the disk is full.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far durable, with the length needed to read it back.
    ///
    /// # Errors
    /// As `fdatasync`; see the module on what a failure means.
    fn sync(&self) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// As `fstat`.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As `fstat`.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends (with zeros) to `len` bytes.
    ///
    /// # Errors
    /// As `ftruncate`.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Says that `len` bytes from `offset` will be read soon. A hint: it does nothing where the
    /// system has no use for it.
    fn will_need(&self, _offset: u64, _len: u64) {}

    /// Says that cached pages of this range will not be used again soon. A hint.
    fn will_not_need(&self, _offset: u64, _len: u64) {}
}

/// Held while a file is locked; dropping it unlocks.
pub trait DiskLock: Debug + Send + Sync {}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without its directory. Names that are not UTF-8 are shown lossily: they are not ours.
    pub name: String,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}
