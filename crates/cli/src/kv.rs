//! `put`, `get`, `delete`, `scan`, `batch`: single keys and ranges from the shell.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, ClientError, Item, PutOptions, Range};
use crate::outcome::Outcome;
use crate::output::{self, Format};

/// Items of a page: much per request, little in memory.
const PAGE: usize = 1000;
/// A batch is sent when it has this many items, or bytes.
const BATCH_ITEMS: usize = 1000;
const BATCH_BYTES: usize = 4 << 20;
/// How much of a value a line of a table shows.
const SHOWN: usize = 60;

/// Set a key.
#[derive(Args, Debug)]
pub(crate) struct Put {
    /// The key.
    key: String,
    /// The value; without it, stdin is read.
    #[arg(conflicts_with = "file")]
    value: Option<String>,
    /// Take the value from a file.
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Seconds to live, or `never`.
    #[arg(long, allow_hyphen_values = true)]
    ttl: Option<String>,
    /// What the bytes are, as in HTTP.
    #[arg(long)]
    content_type: Option<String>,
    /// Acknowledge when the system has it, not when it is on disk.
    #[arg(long)]
    buffered: bool,
}

/// Print the value of a key.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// The key.
    key: String,
    /// Write the value to a file.
    #[arg(short, long)]
    file: Option<PathBuf>,
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
}

/// Do many puts, gets and deletes.
///
/// Reads a batch as the HTTP API takes it, or one item on each line:
/// {"op":"put","key":"a","value":"one","encoding":"utf8"}
#[derive(Args, Debug)]
pub(crate) struct Batch {
    /// The file; stdin without it, or with `-`.
    file: Option<PathBuf>,
}

impl Put {
    /// Sets it; acknowledged on return.
    ///
    /// # Errors
    /// [`ClientError`], or when the value cannot be read.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        let value = match (self.value, &self.file) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(path)) => {
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            (None, None) => {
                let mut bytes = Vec::new();
                io::stdin()
                    .lock()
                    .read_to_end(&mut bytes)
                    .context("cannot read stdin")?;
                bytes
            }
        };
        let options = PutOptions {
            ttl: self.ttl,
            content_type: self.content_type,
            buffered: self.buffered,
        };
        let version = client.put(self.key.as_bytes(), &value, &options)?;
        if format == Format::Json {
            let reply = json!({ "key": self.key, "status": "stored", "len": value.len(), "version": version });
            output::json(&mut io::stdout(), &reply)?;
        }
        Ok(Outcome::Done)
    }
}

