//! Bytes that a process wrote, and bytes that a directory holds.

use std::path::Path;

use anyhow::{Context, Result};

/// Bytes this process has sent to the disk's layer so far.
pub fn written_by_process() -> Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("no write_bytes")?.parse()?)
}

/// Bytes of the files below `directory`, as allocated.
pub fn held_by(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            held_by(&entry.path())?
        } else {
            metadata.blocks() * 512
        };
    }
    Ok(bytes)
}

/// The tables' part of it: what stays when logs are given up.
pub fn held_by_tables(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            bytes += held_by_tables(&path)?;
        } else if path
            .extension()
            .is_none_or(|ending| ending != "log" && ending != "jnl")
        {
            bytes += std::fs::metadata(&path)?.len();
        }
    }
    Ok(bytes)
}
