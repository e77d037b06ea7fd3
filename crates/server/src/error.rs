//! Every way a request can fail: stable code, status, and what the client may do about it.
//!
//! [`Code`] is the one table; `docs/api.md` lists it and a test compares the two.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use ringwood_lsm as lsm;
use ringwood_node::NodeError;
use serde::{Deserialize, Serialize};

use crate::answer_body::AnswerBody;

/// Makes the enum and its table from one list: name, status, code, retryable, title.
macro_rules! codes {
    ($($name:ident $status:literal $code:literal $retryable:literal $title:literal;)*) => {
        /// What went wrong, as a client's program sees it. Codes never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code { $(#[doc = $title] $name,)* }

        impl Code {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            pub(crate) const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Whether the same request may succeed later.
            pub(crate) const fn retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)* }
            }

            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    KeyInvalid 400 "KEY_INVALID" false "The key cannot be decoded";
    KeyEmpty 400 "KEY_EMPTY" false "The key is empty";
    ParameterInvalid 400 "PARAMETER_INVALID" false "A query parameter is unknown or has no valid value";
    HeaderInvalid 400 "HEADER_INVALID" false "A header has no valid value";
    JsonInvalid 400 "JSON_INVALID" false "The body is not the JSON that this route takes";
    Base64Invalid 400 "BASE64_INVALID" false "A value is not base64";
    PathInvalid 400 "PATH_INVALID" false "The path cannot be used";
    HostInvalid 400 "HOST_INVALID" false "The request does not name one host";
    RangeInverted 400 "RANGE_INVERTED" false "The range's start lies behind its end";
    ContextInvalid 400 "CONTEXT_INVALID" false "The causal context was not given out for this key";
    CursorInvalid 400 "CURSOR_INVALID" false "The cursor was not given out for this range";
    BodyIncomplete 400 "BODY_INCOMPLETE" false "The body ended too early";
    HostForbidden 403 "HOST_FORBIDDEN" false "The server does not answer for that host";
    OriginForbidden 403 "ORIGIN_FORBIDDEN" false "Web pages of other origins may not use this server";
    RouteNotFound 404 "ROUTE_NOT_FOUND" false "There is no such route";
    KeyNotFound 404 "KEY_NOT_FOUND" false "The key has no value";
    NamespaceNotFound 404 "NAMESPACE_NOT_FOUND" false "There is no such namespace";
    MethodNotAllowed 405 "METHOD_NOT_ALLOWED" false "The route does not take this method";
    BodyTimeout 408 "BODY_TIMEOUT" true "The body came too slowly";
    NamespaceExists 409 "NAMESPACE_EXISTS" false "A namespace of that name exists";
    NamespacesExhausted 409 "NAMESPACES_EXHAUSTED" false "The node has as many namespaces as it may";
    NamespaceProtected 409 "NAMESPACE_PROTECTED" false "The default namespace cannot be dropped";
    TargetExists 409 "TARGET_EXISTS" false "Something is there already";
    KeyTooLarge 413 "KEY_TOO_LARGE" false "The key is too long";
    ValueTooLarge 413 "VALUE_TOO_LARGE" false "The value is too long";
    BodyTooLarge 413 "BODY_TOO_LARGE" false "The body is too long";
    BatchTooLarge 413 "BATCH_TOO_LARGE" false "The batch has too many items or bytes";
    EncodingUnsupported 415 "CONTENT_ENCODING_UNSUPPORTED" false "Compressed bodies are not taken";
    RangeNotSatisfiable 416 "RANGE_NOT_SATISFIABLE" false "The value has no such bytes";
    TtlInvalid 422 "TTL_INVALID" false "The time to live is out of range";
    NamespaceInvalid 422 "NAMESPACE_INVALID" false "The namespace's name or policy cannot be taken";
    ValueNotUtf8 422 "VALUE_NOT_UTF8" false "The value is not UTF-8 text";
    ConditionUnsupported 422 "CONDITION_UNSUPPORTED" false "Conditional writes need a strong namespace";
    RateLimited 429 "RATE_LIMITED" true "The namespace is over its rate";
    CorruptData 500 "CORRUPT_DATA" false "Stored bytes are damaged";
    OutcomeUnknown 500 "OUTCOME_UNKNOWN" false "The write may or may not have been applied";
    IoError 500 "IO_ERROR" false "The disk did not do what it was asked";
    Internal 500 "INTERNAL" false "The server failed";
    TransferUnsupported 501 "TRANSFER_ENCODING_UNSUPPORTED" false "Bodies are taken whole or chunked, and not compressed";
    InsufficientReplicas 503 "INSUFFICIENT_REPLICAS" false "There are not as many replicas as asked for";
    Overloaded 503 "OVERLOADED" true "Too many requests are at work";
    WritesStalled 503 "WRITES_STALLED" true "Writes are held back until background work catches up";
    StoreFailed 503 "STORE_FAILED" false "The store takes no writes since a disk failure";
    Unprocessed 503 "UNPROCESSED" true "The item was not processed";
    Unavailable 503 "UNAVAILABLE" true "The server is stopping or not ready";
    DeadlineExceeded 504 "DEADLINE_EXCEEDED" true "The request took too long";
    QuotaExceeded 507 "QUOTA_EXCEEDED" false "The namespace has as many bytes as it may";
    DiskFull 507 "DISK_FULL" true "No space is left on the disk";
}

