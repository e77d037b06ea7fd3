//! The real binary, driven as a person or a script would.
#![allow(dead_code, reason = "each test file uses what it needs")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

/// A command of the binary, with nothing from this process's environment that it would heed.
pub(crate) fn ringwood(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwood"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGWOOD_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("not ended by a signal"),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn run(command: &mut Command) -> Ran {
    command.stdin(Stdio::null()).output().unwrap().into()
}

/// A terminal, from the side of who looks at it.
pub(crate) struct Terminal(OwnedFd);

impl Terminal {
    pub(crate) fn open() -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        Self(screen)
    }

    /// Starts a command at it.
    pub(crate) fn spawn(&self, mut command: Command) -> Child {
        let name = ptsname(&self.0, Vec::new()).unwrap();
        let terminal = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        command
            .stdin(terminal.try_clone().unwrap())
            .stdout(terminal.try_clone().unwrap())
            .stderr(terminal)
            .spawn()
            .unwrap() // and our end of the terminal goes with the command
    }
}

impl From<Terminal> for File {
    fn from(terminal: Terminal) -> Self {
        Self::from(terminal.0)
    }
}

/// Runs a command at a terminal, on which `typed` comes in; gives its code and what stands on the screen.
pub(crate) fn at_terminal(command: Command, typed: &str) -> (i32, String) {
    let terminal = Terminal::open();
    let mut child = terminal.spawn(command);
    let mut screen = File::from(terminal);
    screen.write_all(typed.as_bytes()).unwrap();
    let mut shown = Vec::new();
    // Ends with an error once nobody has the terminal open.
    let _ = screen.read_to_end(&mut shown);
    let code = child.wait().unwrap().code().unwrap();
    (code, String::from_utf8_lossy(&shown).into_owned())
}

/// A server of ours, on any free port of loopback.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    data_dir: PathBuf,
}

impl Server {
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &[])
    }

    pub(crate) fn start_with(data_dir: &Path, arguments: &[&str]) -> Self {
        let (child, url) = spawn(data_dir, "127.0.0.1:0", arguments);
        Self {
            child,
            url,
            data_dir: data_dir.to_owned(),
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same address.
    pub(crate) fn restart(&mut self) {
        (self.child, _) = spawn(&self.data_dir, self.url.trim_start_matches("http://"), &[]);
    }

    /// What it has said since it was started.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log_of(&self.data_dir)).unwrap()
    }

    /// SIGTERM; the code it ends with.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().code()
    }

    /// A command about this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ringwood(arguments);
        command.env("RINGWOOD_URL", &self.url);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    pub(crate) fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        thread::scope(|scope| {
            // Fails when the command does not read to the end; its result tells that.
            scope.spawn(move || _ = pipe.write_all(stdin));
            child.wait_with_output().unwrap().into()
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Beside the data: nothing of ours lies in it.
fn log_of(data_dir: &Path) -> PathBuf {
    let mut name = data_dir.as_os_str().to_owned();
    name.push(".log");
    name.into()
}

fn spawn(data_dir: &Path, listen: &str, arguments: &[&str]) -> (Child, String) {
    let mut child = ringwood(&[
        "-o",
        "json",
        "dev",
        "--listen",
        listen,
        "--memory-budget",
        "64MiB",
    ])
    .arg("--set")
    .arg("storage.log_segment_len=4MiB")
    .args(arguments)
    .arg("--data-dir")
    .arg(data_dir)
    .stdout(Stdio::piped())
    .stderr(File::create(log_of(data_dir)).unwrap())
    .spawn()
    .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ready: Value = serde_json::from_str(&line).expect("the server did not become ready");
    (child, ready["url"].as_str().unwrap().to_owned())
}

/// Looks until something is there; ten seconds at most.
pub(crate) fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it never came")
}
