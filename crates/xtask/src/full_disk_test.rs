//! The full disk test: a server on a small file system is filled until it takes nothing more, and emptied
//! by deletes, again and again. Each time it must take values again soon, and nothing that was
//! acknowledged may be missing, also over a SIGKILL while it is full.
//!
//! The file systems are mounted in a mount namespace of the test's own, and go with it. That takes root.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use ureq::Agent;

use crate::server::Server;
use crate::{binary, http};

/// Set for the run inside of the namespace.
const INSIDE: &str = "FULL_DISK_TEST_INSIDE";
/// Longer than any value.
const BODY_MAX: u64 = 1 << 26;
/// How long a server may ask to be asked again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Megabytes of the file systems, one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 160, 420, 1200])]
    megabytes: Vec<u64>,
    /// Fill and empty each so often.
    #[arg(long, default_value_t = 10)]
    cycles: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 600_000)]
    value_bytes: usize,
    /// It must take values again within so many milliseconds after deletes.
    #[arg(long, default_value_t = 10_000)]
    limit_ms: u64,
    /// What is mounted: `ext4`, in a file behind a loop device, or `tmpfs`.
    #[arg(long, default_value = "ext4")]
    file_system: String,
    /// The profile to build the binary with.
    #[arg(long, default_value = "release")]
    profile: String,
}

/// Runs the test, and prints its figures as JSON.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if env::var_os(INSIDE).is_none() {
        return enter_namespace();
    }
    let binary = binary::build(root, &arguments.profile)?;
    let directory = tempfile::tempdir()?;
    let mut figures = Vec::new();
    for megabytes in &arguments.megabytes {
        let mounted = Mounted::new(directory.path(), &arguments.file_system, *megabytes)?;
        let of_size = fill_and_empty(&binary, &mounted, directory.path(), *megabytes, arguments)
            .with_context(|| {
                let log = fs::read_to_string(directory.path().join("server.log"));
                let log = log.unwrap_or_default();
                let lines: Vec<_> = log.lines().rev().take(20).collect();
                format!(
                    "{megabytes} MB; the server's last lines:\n{}",
                    lines.join("\n")
                )
            })?;
        eprintln!("full disk test: {of_size}");
        figures.push(of_size);
    }
    println!("{:#}", Value::from(figures));
    Ok(())
}

/// Runs itself again, where its mounts are nobody else's.
fn enter_namespace() -> Result<()> {
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .context("unshare does not start")?;
    ensure!(
        status.success(),
        "failed (to mount file systems takes root)"
    );
    Ok(())
}

/// A file system of some size.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    fn new(directory: &Path, kind: &str, megabytes: u64) -> Result<Self> {
        let at = directory.join(format!("{megabytes}"));
        fs::create_dir(&at)?;
        let bytes = megabytes * 1_000_000;
        match kind {
            "tmpfs" => {
                let size = format!("size={bytes}");
                command("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], &at)?;
            }
            "ext4" => {
                let image = directory.join(format!("{megabytes}.image"));
                fs::File::create(&image)?.set_len(bytes)?;
                command("mkfs.ext4", &["-q", "-m", "0"], &image)?;
                let image = image.to_str().context("a path in UTF-8")?;
                command("mount", &["-o", "loop", image], &at)?;
            }
            other => bail!("{other} is not known: ext4 or tmpfs"),
        }
        Ok(Self { at })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = command("umount", &[], &self.at);
    }
}

fn command(program: &str, arguments: &[&str], last: &Path) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .arg(last)
        .status()
        .with_context(|| format!("{program} does not start"))?;
    ensure!(status.success(), "{program} failed on {}", last.display());
    Ok(())
}

fn fill_and_empty(
    binary: &Path,
    mounted: &Mounted,
    logs: &Path,
    megabytes: u64,
    arguments: &Arguments,
) -> Result<Value> {
    let settings = ["storage.memory_budget=64MiB".to_owned()];
    let mut server = Server::start_beside(binary, &mounted.at, logs, &settings)?;
    let mut client = Client::new(server.url(), arguments.value_bytes);
    let kept: Vec<_> = (0..4)
        .map(|_| client.put())
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();
    ensure!(kept.len() == 4, "an empty disk takes four values");
    let (mut stored, mut waits) = (Vec::new(), Vec::new());
    for cycle in 0..arguments.cycles {
        let mut keys = Vec::new();
        while let Some(key) = client.put_while_any()? {
            keys.push(key);
        }
        stored.push(keys.len());
        let state = client.readiness()?;
        ensure!(state.contains("full"), "it is full, and says {state:?}");
        if cycle % 3 == 1 {
            server.kill()?;
            server.restart()?;
            client.url = server.url().to_owned();
        }
        client.check_all()?;
        // Half of it, evenly spread, and then the rest.
        let (half, rest): (Vec<u64>, Vec<u64>) =
            keys.iter().partition(|key| **key % 2 == cycle % 2);
        for part in [half, rest] {
            for key in part {
                client.delete(key)?;
            }
            let (key, took) = client.put_within(Duration::from_millis(arguments.limit_ms))?;
            waits.push(u64::try_from(took.as_millis())?);
            client.check_all()?;
            client.delete(key)?;
        }
    }
    client.check_gone()?;
    server.stop()?;
    let (least, most) = (stored.iter().min(), stored.iter().max());
    let (least, most) = (least.context("a cycle")?, most.context("a cycle")?);
    ensure!(
        least * 10 >= most * 8,
        "it took {most} values once, and {least} another time: {stored:?}"
    );
    Ok(json!({
        "megabytes": megabytes,
        "cycles": arguments.cycles,
        "values_least": least,
        "values_most": most,
        "filled_percent": least * arguments.value_bytes * 100 / usize::try_from(megabytes * 1_000_000)?,
        "writable_again_ms": waits.iter().max(),
        "kills": server.kills(),
        "starts_slowest_ms": u64::try_from(server.slowest_start().as_millis())?,
    }))
}

