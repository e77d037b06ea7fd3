//! Bytes of a log segment: its header page and the frames behind it.
//!
//! # Format
//! A segment is a file of fixed length. Its first page (4 KiB) is the header, frames follow:
//! ```text
//! segment header      twice in the page, at 0 and at 2048
//!                  0  magic "RINGWLOG"
//!                  8  version u32 = 1 | reserved u32
//!                 16  number u64                 the file's: its generation
//!                 24  length u64                 of the whole file
//!                 32  salt u32                   random for each use of the file
//!                 36  checksum u32               of bytes 0..36
//!
//! frame            0  header checksum u32        of bytes 4..64
//!                  4  payload checksum u32
//!                  8  number u64                 of the segment it was written for
//!                 16  first sequence number u64
//!                 24  payload length u32
//!                 28  entries u32
//!                 32  time u64                   milliseconds since the Unix epoch
//!                 40  durable: segment u64 | offset u64
//!                 56  flags u8 | reserved u8 | encryption key id u16 = 0
//!                 60  payload hash u32           0: none, in frames of earlier builds
//!                 64  payload                    batches, one after another
//! ```
//! All numbers are little-endian; what is reserved is zero. Checksums are CRC32C; a frame's begin at
//! the salt. The hash is the lower half of XXH3-64. A frame stands at a multiple of 8 bytes, directly behind the one before it, or on the
//! next page if that one says so (flag 1); flag 2 says that the log was closed here. A frame without
//! entries carries only its watermark. See `docs/format.md` for the picture.

use crc_fast::{CrcAlgorithm, Digest};
use ringwood_env::disk::DIRECT_ALIGNMENT;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::files::FileNumber;
use crate::key::SeqNo;

/// Pages are written whole by direct writes, and never again once they hold synced bytes.
pub(crate) const PAGE_LEN: usize = DIRECT_ALIGNMENT;
/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_LEN: usize = 64;
/// Frames begin at multiples of this.
pub(crate) const FRAME_ALIGNMENT: usize = 8;
/// Where the first frame of every segment stands.
pub(crate) const FIRST_FRAME: u64 = PAGE_LEN as u64;
/// Kept free at a segment's end for frames without entries: one by an explicit sync, one that closes
/// the log.
pub(crate) const RESERVED_LEN: u64 = 2 * PAGE_LEN as u64;

const MAGIC: [u8; 8] = *b"RINGWLOG";
/// The version of the format that is written, and the newest read.
pub(crate) const VERSION: u32 = 1;
const SEGMENT_HEADER_LEN: usize = 40;
/// Where the two copies of a segment's header begin.
const COPIES_AT: [usize; 2] = [0, PAGE_LEN / 2];

const FLAG_PAGE_ALIGNED: u8 = 1;
const FLAG_END: u8 = 2;

const _: () = assert!(SEGMENT_HEADER_LEN <= PAGE_LEN);
const _: () = assert!(FRAME_HEADER_LEN.is_multiple_of(FRAME_ALIGNMENT));
const _: () = assert!(PAGE_LEN.is_multiple_of(FRAME_ALIGNMENT));

/// A place in the log; ordered as the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogPosition {
    /// The segment.
    pub(crate) log: FileNumber,
    /// Bytes from its beginning.
    pub(crate) offset: u64,
}

impl LogPosition {
    /// Where a segment's first frame stands.
    pub(crate) fn start_of(log: FileNumber) -> Self {
        Self {
            log,
            offset: FIRST_FRAME,
        }
    }
}

/// Longest payload of a frame in segments of `segment_len` bytes.
pub(crate) fn payload_len_max(segment_len: u64) -> usize {
    to_usize(segment_len.saturating_sub(FIRST_FRAME + RESERVED_LEN + FRAME_HEADER_LEN as u64))
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: FileNumber,
    pub(crate) len: u64,
    /// Where the checksums of its frames begin. Nobody who merely stores values knows it, so no
    /// value can look like a frame once its segment is recycled (`wal-1`).
    pub(crate) salt: u32,
}

