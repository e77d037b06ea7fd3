//! The nodes of a demonstration, the ways to them, and what is done to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use ringwood_server::peers::{Between, Cuts};
use serde::Deserialize;
use tokio::task::JoinHandle;

use super::process::{Node, Process};
use super::{NODES_MAX, Order, groups};
use crate::client::Client;
use crate::outcome::UsageError;

/// Where ways in and peers' listeners are, from a node's own port.
const WAYS_IN: u16 = 100;
const PEERS: u16 = 200;
/// How long a node may take to say how the cluster is.
const REPORT_TIME: Duration = Duration::from_millis(400);

/// One node.
struct Member {
    node: Node,
    process: Option<Process>,
    /// Lets its peers' connections through.
    between: JoinHandle<()>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.between.abort();
    }
}

/// A demonstration's nodes.
pub(super) struct Cluster {
    base_port: u16,
    dir: PathBuf,
    /// Nobody named the directory: it goes when they all have ended.
    is_temporary: bool,
    members: BTreeMap<u16, Member>,
    cuts: Cuts,
    /// As somebody wrote it.
    partition: Option<String>,
}

/// How a demonstration is.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) dir: PathBuf,
    pub(super) partition: Option<String>,
    pub(super) rows: Vec<Row>,
    /// Whose word the states are.
    pub(super) told_by: Option<String>,
}

/// How one node is.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) process: Condition,
    /// As another node sees it.
    pub(super) state: Option<String>,
    pub(super) why: Option<String>,
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Runs, as this process.
    Runs(u32),
    /// Stands still, as this process.
    Paused(u32),
    /// Is none.
    Ended,
}

#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<Seen>,
}

#[derive(Deserialize)]
struct Seen {
    name: String,
    state: String,
    #[serde(default)]
    why: Option<String>,
}

impl Cluster {
    /// Without nodes.
    ///
    /// # Errors
    /// When there is no place for their data.
    pub(super) fn new(base_port: u16, dir: Option<PathBuf>) -> Result<Self> {
        let is_temporary = dir.is_none();
        let dir = dir.unwrap_or_else(|| {
            let name = format!("ringwood-demo-{base_port}-{}", std::process::id());
            std::env::temp_dir().join(name)
        });
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        // Nodes are started from elsewhere too.
        let dir = std::path::absolute(dir)?;
        Ok(Self {
            base_port,
            dir,
            is_temporary,
            members: BTreeMap::new(),
            cuts: Cuts::default(),
            partition: None,
        })
    }

    /// Starts so many nodes, and those that the directory has of an earlier time.
    ///
    /// # Errors
    /// When one does not come up.
    pub(super) async fn start(&mut self, nodes: u16) -> Result<()> {
        let earlier = (1..=NODES_MAX).filter(|&number| self.dir_of(number).is_dir());
        let numbers: BTreeSet<u16> = (1..=nodes).chain(earlier).collect();
        for number in numbers {
            self.add(number).await?;
        }
        // All at once: those of an earlier time may come up only together.
        for member in self.members.values_mut() {
            member.process = Some(member.node.start()?);
        }
        for member in self.members.values_mut() {
            if let Some(process) = &mut member.process {
                process.ready(&member.node).await?;
            }
        }
        Ok(())
    }

    /// Does what it is told, and says what it did.
    ///
    /// # Errors
    /// [`UsageError`] for what does not fit, and nothing was done.
    pub(super) async fn obey(&mut self, order: &Order) -> Result<String> {
        match order {
            Order::Kill { node } => {
                let mut process = self.running(node)?.1;
                process.kill();
                Ok(format!("{node} was killed"))
            }
            Order::Pause { node } => self.pause(node, true),
            Order::Resume { node } => self.pause(node, false),
            Order::Restart { node } => self.restart(node).await,
            Order::Partition { groups } => {
                let text = groups.join(" ");
                let names = self.members.values();
                let names = names.map(|member| member.node.name.clone()).collect();
                self.cuts.set(groups::ways(&text, &names)?);
                let said = format!("cut: {text}");
                self.partition = Some(text);
                Ok(said)
            }
            Order::Heal => {
                self.cuts.set([]);
                self.partition = None;
                Ok("all nodes reach each other".to_owned())
            }
            Order::Add => {
                let last = self.members.keys().next_back().copied().unwrap_or(0);
                if last == NODES_MAX {
                    return Err(UsageError::new(format!("{NODES_MAX} nodes are enough")).into());
                }
                self.add(last + 1).await?;
                self.launch(last + 1).await
            }
            Order::Remove { node } => self.remove(node).await,
        }
    }

    /// How all of it is.
    pub(super) async fn report(&mut self) -> Report {
        let (told_by, seen) = self.ask().await.unzip();
        let seen: Vec<Seen> = seen.unwrap_or_default();
        let rows = self.members.values_mut().map(|member| {
            let seen = seen.iter().find(|seen| seen.name == member.node.name);
            Row {
                name: member.node.name.clone(),
                url: member.node.url(),
                process: condition(&mut member.process),
                state: seen.map(|seen| seen.state.clone()),
                why: seen.and_then(|seen| seen.why.clone()),
            }
        });
        Report {
            rows: rows.collect(),
            dir: self.dir.clone(),
            partition: self.partition.clone(),
            told_by,
        }
    }

    /// Ends all nodes, in order, and takes away what nobody wanted to keep.
    ///
    /// # Errors
    /// When that cannot be removed.
    pub(super) async fn end(mut self) -> Result<()> {
        let mut processes: Vec<Process> = self
            .members
            .values_mut()
            .filter_map(|member| member.process.take())
            .collect();
        processes.iter_mut().for_each(Process::tell_to_stop);
        for process in &mut processes {
            process.stopped().await;
        }
        if self.is_temporary {
            std::fs::remove_dir_all(&self.dir)
                .with_context(|| format!("cannot remove {}", self.dir.display()))?;
        }
        Ok(())
    }

