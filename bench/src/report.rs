//! Results: JSON with every round, a page with medians and ratios, and bars.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use hdrhistogram::Histogram;
use ringwood_bench_report::{machine, median, number};
use serde::{Deserialize, Serialize};

use crate::engine::EngineName;
use crate::rows::Row;

/// One run of one row on one engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub figure: f64,
    /// Latencies in microseconds, and whatever else the row has to say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, f64>,
}

impl Measured {
    pub fn of(figure: f64) -> Self {
        Self {
            figure,
            details: BTreeMap::new(),
        }
    }

    pub fn detail(&mut self, name: &str, value: f64) {
        self.details.insert(name.to_owned(), value);
    }

    pub fn with_latency(mut self, latency: &Histogram<u64>) -> Self {
        for (name, quantile) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)] {
            self.detail(name, latency.value_at_quantile(quantile) as f64 / 1e3);
        }
        self.detail("max_us", latency.max() as f64 / 1e3);
        self
    }

    pub fn summary(&self) -> String {
        let mut text = number(self.figure);
        for (name, value) in &self.details {
            let _ = write!(text, "  {name} {}", number(*value));
        }
        text
    }
}

#[derive(Serialize)]
pub struct Run {
    machine: String,
    versions: BTreeMap<&'static str, &'static str>,
    rounds: usize,
    entries: u64,
    rows: Vec<RowResult>,
}

#[derive(Serialize)]
struct RowResult {
    name: &'static str,
    unit: &'static str,
    more_is_better: bool,
    rounds: BTreeMap<String, Vec<Measured>>,
}

impl Run {
    pub fn begin(rounds: usize, entries: u64) -> Self {
        let versions = [
            ("ringwood", env!("CARGO_PKG_VERSION")),
            ("rocksdb crate", "0.25.0"),
            ("fjall", "3.1.13"),
        ];
        Self {
            machine: machine(),
            versions: versions.into(),
            rounds,
            entries,
            rows: Vec::new(),
        }
    }

    pub fn add(&mut self, row: &Row, engine: EngineName, measured: Measured) {
        if self.rows.last().is_none_or(|last| last.name != row.name) {
            self.rows.push(RowResult {
                name: row.name,
                unit: row.unit,
                more_is_better: row.more_is_better,
                rounds: BTreeMap::new(),
            });
        }
        let last = self.rows.last_mut().expect("one was just made sure of");
        last.rounds
            .entry(engine.to_string())
            .or_default()
            .push(measured);
    }

    /// Prints the table, and keeps it, its figures and a plot among the documents in `docs`.
    pub fn keep(&self, docs: &Path) -> Result<()> {
        println!("{}", self.table());
        let section = format!(
            "{}\n![Ringwood against RocksDB](benchmarks/engines.svg)\n",
            self.table()
        );
        ringwood_bench_report::keep(docs, "engines", self, &section)?;
        std::fs::write(docs.join("benchmarks/engines.svg"), self.plot())?;
        Ok(())
    }

    fn table(&self) -> String {
        let mut page = format!(
            "{} entries of 1,000 B, {} rounds, medians; {}.\n\n\
             | row | unit | Ringwood | RocksDB | fjall | Ringwood / RocksDB |\n|---|---|---|---|---|---|\n",
            self.entries, self.rounds, self.machine
        );
        for row in &self.rows {
            let cell = |engine| row.median(engine).map_or("–".to_owned(), number);
            let ratio = row
                .ratio()
                .map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
            let note = if row.more_is_better {
                ""
            } else {
                " (less is better)"
            };
            let _ = writeln!(
                page,
                "| {} | {}{note} | {} | {} | {} | **{ratio}** |",
                row.name,
                row.unit,
                cell(EngineName::Ringwood),
                cell(EngineName::Rocksdb),
                cell(EngineName::Fjall),
            );
        }
        page
    }

    /// Bars of the ratio to RocksDB, so that longer is always better.
    fn plot(&self) -> String {
        let ratios: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| {
                let ratio = row.ratio()?;
                Some((
                    row.name,
                    if row.more_is_better {
                        ratio
                    } else {
                        1.0 / ratio
                    },
                ))
            })
            .collect();
        let height = 24 * ratios.len() + 40;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"720\" height=\"{height}\" \
             fill=\"white\"/>\n<text x=\"10\" y=\"18\">Ringwood against RocksDB (line: equal; longer is better)</text>\n"
        );
        for (i, (name, ratio)) in ratios.iter().enumerate() {
            let y = 30 + 24 * i;
            let width = (ratio * 120.0).min(480.0);
            let colour = if *ratio >= 1.0 { "#2a7f4f" } else { "#b5651d" };
            let _ = writeln!(
                svg,
                "<text x=\"10\" y=\"{}\">{name}</text><rect x=\"170\" y=\"{y}\" width=\"{width:.0}\" \
                 height=\"16\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{}\">{ratio:.2}</text>",
                y + 13,
                176.0 + width,
                y + 13
            );
        }
        let _ = writeln!(
            svg,
            "<line x1=\"290\" x2=\"290\" y1=\"26\" y2=\"{}\" stroke=\"black\" stroke-dasharray=\"3\"/>\n</svg>",
            height - 8
        );
        svg
    }
}

impl RowResult {
    fn median(&self, engine: EngineName) -> Option<f64> {
        let rounds = self.rounds.get(&engine.to_string())?;
        Some(median(rounds.iter().map(|one| one.figure).collect()))
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.median(EngineName::Ringwood)? / self.median(EngineName::Rocksdb)?)
    }
}