/// What became of a write that was answered with an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing changed, and nothing will.
    #[default]
    NotApplied,
    /// It happened; something after it failed.
    Applied,
    /// It may be there now or later, or not.
    Unknown,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NotApplied => "not_applied",
            Self::Applied => "applied",
            Self::Unknown => "unknown",
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An error on its way to the client (RFC 9457).
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    detail: Cow<'static, str>,
    pub(crate) outcome: Option<Outcome>,
    retry_after_s: Option<u16>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

/// Result of anything that may end in a problem.
pub(crate) type Result<T, E = Box<Problem>> = std::result::Result<T, E>;

/// The body of every error, as the server writes it and clients read it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// `urn:ringwood:problem:` and the code.
    pub r#type: String,
    /// What the code means.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong with this request.
    pub detail: String,
    /// Stable; made for programs.
    pub code: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// As in the header `X-Request-Id` and the server's log.
    pub request_id: String,
    /// On writes: `not_applied`, `applied` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

impl fmt::Display for ProblemBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.title)?;
        if !self.detail.is_empty() && !self.title.eq_ignore_ascii_case(&self.detail) {
            write!(out, ": {}", self.detail)?;
        }
        write!(out, " ({}", self.code)?;
        if let Some(outcome) = &self.outcome {
            write!(out, ", {}", outcome.replace('_', " "))?;
        }
        out.write_str(")")
    }
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Box<Self> {
        Box::new(Self {
            code,
            detail: detail.into(),
            outcome: None,
            retry_after_s: (code.retryable() && code.status() >= 500).then_some(1),
            headers: Vec::new(),
        })
    }

    /// Says what became of the write, if it was one.
    pub(crate) fn with_outcome(mut self: Box<Self>, outcome: Option<Outcome>) -> Box<Self> {
        self.outcome = outcome;
        self
    }

    pub(crate) fn header(
        mut self: Box<Self>,
        name: header::HeaderName,
        value: HeaderValue,
    ) -> Box<Self> {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The problem as JSON.
    pub(crate) fn to_json(&self, request_id: &str) -> Vec<u8> {
        let body = ProblemBody {
            r#type: format!("urn:ringwood:problem:{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.clone().into_owned(),
            code: self.code.as_str().to_owned(),
            retryable: self.code.retryable(),
            request_id: request_id.to_owned(),
            outcome: self.outcome.map(|outcome| outcome.as_str().to_owned()),
        };
        serde_json::to_vec(&body).expect("strings and numbers serialize")
    }

    pub(crate) fn into_response(self, request_id: &str) -> Response<AnswerBody> {
        let bytes = self.to_json(request_id);
        let mut response = Response::new(AnswerBody::from(Bytes::from(bytes)));
        *response.status_mut() =
            StatusCode::from_u16(self.code.status()).expect("the table holds valid statuses");
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        headers.extend(self.headers);
        response
    }
}

