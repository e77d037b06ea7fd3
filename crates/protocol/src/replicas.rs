//! The replicas of one partition in one epoch, as whoever coordinates a request sees them.
//!
//! While a partition moves, some replicas leave and others join. Which of them are read and which are
//! written to follows from the stage (CAUSALITY rule 13):
//! ```text
//! stage         read set          a write needs its quorum in
//! Settled       all               all
//! WriteBoth     stay + leave      (stay + leave) and (stay + join)
//! ReadNew       stay + join       (stay + leave) and (stay + join)
//! ```
//! A replica whose disk was lost or restored is *rebuilding*: it takes writes, which count, and is in
//! no read set (rule 11).
//!
//! *Not here*: who decides all that (the topology), how many answers are enough ([`quorum`](crate::coordinator::quorum)).

use core::fmt;

use ringwood_types::{Epoch, NodeId};

/// Replicas of one partition, those that join and those that leave together: seven, and one that
/// takes another's place.
pub const REPLICAS_MAX: usize = 8;

/// A replica's part in the move of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// None: it is a replica before and after.
    Stays,
    /// It is a replica until the move is done.
    Leaves,
    /// It is pending: it becomes one with this move.
    Joins,
}

/// One replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    /// Where it is.
    pub node: NodeId,
    /// What the move does with it.
    pub part: Part,
    /// Its disk was lost or restored, and it has not caught up.
    pub rebuilding: bool,
}

impl Replica {
    /// A whole one that stays.
    #[must_use]
    pub const fn whole(node: NodeId) -> Self {
        Self {
            node,
            part: Part::Stays,
            rebuilding: false,
        }
    }
}

/// How far the move of a partition has come, as far as reading and writing go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Nothing moves.
    Settled,
    /// Writes go to both sets, the old one is read: from the join to the end of the stream.
    WriteBoth,
    /// Writes go to both sets, the new one is read.
    ReadNew,
}

/// The replicas of one partition in one epoch. A small value: it is copied, and lies in no heap.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplicaSet {
    epoch: Epoch,
    nodes: Nodes,
    leaving: Members,
    joining: Members,
    rebuilding: Members,
    stage: Stage,
}

impl ReplicaSet {
    /// `replicas` in the order of the partition table, which is the same for everybody: it decides
    /// where a key's later mintings go.
    ///
    /// # Errors
    /// [`NoReplicaSet`]: such a table is never committed.
    pub fn new(epoch: Epoch, stage: Stage, replicas: &[Replica]) -> Result<Self, NoReplicaSet> {
        let mut set = Self {
            epoch,
            nodes: Nodes::default(),
            leaving: Members::default(),
            joining: Members::default(),
            rebuilding: Members::default(),
            stage,
        };
        if replicas.len() > REPLICAS_MAX {
            return Err(NoReplicaSet::TooMany(replicas.len()));
        }
        for replica in replicas {
            if set.place(replica.node).is_some() {
                return Err(NoReplicaSet::Twice(replica.node));
            }
            let place = set.nodes.push(replica.node);
            match replica.part {
                Part::Stays => {}
                Part::Leaves => set.leaving.insert(place),
                Part::Joins => set.joining.insert(place),
            }
            if replica.rebuilding {
                set.rebuilding.insert(place);
            }
        }
        if set.old().is_empty() || set.new_set().is_empty() {
            return Err(NoReplicaSet::Empty);
        }
        if (stage == Stage::Settled) != (set.leaving.union(set.joining).is_empty()) {
            return Err(NoReplicaSet::StageAndParts);
        }
        Ok(set)
    }

    /// The epoch that says so.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How far a move has come.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// All replicas, in the order of the table: the old set, and those that join.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        self.nodes.as_slice()
    }

    /// Whether `node` is one of them.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.place(node).is_some()
    }

    /// Those that may be read from: what `held` and a read's answers are counted of.
    #[must_use]
    pub fn readers(&self) -> Nodes {
        self.of(self.readable())
    }

    /// Those that may mint: whole owners (rules 1 and 15).
    #[must_use]
    pub fn minters(&self) -> Nodes {
        self.of(self.minting())
    }

    /// Those that are rebuilding.
    #[must_use]
    pub fn rebuilding(&self) -> Nodes {
        self.of(self.rebuilding)
    }

    /// These, as members; whoever is none is left out.
    #[must_use]
    pub fn members(&self, nodes: &[NodeId]) -> Members {
        nodes.iter().filter_map(|&node| self.place(node)).collect()
    }

    pub(crate) fn place(&self, node: NodeId) -> Option<usize> {
        self.nodes().iter().position(|&one| one == node)
    }

    pub(crate) fn node(&self, place: usize) -> NodeId {
        self.nodes()[place]
    }

    pub(crate) fn of(&self, members: Members) -> Nodes {
        let mut nodes = Nodes::default();
        for place in members.iter() {
            nodes.push(self.node(place));
        }
        nodes
    }

    pub(crate) fn all(&self) -> Members {
        Members::first(self.nodes.len())
    }

    /// The replicas before the move.
    pub(crate) fn old(&self) -> Members {
        self.all().without(self.joining)
    }

    /// The replicas behind the move.
    pub(crate) fn new_set(&self) -> Members {
        self.all().without(self.leaving)
    }

    /// The set that is read, rebuilding ones included: the size of a read's quorum follows from it.
    pub(crate) fn read_set(&self) -> Members {
        match self.stage {
            Stage::Settled | Stage::WriteBoth => self.old(),
            Stage::ReadNew => self.new_set(),
        }
    }

    /// Whose answers count for a read, and whose `held` for the order of a write.
    pub(crate) fn readable(&self) -> Members {
        self.read_set().without(self.rebuilding)
    }

    /// Owners, and whole: not those that join, whose hybrid time may lag until the move is done.
    pub(crate) fn minting(&self) -> Members {
        self.old().without(self.rebuilding)
    }
}

