//! Appends commit groups to the log.
//!
//! A *synced* group is written past the page cache, durable when the write returns. A *buffered* one
//! goes to the cache, and its segment is *dirty* until something syncs it. A synced group behind
//! buffered ones takes their way: it is written to the cache, and then every dirty segment is
//! synced, oldest first.
//!
//! Writes to the cache cover a page's whole length when they first touch it, with zeros behind the
//! frame, and [`PREFILL_LEN`] at a time: otherwise the kernel reads each page of a recycled segment
//! from the disk before it changes a part of it (14 µs for a put of 1 KiB instead of 0.8).
//!
//! *Durability on return*: a group written with [`Durability::Synced`] and everything before it
//! survive a power cut; one written with [`Durability::Buffered`] survives the end of the process.
//! After an error neither holds for the group, and the writer takes no more.
//!
//! No locks and no threads: whoever commits owns the writer.

use std::sync::Arc;

use super::format::{
    FIRST_FRAME, FRAME_HEADER_LEN, FrameHeader, LogPosition, PAGE_LEN, RESERVED_LEN, checksum,
    payload_hash, to_usize,
};
use super::frame::Frame;
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::files::FileNumber;
use crate::key::SeqNo;
use crate::options::Durability;

/// How much is written with zeros at once when buffered frames reach new pages. Larger gains nothing
/// more; smaller costs up to 0.3 µs a frame.
const PREFILL_LEN: u64 = 16 << 10;

/// What a writer has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogStatistics {
    /// Waits for the disk: direct writes and file syncs.
    pub(crate) syncs: u64,
    /// All bytes, padding included.
    pub(crate) bytes_written: u64,
    /// Zeros written to fill pages, some of which later frames overwrite.
    pub(crate) padding_bytes: u64,
}

/// The end of the log, where groups are appended.
#[derive(Debug)]
pub(crate) struct LogWriter {
    /// `None`: the log has not begun, for want of room.
    segment: Option<Segment>,
    /// Of the segment; of no file before the log has begun, but of none that is read either.
    number: FileNumber,
    /// Where the next frame goes. On a page boundary unless the last frame was buffered.
    offset: u64,
    /// Before this every page that `offset` has reached was written whole through the cache.
    filled: u64,
    /// Whether the segment has bytes that wait in the cache.
    dirty: bool,
    /// Segments written before this one whose bytes wait in the cache, oldest first.
    dirty_before: Vec<Segment>,
    /// End of the last frame known to be on the disk.
    durable: LogPosition,
    next_seq: SeqNo,
    last_time_ms: u64,
    state: State,
    statistics: LogStatistics,
}

#[derive(Clone, Debug)]
enum State {
    Open,
    Closed,
    /// After the first failed write or sync: what the disk holds is unknown.
    Failed(Arc<Error>),
}

impl LogWriter {
    /// Continues the log in `segment`, an empty one. `after` is where the log ended when it was
    /// recovered (`None`: it is a new log), and `next_seq` the number of the next entry.
    pub(crate) fn new(segment: Segment, after: Option<LogPosition>, next_seq: SeqNo) -> Self {
        let mut writer = Self::without_segment(segment.number(), after, next_seq);
        writer.segment = Some(segment);
        writer
    }

    /// As [`new`](Self::new), where there is no room for a segment yet: nothing [fits](Self::fits) before
    /// the log [begins](Self::rotate) in one, numbered above `number`.
    pub(crate) fn without_segment(
        number: FileNumber,
        after: Option<LogPosition>,
        next_seq: SeqNo,
    ) -> Self {
        let start = LogPosition::start_of(number);
        Self {
            segment: None,
            number,
            offset: FIRST_FRAME,
            filled: FIRST_FRAME,
            dirty: false,
            dirty_before: Vec::new(),
            durable: after.unwrap_or(start),
            next_seq,
            last_time_ms: 0,
            state: State::Open,
            statistics: LogStatistics::default(),
        }
    }

