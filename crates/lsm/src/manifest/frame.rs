//! How records stand in a manifest: each twice, one copy behind the other.
//!
//! A flipped byte in the last record would otherwise look like a record that was being written when
//! the machine stopped, and an acknowledged change would be lost without a word.
//!
//! # Format
//! ```text
//! file     header | header | record | record | record | record | …    (each one twice)
//! header   magic 8 bytes | format version u32 | key id u32 | file number u64 | 0 u32 | crc32c u32
//! record   magic u32 | payload length u32 | index u64 | chain u32 | crc32c u32 | payload
//! ```
//! `index` counts records from 0, `chain` is the checksum of the record before (of the header, for
//! the first). The checksum covers everything else in the record.
//!
//! # Invariants
//! - `frame-1`: a damaged byte, wherever it is, loses no record.
//! - `frame-2`: a record neither copy of which is whole is the unacknowledged tail only where nothing
//!   whole stands behind it; else the file is corrupt.

use crate::error::CorruptionKind;
use crate::files::FileNumber;

pub(super) const HEADER_LEN: usize = 32;
const MAGIC: [u8; 8] = *b"RWmanif\n";
const RECORD_MAGIC: [u8; 4] = *b"RWmr";
const RECORD_HEAD: usize = 24;

/// CRC32C (Castagnoli).
pub(super) fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    u32::try_from(digest.finalize()).expect("a 32-bit checksum")
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*field))
}

/// What a manifest begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) format: u32,
    /// The key that records are encrypted with; 0: they are not.
    pub(super) key_id: u32,
    pub(super) number: FileNumber,
}

impl Header {
    /// The encoded header and its checksum.
    pub(super) fn encode(self) -> ([u8; HEADER_LEN], u32) {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.format.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.key_id.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.get().to_le_bytes());
        let checksum = crc32c(&[&bytes[..28]]);
        bytes[28..].copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// Reads one copy, with its checksum.
    fn decode(copy: &[u8]) -> Option<(Self, u32)> {
        let checksum = u32_at(copy, 28)?;
        if !copy.starts_with(&MAGIC) || crc32c(&[&copy[..28]]) != checksum {
            return None;
        }
        let header = Self {
            format: u32_at(copy, 8)?,
            key_id: u32_at(copy, 12)?,
            number: FileNumber::new(u64_at(copy, 16)?),
        };
        Some((header, checksum))
    }
}

/// Appends a record, both copies, and returns its checksum: the next record's `chain`.
pub(super) fn encode_record(out: &mut Vec<u8>, index: u64, chain: u32, payload: &[u8]) -> u32 {
    let len = u32::try_from(payload.len()).expect("a manifest record is shorter than 4 GiB");
    let mut head = [0; RECORD_HEAD];
    head[..4].copy_from_slice(&RECORD_MAGIC);
    head[4..8].copy_from_slice(&len.to_le_bytes());
    head[8..16].copy_from_slice(&index.to_le_bytes());
    head[16..20].copy_from_slice(&chain.to_le_bytes());
    let checksum = crc32c(&[&head[..20], payload]);
    head[20..].copy_from_slice(&checksum.to_le_bytes());
    for _ in 0..2 {
        out.extend_from_slice(&head);
        out.extend_from_slice(payload);
    }
    checksum
}

/// One whole copy of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copy<'a> {
    index: u64,
    chain: u32,
    checksum: u32,
    payload: &'a [u8],
}

impl<'a> Copy<'a> {
    /// The copy at `at`, where there is a whole one.
    fn read(bytes: &'a [u8], at: usize) -> Option<Self> {
        let copy = bytes.get(at..)?;
        let head = copy.first_chunk::<RECORD_HEAD>()?;
        if !head.starts_with(&RECORD_MAGIC) {
            return None;
        }
        let len = usize::try_from(u32_at(head, 4)?).ok()?;
        let payload = copy[RECORD_HEAD..].get(..len)?;
        let checksum = u32_at(head, 20)?;
        if crc32c(&[&head[..20], payload]) != checksum {
            return None;
        }
        Some(Self {
            index: u64_at(head, 8)?,
            chain: u32_at(head, 16)?,
            checksum,
            payload,
        })
    }

    fn len(&self) -> usize {
        RECORD_HEAD + self.payload.len()
    }
}

