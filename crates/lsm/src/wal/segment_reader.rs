//! One segment of the log, read frame by frame.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringwood_env::{Disk, DiskFile, OpenMode};

use super::format::{
    self, FIRST_FRAME, FRAME_ALIGNMENT, FRAME_HEADER_LEN, FrameHeader, NO_HASH, PAGE_LEN,
    SegmentHeader, SegmentHeaderFault, checksum, payload_hash, to_usize,
};
use super::mend::{self, MendedHeader};
use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::files::FileNumber;

/// Bytes read at once, unless a frame is longer.
const READ_LEN: usize = 1 << 20;

/// A segment that the manifest lists.
#[derive(Clone, Debug)]
pub(crate) struct LiveSegment {
    pub(crate) number: FileNumber,
    pub(crate) path: PathBuf,
    /// Where an earlier recovery found its end. Nothing before may be missing, nothing behind counts.
    pub(crate) end: Option<u64>,
}

/// Reads one segment through a window that moves forward.
#[derive(Debug)]
pub(super) struct SegmentReader<'a> {
    file: Arc<dyn DiskFile>,
    pub(super) path: &'a Path,
    header: SegmentHeader,
    /// Nothing counts from here on: the seal's end, or the file's.
    pub(super) limit: u64,
    window: Vec<u8>,
    window_start: u64,
    /// Where frames stand of which a byte was mended, and where that byte does.
    mended: BTreeMap<u64, u64>,
}

impl<'a> SegmentReader<'a> {
    /// Opens a segment and checks its header; `window` is memory to use.
    pub(super) fn open(disk: &dyn Disk, segment: &'a LiveSegment, window: Vec<u8>) -> Result<Self> {
        Self::new(open(disk, &segment.path)?, segment, window)
    }

    /// As [`SegmentReader::open`], of a segment that may have been cut short.
    pub(super) fn open_cut(disk: &dyn Disk, segment: &'a LiveSegment) -> Result<Self> {
        let (mut reader, len) = Self::begin(open(disk, &segment.path)?, segment, Vec::new())?;
        reader.limit = reader.limit.min(len);
        Ok(reader)
    }

