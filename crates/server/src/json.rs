//! The shapes of JSON bodies, in both directions.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64_simd::Out;
use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use ringwood_env::UnixMillis;
use ringwood_lsm::Slice;
use ringwood_node::{Entry, KeyReply};
use ringwood_types::{ContextToken, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::ser::Formatter;
use utoipa::ToSchema;

use crate::answer_body::AnswerBody;
use crate::app::FullResponse;
use crate::encoding::{Encoding, base64_decode};
use crate::error::{Code, Outcome, Problem, Result};
use crate::object::{self, Object};

/// What to set a key to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutBody {
    /// The bytes.
    pub(crate) value: String,
    /// How they stand here; as the parameter `encoding`, or base64.
    pub(crate) encoding: Option<Encoding>,
    /// Seconds to live, or `"never"`; otherwise as the namespace says.
    #[schema(value_type = Option<u64>)]
    pub(crate) ttl: Option<serde_json::Value>,
    /// What the bytes are, as in HTTP.
    pub(crate) content_type: Option<String>,
    /// The causal context of what is replaced, as it was read.
    pub(crate) context: Option<String>,
}

/// What an entry's JSON takes beside its key and its value, about.
pub(crate) const ENTRY_FRAME_LEN: usize = 256;

/// Memory for making an answer of `len` bytes of values in so many items: the values, and their text.
pub(crate) const fn memory_for(len: usize, items: usize) -> usize {
    let text = len / 3 * 4 + items.saturating_mul(ENTRY_FRAME_LEN);
    len.saturating_add(text)
}

/// A key, as `key` where it is UTF-8 and otherwise as `key64`, in base64url.
#[derive(Debug, Default)]
pub(crate) struct KeyText {
    pub(crate) key: Option<String>,
    pub(crate) key64: Option<String>,
}

impl From<&[u8]> for KeyText {
    fn from(key: &[u8]) -> Self {
        match std::str::from_utf8(key) {
            Ok(text) => Self {
                key: Some(text.to_owned()),
                key64: None,
            },
            Err(_) => Self {
                key: None,
                key64: Some(URL_SAFE_NO_PAD.encode(key)),
            },
        }
    }
}

/// A write that was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WriteReply {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The key in base64url, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    key64: Option<String>,
    /// `stored` or `deleted`.
    status: &'static str,
    /// Names the write.
    #[schema(value_type = String)]
    version: VersionText,
    /// To be sent with what replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    context: Option<ContextText>,
    /// Milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<UnixMillis>,
    /// Replicas that have it, of those there are.
    replicas: &'static str,
}

impl WriteReply {
    /// `None` when the reply tells of no write.
    pub(crate) fn new(key: &[u8], reply: KeyReply) -> Option<Self> {
        let (status, version, context, expires_at) = match reply {
            KeyReply::Stored {
                version,
                context,
                deadline,
            } => ("stored", version, Some(ContextText(context)), deadline),
            KeyReply::Deleted { version } => ("deleted", version, None, None),
            _ => return None,
        };
        let KeyText { key, key64 } = KeyText::from(key);
        Some(Self {
            key,
            key64,
            status,
            version: VersionText(version),
            context,
            expires_at,
            replicas: "1/1",
        })
    }
}

/// A version on its way into JSON, without memory of its own.
#[derive(Debug)]
struct VersionText(Version);

impl Serialize for VersionText {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let text = self.0.to_text();
        serializer.serialize_str(std::str::from_utf8(&text).expect("digits are ASCII"))
    }
}

/// A context on its way into JSON.
#[derive(Debug)]
struct ContextText(ContextToken);

impl Serialize for ContextText {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

/// A value on its way into JSON.
#[derive(Debug)]
enum ValueText {
    Text(String),
    /// Becomes base64 when it is written, see [`Base64Bytes`].
    Bytes(Slice),
}

impl ValueText {
    fn text_len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len().div_ceil(3) * 4,
        }
    }
}

impl Serialize for ValueText {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
        }
    }
}

/// JSON in which bytes stand in base64: written as they are encoded, and not searched for what JSON
/// escapes, which takes longer than the encoding.
struct Base64Bytes;

impl Formatter for Base64Bytes {
    fn write_byte_array<W>(&mut self, writer: &mut W, value: &[u8]) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        // A multiple of three bytes becomes text that the next piece's can follow.
        const PIECE_LEN: usize = 768;
        let mut text = [0; PIECE_LEN / 3 * 4];
        writer.write_all(b"\"")?;
        for piece in value.chunks(PIECE_LEN) {
            let text = base64_simd::STANDARD.encode(piece, Out::from_slice(&mut text));
            writer.write_all(text)?;
        }
        writer.write_all(b"\"")
    }
}

/// A key with its value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntryReply {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The key in base64url, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    key64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    value: Option<ValueText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
    /// What the writer said the bytes are.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// Names the write that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    version: Option<VersionText>,
    /// To be sent with what replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    context: Option<ContextText>,
    /// Seconds left to live, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    /// Milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<UnixMillis>,
}

impl EntryReply {
    /// A key alone.
    pub(crate) fn key(key: &[u8]) -> Self {
        let KeyText { key, key64 } = KeyText::from(key);
        Self {
            key,
            key64,
            value: None,
            encoding: None,
            content_type: None,
            version: None,
            context: None,
            ttl: None,
            expires_at: None,
        }
    }

