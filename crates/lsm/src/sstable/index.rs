//! Index blocks: which block a key would be in. An index partition names data blocks, the top index
//! names partitions; both look alike.
//!
//! # Format
//! ```text
//! index block  base u64 | count u32 | prefix length u32 | prefix | entries | suffixes
//! entry        end of its suffix u32 | end of its block u32 | trailer u64
//! ```
//! The blocks an index block names lie side by side from file offset `base`; ends are counted from
//! there, and a suffix's end from the first suffix. A separator is `prefix`, then the entry's suffix,
//! then its trailer: at or behind every key of its block and before every key of the next one.
//! Its trailer is 0 (behind every change to its user key) unless a user key's changes go on in the next
//! block.

use super::format::{BlockHandle, Malformed, len_u32, u32_at, u64_at};
use super::payload::Payload;
use crate::budget::allocated_len;
use crate::bytes::{common_prefix, compare, head, starts_with};
use crate::key::InternalKey;

const FIXED_LEN: usize = 16;
const ENTRY_LEN: usize = 16;

/// An index block, as it is searched.
pub(crate) struct IndexBlock {
    payload: Payload,
    base: u64,
    prefix_len: usize,
    /// First eight bytes of each suffix as a number that sorts as they do: most searches need no more.
    heads: Box<[u64]>,
    suffixes: usize,
}

impl IndexBlock {
    pub(super) fn parse(payload: Payload) -> Result<Self, Malformed> {
        let bytes = payload.bytes();
        if bytes.len() < FIXED_LEN {
            return Err(Malformed);
        }
        let count = u32_at(bytes, 8) as usize;
        let prefix_len = u32_at(bytes, 12) as usize;
        let suffixes = count
            .checked_mul(ENTRY_LEN)
            .and_then(|len| len.checked_add(FIXED_LEN)?.checked_add(prefix_len))
            .filter(|&suffixes| suffixes <= bytes.len())
            .ok_or(Malformed)?;
        let mut block = Self {
            base: u64_at(bytes, 0),
            payload,
            prefix_len,
            heads: Box::default(),
            suffixes,
        };
        block.check_ends(count)?;
        block.heads = (0..count).map(|i| head(block.suffix(i), 0)).collect();
        Ok(block)
    }

    /// Whether suffixes and blocks lie behind each other, so that nothing else need be checked.
    fn check_ends(&self, count: usize) -> Result<(), Malformed> {
        let limit = self.payload.bytes().len() - self.suffixes;
        let (mut suffix_end, mut block_end) = (0, 0);
        for i in 0..count {
            let (suffix, block) = self.ends(i);
            if suffix < suffix_end || suffix > limit || block <= block_end {
                return Err(Malformed);
            }
            (suffix_end, block_end) = (suffix, block);
        }
        let file_end = self.base.checked_add(u64::from(block_end));
        (suffix_end == limit && file_end.is_some())
            .then_some(())
            .ok_or(Malformed)
    }

