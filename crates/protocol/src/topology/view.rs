//! What the data path reads of the topology: made at once when the topology has changed, shared, and
//! never changed itself.
//!
//! A look-up is an index and no more. Who needs more than the data path does reads
//! [`Topology`] itself.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem::size_of;

use ringwood_types::{Epoch, Incarnation, NodeId, PartitionId, Ring, Routing};

use super::model::{self, NodeState, Partition};
use super::state::Topology;
use crate::replicas::{Part, REPLICAS_MAX, Replica, ReplicaSet, Stage};

/// A node, as others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewNode {
    /// Which.
    pub id: NodeId,
    /// What people call it.
    pub name: String,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
    /// What fails together with it.
    pub zone: String,
    /// How it stands.
    pub state: NodeState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ViewPartition {
    replicas: ReplicaSet,
    /// In the order of `replicas`.
    incarnations: [Incarnation; REPLICAS_MAX],
    members_since: Epoch,
}

/// The topology of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    epoch: Epoch,
    ring: Ring,
    /// By id; removed ones are not there.
    nodes: Vec<ViewNode>,
    partitions: Vec<ViewPartition>,
}

impl View {
    /// What the data path sees of `topology`.
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        let members = topology
            .nodes()
            .filter(|node| node.state != NodeState::Removed);
        let nodes = members.map(|node| ViewNode {
            id: node.id,
            name: node.name.clone(),
            peer_address: node.peer_address.clone(),
            client_address: node.client_address.clone(),
            zone: node.zone.clone(),
            state: node.state,
        });
        Self {
            epoch: topology.epoch(),
            ring: topology.ring(),
            nodes: nodes.collect(),
            partitions: topology
                .partitions()
                .iter()
                .map(ViewPartition::new)
                .collect(),
        }
    }

    /// The epoch of the whole.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where keys belong.
    #[must_use]
    pub const fn ring(&self) -> Ring {
        self.ring
    }

    /// Who has a key, and since which epoch.
    #[must_use]
    pub fn route(&self, key: &[u8], routing: Routing) -> (PartitionId, &ReplicaSet) {
        let partition = self.ring.partition(key, routing);
        (partition, self.replicas(partition))
    }

    /// The replicas of a partition, in the epoch of its last change: this is what requests carry, so
    /// that the changes of others do not fence them.
    ///
    /// # Panics
    /// With a partition that the ring does not have.
    #[must_use]
    pub fn replicas(&self, partition: PartitionId) -> &ReplicaSet {
        &self.partitions[partition.index()].replicas
    }

    /// The stint of a node as a member of a partition; `None` for none.
    ///
    /// # Panics
    /// As [`replicas`](Self::replicas).
    #[must_use]
    pub fn incarnation(&self, partition: PartitionId, node: NodeId) -> Option<Incarnation> {
        let partition = &self.partitions[partition.index()];
        let place = partition
            .replicas
            .nodes()
            .iter()
            .position(|&one| one == node)?;
        Some(partition.incarnations[place])
    }

    /// The epoch of the last change of who belongs to a partition, stints told apart.
    ///
    /// # Panics
    /// As [`replicas`](Self::replicas).
    #[must_use]
    pub fn members_since(&self, partition: PartitionId) -> Epoch {
        self.partitions[partition.index()].members_since
    }

    /// A node that was not removed.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&ViewNode> {
        let place = self.nodes.binary_search_by_key(&id, |node| node.id).ok()?;
        Some(&self.nodes[place])
    }

    /// All nodes by id, without those that were removed.
    #[must_use]
    pub fn nodes(&self) -> &[ViewNode] {
        &self.nodes
    }

    /// The partitions that a node is a member of.
    pub fn partitions_of(&self, node: NodeId) -> impl Iterator<Item = PartitionId> {
        let ids = self.ring.partitions().iter();
        ids.filter(move |&id| self.replicas(id).contains(node))
    }

    /// The memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = |node: &ViewNode| {
            let texts = [
                &node.name,
                &node.peer_address,
                &node.client_address,
                &node.zone,
            ];
            texts.map(String::capacity).iter().sum::<usize>()
        };
        size_of::<Self>()
            + self.nodes.capacity() * size_of::<ViewNode>()
            + self.nodes.iter().map(texts).sum::<usize>()
            + self.partitions.capacity() * size_of::<ViewPartition>()
    }
}

impl ViewPartition {
    fn new(partition: &Partition) -> Self {
        let moves = partition.transition.as_ref();
        let stage = match moves.map(|moves| moves.stage) {
            None | Some(model::Stage::Cleanup) => Stage::Settled,
            Some(model::Stage::ReadNew) => Stage::ReadNew,
            Some(model::Stage::Join | model::Stage::Streamed | model::Stage::Back) => {
                Stage::WriteBoth
            }
        };
        let leaves = moves.and_then(|moves| moves.leaves);
        let joins = partition.joiner().map(|joiner| joiner.node);
        let mut replicas = Vec::with_capacity(REPLICAS_MAX);
        let mut incarnations = [Incarnation::new(0); REPLICAS_MAX];
        for (place, member) in partition.members().enumerate() {
            let part = match Some(member.node) {
                node if node == joins => Part::Joins,
                node if node == leaves => Part::Leaves,
                _ => Part::Stays,
            };
            replicas.push(Replica {
                node: member.node,
                part,
                rebuilding: member.rebuilding,
            });
            incarnations[place] = member.incarnation;
        }
        let replicas = ReplicaSet::new(partition.epoch, stage, &replicas);
        Self {
            replicas: replicas.expect("what is committed was checked"),
            incarnations,
            members_since: partition.members_since,
        }
    }
}

const _: () = assert!(
    model::REPLICAS_MAX as usize + 1 == REPLICAS_MAX,
    "all replicas, and one that joins"
);
