//! Log segments as files: made once, written whole in advance, and used again and again.
//!
//! A sync of bytes that lie in blocks written before is a pure overwrite: no allocation, no journal.
//! So a segment is filled with zeros when it is made, and when its frames are obsolete it is not
//! deleted but given a new number and salt.
//!
//! Segments are as long as the work asks for: the first of a store is [`FIRST_LEN`], and each is to last
//! for [`LASTS`] at the rate at which the one before was filled, up to the length that is configured.
//!
//! *Durability on return*: a [`Segment`] that was prepared is on the disk under its name, with its
//! header. A file of that name is never seen half-made.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ringwood_env::{Disk, DiskFile, OpenMode, Random};

use super::format::{
    FIRST_FRAME, FRAME_HEADER_LEN, PAGE_LEN, RESERVED_LEN, SegmentHeader, to_usize,
};
use crate::error::{Error, Result};
use crate::files::{FileNumber, log_path};

/// Length of a store's first segment, and the shortest where longer ones are allowed.
pub(crate) const FIRST_LEN: u64 = 256 << 10;
/// How long a segment is to last. Shorter costs syncs for its making, longer costs room.
const LASTS: Duration = Duration::from_secs(4);
/// The next segment is at most this many times as long as the one before it was to be.
const GROWTH_MAX: u64 = 4;
/// All live segments together are at most about this many times as long as the next one, so that there
/// are never very many.
const SHARE_OF_LIVE: u64 = 16;
/// After this long within one segment, what is kept for a higher rate is given back.
const REST: Duration = Duration::from_secs(10);

/// Length of the shortest segment that takes a payload of `payload_len` bytes.
pub(crate) fn segment_len_for(payload_len: usize) -> u64 {
    let frame = (FRAME_HEADER_LEN + payload_len).next_multiple_of(PAGE_LEN);
    FIRST_FRAME + frame as u64 + RESERVED_LEN
}

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
    len_max: u64,
    /// Length of the next segment.
    len: u64,
    /// When the present segment was begun, on the monotonic clock.
    begun_at: Duration,
    kept_max: usize,
    obsolete: VecDeque<(FileNumber, u64)>,
    /// Of every segment that may be live.
    lens: BTreeMap<FileNumber, u64>,
    spare: Option<Segment>,
    preparing: bool,
}

