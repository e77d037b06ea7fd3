//! `import ndjson` and `export ndjson`: an object on each line, with the key, the value in base64,
//! and when it expires.

use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;
use ringwood_server::Object;
use serde_json::{Value, json};

use crate::client::{Client, ClientError, Item, Range};
use crate::outcome::{Outcome, UsageError, unreadable};
use crate::output::{self, Format, printable};

use super::journal::{Place, Position};
use super::pages::Pages;
use super::patience::{Patience, PatienceArgs};
use super::summary::Summary;

/// Lines are read, sent and acknowledged by windows: none of the next is sent before.
const WINDOW_BYTES: usize = 16 << 20;
const WINDOW_ITEMS: usize = 8000;
/// A request holds at most so much, and what the server allows.
const BATCH_BYTES: usize = 2 << 20;
const BATCH_ITEMS: usize = 500;
/// A longer line is no item of ours.
const LINE_LEN_MAX: u64 = 64 << 20;
const PAGE: usize = 1000;

/// Import one JSON object on each line.
///
/// Fields: key or key64 (base64url), value (base64, or text with "encoding":"utf8"), and optionally
/// content_type and expires_at (milliseconds since the Unix epoch). Lines about one key take effect
/// in their order.
#[derive(Args, Debug)]
pub(crate) struct ImportNdjson {
    /// The file; stdin without it, or with `-`.
    file: Option<PathBuf>,
    /// Requests at once.
    #[arg(long, default_value_t = 8)]
    concurrency: usize,
    /// Remember here how far it came; the next run goes on from there.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    patience: PatienceArgs,
}

/// Export keys, one JSON object on each line, in key order.
#[derive(Args, Debug)]
pub(crate) struct ExportNdjson {
    /// The file; stdout without it, or with `-`.
    file: Option<PathBuf>,
    /// Only keys that begin like this.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Remember here how far it came; the next run goes on from there.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    patience: PatienceArgs,
}

const BAD_LINE: &str = "is no item: it needs key or key64, and value in base64 (or with \"encoding\":\"utf8\"); all before it is imported, nothing from it on";

/// The next lines, spread over the threads that send them.
struct Window {
    lanes: Vec<Lane>,
    /// Lines read.
    count: usize,
    /// The number of the line that ended it and is no item; the place stands before it.
    bad_line: Option<u64>,
}

/// What one thread sends, in order.
#[derive(Default)]
struct Lane {
    items: Vec<Value>,
    lens: Vec<usize>,
}

fn is_standard(file: Option<&Path>) -> bool {
    file.is_none_or(|path| path == Path::new("-"))
}

