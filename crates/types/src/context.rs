//! Causal contexts as clients carry them: opaque text that comes back as it was given out.
//!
//! # Format
//! base64url without padding of
//! ```text
//! version u8 = 1 | namespace u32 | partition u16 | entries u16 | entries × (incarnation u64 | counter u64) | checksum u32
//! version u8 = 2 | namespace u32 | partition u16 | kind u8 = 1 | past                                      | checksum u32
//! version u8 = 2 | namespace u32 | partition u16 | kind u8 = 2 | hybrid time u64                           | checksum u32
//! ```
//! little-endian, a past as [`Past`] has it. A past without singles is written in version 1, which has no
//! more to say; a time is the context where the last write wins. The checksum is the lower half of XXH3-64 over all before it. It tells a mangled
//! token from a good one; it is no protection against forgery, and needs to be none: a context only
//! says which versions of one key its own writer has read.
//!
//! # Invariants
//! - `context-1`: a token is only read back in the namespace and partition that it was given out for.

use alloc::string::String;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use xxhash_rust::xxh3::xxh3_64;

use crate::bytes::{Reader, Writer};
use crate::dot::{Dot, Incarnation};
use crate::hlc::Hlc;
use crate::id::{NamespaceId, PartitionId};
use crate::past::Past;
use crate::version::VersionVector;

const VERSION: u8 = 1;
const VERSION_2: u8 = 2;
const KIND_PAST: u8 = 1;
const KIND_TIME: u8 = 2;
const HEADER_LEN: usize = 9;
const ENTRY_LEN: usize = 16;
const CHECKSUM_LEN: usize = 4;
/// Longest text that is looked at: that of the longest past.
pub const TEXT_LEN_MAX: usize = ((HEADER_LEN + Past::LEN_MAX + CHECKSUM_LEN) * 4).div_ceil(3);

/// What a client has read of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Context {
    /// These versions, where siblings stay.
    Past(Past),
    /// What stood at this time, where the last write wins: the next one is later.
    Time(Hlc),
}

/// Why a context token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContextError {
    /// It is not what was given out: cut, changed or made up.
    Malformed,
    /// It was given out by a newer version.
    Version(u8),
    /// It belongs to another namespace, or to a key of another partition.
    Foreign,
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the context is not one that was given out here"),
            Self::Version(version) => write!(
                f,
                "the context has format {version}, not {VERSION} or {VERSION_2}"
            ),
            Self::Foreign => f.write_str("the context belongs to another key or namespace"),
        }
    }
}

impl core::error::Error for ContextError {}

/// Bytes and characters of a token of one dot.
const ONE_LEN: usize = HEADER_LEN + ENTRY_LEN + CHECKSUM_LEN;
const TOKEN_LEN: usize = (ONE_LEN * 4).div_ceil(3);

/// The token of one who has read exactly one version: what every answer about a key carries, so that
/// it takes no memory of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ContextToken([u8; TOKEN_LEN]);

impl ContextToken {
    /// Gives out the token of `dot`, for keys of this namespace and partition.
    #[must_use]
    pub fn new(namespace: NamespaceId, partition: PartitionId, dot: Dot) -> Self {
        let mut bytes = [0; ONE_LEN];
        bytes[0] = VERSION;
        bytes[1..5].copy_from_slice(&namespace.get().to_le_bytes());
        bytes[5..7].copy_from_slice(&partition.get().to_le_bytes());
        bytes[7..HEADER_LEN].copy_from_slice(&1_u16.to_le_bytes());
        bytes[9..17].copy_from_slice(&dot.incarnation.get().to_le_bytes());
        bytes[17..25].copy_from_slice(&dot.counter.to_le_bytes());
        let checksum = checksum(&bytes[..ONE_LEN - CHECKSUM_LEN]);
        bytes[ONE_LEN - CHECKSUM_LEN..].copy_from_slice(&checksum);
        let mut text = [0; TOKEN_LEN];
        let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        assert_eq!(written, Ok(TOKEN_LEN), "it has the room it needs");
        Self(text)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("base64 is ASCII")
    }
}

