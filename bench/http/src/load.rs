//! Rows measured with `wrk`: both servers in every round, in alternating order, with the same options.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::server::Server;
use crate::{Arguments, pages};

/// What `done.lua` prints.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Run {
    requests: u64,
    duration_us: u64,
    errors: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

impl Run {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 * 1e6 / self.duration_us as f64
    }
}

/// One kind of load, and what is expected of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    connections: u32,
    /// The least share of the bare handler's requests per second; none where the row informs only.
    pub(crate) least_ratio: Option<f64>,
    #[serde(skip)]
    script: Script,
}

#[derive(Clone, Copy, Debug)]
enum Script {
    /// One key, without a script: the cheapest load for `wrk`, so the hardest comparison.
    GetOne,
    GetMany,
    Put,
}

const LOADS: [Load; 5] = [
    Load {
        name: "get, 1 connection",
        connections: 1,
        least_ratio: Some(0.75),
        script: Script::GetOne,
    },
    Load {
        name: "get, 50 connections",
        connections: 50,
        least_ratio: Some(0.75),
        script: Script::GetOne,
    },
    Load {
        name: "get of many keys, 50 connections",
        connections: 50,
        least_ratio: Some(0.75),
        script: Script::GetMany,
    },
    Load {
        name: "durable put, 1 connection",
        connections: 1,
        least_ratio: None,
        script: Script::Put,
    },
    Load {
        name: "durable put, 64 connections",
        connections: 64,
        least_ratio: Some(0.45),
        script: Script::Put,
    },
];

/// The two servers that are compared.
pub(crate) struct Pair {
    pub(crate) ringwood: Server,
    pub(crate) bare: Server,
}

/// All rounds of one load.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) load: Load,
    pub(crate) ringwood: Vec<Run>,
    pub(crate) bare: Vec<Run>,
}

/// Measures every load.
pub(crate) fn measure(pair: &Pair, arguments: &Arguments) -> Result<Vec<Row>> {
    let mut client = Client::connect(pair.ringwood.address())?;
    pages::fill(&mut client, "hot/", arguments.keys)?;
    for n in 0..arguments.keys {
        client.get(&format!("/kv/hot/{n:06}"))?;
    }
    drop(client);
    let mut rows = Vec::from(LOADS.map(|load| Row {
        load,
        ringwood: Vec::new(),
        bare: Vec::new(),
    }));
    for round in 0..arguments.rounds {
        for row in &mut rows {
            measure_round(pair, row, round, arguments)?;
        }
    }
    Ok(rows)
}

fn measure_round(pair: &Pair, row: &mut Row, round: usize, arguments: &Arguments) -> Result<()> {
    let order = match round % 2 {
        0 => [true, false],
        _ => [false, true],
    };
    for ringwood in order {
        let (server, runs) = match ringwood {
            true => (&pair.ringwood, &mut row.ringwood),
            false => (&pair.bare, &mut row.bare),
        };
        let run = wrk(server, row.load, round, arguments)
            .with_context(|| format!("{}, round {round}", row.load.name))?;
        runs.push(run);
    }
    let [ours, bare] = [&row.ringwood, &row.bare].map(|runs| runs[round].per_second());
    let name = row.load.name;
    println!(
        "round {round}  {name}: {ours:.0}/s, bare {bare:.0}/s, {:.3}",
        ours / bare
    );
    Ok(())
}

fn wrk(server: &Server, load: Load, round: usize, arguments: &Arguments) -> Result<Run> {
    let done = include_str!("done.lua");
    let (script, argument) = match load.script {
        Script::GetOne => (done.to_owned(), String::new()),
        Script::GetMany => (
            include_str!("get.lua").to_owned() + done,
            arguments.keys.to_string(),
        ),
        Script::Put => (
            include_str!("put.lua").to_owned() + done,
            format!("{}-{round}", load.connections),
        ),
    };
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("load.lua");
    std::fs::write(&path, script)?;
    run_wrk(server, load, &path, &argument, arguments.seconds)
}

fn run_wrk(
    server: &Server,
    load: Load,
    script: &Path,
    argument: &str,
    seconds: u64,
) -> Result<Run> {
    let output = Command::new("wrk")
        .arg(format!("-t{}", load.connections.min(2)))
        .arg(format!("-c{}", load.connections))
        .arg(format!("-d{seconds}s"))
        .arg("-s")
        .arg(script)
        .arg(format!("http://{}/kv/hot/000000", server.address()))
        .args(["--", argument])
        .output()
        .context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = || format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("RESULT "))
        .with_context(complaint)?;
    let run: Run = serde_json::from_str(line)?;
    ensure!(run.errors == 0 && run.requests > 0, "{}", complaint());
    Ok(run)
}