impl ImportNdjson {
    /// Imports all lines.
    ///
    /// # Errors
    /// When the server stays away or refuses all, or a line is no item.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        let patience = Patience::new(&self.patience);
        let what = format!(
            "import ndjson of {}",
            self.file.as_deref().unwrap_or(Path::new("-")).display()
        );
        let (position, mut place) = Position::open(self.journal.as_deref(), what)?;
        let mut input = self.open(place.offset)?;
        let mut summary = Summary::start(format, "items");
        summary.done_before = place.items;
        loop {
            let window = self.read_window(&mut *input, &mut place, &mut summary)?;
            if let Err(error) = send_window(client, &patience, window.lanes, &mut summary) {
                // What was stored before is told all the same.
                summary.finish(format, patience.retries())?;
                return Err(error.into());
            }
            // ORDER: what stands before a bad line is stored, and known to be, before it is told.
            position.save(&place)?;
            if let Some(number) = window.bad_line {
                summary.skip(format!("line {number}"), BAD_LINE.into());
                return summary.finish(format, patience.retries());
            }
            if window.count == 0 {
                break;
            }
        }
        position.finish()?;
        summary.finish(format, patience.retries())
    }

    fn open(&self, offset: u64) -> Result<Box<dyn BufRead>> {
        let Some(path) = self.file.as_deref().filter(|path| !is_standard(Some(path))) else {
            if self.journal.is_some() {
                let what = "stdin cannot be read again: --journal needs a file";
                return Err(UsageError::new(what).into());
            }
            return Ok(Box::new(io::stdin().lock()));
        };
        let mut file = File::open(path).map_err(|error| unreadable(path, error))?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
    }

    /// Reads the next lines, and spreads them so that lines about one key stay together.
    fn read_window(
        &self,
        input: &mut dyn BufRead,
        place: &mut Place,
        summary: &mut Summary,
    ) -> Result<Window> {
        let mut lanes: Vec<_> = (0..self.concurrency.max(1))
            .map(|_| Lane::default())
            .collect();
        let (mut bytes, mut count, mut line, mut bad_line) = (0, 0, Vec::new(), None);
        let now = now_ms();
        while bytes < WINDOW_BYTES && count < WINDOW_ITEMS {
            line.clear();
            let read = io::Read::take(&mut *input, LINE_LEN_MAX).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                place.pass(read);
                (bytes, count) = (bytes + read, count + 1);
                continue;
            }
            let item = serde_json::from_slice::<Object<Item>>(&line).ok();
            let item = item.map(|Object(item)| item);
            let sound =
                item.and_then(|item| Some((item.key_bytes()?, item.value_bytes()?.len(), item)));
            let Some((key, len, item)) = sound else {
                bad_line = Some(place.items + 1);
                break;
            };
            place.pass(read);
            (bytes, count) = (bytes + read, count + 1);
            match to_put(&item, now) {
                None => summary.skip(printable(&key), "has expired".into()),
                Some(put) => {
                    let lane = lane_of(&key, lanes.len());
                    lanes[lane].items.push(put);
                    lanes[lane].lens.push(len);
                }
            }
        }
        Ok(Window {
            lanes,
            count,
            bad_line,
        })
    }
}

fn lane_of(key: &[u8], lanes: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % lanes as u64).expect("less than a count of lanes")
}

/// The item of a batch that sets it; `None` if it has expired.
fn to_put(item: &Item, now: u64) -> Option<Value> {
    let mut put = json!({ "op": "put", "value": item.value });
    let fields = [
        ("key", &item.key),
        ("key64", &item.key64),
        ("encoding", &item.encoding),
        ("content_type", &item.content_type),
    ];
    for (name, text) in fields {
        if let Some(text) = text {
            put[name] = text.as_str().into();
        }
    }
    match item.expires_at {
        // A namespace may have a time to live of its own; what had none keeps none.
        None => put["ttl"] = "never".into(),
        Some(at) if at <= now => return None,
        Some(at) => put["ttl"] = (at - now).div_ceil(1000).into(),
    }
    Some(put)
}

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// What became of an item: its length, or its name and why not.
type Sent = Result<usize, (String, String)>;

fn send_window(
    client: &Client,
    patience: &Patience,
    lanes: Vec<Lane>,
    summary: &mut Summary,
) -> Result<(), ClientError> {
    let results = thread::scope(|scope| {
        let send = |lane: Lane| {
            scope.spawn(move || {
                let mut sent = Vec::with_capacity(lane.items.len());
                let ended = lane.send(client, patience, &mut sent);
                if ended.is_err() {
                    patience.stop();
                }
                (sent, ended)
            })
        };
        let lanes: Vec<_> = lanes.into_iter().map(send).collect();
        let join = |lane: thread::ScopedJoinHandle<'_, _>| {
            lane.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        lanes.into_iter().map(join).collect::<Vec<_>>()
    });
    // All of them: what one lane could not send makes nothing undone that another has.
    let mut first_error = Ok(());
    for (sent, ended) in results {
        for one in sent {
            match one {
                Ok(len) => summary.add(len as u64),
                Err((name, why)) => summary.skip(name, why),
            }
        }
        first_error = first_error.and(ended);
    }
    first_error
}