impl fmt::Debug for ReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{} {:?} [", self.epoch.get(), self.stage)?;
        for (place, node) in self.nodes().iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            let sign = |in_it, sign| if in_it { sign } else { "" };
            let leaves = sign(self.leaving.contains(place), "-");
            let joins = sign(self.joining.contains(place), "+");
            let rebuilding = sign(self.rebuilding.contains(place), "~");
            write!(f, "{gap}{leaves}{joins}{rebuilding}{}", node.get())?;
        }
        f.write_str("]")
    }
}

/// This is no table of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReplicaSet {
    /// Nobody is a replica before the move, or behind it.
    Empty,
    /// More than [`REPLICAS_MAX`].
    TooMany(usize),
    /// A node is named twice.
    Twice(NodeId),
    /// Somebody leaves or joins though nothing moves, or the other way round.
    StageAndParts,
}

impl fmt::Display for NoReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a partition without replicas"),
            Self::TooMany(count) => {
                write!(
                    f,
                    "{count} replicas of one partition, of at most {REPLICAS_MAX}"
                )
            }
            Self::Twice(node) => write!(f, "node {node} is named twice among the replicas"),
            Self::StageAndParts => {
                f.write_str("replicas come or go, but no move says so, or a move without any")
            }
        }
    }
}

impl core::error::Error for NoReplicaSet {}

/// A few nodes, in order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nodes {
    nodes: [NodeId; REPLICAS_MAX],
    len: u8,
}

impl Nodes {
    /// The first of `nodes`, as many as there is room for.
    #[must_use]
    pub fn of(nodes: &[NodeId]) -> Self {
        let mut few = Self::default();
        for &node in nodes.iter().take(REPLICAS_MAX) {
            few.push(node);
        }
        few
    }

    /// As a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[NodeId] {
        &self.nodes[..self.len()]
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds one behind the others and says where. There is room: nobody has more replicas.
    fn push(&mut self, node: NodeId) -> usize {
        let place = self.len();
        self.nodes[place] = node;
        self.len += 1;
        place
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            nodes: [NodeId::new(0); REPLICAS_MAX],
            len: 0,
        }
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.as_slice().iter().map(|node| node.get());
        f.debug_list().entries(numbers).finish()
    }
}

/// Some of the replicas of a set, by their places in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Members(u8);

impl Members {
    /// The first `count` places.
    #[must_use]
    pub fn first(count: usize) -> Self {
        (0..count).collect()
    }

    /// Whether the one at `place` is among them.
    #[must_use]
    pub const fn contains(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }

    /// Adds the one at `place`.
    pub const fn insert(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    /// Takes out the one at `place`.
    pub const fn remove(&mut self, place: usize) {
        self.0 &= !(1 << place);
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Those in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Their places, in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..REPLICAS_MAX).filter(move |&place| self.contains(place))
    }
}

impl FromIterator<usize> for Members {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        let mut members = Self::default();
        places.into_iter().for_each(|place| members.insert(place));
        members
    }
}

const _: () = assert!(REPLICAS_MAX <= 8, "`Members` has a bit for each");

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn replica(node: u64, part: Part, rebuilding: bool) -> Replica {
        let node = NodeId::new(node);
        Replica {
            node,
            part,
            rebuilding,
        }
    }

    #[test]
    fn the_stage_says_who_is_read_and_who_mints() {
        let replicas = [
            replica(1, Part::Leaves, false),
            replica(2, Part::Stays, true),
            replica(3, Part::Stays, false),
            replica(4, Part::Joins, false),
        ];
        let set = |stage| ReplicaSet::new(Epoch::new(7), stage, &replicas).unwrap();
        let before = set(Stage::WriteBoth);
        assert_eq!(format!("{before:?}"), "e7 WriteBoth [-1 ~2 3 +4]");
        assert_eq!(format!("{:?}", before.readers()), "[1, 3]");
        assert_eq!(format!("{:?}", before.minters()), "[1, 3]");
        let after = set(Stage::ReadNew);
        assert_eq!(format!("{:?}", after.readers()), "[3, 4]");
        assert_eq!(format!("{:?}", after.minters()), "[1, 3]");
        assert_eq!(format!("{:?}", after.rebuilding()), "[2]");
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let new = |stage, replicas: &[Replica]| ReplicaSet::new(Epoch::new(1), stage, replicas);
        let stays = |node| replica(node, Part::Stays, false);
        assert_eq!(new(Stage::Settled, &[]), Err(NoReplicaSet::Empty));
        let joins = replica(1, Part::Joins, false);
        assert_eq!(new(Stage::WriteBoth, &[joins]), Err(NoReplicaSet::Empty));
        let twice = [stays(1), stays(1)];
        let refused = NoReplicaSet::Twice(NodeId::new(1));
        assert_eq!(new(Stage::Settled, &twice), Err(refused));
        let moves = [stays(2), joins];
        assert_eq!(
            new(Stage::Settled, &moves),
            Err(NoReplicaSet::StageAndParts)
        );
        assert_eq!(
            new(Stage::ReadNew, &[stays(2)]),
            Err(NoReplicaSet::StageAndParts)
        );
        let nine: alloc::vec::Vec<_> = (0..9).map(stays).collect();
        assert_eq!(new(Stage::Settled, &nine), Err(NoReplicaSet::TooMany(9)));
    }
}
