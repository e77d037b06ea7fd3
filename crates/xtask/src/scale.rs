//! Parts of a cluster among many nodes, simulated: what `docs/scale.md` says.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// `cargo xtask scale`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(clap::Subcommand)]
enum Part {
    /// How soon a death is known to all, and what failure detection sends.
    Membership {
        /// How many nodes.
        #[arg(long, default_value_t = 1000)]
        nodes: u64,
    },
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let Part::Membership { nodes } = arguments.part;
    let status = Command::new("cargo")
        .args(["test", "--release", "--package", "ringwood-protocol"])
        .args(["--test", "membership_scale", "--", "--nocapture"])
        .env("RINGWOOD_MEMBERSHIP_NODES", nodes.to_string())
        .current_dir(root)
        .status()
        .context("cargo does not start")?;
    ensure!(status.success(), "a limit was passed; the report is above");
    Ok(())
}