impl Lane {
    fn send(
        self,
        client: &Client,
        patience: &Patience,
        sent: &mut Vec<Sent>,
    ) -> Result<(), ClientError> {
        let (mut items, mut lens) = (self.items.as_slice(), self.lens.as_slice());
        if items.is_empty() {
            return Ok(());
        }
        let limits = patience.insist(|| client.limits())?;
        // Values are longer in base64.
        let bytes_max = BATCH_BYTES.min(limits.batch_len / 2);
        while !items.is_empty() {
            let mut bytes = 0;
            let fits = |len: &&usize| {
                bytes += **len + 128;
                bytes <= bytes_max
            };
            let count = lens
                .iter()
                .take(BATCH_ITEMS.min(limits.batch_items))
                .take_while(fits)
                .count()
                .max(1);
            send_batch(client, patience, &items[..count], &lens[..count], sent)?;
            (items, lens) = (&items[count..], &lens[count..]);
        }
        Ok(())
    }
}

/// Sends a batch until every item was done or refused for good.
fn send_batch(
    client: &Client,
    patience: &Patience,
    items: &[Value],
    lens: &[usize],
    sent: &mut Vec<Sent>,
) -> Result<(), ClientError> {
    let mut left: Vec<usize> = (0..items.len()).collect();
    patience.insist(|| {
        let some: Vec<_> = left.iter().map(|&at| &items[at]).collect();
        let report = client.batch(&json!({ "items": some }))?;
        let mut again = Vec::new();
        let mut passing = None;
        let results = report["results"].as_array().map_or(&[][..], Vec::as_slice);
        if let Some(unanswered) = left.get(results.len()..).filter(|rest| !rest.is_empty()) {
            again.extend_from_slice(unanswered);
            passing = Some(json!({ "detail": "the server answered for fewer items than it got" }));
        }
        for (&at, result) in left.iter().zip(results) {
            match (result["status"].as_str(), result["retryable"].as_bool()) {
                (Some("stored"), _) => sent.push(Ok(lens[at])),
                (_, Some(true)) => {
                    again.push(at);
                    passing = Some(result.clone());
                }
                _ => sent.push(Err((name_of(result), text(result, "detail")))),
            }
        }
        left = again;
        match passing {
            None => Ok(()),
            Some(result) => Err(as_problem(&result)),
        }
    })
}

fn as_problem(result: &Value) -> ClientError {
    let problem = ringwood_server::ProblemBody {
        status: 503,
        code: text(result, "code"),
        title: text(result, "detail"),
        retryable: true,
        ..ringwood_server::ProblemBody::default()
    };
    ClientError::Refused(Box::new(problem))
}

fn name_of(result: &Value) -> String {
    result["key"]
        .as_str()
        .or(result["key64"].as_str())
        .unwrap_or_default()
        .to_owned()
}

fn text(result: &Value, name: &str) -> String {
    result[name].as_str().unwrap_or_default().to_owned()
}

