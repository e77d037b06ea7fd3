//! `dev` and `serve`: one node behind HTTP, until it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, absolute};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use ringwood_node::{Node, NodeConfig};
use ringwood_server::Server;

use crate::config::{Config, LogFormat, Sources};
use crate::interrupt;
use crate::memory;
use crate::outcome::{Outcome, UsageError, unreadable};
use crate::output::{self, Format};
use crate::terminal;

/// What a file system has of its own in its first directory, and what a start leaves that went no further.
const OF_NOBODY: &[&str] = &["lost+found", "LOCK"];
/// Of foreign files, so many are named.
const FOREIGN_SHOWN: usize = 5;
/// How long work for clients that were cut off may go on.
const LEFT_OVER: Duration = Duration::from_secs(2);

/// Run one node on this machine, to try things out: loopback only, no authentication.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ringwood dev
  ringwood dev --data-dir /tmp/try --listen 127.0.0.1:0 --memory-budget 64MiB")]
pub(crate) struct Dev {
    #[command(flatten)]
    sources: Sources,
}

/// Run a node as its configuration says.
///
/// Without one it takes the defaults, and says which matter: where the data goes and who can reach it.
/// `ringwood config show` prints all.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ringwood serve --config /etc/ringwood.toml
  ringwood serve --data-dir /var/lib/ringwood --set limits.value_len=4MiB")]
pub(crate) struct Serve {
    #[command(flatten)]
    sources: Sources,
}

impl Dev {
    /// Runs until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When the node does not come up, or does not close in order.
    pub(crate) fn run(self, format: Format) -> Result<Outcome> {
        let mut loaded = self.sources.load()?;
        loaded.prefer_modest();
        serve(loaded.check()?, format, true)
    }
}

impl Serve {
    /// Runs until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// As [`Dev::run`].
    pub(crate) fn run(self, format: Format) -> Result<Outcome> {
        let config = self.sources.load()?.check()?;
        if self.sources.config.is_none() {
            let data_dir = &config.node.engine.path;
            output::say(
                format,
                format_args!(
                    "no --config FILE (or RINGWOOD_CONFIG) was given: what no flag and no variable says is as by \
                     default\n  data in {}\n  on http://{}, which only this machine can reach; there is no \
                     authentication\n  `ringwood config show --origin` prints all",
                    absolute(data_dir)
                        .unwrap_or_else(|_| data_dir.clone())
                        .display(),
                    config.server.listen
                ),
            );
        }
        serve(config, format, false)
    }
}

fn serve(config: Config, format: Format, hints: bool) -> Result<Outcome> {
    let started = Instant::now();
    start_log(&config)?;
    let data_dir = config.node.engine.path.clone();
    refuse_foreign(&data_dir)?;
    let node = NodeConfig {
        on_rest: memory::give_back,
        ..config.node
    };
    let node = Node::open(node)
        .map_err(anyhow::Error::from)
        .with_context(|| format!("cannot open the data directory {}", data_dir.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Asked for before anybody hears that we are ready, so that no signal kills us from then on.
        let stop = interrupt::told_to_stop()?;
        let listen = config.server.listen;
        let server = Server::bind(config.server, node.clone()).map_err(|error| {
            anyhow!("{error}; choose another address with --listen")
                .context(format!("cannot serve on {listen}"))
        })?;
        announce(format, hints, server.address(), &data_dir, started)?;
        server.serve(stop).await;
        anyhow::Ok(())
    })?;
    // Answers that were on their way have left, or were given up. Who reads all of the store for a
    // client that is gone need not be waited for.
    runtime.shutdown_timeout(LEFT_OVER);
    node.close()
        .context("the node did not close in order; its data is recovered at the next start")?;
    output::say(format, "stopped");
    Ok(Outcome::Done)
}

/// Refuses a directory that holds something, and no store: nobody wants his files among a store's.
///
/// # Errors
/// [`UsageError`] names some of it.
fn refuse_foreign(data_dir: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(data_dir, error)),
    };
    let mut foreign = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        match name.to_str().map(ringwood_lsm::is_store_file) {
            // A store is here, or one was begun; what else lies here is none of our business.
            Some(true) => return Ok(()),
            _ if OF_NOBODY.iter().any(|one| name == *one) => {}
            _ => foreign.push(name.to_string_lossy().into_owned()),
        }
    }
    foreign.sort();
    let shown = foreign.iter().take(FOREIGN_SHOWN).cloned();
    let shown = shown.collect::<Vec<_>>().join(", ");
    let what = match foreign.len() {
        0 => return Ok(()),
        1..=FOREIGN_SHOWN => shown,
        more => format!("{shown} and {} more", more - FOREIGN_SHOWN),
    };
    let what = format!(
        "{} holds no store, but other files: {what}",
        data_dir.display()
    );
    let help = format!(
        "name a new or an empty directory with --data-dir, such as {}",
        data_dir.join("ringwood-data").display()
    );
    Err(UsageError::new(what).with_help(help).into())
}

fn start_log(config: &Config) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log_filter)
        .with_context(|| format!("log.filter {:?}", config.log_filter))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal::has_colours(&io::stderr()))
        // It would tell of a stderr that is closed on stderr, and panic.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn announce(
    format: Format,
    hints: bool,
    address: SocketAddr,
    data_dir: &Path,
    started: Instant,
) -> Result<()> {
    let url = format!("http://{address}");
    if format == Format::Json {
        let took_ms = started.elapsed().as_millis();
        let ready = serde_json::json!({
            "status": "ready", "url": url, "data_dir": data_dir, "pid": std::process::id(),
            "took_ms": u64::try_from(took_ms).unwrap_or(u64::MAX),
        });
        output::json(&mut std::io::stdout().lock(), &ready)?;
        return Ok(());
    }
    output::say(
        format,
        format_args!(
            "ringwood is ready on {url} (data in {}, after {:.2?})",
            data_dir.display(),
            started.elapsed()
        ),
    );
    if hints {
        let at = if address.port() == 7400 {
            String::new()
        } else {
            format!(" --url {url}")
        };
        output::say(
            format,
            format_args!(
                "\nTry in another terminal:\n\
             \x20 ringwood put greeting hello{at}\n\
             \x20 ringwood get greeting{at}\n\
             \x20 ringwood scan{at}\n\
             \x20 curl -T README.md {url}/kv/readme\n\
             \x20 ringwood status{at}\n\nCtrl-C stops it."
            ),
        );
    }
    Ok(())
}