    fn dir_of(&self, number: u16) -> PathBuf {
        self.dir.join(format!("n{number}"))
    }

    /// A node that is not started yet, and the way in to it.
    async fn add(&mut self, number: u16) -> Result<()> {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let port = self.base_port + number;
        let node = Node {
            name: format!("n{number}"),
            dir: self.dir_of(number),
            listen: at(port),
            peer_listen: at(port + PEERS),
            way_in: at(port + WAYS_IN),
            join: (number > 1).then(|| at(self.base_port + 1 + WAYS_IN)),
        };
        let bound = Between::bind(
            node.way_in,
            node.name.as_str(),
            node.peer_listen,
            self.cuts.clone(),
        );
        let between = bound.await.map_err(|error| {
            UsageError::new(format!("cannot listen on {}: {error}", node.way_in))
                .with_help("choose other ports with --base-port")
        })?;
        let member = Member {
            node,
            process: None,
            between: tokio::spawn(between.serve()),
        };
        self.members.insert(number, member);
        Ok(())
    }

    /// Starts a node; it joins through any that runs.
    async fn launch(&mut self, number: u16) -> Result<String> {
        let other = self.members.iter().find_map(|(other, member)| {
            let runs = member.process.is_some() && *other != number;
            runs.then_some(member.node.way_in)
        });
        let member = self.members.get_mut(&number).context("it was added")?;
        member.node.join = other;
        let mut process = member.node.start()?;
        process.ready(&member.node).await?;
        let said = format!("{} runs as process {}", member.node.name, process.id());
        member.process = Some(process);
        Ok(said)
    }

    async fn restart(&mut self, node: &str) -> Result<String> {
        let number = self.number(node)?;
        let member = self.members.get_mut(&number).context("it is known")?;
        if let Some(mut process) = member.process.take() {
            process.tell_to_stop();
            process.stopped().await;
        }
        self.launch(number).await
    }

    fn pause(&mut self, node: &str, pause: bool) -> Result<String> {
        let number = self.number(node)?;
        let member = self.members.get_mut(&number);
        let process = member.and_then(|member| member.process.as_mut());
        let process = process.ok_or_else(|| not_running(node))?;
        if process.ended().is_some() {
            return Err(not_running(node).into());
        }
        process.pause(pause)?;
        let what = if pause { "stands still" } else { "goes on" };
        Ok(format!("{node} {what}"))
    }

    async fn remove(&mut self, node: &str) -> Result<String> {
        let number = self.number(node)?;
        let member = self.members.get_mut(&number).context("it is known")?;
        let lives = matches!(condition(&mut member.process), Condition::Runs(_));
        let other = self.members.iter_mut().find_map(|(other, member)| {
            let runs = matches!(condition(&mut member.process), Condition::Runs(_));
            (runs && *other != number).then(|| member.node.url())
        });
        let other = other.ok_or_else(|| UsageError::new("no other node runs"))?;
        let said = command(if lives { "leave" } else { "remove" }, node, &other).await?;
        if let Some(mut process) = self
            .members
            .remove(&number)
            .and_then(|mut member| member.process.take())
        {
            process.tell_to_stop();
            process.stopped().await;
        }
        forget(&self.dir_of(number))?;
        Ok(said)
    }

    /// Takes a node's process.
    fn running(&mut self, node: &str) -> Result<(u16, Process), UsageError> {
        let number = self.number(node)?;
        let member = self.members.get_mut(&number);
        let process = member.and_then(|member| member.process.take());
        process
            .map(|process| (number, process))
            .ok_or_else(|| not_running(node))
    }

    fn number(&self, node: &str) -> Result<u16, UsageError> {
        let found = self
            .members
            .iter()
            .find(|(_, member)| member.node.name == node);
        found.map(|(number, _)| *number).ok_or_else(|| {
            let names = self
                .members
                .values()
                .map(|member| member.node.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            UsageError::new(format!("there is no node {node:?}, but {names}"))
        })
    }

    /// The first that answers says how it sees all.
    async fn ask(&mut self) -> Option<(String, Vec<Seen>)> {
        for member in self.members.values_mut() {
            if !matches!(condition(&mut member.process), Condition::Runs(_)) {
                continue;
            }
            let client = Client::of(member.node.url()).within(REPORT_TIME);
            let asked = tokio::task::spawn_blocking(move || {
                client.get_json::<Nodes>("/v1/cluster/nodes").ok()
            });
            if let Ok(Some(seen)) = asked.await {
                return Some((member.node.name.clone(), seen.nodes));
            }
        }
        None
    }
}

fn condition(process: &mut Option<Process>) -> Condition {
    let Some(process) = process else {
        return Condition::Ended;
    };
    match (process.ended(), process.is_paused()) {
        (Some(_), _) => Condition::Ended,
        (None, true) => Condition::Paused(process.id()),
        (None, false) => Condition::Runs(process.id()),
    }
}

fn not_running(node: &str) -> UsageError {
    UsageError::new(format!("{node} does not run"))
        .with_help(format!("`ringwood demo restart {node}` starts it"))
}

/// A node that was removed comes back under another number only: what it had is of no more use.
fn forget(dir: &Path) -> Result<()> {
    std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
}

/// `cluster leave|remove`, as anybody may type it.
async fn command(verb: &'static str, node: &str, url: &str) -> Result<String> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command
        .args(["--url", url, "cluster", verb, node])
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.success() {
        true => Ok(said),
        false => Err(anyhow!(said).context(format!("`cluster {verb} {node}` failed"))),
    }
}
