//! The frame of a table: file header, block headers and footer, and how each byte of them is checked.
//!
//! # Format
//! ```text
//! table    header | data blocks | index partitions | filter? | range tombstones? | top index
//!          | properties | footer                            (each block follows the last at once)
//! header   magic 8 | format version u32 | 0 u32 | file number u64 | XXH3-64 of bytes 0..24 u64
//! block    stored length u32 | raw length u32 | kind u8 | compression u8 | key id u16
//!          | header check u32 | checksum u64 | payload (stored length)
//! footer   partitions, filter, tombstones, top index, properties: 5 × (offset u64 | length u32)
//!          | format version u32 | XXH3-64 of bytes 0..64 u64 | magic 8
//! ```
//! Little-endian. A block's *place* (file number and offset) seeds the hash H of its header's first
//! twelve bytes; the header check is H's low half, and H seeds the checksum of the payload as stored.
//! So a block that was read from the wrong place is found out, and so is a header put before the
//! payload of another. The footer's checksum is seeded with the file number.
//!
//! The header before the payload lets a salvage walk from block to block without an index, and
//! find the next one behind damage by trying each offset.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::CorruptionKind;
use crate::files::FileNumber;

/// The format this build writes, and the newest it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;
pub(super) const MAGIC: [u8; 8] = *b"RWtable\0";
pub(super) const HEADER_LEN: usize = 32;
pub(super) const BLOCK_HEADER_LEN: usize = 24;
pub(super) const FOOTER_LEN: usize = 80;
/// Most bytes a compressed block may hold, checked before memory is taken for them. Above the
/// longest entry and below what would hurt.
pub(super) const COMPRESSED_RAW_LEN_MAX: usize = 32 << 20;

const CHECKED_LEN: usize = 12;
const _: () = assert!(
    COMPRESSED_RAW_LEN_MAX > crate::key::MAX_KEY_LEN + crate::key::MAX_VALUE_LEN + 64 * 1024
);

/// What is in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BlockKind {
    Data = 1,
    /// A part of the index, and the index of those parts.
    Index = 2,
    Filter = 3,
    RangeTombstones = 4,
    Properties = 5,
}

