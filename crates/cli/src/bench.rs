//! `bench`: one of the YCSB mixes against a server, with honest latencies.
//!
//! Closed loop: each connection sends its next request when the last was answered. Open loop
//! (`--rate`): requests have their times beforehand, and a latency counts from then, so that a
//! server that stalls is charged for everybody who would have come meanwhile.
//!
//! `keys` draws keys, `mix` says what is done with them, `driver` sends, `progress` shows how far it is,
//! `cleanup` removes what was made, `report` sums up.

mod cleanup;
mod driver;
mod keys;
mod mix;
mod progress;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use tokio::runtime::Runtime;

use crate::client::{Client, Range};
use crate::human;
use crate::interrupt;
use crate::outcome::Outcome;
use crate::output::{self, Format};
use crate::units::{Bytes, Rate, Span};

use cleanup::Removal;
use driver::Plan;
use keys::Distribution;
use mix::Mix;
use progress::{Progress, Stop};
use report::Report;

/// How often a run was told to stop. The first time it ends early, and tidies up; the second time it
/// stops tidying.
type Told = Arc<AtomicU64>;

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
    /// Operations a second (open loop), such as 500 or 20k; without it, as fast as answers come.
    #[arg(long)]
    rate: Option<Rate>,
    /// Which keys are drawn; otherwise as the workload says.
    #[arg(long, value_enum)]
    distribution: Option<Distribution>,
    /// Acknowledge writes when the system has them, not when they are on disk.
    #[arg(long)]
    buffered: bool,
    /// The records are there from an earlier run, which kept them.
    #[arg(long)]
    skip_load: bool,
    /// Leave the records there; otherwise all that were made are removed, also after Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Measure nothing: remove the records of an earlier run that kept them, or was killed.
    #[arg(long, conflicts_with_all = ["keep", "skip_load"])]
    clean: bool,
    /// What every key begins with.
    #[arg(long, default_value = "bench/")]
    prefix: String,
    /// Draws the same again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What was measured, as far as it came.
struct Measured {
    load: Option<Report>,
    run: Option<Report>,
}

