//! `batch`: many puts, gets and deletes, read as JSON.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use super::shown::Shown;
use crate::client::{Client, ClientError, Limits};
use crate::outcome::{Outcome, UsageError, unreadable};
use crate::output::{self, Format};

/// A batch is sent when it has this many items, or bytes, or what the server allows of them.
const BATCH_ITEMS: usize = 1000;
const BATCH_BYTES: usize = 4 << 20;

/// Do many puts, gets and deletes.
///
/// Reads a batch as the HTTP API takes it, or one item on each line:
/// {"op":"put","key":"a","value":"one","encoding":"utf8"}
#[derive(Args, Debug)]
pub(crate) struct Batch {
    /// The file; stdin without it, or with `-`.
    file: Option<PathBuf>,
    #[command(flatten)]
    shown: Shown,
}

impl Batch {
    /// Sends the items in their order, a part at a time.
    ///
    /// # Errors
    /// [`ClientError`], or when the items cannot be read; the parts before are done.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        let (mut succeeded, mut failed) = (0, 0);
        let mut part = Part::of(client.limits()?);
        let mut send = |part: &mut Part| -> Result<()> {
            let report = part.send(client)?;
            succeeded += report["succeeded"].as_u64().unwrap_or_default();
            failed += report["failed"].as_u64().unwrap_or_default();
            let mut out = io::stdout().lock();
            for result in report["results"].as_array().into_iter().flatten() {
                self.shown.result(&mut out, format, result)?;
            }
            Ok(())
        };
        let read = for_each_item(open(self.file.as_deref())?, |mut item| {
            self.shown.ask(&mut item);
            part.add(item);
            if part.is_full() {
                send(&mut part)
            } else {
                Ok(())
            }
        })?;
        // ORDER: what stands before a mistake is done before the mistake is told.
        send(&mut part)?;
        output::say(
            format,
            format_args!("{succeeded} succeeded, {failed} failed"),
        );
        match read {
            Read::Whole if failed == 0 => Ok(Outcome::Done),
            Read::Whole => Ok(Outcome::Partial),
            Read::UpTo(mistake) if succeeded + failed == 0 => Err(mistake.into()),
            Read::UpTo(mistake) => {
                output::complain(format, &mistake.into());
                Ok(Outcome::Partial)
            }
        }
    }
}

struct Part {
    items: Vec<Value>,
    len: usize,
    items_max: usize,
    len_max: usize,
}

impl Part {
    fn of(limits: Limits) -> Self {
        Self {
            items: Vec::new(),
            len: 0,
            items_max: BATCH_ITEMS.min(limits.batch_items),
            // Half is left for the item that crosses it, and for what JSON escapes.
            len_max: BATCH_BYTES.min(limits.batch_len / 2),
        }
    }

    fn add(&mut self, item: Value) {
        self.len += item["value"].as_str().map_or(0, str::len) + 128;
        self.items.push(item);
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.items_max || self.len >= self.len_max
    }

    fn send(&mut self, client: &Client) -> Result<Value, ClientError> {
        self.len = 0;
        let items = std::mem::take(&mut self.items);
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
            let file = File::open(path).map_err(|error| unreadable(path, error))?;
            Ok(Box::new(BufReader::new(file)))
        }
    }
}

/// How far a batch could be read.
#[derive(Debug)]
enum Read {
    Whole,
    UpTo(UsageError),
}

/// Reads items one by one: `{"items":[…]}` as a whole, or a stream of single ones. Fails as `each` does.
fn for_each_item(input: impl BufRead, mut each: impl FnMut(Value) -> Result<()>) -> Result<Read> {
    let stop = |why: String| {
        let what = format!("the batch cannot be read on: {why}; nothing from there on was done");
        Ok(Read::UpTo(UsageError::new(what)))
    };
    for read in serde_json::Deserializer::from_reader(input).into_iter::<Value>() {
        let mut read = match read {
            Ok(read) => read,
            Err(error) if error.is_io() => return Err(error).context("cannot read the batch"),
            Err(error) => return stop(error.to_string()),
        };
        match read.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items.into_iter().try_for_each(&mut each)?,
            Some(_) => return stop("\"items\" must be a list".to_owned()),
            None if read.is_object() => each(read)?,
            None => return stop("an item is an object with \"op\" and \"key\"".to_owned()),
        }
    }
    Ok(Read::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Result<usize> {
        let mut count = 0;
        match for_each_item(text.as_bytes(), |_| {
            count += 1;
            Ok(())
        })? {
            Read::Whole => Ok(count),
            Read::UpTo(mistake) => Err(mistake.into()),
        }
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
        assert!(items("[\"get\",\"a\"]").is_err());
    }

    #[test]
    fn parts_stay_small() {
        let mut part = Part::of(Limits::default());
        part.add(json!({ "op": "put", "value": "x".repeat(BATCH_BYTES) }));
        assert!(part.is_full());
        let mut part = Part::of(Limits::default());
        (0..BATCH_ITEMS).for_each(|_| part.add(json!({ "op": "get" })));
        assert!(part.is_full());
    }
}
