//! Ringwood side by side with RocksDB and fjall: one command, alternating rounds, honest tables.
//!
//! Every engine runs every row in a process of its own, so that caches, allocators and resident
//! memory do not leak from one to the next; rounds go round the engines, so that a busy minute of the
//! machine hits all of them. Figures are medians over rounds, and ratios to RocksDB of the same run.

mod amplification;
mod engine;
mod memory;
mod rows;
mod workload;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use ringwood_bench_report::engines::{About, Measured, Run};

use crate::engine::EngineName;
use crate::rows::Row;

#[derive(Parser)]
#[command(about = "Ringwood side by side with RocksDB and fjall")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Runs the rows on every engine in turn and writes JSON, a page and plots.
    Engines {
        /// Rounds; figures are their medians.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Entries in the data set.
        #[arg(long, default_value_t = 500_000)]
        entries: u64,
        /// Only rows whose name contains this.
        #[arg(long)]
        only: Option<String>,
        /// Only these engines.
        #[arg(long, value_enum, value_delimiter = ',')]
        engines: Option<Vec<EngineName>>,
        /// Where databases are made; removed afterwards.
        #[arg(long)]
        scratch: Option<PathBuf>,
        /// The directory of the documents: results go to `benchmarks/` in it.
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"))]
        docs: PathBuf,
    },
    /// Loads, compacts, scans and reads five million pairs within 512 MiB and prints the peak RSS.
    Memory {
        #[arg(long, default_value_t = 5_000_000)]
        entries: u64,
        #[arg(long, default_value_t = 512)]
        budget_mib: usize,
        #[arg(long)]
        scratch: Option<PathBuf>,
    },
    /// One row on one engine, in this process: what `engines` starts, and what to profile.
    Row {
        #[arg(value_enum)]
        engine: EngineName,
        row: String,
        #[arg(long, default_value_t = 500_000)]
        entries: u64,
        /// Repeats reads and scans so often.
        #[arg(long, default_value_t = 1)]
        times: u64,
        #[arg(long)]
        directory: PathBuf,
    },
    /// Writes to an engine until it is killed. Not for hand use.
    #[command(hide = true)]
    WriteUntilKilled {
        #[arg(value_enum)]
        engine: EngineName,
        directory: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Action::Engines {
            rounds,
            entries,
            only,
            engines,
            scratch,
            docs,
        } => {
            let scratch = scratch.unwrap_or_else(|| PathBuf::from("target/engines-scratch"));
            let engines = engines.unwrap_or_else(|| EngineName::ALL.to_vec());
            let mut run = Run::begin(rounds, entries);
            for row in Row::all().filter(|row| matches(row, only.as_deref())) {
                for round in 0..rounds {
                    // Each round begins with another engine.
                    for turn in 0..engines.len() {
                        let engine = engines[(round + turn) % engines.len()];
                        let measured = in_child(engine, &row, entries, &scratch)?;
                        eprintln!("{:<22} {engine:<9} {}", row.name, measured.summary());
                        let about = About {
                            name: row.name,
                            unit: row.unit,
                            more_is_better: row.more_is_better,
                        };
                        run.add(about, &engine.to_string(), measured);
                    }
                }
            }
            std::fs::remove_dir_all(&scratch).ok();
            ringwood_bench_report::keep(&docs, &run)
        }
        Action::Memory {
            entries,
            budget_mib,
            scratch,
        } => {
            let scratch = scratch.unwrap_or_else(|| PathBuf::from("target/memory-scratch"));
            memory::run(entries, budget_mib, &scratch)
        }
        Action::Row {
            engine,
            row,
            entries,
            times,
            directory,
        } => {
            let row = Row::all()
                .find(|known| known.name == row)
                .context("no such row")?;
            let measured = row.run(engine, entries, times, &directory)?;
            println!("{}", serde_json::to_string(&measured)?);
            Ok(())
        }
        Action::WriteUntilKilled { engine, directory } => {
            rows::write_until_killed(engine, &directory)
        }
    }
}

fn matches(row: &Row, only: Option<&str>) -> bool {
    only.is_none_or(|only| row.name.contains(only))
}

fn in_child(
    engine: EngineName,
    row: &Row,
    entries: u64,
    scratch: &std::path::Path,
) -> Result<Measured> {
    let directory = scratch.join(format!("{engine}-{}", row.name));
    std::fs::remove_dir_all(&directory).ok();
    std::fs::create_dir_all(&directory)?;
    let output = Command::new(std::env::current_exe()?)
        .args(["row", &engine.to_string(), row.name])
        .args(["--entries", &entries.to_string()])
        .arg("--directory")
        .arg(&directory)
        .stderr(Stdio::inherit())
        .output()?;
    std::fs::remove_dir_all(&directory).ok();
    if !output.status.success() {
        bail!("{engine} failed in {}: {}", row.name, output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
