//! Sequence numbers, entry kinds and internal keys.
//!
//! An *internal key* is a user key with the sequence number and kind of one change to it. Internal
//! keys sort by user key in byte order, then newest first.
//!
//! # Format
//! ```text
//! internal key   user key | trailer u64 little-endian
//! trailer        sequence number (56 bits) << 8 | kind
//! expiring value deadline u64 little-endian, milliseconds since the epoch | value
//! deleted value  empty; or the deadline u64, where a compaction deleted what had expired
//! ```

use std::cmp::Ordering;

use crate::bytes::compare;

/// Longest key in bytes: 64 KiB, and room for what a user of the engine puts before its own keys.
pub const MAX_KEY_LEN: usize = (64 << 10) + 64;
/// Longest value in bytes.
pub const MAX_VALUE_LEN: usize = 16 << 20;
/// Bytes an internal key adds to its user key.
pub(crate) const TRAILER_LEN: usize = 8;

/// Position of a change in the one order of all changes. Never repeats; 56 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNo(u64);

impl SeqNo {
    /// Before every change.
    pub const ZERO: Self = Self(0);
    /// Behind every change.
    pub const MAX: Self = Self((1 << 56) - 1);

    /// The `n`th change; `n` is less than 2^56.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        assert!(n <= Self::MAX.0, "sequence numbers have 56 bits");
        Self(n)
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The change `n` places further on.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self::new(self.0 + n)
    }
}

/// What a change does to its key. The numbers are part of the file format.
///
/// 5 (a pointer into a value log) and 6 (a merge operand) are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The key is gone.
    Delete = 1,
    /// The key has this value.
    Put = 2,
    /// The key has this value until the deadline in its first eight bytes.
    PutExpiring = 3,
    /// Every key from this one up to the value (excluded) is gone.
    RangeDelete = 4,
}

impl Kind {
    /// The kind a byte stands for, if it stands for one.
    pub(crate) const fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Delete),
            2 => Some(Self::Put),
            3 => Some(Self::PutExpiring),
            4 => Some(Self::RangeDelete),
            _ => None,
        }
    }
}

/// The part of a trailer that says the kind.
const fn kind_byte(trailer: u64) -> u8 {
    trailer.to_le_bytes()[0]
}

/// A user key with the change that was made to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InternalKey<'a> {
    pub(crate) user: &'a [u8],
    trailer: u64,
}

impl<'a> InternalKey<'a> {
    pub(crate) const fn new(user: &'a [u8], seq: SeqNo, kind: Kind) -> Self {
        Self {
            user,
            trailer: seq.0 << 8 | kind as u8 as u64,
        }
    }

    /// Where a search for the newest change to `user` at or before `seq` begins: it sorts before
    /// every change of the same key and sequence number.
    pub(crate) const fn seek_to(user: &'a [u8], seq: SeqNo) -> Self {
        Self {
            user,
            trailer: seq.0 << 8 | 0xff,
        }
    }

    /// Where a backward search that wants every change to `user` begins: behind all of them.
    pub(crate) const fn after_all(user: &'a [u8]) -> Self {
        Self { user, trailer: 0 }
    }

    /// Reads an encoded internal key; `None` where it is too short or of unknown kind.
    pub(crate) fn decode(encoded: &'a [u8]) -> Option<Self> {
        let (user, trailer) = encoded.split_last_chunk::<TRAILER_LEN>()?;
        let key = Self {
            user,
            trailer: u64::from_le_bytes(*trailer),
        };
        Kind::from_u8(kind_byte(key.trailer)).map(|_| key)
    }

    /// As [`InternalKey::decode`], for a user key and trailer that stand apart.
    pub(crate) fn from_parts(user: &'a [u8], trailer: u64) -> Option<Self> {
        Kind::from_u8(kind_byte(trailer)).map(|_| Self { user, trailer })
    }

    /// Appends the encoded form.
    pub(crate) fn encode_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.user);
        out.extend_from_slice(&self.trailer.to_le_bytes());
    }

    pub(crate) fn to_vec(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.user.len() + TRAILER_LEN);
        self.encode_to(&mut out);
        out
    }

    pub(crate) const fn seq(self) -> SeqNo {
        SeqNo(self.trailer >> 8)
    }

    /// The kind of change.
    ///
    /// # Panics
    /// On a key made by [`InternalKey::seek_to`] or [`InternalKey::after_all`], which stands for none.
    pub(crate) fn kind(self) -> Kind {
        Kind::from_u8(kind_byte(self.trailer)).expect("a search key has no kind")
    }

    pub(crate) const fn trailer(self) -> u64 {
        self.trailer
    }
}

impl Ord for InternalKey<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.user, other.user).then_with(|| other.trailer.cmp(&self.trailer))
    }
}

impl PartialOrd for InternalKey<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Splits what is stored for a [`Kind::PutExpiring`] into deadline and value; `None` where it is too short.
pub(crate) fn split_deadline(stored: &[u8]) -> Option<(u64, &[u8])> {
    let (deadline, value) = stored.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*deadline), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_change_of_a_key_sorts_first_and_keys_sort_as_bytes() {
        let order = [
            InternalKey::seek_to(b"a", SeqNo::MAX),
            InternalKey::new(b"a", SeqNo::new(9), Kind::Put),
            InternalKey::seek_to(b"a", SeqNo::new(8)),
            InternalKey::new(b"a", SeqNo::new(8), Kind::Put),
            InternalKey::new(b"a", SeqNo::new(8), Kind::Delete),
            InternalKey::after_all(b"a"),
            InternalKey::new(b"a\0", SeqNo::new(99), Kind::Put),
            InternalKey::new(b"b", SeqNo::new(1), Kind::Put),
        ];
        assert!(order.is_sorted());
    }

    #[test]
    fn encoding_is_read_back() {
        let key = InternalKey::new(b"key", SeqNo::MAX, Kind::RangeDelete);
        assert_eq!(InternalKey::decode(&key.to_vec()), Some(key));
        assert_eq!(InternalKey::decode(b"short"), None);
        assert_eq!(InternalKey::decode(&[0; 8]), None, "kind 0 is none of ours");
    }
}
