//! The binary that ships, and examples, built for a test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Builds the binary that ships, and says where it is.
pub(crate) fn build(root: &Path, profile: &str) -> Result<PathBuf> {
    build_target(
        root,
        &["--package", "ringwood", "--profile", profile],
        "ringwood",
    )
}

/// Builds an example of a package as it would be released, and says where it is.
pub(crate) fn build_example(root: &Path, package: &str, example: &str) -> Result<PathBuf> {
    let target = ["--package", package, "--release", "--example", example];
    build_target(root, &target, example)
}

fn build_target(root: &Path, target: &[&str], name: &str) -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--message-format", "json-render-diagnostics"])
        .args(target)
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo does not start")?;
    ensure!(built.status.success(), "{name} does not build");
    let messages = String::from_utf8(built.stdout)?;
    let artifacts = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let binaries = artifacts.filter(|one| one["target"]["name"] == name);
    let path = binaries
        .filter_map(|one| one["executable"].as_str().map(PathBuf::from))
        .next_back();
    path.context("cargo built no binary")
}