impl From<NodeError> for Box<Problem> {
    fn from(error: NodeError) -> Self {
        let outcome = match error.outcome() {
            ringwood_node::Outcome::NotApplied => Outcome::NotApplied,
            ringwood_node::Outcome::Applied => Outcome::Applied,
            ringwood_node::Outcome::Unknown => Outcome::Unknown,
        };
        let mut problem = Problem::new(code_of(&error), error.to_string());
        if let Some(wait) = error.retry_after() {
            // Whole seconds are all that the header has: a second too early is refused again.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            problem.retry_after_s = Some(u16::try_from(seconds).unwrap_or(u16::MAX));
        }
        problem.with_outcome(Some(outcome))
    }
}

fn code_of(error: &NodeError) -> Code {
    match error {
        NodeError::EmptyKey => Code::KeyEmpty,
        NodeError::KeyTooLarge { .. } => Code::KeyTooLarge,
        NodeError::ValueTooLarge { .. } => Code::ValueTooLarge,
        NodeError::InvalidContentType { .. } => Code::HeaderInvalid,
        NodeError::InvalidTtl { .. } => Code::TtlInvalid,
        NodeError::InvalidContext(_) => Code::ContextInvalid,
        NodeError::NoSuchNamespace { .. } => Code::NamespaceNotFound,
        NodeError::NamespaceInDoubt { .. } => Code::StoreFailed,
        NodeError::NamespaceExists { .. } => Code::NamespaceExists,
        NodeError::TooManyNamespaces { .. } | NodeError::NamespacesExhausted => {
            Code::NamespacesExhausted
        }
        NodeError::DefaultNamespace => Code::NamespaceProtected,
        NodeError::InvalidNamespaceName { .. } | NodeError::UnsupportedPolicy { .. } => {
            Code::NamespaceInvalid
        }
        NodeError::InvertedRange => Code::RangeInverted,
        NodeError::InvalidLimit { .. } => Code::ParameterInvalid,
        NodeError::InvalidCursor(_) => Code::CursorInvalid,
        NodeError::BatchTooLarge { .. } => Code::BatchTooLarge,
        NodeError::Unprocessed => Code::Unprocessed,
        NodeError::RateLimited { .. } => Code::RateLimited,
        NodeError::QuotaExceeded { .. } => Code::QuotaExceeded,
        NodeError::DamagedRecord { .. } => Code::CorruptData,
        NodeError::Engine(error) => code_of_engine(error),
        _ => Code::Internal,
    }
}

fn code_of_engine(error: &lsm::Error) -> Code {
    match error {
        _ if error.is_disk_full() => Code::DiskFull,
        lsm::Error::Corruption(_) => Code::CorruptData,
        lsm::Error::Failed { .. } => Code::StoreFailed,
        lsm::Error::OutcomeUnknown { .. } => Code::OutcomeUnknown,
        lsm::Error::Stalled | lsm::Error::Blocked { .. } => Code::WritesStalled,
        lsm::Error::KeyTooLarge { .. } => Code::KeyTooLarge,
        lsm::Error::ValueTooLarge { .. } => Code::ValueTooLarge,
        lsm::Error::BatchTooLarge { .. } => Code::BatchTooLarge,
        lsm::Error::InvertedRange => Code::RangeInverted,
        lsm::Error::Closed => Code::Unavailable,
        lsm::Error::CheckpointTarget {
            problem: lsm::TargetProblem::NotEmpty,
            ..
        } => Code::TargetExists,
        lsm::Error::CheckpointTarget { .. } => Code::PathInvalid,
        lsm::Error::CheckpointNotMade { cause, .. } => code_of_engine(cause),
        lsm::Error::Io { .. } => Code::IoError,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_named_once_and_has_an_error_status() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!((400..600).contains(&code.status()), "{code:?}");
        }
    }

    #[test]
    fn every_code_stands_in_the_api_page_with_its_status() {
        let page = include_str!("../../../docs/api.md");
        for code in Code::ALL {
            let row = format!(
                "| `{}` | {} | {} |",
                code.as_str(),
                code.status(),
                if code.retryable() { "yes" } else { "no" }
            );
            assert!(page.contains(&row), "docs/api.md has no row {row}");
        }
    }
}
