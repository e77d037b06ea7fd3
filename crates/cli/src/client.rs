//! The HTTP client: requests of one server, and what its answers mean.
//!
//! Blocking, with a pool of kept-alive connections, so threads may share one client. It does not
//! retry; who may repeat a request is the caller's knowledge.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};
use ringwood_server::ProblemBody;
use serde::{Deserialize, Serialize};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use crate::outcome::Outcome;

/// What may stand in a path as it is. A dot may not: some would tidy `a/../b` away.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'~');
/// Connecting on loopback or in one network takes no longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer answers are not ours.
const ANSWER_LEN_MAX: u64 = 1 << 30;
/// Longer values are sent when the server has agreed to take them.
const ASK_FIRST_LEN: usize = 256 << 10;
const ERROR_LEN_MAX: u64 = 1 << 20;

/// Which server, and where in it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// The server.
    #[arg(
        long,
        global = true,
        env = "RINGWOOD_URL",
        default_value = "http://127.0.0.1:7400"
    )]
    url: String,

    /// The namespace.
    #[arg(
        short,
        long,
        global = true,
        env = "RINGWOOD_NAMESPACE",
        default_value = "default"
    )]
    namespace: String,
}

/// Requests of one namespace of one server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    namespace: String,
}

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No connection. Nothing was done.
    #[error("cannot reach {url}: {why}")]
    Unreachable {
        /// The server.
        url: String,
        /// What the system says.
        why: String,
    },
    /// The connection broke. A write may have been applied, or not.
    #[error("lost the connection to {url}: {why}; whether the request took effect is unknown")]
    Lost {
        /// The server.
        url: String,
        /// What the system says.
        why: String,
    },
    /// The server answered with a problem.
    #[error("{0}")]
    Refused(Box<ProblemBody>),
    /// Whatever answered is no Ringwood server.
    #[error("{url} answered {what}, which a Ringwood server would not")]
    Foreign {
        /// The server.
        url: String,
        /// What came.
        what: String,
    },
    /// The address is none.
    #[error("{url:?} is not the address of a server; it looks like http://127.0.0.1:7400")]
    BadUrl {
        /// What was given.
        url: String,
    },
}

pub(crate) type Result<T> = std::result::Result<T, ClientError>;

impl ClientError {
    /// Whether the same request may succeed later. Sending a write again is the caller's decision.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::Refused(problem) if problem.code == "QUOTA_EXCEEDED" => false,
            Self::Refused(problem) => problem.retryable || problem.status >= 500,
            Self::Foreign { .. } | Self::BadUrl { .. } => false,
        }
    }

    /// The problem's stable code.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// What this means for the exit code.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => Outcome::Unavailable,
            Self::Foreign { .. } => Outcome::Error,
            Self::BadUrl { .. } => Outcome::Usage,
            Self::Refused(problem) => match problem.status {
                404 => Outcome::NotFound,
                409 | 412 => Outcome::Precondition,
                408 | 429 | 503 | 504 | 507 => Outcome::Unavailable,
                _ if problem.code == "CONDITION_UNSUPPORTED" => Outcome::Precondition,
                _ => Outcome::Error,
            },
        }
    }

    /// What the person can do about it.
    pub(crate) fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => {
                Some("start a server with `ringwood dev`, or name another one with --url")
            }
            Self::Foreign { .. } => Some("name a Ringwood server with --url"),
            Self::Lost { .. } => Some("read the key before you write it again"),
            Self::BadUrl { .. } => None,
            Self::Refused(problem) => match problem.code.as_str() {
                "NAMESPACE_NOT_FOUND" => Some("`ringwood namespace list` shows which there are"),
                "DISK_FULL" => Some(
                    "make room on the server's disk; reads and deletes go on, and writes resume by themselves",
                ),
                "STORE_FAILED" => {
                    Some("the disk failed; look at the server's log, then restart it")
                }
                "CORRUPT_DATA" => {
                    Some("stop the server and run `ringwood verify` on its directory")
                }
                "OVERLOADED" | "WRITES_STALLED" | "UNAVAILABLE" | "RATE_LIMITED" => {
                    Some("try again in a moment")
                }
                "QUOTA_EXCEEDED" => Some(
                    "delete what is not needed, or raise it: `ringwood namespace set NAME --bytes-max SIZE`",
                ),
                _ => None,
            },
        }
    }
}

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

