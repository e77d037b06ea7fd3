//! HTTP against a bare handler: requests a second and their ratios, and how long pages take.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{Results, machine, median, number};

/// What a hot page may take, in microseconds (p99): the first, and the one that follows.
const PAGE_MOST_US: [f64; 2] = [2000.0, 500.0];

/// What `wrk` says of one run.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Wrk {
    pub requests: u64,
    pub duration_us: u64,
    pub errors: u64,
    pub p50_us: u64,
    pub p99_us: u64,
}

impl Wrk {
    pub fn per_second(&self) -> f64 {
        self.requests as f64 * 1e6 / self.duration_us as f64
    }
}

/// All rounds of one load.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub connections: u32,
    /// The least share of the bare handler's requests per second; none where the row informs only.
    pub least_ratio: Option<f64>,
    pub ringwood: Vec<Wrk>,
    pub bare: Vec<Wrk>,
    /// Requests per second.
    ringwood_median: f64,
    bare_median: f64,
    /// Median of the rounds' ratios.
    ratio: f64,
}

impl Row {
    pub fn new(name: &str, connections: u32, least_ratio: Option<f64>) -> Self {
        Self {
            name: name.to_owned(),
            connections,
            least_ratio,
            ringwood: Vec::new(),
            bare: Vec::new(),
            ringwood_median: f64::NAN,
            bare_median: f64::NAN,
            ratio: f64::NAN,
        }
    }

    fn conclude(&mut self) {
        let per_second = |runs: &[Wrk]| runs.iter().map(Wrk::per_second).collect::<Vec<_>>();
        let (ringwood, bare) = (per_second(&self.ringwood), per_second(&self.bare));
        self.ratio = median(ringwood.iter().zip(&bare).map(|(a, b)| a / b).collect());
        self.ringwood_median = median(ringwood);
        self.bare_median = median(bare);
    }
}

/// Latencies in microseconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Latencies {
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

impl Latencies {
    /// Of at least one sample.
    pub fn of(mut samples_us: Vec<f64>) -> Self {
        samples_us.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| samples_us[(share * (samples_us.len() - 1) as f64) as usize];
        Self {
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: at(1.0),
        }
    }
}

/// Pages of one kind.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pages {
    pub keys_only: bool,
    pub entries: usize,
    pub samples: usize,
    pub first: Latencies,
    pub following: Latencies,
}

/// Everything that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    machine: String,
    rounds: usize,
    seconds: u64,
    rows: Vec<Row>,
    pages_most_us: [f64; 2],
    pages: Vec<Pages>,
}

impl Run {
    pub fn new(rounds: usize, seconds: u64, mut rows: Vec<Row>, pages: Vec<Pages>) -> Self {
        rows.iter_mut().for_each(Row::conclude);
        Self {
            machine: machine(),
            rounds,
            seconds,
            rows,
            pages_most_us: PAGE_MOST_US,
            pages,
        }
    }
}

impl Results for Run {
    const NAME: &'static str = "http";

    fn page(&self) -> String {
        let mut text = format!(
            "# HTTP\n\n{} rounds of {} s, medians; {}.\n\n\
             | load | Ringwood | bare handler | ratio |\n|---|---|---|---|\n",
            self.rounds, self.seconds, self.machine
        );
        for row in &self.rows {
            let wanted = row.least_ratio;
            let wanted = wanted.map_or(String::new(), |least| format!(" (at least {least})"));
            let _ = writeln!(
                text,
                "| {} | {}/s | {}/s | **{:.2}**{wanted} |",
                row.name,
                number(row.ringwood_median),
                number(row.bare_median),
                row.ratio,
            );
        }
        text.push_str("\n| a hundred entries of all partitions | p50 | p99 |\n|---|---|---|\n");
        for pages in &self.pages {
            let kind = if pages.keys_only {
                "keys"
            } else {
                "1 KiB values"
            };
            let [first_most, following_most] = self.pages_most_us;
            for (which, latencies, most) in [
                ("first", &pages.first, first_most),
                ("following", &pages.following, following_most),
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
}
