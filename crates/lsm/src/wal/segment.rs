//! Log segments as files: made once, written whole in advance, and used again and again.
//!
//! A sync of bytes that lie in blocks written before is a pure overwrite: no allocation, no journal.
//! So a segment is filled with zeros when it is made, and when its frames are obsolete it is not
//! deleted but given a new number and salt.
//!
//! *Durability on return*: a [`Segment`] that was prepared is on the disk under its name, with its
//! header. A file of that name is never seen half-made.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringwood_env::{Disk, DiskFile, OpenMode, Random};

use super::format::{SegmentHeader, to_usize};
use crate::error::{Error, Result};
use crate::files::{FileNumber, log_path};

/// A segment ready to be written.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) path: PathBuf,
    /// Through the page cache.
    pub(super) cached: Arc<dyn DiskFile>,
    /// Past it; durable on return. `None` where the file system has no direct I/O.
    pub(super) direct: Option<Arc<dyn DiskFile>>,
}

impl Segment {
    /// Makes a segment of `len` zeros.
    ///
    /// # Errors
    /// [`Error::Io`]; at most a temporary file is left.
    pub(crate) fn prepare(
        disk: &dyn Disk,
        directory: &Path,
        number: FileNumber,
        len: u64,
        salt: u32,
    ) -> Result<Self> {
        let path = log_path(directory, number);
        let temporary = path.with_extension("log.tmp");
        match disk.remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &temporary, error));
            }
            _ => {}
        }
        let file = disk
            .open(&temporary, OpenMode::CreateNew)
            .map_err(|error| Error::io("create", &temporary, error))?;
        let header = SegmentHeader { number, len, salt };
        fill(&*file, &header).map_err(|error| Error::io("write", &temporary, error))?;
        Self::publish(disk, directory, header, &temporary)
    }

    /// Makes obsolete segment `old` of `len` bytes the new segment `number`. What its frames held
    /// must not be needed after a crash any more.
    ///
    /// # Errors
    /// [`Error::Io`]; the file is left under one of its names.
    pub(crate) fn recycle(
        disk: &dyn Disk,
        directory: &Path,
        old: FileNumber,
        number: FileNumber,
        len: u64,
        salt: u32,
    ) -> Result<Self> {
        let old_path = log_path(directory, old);
        let header = SegmentHeader { number, len, salt };
        let file = disk
            .open(&old_path, OpenMode::Write)
            .map_err(|error| Error::io("open", &old_path, error))?;
        // ORDER: before it has its new name, so that a file is never found under a number that its
        // header does not bear.
        file.write_at(&header.to_page(), 0)
            .and_then(|()| file.sync())
            .map_err(|error| Error::io("write", &old_path, error))?;
        // What reading ahead has cached lies in large folios, in which small writes cost four times as
        // much as in pages that the writes themselves bring into the cache.
        file.will_not_need(0, len);
        Self::publish(disk, directory, header, &old_path)
    }

    /// Gives the finished file at `from` its name.
    fn publish(
        disk: &dyn Disk,
        directory: &Path,
        header: SegmentHeader,
        from: &Path,
    ) -> Result<Self> {
        let path = log_path(directory, header.number);
        disk.rename(from, &path)
            .map_err(|error| Error::io("rename", from, error))?;
        disk.sync_dir(directory)
            .map_err(|error| Error::io("sync", directory, error))?;
        let cached = disk
            .open(&path, OpenMode::Write)
            .map_err(|error| Error::io("open", &path, error))?;
        let direct = match disk.open(&path, OpenMode::DirectSync) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        Ok(Self {
            header,
            path,
            cached,
            direct,
        })
    }

    pub(crate) fn number(&self) -> FileNumber {
        self.header.number
    }

    pub(crate) fn len(&self) -> u64 {
        self.header.len
    }
}

/// Writes a whole segment, durably.
fn fill(file: &dyn DiskFile, header: &SegmentHeader) -> io::Result<()> {
    const CHUNK_LEN: u64 = 1 << 20;
    let zeros = vec![0; to_usize(CHUNK_LEN.min(header.len))];
    let mut offset = 0;
    while offset < header.len {
        let len = CHUNK_LEN.min(header.len - offset);
        file.write_at(&zeros[..to_usize(len)], offset)?;
        offset += len;
    }
    file.write_at(&header.to_page(), 0)?;
    file.sync()?;
    file.will_not_need(0, header.len);
    Ok(())
}

