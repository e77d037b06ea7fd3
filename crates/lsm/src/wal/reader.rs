//! Replays the log after a restart, and tells what a crash may lose from what it may not.
//!
//! Frames are read in order until one is not there. What then decides is what lies behind:
//!
//! - nothing of this log: it ended here;
//! - frames, or part of one, and none says that the missing bytes were durable: a *torn tail*, what a
//!   crash leaves of writes that nobody was promised. It is reported and not replayed (`wal-2`);
//! - a frame with a watermark beyond the hole: [`Corruption`] (`wal-3`).
//!
//! A frame that is there but for one byte is mended first (`wal-7`).
//!
//! What was replayed may be in the cache only: whoever builds upon it uses [`recover`](fn@super::recover).

use std::ops::Range;
use std::path::{Path, PathBuf};
#[cfg(any(fuzzing, test))]
use std::sync::Arc;

use ringwood_env::Disk;
#[cfg(any(fuzzing, test))]
use ringwood_env::DiskFile;

use super::format::{FIRST_FRAME, FRAME_HEADER_LEN, FrameHeader, LogPosition};
use super::segment_reader::{LiveSegment, SegmentReader};
use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::files::FileNumber;
use crate::key::SeqNo;

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
    /// Damage of frames that were mended (`wal-7`): they count as what they were.
    pub(crate) mended: Vec<Corruption>,
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
        window = reader.into_window();
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
    /// Of the accepted frames, those that are not on the disk as they were written.
    mended: Vec<MendedFrame>,
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

struct MendedFrame {
    log: FileNumber,
    bytes: Range<u64>,
    damage: Corruption,
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
            mended: Vec::new(),
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
            log: reader.number(),
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
            let end = header.next_offset(offset);
            if let Some(damage) = reader.mended(offset) {
                self.mended.push(MendedFrame {
                    log: header.log,
                    bytes: offset..end,
                    damage,
                });
            }
            offset = end;
            self.stops.clear();
            self.is_sealed = false;
            self.durable = self.durable.max(Some(header.durable));
            self.state = Recovered {
                end: Some(LogPosition {
                    log: header.log,
                    offset,
                }),
                torn: None,
                mended: Vec::new(),
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
            log: reader.number(),
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

    /// Where frames of a segment stand that were mended.
    pub(super) fn mended_in(&self, log: FileNumber) -> impl Iterator<Item = Range<u64>> {
        let mended = self.mended.iter().filter(move |frame| frame.log == log);
        mended.map(|frame| frame.bytes.clone())
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
        self.state.mended = self.mended.into_iter().map(|frame| frame.damage).collect();
        self.state
    }
}
