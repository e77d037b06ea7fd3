//! Consensus in simulated worlds, at length: as many as somebody likes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// `cargo xtask consensus`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Worlds to run: 60 s of faults and 30 s of healing each.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// States to visit at most in each small world of all choices.
    #[arg(long, default_value_t = 10_000_000)]
    states: u64,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let status = Command::new("cargo")
        .args(["test", "--release", "--package", "ringwood-protocol"])
        .args([
            "--features",
            "plant",
            "--test",
            "consensus*",
            "--",
            "--nocapture",
        ])
        .env("RINGWOOD_CONSENSUS_SEEDS", arguments.seeds.to_string())
        .env("RINGWOOD_CONSENSUS_FIRST", arguments.first.to_string())
        .env("RINGWOOD_CONSENSUS_STATES", arguments.states.to_string())
        .current_dir(root)
        .status()
        .context("cargo does not start")?;
    ensure!(
        status.success(),
        "a promise was broken; the report is above"
    );
    Ok(())
}
