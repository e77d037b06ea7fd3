//! Replays the log, and makes durable what is taken over from a process that is gone (`wal-6`).
//!
//! A sync would do if every sync so far had succeeded. But where the one of the process before failed,
//! the system has called the pages clean that it could not save, and goes on showing them: the next
//! sync succeeds and saves nothing. No program can tell such pages from others, so every byte that no
//! watermark vouches for is written again, as it is, and then synced.

use std::ops::Range;

use ringwood_env::{Disk, DiskFile, OpenMode};

use super::format::to_usize;
use super::reader::{Recovered, RecoveredFrame, replay_all};
use super::segment_reader::{LiveSegment, SegmentReader};
use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::plant::{Plant, is_planted};

/// Bytes written at once, unless a frame is longer.
const WRITE_LEN: usize = 1 << 20;

/// As [`read_log`](super::read_log), and what was handed over is durable on return.
///
/// # Errors
/// As [`read_log`](super::read_log).
pub(crate) fn recover(
    disk: &dyn Disk,
    segments: &[LiveSegment],
    replay: &mut dyn FnMut(RecoveredFrame<'_>) -> Result<()>,
) -> Result<Recovered> {
    let recovery = replay_all(disk, segments, replay)?;
    // INVARIANT wal-6. Also after a clean close: its mark may be one whose write failed.
    for (segment, doubtful) in segments.iter().zip(recovery.doubtful()) {
        // What an earlier recovery has accepted, it made durable.
        let doubtful = Some(doubtful).filter(|range| segment.end.is_none() && !range.is_empty());
        let is_left_out = |frame: &Range<u64>| match &doubtful {
            Some(range) => !range.contains(&frame.start),
            None => true,
        };
        // INVARIANT wal-7: another byte of the same frame would be too much.
        let mended: Vec<_> = recovery
            .mended_in(segment.number)
            .filter(is_left_out)
            .collect();
        for range in mended.into_iter().chain(doubtful) {
            rewrite(disk, segment, range)?;
        }
    }
    Ok(recovery.finish())
}

/// Writes `range` of a segment, which begins and ends where frames do, once more, durably and mended.
///
/// # Errors
/// [`Error::Io`], and [`Error::Corruption`] where a frame cannot be read any more. The segment reads as
/// before.
fn rewrite(disk: &dyn Disk, segment: &LiveSegment, range: Range<u64>) -> Result<()> {
    let path = &segment.path;
    let file = disk
        .open(path, OpenMode::Write)
        .map_err(|error| Error::io("open", path, error))?;
    if !is_planted(Plant::ReplayedNotRewritten) {
        let mut reader = SegmentReader::open(disk, segment, Vec::new())?;
        copy_frames(&mut reader, &*file, range)?;
    }
    file.sync().map_err(|error| Error::io("sync", path, error))
}

/// Writes the frames of `range` where they stand. Each is checked before: a disk that changes its mind
/// must not be believed.
fn copy_frames(reader: &mut SegmentReader<'_>, to: &dyn DiskFile, range: Range<u64>) -> Result<()> {
    let path = reader.path;
    let (mut at, mut start, mut bytes) = (range.start, range.start, Vec::new());
    while at < range.end {
        let Some((header, frame)) = reader.frame_bytes(at)? else {
            return Err(Corruption::new(path, at, CorruptionKind::Checksum).into());
        };
        bytes.extend_from_slice(frame);
        at = header.next_offset(at);
        bytes.resize(to_usize(at - start), 0);
        if bytes.len() >= WRITE_LEN || at >= range.end {
            to.write_at(&bytes, start)
                .map_err(|error| Error::io("write", path, error))?;
            bytes.clear();
            start = at;
        }
    }
    Ok(())
}
