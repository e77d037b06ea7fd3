//! `verify`, `repair`, `checkpoint`: work on a data directory that no server has open.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use ringwood_lsm::{Corruption, Db, KeyRange, Loss, Options, RepairReport, VerifyReport};
use serde_json::{Value, json};

use crate::outcome::Outcome;
use crate::output::{self, Format, printable};

/// Check every checksum of a data directory that no server has open. Changes nothing.
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

/// Copy a data directory that no server has open.
///
/// The copy is a store of its own. Tables are linked, not copied, so it takes no time and little
/// space, and must be on the same file system.
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

impl Verify {
    /// Reads all, and tells every damage.
    ///
    /// # Errors
    /// When the directory is in use, or is none.
    pub(crate) fn run(self, format: Format) -> Result<Outcome> {
        let report = ringwood_lsm::verify(&options(&self.data_dir))
            .with_context(|| format!("cannot verify {}", self.data_dir.display()))?;
        output::show(format, &describe_verify(&report), verify_rows)?;
        if report.is_clean() {
            return Ok(Outcome::Done);
        }
        output::say(
            format,
            "help: `ringwood repair` saves what is intact; copy the directory first",
        );
        Ok(Outcome::Error)
    }
}

fn describe_verify(report: &VerifyReport) -> Value {
    json!({
        "status": if report.is_clean() { "clean" } else { "damaged" },
        "files": report.files,
        "bytes": report.bytes,
        "table_entries": report.table_entries,
        "log_entries": report.log_entries,
        "torn_tail": report.torn_tail.as_ref().map(|torn| json!({
            "file": torn.file, "offset": torn.offset, "skipped_bytes": torn.skipped_bytes,
        })),
        "healed": list(&report.healed),
        "problems": list(&report.problems),
    })
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
        let report = ringwood_lsm::repair(&options(&self.data_dir))
            .with_context(|| format!("cannot repair {}", self.data_dir.display()))?;
        output::show(format, &describe_repair(&report), repair_rows)?;
        Ok(if report.lost.is_empty() {
            Outcome::Done
        } else {
            Outcome::Partial
        })
    }
}

fn describe_repair(report: &RepairReport) -> Value {
    json!({
        "status": if report.is_clean() { "clean" } else { "repaired" },
        "manifest_rebuilt": report.manifest_rebuilt,
        "tables_rewritten": report.tables_rewritten,
        "table_entries_saved": report.table_entries_saved,
        "log_entries_saved": report.log_entries_saved,
        "healed": list(&report.healed),
        "problems": list(&report.problems),
        "lost": report.lost.iter().map(describe_loss).collect::<Vec<_>>(),
        "set_aside": report.set_aside,
    })
}

fn describe_loss(loss: &Loss) -> Value {
    let bytes: Vec<_> = loss
        .bytes
        .iter()
        .map(|range| [range.start, range.end])
        .collect();
    let keys: Vec<_> = loss.keys.iter().map(describe_keys).collect();
    json!({
        "file": loss.file, "bytes": bytes, "keyspace": loss.keyspace, "keys": keys, "entries": loss.entries,
    })
}

/// Keys as the engine has them: namespace and partition stand before what the user wrote.
fn describe_keys(keys: &KeyRange) -> String {
    let bound = |key: &Option<Vec<u8>>| key.as_deref().map_or_else(|| "…".to_owned(), printable);
    format!("{} to {}", bound(&keys.start), bound(&keys.end))
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
            .map(text)
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

fn list(all: &[Corruption]) -> Vec<Value> {
    let one = |damage: &Corruption| json!({ "file": damage.file, "offset": damage.offset, "what": damage.kind.to_string() });
    all.iter().map(one).collect()
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
    /// When the directory is in use, or damaged, or the copy cannot be written.
    pub(crate) fn run(self, format: Format) -> Result<Outcome> {
        let db = Db::open(options(&self.data_dir)).with_context(|| {
            format!("cannot open the data directory {}", self.data_dir.display())
        })?;
        db.checkpoint(&self.to)
            .with_context(|| format!("cannot copy to {}", self.to.display()))?;
        db.close()?;
        let done = json!({ "status": "copied", "to": self.to });
        output::show(format, &done, |_| {
            vec![vec!["copied to".to_owned(), self.to.display().to_string()]]
        })?;
        Ok(Outcome::Done)
    }
}
