//! The two programs: built here, started on ports of their own, ended with their handle.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// `ringwood dev`.
    Ringwood,
    /// The example `bare` of the server: the same stack, without a node.
    Bare,
}

/// Builds a program as it is released; returns where it lies.
pub(crate) fn build(program: Program) -> Result<PathBuf> {
    let (name, target) = match program {
        Program::Ringwood => ("ringwood", ["-p", "ringwood", "--bin", "ringwood"]),
        Program::Bare => ("bare", ["-p", "ringwood-server", "--example", "bare"]),
    };
    let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args([
            "build",
            "--release",
            "--message-format=json-render-diagnostics",
        ])
        .args(target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "{name} does not build");
    let messages = String::from_utf8(output.stdout)?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo does not say where {name} is"))
}

/// A running program; killed when it is dropped.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a program and waits until it listens. Its data is kept in `data`.
    pub(crate) fn start(program: Program, path: &Path, data: &Path) -> Result<Self> {
        let mut command = Command::new(path);
        match program {
            Program::Ringwood => command
                .args([
                    "--output",
                    "json",
                    "dev",
                    "--listen",
                    "127.0.0.1:0",
                    "--data-dir",
                ])
                .arg(data.join("store")),
            Program::Bare => command.arg("0"),
        };
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().context("it was asked for")?;
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        match read.map_err(Into::into).and_then(|_| address_in(&line)) {
            Ok(address) => Ok(Self { process, address }),
            Err(error) => {
                process.kill()?;
                process.wait()?;
                Err(error.context(format!("{} did not start", path.display())))
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, or ends now: there is nothing to do about an error.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Finds the address in the line a program says it listens with.
fn address_in(line: &str) -> Result<SocketAddr> {
    let digits = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
    let found = line
        .split(|c| !digits(c))
        .find_map(|word| word.trim_start_matches(':').parse().ok());
    match found {
        Some(address) => Ok(address),
        None => bail!("no address in {line:?}"),
    }
}