impl BlockKind {
    fn from_u8(byte: u8) -> Option<Self> {
        [
            Self::Data,
            Self::Index,
            Self::Filter,
            Self::RangeTombstones,
            Self::Properties,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// How a payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Encoding {
    Raw = 0,
    Lz4 = 1,
    Zstd = 2,
}

impl Encoding {
    fn from_u8(byte: u8) -> Option<Self> {
        [Self::Raw, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|encoding| *encoding as u8 == byte)
    }
}

/// Where a block lies, its header included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockHandle {
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

impl BlockHandle {
    pub(crate) fn end(self) -> u64 {
        self.offset.saturating_add(u64::from(self.len))
    }

    pub(super) fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// What a block's header says, once its own check has passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockHeader {
    pub(super) stored_len: usize,
    pub(super) raw_len: usize,
    pub(super) kind: BlockKind,
    pub(super) encoding: Encoding,
    /// Seeds the checksum of the payload.
    hash: u64,
    checksum: u64,
}

impl BlockHeader {
    /// Reads the header of the block at `offset` of table `number`.
    pub(super) fn parse(
        bytes: &[u8; BLOCK_HEADER_LEN],
        number: FileNumber,
        offset: u64,
    ) -> Result<Self, CorruptionKind> {
        let hash = xxh3_64_with_seed(&bytes[..CHECKED_LEN], seed(number, offset));
        if u32_at(bytes, CHECKED_LEN) != low_half(hash) {
            return Err(CorruptionKind::Checksum);
        }
        let header = Self {
            stored_len: u32_at(bytes, 0) as usize,
            raw_len: u32_at(bytes, 4) as usize,
            kind: BlockKind::from_u8(bytes[8]).ok_or(CorruptionKind::Encoding)?,
            encoding: Encoding::from_u8(bytes[9]).ok_or(CorruptionKind::Encoding)?,
            hash,
            checksum: u64_at(bytes, 16),
        };
        let key_id = u16::from_le_bytes([bytes[10], bytes[11]]);
        let lengths_agree = match header.encoding {
            Encoding::Raw => header.stored_len == header.raw_len,
            Encoding::Lz4 | Encoding::Zstd => header.raw_len <= COMPRESSED_RAW_LEN_MAX,
        };
        if key_id != 0 || !lengths_agree {
            return Err(CorruptionKind::Encoding);
        }
        Ok(header)
    }

    /// Whether `payload` is what was stored.
    pub(super) fn matches(&self, payload: &[u8]) -> bool {
        payload.len() == self.stored_len && xxh3_64_with_seed(payload, self.hash) == self.checksum
    }

    pub(super) fn block_len(&self) -> usize {
        BLOCK_HEADER_LEN + self.stored_len
    }
}

/// Appends the block that holds `payload` at `offset` of table `number`.
pub(super) fn append_block(
    out: &mut Vec<u8>,
    number: FileNumber,
    offset: u64,
    kind: BlockKind,
    encoding: Encoding,
    raw_len: usize,
    payload: &[u8],
) {
    let mut header = [0; BLOCK_HEADER_LEN];
    header[..4].copy_from_slice(&len_u32(payload.len()).to_le_bytes());
    header[4..8].copy_from_slice(&len_u32(raw_len).to_le_bytes());
    header[8] = kind as u8;
    header[9] = encoding as u8;
    let hash = xxh3_64_with_seed(&header[..CHECKED_LEN], seed(number, offset));
    header[CHECKED_LEN..16].copy_from_slice(&low_half(hash).to_le_bytes());
    header[16..].copy_from_slice(&xxh3_64_with_seed(payload, hash).to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// Different for any two places below a tebibyte.
fn seed(number: FileNumber, offset: u64) -> u64 {
    number.get().rotate_left(40) ^ offset
}

#[expect(clippy::cast_possible_truncation, reason = "half of it is wanted")]
fn low_half(hash: u64) -> u32 {
    hash as u32
}

/// The file header of table `number`.
pub(super) fn file_header(number: FileNumber) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&number.get().to_le_bytes());
    let checksum = xxh3_64_with_seed(&header[..24], 0);
    header[24..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Where everything but data is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footer {
    /// All index partitions, one after another.
    pub(super) partitions: BlockHandle,
    /// Empty: there is none.
    pub(super) filter: BlockHandle,
    /// Empty: there is none.
    pub(super) tombstones: BlockHandle,
    pub(super) top_index: BlockHandle,
    pub(super) properties: BlockHandle,
}

/// Why a footer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadFooter {
    Corrupt(CorruptionKind),
    Version(u32),
}

impl Footer {
    fn handles(&self) -> [BlockHandle; 5] {
        [
            self.partitions,
            self.filter,
            self.tombstones,
            self.top_index,
            self.properties,
        ]
    }

    pub(super) fn encode(&self, number: FileNumber) -> [u8; FOOTER_LEN] {
        let mut footer = [0; FOOTER_LEN];
        for (handle, field) in self.handles().iter().zip(footer.chunks_exact_mut(12)) {
            field[..8].copy_from_slice(&handle.offset.to_le_bytes());
            field[8..].copy_from_slice(&handle.len.to_le_bytes());
        }
        footer[60..64].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        let checksum = xxh3_64_with_seed(&footer[..64], number.get());
        footer[64..72].copy_from_slice(&checksum.to_le_bytes());
        footer[72..].copy_from_slice(&MAGIC);
        footer
    }

    /// Reads the footer of table `number`, a file of `file_len` bytes.
    pub(super) fn parse(
        footer: &[u8; FOOTER_LEN],
        number: FileNumber,
        file_len: u64,
    ) -> Result<Self, BadFooter> {
        if footer[72..] != MAGIC {
            return Err(BadFooter::Corrupt(CorruptionKind::Magic));
        }
        if u64_at(footer, 64) != xxh3_64_with_seed(&footer[..64], number.get()) {
            return Err(BadFooter::Corrupt(CorruptionKind::Checksum));
        }
        let version = u32_at(footer, 60);
        if version != FORMAT_VERSION {
            return Err(BadFooter::Version(version));
        }
        let handle = |i: usize| BlockHandle {
            offset: u64_at(footer, 12 * i),
            len: u32_at(footer, 12 * i + 8),
        };
        let parsed = Self {
            partitions: handle(0),
            filter: handle(1),
            tombstones: handle(2),
            top_index: handle(3),
            properties: handle(4),
        };
        parsed
            .is_gapless(file_len)
            .then_some(parsed)
            .ok_or(BadFooter::Corrupt(CorruptionKind::Encoding))
    }

    /// Whether the parts follow each other up to the footer: a file cut or grown is found out.
    fn is_gapless(&self, file_len: u64) -> bool {
        let handles = self.handles();
        let body_end = file_len.saturating_sub(FOOTER_LEN as u64);
        handles[0].offset >= HEADER_LEN as u64
            && handles
                .windows(2)
                .all(|pair| pair[0].end() == pair[1].offset)
            && handles[4].end() == body_end
    }
}

/// A length that the format gives four bytes.
pub(super) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("lengths are limited far below 4 GiB when they come in")
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Bytes that match their checksum and make no sense: written wrongly, or forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: FileNumber = FileNumber::new(7);

    #[test]
    fn a_block_belongs_to_one_place() {
        let mut block = Vec::new();
        append_block(
            &mut block,
            NUMBER,
            4096,
            BlockKind::Data,
            Encoding::Raw,
            5,
            b"hello",
        );
        let header: &[u8; BLOCK_HEADER_LEN] = block.first_chunk().unwrap();
        let parsed = BlockHeader::parse(header, NUMBER, 4096).unwrap();
        assert!(parsed.matches(b"hello") && !parsed.matches(b"hellp") && !parsed.matches(b"hell"));
        for (number, offset) in [(NUMBER, 0), (NUMBER, 4097), (FileNumber::new(8), 4096)] {
            let misdirected = BlockHeader::parse(header, number, offset);
            assert_eq!(misdirected.unwrap_err(), CorruptionKind::Checksum);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_or_footer_is_found() {
        let mut block = Vec::new();
        append_block(
            &mut block,
            NUMBER,
            64,
            BlockKind::Filter,
            Encoding::Raw,
            3,
            b"abc",
        );
        for bit in 0..8 * BLOCK_HEADER_LEN {
            let mut header = *block.first_chunk::<BLOCK_HEADER_LEN>().unwrap();
            header[bit / 8] ^= 1 << (bit % 8);
            let sound = BlockHeader::parse(&header, NUMBER, 64).is_ok_and(|h| h.matches(b"abc"));
            assert!(!sound, "bit {bit}");
        }
        let at = |offset, len| BlockHandle { offset, len };
        let footer = Footer {
            partitions: at(100, 10),
            filter: at(110, 0),
            tombstones: at(110, 20),
            top_index: at(130, 30),
            properties: at(160, 40),
        };
        let encoded = footer.encode(NUMBER);
        let file_len = 200 + FOOTER_LEN as u64;
        assert_eq!(Footer::parse(&encoded, NUMBER, file_len), Ok(footer));
        assert!(Footer::parse(&encoded, NUMBER, file_len + 1).is_err());
        for bit in 0..8 * FOOTER_LEN {
            let mut flipped = encoded;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Footer::parse(&flipped, NUMBER, file_len).is_err(),
                "bit {bit}"
            );
        }
    }
}