    /// Where the file ends although it should be longer.
    pub(super) fn cut_at(&self) -> Option<u64> {
        let len = self.file.len().unwrap_or(0);
        (len < self.header.len).then_some(len)
    }

    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        segment: &'a LiveSegment,
        window: Vec<u8>,
    ) -> Result<Self> {
        let (reader, len) = Self::begin(file, segment, window)?;
        if len < reader.header.len {
            return Err(Corruption::new(reader.path, len, CorruptionKind::Truncated).into());
        }
        Ok(reader)
    }

    /// A reader, and how long the file is.
    fn begin(
        file: Arc<dyn DiskFile>,
        segment: &'a LiveSegment,
        mut window: Vec<u8>,
    ) -> Result<(Self, u64)> {
        let path = &segment.path;
        let corrupt = |offset, kind| Err(Corruption::new(path, offset, kind).into());
        let mut page = [0; PAGE_LEN];
        let (read, len) = file
            .read_at(&mut page, 0)
            .and_then(|read| Ok((read, file.len()?)))
            .map_err(|error| Error::io("read", path, error))?;
        if read < PAGE_LEN {
            return corrupt(read as u64, CorruptionKind::Truncated);
        }
        let header = match SegmentHeader::decode(&page) {
            Ok(header) if header.number == segment.number => header,
            Ok(_) => return corrupt(0, CorruptionKind::Encoding),
            Err(SegmentHeaderFault::Magic) => return corrupt(0, CorruptionKind::Magic),
            Err(SegmentHeaderFault::Checksum) => return corrupt(0, CorruptionKind::Checksum),
            Err(SegmentHeaderFault::Version(found)) => {
                return Err(Error::UnsupportedFormat {
                    path: path.clone(),
                    found,
                    supported: format::VERSION,
                });
            }
        };
        window.clear();
        let reader = Self {
            file,
            path,
            header,
            limit: segment.end.unwrap_or(header.len).min(header.len),
            window,
            window_start: FIRST_FRAME,
            mended: BTreeMap::new(),
        };
        Ok((reader, len))
    }

    pub(super) fn number(&self) -> FileNumber {
        self.header.number
    }

    /// The memory that it was given, for the next one.
    pub(super) fn into_window(self) -> Vec<u8> {
        self.window
    }

    /// The whole frame that stands at `offset`, with its payload.
    pub(super) fn frame(&mut self, offset: u64) -> Result<Option<(FrameHeader, &[u8])>> {
        let frame = self.frame_bytes(offset)?;
        Ok(frame.map(|(header, bytes)| (header, &bytes[FRAME_HEADER_LEN..])))
    }

    /// The whole frame that stands at `offset`, with its bytes, the header's included. INVARIANT wal-7:
    /// whole is also one that is mended.
    pub(super) fn frame_bytes(&mut self, offset: u64) -> Result<Option<(FrameHeader, &[u8])>> {
        let whole = match self.whole(offset)? {
            None => self.mend(offset)?,
            whole => whole,
        };
        Ok(whole.map(|header| (header, self.loaded_frame(offset, &header))))
    }

    /// The byte that was mended of the frame that was read at `offset`, if one was.
    pub(super) fn mended(&self, offset: u64) -> Option<Corruption> {
        let at = self.mended.get(&offset)?;
        Some(Corruption::new(self.path, *at, CorruptionKind::ChangedByte))
    }

    /// The header of the frame at `offset`, which is loaded then, if it is whole as it stands.
    fn whole(&mut self, offset: u64) -> Result<Option<FrameHeader>> {
        let Some(header) = self.header_at(offset)? else {
            return Ok(None);
        };
        let is_whole = self.load_frame(offset, &header)? && {
            let payload = &self.loaded_frame(offset, &header)[FRAME_HEADER_LEN..];
            let salt = self.header.salt;
            let is_hash_right = || {
                header.payload_hash == NO_HASH || header.payload_hash == payload_hash(salt, payload)
            };
            checksum(salt, payload) == header.payload_checksum && is_hash_right()
        };
        Ok(is_whole.then_some(header))
    }

    /// Mends, in the window, the frame at `offset` that is none, if one other byte makes it one.
    fn mend(&mut self, offset: u64) -> Result<Option<FrameHeader>> {
        let SegmentHeader { number, salt, .. } = self.header;
        let Some(bytes) = self.header_bytes(offset)?.copied() else {
            return Ok(None);
        };
        let mended = match FrameHeader::decode(&bytes, number, salt) {
            Some(header) => self.mend_payload(offset, header)?,
            None => self.mend_header(offset, bytes)?,
        };
        Ok(mended.map(|(header, at)| {
            self.mended.insert(offset, offset + at as u64);
            header
        }))
    }

    fn mend_payload(
        &mut self,
        offset: u64,
        header: FrameHeader,
    ) -> Result<Option<(FrameHeader, usize)>> {
        if !self.load_frame(offset, &header)? {
            return Ok(None);
        }
        let salt = self.header.salt;
        let start = to_usize(offset - self.window_start) + FRAME_HEADER_LEN;
        let payload = &mut self.window[start..][..to_usize(header.payload_len.into())];
        let at = mend::payload(payload, &header, salt);
        Ok(at.map(|at| (header, FRAME_HEADER_LEN + at)))
    }

    fn mend_header(
        &mut self,
        offset: u64,
        bytes: [u8; FRAME_HEADER_LEN],
    ) -> Result<Option<(FrameHeader, usize)>> {
        let SegmentHeader { number, salt, .. } = self.header;
        for MendedHeader { header, bytes, at } in mend::headers(bytes, number, salt) {
            if !self.load_frame(offset, &header)? {
                continue;
            }
            let payload = &self.loaded_frame(offset, &header)[FRAME_HEADER_LEN..];
            if checksum(salt, payload) == header.payload_checksum
                && payload_hash(salt, payload) == header.payload_hash
            {
                let start = to_usize(offset - self.window_start);
                self.window[start..][..FRAME_HEADER_LEN].copy_from_slice(&bytes);
                return Ok(Some((header, at)));
            }
        }
        Ok(None)
    }

    /// The first header of a frame at or behind `offset`, whatever became of its payload.
    pub(super) fn find_header(&mut self, offset: u64) -> Result<Option<(u64, FrameHeader)>> {
        const NUMBER_AT: usize = 8 / FRAME_ALIGNMENT;
        let number = self.header.number.get().to_le_bytes();
        let mut at = offset.next_multiple_of(FRAME_ALIGNMENT as u64);
        while at + FRAME_HEADER_LEN as u64 <= self.limit {
            self.load(at, FRAME_HEADER_LEN as u64)?;
            let words = self.loaded(at).chunks_exact(FRAME_ALIGNMENT);
            let skip = words.len() - NUMBER_AT;
            match words.skip(NUMBER_AT).position(|word| word == number) {
                None => at += (skip * FRAME_ALIGNMENT) as u64,
                Some(skip) => {
                    at += (skip * FRAME_ALIGNMENT) as u64;
                    if let Some(header) = self.header_at(at)? {
                        return Ok(Some((at, header)));
                    }
                    at += FRAME_ALIGNMENT as u64;
                }
            }
        }
        Ok(None)
    }

    /// Whether something stands at `offset` that was a frame of this segment and is none any more.
    pub(super) fn is_damaged_at(&mut self, offset: u64) -> Result<bool> {
        let SegmentHeader { number, salt, .. } = self.header;
        let bytes = self.header_bytes(offset)?;
        let was_frame = bytes.is_some_and(|bytes| format::was_header(bytes, number, salt));
        Ok(was_frame && self.frame(offset)?.is_none())
    }

    fn header_at(&mut self, offset: u64) -> Result<Option<FrameHeader>> {
        let SegmentHeader { number, salt, .. } = self.header;
        let bytes = self.header_bytes(offset)?;
        Ok(bytes.and_then(|bytes| FrameHeader::decode(bytes, number, salt)))
    }

    fn header_bytes(&mut self, offset: u64) -> Result<Option<&[u8; FRAME_HEADER_LEN]>> {
        if offset + FRAME_HEADER_LEN as u64 > self.limit {
            return Ok(None);
        }
        self.load(offset, FRAME_HEADER_LEN as u64)?;
        Ok(self.loaded(offset).first_chunk())
    }

    /// Loads the frame that `header` begins; `false`: it would reach too far.
    fn load_frame(&mut self, offset: u64, header: &FrameHeader) -> Result<bool> {
        let len = header.frame_len();
        let fits = offset + len <= self.limit;
        if fits {
            self.load(offset, len)?;
        }
        Ok(fits)
    }

    fn loaded_frame(&self, offset: u64, header: &FrameHeader) -> &[u8] {
        &self.loaded(offset)[..to_usize(header.frame_len())]
    }

    /// What the window holds from `offset` on.
    fn loaded(&self, offset: u64) -> &[u8] {
        &self.window[to_usize(offset - self.window_start)..]
    }

    /// Moves the window so that it holds `len` bytes from `offset`, which end before the limit.
    fn load(&mut self, offset: u64, len: u64) -> Result<()> {
        let window_end = self.window_start + self.window.len() as u64;
        if offset >= self.window_start && offset + len <= window_end {
            return Ok(());
        }
        let kept = if (self.window_start..window_end).contains(&offset) {
            self.window.drain(..to_usize(offset - self.window_start));
            self.window.len()
        } else {
            0
        };
        self.window_start = offset;
        let wanted = to_usize(len.max(READ_LEN as u64).min(self.limit - offset));
        self.window.resize(wanted, 0);
        let read = self
            .file
            .read_at(&mut self.window[kept..], offset + kept as u64)
            .map_err(|error| Error::io("read", self.path, error))?;
        if kept + read < wanted {
            let end = offset + (kept + read) as u64;
            return Err(Corruption::new(self.path, end, CorruptionKind::Truncated).into());
        }
        Ok(())
    }
}

fn open(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>> {
    disk.open(path, OpenMode::Read)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Corruption::new(path, 0, CorruptionKind::MissingFile).into(),
            _ => Error::io("open", path, error),
        })
}