/// Where copies of records may begin from `at` on.
fn magics(bytes: &[u8], at: usize) -> impl Iterator<Item = usize> {
    let windows = bytes.get(at..).unwrap_or_default();
    let windows = windows.windows(RECORD_MAGIC.len()).enumerate();
    windows.filter_map(move |(i, window)| (window == RECORD_MAGIC).then_some(at + i))
}

/// A record, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) payload: &'a [u8],
    pub(super) offset: usize,
    /// Behind its second copy.
    pub(super) end: usize,
}

/// Damage: at which offset, and in what way.
pub(super) type Damage = (usize, CorruptionKind);

/// Reads a manifest's records one after another.
#[derive(Debug)]
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    index: u64,
    chain: u32,
    damage: Vec<Damage>,
}

impl<'a> Records<'a> {
    /// Reads the header of the file that holds `bytes`.
    pub(super) fn begin(bytes: &'a [u8]) -> Result<(Header, Self), Damage> {
        let copies = [0, HEADER_LEN].map(|at| {
            let copy = bytes.get(at..at + HEADER_LEN);
            copy.and_then(Header::decode)
        });
        let mut damage = Vec::new();
        let (header, chain) = match copies {
            [Some(first), Some(second)] if first != second => {
                return Err((HEADER_LEN, CorruptionKind::Encoding));
            }
            [Some(header), Some(_)] => header,
            [Some(header), None] => {
                damage.push((HEADER_LEN, CorruptionKind::Checksum));
                header
            }
            [None, Some(header)] => {
                damage.push((0, CorruptionKind::Checksum));
                header
            }
            [None, None] if bytes.len() < 2 * HEADER_LEN => {
                return Err((0, CorruptionKind::Truncated));
            }
            [None, None] => return Err((0, CorruptionKind::Magic)),
        };
        let records = Self {
            bytes,
            at: 2 * HEADER_LEN,
            index: 0,
            chain,
            damage,
        };
        Ok((header, records))
    }

    /// The next record; `None` at the end of what was written whole.
    pub(super) fn next(&mut self) -> Result<Option<Record<'a>>, Damage> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let Some(copy) = self.either_copy() else {
            return self.tail();
        };
        let offset = self.at;
        self.at += 2 * copy.len();
        self.index += 1;
        self.chain = copy.checksum;
        Ok(Some(Record {
            payload: copy.payload,
            offset,
            end: self.at,
        }))
    }

    /// Where the next record goes, with its index and chain.
    pub(super) fn position(&self) -> (usize, u64, u32) {
        (self.at, self.index, self.chain)
    }

    /// Copies passed by that were not whole, though the record was.
    pub(super) fn into_damage(self) -> Vec<Damage> {
        self.damage
    }

    fn is_next(&self, copy: &Copy<'_>) -> bool {
        copy.index == self.index && copy.chain == self.chain
    }

    fn either_copy(&mut self) -> Option<Copy<'a>> {
        let first = Copy::read(self.bytes, self.at).filter(|copy| self.is_next(copy));
        if let Some(first) = first {
            let second_at = self.at + first.len();
            if Copy::read(self.bytes, second_at) != Some(first) {
                self.damage.push((second_at, CorruptionKind::Checksum));
            }
            return Some(first);
        }
        let second = magics(self.bytes, self.at + 1).find_map(|at| {
            // Whatever the first copy's length field says: the second one's tells where it begins.
            let len = usize::try_from(u32_at(self.bytes, at + 4)?).ok()?;
            let is_second = at - self.at == RECORD_HEAD.checked_add(len)?;
            let copy = Copy::read(self.bytes, at).filter(|_| is_second)?;
            self.is_next(&copy).then_some(copy)
        });
        if second.is_some() {
            self.damage.push((self.at, CorruptionKind::Checksum));
        }
        second
    }

    /// INVARIANT frame-2: what stands here is no record; is it only the last thing being written?
    fn tail(&self) -> Result<Option<Record<'a>>, Damage> {
        if Copy::read(self.bytes, self.at).is_some() {
            return Err((self.at, CorruptionKind::MissingRecord));
        }
        let later = magics(self.bytes, self.at + 1)
            .any(|at| Copy::read(self.bytes, at).is_some_and(|copy| copy.index >= self.index));
        if later {
            return Err((self.at, CorruptionKind::Checksum));
        }
        Ok(None)
    }
}
