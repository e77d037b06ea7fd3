//! What all nodes of a cluster know, and how they show that they do.

use alloc::sync::Arc;
use core::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::message::Tag;

/// A secret that the nodes of a cluster share.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

/// A secret that could be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretTooShort {
    /// Its length in bytes.
    pub len: usize,
}

impl Secret {
    /// Shortest secret in bytes.
    pub const LEN_MIN: usize = 16;

    /// This secret: best 32 random bytes. Whoever watches a handshake can try out guesses.
    ///
    /// # Errors
    /// [`SecretTooShort`].
    pub fn new(bytes: &[u8]) -> Result<Self, SecretTooShort> {
        let len = bytes.len();
        if len < Self::LEN_MIN {
            return Err(SecretTooShort { len });
        }
        Ok(Self(Arc::from(bytes)))
    }
}

/// Says that there is one, and nothing of it.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for SecretTooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let min = Secret::LEN_MIN;
        write!(
            f,
            "the secret has {} bytes and could be guessed; it needs {min}",
            self.len
        )
    }
}

impl core::error::Error for SecretTooShort {}

fn mac(secret: Option<&Secret>, parts: &[&[u8]]) -> Hmac<Sha256> {
    let key = secret.map_or(&[][..], |secret| &secret.0);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

pub(super) fn tag(secret: Option<&Secret>, parts: &[&[u8]]) -> Tag {
    Tag(mac(secret, parts).finalize().into_bytes().into())
}

/// Compares in constant time.
pub(super) fn is_tag(secret: Option<&Secret>, parts: &[&[u8]], tag: &Tag) -> bool {
    mac(secret, parts).verify_slice(&tag.0).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn the_tag_is_hmac_sha_256() {
        // RFC 4231, test case 1.
        let secret = Secret::new(&[0x0b; 20]).unwrap();
        let tag = tag(Some(&secret), &[b"Hi ", b"There"]);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        let hex: std::string::String = tag.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
        assert!(is_tag(Some(&secret), &[b"Hi There"], &tag));
        assert!(!is_tag(None, &[b"Hi There"], &tag));
    }

    #[test]
    fn short_secrets_are_refused_and_none_is_shown() {
        assert_eq!(
            Secret::new(&[1; 15]).unwrap_err(),
            SecretTooShort { len: 15 }
        );
        let shown = format!("{:?}", Secret::new(b"correct horse battery").unwrap());
        assert_eq!(shown, "Secret(…)");
    }
}