impl SegmentPool {
    /// A pool of segments of at most `len_max` bytes, which keeps at most `kept_max` obsolete ones.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        directory: &Path,
        len_max: u64,
        kept_max: usize,
    ) -> Self {
        Self {
            disk,
            random,
            directory: directory.to_owned(),
            len_max,
            len: FIRST_LEN.min(len_max),
            begun_at: Duration::ZERO,
            kept_max,
            obsolete: VecDeque::new(),
            lens: BTreeMap::new(),
            spare: None,
            preparing: false,
        }
    }

    /// Offers an obsolete segment of `len` bytes for another use; `false`: the caller deletes it.
    /// Only for segments that the manifest durably does not list any more.
    #[must_use]
    pub(crate) fn retire(&mut self, number: FileNumber, len: u64) -> bool {
        self.lens.remove(&number);
        let keep = len == self.len && self.obsolete.len() < self.kept_max;
        if keep {
            self.obsolete.push_back((number, len));
        }
        keep
    }

    /// Notes the length of a segment that is live, or may come to be.
    pub(crate) fn note(&mut self, number: FileNumber, len: u64) {
        self.lens.insert(number, len);
    }

    /// Length of a live segment; 0 for one that nobody spoke of.
    pub(crate) fn len_of(&self, number: FileNumber) -> u64 {
        self.lens.get(&number).copied().unwrap_or(0)
    }

    /// Bytes of every segment on the disk: live ones, and those kept for another use.
    pub(crate) fn bytes(&self) -> u64 {
        let obsolete = self.obsolete.iter().map(|(_, len)| len);
        self.lens.values().chain(obsolete).sum()
    }

    /// Notes that the segment `number` is written from `now` on, on the monotonic clock. `previous` was
    /// filled until now, if there was one: how quickly decides how long the next ones are.
    pub(crate) fn begun(&mut self, previous: Option<FileNumber>, now: Duration) {
        if let Some(previous) = previous {
            let lasted = now.saturating_sub(self.begun_at).as_nanos().max(1);
            let wanted = u128::from(self.len_of(previous)) * LASTS.as_nanos() / lasted;
            let live: u64 = self.lens.values().sum();
            let wanted = u64::try_from(wanted)
                .unwrap_or(u64::MAX)
                .clamp(self.len / GROWTH_MAX, self.len * GROWTH_MAX)
                .max(live / SHARE_OF_LIVE);
            // Few lengths, so that obsolete segments can be used again.
            self.len = wanted
                .clamp(FIRST_LEN, self.len_max.max(FIRST_LEN))
                .next_power_of_two()
                .min(self.len_max);
        }
        self.begun_at = now;
    }

    /// Whether the log has grown so slowly that what [`give_back`](Self::give_back) gives is not missed.
    pub(crate) fn rests(&self, now: Duration) -> bool {
        !self.preparing
            && now.saturating_sub(self.begun_at) >= REST
            && (!self.obsolete.is_empty() || self.len > FIRST_LEN.min(self.len_max))
    }

    /// Gives up the obsolete segments that are not as long as the next one, to be deleted.
    #[must_use]
    pub(crate) fn misfits(&mut self) -> Vec<FileNumber> {
        let len = self.len;
        let misfits = self.obsolete.iter().filter(|(_, kept)| *kept != len);
        let misfits = misfits.map(|(number, _)| *number).collect();
        self.obsolete.retain(|(_, kept)| *kept == len);
        misfits
    }

    /// Gives up all obsolete segments, to be deleted, and begins with short ones again.
    #[must_use]
    pub(crate) fn give_back(&mut self) -> Vec<FileNumber> {
        self.len = FIRST_LEN.min(self.len_max);
        let obsolete = std::mem::take(&mut self.obsolete);
        obsolete.into_iter().map(|(number, _)| number).collect()
    }

    /// Whether segments are kept for another use.
    pub(crate) fn has_obsolete(&self) -> bool {
        !self.obsolete.is_empty()
    }

    /// Length of the next segment, unless a group asks for a longer one.
    pub(crate) fn next_len(&self) -> u64 {
        self.len
    }

    /// Whether a file is kept here, so that nobody deletes it.
    #[cfg(test)]
    pub(crate) fn holds(&self, number: FileNumber) -> bool {
        self.obsolete.iter().any(|(kept, _)| *kept == number)
            || self
                .spare
                .as_ref()
                .is_some_and(|spare| spare.number() == number)
    }

    /// Whether a spare is missing and nobody makes one.
    pub(crate) fn wants_spare(&self) -> bool {
        self.spare.is_none() && !self.preparing
    }

    /// Whether there is a spare of at least `len` bytes.
    pub(crate) fn has_spare(&self, len: u64) -> bool {
        self.spare.as_ref().is_some_and(|spare| spare.len() >= len)
    }

    /// Whether somebody makes a segment at the moment.
    pub(crate) fn is_preparing(&self) -> bool {
        self.preparing
    }

    /// Begins to make a segment numbered `number` of at least `len_least` bytes, of an obsolete one if
    /// there is one that fits. Every preparation ends in [`put_spare`](Self::put_spare) or [`gave_up`](Self::gave_up), unless its
    /// segment is used at once.
    pub(crate) fn begin(&mut self, number: FileNumber, len_least: u64) -> Preparation {
        self.preparing = true;
        let len = self.len.max(len_least);
        let fits = |(_, kept): &(FileNumber, u64)| *kept == len;
        let recycled = self.obsolete.iter().position(fits);
        let recycled = recycled.and_then(|at| self.obsolete.remove(at));
        let [salt @ .., _, _, _, _] = self.random.next_u64().to_le_bytes();
        Preparation {
            disk: Arc::clone(&self.disk),
            directory: self.directory.clone(),
            recycled: recycled.map(|(number, _)| number),
            number,
            len,
            salt: u32::from_le_bytes(salt),
        }
    }

    /// Keeps a finished segment. A spare that was too short is passed over: it is listed, so it is freed
    /// with the segments around it.
    pub(crate) fn put_spare(&mut self, segment: Segment) {
        self.preparing = false;
        self.note(segment.number(), segment.len());
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
