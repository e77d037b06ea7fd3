//! What came out: every run, medians and ratios, as JSON and in a few lines.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use ringwood_bench_report::{machine, median, number};
use serde::Serialize;

use crate::Arguments;
use crate::load::{Row, Run};
use crate::pages::Pages;

/// What a hot page may take, in microseconds (p99): the first, and the one that follows.
const PAGE_MOST_US: [f64; 2] = [2000.0, 500.0];

#[derive(Serialize)]
pub(crate) struct Report {
    machine: String,
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
            rounds: arguments.rounds,
            seconds: arguments.seconds,
            rows: rows.into_iter().map(RowReport::new).collect(),
            pages_most_us: PAGE_MOST_US,
            pages,
        }
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{} rounds of {} s, medians; {}.\n\n\
             | load | Ringwood | bare handler | ratio |\n|---|---|---|---|\n",
            self.rounds, self.seconds, self.machine
        );
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
                "| {name} | {}/s | {}/s | **{ratio:.2}**{wanted} |",
                number(*ringwood_median),
                number(*bare_median)
            );
        }
        text.push_str("\n| a hundred entries of all partitions | p50 | p99 |\n|---|---|---|\n");
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
                    "| {which} page, {kind} | {:.0} µs | {:.0} µs (at most {most:.0}) |",
                    latencies.p50_us, latencies.p99_us
                );
            }
        }
        text
    }

    /// Prints the tables, and keeps them and their figures among the documents in `docs`.
    pub(crate) fn keep(&self, docs: &Path) -> Result<()> {
        println!("{}", self.table());
        ringwood_bench_report::keep(docs, "http", self, &self.table())
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
