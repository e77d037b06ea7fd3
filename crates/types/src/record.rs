//! What the store keeps as the value of a key.
//!
//! The deadline of an expiring key is not in here: it is part of the engine's entry.
//!
//! # Format
//! ```text
//! format u8 = 1 | kind u8 | flags u8 | content type length u8
//! incarnation u64 | counter u64 | hybrid time u64              (little-endian)
//! content type | value
//! ```
//! | kind | meaning |
//! |---|---|
//! | 1 | one live version |
//! | 2 | a tombstone: what deleted the key. No content type and no value. Where there are other replicas, it stays until all of them know |
//! | 3 | the siblings of a key, where concurrent writes all stay: an [`Object`](crate::Object), with a format of its own from the third byte on |
//!
//! No flag is in use. A kind or flag that is not known is an error, never skipped: dropping a past would
//! bring deleted data back.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::bytes::Reader;
use crate::dot::{Dot, Incarnation};
use crate::hlc::Hlc;
use crate::version::Version;

pub(crate) const FORMAT: u8 = 1;
const KIND_LIVE: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
pub(crate) const KIND_OBJECT: u8 = 3;

/// One version of a key's value, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Which write made it, and when.
    pub version: Version,
    /// What the user said the bytes are; empty for nothing. At most
    /// [`Record::CONTENT_TYPE_LEN_MAX`] bytes.
    pub content_type: &'a str,
    /// The user's bytes.
    pub value: &'a [u8],
}

/// Where the parts of a stored record lie, so that its bytes need not be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Which write made it, and when.
    pub version: Version,
    is_tombstone: bool,
    content_type_len: u8,
}

/// Why stored bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// They end inside a field.
    Truncated,
    /// They were written by a newer version.
    Format(u8),
    /// They are of a kind that is not known, or not kept where they were found.
    Kind(u8),
    /// They have flags that this version does not know.
    Flags(u8),
    /// Their content type is no text.
    ContentType,
    /// They are a tombstone, and more than that.
    Tombstone,
    /// They are no siblings, though they say so.
    Object,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the record ends too early"),
            Self::Format(format) => write!(f, "the record has format {format}, not {FORMAT}"),
            Self::Kind(kind) => write!(f, "the record has unknown kind {kind}"),
            Self::Flags(flags) => write!(f, "the record has unknown flags {flags:#04x}"),
            Self::Tombstone => f.write_str("the record is a tombstone with a value"),
            Self::Object => f.write_str("the record's siblings cannot be read"),
            Self::ContentType => f.write_str("the record's content type is no text"),
        }
    }
}

impl core::error::Error for RecordError {}

impl Record<'_> {
    /// Longest content type in bytes.
    pub const CONTENT_TYPE_LEN_MAX: usize = u8::MAX as usize;

    /// The stored form.
    ///
    /// # Panics
    /// As [`Record::head`].
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        [&self.head()[..], self.content_type.as_bytes(), self.value].concat()
    }

    /// What the stored form begins with; the content type and the value follow.
    ///
    /// # Panics
    /// With a content type that is too long: to be refused when the request is checked.
    #[must_use]
    pub fn head(&self) -> [u8; RecordHead::LEN] {
        let content_type_len =
            u8::try_from(self.content_type.len()).expect("content types were checked");
        encode_head(KIND_LIVE, content_type_len, self.version)
    }

    /// The stored form of a tombstone.
    #[must_use]
    pub fn tombstone(version: Version) -> [u8; RecordHead::LEN] {
        encode_head(KIND_TOMBSTONE, 0, version)
    }
}

fn encode_head(kind: u8, content_type_len: u8, version: Version) -> [u8; RecordHead::LEN] {
    let Version { time, dot } = version;
    let mut head = [0; RecordHead::LEN];
    head[..4].copy_from_slice(&[FORMAT, kind, 0, content_type_len]);
    head[4..12].copy_from_slice(&dot.incarnation.get().to_le_bytes());
    head[12..20].copy_from_slice(&dot.counter.to_le_bytes());
    head[20..].copy_from_slice(&time.to_bits().to_le_bytes());
    head
}

impl RecordHead {
    /// Bytes before the content type.
    pub const LEN: usize = 28;
    /// Most bytes a record adds to its value.
    pub const OVERHEAD_MAX: usize = Self::LEN + Record::CONTENT_TYPE_LEN_MAX;