    /// Whether the segment has room for the frame. An empty segment has room for
    /// [`payload_len_max`](super::format::payload_len_max) bytes.
    pub(crate) fn fits(&self, frame: &Frame) -> bool {
        let end = self.offset + (FRAME_HEADER_LEN + frame.payload_len()) as u64;
        let end = end.next_multiple_of(PAGE_LEN as u64) + RESERVED_LEN;
        let segment = self.segment.as_ref();
        segment.is_some_and(|segment| end <= segment.len())
    }

    /// Whether there is a segment to write to.
    pub(crate) fn has_begun(&self) -> bool {
        self.segment.is_some()
    }

    /// Whether so much of the segment is written that the next one should be made.
    pub(crate) fn is_well_begun(&self) -> bool {
        let segment = self.segment.as_ref();
        segment.is_some_and(|segment| self.offset >= segment.len() / 4)
    }

    /// Continues in `next`, an empty segment with a higher number; or begins there.
    ///
    /// # Errors
    /// As [`write`](Self::write). Where nothing was written to the present segment, a mark is: recovery
    /// takes a segment without frames for the end of the log, or for a hole if others follow.
    pub(crate) fn rotate(&mut self, next: Segment) -> Result<()> {
        if self.has_begun() && self.offset == FIRST_FRAME {
            self.append(&mut Frame::new(), Durability::Synced, false)?;
        }
        assert!(next.number() > self.number, "the log goes up");
        if !self.has_begun() && self.durable == LogPosition::start_of(self.number) {
            self.durable = LogPosition::start_of(next.number());
        }
        self.number = next.number();
        let previous = self.segment.replace(next);
        if self.dirty {
            self.dirty_before.extend(previous);
        }
        self.dirty = false;
        self.offset = FIRST_FRAME;
        self.filled = FIRST_FRAME;
        Ok(())
    }

    /// Appends a group whose first entry takes `first_seq`, which is the number behind the last
    /// group's last entry.
    ///
    /// # Errors
    /// [`Error::Io`]: the group may or may not be in the log, and the writer takes no more.
    /// [`Error::Failed`], [`Error::Closed`]: nothing was done.
    ///
    /// # Panics
    /// When the frame is empty, does not [fit](Self::fits), or leaves a gap in the numbers.
    pub(crate) fn write(
        &mut self,
        frame: &mut Frame,
        first_seq: SeqNo,
        durability: Durability,
        time_ms: u64,
    ) -> Result<()> {
        assert!(!frame.is_empty(), "a group has an entry");
        assert!(self.fits(frame), "a frame never crosses a segment");
        assert_eq!(first_seq, self.next_seq, "the log has no gaps");
        self.last_time_ms = time_ms;
        self.append(frame, durability, false)
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.check_open()?;
        if !self.is_dirty() {
            return Ok(());
        }
        // The mark moves the log to a new page (wal-4), and says that all of this is durable once
        // another frame follows.
        self.append(&mut Frame::new(), Durability::Synced, false)
    }

