//! The server under test: a process of ours, killed and restarted on the same address.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub(crate) struct Server {
    program: Program,
    url: String,
    child: Child,
    kills: usize,
    last_start: Duration,
    slowest_start: Duration,
}

/// How it is started.
struct Program {
    binary: PathBuf,
    data_dir: PathBuf,
    log: PathBuf,
    settings: Vec<String>,
}

impl Server {
    /// Starts it on any free port of loopback, with its data below `directory`.
    pub(crate) fn start(binary: &Path, directory: &Path) -> Result<Self> {
        Self::start_with(binary, directory, &[])
    }

    /// As [`Server::start`], with some of its settings, each `KEY=VALUE`.
    pub(crate) fn start_with(binary: &Path, directory: &Path, settings: &[String]) -> Result<Self> {
        Self::start_beside(binary, directory, directory, settings)
    }

    /// As [`Server::start_with`], with its log lines in another directory.
    pub(crate) fn start_beside(
        binary: &Path,
        directory: &Path,
        logs: &Path,
        settings: &[String],
    ) -> Result<Self> {
        let program = Program {
            binary: binary.to_owned(),
            data_dir: directory.join("data"),
            log: logs.join("server.log"),
            settings: settings.to_vec(),
        };
        let (child, url, took) = program.spawn("127.0.0.1:0")?;
        Ok(Self {
            program,
            url,
            child,
            kills: 0,
            last_start: took,
            slowest_start: took,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.program.data_dir
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How long it took to be ready the last time, from the moment it was started.
    pub(crate) fn last_start(&self) -> Duration {
        self.last_start
    }

    pub(crate) fn kills(&self) -> usize {
        self.kills
    }

    /// The longest that it took to be ready.
    pub(crate) fn slowest_start(&self) -> Duration {
        self.slowest_start
    }

    /// SIGKILL: it gets no chance to do anything.
    pub(crate) fn kill(&mut self) -> Result<()> {
        ensure!(
            self.child.try_wait()?.is_none(),
            "the server ended by itself; see server.log"
        );
        self.child.kill()?;
        self.child.wait()?;
        self.kills += 1;
        Ok(())
    }

    /// Kills and restarts it this often, one after the other: kills for which the work was too quick,
    /// and which what it left behind must stand all the same.
    pub(crate) fn kill_times(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            self.kill()?;
            self.restart()?;
        }
        Ok(())
    }

    /// Starts it again, on the same address and data.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let address = self.url.trim_start_matches("http://");
        let (child, url, took) = self.program.spawn(address)?;
        (self.child, self.url, self.last_start) = (child, url, took);
        self.slowest_start = self.slowest_start.max(took);
        Ok(())
    }

    /// SIGTERM, and waits for it to close in order.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        ensure!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()?
                .success(),
            "the server is gone"
        );
        let status = self.child.wait()?;
        ensure!(
            status.success(),
            "the server did not stop in order ({status}); see server.log"
        );
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn spawn(&self, listen: &str) -> Result<(Child, String, Duration)> {
        let started = Instant::now();
        let mut command = Command::new(&self.binary);
        command.args(["--output", "json", "serve", "--listen", listen]);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        let mut child = command
            .arg("--data-dir")
            .arg(&self.data_dir)
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&self.log)?)
            .spawn()
            .context("the server does not start")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("stdout is piped")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line)
            .with_context(|| format!("the server is not ready; see {}", self.log.display()))?;
        let url = ready["url"]
            .as_str()
            .context("the server does not say where it is")?
            .to_owned();
        Ok((child, url, started.elapsed()))
    }
}
