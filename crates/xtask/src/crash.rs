//! `cargo xtask crash`: the crash oracle for as long as somebody likes, then the planted defects.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Schedules to run.
    #[arg(long, default_value_t = 20_000)]
    schedules: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Steps of the model test.
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let tests = ["--test", "crash", "--test", "model", "--test", "plants"];
    let status = Command::new("cargo")
        .args(["test", "--package", "ringwood-lsm", "--features", "plant"])
        .args(tests)
        .args(["--", "--nocapture"])
        .env("RINGWOOD_CRASH_SCHEDULES", arguments.schedules.to_string())
        .env("RINGWOOD_CRASH_FIRST", arguments.first.to_string())
        .env("RINGWOOD_MODEL_STEPS", arguments.steps.to_string())
        .current_dir(root)
        .status()
        .context("cargo does not start")?;
    ensure!(
        status.success(),
        "a promise was broken; the report is above"
    );
    Ok(())
}
