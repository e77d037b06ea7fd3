//! The shapes of JSON bodies, in both directions.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use ringwood_env::UnixMillis;
use ringwood_node::{Entry, KeyReply};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::FullResponse;
use crate::error::{Code, Outcome, Problem, Result};
use crate::request::base64_decode;

/// How a value stands in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// Any bytes, in base64.
    #[default]
    Base64,
    /// Text, as it is.
    Utf8,
}

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
    version: String,
    /// To be sent with what replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
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
            } => ("stored", version, Some(context), deadline),
            KeyReply::Deleted { version } => ("deleted", version, None, None),
            _ => return None,
        };
        let KeyText { key, key64 } = KeyText::from(key);
        Some(Self {
            key,
            key64,
            status,
            version: version.to_string(),
            context,
            expires_at,
            replicas: "1/1",
        })
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
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
    /// What the writer said the bytes are.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// Names the write that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// To be sent with what replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
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
    pub(crate) fn new(key: &[u8], entry: &Entry, wanted: Encoding, now: UnixMillis) -> Self {
        let (value, encoding) = match (wanted, std::str::from_utf8(entry.value())) {
            (Encoding::Utf8, Ok(text)) => (text.to_owned(), Encoding::Utf8),
            _ => (STANDARD.encode(entry.value()), Encoding::Base64),
        };
        let left = |deadline: UnixMillis| deadline.saturating_sub(now).div_ceil(1000);
        Self {
            value: Some(value),
            encoding: Some(encoding),
            content_type: entry.content_type().map(str::to_owned),
            version: Some(entry.version().to_string()),
            context: Some(entry.context()),
            ttl: entry.deadline().map(left),
            expires_at: entry.deadline(),
            ..Self::key(key)
        }
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

/// Several changes and reads, done in their order.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchBody {
    /// What to do.
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
    /// How the value stands here; base64 if it is not said.
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

/// Reads a JSON body.
///
/// # Errors
/// [`Code::JsonInvalid`] says where.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| Problem::new(Code::JsonInvalid, error.to_string()))
}

/// A response of JSON.
pub(crate) fn respond(status: StatusCode, body: &impl Serialize) -> FullResponse {
    let mut text = serde_json::to_vec(body).expect("our own shapes serialize");
    text.push(b'\n');
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
