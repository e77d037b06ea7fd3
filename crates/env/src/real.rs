//! The machine's own disk.
//!
//! *Direct I/O*: a file system may take `O_DIRECT` in `open` and refuse it in the first access, so
//! opening tries one read. A direct access that the kernel cuts short goes on at whole blocks only.

#![allow(clippy::disallowed_methods)] // the one place that touches the file system

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, FlockOperation, OFlags, fadvise, flock, statvfs};
use rustix::process::{Resource, getrlimit};

use crate::disk::{DIRECT_ALIGNMENT, DirEntry, Disk, DiskFile, DiskLock, OpenMode};

/// The machine's own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
            OpenMode::DirectSync => {
                let flags = (OFlags::DIRECT | OFlags::DSYNC).bits().cast_signed();
                options.write(true).custom_flags(flags);
            }
        }
        let direct = mode == OpenMode::DirectSync;
        let opened = options.open(path).and_then(|file| {
            if direct {
                file.read_at(&mut Block([0; DIRECT_ALIGNMENT]).0, 0)?;
            }
            Ok(RealFile { file, direct })
        });
        match opened {
            Ok(file) => Ok(Arc::new(file)),
            // What a file system without direct I/O says, or one with larger blocks than ours.
            Err(error) if direct && error.kind() == io::ErrorKind::InvalidInput => {
                Err(io::Error::new(io::ErrorKind::Unsupported, error))
            }
            Err(error) => Err(error),
        }
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed since it was listed: another thread deletes an obsolete file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            entries.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                len: if metadata.is_dir() { 0 } else { metadata.len() },
                is_dir: metadata.is_dir(),
            });
        }
        Ok(entries)
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let directory = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
            .open(path)?;
        directory.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = match made {
            // Who may not write may look on all the same, and is kept from it while somebody writes.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
                ) =>
            {
                File::open(path).map_err(|_| error)?
            }
            made => made?,
        };
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock { _file: file }))
    }

    fn available_space(&self, path: &Path) -> io::Result<u64> {
        let stat = statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn open_files_max(&self) -> Option<u64> {
        getrlimit(Resource::Nofile).current
    }
}

/// Memory that direct I/O takes.
#[repr(align(4096))]
struct Block([u8; DIRECT_ALIGNMENT]);

const _: () = assert!(align_of::<Block>() == DIRECT_ALIGNMENT);

#[derive(Debug)]
struct RealFile {
    file: File,
    direct: bool,
}

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self
                .file
                .read_at(&mut buf[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // A direct read stops inside a block only where the file ends; some file systems
            // refuse to go on from there, for it is not aligned.
            if self.direct && !filled.is_multiple_of(DIRECT_ALIGNMENT) {
                break;
            }
        }
        Ok(filled)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if !self.direct {
            return self.file.write_all_at(buf, offset);
        }
        let mut written = 0;
        while written < buf.len() {
            match self.file.write_at(&buf[written..], offset + written as u64) {
                // Cut short, as by a full disk: the next call, from a whole block, says why.
                Ok(n) if n >= DIRECT_ALIGNMENT => written += n - n % DIRECT_ALIGNMENT,
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn will_need(&self, offset: u64, len: u64) {
        let _ = fadvise(
            &self.file,
            offset,
            std::num::NonZero::new(len),
            Advice::WillNeed,
        );
    }

    fn will_not_need(&self, offset: u64, len: u64) {
        let _ = fadvise(
            &self.file,
            offset,
            std::num::NonZero::new(len),
            Advice::DontNeed,
        );
    }
}

/// The kernel drops a `flock` with its file, also when the process is killed.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl DiskLock for RealLock {}

#[cfg(test)]
mod tests;
