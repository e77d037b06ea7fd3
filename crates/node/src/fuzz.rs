//! What fuzz targets call: the parser of cursors, which is no part of the interface.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringwood_types::NamespaceId;

use crate::cursor::{CursorError, Position, Secret, sign};

const SECRET: Secret = Secret([7; 32]);
const NAMESPACE: NamespaceId = NamespaceId::new(1);

/// Reads arbitrary bytes as a cursor, as they came and as if they had been signed here: refused, or
/// a position that is written as it was read.
///
/// # Panics
/// Where neither is so.
pub fn cursor(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let read = Position::decode(text, &SECRET, NAMESPACE, 2);
        assert_eq!(read, Err(CursorError::Malformed), "nobody guesses a tag");
    }
    let range = bytes.get(5..13).and_then(|range| range.try_into().ok());
    let range = range.map_or(0, u64::from_le_bytes);
    let signed = URL_SAFE_NO_PAD.encode(sign(&SECRET, bytes.to_vec()));
    if let Ok(position) = Position::decode(&signed, &SECRET, NAMESPACE, range) {
        assert_eq!(position.encode(&SECRET), signed);
    }
}
