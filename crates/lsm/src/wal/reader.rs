//! Replays the log after a restart, and tells what a crash may lose from what it may not.
//!
//! Frames are read in order until one is not there. What then decides is what lies behind:
//!
//! - nothing of this log: it ended here;
//! - frames, or part of one, and none says that the missing bytes were durable: a *torn tail*, what a
//!   crash leaves of writes that nobody was promised. It is reported and not replayed (`wal-2`);
//! - a frame with a watermark beyond the hole: [`Corruption`] (`wal-3`).
//!
//! What was replayed may be in the cache only: whoever builds upon it uses [`recover`](fn@super::recover).

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringwood_env::{Disk, DiskFile, OpenMode};

use super::format::{
    self, FIRST_FRAME, FRAME_ALIGNMENT, FRAME_HEADER_LEN, FrameHeader, LogPosition, PAGE_LEN,
    SegmentHeader, SegmentHeaderFault, checksum, to_usize,
};
use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::files::FileNumber;
use crate::key::SeqNo;

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

/// One commit group as it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecoveredFrame<'a> {
    pub(crate) first_seq: SeqNo,
    /// Entries in the payload; at least 1.
    pub(crate) count: u32,
    pub(crate) time_ms: u64,
    /// Batches, one after another.
    pub(crate) payload: &'a [u8],
    pub(crate) file: &'a Path,
    /// Where the frame stands in its file.
    pub(crate) position: LogPosition,
}

impl<'a> RecoveredFrame<'a> {
    /// The group in a frame that stands at `offset`; `None`: it is a mark, which has none.
    pub(super) fn new(
        header: &FrameHeader,
        payload: &'a [u8],
        file: &'a Path,
        offset: u64,
    ) -> Option<Self> {
        (header.count > 0).then_some(Self {
            first_seq: header.first_seq,
            count: header.count,
            time_ms: header.time_ms,
            payload,
            file,
            position: LogPosition {
                log: header.log,
                offset,
            },
        })
    }
}

/// What a crash left behind the last whole frame, and recovery skips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TornTail {
    pub(crate) file: PathBuf,
    pub(crate) offset: u64,
    /// From there to the end of the last piece of a frame, in this file and those behind it.
    pub(crate) skipped_bytes: u64,
}

/// Where and how the log ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Behind the last frame; the first segment's start if there is none; `None` without segments.
    pub(crate) end: Option<LogPosition>,
    pub(crate) torn: Option<TornTail>,
    /// Whether the log was closed in order, so that nothing can be missing.
    pub(crate) clean_close: bool,
    /// The last frame's time; 0 without frames.
    pub(crate) last_time_ms: u64,
    /// Behind the last frame's last entry; `None` without frames.
    pub(crate) next_seq: Option<SeqNo>,
}

