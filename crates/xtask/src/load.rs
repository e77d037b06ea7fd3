//! Load on a server under test, made by the binary's own `bench`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Length of a record's value.
pub(crate) const VALUE_LEN: u64 = 1000;

/// Writes so many bytes of values, and returns when all were acknowledged.
pub(crate) fn fill(binary: &Path, url: &str, bytes: u64) -> Result<()> {
    let status = bench(binary, url, bytes / VALUE_LEN)
        .args(["c", "--operations", "1"])
        .status()
        .context("the load does not start")?;
    ensure!(status.success(), "the load failed ({status})");
    Ok(())
}

/// Keeps updating what [`fill`] wrote until it is killed.
pub(crate) fn keep_writing(binary: &Path, url: &str, bytes: u64) -> Result<Child> {
    bench(binary, url, bytes / VALUE_LEN)
        .args([
            "a",
            "--distribution",
            "uniform",
            "--skip-load",
            "--duration",
            "10m",
        ])
        .spawn()
        .context("the load does not start")
}

fn bench(binary: &Path, url: &str, records: u64) -> Command {
    let mut command = Command::new(binary);
    command
        .args([
            "--url",
            url,
            "bench",
            "--keep",
            "--buffered",
            "--connections",
            "32",
        ])
        .args(["--records", &records.to_string()])
        .args(["--value-len", &VALUE_LEN.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
