//! `verify`, `repair`, `checkpoint`: upkeep of a data directory.
//!
//! What a server has open, it verifies and copies itself: the directory's lock is in the way then, and
//! the server that `--url` names is asked. Repairing needs a directory that nobody uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ringwood_lsm::{Db, Error, KeyRange, Loss, Options, RepairReport};
use ringwood_node::{UserKey, UserKeys};
use ringwood_server::{Damage, VerifyReply};
use serde_json::{Value, json};

use crate::client::{Client, Item, Target};
use crate::human;
use crate::outcome::{Outcome, unreadable};
use crate::output::{self, Format, printable};

/// Check every checksum of a data directory. Changes nothing.
///
/// If a server has it open, the server does it; `--url` must name it then.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The data directory.
    data_dir: PathBuf,
}

/// Save what is intact in a damaged data directory, and list what is not.
///
/// No server may have it open. Damaged files are kept below it, in `lost`.
#[derive(Args, Debug)]
pub(crate) struct Repair {
    /// The data directory.
    data_dir: PathBuf,
}

/// Take the time of a data directory back to what this machine's clock says.
///
/// For a store that a wrong clock was believed in, years ahead: its time stands still until then, and keys
/// that expire are gone. Set the machine's clock right first. Keys that expired only by the wrong clock live
/// again, unless a compaction has removed them; deadlines that were given meanwhile stay late. No server
/// may have the directory open. Does nothing where the store's time is not ahead.
#[derive(Args, Debug)]
pub(crate) struct ResetClock {
    /// The data directory.
    data_dir: PathBuf,
}

/// Copy a data directory.
///
/// The copy is a store of its own. On the same file system its tables are linked, which takes no time
/// and little space; elsewhere they are copied. If a server has the directory open, the server does it,
/// and goes on serving; `--url` must name it then.
#[derive(Args, Debug)]
pub(crate) struct Checkpoint {
    /// The data directory.
    data_dir: PathBuf,
    /// Where the copy goes; must not be there yet, or be empty.
    to: PathBuf,
}

fn options(data_dir: &Path) -> Options {
    let mut options = Options::new(data_dir);
    options.create = false;
    options
}

/// # Errors
/// Without it, the command is wrong; what lies in it is another matter.
fn must_be_there(data_dir: &Path) -> Result<()> {
    fs::read_dir(data_dir)
        .map(drop)
        .map_err(|error| unreadable(data_dir, error))
}

/// The server that has the directory open, which must be the one that is named by `--url`.
fn server_of(data_dir: &Path, target: &Target) -> Result<Client> {
    let client = target.client()?;
    let used = format!("{} is in use by another process", data_dir.display());
    let node: Value = client.get_json("/v1/cluster/nodes/self").with_context(|| {
        format!("{used}, and its server is not to be found; name it with --url")
    })?;
    let theirs = node["data_dir"].as_str().unwrap_or_default();
    let is_same = matches!(
        (fs::canonicalize(theirs), fs::canonicalize(data_dir)),
        (Ok(theirs), Ok(ours)) if theirs == ours
    );
    ensure!(
        is_same,
        "{used}, and the server on {} has {theirs} open; name the right one with --url",
        client.base()
    );
    Ok(client.patient())
}

impl Verify {
    /// Reads all, and tells every damage.
    ///
    /// # Errors
    /// When the directory is none, or in use by something that is not the server named.
    pub(crate) fn run(self, target: &Target, format: Format) -> Result<Outcome> {
        must_be_there(&self.data_dir)?;
        let report = match ringwood_lsm::verify(&options(&self.data_dir)) {
            Ok(report) => serde_json::to_value(VerifyReply::from(&report))?,
            Err(Error::Locked { .. }) => server_of(&self.data_dir, target)?
                .post("/v1/cluster/nodes/self/verify", &json!({}))?,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot verify {}", self.data_dir.display()));
            }
        };
        output::show(format, &report, verify_rows)?;
        if report["status"] == "clean" {
            return Ok(Outcome::Done);
        }
        output::say(
            format,
            "help: `ringwood repair` saves what is intact; stop the server and copy the directory first",
        );
        Ok(Outcome::Error)
    }
}

fn verify_rows(report: &Value) -> Vec<Vec<String>> {
    let mut rows = rows_of(
        report,
        &["status", "files", "bytes", "table_entries", "log_entries"],
    );
    if let Some(torn) = report["torn_tail"].as_object() {
        let told = format!(
            "{} at byte {}: never acknowledged",
            text(&torn["file"]),
            torn["offset"]
        );
        rows.push(vec!["torn log tail".into(), told]);
    }
    rows.extend(problem_rows(report));
    rows
}