    /// A key with its value; one that is not UTF-8 stands in base64 whatever is wanted.
    pub(crate) fn new(key: &[u8], entry: Entry, wanted: Encoding, now: UnixMillis) -> Self {
        let left = |deadline: UnixMillis| deadline.saturating_sub(now).div_ceil(1000);
        let mut reply = Self {
            content_type: entry.content_type().map(str::to_owned),
            version: Some(VersionText(entry.version())),
            context: Some(ContextText(entry.context())),
            ttl: entry.deadline().map(left),
            expires_at: entry.deadline(),
            ..Self::key(key)
        };
        let text = match wanted {
            Encoding::Utf8 => std::str::from_utf8(entry.value()).ok().map(str::to_owned),
            Encoding::Base64 => None,
        };
        let (value, encoding) = match text {
            Some(text) => (ValueText::Text(text), Encoding::Utf8),
            None => (ValueText::Bytes(entry.into_value()), Encoding::Base64),
        };
        reply.value = Some(value);
        reply.encoding = Some(encoding);
        reply
    }

    /// About as long as its JSON.
    fn text_len(&self) -> usize {
        let key = self.key.as_ref().map_or(0, String::len);
        ENTRY_FRAME_LEN + key + self.value.as_ref().map_or(0, ValueText::text_len)
    }
}

/// A page of a range.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PageReply {
    /// What was found, in key order.
    pub(crate) items: Vec<EntryReply>,
    /// To be sent for the next page; `null`: this was the last.
    pub(crate) cursor: Option<String>,
}

impl PageReply {
    /// About as long as its JSON.
    pub(crate) fn text_len(&self) -> usize {
        let items = self.items.iter().map(EntryReply::text_len);
        ENTRY_FRAME_LEN + items.sum::<usize>()
    }
}

/// Several changes and reads, done in their order.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchBody {
    /// What to do.
    #[serde(deserialize_with = "object::objects")]
    pub(crate) items: Vec<Item>,
}

/// What an item of a batch does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// Reads a key.
    Get,
    /// Sets a key.
    Put,
    /// Removes a key.
    Delete,
}

/// One item of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    pub(crate) op: Operation,
    /// The key; or `key64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// The key in base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key64: Option<String>,
    /// For `put`: the bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    /// How the value stands here; as the parameter `encoding`, or base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<Encoding>,
    /// For `put`: seconds to live, or `"never"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub(crate) ttl: Option<serde_json::Value>,
    /// For `put`: what the bytes are, as in HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    /// The causal context of what is replaced or removed, as it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<String>,
}

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchReply {
    /// One for each item, in their order.
    pub(crate) results: Vec<ItemReply>,
    /// Items that were done; reading a key without a value is.
    pub(crate) succeeded: usize,
    /// Items that were not, those to be sent again among them.
    pub(crate) failed: usize,
    /// A batch of the items that were not applied and may be sent again, as it is.
    pub(crate) unprocessed: BatchBody,
}

/// What became of an item.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ItemReply {
    /// `get` of a key that has a value.
    Found {
        /// `found`.
        status: &'static str,
        /// The value.
        #[serde(flatten)]
        entry: EntryReply,
    },
    /// `put` or `delete`.
    Written(WriteReply),
    /// `get` of a key that has none.
    Missing {
        /// `missing`.
        status: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key64: Option<String>,
    },
    /// An item that was not done.
    Failed {
        /// `failed`.
        status: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key64: Option<String>,
        /// Stable; made for programs.
        code: &'static str,
        /// What was wrong with it.
        detail: String,
        /// Whether it may succeed later.
        retryable: bool,
        /// For `put` and `delete`.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>)]
        outcome: Option<Outcome>,
    },
}

/// Turns text of JSON into bytes.
///
/// # Errors
/// [`Code::Base64Invalid`].
pub(crate) fn decode_value(value: String, encoding: Encoding) -> Result<Bytes> {
    match encoding {
        Encoding::Utf8 => Ok(value.into()),
        Encoding::Base64 => base64_decode(&value).map(Bytes::from).ok_or_else(|| {
            Problem::new(
                Code::Base64Invalid,
                "the value is not base64; text can be sent with encoding utf8",
            )
        }),
    }
}

/// Reads a JSON body: an object.
///
/// # Errors
/// [`Code::JsonInvalid`] says where.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let read = serde_json::from_slice(body).map(|Object(body)| body);
    read.map_err(|error| Problem::new(Code::JsonInvalid, error.to_string()))
}

/// A response of JSON.
pub(crate) fn respond(status: StatusCode, body: &impl Serialize) -> FullResponse {
    respond_of_len(status, body, 128)
}

/// A response of JSON, of about `len` bytes: a long one is then not moved while it grows.
pub(crate) fn respond_of_len(
    status: StatusCode,
    body: &impl Serialize,
    len: usize,
) -> FullResponse {
    let mut text = Vec::with_capacity(len);
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, Base64Bytes);
    body.serialize(&mut serializer)
        .expect("our own shapes serialize");
    text.push(b'\n');
    let mut response = Response::new(AnswerBody::from(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn bytes_are_base64_of_any_length() {
        for len in (0..10).chain(760..780).chain([1536, 5000]) {
            let bytes: Vec<u8> = (0..=255).cycle().skip(7).take(len).collect();
            let value = ValueText::Bytes(Slice::from(bytes.clone()));
            let mut text = Vec::new();
            let mut serializer = serde_json::Serializer::with_formatter(&mut text, Base64Bytes);
            value.serialize(&mut serializer).unwrap();
            assert_eq!(text, format!("\"{}\"", STANDARD.encode(&bytes)).as_bytes());
            assert_eq!(text.len(), value.text_len() + 2);
        }
    }
}
