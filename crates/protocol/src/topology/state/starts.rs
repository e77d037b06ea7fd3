//! Starts of processes, disks that have lost something, and replicas that serve again (rules 11, 12, 22).

use ringwood_types::{Incarnation, NodeId, PartitionId};

use super::super::command::{Refused, Witness};
use super::super::model::{NodeState, Partition, Replica, Stage};
use super::super::plant::Plant;
use super::{Change, Changed, Topology, count, enough, meets_quorum};

/// What a disk has kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// All that it had acknowledged as durable: the end of its log may be gone.
    Prefix,
    /// An older state, parts, or nothing.
    Less,
}

impl Topology {
    pub(super) fn start(&mut self, id: NodeId, previous: u64, start: u64) -> Change {
        if self.registered(id, previous, start)? {
            return Ok(Changed::Nothing);
        }
        Ok(self.register(id, start))
    }

    pub(super) fn unclean_start(&mut self, id: NodeId, previous: u64, start: u64) -> Change {
        if self.registered(id, previous, start)? {
            return Ok(Changed::Nothing);
        }
        let changed = self.register(id, start);
        for partition in self.partition_ids() {
            self.reissue(partition, id, Kept::Prefix);
        }
        Ok(changed)
    }

    pub(super) fn new_incarnation(
        &mut self,
        id: NodeId,
        start: u64,
        partitions: Option<&[PartitionId]>,
    ) -> Change {
        let node = self.member(id)?;
        if node.state == NodeState::Removing {
            return Err(Refused::NodeGoes { node: id });
        }
        if let Some(partitions) = partitions {
            if node.start != start {
                return Err(Refused::AnotherStart);
            }
            for &partition in partitions {
                self.find_partition(partition)?;
            }
            partitions
                .iter()
                .for_each(|&one| self.reissue(one, id, Kept::Less));
            return Ok(Changed::Something);
        }
        let changed = self.register(id, start);
        for partition in self.partition_ids() {
            self.reissue(partition, id, Kept::Less);
        }
        let guest = self.issue();
        if let Some(node) = self.nodes.get_mut(&id) {
            node.guest = guest;
        }
        Ok(changed)
    }

    /// Whether this very start is registered already. Refused where the disk does not remember the
    /// last one.
    fn registered(&self, id: NodeId, previous: u64, start: u64) -> Result<bool, Refused> {
        let node = self.member(id)?;
        if node.state == NodeState::Removing {
            return Err(Refused::NodeGoes { node: id });
        }
        if node.start == start {
            return Ok(true);
        }
        if node.start != previous {
            return Err(Refused::AnotherStart);
        }
        Ok(false)
    }

    /// Whoever starts lives.
    fn register(&mut self, id: NodeId, start: u64) -> Changed {
        let failed = self
            .nodes
            .get_mut(&id)
            .map(|node| {
                node.start = start;
                node.state
            })
            .is_some_and(|state| state == NodeState::PermanentlyFailed);
        if failed {
            self.set_state(id, NodeState::Joined);
            return Changed::Layout;
        }
        Changed::Something
    }

    /// Gives the node's part in a partition, if it has one, a new incarnation.
    fn reissue(&mut self, id: PartitionId, node: NodeId, kept: Kept) {
        let partition = &self.partitions[id.index()];
        let leaves = partition.transition.as_ref().and_then(|moves| moves.left);
        if kept == Kept::Less && leaves.is_some_and(|left| left.node == node) {
            // What it was to clean up is gone, or none of its business any more.
            self.end_move(id, leaves.map(|left| left.incarnation));
            return;
        }
        let partition = &self.partitions[id.index()];
        if !partition.members().any(|replica| replica.node == node) {
            return;
        }
        let next = self.issue();
        let since = self.next_epoch();
        let keeps = self.planted.has(Plant::IncarnationKept);
        let partition = self.touch(id);
        partition.members_since = since;
        let pending = partition.joiner().is_some_and(|joiner| joiner.node == node);
        if let Some(moves) = partition.transition.as_mut().filter(|_| pending)
            && matches!(moves.stage, Stage::Join | Stage::Streamed)
        {
            // It has minted nothing, and its session begins again.
            (moves.stage, moves.began, moves.since) = (Stage::Join, since, since);
            if let Some(joiner) = &mut moves.joins {
                (joiner.incarnation, joiner.since) = (next, since);
            }
            return;
        }
        let Some(replica) = partition.member_mut(|replica| replica.node == node) else {
            return;
        };
        let old = replica.incarnation;
        replica.rebuilding |= kept == Kept::Less;
        if keeps && kept == Kept::Less {
            return;
        }
        (replica.incarnation, replica.since) = (next, since);
        match kept {
            Kept::Prefix => partition.reopen(old, next, since),
            Kept::Less => partition.retire(old, None, since),
        }
    }