/// Why a page is not a segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentHeaderFault {
    Magic,
    Checksum,
    Version(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        put_u32(&mut bytes, 8, VERSION);
        put_u64(&mut bytes, 16, self.number.get());
        put_u64(&mut bytes, 24, self.len);
        put_u32(&mut bytes, 32, self.salt);
        let sum = checksum(0, &bytes[..36]);
        put_u32(&mut bytes, 36, sum);
        bytes
    }

    /// A segment's first page. The header stands in it twice, in two sectors: without the salt, no
    /// frame of the segment could be read.
    pub(crate) fn to_page(self) -> Vec<u8> {
        let mut page = vec![0; PAGE_LEN];
        let bytes = self.encode();
        for at in COPIES_AT {
            page[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        page
    }

    /// Reads the header from a segment's first page: of its two copies the first that is whole.
    pub(crate) fn decode(page: &[u8; PAGE_LEN]) -> Result<Self, SegmentHeaderFault> {
        let [first, second] = COPIES_AT.map(|at| Self::decode_copy(&page[at..]));
        match (first, second) {
            (Err(SegmentHeaderFault::Magic | SegmentHeaderFault::Checksum), Ok(second)) => {
                Ok(second)
            }
            (first, _) => first,
        }
    }

    /// Whether one of the two copies in the page is damaged.
    pub(crate) fn is_half(page: &[u8; PAGE_LEN]) -> bool {
        let [first, second] = COPIES_AT.map(|at| Self::decode_copy(&page[at..]));
        first != second
    }

    fn decode_copy(copy: &[u8]) -> Result<Self, SegmentHeaderFault> {
        if copy[..8] != MAGIC {
            return Err(SegmentHeaderFault::Magic);
        }
        if u32_at(copy, 36) != checksum(0, &copy[..36]) {
            return Err(SegmentHeaderFault::Checksum);
        }
        let version = u32_at(copy, 8);
        if version != VERSION {
            return Err(SegmentHeaderFault::Version(version));
        }
        Ok(Self {
            number: FileNumber::new(u64_at(copy, 16)),
            len: u64_at(copy, 24),
            salt: u32_at(copy, 32),
        })
    }
}

/// What a frame says of itself and of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) payload_checksum: u32,
    /// Confirms what the frame was where one of its bytes is not as it was written; 0 confirms nothing.
    pub(crate) payload_hash: u32,
    pub(crate) payload_len: u32,
    /// The segment it was written for.
    pub(crate) log: FileNumber,
    /// Of the payload's first entry.
    pub(crate) first_seq: SeqNo,
    /// Entries in the payload. 0: a mark, which has no payload.
    pub(crate) count: u32,
    pub(crate) time_ms: u64,
    /// Everything before this was durable when the frame was composed: the end of the last frame
    /// known to be on the disk.
    pub(crate) durable: LogPosition,
    /// The next frame stands on the next page.
    pub(crate) page_aligned: bool,
    /// The log was closed here.
    pub(crate) end: bool,
}

impl FrameHeader {
    pub(crate) fn encode(&self, salt: u32) -> [u8; FRAME_HEADER_LEN] {
        let mut bytes = [0; FRAME_HEADER_LEN];
        put_u32(&mut bytes, 4, self.payload_checksum);
        put_u64(&mut bytes, 8, self.log.get());
        put_u64(&mut bytes, 16, self.first_seq.get());
        put_u32(&mut bytes, 24, self.payload_len);
        put_u32(&mut bytes, 28, self.count);
        put_u64(&mut bytes, 32, self.time_ms);
        put_u64(&mut bytes, 40, self.durable.log.get());
        put_u64(&mut bytes, 48, self.durable.offset);
        bytes[56] = u8::from(self.page_aligned) * FLAG_PAGE_ALIGNED + u8::from(self.end) * FLAG_END;
        put_u32(&mut bytes, 60, self.payload_hash);
        let sum = checksum(salt, &bytes[4..]);
        put_u32(&mut bytes, 0, sum);
        bytes
    }

    /// Reads the header of a frame of segment `log`; `None`: there is none here.
    pub(crate) fn decode(
        bytes: &[u8; FRAME_HEADER_LEN],
        log: FileNumber,
        salt: u32,
    ) -> Option<Self> {
        if u64_at(bytes, 8) != log.get() || u32_at(bytes, 0) != checksum(salt, &bytes[4..]) {
            return None;
        }
        let (first_seq, count) = (u64_at(bytes, 16), u32_at(bytes, 28));
        if first_seq.checked_add(u64::from(count))? > SeqNo::MAX.get() {
            return None;
        }
        Some(Self {
            payload_checksum: u32_at(bytes, 4),
            payload_hash: u32_at(bytes, 60),
            payload_len: u32_at(bytes, 24),
            log,
            first_seq: SeqNo::new(first_seq),
            count,
            time_ms: u64_at(bytes, 32),
            durable: LogPosition {
                log: FileNumber::new(u64_at(bytes, 40)),
                offset: u64_at(bytes, 48),
            },
            page_aligned: bytes[56] & FLAG_PAGE_ALIGNED != 0,
            end: bytes[56] & FLAG_END != 0,
        })
    }