    /// Reads the head of a stored record and checks all that is not the user's.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(stored: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader(stored);
        let head = Self::read(&mut reader)?;
        let content_type = reader
            .take(usize::from(head.content_type_len))
            .ok_or(RecordError::Truncated)?;
        if head.is_tombstone && !(content_type.is_empty() && reader.is_empty()) {
            return Err(RecordError::Tombstone);
        }
        match core::str::from_utf8(content_type) {
            Ok(_) => Ok(head),
            Err(_) => Err(RecordError::ContentType),
        }
    }

    /// Whether it says that the key was deleted.
    #[must_use]
    pub const fn is_tombstone(&self) -> bool {
        self.is_tombstone
    }

    /// Whether stored bytes are a tombstone, without looking at the rest of them.
    #[must_use]
    pub const fn is_tombstone_stored(stored: &[u8]) -> bool {
        matches!(stored, [FORMAT, KIND_TOMBSTONE, ..])
    }

    /// Where the content type lies in the stored bytes.
    #[must_use]
    pub fn content_type(&self) -> Range<usize> {
        Self::LEN..self.value_start()
    }

    /// Where the user's bytes begin; they go on to the end.
    #[must_use]
    pub fn value_start(&self) -> usize {
        Self::LEN + usize::from(self.content_type_len)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let cut = RecordError::Truncated;
        match reader.u8().ok_or(cut)? {
            FORMAT => {}
            other => return Err(RecordError::Format(other)),
        }
        let is_tombstone = match reader.u8().ok_or(cut)? {
            KIND_LIVE => false,
            KIND_TOMBSTONE => true,
            other => return Err(RecordError::Kind(other)),
        };
        match reader.u8().ok_or(cut)? {
            0 => {}
            other => return Err(RecordError::Flags(other)),
        }
        let content_type_len = reader.u8().ok_or(cut)?;
        let dot = Dot {
            incarnation: Incarnation::new(reader.u64().ok_or(cut)?),
            counter: reader.u64().ok_or(cut)?,
        };
        let time = Hlc::from_bits(reader.u64().ok_or(cut)?);
        Ok(Self {
            version: Version { time, dot },
            is_tombstone,
            content_type_len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;

    fn version(incarnation: u64, counter: u64, time: u64) -> Version {
        Version {
            time: Hlc::from_bits(time),
            dot: Dot {
                incarnation: Incarnation::new(incarnation),
                counter,
            },
        }
    }

    proptest! {
        #[test]
        fn a_record_is_read_back(i: u64, c: u64, t: u64, content_type in "[ -~]{0,255}", value: Vec<u8>) {
            let record = Record { version: version(i, c, t), content_type: &content_type, value: &value };
            let stored = record.to_vec();
            let head = RecordHead::decode(&stored).unwrap();
            prop_assert_eq!(head.version, record.version);
            prop_assert_eq!(&stored[head.content_type()], content_type.as_bytes());
            prop_assert_eq!(&stored[head.value_start()..], &value[..]);
            prop_assert!(stored.len() <= value.len() + RecordHead::OVERHEAD_MAX);
        }

        #[test]
        fn any_bytes_are_a_record_or_refused(bytes: Vec<u8>, content_type_len: u8) {
            let _ = RecordHead::decode(&bytes);
            let mut likely = std::vec![FORMAT, KIND_LIVE, 0, content_type_len];
            likely.extend_from_slice(&bytes);
            if let Ok(head) = RecordHead::decode(&likely) {
                prop_assert!(head.value_start() <= likely.len());
            }
        }
    }

    #[test]
    fn every_truncation_of_the_head_and_every_foreign_byte_is_named() {
        let record = Record {
            version: version(1, 2, 3),
            content_type: "text/plain",
            value: b"",
        };
        let stored = record.to_vec();
        for cut in 0..stored.len() {
            assert_eq!(
                RecordHead::decode(&stored[..cut]),
                Err(RecordError::Truncated)
            );
        }
        let with = |at: usize, byte| {
            let mut changed = stored.clone();
            changed[at] = byte;
            RecordHead::decode(&changed)
        };
        assert_eq!(with(0, 2), Err(RecordError::Format(2)));
        assert_eq!(with(1, 3), Err(RecordError::Kind(3)));
        assert_eq!(with(2, 1), Err(RecordError::Flags(1)));
        assert_eq!(with(RecordHead::LEN, 0xff), Err(RecordError::ContentType));
    }

    #[test]
    fn a_tombstone_is_a_head_and_nothing_else() {
        let deleted = version(1, 2, 3);
        let mut stored = Record::tombstone(deleted).to_vec();
        let head = RecordHead::decode(&stored).unwrap();
        assert!(head.is_tombstone() && head.version == deleted);
        assert!(RecordHead::is_tombstone_stored(&stored));
        for cut in 0..stored.len() {
            let truncated = RecordHead::decode(&stored[..cut]);
            assert_eq!(truncated, Err(RecordError::Truncated));
        }
        stored.push(0);
        assert_eq!(RecordHead::decode(&stored), Err(RecordError::Tombstone));
        let live = Record {
            version: deleted,
            content_type: "",
            value: b"",
        };
        let stored = live.to_vec();
        assert!(!RecordHead::decode(&stored).unwrap().is_tombstone());
        assert!(!RecordHead::is_tombstone_stored(&stored));
    }

    #[test]
    fn the_format_is_this_to_the_byte() {
        let stored = Record {
            version: version(0x0807_0605_0403_0201, 2, 3),
            content_type: "a/b",
            value: b"value",
        }
        .to_vec();
        let expected: String = stored
            .iter()
            .map(|byte| std::format!("{byte:02x}"))
            .collect();
        assert_eq!(
            expected,
            "01010003010203040506070802000000000000000300000000000000612f6276616c7565"
        );
    }
}