impl AsRef<[u8]> for ContextToken {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ContextToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Gives out `context` as a token for keys of this namespace and partition. One of more than
/// [`Past::DOTS_MAX`] dots is not read back.
///
/// # Panics
/// With more than 65,535 incarnations, which no partition ever has.
#[must_use]
pub fn encode(namespace: NamespaceId, partition: PartitionId, context: &Context) -> String {
    let mut writer = Writer::new();
    let start = |writer: &mut Writer, version| {
        writer.u8(version);
        writer.u32(namespace.get());
        writer.u16(partition.get());
    };
    match context {
        Context::Past(past) if past.singles().is_empty() => {
            let entries = past.vector().iter();
            let count = u16::try_from(entries.len()).expect("a partition has few incarnations");
            start(&mut writer, VERSION);
            writer.u16(count);
            for dot in entries {
                writer.u64(dot.incarnation.get());
                writer.u64(dot.counter);
            }
        }
        Context::Past(past) => {
            start(&mut writer, VERSION_2);
            writer.u8(KIND_PAST);
            past.write(&mut writer);
        }
        Context::Time(time) => {
            start(&mut writer, VERSION_2);
            writer.u8(KIND_TIME);
            writer.u64(time.to_bits());
        }
    }
    let mut bytes = writer.into_vec();
    bytes.extend_from_slice(&checksum(&bytes));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a token that a client brought for a key of this namespace and partition.
///
/// # Errors
/// [`ContextError`].
pub fn decode(
    token: &str,
    namespace: NamespaceId,
    partition: PartitionId,
) -> Result<Context, ContextError> {
    if token.len() > TEXT_LEN_MAX {
        return Err(ContextError::Malformed);
    }
    let bytes = URL_SAFE_NO_PAD
        .decode(token)
        .map_err(|_| ContextError::Malformed)?;
    let (content, found) = bytes
        .split_last_chunk::<CHECKSUM_LEN>()
        .ok_or(ContextError::Malformed)?;
    if checksum(content) != *found {
        return Err(ContextError::Malformed);
    }
    let mut reader = Reader(content);
    let read_content = match reader.u8() {
        Some(VERSION) => read_vector,
        Some(VERSION_2) => read_context,
        Some(other) => return Err(ContextError::Version(other)),
        None => return Err(ContextError::Malformed),
    };
    let (owner, context) = read_body(reader, read_content).ok_or(ContextError::Malformed)?;
    if owner == (namespace, partition) {
        Ok(context)
    } else {
        Err(ContextError::Foreign)
    }
}

type ReadContent = fn(&mut Reader<'_>) -> Option<Context>;

fn read_body(
    mut reader: Reader<'_>,
    read_content: ReadContent,
) -> Option<((NamespaceId, PartitionId), Context)> {
    let namespace = NamespaceId::new(reader.u32()?);
    let partition = PartitionId::new(reader.u16()?);
    let context = read_content(&mut reader)?;
    let is_short = match &context {
        Context::Past(past) => past.len() <= Past::DOTS_MAX,
        Context::Time(_) => true,
    };
    (reader.is_empty() && is_short).then_some(((namespace, partition), context))
}

fn read_vector(reader: &mut Reader<'_>) -> Option<Context> {
    let mut vector = VersionVector::new();
    for _ in 0..reader.u16()? {
        vector.add(Dot {
            incarnation: Incarnation::new(reader.u64()?),
            counter: reader.u64()?,
        });
    }
    Some(Context::Past(vector.into()))
}

fn read_context(reader: &mut Reader<'_>) -> Option<Context> {
    match reader.u8()? {
        KIND_PAST => Past::read(reader).map(Context::Past),
        KIND_TIME => Some(Context::Time(Hlc::from_bits(reader.u64()?))),
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation)] // the lower half is what is kept
fn checksum(content: &[u8]) -> [u8; CHECKSUM_LEN] {
    (xxh3_64(content) as u32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::past::tests::pasts;
    use proptest::prelude::*;

    fn contexts() -> impl Strategy<Value = Context> {
        let time = any::<u64>().prop_map(|bits| Context::Time(Hlc::from_bits(bits)));
        prop_oneof![pasts().prop_map(Context::Past), time]
    }

    const HERE: (NamespaceId, PartitionId) = (NamespaceId::new(7), PartitionId::new(3));

    proptest! {
        #[test]
        fn context_1_read_back_here_and_nowhere_else(context in contexts()) {
            let token = encode(HERE.0, HERE.1, &context);
            prop_assert_eq!(decode(&token, HERE.0, HERE.1), Ok(context));
            prop_assert_eq!(decode(&token, NamespaceId::new(8), HERE.1), Err(ContextError::Foreign));
            prop_assert_eq!(decode(&token, HERE.0, PartitionId::new(4)), Err(ContextError::Foreign));
        }

        #[test]
        fn the_token_of_one_version_is_that_of_its_vector(incarnation: u64, counter in 1u64..) {
            let dot = Dot { incarnation: Incarnation::new(incarnation), counter };
            let vector = Context::Past(VersionVector::from_iter([dot]).into());
            let token = ContextToken::new(HERE.0, HERE.1, dot);
            prop_assert_eq!(token.as_str(), encode(HERE.0, HERE.1, &vector));
        }

        #[test]
        fn a_changed_character_is_noticed(context in contexts(), at: prop::sample::Index, to in "[A-Za-z0-9_-]") {
            let token = encode(HERE.0, HERE.1, &context);
            let at = at.index(token.len());
            let mut changed = token.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != token);
            prop_assert!(decode(&changed, HERE.0, HERE.1).is_err());
        }

        #[test]
        fn any_text_is_read_or_refused(text: std::string::String) {
            let _ = decode(&text, HERE.0, HERE.1);
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = std::vec![3, 0, 0];
        bytes.extend_from_slice(&checksum(&bytes));
        let token = URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(
            decode(&token, HERE.0, HERE.1),
            Err(ContextError::Version(3))
        );
    }

    #[test]
    fn a_context_that_is_too_long_is_refused() {
        let of = |dots: usize| {
            let mut past = Past::new();
            for incarnation in 0..dots as u64 {
                past.add_single(Dot {
                    incarnation: Incarnation::new(incarnation),
                    counter: u64::MAX,
                });
            }
            encode(HERE.0, HERE.1, &Context::Past(past))
        };
        assert!(decode(&of(Past::DOTS_MAX), HERE.0, HERE.1).is_ok());
        let long = decode(&of(Past::DOTS_MAX + 1), HERE.0, HERE.1);
        assert_eq!(long, Err(ContextError::Malformed));
        let endless = "A".repeat(TEXT_LEN_MAX + 1);
        assert_eq!(
            decode(&endless, HERE.0, HERE.1),
            Err(ContextError::Malformed)
        );
    }
}
