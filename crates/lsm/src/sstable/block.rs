//! Data blocks: entries in order, prefix-compressed, with restart points and a hash index.
//!
//! # Format
//! ```text
//! data block  entries | restart points u32 × r | buckets u8 × b | r u32 | b u32
//! entry       shared varint | unshared varint | value length varint
//!             | last `unshared` bytes of the user key | trailer u64 | value
//! ```
//! `shared` bytes are those of the entry before. A restart point is the offset of an entry that
//! shares none; there is one every `restart_interval` entries, and sooner where entries are large,
//! so that a search touches few cache lines.
//!
//! A bucket holds the number of the only restart point whose entries hash into it (the low half of
//! [`filter_hash`](super::filter_hash), scaled to `b`), or says that there are none or several. There are
//! buckets (`b` > 0) only for 2 to 253 restart points: with one there is nothing to choose from.

mod builder;
mod cursor;

use std::ops::Range;

pub(super) use builder::DataBlockBuilder;
pub(super) use cursor::BlockCursor;

use super::format::{Malformed, u32_at};
use super::index::IndexBlock;
use super::payload::Payload;
use crate::budget::allocated_len;
use crate::bytes::{common_prefix, compare};
use crate::key::{InternalKey, TRAILER_LEN};

const BUCKET_EMPTY: u8 = 0xff;
const BUCKET_SEVERAL: u8 = 0xfe;
const INDEXED_RESTARTS_MAX: usize = 253;
const TAIL_LEN: usize = 8;

/// What the block cache holds.
pub(crate) enum Block {
    Data(DataBlock),
    Index(IndexBlock),
}

impl Block {
    /// Bytes of memory that it takes behind an `Arc`, all told.
    pub(crate) fn memory_used(&self) -> usize {
        let heap = match self {
            Self::Data(block) => block.payload.memory_used(),
            Self::Index(block) => block.memory_used(),
        };
        allocated_len(size_of::<Self>() + 2 * size_of::<usize>()) + heap
    }

    #[inline]
    pub(super) fn data(&self) -> Option<&DataBlock> {
        match self {
            Self::Data(block) => Some(block),
            Self::Index(_) => None,
        }
    }

    #[inline]
    pub(super) fn index(&self) -> Option<&IndexBlock> {
        match self {
            Self::Index(block) => Some(block),
            Self::Data(_) => None,
        }
    }
}

/// A data block, as it is searched.
pub(crate) struct DataBlock {
    payload: Payload,
    entries_len: usize,
    restarts: usize,
    buckets: usize,
}

/// One entry's parts, by their place in the payload.
#[derive(Clone, Debug, Default)]
struct Entry {
    shared: usize,
    suffix: Range<usize>,
    trailer: u64,
    value: Range<usize>,
}

/// Where in a block a search found what it looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) trailer: u64,
    pub(super) value: Range<usize>,
}

/// What the hash index says of a key.
enum Bucket {
    Nowhere,
    Interval(usize),
    Unknown,
}

impl DataBlock {
    pub(super) fn parse(payload: Payload) -> Result<Self, Malformed> {
        let bytes = payload.bytes();
        let tail = bytes.len().checked_sub(TAIL_LEN).ok_or(Malformed)?;
        let (restarts, buckets) = (
            u32_at(bytes, tail) as usize,
            u32_at(bytes, tail + 4) as usize,
        );
        let entries_len = tail
            .checked_sub(buckets)
            .and_then(|rest| rest.checked_sub(restarts.checked_mul(4)?))
            .ok_or(Malformed)?;
        if (restarts == 0) != (entries_len == 0) {
            return Err(Malformed);
        }
        Ok(Self {
            payload,
            entries_len,
            restarts,
            buckets,
        })
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.payload.bytes()
    }

    /// The first entry at or behind `target`, if it is a change to the same key. `hash` is the
    /// [`filter_hash`](super::filter_hash) of that key.
    #[inline]
    pub(super) fn get(
        &self,
        target: InternalKey<'_>,
        hash: u64,
    ) -> Result<Option<Found>, Malformed> {
        match self.bucket(hash) {
            Bucket::Nowhere => Ok(None),
            Bucket::Interval(restart) => {
                let end = if restart + 1 < self.restarts {
                    self.restart(restart + 1)?
                } else {
                    self.entries_len
                };
                self.find(self.restart(restart)?..end, target)
            }
            Bucket::Unknown => self.find(self.interval_of(target)?..self.entries_len, target),
        }
    }

