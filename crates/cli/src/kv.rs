//! `put`, `get`, `delete`, `scan`, `batch`: single keys and ranges from the shell.

mod batch;
mod shown;

use std::io::{self, BufWriter, IsTerminal, Read as _, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;

use crate::client::{Client, PutOptions, Range};
use crate::human;
use crate::outcome::{Outcome, UsageError, unreadable};
use crate::output::{self, Format};
use crate::units::Seconds;

pub(crate) use batch::Batch;
use shown::Shown;

/// Items of a page: much per request, little in memory. The server may allow fewer.
const PAGE: usize = 1000;

/// Set a key.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ringwood put greeting hello
  ringwood put photos/1 --file photo.jpg --content-type image/jpeg
  date | ringwood put now --ttl 1h30m
  ringwood put nothing \"\"                       an empty value")]
pub(crate) struct Put {
    /// The key.
    key: String,
    /// The value; without it, and without --file, what comes through a pipe.
    #[arg(conflicts_with = "file")]
    value: Option<String>,
    /// Take the value from a file; `-` is stdin, whatever comes there.
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// How long it lives: seconds, or a time such as 90s, 1h30m, 7d, or `never`.
    #[arg(long, value_name = "TIME|never", allow_hyphen_values = true)]
    ttl: Option<Ttl>,
    /// What the bytes are, as in HTTP.
    #[arg(long)]
    content_type: Option<String>,
    /// Acknowledge when the system has it, not when it is on disk.
    #[arg(long)]
    buffered: bool,
}

/// How long a value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ttl {
    Never,
    For(Seconds),
}

/// Print the value of a key, byte for byte.
///
/// On a terminal, what would be a command to it is shown instead of sent.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// The key.
    key: String,
    /// Write the value to a file.
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Send the bytes as they are, also to a terminal.
    #[arg(long)]
    raw: bool,
}

/// Remove keys.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The keys; it is no error if one is not there.
    #[arg(required = true)]
    keys: Vec<String>,
}

/// List a range of keys, in order.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ringwood scan user/                            keys that begin with user/, and their values
  ringwood scan --start 2026-01 --end 2026-02 --keys-only
  ringwood scan log/ --reverse --limit 1         the last one")]
pub(crate) struct Scan {
    /// Only keys that begin like this.
    #[arg(default_value = "")]
    prefix: String,
    /// First key of the range.
    #[arg(long)]
    start: Option<String>,
    /// Key before which the range ends.
    #[arg(long)]
    end: Option<String>,
    /// Stop after this many.
    #[arg(long)]
    limit: Option<usize>,
    /// From the end to the start.
    #[arg(long)]
    reverse: bool,
    /// Leave the values out.
    #[arg(long)]
    keys_only: bool,
    #[command(flatten)]
    shown: Shown,
}

impl FromStr for Ttl {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            text => {
                let seconds = text.parse::<Seconds>();
                let seconds = seconds.map_err(|error| format!("{error}, or never"))?;
                match seconds.0 {
                    0 => Err("a value lives a second at least, or is not put at all".to_owned()),
                    _ => Ok(Self::For(seconds)),
                }
            }
        }
    }
}

impl Ttl {
    /// As the API takes it.
    fn to_parameter(self) -> String {
        match self {
            Self::Never => "never".to_owned(),
            Self::For(Seconds(seconds)) => seconds.to_string(),
        }
    }
}

impl Put {
    /// Sets it; acknowledged on return.
    ///
    /// # Errors
    /// [`ClientError`](crate::client::ClientError), or when the value cannot be read.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        let value = self.read_value()?;
        let options = PutOptions {
            ttl: self.ttl.map(Ttl::to_parameter),
            content_type: self.content_type,
            buffered: self.buffered,
        };
        let version = client.put(self.key.as_bytes(), &value, &options)?;
        if format == Format::Json {
            let reply = json!({ "key": self.key, "status": "stored", "len": value.len(), "version": version });
            output::json(&mut io::stdout(), &reply)?;
        }
        output::note(
            format,
            format_args!(
                "stored {} under {} in {}",
                human::bytes(value.len() as u64),
                quoted(self.key.as_bytes()),
                place(client)
            ),
        );
        Ok(Outcome::Done)
    }

    /// The value, from where it was said to be. What nobody gave is not stored.
    fn read_value(&self) -> Result<Vec<u8>> {
        let from_stdin = |missing: &'static str| -> Result<Vec<u8>> {
            let mut bytes = Vec::new();
            let mut stdin = io::stdin().lock();
            if !missing.is_empty() && stdin.is_terminal() {
                return Err(no_value(&self.key, "was given").into());
            }
            stdin.read_to_end(&mut bytes).context("cannot read stdin")?;
            if !missing.is_empty() && bytes.is_empty() {
                return Err(no_value(&self.key, missing).into());
            }
            Ok(bytes)
        };
        match (&self.value, &self.file) {
            (Some(text), _) => Ok(text.clone().into_bytes()),
            (None, Some(path)) if path == Path::new("-") => from_stdin(""),
            (None, Some(path)) => std::fs::read(path).map_err(|error| unreadable(path, error)),
            (None, None) => from_stdin("came through the pipe"),
        }
    }
}

