//! What would move, how much, how long it would take, and why: a plan is shown, and then applied as it
//! was shown, or refused where the ring has changed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use ringwood_types::{Epoch, NodeId, PartitionId};

use super::command::{Command, Wanted};
use super::model::{NodeState, Partition, Stage};
use super::placement::{self, Candidate, Goal, Placement, Shortage};
use super::state::Topology;

/// Why a replica is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The partition has fewer replicas than it should.
    Missing,
    /// Its node leaves.
    Leaves,
    /// Its node has failed for good.
    Dead,
    /// A node that held nothing gets its share.
    Joins,
    /// The partition gets into more zones.
    Zone,
    /// Nodes get nearer to their shares.
    Balance,
    /// The partition has more replicas than it should.
    Surplus,
}

/// A replica that is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Of which.
    pub partition: PartitionId,
    /// From here; `None` where one is missing.
    pub from: Option<NodeId>,
    /// To here; `None` where there are too many.
    pub to: Option<NodeId>,
    /// What has to be sent, as far as it is known.
    pub bytes: u64,
    /// Why.
    pub why: Why,
}

/// What a node holds before a plan and after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Replicas now.
    pub before: usize,
    /// Replicas when all is done.
    pub after: usize,
    /// How often it stands first when all is done.
    pub primary: usize,
    /// Bytes that it takes in.
    pub bytes_in: u64,
    /// Bytes that it gives.
    pub bytes_out: u64,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What it was planned on.
    pub based_on: Epoch,
    /// The partitions that are to be elsewhere, or in another order.
    pub wanted: Vec<Wanted>,
    /// What moves for that.
    pub moves: Vec<Move>,
    /// What would still be short of what it should have.
    pub shortages: Vec<(PartitionId, Shortage)>,
    /// By node.
    pub loads: BTreeMap<NodeId, Load>,
    /// What moves, together.
    pub bytes: u64,
    /// How long it takes at least, when each node sends and takes at the cluster's streaming throughput.
    pub time: Duration,
}

impl Plan {
    /// Plans with the bytes that each partition has; what is not known counts as nothing.
    #[must_use]
    pub fn new(topology: &Topology, goal: Goal, sizes: &[u64]) -> Self {
        let before: Vec<_> = topology
            .partitions()
            .iter()
            .map(Partition::intended)
            .collect();
        let wants = usize::from(topology.settings().replicas);
        let candidates = candidates(topology);
        let Placement { mut table, .. } = placement::place(&candidates, &before, wants, goal);
        for (row, old) in table.iter_mut().zip(&before) {
            keep_places(topology, row, old, wants);
        }
        let mut plan = Self {
            based_on: topology.layout(),
            wanted: Vec::new(),
            moves: Vec::new(),
            shortages: placement::shortages(&candidates, &table, wants),
            loads: loads(topology, &before, &table),
            bytes: 0,
            time: Duration::ZERO,
        };
        let rows = before.iter().zip(table);
        for (partition, (old, new)) in topology.ring().partitions().iter().zip(rows) {
            if *old == new {
                continue;
            }
            let bytes = sizes.get(partition.index()).copied().unwrap_or_default();
            plan.add_moves(topology, partition, old, &new, bytes);
            let nodes = new;
            plan.wanted.push(Wanted { partition, nodes });
        }
        plan.bytes = plan
            .moves
            .iter()
            .fold(0, |sum: u64, one| sum.saturating_add(one.bytes));
        let busiest = plan
            .loads
            .values()
            .map(|load| load.bytes_in.max(load.bytes_out));
        let busiest = busiest.max().unwrap_or_default();
        let throughput = topology.settings().streaming_throughput.max(1);
        plan.time = Duration::from_millis(busiest.saturating_mul(1000) / throughput);
        plan
    }

    /// Nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The command that carries it out; refused when the ring has changed since.
    #[must_use]
    pub fn command(&self) -> Command {
        Command::ApplyPlan {
            based_on: self.based_on,
            wanted: self.wanted.clone(),
        }
    }

    fn add_moves(
        &mut self,
        topology: &Topology,
        partition: PartitionId,
        old: &[NodeId],
        new: &[NodeId],
        bytes: u64,
    ) {
        let lives = |node: &NodeId| topology.node(*node).is_some_and(|node| node.state.lives());
        let mut leaves: Vec<_> = old.iter().filter(|node| !new.contains(node)).collect();
        leaves.sort_by_key(|node| lives(node)); // stable: who is lost goes first
        let mut leaves = leaves.into_iter().copied();
        let spread = zones(topology, new) > zones(topology, old);
        for &to in new.iter().filter(|node| !old.contains(node)) {
            let from = leaves.next();
            let why = match from.map(|node| (node, topology.node(node).map(|one| one.state))) {
                None => Why::Missing,
                Some((_, Some(NodeState::Leaving))) => Why::Leaves,
                Some((_, Some(NodeState::Joined))) if spread => Why::Zone,
                Some((_, Some(NodeState::Joined))) if self.loads[&to].before == 0 => Why::Joins,
                Some((_, Some(NodeState::Joined))) => Why::Balance,
                Some(_) => Why::Dead,
            };
            let source = from.filter(lives);
            let source = source.or_else(|| old.iter().copied().find(lives));
            let add = |sum: &mut u64| *sum = sum.saturating_add(bytes);
            add(&mut self.loads.entry(to).or_default().bytes_in);
            if let Some(source) = source {
                add(&mut self.loads.entry(source).or_default().bytes_out);
            }
            let to = Some(to);
            self.moves.push(Move {
                partition,
                from,
                to,
                bytes,
                why,
            });
        }
        for from in leaves {
            let why = match topology.node(from).map(|node| node.state) {
                Some(NodeState::Joined) => Why::Surplus,
                Some(NodeState::Leaving) => Why::Leaves,
                _ => Why::Dead,
            };
            self.moves.push(Move {
                partition,
                from: Some(from),
                to: None,
                bytes: 0,
                why,
            });
        }
    }
}

