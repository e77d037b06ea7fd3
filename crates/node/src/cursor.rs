//! Cursors: where a page ended, signed, in the hands of the client.
//!
//! # Format
//! base64url without padding of
//! ```text
//! version u8 = 1 | namespace u32 | range u64 | warm u64 | last key | tag (16 bytes)      (little-endian)
//! ```
//! `range` is a hash of the scan's bounds and direction, `warm` names the scan if it is still kept.
//! The tag is HMAC-SHA-256 under the cluster's secret, cut in half: a cursor is only ever one that
//! was given out, by any node, in any run.
//!
//! # Invariants
//! - `cursor-1` (25): a cursor is only accepted in its namespace, for its range.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringwood_types::NamespaceId;
use sha2::{Digest, Sha256};

const VERSION: u8 = 1;
const HEADER_LEN: usize = 21;
const TAG_LEN: usize = 16;
const HASH_BLOCK_LEN: usize = 64;

/// What cursors are signed with. Cannot be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why a cursor is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// It is not what was given out: cut, changed or made up.
    #[error("the cursor is not one that was given out here; begin the scan anew")]
    Malformed,
    /// It was given out for another range, direction or namespace.
    #[error("the cursor belongs to another range or namespace; repeat the parameters of its scan")]
    Foreign,
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) namespace: NamespaceId,
    /// Hash of the scan's bounds and direction.
    pub(crate) range: u64,
    /// The name of the scan, should it still be warm.
    pub(crate) warm: u64,
    /// The last key of the page.
    pub(crate) last: Vec<u8>,
}

impl Position {
    pub(crate) fn encode(&self, secret: &Secret) -> String {
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.last.len() + TAG_LEN);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.namespace.get().to_le_bytes());
        bytes.extend_from_slice(&self.range.to_le_bytes());
        bytes.extend_from_slice(&self.warm.to_le_bytes());
        bytes.extend_from_slice(&self.last);
        URL_SAFE_NO_PAD.encode(sign(secret, bytes))
    }

    /// Reads a cursor that came with a scan of this namespace and range.
    pub(crate) fn decode(
        cursor: &str,
        secret: &Secret,
        namespace: NamespaceId,
        range: u64,
    ) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD
            .decode(cursor)
            .map_err(|_| CursorError::Malformed)?;
        let position = Self::verify(&bytes, secret).ok_or(CursorError::Malformed)?;
        if position.namespace == namespace && position.range == range {
            Ok(position)
        } else {
            Err(CursorError::Foreign)
        }
    }

    fn verify(bytes: &[u8], secret: &Secret) -> Option<Self> {
        let (content, found) = bytes.split_last_chunk::<TAG_LEN>()?;
        if !equal(&tag(secret, content), found) {
            return None;
        }
        let (header, last) = content.split_first_chunk::<HEADER_LEN>()?;
        let (version, header) = header.split_first()?;
        let (namespace, header) = header.split_first_chunk()?;
        let (range, header) = header.split_first_chunk()?;
        let (warm, _) = header.split_first_chunk()?;
        (*version == VERSION).then(|| Self {
            namespace: NamespaceId::new(u32::from_le_bytes(*namespace)),
            range: u64::from_le_bytes(*range),
            warm: u64::from_le_bytes(*warm),
            last: last.to_vec(),
        })
    }
}

/// Puts its tag behind a cursor's content.
pub(crate) fn sign(secret: &Secret, mut content: Vec<u8>) -> Vec<u8> {
    let tag = tag(secret, &content);
    content.extend_from_slice(&tag);
    content
}

/// HMAC-SHA-256 (RFC 2104), its first half.
fn tag(secret: &Secret, content: &[u8]) -> [u8; TAG_LEN] {
    let pad = |with: u8| {
        let mut block = [with; HASH_BLOCK_LEN];
        for (byte, secret) in block.iter_mut().zip(secret.0) {
            *byte ^= secret;
        }
        block
    };
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(content)
        .finalize();
    let outer = Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize();
    *outer.first_chunk().expect("a hash of 32 bytes")
}

/// Compares in a time that does not tell how much is equal.
fn equal(a: &[u8; TAG_LEN], b: &[u8; TAG_LEN]) -> bool {
    a.iter()
        .zip(b)
        .fold(0, |differing, (a, b)| differing | (a ^ b))
        == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: Secret = Secret([7; 32]);

    fn position(namespace: u32, range: u64, warm: u64, last: Vec<u8>) -> Position {
        Position {
            namespace: NamespaceId::new(namespace),
            range,
            warm,
            last,
        }
    }

    proptest! {
        #[test]
        fn cursor_1_read_back_here_and_nowhere_else(
            namespace in 0u32..9, range: u64, warm: u64, last: Vec<u8>,
        ) {
            let given = position(namespace, range, warm, last);
            let cursor = given.encode(&SECRET);
            let decode = |secret, namespace, range| {
                Position::decode(&cursor, secret, NamespaceId::new(namespace), range)
            };
            prop_assert_eq!(decode(&SECRET, namespace, range), Ok(given.clone()));
            prop_assert_eq!(decode(&SECRET, namespace + 1, range), Err(CursorError::Foreign));
            prop_assert_eq!(decode(&SECRET, namespace, !range), Err(CursorError::Foreign));
            prop_assert_eq!(decode(&Secret([8; 32]), namespace, range), Err(CursorError::Malformed));
        }

        #[test]
        fn a_changed_character_is_noticed(last: Vec<u8>, at: prop::sample::Index, to in "[A-Za-z0-9_-]") {
            let cursor = position(1, 2, 3, last).encode(&SECRET);
            let at = at.index(cursor.len());
            let mut forged = cursor.clone();
            forged.replace_range(at..=at, &to);
            prop_assume!(forged != cursor);
            let read = Position::decode(&forged, &SECRET, NamespaceId::new(1), 2);
            prop_assert_eq!(read, Err(CursorError::Malformed));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let read = Position::decode(&text, &SECRET, NamespaceId::new(1), 2);
            prop_assert_eq!(read, Err(CursorError::Malformed));
        }
    }

    #[test]
    fn the_tag_is_hmac_sha_256() {
        // From an independent implementation: HMAC(key = 32 × 0x0b, "Hi There").
        let tag = tag(&Secret([0x0b; 32]), b"Hi There");
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "198a607eb44bfbc69903a0f1cf2bbdc5");
    }
}
