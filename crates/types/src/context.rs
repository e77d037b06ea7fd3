//! Causal contexts as clients carry them: opaque text that comes back as it was given out.
//!
//! # Format
//! base64url without padding of
//! ```text
//! version u8 = 1 | namespace u32 | partition u16 | entries u16 | entries × (incarnation u64 | counter u64) | checksum u32
//! ```
//! little-endian; the checksum is the lower half of XXH3-64 over all before it. It tells a mangled
//! token from a good one; it is no protection against forgery, and needs to be none: a context only
//! says which versions of one key its own writer has read.
//!
//! # Invariants
//! - `context-1`: a token is only read back in the namespace and partition that it was given out for.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use xxhash_rust::xxh3::xxh3_64;

use crate::bytes::Reader;
use crate::dot::{Dot, Incarnation};
use crate::id::{NamespaceId, PartitionId};
use crate::version::VersionVector;

const VERSION: u8 = 1;
const HEADER_LEN: usize = 9;
const ENTRY_LEN: usize = 16;
const CHECKSUM_LEN: usize = 4;

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
            Self::Version(version) => write!(f, "the context has format {version}, not {VERSION}"),
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

/// Gives out `vector` as a token for keys of this namespace and partition.
///
/// # Panics
/// With more than 65,535 incarnations, which no partition ever has.
#[must_use]
pub fn encode(namespace: NamespaceId, partition: PartitionId, vector: &VersionVector) -> String {
    let entries = vector.iter();
    let count = u16::try_from(entries.len()).expect("a partition has few incarnations");
    let mut bytes = Vec::with_capacity(HEADER_LEN + ENTRY_LEN * usize::from(count) + CHECKSUM_LEN);
    bytes.push(VERSION);
    bytes.extend_from_slice(&namespace.get().to_le_bytes());
    bytes.extend_from_slice(&partition.get().to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    for dot in entries {
        bytes.extend_from_slice(&dot.incarnation.get().to_le_bytes());
        bytes.extend_from_slice(&dot.counter.to_le_bytes());
    }
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
) -> Result<VersionVector, ContextError> {
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
    match reader.u8() {
        Some(VERSION) => {}
        Some(other) => return Err(ContextError::Version(other)),
        None => return Err(ContextError::Malformed),
    }
    let (owner, vector) = read_body(reader).ok_or(ContextError::Malformed)?;
    if owner == (namespace, partition) {
        Ok(vector)
    } else {
        Err(ContextError::Foreign)
    }
}

fn read_body(mut reader: Reader<'_>) -> Option<((NamespaceId, PartitionId), VersionVector)> {
    let namespace = NamespaceId::new(reader.u32()?);
    let partition = PartitionId::new(reader.u16()?);
    let mut vector = VersionVector::new();
    for _ in 0..reader.u16()? {
        vector.add(Dot {
            incarnation: Incarnation::new(reader.u64()?),
            counter: reader.u64()?,
        });
    }
    reader
        .0
        .is_empty()
        .then_some(((namespace, partition), vector))
}

#[allow(clippy::cast_possible_truncation)] // the lower half is what is kept
fn checksum(content: &[u8]) -> [u8; CHECKSUM_LEN] {
    (xxh3_64(content) as u32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::tests::vectors;
    use proptest::prelude::*;

    const HERE: (NamespaceId, PartitionId) = (NamespaceId::new(7), PartitionId::new(3));

    proptest! {
        #[test]
        fn context_1_read_back_here_and_nowhere_else(vector in vectors()) {
            let token = encode(HERE.0, HERE.1, &vector);
            prop_assert_eq!(decode(&token, HERE.0, HERE.1), Ok(vector));
            prop_assert_eq!(decode(&token, NamespaceId::new(8), HERE.1), Err(ContextError::Foreign));
            prop_assert_eq!(decode(&token, HERE.0, PartitionId::new(4)), Err(ContextError::Foreign));
        }

        #[test]
        fn the_token_of_one_version_is_that_of_its_vector(incarnation: u64, counter in 1u64..) {
            let dot = Dot { incarnation: Incarnation::new(incarnation), counter };
            let vector = VersionVector::from_iter([dot]);
            let token = ContextToken::new(HERE.0, HERE.1, dot);
            prop_assert_eq!(token.as_str(), encode(HERE.0, HERE.1, &vector));
        }

        #[test]
        fn a_changed_character_is_noticed(vector in vectors(), at: prop::sample::Index, to in "[A-Za-z0-9_-]") {
            let token = encode(HERE.0, HERE.1, &vector);
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
        let mut bytes = std::vec![2, 0, 0];
        bytes.extend_from_slice(&checksum(&bytes));
        let token = URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(
            decode(&token, HERE.0, HERE.1),
            Err(ContextError::Version(2))
        );
    }
}