fn no_value(key: &str, missing: &str) -> UsageError {
    let key = quoted(key.as_bytes());
    UsageError::new(format!("no value for {key} {missing}; nothing was stored")).with_help(format!(
        "give it as `ringwood put {key} VALUE`, with --file FILE, or through a pipe; \
         `ringwood put {key} \"\"` stores an empty one"
    ))
}

/// A key as a person is told of it.
fn quoted(key: &[u8]) -> String {
    format!("\"{}\"", output::printable(key))
}

fn place(client: &Client) -> String {
    format!("namespace {}", client.namespace())
}

impl Get {
    /// Prints it, or writes it to a file.
    ///
    /// # Errors
    /// [`ClientError`](crate::client::ClientError), or when it cannot be written.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        let value = client.get(self.key.as_bytes())?;
        if let Some(path) = &self.file {
            std::fs::write(path, &value.bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
            output::say(
                format,
                format!(
                    "{} in {}",
                    human::bytes(value.bytes.len() as u64),
                    path.display()
                ),
            );
            return Ok(Outcome::Done);
        }
        let mut out = io::stdout().lock();
        if format == Format::Json {
            let (text, encoding) = match String::from_utf8(value.bytes) {
                Ok(text) => (text, "utf8"),
                Err(error) => (STANDARD.encode(error.as_bytes()), "base64"),
            };
            let reply = json!({
                "key": self.key, "value": text, "encoding": encoding, "content_type": value.content_type,
                "version": value.version, "expires_at": value.expires_at,
            });
            output::json(&mut out, &reply)?;
            return Ok(Outcome::Done);
        }
        if !output::to_terminal() {
            out.write_all(&value.bytes)?;
            out.flush()?;
            return Ok(Outcome::Done);
        }
        match self.raw {
            true => out.write_all(&value.bytes)?,
            false => out.write_all(output::plain_bytes(&value.bytes).as_bytes())?,
        }
        // A person's prompt belongs on the next line.
        if !value.bytes.ends_with(b"\n") {
            out.write_all(b"\n")?;
        }
        out.flush()?;
        Ok(Outcome::Done)
    }
}

impl Delete {
    /// Removes them, one after the other.
    ///
    /// # Errors
    /// [`ClientError`](crate::client::ClientError); the keys before the one that failed are removed.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        for key in &self.keys {
            client.delete(key.as_bytes())?;
            output::note(
                format,
                format_args!("deleted {} in {}", quoted(key.as_bytes()), place(client)),
            );
            if format == Format::Json {
                output::json(
                    &mut io::stdout(),
                    &json!({ "key": key, "status": "deleted" }),
                )?;
            }
        }
        Ok(Outcome::Done)
    }
}

impl Scan {
    /// Prints page after page.
    ///
    /// # Errors
    /// [`ClientError`](crate::client::ClientError); what was printed before is in order and complete up to there.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        let bytes = |text: Option<String>| text.map(String::into_bytes);
        let mut range = Range {
            start: bytes(self.start),
            end: bytes(self.end),
            prefix: Some(self.prefix.into_bytes()).filter(|prefix| !prefix.is_empty()),
            reverse: self.reverse,
            keys_only: self.keys_only,
            text: !self.shown.base64,
            page: PAGE,
        };
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut out = BufWriter::new(io::stdout().lock());
        let mut cursor = None;
        while left > 0 {
            range.page = left.min(PAGE);
            let page = client.page(&range, cursor.as_deref())?;
            left -= page.items.len().min(left);
            for item in &page.items {
                self.shown.item(&mut out, format, item)?;
            }
            out.flush()?;
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_told_in_seconds() {
        let parameter = |text: &str| text.parse::<Ttl>().map(Ttl::to_parameter);
        assert_eq!(parameter("1h30m").as_deref(), Ok("5400"));
        assert_eq!(parameter("60").as_deref(), Ok("60"));
        assert_eq!(parameter("never").as_deref(), Ok("never"));
        for bad in ["0", "-1", "soon", "1500ms", "99999999999999999999"] {
            assert!(parameter(bad).is_err(), "{bad}");
        }
    }
}
