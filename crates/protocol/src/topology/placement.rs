//! Which nodes hold which partition: a table, computed from the one there is.
//!
//! A pure function of its arguments: the same everywhere. First what must change does (nodes that are
//! not to hold anything, missing replicas, too many), then zones, then what nodes hold is evened out
//! along shortest chains of moves (`flow`), each from a node above its `share` to one below.
//! At last the first of each list is, which moves no data.
//!
//! # Invariants
//! - `placement-1`: a partition has min(N, nodes) distinct nodes in min(that, zones) zones; what
//!   cannot be, or is left as it is, is reported.
//! - `placement-2`: balanced, every node holds its share, rounded down or up, as far as zones let it.
//! - `placement-3`: as few replicas move as that takes.
//! - `placement-4`: the same arguments give the same table.
//!
//! *Not here*: in which order moves happen, and how.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use ringwood_types::{NodeId, PartitionId};

use self::flow::Flow;
use super::plant::{Plant, Planted};

mod flow;
mod share;

/// A node as placement sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Which.
    pub node: NodeId,
    /// Its part of everything, relative to the others'. At least 1.
    pub weight: u32,
    /// What fails together with it; none is a zone like any other.
    pub zone: &'a str,
    /// Whether it is to hold anything: it stays, and has not failed for good.
    pub holds: bool,
}

/// How much may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Only what must: replicas that are missing, or on nodes that are not to hold any.
    Repair,
    /// All that zones and even loads take.
    Balance,
}

/// What a table does not give a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// There are fewer nodes than replicas wanted.
    Replicas {
        /// How many it has.
        has: usize,
        /// How many it should have.
        wants: usize,
    },
    /// Its nodes stand in fewer zones than they could.
    Zones {
        /// In how many it is.
        has: usize,
        /// In how many it should be.
        wants: usize,
    },
}

/// A table, and what it falls short of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// For each partition its nodes, the primary one first.
    pub table: Vec<Vec<NodeId>>,
    /// By partition.
    pub shortages: Vec<(PartitionId, Shortage)>,
}

