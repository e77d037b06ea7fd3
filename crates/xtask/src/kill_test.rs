//! The kill test: a real directory tree goes in while the server is killed again and again, and
//! every file that was acknowledged must read back; then half of it is deleted, the same way, and
//! none may come back.
//!
//! It drives the binary that ships, and checks over HTTP with a client and hashes of its own, so
//! that no mistake of the binary can hide itself. Kills fall on random moments of the work's
//! progress, one in each part of it, so that all of them hit work.

mod check;
mod files;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use check::{CLIENTS, Reader};
use files::{Draw, Files, PREFIX};

use crate::binary;
use crate::server::Server;

/// How often progress is looked at.
const POLL: Duration = Duration::from_millis(2);
/// Without progress for so long, the test has failed.
const STALLED: Duration = Duration::from_secs(180);

/// What to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Take files from below this directory; otherwise from the Rust toolchain and cargo's registry.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Take so many files.
    #[arg(long, default_value_t = 300)]
    files: usize,
    /// Kill the server so often while importing, and so often again while deleting.
    #[arg(long, default_value_t = 5)]
    kills: usize,
    /// Kill the importing client so often; it goes on by its journal.
    #[arg(long, default_value_t = 2)]
    client_kills: usize,
    /// Draws the same moments and files again.
    #[arg(long)]
    seed: Option<u64>,
    /// The profile to build the binary with.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Keep everything in this directory, which must be empty; otherwise a temporary one.
    #[arg(long)]
    work_dir: Option<PathBuf>,
}

/// Everything one run uses.
struct Run<'a> {
    arguments: &'a Arguments,
    binary: PathBuf,
    directory: PathBuf,
    files: Files,
    server: Server,
    draw: Draw,
}

/// Runs the test, and prints its figures as JSON.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let binary = binary::build(root, &arguments.profile)?;
    let temporary = tempfile::tempdir()?;
    let directory = arguments
        .work_dir
        .clone()
        .unwrap_or_else(|| temporary.path().to_owned());
    fs::create_dir_all(&directory)?;
    let seed = arguments
        .seed
        .unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("kill test: seed {seed}, in {}", directory.display());
    let files = Files::gather(
        arguments.dir.as_deref(),
        arguments.files,
        &directory.join("files"),
    )?;
    eprintln!("kill test: {} files, {} bytes", files.len(), files.bytes());
    let server = Server::start(&binary, &directory)?;
    let mut run = Run {
        arguments,
        binary,
        directory,
        files,
        server,
        draw: Draw(seed),
    };
    let figures = run.all(seed)?;
    println!("{figures:#}");
    Ok(())
}