    /// How many blocks it names.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(super) fn memory_used(&self) -> usize {
        self.payload.memory_used() + allocated_len(8 * self.heads.len())
    }

    /// The first block with a separator at or behind `target`: the only one that may hold the first
    /// change at or behind `target`, where that is of the same user key. [`IndexBlock::len`]: none.
    #[inline]
    pub(super) fn search(&self, target: InternalKey<'_>) -> usize {
        let prefix = self.prefix();
        if !starts_with(target.user, prefix) {
            return if target.user < prefix { 0 } else { self.len() };
        }
        let suffix = &target.user[prefix.len()..];
        let wanted = head(target.user, prefix.len());
        let first = self.heads.partition_point(|&head| head < wanted);
        if self.heads.get(first).is_none_or(|&head| head > wanted) {
            return first;
        }
        let alike = self.heads[first..].partition_point(|&head| head == wanted);
        let (mut low, mut high) = (first, first + alike);
        while low < high {
            let middle = low.midpoint(high);
            let order = compare(self.suffix(middle), suffix);
            if order
                .then_with(|| target.trailer().cmp(&self.trailer(middle)))
                .is_lt()
            {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Where block `i` lies.
    #[inline]
    pub(super) fn handle(&self, i: usize) -> BlockHandle {
        let start = if i == 0 { 0 } else { self.ends(i - 1).1 };
        BlockHandle {
            offset: self.base + u64::from(start),
            len: self.ends(i).1 - start,
        }
    }

    /// Where the first block begins.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Where the last block ends.
    pub(super) fn end(&self) -> u64 {
        self.len()
            .checked_sub(1)
            .map_or(self.base, |last| self.handle(last).end())
    }

    /// User key and trailer of separator `i`.
    pub(super) fn separator(&self, i: usize) -> (Vec<u8>, u64) {
        ([self.prefix(), self.suffix(i)].concat(), self.trailer(i))
    }

    #[inline]
    fn prefix(&self) -> &[u8] {
        &self.payload.bytes()[FIXED_LEN..FIXED_LEN + self.prefix_len]
    }

    fn entry(&self, i: usize) -> usize {
        FIXED_LEN + self.prefix_len + ENTRY_LEN * i
    }

    fn ends(&self, i: usize) -> (usize, u32) {
        let (bytes, entry) = (self.payload.bytes(), self.entry(i));
        (u32_at(bytes, entry) as usize, u32_at(bytes, entry + 4))
    }

    fn trailer(&self, i: usize) -> u64 {
        u64_at(self.payload.bytes(), self.entry(i) + 8)
    }

    fn suffix(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends(i - 1).0 };
        &self.payload.bytes()[self.suffixes + start..self.suffixes + self.ends(i).0]
    }
}

/// Puts an index block together from blocks that lie side by side.
pub(super) struct IndexBuilder {
    base: u64,
    users: Vec<u8>,
    entries: Vec<IndexEntry>,
}

struct IndexEntry {
    user_end: usize,
    block_end: u32,
    trailer: u64,
}

impl IndexBuilder {
    /// For blocks from file offset `base` on.
    pub(super) fn new(base: u64) -> Self {
        Self {
            base,
            users: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Adds the block that ends at file offset `block_end`.
    pub(super) fn add(&mut self, user: &[u8], trailer: u64, block_end: u64) {
        self.users.extend_from_slice(user);
        self.entries.push(IndexEntry {
            user_end: self.users.len(),
            block_end: u32::try_from(block_end - self.base)
                .expect("partitions are cut long before 4 GiB"),
            trailer,
        });
    }

    /// Bytes of the payload, and of the blocks it names.
    pub(super) fn lens(&self) -> (usize, u64) {
        let named = self
            .entries
            .last()
            .map_or(0, |last| u64::from(last.block_end));
        (
            FIXED_LEN + self.entries.len() * ENTRY_LEN + self.users.len(),
            named,
        )
    }

    pub(super) fn user(&self, i: usize) -> &[u8] {
        let start = if i == 0 {
            0
        } else {
            self.entries[i - 1].user_end
        };
        &self.users[start..self.entries[i].user_end]
    }

    /// The last separator.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn last(&self) -> (&[u8], u64) {
        let last = self.entries.len() - 1;
        (self.user(last), self.entries[last].trailer)
    }

    pub(super) fn finish(&self) -> Vec<u8> {
        // In order, so that what the first and last have in common all have.
        let prefix = match self.entries.len() {
            0 => &[][..],
            count => {
                let first = self.user(0);
                &first[..common_prefix(first, self.user(count - 1))]
            }
        };
        let mut payload = Vec::with_capacity(self.lens().0);
        payload.extend_from_slice(&self.base.to_le_bytes());
        payload.extend_from_slice(&len_u32(self.entries.len()).to_le_bytes());
        payload.extend_from_slice(&len_u32(prefix.len()).to_le_bytes());
        payload.extend_from_slice(prefix);
        for (i, entry) in self.entries.iter().enumerate() {
            let suffix_end = entry.user_end - (i + 1) * prefix.len();
            payload.extend_from_slice(&len_u32(suffix_end).to_le_bytes());
            payload.extend_from_slice(&entry.block_end.to_le_bytes());
            payload.extend_from_slice(&entry.trailer.to_le_bytes());
        }
        for i in 0..self.entries.len() {
            payload.extend_from_slice(&self.user(i)[prefix.len()..]);
        }
        payload
    }
}

/// A short separator, user key and trailer, at or behind `last` and before `next`.
pub(super) fn separator(last: InternalKey<'_>, next: InternalKey<'_>, out: &mut Vec<u8>) -> u64 {
    out.clear();
    if last.user == next.user {
        out.extend_from_slice(last.user);
        return last.trailer();
    }
    match shortened_len(last.user, next.user) {
        Some(Shortened::Increment(at)) => {
            out.extend_from_slice(&last.user[..=at]);
            out[at] += 1;
        }
        Some(Shortened::Next(at)) => out.extend_from_slice(&next.user[..=at]),
        None => out.extend_from_slice(last.user),
    }
    0
}

enum Shortened {
    /// The last key up to this byte, which is one more.
    Increment(usize),
    /// The next key up to this byte.
    Next(usize),
}

fn shortened_len(last: &[u8], next: &[u8]) -> Option<Shortened> {
    let differ = common_prefix(last, next);
    let (&low, &high) = (last.get(differ)?, next.get(differ)?);
    if differ + 1 < last.len() {
        if low + 1 < high {
            return Some(Shortened::Increment(differ));
        }
        if differ + 1 < next.len() {
            return Some(Shortened::Next(differ));
        }
    }
    // A byte further on can grow without reaching the next key.
    let further = last[differ + 1..].iter().position(|&byte| byte < 0xff)?;
    let at = differ + 1 + further;
    (at + 1 < last.len()).then_some(Shortened::Increment(at))
}

#[cfg(test)]
mod tests;