impl Bench {
    /// Loads, measures, and removes what it loaded.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        ensure!(
            self.records > 0 && self.connections > 0,
            "--records and --connections must be at least 1"
        );
        ensure!(self.rate != Some(Rate(0)), "--rate must be at least 1");
        // Whether anybody is there is better told before the first of many connections fails.
        client.get_text("/readyz")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let told = count_signals(&runtime)?;
        if self.clean {
            return self.clean(client, format, &told);
        }
        if !self.keep && !self.skip_load && self.is_taken(client)? {
            let taken = anyhow!(
                "there are keys that begin with {:?} already, and this run would remove its own at \
                 the end; measure with them (--skip-load), write over them and leave all there \
                 (--keep), remove those of an earlier run (--clean), or choose another --prefix",
                self.prefix
            );
            output::complain(format, &taken);
            return Ok(Outcome::Precondition);
        }
        let before = if self.skip_load { self.records } else { 0 };
        let records = Arc::new(AtomicU64::new(before));
        let measured = self.measure(client, format, &runtime, &told, &records);
        // Also when the run broke off: what it made is in nobody's way then.
        let made = before..records.load(Ordering::Relaxed);
        let removed = match self.keep {
            true => Removal::default(),
            false => self.remove(client, format, &told, made.clone()),
        };
        let Measured { load, run } = measured?;
        if format == Format::Json {
            let whole = serde_json::json!({ "load": load, "run": run, "removed": removed.removed });
            output::json(&mut std::io::stdout(), &whole)?;
        }
        if self.keep && made.end > made.start {
            let made = human::count(made.end - made.start);
            let what = format!("kept {made} records under {:?}", self.prefix);
            output::say(
                format,
                format!("{what}; `ringwood bench --clean` removes them"),
            );
        }
        let errors = run.as_ref().map_or(0, Report::errors);
        let whole = run.is_some() && told.load(Ordering::Relaxed) == 0;
        Ok(if whole && errors == 0 && removed.left == 0 {
            Outcome::Done
        } else {
            Outcome::Partial
        })
    }

    fn measure(
        &self,
        client: &Client,
        format: Format,
        runtime: &Runtime,
        told: &Told,
        records: &Arc<AtomicU64>,
    ) -> Result<Measured> {
        let page_items = client.limits()?.page_items as u64;
        let drive = |mix, stop, rate| -> Result<Report> {
            let plan = Plan {
                client: client.clone(),
                mix,
                distribution: self.distribution.unwrap_or(mix.distribution()),
                prefix: self.prefix.clone(),
                value_len: self.value_len.len(),
                connections: self.connections,
                stop,
                rate,
                page_items,
                buffered: self.buffered,
                seed: self.seed,
                records: Arc::clone(records),
                done: AtomicU64::new(0),
                told: Arc::clone(told),
            };
            runtime.block_on(driver::drive(
                plan,
                Progress::start(format, mix.title(), stop),
            ))
        };
        let was_told = || told.load(Ordering::Relaxed) > 0;
        let mut measured = Measured {
            load: None,
            run: None,
        };
        if !self.skip_load {
            let load = drive(Mix::Load, Stop::After(self.records), None)?;
            output::say(format, format!("loaded {}", load.in_short()));
            measured.load = Some(load);
        }
        if was_told() {
            output::say(format, "interrupted before anything was measured");
            return Ok(measured);
        }
        let stop = self
            .operations
            .map_or(Stop::At(Duration::from(self.duration)), Stop::After);
        let run = drive(self.workload, stop, self.rate.map(|Rate(rate)| rate))?;
        if format == Format::Table {
            output::text(&run)?;
        }
        if was_told() {
            output::say(
                format,
                "interrupted: the figures are of the part that was run",
            );
        }
        measured.run = Some(run);
        Ok(measured)
    }

    /// Whether something has the prefix already.
    fn is_taken(&self, client: &Client) -> Result<bool> {
        let one = Range {
            prefix: Some(self.prefix.clone().into_bytes()),
            keys_only: true,
            page: 1,
            ..Range::default()
        };
        Ok(!client.page(&one, None)?.items.is_empty())
    }

    /// Removes the records with these numbers; what that comes to is told, whatever it is.
    fn remove(
        &self,
        client: &Client,
        format: Format,
        told: &Told,
        numbers: std::ops::Range<u64>,
    ) -> Removal {
        let count = numbers.end - numbers.start;
        let names = numbers.map(|number| keys::name(&self.prefix, number));
        let mut progress = Progress::start(format, "removing", Stop::After(count));
        // Whoever interrupts the run wants it tidied up; whoever does so again does not.
        let calls = u64::from(told.load(Ordering::Relaxed) > 0);
        let mut removal = cleanup::remove(client, names, &mut progress, || {
            told.load(Ordering::Relaxed) > calls
        });
        removal.left = count - removal.removed;
        self.tell(format, &removal);
        removal
    }

    /// Removes every record of earlier runs under the prefix.
    fn clean(&self, client: &Client, format: Format, told: &Told) -> Result<Outcome> {
        let names = cleanup::found(client, &self.prefix)?;
        let mut progress = Progress::start(format, "removing", Stop::After(names.len() as u64));
        let count = names.len() as u64;
        let mut removal = cleanup::remove(client, names.into_iter(), &mut progress, || {
            told.load(Ordering::Relaxed) > 0
        });
        removal.left = count - removal.removed;
        self.tell(format, &removal);
        if format == Format::Json {
            let removed = serde_json::json!({ "removed": removal.removed });
            output::json(&mut std::io::stdout(), &removed)?;
        }
        Ok(if removal.left == 0 {
            Outcome::Done
        } else {
            Outcome::Partial
        })
    }

    fn tell(&self, format: Format, removal: &Removal) {
        let removed = human::count(removal.removed);
        output::say(
            format,
            format!("removed {removed} records under {:?}", self.prefix),
        );
        if removal.left > 0 {
            let why = removal.why.as_deref().unwrap_or("interrupted");
            let left = human::count(removal.left);
            output::tell(format_args!(
                "{left} records are left ({why}); `ringwood bench --clean` removes them"
            ));
        }
    }
}

/// Counts how often the process is told to stop, instead of ending it.
fn count_signals(runtime: &Runtime) -> Result<Told> {
    let told = Told::default();
    let mut next = {
        let _entered = runtime.enter();
        interrupt::told_to_stop()?
    };
    let count = Arc::clone(&told);
    runtime.spawn(async move {
        loop {
            next.await;
            count.fetch_add(1, Ordering::Relaxed);
            let Ok(another) = interrupt::told_to_stop() else {
                return;
            };
            next = another;
        }
    });
    Ok(told)
}
