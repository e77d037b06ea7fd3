//! Saving what a damaged log still has: every frame that is whole, in order, also behind a hole.
//!
//! What recovery refuses to build upon (`wal-2`), a repair takes: it says which bytes are missing, and
//! from the sequence numbers on both sides how many changes.

use std::ops::Range;
use std::path::PathBuf;

use ringwood_env::Disk;

use super::format::{FIRST_FRAME, FRAME_ALIGNMENT};
use super::reader::RecoveredFrame;
use super::segment_reader::{LiveSegment, SegmentReader};
use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::key::SeqNo;

/// Sequence numbers that are skipped where a log was torn off are more than one log can hold.
const GAP_MAX: u64 = 1 << 31;

/// Bytes of a log of which nothing could be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostFrames {
    pub(crate) file: PathBuf,
    /// Empty: the file is missing, or cannot be read at all.
    pub(crate) bytes: Range<u64>,
    pub(crate) kind: CorruptionKind,
    /// Changes that were lost here and in the holes that follow directly. `None`: it cannot be told.
    pub(crate) entries: Option<u64>,
}

/// What a damaged log has beside whole frames.
#[derive(Debug, Default)]
pub(crate) struct Salvaged {
    pub(crate) lost: Vec<LostFrames>,
    /// Damage of frames that were mended: nothing of them is lost.
    pub(crate) mended: Vec<Corruption>,
}

/// Hands every whole frame of `segments`, which are in order, to `replay`, and returns what is damaged.
///
/// # Errors
/// [`Error::UnsupportedFormat`], and what `replay` returns. Parts that cannot be read are holes.
pub(crate) fn salvage(
    disk: &dyn Disk,
    segments: &[LiveSegment],
    replay: &mut dyn FnMut(RecoveredFrame<'_>) -> Result<()>,
) -> Result<Salvaged> {
    let mut salvage = Salvage {
        next_seq: None,
        holes: Vec::new(),
        found: Salvaged::default(),
    };
    for segment in segments {
        match SegmentReader::open_cut(disk, segment) {
            Ok(mut reader) => salvage.segment(&mut reader, segment.end, replay)?,
            Err(Error::Corruption(damage)) => salvage.miss(damage.file, 0..0, damage.kind),
            Err(Error::Io { path, .. }) => salvage.miss(path, 0..0, CorruptionKind::Unreadable),
            Err(error) => return Err(error),
        }
    }
    let is_certain = |hole: &LostFrames| hole.kind != CorruptionKind::MissingRecord;
    salvage.holes.retain(is_certain);
    salvage.found.lost.append(&mut salvage.holes);
    Ok(salvage.found)
}

struct Salvage {
    next_seq: Option<SeqNo>,
    /// Since the last frame: lost, unless the next one shows that nothing is missing.
    holes: Vec<LostFrames>,
    found: Salvaged,
}

impl Salvage {
    fn segment(
        &mut self,
        reader: &mut SegmentReader<'_>,
        sealed_end: Option<u64>,
        replay: &mut dyn FnMut(RecoveredFrame<'_>) -> Result<()>,
    ) -> Result<()> {
        let file = reader.path;
        let mut at = FIRST_FRAME;
        let mut hole = None;
        while let Some(found) = find_frame(reader, at, self.next_seq) {
            if found > at {
                self.miss(file.to_owned(), at..found, CorruptionKind::Checksum);
            }
            // It was whole a moment ago; a disk that changes its mind makes a hole of the rest.
            let Ok(Some((header, payload))) = reader.frame(found) else {
                hole = Some(found);
                break;
            };
            self.resolve(header.first_seq);
            self.next_seq = Some(header.next_seq());
            if let Some(group) = RecoveredFrame::new(&header, payload, file, found) {
                replay(group)?;
            }
            at = header.next_offset(found);
            self.found.mended.extend(reader.mended(found));
        }
        let (start, limit) = (hole.unwrap_or(at), reader.limit);
        let falls_short = sealed_end.is_some_and(|end| start < end);
        if let Some(cut) = reader.cut_at() {
            // What was cut off may have been anything.
            self.miss(
                file.to_owned(),
                start.min(cut)..cut,
                CorruptionKind::Truncated,
            );
        } else if falls_short || hole.is_some() || has_pieces(reader, start) {
            self.miss(file.to_owned(), start..limit, CorruptionKind::Checksum);
        } else {
            // Nothing says that anything stood here, unless the next frame does.
            self.suspect(file.to_owned(), start..start);
        }
        Ok(())
    }

    fn miss(&mut self, file: PathBuf, bytes: Range<u64>, kind: CorruptionKind) {
        self.holes.push(LostFrames {
            file,
            bytes,
            kind,
            entries: None,
        });
    }

    fn suspect(&mut self, file: PathBuf, bytes: Range<u64>) {
        self.miss(file, bytes, CorruptionKind::MissingRecord);
    }

    /// A frame that begins with `seq` follows the holes: what is missing in between?
    fn resolve(&mut self, seq: SeqNo) {
        let missing = self
            .next_seq
            .map(|expected| seq.get().saturating_sub(expected.get()));
        let is_suspicion = |hole: &LostFrames| hole.kind == CorruptionKind::MissingRecord;
        match missing {
            // The log goes on without a gap.
            Some(0) => self.holes.clear(),
            // Where a log was torn off and opened again, numbers were skipped and nothing is missing.
            Some(GAP_MAX..) | None => self.holes.retain(|hole| !is_suspicion(hole)),
            Some(entries) => {
                if self.holes.iter().any(|hole| !is_suspicion(hole)) {
                    self.holes.retain(|hole| !is_suspicion(hole));
                }
                if let Some(first) = self.holes.first_mut() {
                    first.entries = Some(entries);
                }
            }
        }
        self.found.lost.append(&mut self.holes);
    }
}

/// Where the next whole frame stands that is not older than what came before.
fn find_frame(reader: &mut SegmentReader<'_>, from: u64, next_seq: Option<SeqNo>) -> Option<u64> {
    let mut at = from;
    loop {
        if let Ok(Some((header, _))) = reader.frame(at)
            && next_seq.is_none_or(|next| header.first_seq >= next)
        {
            return Some(at);
        }
        let behind = at + FRAME_ALIGNMENT as u64;
        (at, _) = reader.find_header(behind).ok()??;
    }
}

/// Whether a part of a frame stands at `from` or behind.
fn has_pieces(reader: &mut SegmentReader<'_>, from: u64) -> bool {
    let damaged = reader.is_damaged_at(from);
    !matches!(damaged, Ok(false)) || !matches!(reader.find_header(from), Ok(None))
}

impl LostFrames {
    pub(crate) fn to_corruption(&self) -> Corruption {
        Corruption::new(&self.file, self.bytes.start, self.kind)
    }
}
