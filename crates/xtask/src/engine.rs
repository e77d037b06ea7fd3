//! The engine's tests at length, each with its output: as much of it as somebody likes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// `cargo xtask crash`.
#[derive(clap::Args)]
pub(crate) struct Crash {
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

/// `cargo xtask flip`.
#[derive(clap::Args)]
pub(crate) struct Flip {
    /// Bytes from one that is changed to the next.
    #[arg(long, default_value_t = 1)]
    stride: usize,
}

/// `cargo xtask power`.
#[derive(clap::Args)]
pub(crate) struct Power {
    /// Stores, each with several cuts.
    #[arg(long, default_value_t = 600)]
    stores: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
}

/// `cargo xtask threads`.
#[derive(clap::Args)]
pub(crate) struct Threads {
    /// How long, in seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
}

pub(crate) fn crash(root: &Path, arguments: &Crash) -> Result<()> {
    let tests = ["crash", "model", "plants", "orders"];
    let tests = tests.iter().flat_map(|name| ["--test", name]);
    let what: Vec<_> = ["--features", "plant"].into_iter().chain(tests).collect();
    let variables = [
        ("RINGWOOD_CRASH_SCHEDULES", arguments.schedules.to_string()),
        ("RINGWOOD_CRASH_FIRST", arguments.first.to_string()),
        ("RINGWOOD_MODEL_STEPS", arguments.steps.to_string()),
    ];
    test(root, &what, &variables)
}

pub(crate) fn flip(root: &Path, arguments: &Flip) -> Result<()> {
    let variables = [("RINGWOOD_FLIP_STRIDE", arguments.stride.to_string())];
    test(root, &["--release", "--test", "damage"], &variables)
}

pub(crate) fn power(root: &Path, arguments: &Power) -> Result<()> {
    let variables = [
        ("RINGWOOD_POWER_STORES", arguments.stores.to_string()),
        ("RINGWOOD_POWER_FIRST", arguments.first.to_string()),
    ];
    test(root, &["--test", "power"], &variables)
}

pub(crate) fn threads(root: &Path, arguments: &Threads) -> Result<()> {
    let variables = [
        ("RINGWOOD_THREADS_SECONDS", arguments.seconds.to_string()),
        ("RINGWOOD_THREADS_FIRST", arguments.first.to_string()),
    ];
    test(root, &["--release", "--test", "threads"], &variables)
}

/// Runs tests of the engine's that read these variables.
fn test(root: &Path, what: &[&str], variables: &[(&str, String)]) -> Result<()> {
    let status = Command::new("cargo")
        .args(["test", "--package", "ringwood-lsm"])
        .args(what)
        .args(["--", "--nocapture"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(root)
        .status()
        .context("cargo does not start")?;
    ensure!(
        status.success(),
        "a promise was broken; the report is above"
    );
    Ok(())
}
