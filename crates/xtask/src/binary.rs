//! The binary that ships, built for a test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Builds it, and says where it is.
pub(crate) fn build(root: &Path, profile: &str) -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args([
            "build",
            "--package",
            "ringwood",
            "--message-format",
            "json-render-diagnostics",
            "--profile",
            profile,
        ])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo does not start")?;
    ensure!(built.status.success(), "the binary does not build");
    let messages = String::from_utf8(built.stdout)?;
    let artifacts = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let binaries = artifacts.filter(|one| one["target"]["name"] == "ringwood");
    let path = binaries
        .filter_map(|one| one["executable"].as_str().map(PathBuf::from))
        .next_back();
    path.context("cargo built no binary")
}