    pub(super) fn rebuilt(
        &mut self,
        id: PartitionId,
        incarnation: Incarnation,
        compared: &[Witness],
        fence: &[Witness],
    ) -> Change {
        let partition = self.find_partition(id)?;
        let readers = partition.read_set();
        let replica = readers.iter().find(|one| one.incarnation == incarnation);
        let replica = replica.filter(|replica| replica.rebuilding);
        let replica = **replica.ok_or(Refused::UnknownIncarnation { incarnation })?;
        let others = || readers.iter().copied().filter(|other| !other.rebuilding);
        let mut needed = self.needed(partition, meets_quorum(readers.len()), others());
        if self.planted.has(Plant::RebuiltFromOne) {
            needed = needed.min(1);
        }
        let mut since = replica.since;
        if self.planted.has(Plant::SessionBeforeEpoch) {
            since = Default::default();
        }
        enough(count(compared, others(), since), needed)?;
        self.check_fence(partition, fence, others(), since)?;
        let partition = self.touch(id);
        if let Some(replica) = partition.member_mut(|one| one.incarnation == incarnation) {
            replica.rebuilding = false;
        }
        self.ease(id);
        Ok(Changed::Something)
    }

    /// The serve fence (11b): each of `others` has applied the newcomer's epoch, and what it has purged
    /// the newcomer has seen.
    pub(super) fn check_fence<'a>(
        &self,
        partition: &Partition,
        fence: &[Witness],
        others: impl Iterator<Item = &'a Replica> + Clone,
        since: ringwood_types::Epoch,
    ) -> Result<(), Refused> {
        if self.planted.has(Plant::ServeFenceIgnored) {
            return Ok(());
        }
        let all = others.clone().count();
        let needed = self.needed(partition, all, others.clone());
        enough(count(fence, others, since), needed)
    }

    pub(super) fn accept_loss(&mut self, id: PartitionId) -> Change {
        let partition = self.find_partition(id)?;
        if partition.loss_accepted {
            return Ok(Changed::Nothing);
        }
        let readers = partition.read_set();
        let serves = |one: &&&Replica| !one.rebuilding && self.lives(one.node);
        let serving = readers.iter().filter(serves).count();
        // With one replica missing the rules find a way by themselves.
        if serving > 0 && readers.len() - serving < 2 {
            return Err(Refused::NothingLost { partition: id });
        }
        self.touch(id).loss_accepted = true;
        Ok(Changed::Something)
    }

    /// What was accepted for an emergency ends with it.
    pub(super) fn ease(&mut self, id: PartitionId) {
        let partition = &self.partitions[id.index()];
        let in_order = |one: &Replica| !one.rebuilding && self.lives(one.node);
        let over = partition.transition.is_none() && partition.replicas.iter().all(in_order);
        if over && partition.loss_accepted {
            self.touch(id).loss_accepted = false;
        }
    }
}

impl Partition {
    /// The one member of which that is so.
    pub(super) fn member_mut(&mut self, wanted: impl Fn(&Replica) -> bool) -> Option<&mut Replica> {
        let joiner = self
            .transition
            .as_mut()
            .filter(|moves| moves.stage != Stage::Cleanup);
        let joiner = joiner.and_then(|moves| moves.joins.as_mut());
        self.replicas
            .iter_mut()
            .chain(joiner)
            .find(|one| wanted(one))
    }
}
