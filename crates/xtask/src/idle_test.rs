//! The idle test: what a server takes while nobody asks it anything. When it is empty, with thousands
//! of connections that say nothing, and when it has rested behind a load.

use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use ureq::Agent;

use crate::server::Server;
use crate::{binary, load, process};

/// Requests whose latency is measured, of each kind.
const REQUESTS: usize = 2000;
/// What a server that did nothing yet may take.
const CPU_PERCENT_MAX: f64 = 1.0;
const RSS_KIB_MAX: u64 = 64 << 10;

/// What to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Connections to leave open. The limit of open files (`ulimit -n`) must allow for them here, and
    /// for twice as many in the server.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Megabytes to load before the last rest; 0 for none.
    #[arg(long, default_value_t = 1000)]
    megabytes: u64,
    /// Seconds of each rest.
    #[arg(long, default_value_t = 60)]
    rest: u64,
    /// The profile to build the binary with.
    #[arg(long, default_value = "release")]
    profile: String,
}

/// Runs the test, and prints its figures as JSON.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let binary = binary::build(root, &arguments.profile)?;
    let directory = tempfile::tempdir()?;
    let limit = format!("limits.connections={}", arguments.connections + 1);
    let mut server = Server::start_with(&binary, directory.path(), &[limit])?;
    let rest = Duration::from_secs(arguments.rest);

    let empty = resting(&server, rest)?;
    let connections = with_connections(&server, arguments.connections)?;
    let loaded = if arguments.megabytes > 0 {
        load::fill(&binary, server.url(), arguments.megabytes * 1_000_000)?;
        let at_once = process::rss_kib(server.pid())?;
        thread::sleep(rest);
        let mut figures = resting(&server, rest)?;
        figures["rss_kib_at_once"] = at_once.into();
        figures
    } else {
        Value::Null
    };
    let figures = json!({ "empty": empty, "connections": connections, "loaded": loaded });
    println!("{figures:#}");
    server.stop()?;
    for state in [&empty, &loaded] {
        let cpu = state["cpu_percent"].as_f64().unwrap_or_default();
        ensure!(
            cpu < CPU_PERCENT_MAX,
            "an idle server takes {cpu} % of a core"
        );
    }
    let rss = empty["rss_kib"].as_u64().unwrap_or_default();
    ensure!(rss < RSS_KIB_MAX, "an idle server takes {rss} KiB");
    Ok(())
}

fn resting(server: &Server, time: Duration) -> Result<Value> {
    let cpu = process::cpu_percent(server.pid(), time)?;
    Ok(json!({ "cpu_percent": cpu, "rss_kib": process::rss_kib(server.pid())? }))
}

/// Opens connections that say nothing, and asks over another one meanwhile.
fn with_connections(server: &Server, count: usize) -> Result<Value> {
    let client = Client::new(server.url());
    let alone = client.latencies()?;
    let before = process::rss_kib(server.pid())?;
    let address = server.url().trim_start_matches("http://");
    let open = |at| TcpStream::connect(address).with_context(|| format!("connection {at}"));
    let idle = (0..count).map(open).collect::<Result<Vec<_>>>()?;
    let among = client.latencies()?;
    let with = process::rss_kib(server.pid())?;
    refused(address)?;
    drop(idle);
    // Until the server has seen that they are gone.
    thread::sleep(Duration::from_secs(2));
    TcpStream::connect(address)?;
    Ok(json!({
        "count": count,
        "rss_kib_before": before,
        "rss_kib_with": with,
        "rss_kib_after": process::rss_kib(server.pid())?,
        "bytes_each": (with.saturating_sub(before) << 10) / count.max(1) as u64,
        "latency_alone": alone,
        "latency_among": among,
    }))
}

/// One connection too many is told so, in HTTP.
fn refused(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("OVERLOADED"),
        "one connection too many was answered {answer:?}"
    );
    Ok(())
}

struct Client {
    agent: Agent,
    url: String,
}

impl Client {
    fn new(server: &str) -> Self {
        let agent = Agent::config_builder().proxy(None).build();
        Self {
            agent: agent.into(),
            url: format!("{server}/kv/idle-test"),
        }
    }

    /// Of puts and of gets, in microseconds.
    fn latencies(&self) -> Result<Value> {
        let put = percentiles(|| {
            self.agent.put(&self.url).send(&[7; 1000])?;
            Ok(())
        })?;
        let get = percentiles(|| {
            let mut answer = self.agent.get(&self.url).call()?;
            answer.body_mut().read_to_vec()?;
            Ok(())
        })?;
        Ok(json!({ "put_us": put, "get_us": get }))
    }
}

fn percentiles(request: impl Fn() -> Result<()>) -> Result<Value> {
    let mut took = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let began = Instant::now();
        request()?;
        took.push(u64::try_from(began.elapsed().as_micros())?);
    }
    took.sort_unstable();
    Ok(json!({ "p50": took[REQUESTS / 2], "p99": took[REQUESTS * 99 / 100] }))
}