    /// Syncs, and ends the log with a mark by which the next recovery knows that nothing is missing.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn close(&mut self, time_ms: u64) -> Result<()> {
        // ORDER: the end mark says that the last frame is durable, so that must be true first.
        self.sync()?;
        if self.has_begun() {
            self.last_time_ms = time_ms;
            self.append(&mut Frame::new(), Durability::Synced, true)?;
        }
        self.state = State::Closed;
        Ok(())
    }

    /// Forgets dirty segments below `number`: what they hold is elsewhere, durably.
    pub(crate) fn release_below(&mut self, number: FileNumber) {
        self.dirty_before
            .retain(|segment| segment.number() >= number);
    }

    /// Where the next frame goes.
    pub(crate) fn position(&self) -> LogPosition {
        LogPosition {
            log: self.number,
            offset: self.offset,
        }
    }

    /// The segment that is written.
    pub(crate) fn number(&self) -> FileNumber {
        self.number
    }

    /// The number that the next entry takes.
    #[cfg(test)]
    pub(crate) fn next_seq(&self) -> SeqNo {
        self.next_seq
    }

    /// Whether anything written waits in the cache.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty || !self.dirty_before.is_empty()
    }

    pub(crate) fn statistics(&self) -> LogStatistics {
        self.statistics
    }

    fn check_open(&self) -> Result<()> {
        match &self.state {
            State::Open => Ok(()),
            State::Closed => Err(Error::Closed),
            State::Failed(cause) => Err(Error::Failed {
                cause: Arc::clone(cause),
            }),
        }
    }

    fn append(&mut self, frame: &mut Frame, durability: Durability, end: bool) -> Result<()> {
        self.check_open()?;
        let header = self.header_of(frame, durability, end);
        let appended = match durability {
            Durability::Synced if !self.is_dirty() => self.write_durably(frame, &header),
            Durability::Synced => self
                .write_to_cache(frame, &header)
                .and_then(|()| self.sync_dirty()),
            Durability::Buffered => self.write_to_cache(frame, &header),
        };
        if let Err(error) = appended {
            self.state = State::Failed(Arc::new(error.clone()));
            return Err(error);
        }
        self.offset = header.next_offset(self.offset);
        self.next_seq = header.next_seq();
        if durability == Durability::Synced {
            self.durable = self.position();
        }
        Ok(())
    }

    fn segment(&self) -> &Segment {
        let segment = self.segment.as_ref();
        segment.expect("nothing fits into a log that has not begun")
    }

    fn header_of(&self, frame: &Frame, durability: Durability, end: bool) -> FrameHeader {
        let salt = self.segment().header.salt;
        FrameHeader {
            payload_checksum: checksum(salt, frame.payload()),
            payload_hash: payload_hash(salt, frame.payload()),
            payload_len: u32::try_from(frame.payload_len()).expect("at most a segment's length"),
            log: self.number,
            first_seq: self.next_seq,
            count: frame.count(),
            time_ms: self.last_time_ms,
            durable: self.durable,
            page_aligned: durability == Durability::Synced,
            end,
        }
    }

    /// Writes a frame to new pages, durable on return.
    fn write_durably(&mut self, frame: &mut Frame, header: &FrameHeader) -> Result<()> {
        assert!(self.offset.is_multiple_of(PAGE_LEN as u64), "wal-4");
        let end = header.next_offset(self.offset);
        let segment = self.segment();
        let bytes = frame.sealed(header, segment.header.salt, to_usize(end - self.offset));
        let written = match &segment.direct {
            Some(direct) => direct.write_at(bytes, self.offset),
            None => segment
                .cached
                .write_at(bytes, self.offset)
                .and_then(|()| segment.cached.sync()),
        };
        written.map_err(|error| Error::io("write", &segment.path, error))?;
        // The direct write has thrown these pages out of the cache.
        self.filled = end;
        self.statistics.syncs += 1;
        self.count_written(header, end);
        Ok(())
    }

    fn write_to_cache(&mut self, frame: &mut Frame, header: &FrameHeader) -> Result<()> {
        let next = header.next_offset(self.offset);
        let end = if next <= self.filled {
            next
        } else if header.page_aligned {
            self.filled = next;
            next
        } else {
            self.filled = next.next_multiple_of(PREFILL_LEN).min(self.segment().len());
            self.filled
        };
        // INVARIANT wal-5: from here on the cache has what the disk has not.
        self.dirty = true;
        let segment = self.segment();
        let bytes = frame.sealed(header, segment.header.salt, to_usize(end - self.offset));
        segment
            .cached
            .write_at(bytes, self.offset)
            .map_err(|error| Error::io("write", &segment.path, error))?;
        self.count_written(header, end);
        Ok(())
    }

    /// Syncs every dirty segment. ORDER: oldest first, as a frame is worth nothing without those
    /// before it.
    fn sync_dirty(&mut self) -> Result<()> {
        for segment in self.dirty_before.iter().chain(&self.segment) {
            segment
                .cached
                .sync()
                .map_err(|error| Error::io("sync", &segment.path, error))?;
            self.statistics.syncs += 1;
        }
        self.dirty_before.clear();
        self.dirty = false;
        Ok(())
    }

    fn count_written(&mut self, header: &FrameHeader, end: u64) {
        let written = end - self.offset;
        self.statistics.bytes_written += written;
        self.statistics.padding_bytes +=
            written - (FRAME_HEADER_LEN as u64 + u64::from(header.payload_len));
    }
}
