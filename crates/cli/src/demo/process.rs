//! One node's process: `serve`, started, stopped where it stands, and ended.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};

/// How long a node may take to answer.
const READY_TIME: Duration = Duration::from_secs(60);
/// How long it may take to close its store.
const CLOSE_TIME: Duration = Duration::from_secs(20);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(20);
/// Of what it said last, so much is told where it does not come up.
const TOLD_LINES: usize = 8;

/// How a node is started.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) name: String,
    /// Its data, and its log beside it.
    pub(super) dir: PathBuf,
    /// Where clients reach it.
    pub(super) listen: SocketAddr,
    /// Where it listens for peers.
    pub(super) peer_listen: SocketAddr,
    /// Where peers reach it.
    pub(super) way_in: SocketAddr,
    /// Through whom it joins; none for the first.
    pub(super) join: Option<SocketAddr>,
}

impl Node {
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .with_context(|| format!("cannot write {}", self.log().display()))?;
        command
            .args(["serve", "--quiet", "--name", &self.name])
            .arg("--data-dir")
            .arg(self.dir.join("data"))
            .args(["--listen", &self.listen.to_string()])
            .args(["--peer-listen", &self.peer_listen.to_string()])
            .args(["--peer-advertise", &self.way_in.to_string()])
            // Many share this machine.
            .args(["--memory-budget", "128MiB"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for the demonstration, which ends its nodes in order.
            .process_group(0);
        if let Some(join) = self.join {
            command.args(["--join", &join.to_string()]);
        }
        // What is meant for the commands of this terminal is not meant for nodes.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RINGWOOD_") {
                command.env_remove(name);
            }
        }
        Ok(command)
    }

    /// Starts it. It ends with the value that is returned, at the latest.
    ///
    /// # Errors
    /// When the system does not start it.
    pub(super) fn start(&self) -> Result<Process> {
        std::fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot make {}", self.dir.display()))?;
        let child = self.command()?.spawn();
        let child = child.with_context(|| format!("cannot start {}", self.name))?;
        Ok(Process {
            child,
            paused: false,
        })
    }
}

/// A node's process; killed when it goes.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    paused: bool,
}

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Returns once `node` answers clients.
    ///
    /// # Errors
    /// When it ends instead, or takes too long; with what it said last.
    pub(super) async fn ready(&mut self, node: &Node) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Err(anyhow!("{}", last_lines(&node.log()))
                    .context(format!("{} ended with {status}", node.name)));
            }
            if tokio::net::TcpStream::connect(node.listen).await.is_ok() {
                return Ok(());
            }
            if begun.elapsed() > READY_TIME {
                return Err(anyhow!("{}", last_lines(&node.log())).context(format!(
                    "{} does not answer after {} s",
                    node.name,
                    READY_TIME.as_secs()
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops it where it stands, or lets it go on.
    ///
    /// # Errors
    /// When the system does not.
    pub(super) fn pause(&mut self, pause: bool) -> Result<()> {
        self.signal(if pause { Signal::STOP } else { Signal::CONT })?;
        self.paused = pause;
        Ok(())
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        // It fails where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Lets it end in order.
    pub(super) fn tell_to_stop(&mut self) {
        // It has ended already, or will be killed.
        let _ = self.signal(Signal::TERM);
        let _ = self.pause(false);
    }

    /// Returns once it has ended; not in order, if it takes too long.
    pub(super) async fn stopped(&mut self) {
        let begun = Instant::now();
        while self.ended().is_none() {
            if begun.elapsed() > CLOSE_TIME {
                return self.kill();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        // Asked first: a process that was waited for leaves its number to others.
        if self.ended().is_some() {
            return Err(anyhow!("it has ended"));
        }
        kill_process(Pid::from_child(&self.child), signal)?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n")
}