impl ExportNdjson {
    /// Exports all keys of the prefix.
    ///
    /// # Errors
    /// When the server stays away, or the file cannot be written.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        let to_stdout = is_standard(self.file.as_deref());
        if to_stdout && self.journal.is_some() {
            let what = "stdout cannot be gone on with: --journal needs a file";
            return Err(UsageError::new(what).into());
        }
        let patience = Patience::new(&self.patience);
        let what = format!("export ndjson of {:?}", self.prefix);
        let (position, mut place) = Position::open(self.journal.as_deref(), what)?;
        let mut out = self.open(&place)?;
        let mut line = Vec::new();
        // Lines on stdout are the result; progress would stand among them.
        let shown = if to_stdout { Format::Json } else { format };
        let mut summary = Summary::start(shown, "items");
        summary.done_before = place.items;
        let prefix = Some(self.prefix.into_bytes()).filter(|prefix| !prefix.is_empty());
        let range = Range {
            prefix,
            page: PAGE,
            ..Range::default()
        };
        let mut pages = Pages::new(client, &patience, range, place.last_key.clone());
        while let Some(items) = pages.next()? {
            for item in items {
                place.last_key = item.key_bytes();
                let len = item.value_bytes().map_or(0, |value| value.len());
                line.clear();
                let exported = Item {
                    version: None,
                    ..item
                };
                output::json(&mut line, &exported)?;
                out.write_all(&line)?;
                place.offset += line.len() as u64;
                place.items += 1;
                summary.add(len as u64);
            }
            // ORDER: the lines are the system's before the journal says so.
            out.flush()?;
            position.save(&place)?;
        }
        position.finish()?;
        // Lines on stdout are the result; nothing else may stand among them.
        let format = if to_stdout { Format::Table } else { format };
        summary.finish(format, patience.retries())
    }

    fn open(&self, place: &Place) -> Result<Box<dyn Write>> {
        let Some(path) = self.file.as_deref().filter(|path| !is_standard(Some(path))) else {
            return Ok(Box::new(BufWriter::new(io::stdout().lock())));
        };
        let about = || format!("cannot write {}", path.display());
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(about)?;
        ensure!(
            file.metadata()?.len() >= place.offset,
            "{} is shorter than its journal says; remove the journal to begin anew",
            path.display()
        );
        file.set_len(place.offset).with_context(about)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Box::new(BufWriter::new(file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_become_times_to_live() {
        let item = |expires_at| Item {
            expires_at,
            value: Some("YQ==".into()),
            ..Item::of_key(b"k")
        };
        assert_eq!(to_put(&item(None), 1000).unwrap()["ttl"], "never");
        assert_eq!(to_put(&item(Some(3001)), 1000).unwrap()["ttl"], 3);
        assert_eq!(to_put(&item(Some(1000)), 1000), None);
    }

    #[test]
    fn lines_about_one_key_stay_in_one_lane_in_order() {
        let import = ImportNdjson {
            file: None,
            concurrency: 4,
            journal: None,
            patience: PatienceArgs::default(),
        };
        let lines: String = (0..100)
            .map(|at| {
                format!(
                    "{{\"key\":\"k{}\",\"value\":\"{at}\",\"encoding\":\"utf8\"}}\n",
                    at % 7
                )
            })
            .collect();
        let mut place = Place::default();
        let mut summary = Summary::start(Format::Json, "items");
        let mut input = lines.as_bytes();
        let Window { lanes, count, .. } = import
            .read_window(&mut input, &mut place, &mut summary)
            .unwrap();
        assert_eq!(
            (count, place.items, place.offset),
            (100, 100, lines.len() as u64)
        );
        for key in 0..7 {
            let of_key = |lane: &Lane| -> Vec<u64> {
                let mine = lane
                    .items
                    .iter()
                    .filter(|put| put["key"] == format!("k{key}"));
                mine.map(|put| put["value"].as_str().unwrap().parse().unwrap())
                    .collect()
            };
            let found: Vec<_> = lanes
                .iter()
                .map(of_key)
                .filter(|values| !values.is_empty())
                .collect();
            assert_eq!(found.len(), 1);
            assert_eq!(
                found[0],
                (0..100).filter(|at| at % 7 == key).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_line_that_is_no_item_is_named() {
        let import = ImportNdjson {
            file: None,
            concurrency: 1,
            journal: None,
            patience: PatienceArgs::default(),
        };
        for bad in [
            "x",
            "{}",
            "{\"key\":\"a\"}",
            "{\"key\":\"a\",\"value\":\"!\"}",
            "{\"key\":\"a\",\"key64\":\"YQ\",\"value\":\"\"}",
            "[\"a\",null,\"YQ==\"]",
        ] {
            let text = format!("\n{bad}\n");
            let mut place = Place::default();
            let window = import
                .read_window(
                    &mut text.as_bytes(),
                    &mut place,
                    &mut Summary::start(Format::Json, "items"),
                )
                .unwrap();
            assert_eq!(window.bad_line, Some(2), "{bad}");
            assert_eq!((place.items, place.offset), (1, 1), "{bad}");
        }
    }
}
