//! Rows measured with `wrk`: both servers in every round, in alternating order, with the same options.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ringwood_bench_report::http::{Row, Wrk};

use crate::client::Client;
use crate::server::Server;
use crate::{Arguments, pages};

/// One kind of load, and what is expected of it.
#[derive(Clone, Copy, Debug)]
struct Load {
    name: &'static str,
    connections: u32,
    /// The least share of the bare handler's requests per second; none where the row informs only.
    least_ratio: Option<f64>,
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

/// Measures every load.
pub(crate) fn measure(pair: &Pair, arguments: &Arguments) -> Result<Vec<Row>> {
    let mut client = Client::connect(pair.ringwood.address())?;
    pages::fill(&mut client, "hot/", arguments.keys)?;
    for n in 0..arguments.keys {
        client.get(&format!("/kv/hot/{n:06}"))?;
    }
    drop(client);
    let row = |load: &Load| Row::new(load.name, load.connections, load.least_ratio);
    let mut rows = Vec::from(LOADS.each_ref().map(row));
    for round in 0..arguments.rounds {
        for (load, row) in LOADS.iter().zip(&mut rows) {
            measure_round(pair, load, row, round, arguments)?;
        }
    }
    Ok(rows)
}

fn measure_round(
    pair: &Pair,
    load: &Load,
    row: &mut Row,
    round: usize,
    arguments: &Arguments,
) -> Result<()> {
    let order = match round % 2 {
        0 => [true, false],
        _ => [false, true],
    };
    for ringwood in order {
        let (server, runs) = match ringwood {
            true => (&pair.ringwood, &mut row.ringwood),
            false => (&pair.bare, &mut row.bare),
        };
        let run = wrk(server, load, round, arguments)
            .with_context(|| format!("{}, round {round}", load.name))?;
        runs.push(run);
    }
    let [ours, bare] = [&row.ringwood, &row.bare].map(|runs| runs[round].per_second());
    let name = load.name;
    println!(
        "round {round}  {name}: {ours:.0}/s, bare {bare:.0}/s, {:.3}",
        ours / bare
    );
    Ok(())
}

fn wrk(server: &Server, load: &Load, round: usize, arguments: &Arguments) -> Result<Wrk> {
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
    load: &Load,
    script: &Path,
    argument: &str,
    seconds: u64,
) -> Result<Wrk> {
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
    let run: Wrk = serde_json::from_str(line)?;
    ensure!(run.errors == 0 && run.requests > 0, "{}", complaint());
    Ok(run)
}