impl Run<'_> {
    fn all(&mut self, seed: u64) -> Result<Value> {
        let started = Instant::now();
        let (imports, summary) = self.import()?;
        let import_seconds = started.elapsed().as_secs_f64();
        let everything = self.files.by_key();
        let mut checked = Reader::new(self.server.url()).check(&everything, &[])?;

        let (gone, kept) = self.files.halve(&mut self.draw);
        let started = Instant::now();
        self.delete(&gone)?;
        let delete_seconds = started.elapsed().as_secs_f64();
        checked += Reader::new(self.server.url()).check(&kept, &gone)?;

        // Once more from what is on disk alone.
        self.server.kill()?;
        self.server.restart()?;
        checked += Reader::new(self.server.url()).check(&kept, &gone)?;
        self.server.stop()?;
        self.verify()?;
        Ok(json!({
            "seed": seed,
            "files": self.files.len(),
            "bytes": self.files.bytes(),
            "server_kills": self.server.kills(),
            "client_runs": imports,
            "last_import": summary,
            "import_seconds": import_seconds,
            "delete_seconds": delete_seconds,
            "deleted": gone.len(),
            "slowest_start_ms": u64::try_from(self.server.slowest_start().as_millis())?,
            "keys_checked": checked,
        }))
    }

    /// Imports everything. Returns how many runs of the client that took, and what the last one says.
    fn import(&mut self) -> Result<(usize, Value)> {
        let journal = self.directory.join("import.journal");
        let mut server_kills = self.moments(self.arguments.kills);
        let mut client_kills = self.moments(self.arguments.client_kills);
        let mut importer = self.start_import(&journal)?;
        let mut runs = 1;
        let mut watch = Watch::new();
        loop {
            if let Some(status) = importer.try_wait()? {
                let output = importer.wait_with_output()?;
                ensure!(
                    status.success(),
                    "the import failed ({status}); see import.log"
                );
                self.server.kill_times(server_kills.len())?;
                return Ok((runs, serde_json::from_slice(&output.stdout)?));
            }
            let acknowledged = lines(&journal);
            watch.see(acknowledged)?;
            if server_kills.last().is_some_and(|&at| acknowledged >= at) {
                server_kills.pop();
                thread::sleep(Duration::from_micros(self.draw.below(20_000)));
                self.server.kill()?;
                self.server.restart()?;
            }
            if client_kills.last().is_some_and(|&at| acknowledged >= at) {
                client_kills.pop();
                importer.kill()?;
                importer.wait()?;
                importer = self.start_import(&journal)?;
                runs += 1;
            }
            thread::sleep(POLL);
        }
    }

    fn start_import(&self, journal: &Path) -> Result<Child> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("import.log"))?;
        let child = Command::new(&self.binary)
            .args([
                "--output",
                "json",
                "--url",
                self.server.url(),
                "import",
                "tree",
            ])
            .arg(self.files.directory())
            .args(["--prefix", PREFIX, "--give-up-after", "120s", "--journal"])
            .arg(journal)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        Ok(child)
    }

    /// Deletes these keys with several clients, which repeat what was not acknowledged.
    fn delete(&mut self, keys: &[String]) -> Result<()> {
        let mut kills = self.moments_of(self.arguments.kills, keys.len());
        let (next, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
        let url = self.server.url().to_owned();
        let (server, draw) = (&mut self.server, &mut self.draw);
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let reader = Reader::new(&url);
                    while let Some(key) = usize::try_from(next.fetch_add(1, Ordering::Relaxed))
                        .ok()
                        .and_then(|at| keys.get(at))
                    {
                        let began = Instant::now();
                        while !reader.delete(key) && began.elapsed() < STALLED {
                            thread::sleep(Duration::from_millis(20));
                        }
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let mut watch = Watch::new();
            loop {
                let done = acknowledged.load(Ordering::Relaxed);
                watch.see(done)?;
                if kills.last().is_some_and(|&at| done >= at) {
                    kills.pop();
                    thread::sleep(Duration::from_micros(draw.below(20_000)));
                    server.kill()?;
                    server.restart()?;
                }
                if done == keys.len() as u64 {
                    return server.kill_times(kills.len());
                }
                thread::sleep(POLL);
            }
        })
    }

    fn verify(&self) -> Result<()> {
        let verified = Command::new(&self.binary)
            .args(["--output", "json", "verify"])
            .arg(self.server.data_dir())
            .output()?;
        let told = String::from_utf8_lossy(&verified.stdout);
        ensure!(
            verified.status.success(),
            "verify is not clean: {told}{}",
            String::from_utf8_lossy(&verified.stderr)
        );
        Ok(())
    }

    /// Random moments of the import, by files acknowledged: the next one last.
    fn moments(&mut self, count: usize) -> Vec<u64> {
        self.moments_of(count, self.files.len())
    }

    fn moments_of(&mut self, count: usize, all: usize) -> Vec<u64> {
        // The last part is left alone: a kill there might come too late to hit anything.
        let part = (all as u64 * 9 / 10) / (count as u64).max(1);
        let moment = |at: u64| at * part + self.draw.below(part.max(1));
        let mut moments: Vec<_> = (0..count as u64).map(moment).collect();
        moments.reverse();
        moments
    }
}

/// Notices when nothing goes forward.
struct Watch {
    seen: u64,
    since: Instant,
}

impl Watch {
    fn new() -> Self {
        Self {
            seen: 0,
            since: Instant::now(),
        }
    }

    fn see(&mut self, progress: u64) -> Result<()> {
        if progress != self.seen {
            (self.seen, self.since) = (progress, Instant::now());
        }
        ensure!(
            self.since.elapsed() < STALLED,
            "nothing went forward for {STALLED:?}"
        );
        Ok(())
    }
}

/// Files that the journal says were acknowledged: its lines but for the first.
fn lines(journal: &Path) -> u64 {
    let text = fs::read(journal).unwrap_or_default();
    (text.split(|&byte| byte == b'\n').count() as u64).saturating_sub(2)
}
