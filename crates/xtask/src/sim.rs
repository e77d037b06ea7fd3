//! Whole clusters in simulated worlds, at length: as many as somebody likes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// `cargo xtask sim`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Worlds to live through: 60 s of faults and 30 s of healing each.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Say what each world was like and what came of it.
    #[arg(long)]
    explain: bool,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "ringwood-sim",
            "--",
        ])
        .args(["--seed", &arguments.seed.to_string()])
        .args(["--count", &arguments.count.to_string()]);
    if arguments.explain {
        command.arg("--explain");
    }
    let status = command
        .current_dir(root)
        .status()
        .context("cargo does not start")?;
    ensure!(
        status.success(),
        "a promise was broken; `--seed` runs the same world again"
    );
    Ok(())
}
