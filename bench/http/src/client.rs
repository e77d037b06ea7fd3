//! A client that keeps one connection and does one request after another.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Longer answers never come; a server that is silent has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let stream = BufReader::with_capacity(256 << 10, stream);
        Ok(Self { stream })
    }

    pub(crate) fn get(&mut self, target: &str) -> Result<Vec<u8>> {
        self.ask("GET", target, b"")
    }

    pub(crate) fn post_json(&mut self, target: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.ask("POST", target, body)
    }

    fn ask(&mut self, method: &str, target: &str, body: &[u8]) -> Result<Vec<u8>> {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream
            .get_mut()
            .write_all(&[head.as_bytes(), body].concat())?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Vec<u8>> {
        let mut status = String::new();
        self.stream.read_line(&mut status)?;
        let mut len = None;
        loop {
            let mut line = String::new();
            ensure!(
                self.stream.read_line(&mut line)? > 0,
                "the answer breaks off"
            );
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                len = Some(value.trim().parse()?);
            }
        }
        let mut body = vec![0; len.context("an answer without a length")?];
        self.stream.read_exact(&mut body)?;
        let shown = String::from_utf8_lossy(&body);
        ensure!(status.starts_with("HTTP/1.1 2"), "{status}{shown}");
        Ok(body)
    }
}