impl Target {
    /// A client for it. Connects when it has to.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`].
    pub(crate) fn client(&self) -> Result<Client> {
        let base = self.url.trim_end_matches('/').to_owned();
        let sound = base
            .strip_prefix("http://")
            .is_some_and(|host| !host.is_empty() && !host.contains('/'));
        if !sound {
            return Err(ClientError::BadUrl {
                url: self.url.clone(),
            });
        }
        Ok(Client {
            agent: agent(Some(REQUEST_TIMEOUT)),
            base,
            namespace: self.namespace.clone(),
        })
    }
}

fn agent(timeout: Option<Duration>) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(timeout)
        .max_idle_connections(256)
        .max_idle_connections_per_host(256)
        .build();
    config.into()
}

impl Client {
    /// The same for requests that take as long as they take.
    pub(crate) fn patient(self) -> Self {
        Self {
            agent: agent(None),
            ..self
        }
    }

    /// The server's address, `http://host:port`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The path and query of a raw key.
    pub(crate) fn raw_path(&self, key: &[u8]) -> String {
        let key = percent_encode(key, PATH);
        match self.namespace.as_str() {
            "default" => format!("/kv/{key}"),
            name => format!(
                "/v1/namespaces/{}/raw/{key}",
                utf8_percent_encode(name, NON_ALPHANUMERIC)
            ),
        }
    }

    /// The path and query of so many keys from one on.
    pub(crate) fn range_path(&self, start: &[u8], limit: u64) -> String {
        let start = percent_encode(start, NON_ALPHANUMERIC);
        format!("{}?start={start}&limit={limit}", self.json_path("kv"))
    }

    /// The path of the namespace's JSON API, with `rest` behind it.
    fn json_path(&self, rest: &str) -> String {
        match self.namespace.as_str() {
            "default" => format!("/v1/{rest}"),
            name => format!(
                "/v1/namespaces/{}/{rest}",
                utf8_percent_encode(name, NON_ALPHANUMERIC)
            ),
        }
    }

    /// Sets a key; returns when the server has acknowledged it.
    ///
    /// # Errors
    /// [`ClientError`]; after `Lost` it may have been set.
    pub(crate) fn put(
        &self,
        key: &[u8],
        value: &[u8],
        options: &PutOptions,
    ) -> Result<Option<String>> {
        let mut query = Vec::new();
        if let Some(ttl) = &options.ttl {
            query.push(format!(
                "ttl={}",
                utf8_percent_encode(ttl, NON_ALPHANUMERIC)
            ));
        }
        if options.buffered {
            query.push("durability=buffered".to_owned());
        }
        let mut path = self.raw_path(key);
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let mut request = self.agent.put(self.url(&path));
        if let Some(kind) = &options.content_type {
            request = request.header("Content-Type", kind);
        }
        if value.len() > ASK_FIRST_LEN {
            // So that a refusal arrives, and not a connection that breaks while we still send.
            request = request.header("Expect", "100-continue");
        }
        let response = self.check(request.send(value))?;
        Ok(version(&response))
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`ClientError`]; a missing key is refused with `KEY_NOT_FOUND`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Value> {
        let mut response = self.check(self.agent.get(self.url(&self.raw_path(key))).call())?;
        let header = |name| response.headers().get(name)?.to_str().ok();
        let (content_type, expires_at) = (header("Content-Type"), header("Ringwood-Expires-At"));
        let (content_type, expires_at) = (
            content_type.map(str::to_owned),
            expires_at.and_then(|text| text.parse().ok()),
        );
        let version = version(&response);
        let bytes = self.read(&mut response, ANSWER_LEN_MAX)?;
        Ok(Value {
            bytes,
            content_type,
            version,
            expires_at,
        })
    }

