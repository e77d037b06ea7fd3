//! Engines side by side: a table with medians and ratios, and bars.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{Results, machine, median, number};

/// What the table compares, in its order; others may stand in the figures.
const RINGWOOD: &str = "ringwood";
const ROCKSDB: &str = "rocksdb";
const FJALL: &str = "fjall";

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

    pub fn summary(&self) -> String {
        let mut text = number(self.figure);
        for (name, value) in &self.details {
            let _ = write!(text, "  {name} {}", number(*value));
        }
        text
    }
}

/// What a row is about.
#[derive(Clone, Copy, Debug)]
pub struct About {
    pub name: &'static str,
    pub unit: &'static str,
    pub more_is_better: bool,
}

/// All rounds of all rows.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    machine: String,
    versions: BTreeMap<String, String>,
    rounds: usize,
    entries: u64,
    rows: Vec<RowResult>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RowResult {
    name: String,
    unit: String,
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
        let owned = |(name, version): (&str, &str)| (name.to_owned(), version.to_owned());
        Self {
            machine: machine(),
            versions: versions.into_iter().map(owned).collect(),
            rounds,
            entries,
            rows: Vec::new(),
        }
    }

    pub fn add(&mut self, about: About, engine: &str, measured: Measured) {
        if self.rows.last().is_none_or(|last| last.name != about.name) {
            self.rows.push(RowResult {
                name: about.name.to_owned(),
                unit: about.unit.to_owned(),
                more_is_better: about.more_is_better,
                rounds: BTreeMap::new(),
            });
        }
        let last = self.rows.last_mut().expect("one was just made sure of");
        last.rounds
            .entry(engine.to_owned())
            .or_default()
            .push(measured);
    }
}

impl Results for Run {
    const NAME: &'static str = "engines";

    fn page(&self) -> String {
        let mut page = format!(
            "# Engines\n\n{} entries of 1,000 B, {} rounds, medians; {}.\n\n\
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
                cell(RINGWOOD),
                cell(ROCKSDB),
                cell(FJALL),
            );
        }
        page.push_str("\n![Ringwood against RocksDB](engines.svg)\n");
        page
    }

    /// Bars of the ratio to RocksDB, so that longer is always better.
    fn plot(&self) -> Option<String> {
        let ratios: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| {
                let ratio = row.ratio()?;
                let longer_is_better = if row.more_is_better {
                    ratio
                } else {
                    1.0 / ratio
                };
                Some((&row.name, longer_is_better))
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
        Some(svg)
    }
}

impl RowResult {
    fn median(&self, engine: &str) -> Option<f64> {
        let rounds = self.rounds.get(engine)?;
        Some(median(rounds.iter().map(|one| one.figure).collect()))
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.median(RINGWOOD)? / self.median(ROCKSDB)?)
    }
}