impl Get {
    /// Prints it, or writes it to a file.
    ///
    /// # Errors
    /// [`ClientError`], or when it cannot be written.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        let value = client.get(self.key.as_bytes())?;
        if let Some(path) = &self.file {
            std::fs::write(path, &value.bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
            output::say(
                format,
                format!("{} bytes in {}", value.bytes.len(), path.display()),
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
        out.write_all(&value.bytes)?;
        // A person's prompt belongs on the next line; a program gets the bytes as they are.
        if output::to_terminal() && !value.bytes.ends_with(b"\n") {
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
    /// [`ClientError`]; the keys before the one that failed are removed.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        for key in &self.keys {
            client.delete(key.as_bytes())?;
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
    /// [`ClientError`]; what was printed before is in order and complete up to there.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        let bytes = |text: Option<String>| text.map(String::into_bytes);
        let mut range = Range {
            start: bytes(self.start),
            end: bytes(self.end),
            prefix: Some(self.prefix.into_bytes()).filter(|prefix| !prefix.is_empty()),
            reverse: self.reverse,
            keys_only: self.keys_only,
            text: true,
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
                print_item(&mut out, format, item)?;
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

fn print_item(out: &mut impl Write, format: Format, item: &Item) -> Result<()> {
    if format == Format::Json {
        output::json(out, item)?;
        return Ok(());
    }
    out.write_all(output::printable(&item.key_bytes().unwrap_or_default()).as_bytes())?;
    if let Some(value) = item.value_bytes() {
        let cut = &value[..value.len().min(SHOWN)];
        let more = if cut.len() < value.len() { "…" } else { "" };
        write!(out, "\t{}{more}", output::printable(cut))?;
    }
    out.write_all(b"\n")?;
    Ok(())
}

impl Batch {
    /// Sends the items in their order, a part at a time.
    ///
    /// # Errors
    /// [`ClientError`], or when the items cannot be read; the parts before are done.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        let (mut succeeded, mut failed) = (0, 0);
        let mut part = Part::default();
        let mut send = |part: &mut Part| -> Result<()> {
            let report = part.send(client)?;
            succeeded += report["succeeded"].as_u64().unwrap_or_default();
            failed += report["failed"].as_u64().unwrap_or_default();
            for result in report["results"].as_array().into_iter().flatten() {
                print_result(format, result)?;
            }
            Ok(())
        };
        for_each_item(open(self.file.as_deref())?, |item| {
            part.add(item);
            if part.is_full() {
                send(&mut part)
            } else {
                Ok(())
            }
        })?;
        send(&mut part)?;
        output::say(format, format!("{succeeded} succeeded, {failed} failed"));
        Ok(if failed == 0 {
            Outcome::Done
        } else {
            Outcome::Partial
        })
    }
}

#[derive(Default)]
struct Part {
    items: Vec<Value>,
    len: usize,
}

impl Part {
    fn add(&mut self, item: Value) {
        self.len += item["value"].as_str().map_or(0, str::len) + 128;
        self.items.push(item);
    }

    fn is_full(&self) -> bool {
        self.items.len() >= BATCH_ITEMS || self.len >= BATCH_BYTES
    }

    fn send(&mut self, client: &Client) -> Result<Value, ClientError> {
        let items = std::mem::take(self).items;
        if items.is_empty() {
            return Ok(Value::Null);
        }
        client.batch(&json!({ "items": items }))
    }
}

fn open(file: Option<&Path>) -> Result<Box<dyn BufRead>> {
    match file {
        None => Ok(Box::new(io::stdin().lock())),
        Some(path) if path == Path::new("-") => Ok(Box::new(io::stdin().lock())),
        Some(path) => {
            let file =
                File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Box::new(BufReader::new(file)))
        }
    }
}

/// Reads items one by one: `{"items":[…]}` as a whole, or a stream of single ones.
fn for_each_item(input: impl BufRead, mut each: impl FnMut(Value) -> Result<()>) -> Result<()> {
    for read in serde_json::Deserializer::from_reader(input).into_iter::<Value>() {
        let mut read = read.context("the batch is no JSON")?;
        match read.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items.into_iter().try_for_each(&mut each)?,
            Some(_) => anyhow::bail!("\"items\" must be a list"),
            None => each(read)?,
        }
    }
    Ok(())
}

fn print_result(format: Format, result: &Value) -> Result<()> {
    let mut out = io::stdout().lock();
    if format == Format::Json {
        output::json(&mut out, result)?;
        return Ok(());
    }
    let text = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
    let key = if result["key"].is_string() {
        text("key")
    } else {
        text("key64")
    };
    let told = match result["status"].as_str() {
        Some("failed") => format!("{}: {}", text("code"), text("detail")),
        _ => text("value"),
    };
    writeln!(
        out,
        "{}\t{}\t{}",
        text("status"),
        output::printable(key.as_bytes()),
        output::printable(told.as_bytes())
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Result<usize> {
        let mut count = 0;
        for_each_item(text.as_bytes(), |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    #[test]
    fn a_batch_is_a_whole_or_lines() {
        assert_eq!(
            items(r#"{"items":[{"op":"get","key":"a"},{"op":"get","key":"b"}]}"#).unwrap(),
            2
        );
        assert_eq!(
            items("{\"op\":\"get\",\"key\":\"a\"}\n\n{\"op\":\"get\",\"key\":\"b\"}\n").unwrap(),
            2
        );
        assert_eq!(items("").unwrap(), 0);
        assert!(items("{\"items\":3}").is_err());
        assert!(items("{\"op\"").is_err());
    }

    #[test]
    fn parts_stay_small() {
        let mut part = Part::default();
        part.add(json!({ "op": "put", "value": "x".repeat(BATCH_BYTES) }));
        assert!(part.is_full());
        let mut part = Part::default();
        (0..BATCH_ITEMS).for_each(|_| part.add(json!({ "op": "get" })));
        assert!(part.is_full());
    }
}