impl Topology {
    /// What its partitions are short of as they stand, moves that are under way not counted.
    #[must_use]
    pub fn shortages(&self) -> Vec<(PartitionId, Shortage)> {
        let table: Vec<Vec<_>> = self
            .partitions()
            .iter()
            .map(|one| one.replicas.iter().map(|replica| replica.node).collect())
            .collect();
        let wants = usize::from(self.settings().replicas);
        placement::shortages(&candidates(self), &table, wants)
    }

    /// Which partitions are to begin their next move, the ones with the fewest whole replicas first,
    /// so that no node streams for more than `streams_max` of them, with those under way.
    #[must_use]
    pub fn due(&self, streams_max: usize) -> Vec<PartitionId> {
        let mut streams = BTreeMap::<NodeId, usize>::new();
        let under_way = self
            .partitions()
            .iter()
            .filter_map(|one| one.transition.as_ref());
        for moves in under_way.filter(|moves| moves.stage == Stage::Join) {
            let joins = moves.joins.map(|joiner| joiner.node);
            for node in joins.into_iter().chain(moves.leaves) {
                *streams.entry(node).or_default() += 1;
            }
        }
        let steps = self.ring().partitions().iter().zip(self.partitions());
        let mut steps: Vec<_> = steps
            .filter_map(|(id, partition)| {
                Some((self.serving(partition), id, self.step(partition)?))
            })
            .collect();
        steps.sort_unstable_by_key(|&(serving, id, _)| (serving, id));
        let mut due = Vec::new();
        for (_, id, step) in steps {
            let nodes = || step.joins.into_iter().chain(step.leaves);
            let free = |node| streams.get(&node).copied().unwrap_or_default() < streams_max;
            if nodes().all(free) {
                nodes().for_each(|node| *streams.entry(node).or_default() += 1);
                due.push(id);
            }
        }
        due
    }

    fn serving(&self, partition: &Partition) -> usize {
        let lives = |node| self.node(node).is_some_and(|node| node.state.lives());
        let serving = partition
            .replicas
            .iter()
            .filter(|one| !one.rebuilding && lives(one.node));
        serving.count()
    }
}

fn candidates(topology: &Topology) -> Vec<Candidate<'_>> {
    topology
        .nodes()
        .map(|node| Candidate {
            node: node.id,
            weight: node.weight,
            zone: &node.zone,
            holds: node.state == NodeState::Joined,
        })
        .collect()
}

/// Where nobody can take the place of a node that has failed, it keeps it: it may come back, and a
/// smaller set would need no fewer of those that live. Who is to go, goes, but never the last one.
fn keep_places(topology: &Topology, row: &mut Vec<NodeId>, old: &[NodeId], wants: usize) {
    let state = |node: NodeId| topology.node(node).map(|node| node.state);
    for &node in old {
        let failed = state(node) == Some(NodeState::PermanentlyFailed);
        if row.len() < wants && failed && !row.contains(&node) {
            row.push(node);
        }
    }
    if row.is_empty() {
        row.extend_from_slice(old);
    }
}

fn loads(
    topology: &Topology,
    before: &[Vec<NodeId>],
    after: &[Vec<NodeId>],
) -> BTreeMap<NodeId, Load> {
    let members = topology
        .nodes()
        .filter(|node| node.state != NodeState::Removed);
    let mut loads: BTreeMap<_, _> = members.map(|node| (node.id, Load::default())).collect();
    for &node in before.iter().flatten() {
        loads.entry(node).or_default().before += 1;
    }
    for row in after {
        for &node in row {
            loads.entry(node).or_default().after += 1;
        }
        if let Some(&first) = row.first() {
            loads.entry(first).or_default().primary += 1;
        }
    }
    loads
}

fn zones(topology: &Topology, nodes: &[NodeId]) -> usize {
    let mut zones: Vec<_> = nodes
        .iter()
        .filter_map(|&node| Some(topology.node(node)?.zone.as_str()))
        .collect();
    zones.sort_unstable();
    zones.dedup();
    zones.len()
}