impl Repair {
    /// Saves what it can; durable on return.
    ///
    /// # Errors
    /// When the directory is in use, or cannot be written; it is as it was then.
    pub(crate) fn run(self, format: Format) -> Result<Outcome> {
        must_be_there(&self.data_dir)?;
        let report = ringwood_lsm::repair(&options(&self.data_dir))
            .with_context(|| format!("cannot repair {}", self.data_dir.display()))?;
        let names = match report.lost.is_empty() {
            true => UserKeys::default(),
            // What cannot be read has no names; the list is worth more than they are.
            false => UserKeys::read(options(&self.data_dir)).unwrap_or_default(),
        };
        output::show(format, &describe_repair(&report, &names), repair_rows)?;
        Ok(if report.lost.is_empty() {
            Outcome::Done
        } else {
            Outcome::Partial
        })
    }
}

fn describe_repair(report: &RepairReport, names: &UserKeys) -> Value {
    json!({
        "status": if report.is_clean() { "clean" } else { "repaired" },
        "manifest_rebuilt": report.manifest_rebuilt,
        "tables_rewritten": report.tables_rewritten,
        "table_entries_saved": report.table_entries_saved,
        "log_entries_saved": report.log_entries_saved,
        "healed": report.healed.iter().map(Damage::from).collect::<Vec<_>>(),
        "problems": report.problems.iter().map(Damage::from).collect::<Vec<_>>(),
        "lost": report.lost.iter().map(|loss| describe_loss(loss, names)).collect::<Vec<_>>(),
        "set_aside": report.set_aside,
    })
}

fn describe_loss(loss: &Loss, names: &UserKeys) -> Value {
    let bytes: Vec<_> = loss
        .bytes
        .iter()
        .map(|range| [range.start, range.end])
        .collect();
    let keyspace = loss.keyspace.as_deref().unwrap_or_default();
    let bound = |key: &Option<Vec<u8>>| {
        let key = key.as_deref()?;
        Some(describe_key(names.name(keyspace, key), key))
    };
    let describe =
        |keys: &KeyRange| json!({ "start": bound(&keys.start), "end": bound(&keys.end) });
    let keys: Vec<_> = loss.keys.iter().map(describe).collect();
    json!({
        "file": loss.file, "bytes": bytes, "keyspace": loss.keyspace, "keys": keys, "entries": loss.entries,
    })
}

/// A user's key as its user knows it, any other as the engine has it.
fn describe_key(user: Option<UserKey>, stored: &[u8]) -> Value {
    let key = |key: &[u8]| serde_json::to_value(Item::of_key(key)).unwrap_or_default();
    let Some(user) = user else {
        return key(stored);
    };
    let mut described = key(&user.key);
    described["namespace"] = user.namespace.into();
    described["partition"] = user.partition.get().into();
    described
}

/// In one line: what lies between lies so in the engine's order, which is by partition first.
fn keys_text(keys: &Value) -> String {
    let bound = |key: &Value| {
        let Ok(item) = serde_json::from_value::<Item>(key.clone()) else {
            return "…".to_owned();
        };
        let text = printable(&item.key_bytes().unwrap_or_default());
        match key["namespace"].as_str() {
            Some(namespace) => format!("{namespace}:{text} (partition {})", key["partition"]),
            None => text,
        }
    };
    format!("{} to {}", bound(&keys["start"]), bound(&keys["end"]))
}

fn repair_rows(report: &Value) -> Vec<Vec<String>> {
    let names = [
        "status",
        "manifest_rebuilt",
        "tables_rewritten",
        "table_entries_saved",
        "log_entries_saved",
    ];
    let mut rows = rows_of(report, &names);
    rows.extend(problem_rows(report));
    for loss in report["lost"].as_array().into_iter().flatten() {
        let entries = loss["entries"]
            .as_u64()
            .map_or_else(|| "unknown".to_owned(), |count| count.to_string());
        let keys: Vec<_> = loss["keys"]
            .as_array()
            .into_iter()
            .flatten()
            .map(keys_text)
            .collect();
        let told = format!(
            "{}: {entries} entries, keys {}",
            text(&loss["file"]),
            keys.join(", ")
        );
        rows.push(vec!["lost".into(), told]);
    }
    for file in report["set_aside"].as_array().into_iter().flatten() {
        rows.push(vec!["kept".into(), text(file)]);
    }
    rows
}

