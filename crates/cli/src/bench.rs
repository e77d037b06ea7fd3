//! `bench`: one of the YCSB mixes against a server, with honest latencies.
//!
//! Closed loop: each connection sends its next request when the last was answered. Open loop
//! (`--rate`): requests have their times beforehand, and a latency counts from then, so that a
//! server that stalls is charged for everybody who would have come meanwhile.
//!
//! `keys` draws keys, `mix` says what is done with them, `driver` sends, `report` sums up.

mod driver;
mod keys;
mod mix;
mod report;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::client::Client;
use crate::outcome::Outcome;
use crate::output::{self, Format};
use crate::units::{Bytes, Span};

use driver::{Plan, Stop};
use keys::Distribution;
use mix::Mix;

/// Measure a server with one of the YCSB mixes.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// a: half reads, half updates; b: 95 % reads; c: reads only; d: reads of the latest, 5 %
    /// inserts; e: scans, 5 % inserts; f: read, change, write.
    #[arg(value_enum, default_value_t = Mix::A, ignore_case = true)]
    workload: Mix,
    /// Records to begin with.
    #[arg(long, default_value_t = 100_000)]
    records: u64,
    /// Bytes of a value; half of them compress.
    #[arg(long, default_value = "1000")]
    value_len: Bytes,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// How long to measure.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    duration: Span,
    /// Measure so many operations instead.
    #[arg(long, conflicts_with = "duration")]
    operations: Option<u64>,
    /// Operations a second (open loop); without it, as fast as answers come.
    #[arg(long)]
    rate: Option<u32>,
    /// Which keys are drawn; otherwise as the workload says.
    #[arg(long, value_enum)]
    distribution: Option<Distribution>,
    /// Acknowledge writes when the system has them, not when they are on disk.
    #[arg(long)]
    buffered: bool,
    /// The records are there from an earlier run.
    #[arg(long)]
    skip_load: bool,
    /// What every key begins with.
    #[arg(long, default_value = "bench/")]
    prefix: String,
    /// Draws the same again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Bench {
    /// Loads, then measures.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        ensure!(
            self.records > 0 && self.connections > 0,
            "--records and --connections must be at least 1"
        );
        ensure!(self.rate != Some(0), "--rate must be at least 1");
        // Whether anybody is there is better told before the first of many connections fails.
        client.get_text("/readyz")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let load = (!self.skip_load)
            .then(|| self.plan(client, Mix::Load, Stop::After(self.records), None));
        let loaded = load
            .map(|plan| runtime.block_on(driver::drive(plan)))
            .transpose()?;
        if let Some(loaded) = &loaded {
            output::say(format, loaded);
        }
        let stop = self
            .operations
            .map_or(Stop::At(Duration::from(self.duration)), Stop::After);
        let measured = runtime.block_on(driver::drive(self.plan(
            client,
            self.workload,
            stop,
            self.rate,
        )))?;
        let errors = measured.errors();
        if format == Format::Json {
            let whole = serde_json::json!({ "load": loaded, "run": measured });
            output::json(&mut std::io::stdout(), &whole)?;
        } else {
            output::text(&measured)?;
        }
        Ok(if errors == 0 {
            Outcome::Done
        } else {
            Outcome::Partial
        })
    }

    fn plan(&self, client: &Client, mix: Mix, stop: Stop, rate: Option<u32>) -> Plan {
        let loading = mix == Mix::Load;
        Plan {
            client: client.clone(),
            mix,
            distribution: self.distribution.unwrap_or(mix.distribution()),
            prefix: self.prefix.clone(),
            value_len: self.value_len.len(),
            connections: self.connections,
            stop,
            rate,
            buffered: self.buffered,
            seed: self.seed,
            records: Arc::new(AtomicU64::new(if loading { 0 } else { self.records })),
        }
    }
}
