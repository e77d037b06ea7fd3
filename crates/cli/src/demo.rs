//! `demo`: a whole cluster on this machine, to be killed, paused, cut apart and healed from another terminal.
//!
//! How to read it: the command in the foreground owns a [`Cluster`] (in `cluster`): a `serve` process for each
//! node (`process`), and before each node's peer address a way in that can be cut. Other commands reach it through
//! a socket (`control`). `groups` reads who is cut from whom, `table` lays out what people see.
//!
//! Node `nK` answers clients on port `BASE + K` and peers on `BASE + 200 + K`, and is reached by its peers through
//! `BASE + 100 + K`.

mod cluster;
mod control;
mod groups;
mod process;
mod table;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::interrupt;
use crate::outcome::{Outcome, UsageError};
use crate::output::{self, Format};
use crate::terminal::{self, Line, Screen};

use cluster::Cluster;
use control::{Control, Reply};

/// Nodes of a demonstration, at most: they share one machine.
const NODES_MAX: u16 = 99;
/// How often the table is drawn anew.
const TICK: Duration = Duration::from_millis(500);

/// Run a whole cluster on this machine, and do to it what happens to clusters.
///
/// Without a command it runs in the foreground, with a table of its nodes, until Ctrl-C. The commands are for
/// another terminal.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ringwood demo --nodes 5
  ringwood demo kill n3
  ringwood demo partition \"n1,n2 | n3,n4,n5\"
  ringwood demo partition \"n1 > n2\"        only what n1 sends to n2 is lost
  ringwood demo heal")]
pub(crate) struct Demo {
    /// How many nodes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    nodes: u16,
    /// Where their data goes, and stays. Without one it goes away at the end.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Node nK answers on this port + K; which demonstration a command means.
    #[arg(long, global = true, default_value_t = 7500, value_parser = clap::value_parser!(u16).range(1024..=65000))]
    base_port: u16,
    #[command(subcommand)]
    order: Option<Order>,
}

/// What is done to a demonstration.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// End a node at once, as a power cut would (SIGKILL).
    Kill {
        /// Which.
        node: String,
    },
    /// Stop a node where it stands: it answers nothing, and does not know (SIGSTOP).
    Pause {
        /// Which.
        node: String,
    },
    /// Let a paused node go on.
    Resume {
        /// Which.
        node: String,
    },
    /// Start a node again, with what its disk has.
    Restart {
        /// Which.
        node: String,
    },
    /// Cut nodes off from each other: "n1,n2 | n3,n4,n5", or one way: "n1 > n2,n3".
    Partition {
        /// Who is on which side.
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Let all nodes reach each other again.
    Heal,
    /// Start one more node, which joins.
    Add,
    /// Take a node out of the cluster, and end it.
    Remove {
        /// Which.
        node: String,
    },
}

impl Demo {
    /// Runs a cluster until it is told to stop, or tells a running one what to do.
    ///
    /// # Errors
    /// [`UsageError`] for what does not fit; where nodes do not come up, the last that they said.
    pub(crate) fn run(self, format: Format) -> Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let outcome = match &self.order {
            Some(order) => runtime.block_on(tell(self.base_port, order, format)),
            None => runtime.block_on(self.show(format)),
        };
        runtime.shutdown_timeout(Duration::from_secs(1));
        outcome
    }

    async fn show(&self, format: Format) -> Result<Outcome> {
        let stop = interrupt::told_to_stop()?;
        tokio::pin!(stop);
        let begun = Instant::now();
        let control = Control::bind(self.base_port)?;
        let mut cluster = Cluster::new(self.base_port, self.dir.clone())?;
        let started = tokio::select! {
            started = cluster.start(self.nodes) => Some(started),
            () = &mut stop => None,
        };
        let watched = match started {
            None => Ok(()),
            Some(Err(error)) => Err(error),
            Some(Ok(())) => {
                let took = begun.elapsed();
                output::say(
                    format,
                    format_args!("{} nodes after {took:.1?}", self.nodes),
                );
                watch(&mut cluster, &control, stop, format).await
            }
        };
        let ended = cluster.end().await;
        watched.and(ended)?;
        Ok(Outcome::Done)
    }
}

/// Shows how it is and does what it is told, until it is told to stop.
async fn watch(
    cluster: &mut Cluster,
    control: &Control,
    mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
    format: Format,
) -> Result<()> {
    let screen = (format == Format::Table && terminal::is_capable())
        .then(Screen::open)
        .transpose()?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut shown = Vec::new();
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            _ = tick.tick() => {}
            asker = control.next() => {
                let mut asker = asker?;
                if let Some(order) = asker.order().await {
                    let done = cluster.obey(&order).await;
                    asker.answer(&Reply::of(done)).await;
                }
            }
        }
        let report = cluster.report().await;
        draw(
            screen.as_ref(),
            &table::lines(&report, terminal::width()),
            &mut shown,
            format,
        )?;
    }
}

/// On a terminal in place; else each table that differs from the last.
fn draw(
    screen: Option<&Screen>,
    lines: &[Line],
    shown: &mut Vec<String>,
    format: Format,
) -> Result<()> {
    if let Some(screen) = screen {
        screen.draw(lines, terminal::has_colours(&io::stdout()))?;
        return Ok(());
    }
    let plain: Vec<String> = lines.iter().map(|line| line.render(false)).collect();
    if plain != *shown {
        output::say(format, plain.join("\n"));
        *shown = plain;
    }
    Ok(())
}

async fn tell(base_port: u16, order: &Order, format: Format) -> Result<Outcome> {
    match control::ask(base_port, order).await? {
        Reply::Done(done) => {
            output::say(format, done);
            Ok(Outcome::Done)
        }
        Reply::Refused { what, help } => {
            let refused = UsageError::new(what);
            Err(match help {
                Some(help) => refused.with_help(help),
                None => refused,
            }
            .into())
        }
        Reply::Failed(why) => Err(anyhow::anyhow!(why)).context("the demonstration could not"),
    }
}