    /// Walks entries, comparing without putting keys together: of the last key, which sorts before
    /// the target, we know how many bytes it has in common with it.
    fn find(
        &self,
        entries: Range<usize>,
        target: InternalKey<'_>,
    ) -> Result<Option<Found>, Malformed> {
        let bytes = self.bytes();
        let mut common = 0;
        let mut at = entries.start;
        while at < entries.end {
            let entry = self.entry(at)?;
            at = entry.value.end;
            if entry.shared > common {
                continue; // as the last one, it differs from the target at `common`
            }
            let rest = &target.user[entry.shared..];
            let suffix = &bytes[entry.suffix];
            let same = common_prefix(suffix, rest);
            match (suffix.get(same), rest.get(same)) {
                (None, None) if entry.trailer <= target.trailer() => {
                    return Ok(Some(Found {
                        trailer: entry.trailer,
                        value: entry.value,
                    }));
                }
                (Some(_), None) => return Ok(None),
                (Some(a), Some(b)) if a > b => return Ok(None),
                _ => common = entry.shared + same,
            }
        }
        Ok(None)
    }

    #[inline]
    fn bucket(&self, hash: u64) -> Bucket {
        if self.buckets == 0 {
            return Bucket::Unknown;
        }
        let first = self.entries_len + 4 * self.restarts;
        match self.bytes()[first + bucket_of(hash, self.buckets)] {
            BUCKET_EMPTY => Bucket::Nowhere,
            BUCKET_SEVERAL => Bucket::Unknown,
            restart => Bucket::Interval(usize::from(restart)),
        }
    }

    /// Offset of the last restart point before `target`; of the first where there is none.
    fn interval_of(&self, target: InternalKey<'_>) -> Result<usize, Malformed> {
        let (mut low, mut high) = (0, self.restarts);
        while high - low > 1 {
            let middle = low.midpoint(high);
            let entry = self.entry(self.restart(middle)?)?;
            let user = &self.bytes()[entry.suffix];
            if compare(user, target.user)
                .then_with(|| target.trailer().cmp(&entry.trailer))
                .is_lt()
            {
                low = middle;
            } else {
                high = middle;
            }
        }
        if self.restarts == 0 {
            Ok(0)
        } else {
            self.restart(low)
        }
    }

    fn restart(&self, i: usize) -> Result<usize, Malformed> {
        if i >= self.restarts {
            return Err(Malformed);
        }
        Ok(u32_at(self.bytes(), self.entries_len + 4 * i) as usize)
    }

    /// The last restart point below offset `at`.
    fn restart_before(&self, at: usize) -> Result<usize, Malformed> {
        let (mut low, mut high) = (0, self.restarts);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.restart(middle)? < at {
                low = middle
            } else {
                high = middle
            }
        }
        self.restart(low)
    }

    #[inline]
    fn entry(&self, at: usize) -> Result<Entry, Malformed> {
        let bytes = &self.bytes()[..self.entries_len];
        let ([shared, unshared, value_len], header_len) =
            read_header(bytes.get(at..).ok_or(Malformed)?)?;
        let suffix_start = at + header_len;
        let suffix_end = suffix_start.checked_add(unshared).ok_or(Malformed)?;
        let (trailer, _) = bytes
            .get(suffix_end..)
            .and_then(<[u8]>::split_first_chunk::<TRAILER_LEN>)
            .ok_or(Malformed)?;
        let value_start = suffix_end + TRAILER_LEN;
        let value_end = value_start.checked_add(value_len).ok_or(Malformed)?;
        if value_end > self.entries_len {
            return Err(Malformed);
        }
        Ok(Entry {
            shared,
            suffix: suffix_start..suffix_end,
            trailer: u64::from_le_bytes(*trailer),
            value: value_start..value_end,
        })
    }
}

/// The three lengths an entry begins with, and how many bytes they take.
#[inline]
fn read_header(bytes: &[u8]) -> Result<([usize; 3], usize), Malformed> {
    if let Some(&[a, b, c]) = bytes.first_chunk::<3>()
        && (a | b | c) < 0x80
    {
        return Ok(([a.into(), b.into(), c.into()], 3));
    }
    let mut lens = [0; 3];
    let mut at = 0;
    for len in &mut lens {
        let (value, width) = read_varint(&bytes[at..])?;
        *len = value as usize;
        at += width;
    }
    Ok((lens, at))
}

fn read_varint(bytes: &[u8]) -> Result<(u32, usize), Malformed> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            let value = u32::try_from(value).map_err(|_| Malformed)?;
            return Ok((value, i + 1));
        }
    }
    Err(Malformed)
}

#[inline]
fn bucket_of(hash: u64, buckets: usize) -> usize {
    (((hash & 0xffff_ffff) * buckets as u64) >> 32) as usize
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests;
