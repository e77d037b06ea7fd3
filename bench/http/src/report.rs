//! What came out: every run, medians and ratios, as JSON and in a few lines.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::Arguments;
use crate::load::{Row, Run};
use crate::pages::Pages;

/// What a hot page may take, in microseconds (p99): the first, and the one that follows.
const PAGE_MOST_US: [f64; 2] = [2000.0, 500.0];

#[derive(Serialize)]
pub(crate) struct Report {
    machine: String,
    processors: usize,
    rounds: usize,
    seconds: u64,
    rows: Vec<RowReport>,
    pages_most_us: [f64; 2],
    pages: Vec<Pages>,
}

#[derive(Serialize)]
struct RowReport {
    #[serde(flatten)]
    row: Row,
    /// Requests per second.
    ringwood_median: f64,
    bare_median: f64,
    /// Median of the rounds' ratios.
    ratio: f64,
}

impl Report {
    pub(crate) fn new(arguments: &Arguments, rows: Vec<Row>, pages: Vec<Pages>) -> Self {
        Self {
            machine: machine(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            rounds: arguments.rounds,
            seconds: arguments.seconds,
            rows: rows.into_iter().map(RowReport::new).collect(),
            pages_most_us: PAGE_MOST_US,
            pages,
        }
    }

    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        for RowReport {
            row,
            ringwood_median,
            bare_median,
            ratio,
        } in &self.rows
        {
            let wanted = row.load.least_ratio;
            let wanted = wanted.map_or(String::new(), |least| format!(" (at least {least})"));
            let name = row.load.name;
            let _ = writeln!(
                text,
                "{name}: {ringwood_median:.0}/s of {bare_median:.0}/s, ratio {ratio:.3}{wanted}"
            );
        }
        for pages in &self.pages {
            let kind = if pages.keys_only {
                "keys"
            } else {
                "1 KiB values"
            };
            for (which, latencies, most) in [
                ("first", &pages.first, PAGE_MOST_US[0]),
                ("following", &pages.following, PAGE_MOST_US[1]),
            ] {
                let _ = writeln!(
                    text,
                    "{which} page of 100 {kind}: p50 {:.0} µs, p99 {:.0} µs (at most {most:.0})",
                    latencies.p50_us, latencies.p99_us
                );
            }
        }
        text
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl RowReport {
    fn new(row: Row) -> Self {
        let per_second = |runs: &[Run]| runs.iter().map(Run::per_second).collect::<Vec<_>>();
        let (ringwood, bare) = (per_second(&row.ringwood), per_second(&row.bare));
        let ratios = ringwood.iter().zip(&bare).map(|(a, b)| a / b).collect();
        Self {
            row,
            ringwood_median: median(ringwood),
            bare_median: median(bare),
            ratio: median(ratios),
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        _ if values.is_empty() => f64::NAN,
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

fn machine() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    model.map_or_else(
        || "unknown".to_owned(),
        |model| model.trim_start_matches([' ', '\t', ':']).to_owned(),
    )
}