    /// Removes a key, whether it is there or not.
    ///
    /// # Errors
    /// [`ClientError`]; after `Lost` it may have been removed.
    pub(crate) fn delete(&self, key: &[u8]) -> Result<()> {
        self.check(self.agent.delete(self.url(&self.raw_path(key))).call())?;
        Ok(())
    }

    /// Reads the page of a range that begins at its start, or where `cursor` was given out.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn page(&self, range: &Range, cursor: Option<&str>) -> Result<Page> {
        let mut query = vec![format!("limit={}", range.page)];
        for (name, key) in [
            ("start", &range.start),
            ("end", &range.end),
            ("prefix", &range.prefix),
        ] {
            if let Some(key) = key {
                query.push(format!("{name}={}", percent_encode(key, NON_ALPHANUMERIC)));
            }
        }
        for (flag, on) in [
            ("reverse=true", range.reverse),
            ("keys_only=true", range.keys_only),
            ("encoding=utf8", range.text),
        ] {
            if on {
                query.push(flag.to_owned());
            }
        }
        if let Some(cursor) = cursor {
            query.push(format!(
                "cursor={}",
                utf8_percent_encode(cursor, NON_ALPHANUMERIC)
            ));
        }
        self.get_json(&format!("{}?{}", self.json_path("kv"), query.join("&")))
    }

    /// All namespaces with their policies, by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn namespaces(&self) -> Result<Vec<serde_json::Value>> {
        #[derive(Deserialize)]
        struct List {
            namespaces: Vec<serde_json::Value>,
            cursor: Option<String>,
        }
        let mut all = Vec::new();
        let mut path = "/v1/namespaces".to_owned();
        loop {
            let page: List = self.get_json(&path)?;
            all.extend(page.namespaces);
            let Some(cursor) = page.cursor else {
                return Ok(all);
            };
            path = format!("/v1/namespaces?cursor={cursor}");
        }
    }

    /// Sends a batch, and returns the server's report.
    ///
    /// # Errors
    /// [`ClientError`]; after `Lost` any part may have been applied.
    pub(crate) fn batch(&self, body: &serde_json::Value) -> Result<serde_json::Value> {
        self.post(&self.json_path("batch"), body)
    }

    /// Reads JSON from a path.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn get_json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let mut response = self.check(self.agent.get(self.url(path)).call())?;
        self.parse(&mut response)
    }

    /// Reads text from a path.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn get_text(&self, path: &str) -> Result<String> {
        let mut response = self.check(self.agent.get(self.url(path)).call())?;
        Ok(String::from_utf8_lossy(&self.read(&mut response, ANSWER_LEN_MAX)?).into_owned())
    }

    /// Sends JSON by `POST`, and reads JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn post(&self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
        self.send_json("POST", path, body)
    }

    /// Sends JSON by `POST` or `PUT`, and reads JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn send_json(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value> {
        let url = self.url(path);
        let request = if method == "PUT" {
            self.agent.put(url)
        } else {
            self.agent.post(url)
        };
        let request = request.header("Content-Type", "application/json");
        let mut response = self.check(request.send(body.to_string()))?;
        self.parse(&mut response)
    }

    /// Deletes what a path names.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn delete_path(&self, path: &str) -> Result<()> {
        self.check(self.agent.delete(self.url(path)).call())?;
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn check(
        &self,
        sent: std::result::Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>> {
        let mut response = sent.map_err(|error| self.broken(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.read(&mut response, ERROR_LEN_MAX)?;
        match serde_json::from_slice::<ProblemBody>(&body) {
            Ok(problem) if !problem.code.is_empty() => Err(ClientError::Refused(Box::new(problem))),
            _ => Err(self.foreign(status)),
        }
    }

    fn foreign(&self, status: StatusCode) -> ClientError {
        ClientError::Foreign {
            url: self.base.clone(),
            what: format!("{status} without a problem description"),
        }
    }

    fn read(&self, response: &mut Response<Body>, limit: u64) -> Result<Vec<u8>> {
        let body = response.body_mut().with_config().limit(limit).read_to_vec();
        body.map_err(|error| self.broken(&error))
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, response: &mut Response<Body>) -> Result<T> {
        let body = self.read(response, ANSWER_LEN_MAX)?;
        let foreign = |error| ClientError::Foreign {
            url: self.base.clone(),
            what: format!("unexpected JSON ({error})"),
        };
        serde_json::from_slice(&body).map_err(foreign)
    }

    fn broken(&self, error: &ureq::Error) -> ClientError {
        let (url, why) = (self.base.clone(), error.to_string());
        let refused = match error {
            ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => true,
            ureq::Error::BadUri(_) => return ClientError::BadUrl { url },
            // Its kind is not told otherwise; a test holds it to these words.
            ureq::Error::Http(error) if error.to_string() == "uri too long" => {
                return ClientError::Refused(Box::new(too_long_for_a_path()));
            }
            _ => false,
        };
        if refused {
            ClientError::Unreachable { url, why }
        } else {
            ClientError::Lost { url, why }
        }
    }
}

/// The protocol refuses these, on our side already.
fn too_long_for_a_path() -> ProblemBody {
    ProblemBody {
        status: StatusCode::URI_TOO_LONG.as_u16(),
        code: "KEY_TOO_LARGE".to_owned(),
        title: "The key is too long".to_owned(),
        detail:
            "it does not fit into the path of a request, which has 65534 bytes with all that must \
                 be escaped; a batch takes keys of up to 65536 bytes"
                .to_owned(),
        outcome: Some("not_applied".to_owned()),
        ..ProblemBody::default()
    }
}

/// The version that an answer's `ETag` names.
fn version(response: &Response<Body>) -> Option<String> {
    let tag = response.headers().get("ETag")?.to_str().ok()?;
    Some(tag.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(namespace: &str) -> Client {
        let url = "http://127.0.0.1:7400/".to_owned();
        Target {
            url,
            namespace: namespace.to_owned(),
        }
        .client()
        .unwrap()
    }

    #[test]
    fn keys_of_any_bytes_stand_in_paths() {
        assert_eq!(
            client("default").raw_path(b"a/b c\xff%.."),
            "/kv/a/b%20c%FF%25%2E%2E"
        );
        assert_eq!(client("pets").raw_path(b"x"), "/v1/namespaces/pets/raw/x");
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for url in [
            "127.0.0.1:7400",
            "https://x",
            "http://",
            "http://host/path",
            "",
        ] {
            let target = Target {
                url: url.to_owned(),
                namespace: "default".to_owned(),
            };
            assert!(
                matches!(target.client(), Err(ClientError::BadUrl { .. })),
                "{url}"
            );
        }
    }

    #[test]
    fn problems_become_exit_codes() {
        let outcome = |status, code: &str| {
            let problem = ProblemBody {
                status,
                code: code.to_owned(),
                ..ProblemBody::default()
            };
            ClientError::Refused(Box::new(problem)).outcome()
        };
        assert_eq!(outcome(404, "KEY_NOT_FOUND"), Outcome::NotFound);
        assert_eq!(outcome(409, "NAMESPACE_EXISTS"), Outcome::Precondition);
        assert_eq!(outcome(422, "CONDITION_UNSUPPORTED"), Outcome::Precondition);
        assert_eq!(outcome(422, "TTL_INVALID"), Outcome::Error);
        assert_eq!(outcome(507, "DISK_FULL"), Outcome::Unavailable);
        assert_eq!(outcome(500, "IO_ERROR"), Outcome::Error);
    }

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