/// Replays `segments`, which are in order, and hands each group to `replay`. Changes nothing: what was
/// handed over may be in the cache only.
///
/// # Errors
/// [`Error::Corruption`] when durable bytes are missing or damaged. Groups handed over until then are
/// a prefix of what was written; only a repair makes use of them. [`Error::UnsupportedFormat`],
/// [`Error::Io`], and whatever `replay` returns.
pub(crate) fn read_log(
    disk: &dyn Disk,
    segments: &[LiveSegment],
    replay: &mut dyn FnMut(RecoveredFrame<'_>) -> Result<()>,
) -> Result<Recovered> {
    Ok(replay_all(disk, segments, replay)?.finish())
}

/// As [`read_log`], with what there is to know of the log besides.
pub(super) fn replay_all(
    disk: &dyn Disk,
    segments: &[LiveSegment],
    replay: &mut dyn FnMut(RecoveredFrame<'_>) -> Result<()>,
) -> Result<Recovery> {
    let mut recovery = Recovery::new(segments);
    let mut window = Vec::new();
    for segment in segments {
        let mut reader = SegmentReader::open(disk, segment, window)?;
        recovery.segment(&mut reader, segment.end, replay)?;
        window = reader.window;
    }
    Ok(recovery)
}

/// Whether anything was ever written to a segment.
///
/// # Errors
/// [`Error::Io`]. A file that cannot be read as a segment holds nothing.
pub(crate) fn holds_frames(disk: &dyn Disk, segment: &LiveSegment) -> Result<bool> {
    match SegmentReader::open(disk, segment, Vec::new()) {
        Ok(mut reader) => Ok(reader.frame(FIRST_FRAME)?.is_some()),
        Err(Error::Corruption(_) | Error::UnsupportedFormat { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// As [`read_log`], of one segment that is open already.
#[cfg(any(fuzzing, test))]
pub(super) fn replay_file(
    file: Arc<dyn DiskFile>,
    segment: &LiveSegment,
    replay: &mut dyn FnMut(RecoveredFrame<'_>) -> Result<()>,
) -> Result<Recovered> {
    let mut recovery = Recovery::new(std::slice::from_ref(segment));
    let mut reader = SegmentReader::new(file, segment, Vec::new())?;
    recovery.segment(&mut reader, segment.end, replay)?;
    Ok(recovery.finish())
}

/// A replay, under way or ended.
pub(super) struct Recovery {
    state: Recovered,
    /// The highest watermark of the accepted frames: before it, the log is on the disk for certain.
    durable: Option<LogPosition>,
    /// Where the accepted frames of each segment end.
    accepted: Vec<LogPosition>,
    /// Where reading stopped since the last frame that was accepted: the hole, if it is one, is at
    /// one of these.
    stops: Vec<Stop>,
    /// Whether the last segment ended where it was sealed. Who went on behind it knew of used numbers
    /// from elsewhere, and may have skipped some.
    is_sealed: bool,
    /// Whether a segment follows that seal: the log was opened again. One that was closed in order is
    /// sealed as well, and nothing follows.
    is_reopened: bool,
}

struct Stop {
    file: PathBuf,
    offset: u64,
    /// A damaged frame of this segment stands here.
    damaged: bool,
    /// A frame's header of this segment stands here or behind.
    followed: bool,
    /// Up to the end of the last piece of a frame.
    skipped_bytes: u64,
}

impl Recovery {
    fn new(segments: &[LiveSegment]) -> Self {
        let first = segments.first();
        Self {
            state: Recovered {
                end: first.map(|segment| LogPosition::start_of(segment.number)),
                ..Recovered::default()
            },
            durable: None,
            accepted: Vec::new(),
            stops: Vec::new(),
            is_sealed: false,
            is_reopened: false,
        }
    }

    fn segment(
        &mut self,
        reader: &mut SegmentReader<'_>,
        sealed_end: Option<u64>,
        replay: &mut dyn FnMut(RecoveredFrame<'_>) -> Result<()>,
    ) -> Result<()> {
        self.is_reopened = self.is_sealed;
        let offset = self.accept_frames(reader, replay)?;
        self.accepted.push(LogPosition {
            log: reader.header.number,
            offset,
        });
        match sealed_end {
            Some(end) if end == offset => {
                self.is_sealed = true;
                self.is_reopened = false;
                Ok(())
            }
            // What an earlier recovery has accepted, it made durable.
            Some(_) => {
                self.stop(reader, offset)?;
                Err(self.missing_record())
            }
            None if self.was_closed_at(reader, offset) => Ok(()),
            None => self.survey(reader, offset),
        }
    }

    /// Hands over the frames that continue the log; returns where the first that does not stands.
    fn accept_frames(
        &mut self,
        reader: &mut SegmentReader<'_>,
        replay: &mut dyn FnMut(RecoveredFrame<'_>) -> Result<()>,
    ) -> Result<u64> {
        let file = reader.path;
        let mut offset = FIRST_FRAME;
        while let Some((header, payload)) = reader.frame(offset)? {
            if !self.is_continued_by(&header) {
                break;
            }
            if let Some(group) = RecoveredFrame::new(&header, payload, file, offset) {
                replay(group)?;
            }
            offset = header.next_offset(offset);
            self.stops.clear();
            self.is_sealed = false;
            self.durable = self.durable.max(Some(header.durable));
            self.state = Recovered {
                end: Some(LogPosition {
                    log: header.log,
                    offset,
                }),
                torn: None,
                clean_close: header.end,
                last_time_ms: header.time_ms,
                next_seq: Some(header.next_seq()),
            };
        }
        Ok(offset)
    }

    /// INVARIANT wal-2: nothing is accepted behind a gap. The first frame of all, or behind a seal,
    /// may jump ahead, but it stands in the next segment: an empty one is never left.
    fn is_continued_by(&self, header: &FrameHeader) -> bool {
        match self.state.next_seq {
            Some(seq) if self.is_sealed && self.stops.is_empty() => header.first_seq >= seq,
            Some(seq) => header.first_seq == seq,
            None => self.stops.is_empty(),
        }
    }

    /// Looks for what lies behind the end of the accepted frames in this segment.
    fn survey(&mut self, reader: &mut SegmentReader<'_>, from: u64) -> Result<()> {
        let accepted = self.state.end.expect("there is a segment");
        let durable = self.stop(reader, from)?;
        // INVARIANT wal-3: a hole below a watermark is corruption.
        if durable.is_some_and(|durable| durable > accepted) {
            return Err(self.missing_record());
        }
        Ok(())
    }

    /// Notes that reading stopped at `from`, and returns the highest watermark found from there on.
    fn stop(&mut self, reader: &mut SegmentReader<'_>, from: u64) -> Result<Option<LogPosition>> {
        let damaged = reader.is_damaged_at(from)?;
        let mut end = from + if damaged { FRAME_HEADER_LEN as u64 } else { 0 };
        let mut durable = None;
        let mut offset = from;
        while let Some((at, header)) = reader.find_header(offset)? {
            durable = durable.max(Some(header.durable));
            offset = header.next_offset(at);
            end = offset.min(reader.limit);
        }
        self.stops.push(Stop {
            file: reader.path.to_owned(),
            offset: from,
            damaged,
            followed: durable.is_some(),
            skipped_bytes: end - from,
        });
        Ok(durable)
    }

    /// The most likely place of the missing record: the first stop with a piece of it.
    fn missing_record(&self) -> Error {
        let damaged = self.stops.iter().find(|stop| stop.damaged);
        let kind = match damaged {
            Some(_) => CorruptionKind::Checksum,
            None => CorruptionKind::MissingRecord,
        };
        let stop = damaged.unwrap_or(&self.stops[0]);
        Corruption::new(&stop.file, stop.offset, kind).into()
    }

    fn was_closed_at(&self, reader: &SegmentReader<'_>, offset: u64) -> bool {
        let here = LogPosition {
            log: reader.header.number,
            offset,
        };
        self.state.clean_close && self.state.end == Some(here)
    }

    /// Of each segment the accepted bytes of which nothing says that they are on the disk.
    pub(super) fn doubtful(&self) -> impl Iterator<Item = Range<u64>> {
        self.accepted.iter().map(|end| {
            let start = LogPosition::start_of(end.log);
            let from = self.durable.map_or(start, |durable| durable.max(start));
            if from < *end {
                from.offset..end.offset
            } else {
                0..0
            }
        })
    }

    pub(super) fn finish(mut self) -> Recovered {
        // Closed in order, but opened again since: who wrote behind the seal may have lost all of it.
        self.state.clean_close &= !(self.is_sealed && self.is_reopened);
        let damaged = self.stops.iter().find(|stop| stop.damaged);
        let has_hole = self.stops.iter().any(|stop| stop.followed);
        let torn = damaged.or_else(|| has_hole.then(|| &self.stops[0]));
        self.state.torn = torn.map(|stop| TornTail {
            file: stop.file.clone(),
            offset: stop.offset,
            skipped_bytes: self.stops.iter().map(|stop| stop.skipped_bytes).sum(),
        });
        self.state
    }
}

fn open(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>> {
    disk.open(path, OpenMode::Read)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Corruption::new(path, 0, CorruptionKind::MissingFile).into(),
            _ => Error::io("open", path, error),
        })
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

    fn new(file: Arc<dyn DiskFile>, segment: &'a LiveSegment, window: Vec<u8>) -> Result<Self> {
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
        };
        Ok((reader, len))
    }

    /// The whole frame that stands at `offset`, with its payload.
    pub(super) fn frame(&mut self, offset: u64) -> Result<Option<(FrameHeader, &[u8])>> {
        let frame = self.frame_bytes(offset)?;
        Ok(frame.map(|(header, bytes)| (header, &bytes[FRAME_HEADER_LEN..])))
    }

    /// The whole frame that stands at `offset`, with its bytes, the header's included.
    pub(super) fn frame_bytes(&mut self, offset: u64) -> Result<Option<(FrameHeader, &[u8])>> {
        let Some(header) = self.header_at(offset)? else {
            return Ok(None);
        };
        let salt = self.header.salt;
        let len = FRAME_HEADER_LEN as u64 + u64::from(header.payload_len);
        if offset + len > self.limit {
            return Ok(None);
        }
        self.load(offset, len)?;
        let bytes = &self.loaded(offset)[..to_usize(len)];
        let whole = checksum(salt, &bytes[FRAME_HEADER_LEN..]) == header.payload_checksum;
        Ok(whole.then_some((header, bytes)))
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