/// A client that knows what was acknowledged.
struct Client {
    agent: Agent,
    url: String,
    value_len: usize,
    next: u64,
    /// Whether each key that was ever acknowledged is there.
    keys: BTreeMap<u64, bool>,
}

impl Client {
    fn new(url: &str, value_len: usize) -> Self {
        Self {
            agent: http::agent(),
            url: url.to_owned(),
            value_len,
            next: 0,
            keys: BTreeMap::new(),
        }
    }

    fn path(&self, key: u64) -> String {
        // Spread over the key space, as keys are.
        let spread = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{}/kv/{spread:016x}", self.url)
    }

    /// What a key's value is: nothing that compresses.
    fn value(&self, key: u64) -> Vec<u8> {
        let mut state = key ^ 0x2545_f491_4f6c_dd1d;
        let mut value = Vec::with_capacity(self.value_len + 8);
        while value.len() < self.value_len {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            value.extend_from_slice(&state.to_le_bytes());
        }
        value.truncate(self.value_len);
        value
    }

    /// Stores the next value; `None`: the disk is full.
    fn put(&mut self) -> Result<Option<u64>> {
        let key = self.next;
        let value = self.value(key);
        let begun = Instant::now();
        loop {
            let answer = self.agent.put(self.path(key)).send(&value)?;
            match answer.status().as_u16() {
                200 | 201 | 204 => {
                    self.next += 1;
                    self.keys.insert(key, true);
                    return Ok(Some(key));
                }
                507 => return Ok(None),
                429 | 503 if begun.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(20));
                }
                status => bail!("a put was answered with {status}"),
            }
        }
    }

    /// Stores the next value; `None`: none is taken for a while. What was deleted before is gone by then.
    fn put_while_any(&mut self) -> Result<Option<u64>> {
        const WHILE: Duration = Duration::from_secs(3);
        let begun = Instant::now();
        loop {
            let put = self.put()?;
            if put.is_some() || begun.elapsed() >= WHILE {
                return Ok(put);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Stores a value as soon as one is taken, and says after how long.
    fn put_within(&mut self, limit: Duration) -> Result<(u64, Duration)> {
        let begun = Instant::now();
        loop {
            if let Some(key) = self.put()? {
                return Ok((key, begun.elapsed()));
            }
            ensure!(
                begun.elapsed() < limit,
                "still full {limit:?} after the deletes"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn delete(&mut self, key: u64) -> Result<()> {
        let begun = Instant::now();
        loop {
            let answer = self.agent.delete(self.path(key)).call()?;
            match answer.status().as_u16() {
                200 | 204 => break,
                429 | 503 if begun.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(20));
                }
                status => bail!("a delete was answered with {status}"),
            }
        }
        self.keys.insert(key, false);
        Ok(())
    }

    /// Reads all that was acknowledged.
    fn check_all(&self) -> Result<()> {
        for (key, _) in self.keys.iter().filter(|(_, is_there)| **is_there) {
            let (status, body) = self.get(*key)?;
            ensure!(status == 200, "{key} was acknowledged, and reads {status}");
            ensure!(
                body == self.value(*key),
                "{key} was acknowledged, and differs"
            );
        }
        Ok(())
    }

    /// Looks that nothing has come back.
    fn check_gone(&self) -> Result<()> {
        for (key, _) in self.keys.iter().filter(|(_, is_there)| !**is_there) {
            let (status, _) = self.get(*key)?;
            ensure!(status == 404, "{key} was deleted, and reads {status}");
        }
        Ok(())
    }

    fn get(&self, key: u64) -> Result<(u16, Vec<u8>)> {
        let mut answer = self.agent.get(self.path(key)).call()?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(BODY_MAX);
        Ok((status, body.read_to_vec()?))
    }

    fn readiness(&self) -> Result<String> {
        let mut answer = self.agent.get(format!("{}/readyz", self.url)).call()?;
        Ok(answer.body_mut().read_to_string()?)
    }
}