impl ResetClock {
    /// Takes it back; durable on return.
    ///
    /// # Errors
    /// When the directory is in use, or damaged; its time is as it was then.
    pub(crate) fn run(self, format: Format) -> Result<Outcome> {
        must_be_there(&self.data_dir)?;
        let reset = ringwood_node::reset_clock(&options(&self.data_dir)).with_context(|| {
            let directory = self.data_dir.display();
            format!("cannot take the time of {directory} back; nothing is lost, run it again")
        })?;
        let ahead_ms = reset.before.saturating_sub(reset.now);
        let status = match reset.taken_back {
            true => "taken back",
            false => "nothing to take back",
        };
        let done = json!({
            "status": status,
            "ahead_ms": ahead_ms,
            "store_time_ms": reset.before,
            "machine_time_ms": reset.now,
        });
        output::show(format, &done, |_| {
            let told = match reset.taken_back {
                true => describe_ahead(ahead_ms),
                false if ahead_ms > 0 => {
                    format!("{}, as after a restart", describe_ahead(ahead_ms))
                }
                false => "the store's time is not ahead of this machine's clock".into(),
            };
            vec![vec![status.into(), told]]
        })?;
        Ok(Outcome::Done)
    }
}

fn describe_ahead(ahead_ms: u64) -> String {
    let by = human::span(Duration::from_millis(ahead_ms));
    format!("the store's time was ahead of this machine's clock by {by}")
}

fn problem_rows(report: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (name, shown) in [("healed", "heals by itself"), ("problems", "damaged")] {
        for damage in report[name].as_array().into_iter().flatten() {
            let told = format!(
                "{} at byte {}: {}",
                text(&damage["file"]),
                damage["offset"],
                text(&damage["what"])
            );
            rows.push(vec![shown.to_owned(), told]);
        }
    }
    rows
}

fn rows_of(report: &Value, names: &[&str]) -> Vec<Vec<String>> {
    names
        .iter()
        .map(|name| vec![name.replace('_', " "), text(&report[*name])])
        .collect()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

impl Checkpoint {
    /// Makes it; durable on return.
    ///
    /// # Errors
    /// When the directory is damaged, or in use by something that is not the server named, or the copy
    /// cannot be written.
    pub(crate) fn run(self, target: &Target, format: Format) -> Result<Outcome> {
        must_be_there(&self.data_dir)?;
        match Db::open(options(&self.data_dir)) {
            Ok(db) => {
                let shown = progress_bar();
                db.checkpoint_with(&self.to, |now| {
                    show_progress(&shown, now.bytes_done, now.bytes)
                })?;
                shown.finish_and_clear();
                db.close()?;
            }
            Err(Error::Locked { .. }) => {
                let server = server_of(&self.data_dir, target)?;
                ask_for_checkpoint(&server, target, &std::path::absolute(&self.to)?)?;
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("cannot open the data directory {}", self.data_dir.display())
                });
            }
        }
        let done = json!({ "status": "copied", "to": self.to });
        output::show(format, &done, |_| {
            vec![vec!["copied to".to_owned(), self.to.display().to_string()]]
        })?;
        Ok(Outcome::Done)
    }
}

/// Has the server make the copy, and shows meanwhile how far it is.
fn ask_for_checkpoint(server: &Client, target: &Target, to: &Path) -> Result<()> {
    let watcher = target.client()?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watched = scope.spawn(|| {
            let shown = progress_bar();
            while !done.load(Ordering::Acquire) {
                thread::park_timeout(LOOK_EVERY);
                // Who cannot be asked now is asked again; what counts is the answer to the other.
                let node: Value = watcher
                    .get_json("/v1/cluster/nodes/self")
                    .unwrap_or_default();
                let state = &node["checkpoint"];
                if let (Some(now), Some(all)) =
                    (state["bytes_done"].as_u64(), state["bytes"].as_u64())
                {
                    show_progress(&shown, now, all);
                }
            }
            shown.finish_and_clear();
        });
        let made = server.post("/v1/cluster/nodes/self/checkpoint", &json!({ "to": to }));
        done.store(true, Ordering::Release);
        watched.thread().unpark();
        let _: Value = made?;
        Ok(())
    })
}

/// How often a server is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// On a terminal, on stderr; nothing elsewhere.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bytes} of {total_bytes} {wide_bar} {eta}");
    ProgressBar::no_length().with_style(style.expect("the template is well-formed"))
}

fn show_progress(bar: &ProgressBar, done: u64, all: u64) {
    bar.set_length(all);
    bar.set_position(done);
}