    /// Bytes of the frame.
    pub(crate) fn frame_len(&self) -> u64 {
        FRAME_HEADER_LEN as u64 + u64::from(self.payload_len)
    }

    /// Where the frame that follows this one at `offset` stands.
    pub(crate) fn next_offset(&self, offset: u64) -> u64 {
        let end = offset + self.frame_len();
        let alignment = if self.page_aligned {
            PAGE_LEN
        } else {
            FRAME_ALIGNMENT
        };
        end.next_multiple_of(alignment as u64)
    }

    /// The sequence number behind the payload's last entry.
    pub(crate) fn next_seq(&self) -> SeqNo {
        SeqNo::new(self.first_seq.get() + u64::from(self.count))
    }
}

/// Whether these bytes were a header of a frame of segment `log` before something damaged them: they
/// name the segment, or are whole but for its name.
pub(crate) fn was_header(bytes: &[u8; FRAME_HEADER_LEN], log: FileNumber, salt: u32) -> bool {
    let mut named = *bytes;
    put_u64(&mut named, 8, log.get());
    named == *bytes || FrameHeader::decode(&named, log, salt).is_some()
}

/// CRC32C that begins at `salt`.
pub(crate) fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(salt));
    digest.update(bytes);
    u32::try_from(digest.finalize()).expect("a 32-bit checksum")
}

/// In the place of a hash: the frame is of before there was one.
pub(crate) const NO_HASH: u32 = 0;

/// A hash of a payload that has nothing to do with its checksum; never 0. Seeded with the salt: a checksum
/// changes by the same for the same change whatever it begins with, so who stores values can choose some that
/// a torn write leaves a right checksum.
#[allow(clippy::cast_possible_truncation)] // the lower half is what is kept
pub(crate) fn payload_hash(salt: u32, payload: &[u8]) -> u32 {
    (xxh3_64_with_seed(payload, salt.into()) as u32).max(1)
}

/// Lengths and offsets inside a segment, which has at most 1 GiB.
pub(crate) fn to_usize(len: u64) -> usize {
    usize::try_from(len).expect("segments are shorter than the address space")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let (field, _) = bytes[at..].split_first_chunk().expect("a field inside");
    u32::from_le_bytes(*field)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let (field, _) = bytes[at..].split_first_chunk().expect("a field inside");
    u64::from_le_bytes(*field)
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: FileNumber = FileNumber::new(7);

    fn frame() -> FrameHeader {
        FrameHeader {
            payload_checksum: 1,
            payload_hash: 2,
            payload_len: 100,
            log: LOG,
            first_seq: SeqNo::new(3),
            count: 4,
            time_ms: 5,
            durable: LogPosition {
                log: FileNumber::new(6),
                offset: 8192,
            },
            page_aligned: true,
            end: false,
        }
    }

    #[test]
    fn headers_are_read_back() {
        let header = frame();
        assert_eq!(FrameHeader::decode(&header.encode(9), LOG, 9), Some(header));
        assert_eq!(header.next_offset(4096), 8192);
        let packed = FrameHeader {
            page_aligned: false,
            ..header
        };
        assert_eq!(packed.next_offset(4096), 4096 + 168);

        let segment = SegmentHeader {
            number: LOG,
            len: 1 << 16,
            salt: 3,
        };
        let page: [u8; PAGE_LEN] = segment.to_page().try_into().unwrap();
        assert_eq!(SegmentHeader::decode(&page), Ok(segment));
        for at in COPIES_AT {
            for bit in 0..8 * SEGMENT_HEADER_LEN {
                let mut flipped = page;
                flipped[at + bit / 8] ^= 1 << (bit % 8);
                assert_eq!(SegmentHeader::decode(&flipped), Ok(segment), "bit {bit}");
                assert!(SegmentHeader::is_half(&flipped), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_of_another_segment_or_salt_is_none() {
        let bytes = frame().encode(9);
        assert_eq!(FrameHeader::decode(&bytes, FileNumber::new(8), 9), None);
        assert_eq!(FrameHeader::decode(&bytes, LOG, 10), None);
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let bytes = frame().encode(9);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&flipped, LOG, 9), None, "bit {bit}");
        }
    }

    #[test]
    fn sequence_numbers_beyond_the_last_are_no_frame() {
        let mut bytes = frame().encode(9);
        put_u64(&mut bytes, 16, u64::MAX - 1);
        let sum = checksum(9, &bytes[4..]);
        put_u32(&mut bytes, 0, sum);
        assert_eq!(FrameHeader::decode(&bytes, LOG, 9), None);
    }
}
