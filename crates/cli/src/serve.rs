//! `dev` and `serve`: one node behind HTTP, until it is told to stop.

use std::future::Future;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use ringwood_node::{Node, NodeConfig};
use ringwood_server::Server;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, LogFormat, Sources};
use crate::memory;
use crate::outcome::Outcome;
use crate::output::{self, Format};

/// How long work for clients that were cut off may go on.
const LEFT_OVER: Duration = Duration::from_secs(2);

/// Run one node on this machine, to try things out: loopback only, no authentication.
#[derive(Args, Debug)]
pub(crate) struct Dev {
    #[command(flatten)]
    sources: Sources,
}

/// Run a node as its configuration says.
#[derive(Args, Debug)]
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
        serve(self.sources.load()?.check()?, format, false)
    }
}

fn serve(config: Config, format: Format, hints: bool) -> Result<Outcome> {
    let started = Instant::now();
    start_log(&config)?;
    let data_dir = config.node.engine.path.clone();
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
        let stop = stop_signal()?;
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

fn start_log(config: &Config) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log_filter)
        .with_context(|| format!("log.filter {:?}", config.log_filter))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(
            io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()),
        )
        .with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
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
    eprintln!(
        "ringwood is ready on {url} (data in {}, after {:.2?})",
        data_dir.display(),
        started.elapsed()
    );
    if hints {
        let at = if address.port() == 7400 {
            String::new()
        } else {
            format!(" --url {url}")
        };
        eprintln!(
            "\nTry in another terminal:\n\
             \x20 ringwood put greeting hello{at}\n\
             \x20 ringwood get greeting{at}\n\
             \x20 ringwood scan{at}\n\
             \x20 curl -T README.md {url}/kv/readme\n\
             \x20 ringwood status{at}\n\nCtrl-C stops it."
        );
    }
    Ok(())
}
