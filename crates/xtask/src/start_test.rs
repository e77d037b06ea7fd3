//! The start test: how soon a server is ready: a new one, one with gigabytes in its store that was killed in
//! the middle of writing, again and again, and one that was closed in order.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::server::Server;
use crate::{binary, load, process};

/// What to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Gigabytes of values to begin with.
    #[arg(long, default_value_t = 5)]
    gigabytes: u64,
    /// Kill the server so often.
    #[arg(long, default_value_t = 5)]
    kills: u64,
    /// Every start must be ready within so many milliseconds.
    #[arg(long, default_value_t = 2000)]
    limit_ms: u64,
    /// The profile to build the binary with.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Work in this directory, and keep it; a store that is there already is used as it is.
    #[arg(long)]
    work_dir: Option<PathBuf>,
}

/// Runs the test, and prints its figures as JSON.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let binary = binary::build(root, &arguments.profile)?;
    let temporary = tempfile::tempdir()?;
    let directory = arguments.work_dir.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(directory)?;
    let bytes = arguments.gigabytes * 1_000_000_000;
    let is_filled = directory.join("data").exists();
    let mut server = Server::start(&binary, directory)?;
    let new = json!({
        "start_ms": server.last_start().as_secs_f64() * 1000.0,
        "disk_bytes": process::bytes_below(server.data_dir()),
    });
    if !is_filled {
        load::fill(&binary, server.url(), bytes)?;
    }
    let mut starts_ms = Vec::new();
    for round in 0..arguments.kills {
        let mut writer = load::keep_writing(&binary, server.url(), bytes)?;
        thread::sleep(Duration::from_millis(2000 + 700 * round));
        server.kill()?;
        writer.kill()?;
        writer.wait()?;
        server.restart()?;
        let took = u64::try_from(server.last_start().as_millis())?;
        eprintln!("start test: ready after {took} ms");
        starts_ms.push(took);
    }
    let mut closed_ms = Vec::new();
    for _ in 0..arguments.kills {
        server.stop()?;
        server.restart()?;
        closed_ms.push(server.last_start().as_secs_f64() * 1000.0);
    }
    let figures = json!({
        "gigabytes": arguments.gigabytes,
        "new": if is_filled { Value::Null } else { new },
        "closed_in_order_starts_ms": closed_ms,
        "store_bytes": process::bytes_below(server.data_dir()),
        "starts_ms": starts_ms,
    });
    println!("{figures:#}");
    server.stop()?;
    let slowest = starts_ms
        .into_iter()
        .max()
        .context("there is no start without a kill")?;
    ensure!(
        slowest <= arguments.limit_ms,
        "a start took {slowest} ms; the limit is {} ms",
        arguments.limit_ms
    );
    Ok(())
}
