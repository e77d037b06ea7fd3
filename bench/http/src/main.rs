//! Ringwood's HTTP side by side with its own HTTP stack answering constants.
//!
//! ```console
//! $ cargo run --release -- --rounds 5 --seconds 10
//! ```
//!
//! How to read it: `server` builds and starts the two programs, `load` drives them with `wrk` in
//! alternating rounds and the same options, and `pages` measures ranges with a client of its own.

mod client;
mod load;
mod pages;
mod server;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use ringwood_bench_report::http::{Pages, Run};

use crate::client::Client;
use crate::server::{Program, Server};

/// Measures Ringwood's HTTP against a bare handler on the same stack. Needs `wrk`.
#[derive(Parser)]
struct Arguments {
    /// Rounds of every row; in each, both servers are measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that one server is measured for one row.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Keys of 1 KiB that are read hot.
    #[arg(long, default_value_t = 10_000)]
    keys: usize,
    /// Keys of 1 KiB in the ranges.
    #[arg(long, default_value_t = 100_000)]
    range_keys: usize,
    /// First pages that are measured, each with the one that follows.
    #[arg(long, default_value_t = 5000)]
    pages: usize,
    /// Where data is kept while measuring: a disk like the one that is meant.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    directory: PathBuf,
    /// The directory of the documents: results go to `benchmarks/` in it.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"))]
    docs: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let ringwood = server::build(Program::Ringwood)?;
    let bare = server::build(Program::Bare)?;
    let data = tempfile::tempdir_in(&arguments.directory)
        .with_context(|| format!("no directory in {}", arguments.directory.display()))?;
    let pair = load::Pair {
        ringwood: Server::start(Program::Ringwood, &ringwood, data.path())?,
        bare: Server::start(Program::Bare, &bare, data.path())?,
    };
    let rows = load::measure(&pair, &arguments)?;
    drop(pair);
    let pages = measure_pages(&ringwood, &arguments)?;
    let run = Run::new(arguments.rounds, arguments.seconds, rows, pages);
    ringwood_bench_report::keep(&arguments.docs, &run)
}

/// Ranges are measured in a store that holds nothing else.
fn measure_pages(ringwood: &Path, arguments: &Arguments) -> Result<Vec<Pages>> {
    let data = tempfile::tempdir_in(&arguments.directory)?;
    let server = Server::start(Program::Ringwood, ringwood, data.path())?;
    let mut client = Client::connect(server.address())?;
    pages::fill(&mut client, "range/", arguments.range_keys)?;
    [false, true]
        .map(|keys_only| pages::measure(&mut client, arguments, keys_only))
        .into_iter()
        .collect()
}