/// Computes where `wants` replicas of each partition of `table` are to be. Nodes of the table that
/// are no candidates hold nothing afterwards.
#[must_use]
pub fn place(
    candidates: &[Candidate<'_>],
    table: &[Vec<NodeId>],
    wants: usize,
    goal: Goal,
) -> Placement {
    place_with(candidates, table, wants, goal, Planted::default())
}

pub(super) fn place_with(
    candidates: &[Candidate<'_>],
    table: &[Vec<NodeId>],
    wants: usize,
    goal: Goal,
    planted: Planted,
) -> Placement {
    let mut board = Board::new(candidates, table, wants, planted);
    if board.len > 0 {
        board.trim();
        board.fill();
        if goal == Goal::Balance {
            board.mend_zones();
            board.even();
        }
        board.even_primaries();
    }
    board.finish(wants)
}

/// What `table` falls short of, where `wants` replicas are wanted.
#[must_use]
pub fn shortages(
    candidates: &[Candidate<'_>],
    table: &[Vec<NodeId>],
    wants: usize,
) -> Vec<(PartitionId, Shortage)> {
    let board = Board::new(candidates, table, wants, Planted::default());
    board.shortages(wants)
}

#[derive(Clone, Copy)]
struct Spot {
    node: NodeId,
    weight: u32,
    zone: usize,
}

/// Nodes and zones by number while the table is worked on.
struct Board {
    /// Those that may hold something, by id.
    nodes: Vec<Spot>,
    zones: usize,
    /// Replicas a partition gets.
    len: usize,
    /// Zones it gets.
    spread: usize,
    table: Vec<Vec<usize>>,
    /// The partitions of each node.
    held: Vec<BTreeSet<usize>>,
    zone_shares: Vec<u64>,
    shares: Vec<u64>,
    quotas: Vec<usize>,
    planted: Planted,
}

impl Board {
    fn new(
        candidates: &[Candidate<'_>],
        table: &[Vec<NodeId>],
        wants: usize,
        planted: Planted,
    ) -> Self {
        let mut eligible: Vec<_> = candidates.iter().filter(|one| one.holds).collect();
        eligible.sort_unstable_by_key(|one| one.node);
        eligible.dedup_by_key(|one| one.node);
        let zones: BTreeSet<_> = eligible.iter().map(|one| one.zone).collect();
        let zones: BTreeMap<_, _> = zones.into_iter().zip(0..).collect();
        let nodes: Vec<_> = eligible
            .iter()
            .map(|one| Spot {
                node: one.node,
                weight: one.weight.max(1),
                zone: zones[one.zone],
            })
            .collect();
        let len = wants.min(nodes.len());
        let spread = if planted.has(Plant::ZonesIgnored) {
            len.min(1)
        } else {
            len.min(zones.len())
        };
        let mut board = Self {
            zones: zones.len(),
            len,
            spread,
            table: Vec::with_capacity(table.len()),
            held: alloc::vec![BTreeSet::new(); nodes.len()],
            zone_shares: Vec::new(),
            shares: Vec::new(),
            quotas: Vec::new(),
            nodes,
            planted,
        };
        for (partition, row) in table.iter().enumerate() {
            board.add_row(partition, row);
        }
        (board.zone_shares, board.shares) = board.shares();
        board
    }

    fn add_row(&mut self, partition: usize, row: &[NodeId]) {
        let known = row.iter().filter_map(|node| {
            let known = self.nodes.binary_search_by_key(node, |spot| spot.node);
            known.ok()
        });
        let mut row: Vec<_> = known.collect();
        row.retain(|&node| self.held[node].insert(partition));
        self.table.push(row);
    }

    /// What each zone and each node should hold.
    fn shares(&self) -> (Vec<u64>, Vec<u64>) {
        let mut members = alloc::vec![(0, 0); self.zones];
        for spot in &self.nodes {
            members[spot.zone].0 += u64::from(spot.weight);
            members[spot.zone].1 += 1;
        }
        let by_zone = share::of_zones(self.table.len(), self.len, &members);
        let mut by_node = alloc::vec![0; self.nodes.len()];
        for (zone, &share) in by_zone.iter().enumerate() {
            let weight = |node: usize| u64::from(self.nodes[node].weight);
            let weights: Vec<_> = self.nodes_of(zone).map(weight).collect();
            let split = share::of_nodes(self.table.len(), share, &weights);
            self.nodes_of(zone)
                .zip(split)
                .for_each(|(node, share)| by_node[node] = share);
        }
        (by_zone, by_node)
    }

    /// How many replicas each node is to have: first the zones are rounded, whose limits are strict,
    /// then the nodes in each.
    fn quotas(&self) -> Vec<usize> {
        let total = self.len * self.table.len();
        let load = |zone| self.nodes_of(zone).map(|node| self.held[node].len());
        let by_zone: Vec<_> = (0..self.zones).map(|zone| load(zone).sum()).collect();
        let by_zone = share::quotas(&by_zone, &self.zone_shares, total);
        let mut quotas = alloc::vec![0; self.nodes.len()];
        for (zone, total) in by_zone.into_iter().enumerate() {
            let loads: Vec<_> = load(zone).collect();
            let shares: Vec<_> = self.nodes_of(zone).map(|node| self.shares[node]).collect();
            let split = share::quotas(&loads, &shares, total);
            self.nodes_of(zone)
                .zip(split)
                .for_each(|(node, quota)| quotas[node] = quota);
        }
        quotas
    }

    fn nodes_of(&self, zone: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(move |&node| self.nodes[node].zone == zone)
    }

    /// Takes replicas away from partitions that have too many: where a zone has several first, then
    /// from whoever holds the most.
    fn trim(&mut self) {
        for partition in 0..self.table.len() {
            while self.table[partition].len() > self.len {
                let drop = self.row(partition).max_by_key(|&node| {
                    let crowded = self.in_zone(partition, self.nodes[node].zone) > 1;
                    (crowded, self.fullness(node), self.nodes[node].node)
                });
                let drop = drop.expect("there are more than enough");
                self.held[drop].remove(&partition);
                self.table[partition].retain(|&node| node != drop);
            }
        }
        self.quotas = self.quotas();
    }

    /// Gives partitions the replicas that they lack.
    fn fill(&mut self) {
        for partition in 0..self.table.len() {
            while self.table[partition].len() < self.len {
                let node = self.choose(partition).expect("there are nodes enough");
                self.held[node].insert(partition);
                self.table[partition].push(node);
            }
        }
    }

    /// Whom one more replica of `partition` suits best.
    fn choose(&self, partition: usize) -> Option<usize> {
        let used = self.zones_of(partition);
        let wants_zone = used.len() < self.spread;
        (0..self.nodes.len())
            .filter(|node| !self.held[*node].contains(&partition))
            .min_by_key(|&node| {
                let full = self.held[node].len() >= self.quotas[node];
                (
                    wants_zone && used.contains(&self.nodes[node].zone),
                    full,
                    self.fullness(node),
                    scattered(partition, self.nodes[node].node),
                )
            })
    }

    /// Moves replicas out of zones that have several to zones that have none.
    fn mend_zones(&mut self) {
        for partition in 0..self.table.len() {
            while self.zones_of(partition).len() < self.spread {
                let crowded = self.row(partition).filter(|&node| {
                    let zone = self.nodes[node].zone;
                    self.in_zone(partition, zone) > 1
                });
                let from = crowded.max_by_key(|&node| (self.fullness(node), self.nodes[node].node));
                let to = self.choose(partition);
                let (from, to) = from.zip(to).expect("a zone has several, another none");
                self.replace(partition, from, to);
            }
        }
    }

    /// Evens out what nodes hold.
    fn even(&mut self) {
        if self.planted.has(Plant::Unbalanced) {
            return;
        }
        self.quotas = self.quotas();
        // Each chain takes one replica off a node that has too many; a chain that did not hold
        // together as a whole may need another.
        for _ in 0..2 * self.len * self.table.len() {
            let loads = self.loads();
            let flow = Flow {
                loads: &loads,
                quotas: &self.quotas,
            };
            let items = |node: usize| self.held[node].iter().copied();
            let Some(chain) = flow.chain(items, |item, from, to| self.may_move(item, from, to))
            else {
                break;
            };
            for (partition, from, to) in chain.into_iter().rev() {
                if self.may_move(partition, from, to) {
                    self.replace(partition, from, to);
                }
            }
        }
    }

    fn may_move(&self, partition: usize, from: usize, to: usize) -> bool {
        if self.held[to].contains(&partition) || !self.held[from].contains(&partition) {
            return false;
        }
        let (left, entered) = (self.nodes[from].zone, self.nodes[to].zone);
        if left == entered {
            return true;
        }
        let zones = self.zones_of(partition).len();
        let loses = usize::from(self.in_zone(partition, left) == 1);
        let gains = usize::from(self.in_zone(partition, entered) == 0);
        zones + gains - loses >= self.spread.min(zones)
    }

    fn replace(&mut self, partition: usize, from: usize, to: usize) {
        self.held[from].remove(&partition);
        self.held[to].insert(partition);
        let mut row = self.table[partition].iter_mut();
        *row.find(|node| **node == from).expect("it holds it") = to;
    }

    /// Evens out how often nodes stand first, in proportion to what they hold.
    fn even_primaries(&mut self) {
        let scale = |held: &BTreeSet<usize>| share::fixed(held.len()) / self.len as u64;
        let shares: Vec<_> = self.held.iter().map(scale).collect();
        let mut first = alloc::vec![BTreeSet::new(); self.nodes.len()];
        for (partition, row) in self.table.iter().enumerate() {
            first[row[0]].insert(partition);
        }
        let mut loads: Vec<_> = first.iter().map(BTreeSet::len).collect();
        let quotas = share::quotas(&loads, &shares, self.table.len());
        for _ in 0..self.table.len() {
            let flow = Flow {
                loads: &loads,
                quotas: &quotas,
            };
            let items = |node: usize| first[node].iter().copied();
            let Some(chain) = flow.chain(items, |item, _, to| self.held[to].contains(&item)) else {
                break;
            };
            for (partition, from, to) in chain {
                let row = &mut self.table[partition];
                let place = row.iter().position(|&one| one == to);
                row.swap(0, place.expect("it holds it"));
                first[from].remove(&partition);
                first[to].insert(partition);
            }
            loads = first.iter().map(BTreeSet::len).collect();
        }
    }

    fn finish(self, wants: usize) -> Placement {
        let shortages = self.shortages(wants);
        let name = |row: &Vec<usize>| row.iter().map(|&node| self.nodes[node].node).collect();
        Placement {
            table: self.table.iter().map(name).collect(),
            shortages,
        }
    }

    fn shortages(&self, wants: usize) -> Vec<(PartitionId, Shortage)> {
        let mut all = Vec::new();
        for partition in 0..self.table.len() {
            let id = PartitionId::new(u16::try_from(partition).expect("at most 65,536"));
            let has = self.table[partition].len();
            if has < wants {
                all.push((id, Shortage::Replicas { has, wants }));
            }
            let (has, wants) = (self.zones_of(partition).len(), has.min(self.zones));
            if has < wants {
                all.push((id, Shortage::Zones { has, wants }));
            }
        }
        all
    }

    fn row(&self, partition: usize) -> impl Iterator<Item = usize> + '_ {
        self.table[partition].iter().copied()
    }

    fn zones_of(&self, partition: usize) -> BTreeSet<usize> {
        self.row(partition)
            .map(|node| self.nodes[node].zone)
            .collect()
    }

    fn in_zone(&self, partition: usize, zone: usize) -> usize {
        let in_zone = |node: &usize| self.nodes[*node].zone == zone;
        self.row(partition).filter(in_zone).count()
    }

    fn loads(&self) -> Vec<usize> {
        self.held.iter().map(BTreeSet::len).collect()
    }

    /// What a node holds in proportion to its share.
    fn fullness(&self, node: usize) -> u64 {
        share::proportion(self.held[node].len(), self.shares[node])
    }
}

/// A number that tells equal nodes apart, differently for each partition: so that who holds what
/// together with a node is spread over all others, and they share the work when it is gone.
fn scattered(partition: usize, node: NodeId) -> u64 {
    let mut mixed = node.get() ^ (partition as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
