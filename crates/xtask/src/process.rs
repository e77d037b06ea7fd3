//! What the system says about a process.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Ticks of a second in `/proc/PID/stat`: fixed for every program on Linux.
const TICKS: f64 = 100.0;

/// Memory that it has in RAM, in KiB.
pub(crate) fn rss_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.context("the system does not tell the memory of a process")
}

/// The share of one core that it takes over `time`, in percent.
pub(crate) fn cpu_percent(pid: u32, time: Duration) -> Result<f64> {
    let before = ticks(pid)?;
    thread::sleep(time);
    Ok((ticks(pid)? - before) / TICKS / time.as_secs_f64() * 100.0)
}

fn ticks(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Its name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("a stat has a name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = field(11).zip(field(12)).context("a stat has times")?;
    Ok(user + system)
}

/// Bytes of all files below a directory.
pub(crate) fn bytes_below(directory: &Path) -> u64 {
    let entries = walkdir::WalkDir::new(directory).into_iter().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|metadata| metadata.len())
        .sum()
}
