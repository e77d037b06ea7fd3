//! The HTTP client: requests of one server, and what its answers mean.
//!
//! `target` says which server, `shapes` what goes there and back, `problem` why something does not.
//!
//! Blocking, with a pool of kept-alive connections, so threads may share one client. It does not
//! retry; who may repeat a request is the caller's knowledge.

mod problem;
mod shapes;
mod target;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};
use ringwood_server::ProblemBody;
use serde::Deserialize;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

pub(crate) use problem::ClientError;
pub(crate) use shapes::{Item, Limits, Page, PutOptions, Range, Value};
pub(crate) use target::Target;

/// What may stand in a path as it is. A dot may not: some would tidy `a/../b` away.
const PATH: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC
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
/// Namespaces of a page.
const NAMESPACES_PAGE: usize = 1000;
const ERROR_LEN_MAX: u64 = 1 << 20;

/// Requests of one namespace of one server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    namespace: String,
    /// Asked for once.
    limits: Arc<OnceLock<Limits>>,
}

pub(crate) type Result<T> = std::result::Result<T, ClientError>;

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

impl Target {
    /// A client for it. Connects when it has to.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`].
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::new(self.base()?, self.namespace().to_owned()))
    }
}

impl Client {
    /// Of the server at `base`, `http://host:port`. Connects when it has to.
    fn new(base: String, namespace: String) -> Self {
        Self {
            agent: agent(Some(REQUEST_TIMEOUT)),
            base,
            namespace,
            limits: Arc::default(),
        }
    }

    /// What the server holds requests to.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn limits(&self) -> Result<Limits> {
        #[derive(Deserialize)]
        struct Node {
            #[serde(default)]
            limits: Limits,
        }
        if let Some(limits) = self.limits.get() {
            return Ok(*limits);
        }
        let Node { limits } = self.get_json("/v1/cluster/nodes/self")?;
        Ok(*self.limits.get_or_init(|| limits))
    }

    /// The namespace that its requests are about.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The same for requests that take as long as they take.
    pub(crate) fn patient(self) -> Self {
        Self {
            agent: agent(None),
            ..self
        }
    }

    /// The same for requests that are given up after `time`, with connections of its own.
    pub(crate) fn within(self, time: Duration) -> Self {
        Self {
            agent: agent(Some(time)),
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

    /// Reads the page of a range that begins at its start, or where `cursor` was given out; no longer than
    /// the server allows.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn page(&self, range: &Range, cursor: Option<&str>) -> Result<Page> {
        let limit = range.page.min(self.limits()?.page_items);
        let mut query = vec![format!("limit={limit}")];
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

    /// The namespaces with their policies, by name: all, or as many pages as it takes to have `most`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn namespaces(&self, most: usize) -> Result<Vec<serde_json::Value>> {
        #[derive(Deserialize)]
        struct List {
            namespaces: Vec<serde_json::Value>,
            cursor: Option<String>,
        }
        let mut all = Vec::new();
        let limit = NAMESPACES_PAGE.min(self.limits()?.page_items);
        let mut path = format!("/v1/namespaces?limit={limit}");
        loop {
            let page: List = self.get_json(&path)?;
            all.extend(page.namespaces);
            let Some(cursor) = page.cursor.filter(|_| all.len() < most) else {
                return Ok(all);
            };
            path = format!("/v1/namespaces?limit={limit}&cursor={cursor}");
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
            ureq::Error::BadUri(_) => return ClientError::BadUrl { url, why },
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
        Client::new("http://127.0.0.1:7400".to_owned(), namespace.to_owned())
    }

    #[test]
    fn keys_of_any_bytes_stand_in_paths() {
        assert_eq!(
            client("default").raw_path(b"a/b c\xff%.."),
            "/kv/a/b%20c%FF%25%2E%2E"
        );
        assert_eq!(client("pets").raw_path(b"x"), "/v1/namespaces/pets/raw/x");
    }
}