/// Keeps obsolete segments for another use, and one that is ready.
///
/// Making a segment takes a while, so whoever owns the pool takes a [`Preparation`] from it, runs it
/// elsewhere, and hands the result back. Not here: deleting files.
pub(crate) struct SegmentPool {
    disk: Arc<dyn Disk>,
    random: Arc<dyn Random>,
    directory: PathBuf,
    segment_len: u64,
    kept_max: usize,
    obsolete: VecDeque<FileNumber>,
    spare: Option<Segment>,
    preparing: bool,
}

impl SegmentPool {
    /// A pool that keeps at most `kept_max` obsolete segments.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        directory: &Path,
        segment_len: u64,
        kept_max: usize,
    ) -> Self {
        Self {
            disk,
            random,
            directory: directory.to_owned(),
            segment_len,
            kept_max,
            obsolete: VecDeque::new(),
            spare: None,
            preparing: false,
        }
    }

    /// Offers an obsolete segment of `len` bytes for another use; `false`: the caller deletes it.
    /// Only for segments that the manifest durably does not list any more.
    #[must_use]
    pub(crate) fn retire(&mut self, number: FileNumber, len: u64) -> bool {
        let keep = len == self.segment_len && self.obsolete.len() < self.kept_max;
        if keep {
            self.obsolete.push_back(number);
        }
        keep
    }

    /// Whether a file is kept here, so that nobody deletes it.
    #[cfg(test)]
    pub(crate) fn holds(&self, number: FileNumber) -> bool {
        self.obsolete.contains(&number)
            || self
                .spare
                .as_ref()
                .is_some_and(|spare| spare.number() == number)
    }

    /// Whether a spare is missing and nobody makes one.
    pub(crate) fn wants_spare(&self) -> bool {
        self.spare.is_none() && !self.preparing
    }

    /// Whether somebody makes a segment at the moment.
    pub(crate) fn is_preparing(&self) -> bool {
        self.preparing
    }

    /// Begins to make a segment numbered `number`, of an obsolete one if there is one. Every
    /// preparation ends in [`put_spare`](Self::put_spare) or [`gave_up`](Self::gave_up), unless its
    /// segment is used at once.
    pub(crate) fn begin(&mut self, number: FileNumber) -> Preparation {
        self.preparing = true;
        let [salt @ .., _, _, _, _] = self.random.next_u64().to_le_bytes();
        Preparation {
            disk: Arc::clone(&self.disk),
            directory: self.directory.clone(),
            recycled: self.obsolete.pop_front(),
            number,
            len: self.segment_len,
            salt: u32::from_le_bytes(salt),
        }
    }

    /// Keeps a finished segment.
    pub(crate) fn put_spare(&mut self, segment: Segment) {
        self.preparing = false;
        self.spare = Some(segment);
    }

    /// Says that a preparation failed; another may begin.
    pub(crate) fn gave_up(&mut self) {
        self.preparing = false;
    }

    /// Takes the finished segment, if there is one.
    pub(crate) fn take_spare(&mut self) -> Option<Segment> {
        self.spare.take()
    }
}

impl fmt::Debug for SegmentPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentPool")
            .field("obsolete", &self.obsolete)
            .field("spare", &self.spare.as_ref().map(Segment::number))
            .field("preparing", &self.preparing)
            .finish_non_exhaustive()
    }
}

/// A segment about to be made.
#[derive(Debug)]
pub(crate) struct Preparation {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    recycled: Option<FileNumber>,
    number: FileNumber,
    len: u64,
    salt: u32,
}

impl Preparation {
    /// The number the segment will have.
    pub(crate) fn number(&self) -> FileNumber {
        self.number
    }

    /// Makes the segment; writes all of it unless it is recycled.
    ///
    /// # Errors
    /// As [`Segment::prepare`] and [`Segment::recycle`]. A segment that could not be recycled is left
    /// where it is and is not offered again.
    pub(crate) fn run(self) -> Result<Segment> {
        let (disk, directory) = (&*self.disk, &self.directory);
        match self.recycled {
            Some(old) => Segment::recycle(disk, directory, old, self.number, self.len, self.salt),
            None => Segment::prepare(disk, directory, self.number, self.len, self.salt),
        }
    }
}
