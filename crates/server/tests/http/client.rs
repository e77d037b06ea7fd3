//! A small HTTP/1.1 client that also says what a well-behaved one cannot.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_lowercase()).map(String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.body.escape_ascii()))
    }

    /// The code of a problem, after checking that it is one in full.
    pub(crate) fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let body = self.json();
        assert_eq!(body["status"], self.status);
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        assert!(body["title"].is_string() && body["detail"].is_string());
        assert!(body["retryable"].is_boolean());
        let code = body["code"].as_str().unwrap().to_owned();
        assert_eq!(body["type"], format!("urn:ringwood:problem:{code}"));
        code
    }

    /// The code of a write's problem, and what became of the write.
    pub(crate) fn refusal(&self) -> (u16, String, String) {
        let outcome = self.json()["outcome"].as_str().unwrap_or("none").to_owned();
        (self.status, self.code(), outcome)
    }
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            unread: Vec::new(),
        }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends what the server may not want to take.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish_sending(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.send(&request(method, path, headers, body)).await;
        self.answer(method == "HEAD").await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.call("GET", path, &[], b"").await
    }

    pub(crate) async fn put(&mut self, path: &str, body: &[u8]) -> Answer {
        self.call("PUT", path, &[], body).await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Answer {
        self.call("DELETE", path, &[], b"").await
    }

    /// Sends JSON.
    pub(crate) async fn json(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [("Content-Type", "application/json")];
        self.call(method, path, &headers, body.to_string().as_bytes())
            .await
    }

    /// Reads an answer; panics when the connection ends instead.
    pub(crate) async fn answer(&mut self, head_only: bool) -> Answer {
        self.try_answer(head_only)
            .await
            .expect("the connection ended without an answer")
    }

    /// Reads an answer; `None` when the connection ends instead.
    pub(crate) async fn try_answer(&mut self, head_only: bool) -> Option<Answer> {
        let end = loop {
            let end = self
                .unread
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n");
            match end {
                Some(end) => break end,
                None if self.read_more().await => {}
                None => return None,
            }
        };
        let head = String::from_utf8(self.unread.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: HashMap<_, _> = lines
            .map(|line| line.split_once(": ").unwrap_or((line, "")))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let len = match headers.get("content-length") {
            Some(len) if !head_only => len.parse().unwrap(),
            _ => 0,
        };
        while self.unread.len() < len {
            assert!(self.read_more().await, "the body was cut short");
        }
        Some(Answer {
            status,
            headers,
            body: self.unread.drain(..len).collect(),
        })
    }

    /// Whether the server closes the connection, without another byte, within the time.
    pub(crate) async fn is_closed_within(&mut self, time: Duration) -> bool {
        matches!(timeout(time, self.stream.read_u8()).await, Ok(Err(_)))
    }

    /// Whether the server has closed the connection, whatever it said before.
    pub(crate) async fn has_ended(&mut self) -> bool {
        let mut sink = [0; 1024];
        loop {
            match timeout(Duration::from_millis(1), self.stream.read(&mut sink)).await {
                Err(_) => return false,
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return true,
            }
        }
    }

    async fn read_more(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer))
            .await
            .expect("no answer came");
        let len = read.unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..len]);
        len > 0
    }
}

/// A connection that speaks HTTP/2.
#[derive(Clone)]
pub(crate) struct Http2(SendRequest<Full<Bytes>>);

impl Http2 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::with_window(address, 1 << 20).await
    }

    /// As [`Http2::connect`], taking only so many bytes of each answer before it is read.
    pub(crate) async fn with_window(address: SocketAddr, window: u32) -> Self {
        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(io)
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response<Incoming> {
        self.try_call(method, uri, headers, body).await.unwrap()
    }

    /// As [`Http2::call`]; an error when the connection ends instead.
    pub(crate) async fn try_call(
        &mut self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body));
        self.0.ready().await?;
        self.0.send_request(request.body(body).unwrap()).await
    }
}

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "PUT" || method == "POST" {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
