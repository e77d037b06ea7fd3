//! What clients send and get: values, items, ranges and their pages.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// A value as it is read.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) expires_at: Option<u64>,
}

/// What a write may say besides its value.
#[derive(Clone, Debug, Default)]
pub(crate) struct PutOptions {
    pub(crate) ttl: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) buffered: bool,
}

/// A key that was found, and its value unless only keys were asked for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<u64>,
}

impl Item {
    /// The key's bytes.
    pub(crate) fn key_bytes(&self) -> Option<Vec<u8>> {
        match (&self.key, &self.key64) {
            (Some(key), None) => Some(key.clone().into_bytes()),
            (None, Some(key)) => URL_SAFE_NO_PAD.decode(key.trim_end_matches('=')).ok(),
            _ => None,
        }
    }

    /// The value's bytes.
    pub(crate) fn value_bytes(&self) -> Option<Vec<u8>> {
        let value = self.value.as_deref()?;
        match self.encoding.as_deref() {
            Some("utf8") => Some(value.as_bytes().to_vec()),
            None | Some("base64") => STANDARD.decode(value).ok(),
            Some(_) => None,
        }
    }

    /// An item with this key and nothing else.
    pub(crate) fn of_key(key: &[u8]) -> Self {
        match std::str::from_utf8(key) {
            Ok(text) => Self {
                key: Some(text.to_owned()),
                ..Self::default()
            },
            Err(_) => Self {
                key64: Some(URL_SAFE_NO_PAD.encode(key)),
                ..Self::default()
            },
        }
    }
}

/// What a server holds requests to.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    /// Most items of a page.
    pub(crate) page_items: usize,
    /// Most items of a batch.
    pub(crate) batch_items: usize,
    /// Longest body of a batch.
    pub(crate) batch_len: usize,
}

impl Default for Limits {
    /// Of a server that does not say.
    fn default() -> Self {
        Self {
            page_items: 10_000,
            batch_items: 10_000,
            batch_len: 8 << 20,
        }
    }
}

/// A page of a range.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    pub(crate) cursor: Option<String>,
}

/// A range of keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Range {
    pub(crate) start: Option<Vec<u8>>,
    pub(crate) end: Option<Vec<u8>>,
    pub(crate) prefix: Option<Vec<u8>>,
    pub(crate) reverse: bool,
    pub(crate) keys_only: bool,
    /// Values as text, where they are.
    pub(crate) text: bool,
    /// Most items of a page.
    pub(crate) page: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_hold_any_bytes() {
        for key in [&b"plain"[..], b"\xff\x00"] {
            assert_eq!(Item::of_key(key).key_bytes().unwrap(), key);
        }
        let text = Item {
            value: Some("hé".into()),
            encoding: Some("utf8".into()),
            ..Item::default()
        };
        assert_eq!(text.value_bytes().unwrap(), "hé".as_bytes());
        assert_eq!(
            Item {
                value: Some("!".into()),
                ..Item::default()
            }
            .value_bytes(),
            None
        );
    }
}
