//! Moves of partitions (rule 13), a commit for each stage.
//!
//! ```text
//! Begin → Join ─Streamed→ Streamed ─ReadNew→ ReadNew ─UseNew→ Cleanup ─CleanedUp→ done
//!           └───Abort→ undone ←──┘             └─Abort→ Back ─AbortDone→ undone
//! ```
//! What each needs is checked against the stints that there are when it is applied: a word that a
//! replaced stint has given does not count.

use alloc::vec::Vec;

use ringwood_types::{Epoch, Incarnation, NodeId, PartitionId};

use super::super::command::{Refused, Wanted, Witness};
use super::super::model::{Partition, REPLICAS_MAX, Replica, Stage, Transition};
use super::super::plant::Plant;
use super::{Change, Changed, Topology, count, distinct, enough, meets_quorum, stays};

/// The next step of a partition to where it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) joins: Option<NodeId>,
    pub(crate) leaves: Option<NodeId>,
}

impl Topology {
    pub(super) fn apply_plan(&mut self, based_on: Epoch, wanted: &[Wanted]) -> Change {
        if based_on != self.layout && !self.planted.has(Plant::StalePlanApplied) {
            return Err(Refused::RingChanged {
                planned: based_on,
                now: self.layout,
            });
        }
        let ids: Vec<_> = wanted.iter().map(|one| one.partition).collect();
        for Wanted { partition, nodes } in wanted {
            let at = self.find_partition(*partition)?;
            let may_hold = |node: &NodeId| {
                let member = at.members().any(|replica| replica.node == *node);
                member || self.nodes.get(node).is_some_and(|node| stays(node.state))
            };
            let sound = (1..=usize::from(REPLICAS_MAX)).contains(&nodes.len())
                && distinct(nodes)
                && distinct(&ids)
                && nodes.iter().all(may_hold);
            if !sound {
                let partition = *partition;
                return Err(Refused::InvalidPlan { partition });
            }
        }
        for Wanted { partition, nodes } in wanted {
            self.want(*partition, nodes.clone());
        }
        Ok(if wanted.is_empty() {
            Changed::Nothing
        } else {
            Changed::Layout
        })
    }

    /// From now on the partition is to be on these nodes. A change of their order is made at once, for it
    /// moves nothing.
    pub(super) fn want(&mut self, id: PartitionId, nodes: Vec<NodeId>) {
        self.partitions[id.index()].wanted = nodes;
        self.arrange(id);
    }

    /// Brings the replicas into the order that is wanted, when they are the ones that are wanted.
    fn arrange(&mut self, id: PartitionId) {
        let partition = &mut self.partitions[id.index()];
        let Partition {
            replicas, wanted, ..
        } = partition;
        let all_there = replicas.len() == wanted.len()
            && replicas
                .iter()
                .all(|replica| wanted.contains(&replica.node));
        if !all_there || partition.transition.is_some() {
            return;
        }
        let ordered = replicas
            .iter()
            .map(|replica| replica.node)
            .eq(wanted.iter().copied());
        sort(replicas, wanted);
        wanted.clear();
        if !ordered {
            self.touch(id);
        }
    }

    /// The next step of a partition that does not move, if there is one that can be made now.
    pub(crate) fn step(&self, partition: &Partition) -> Option<Step> {
        let wanted = &partition.wanted;
        if wanted.is_empty() || partition.transition.is_some() {
            return None;
        }
        let missing = || {
            wanted
                .iter()
                .copied()
                .filter(|&node| partition.replica(node).is_none())
        };
        let may_join = |node: &NodeId| self.nodes.get(node).is_some_and(|one| stays(one.state));
        let joining = missing().filter(may_join).count();
        let joins = missing().find(may_join);
        let surplus = || {
            partition
                .replicas
                .iter()
                .filter(|one| !wanted.contains(&one.node))
        };
        // Whoever is lost goes first, then whoever is rebuilding.
        let worth = |one: &&Replica| (self.lives(one.node), !one.rebuilding);
        let leaves = surplus().min_by_key(worth);
        let is_lost = leaves.is_some_and(|one| !self.lives(one.node));
        let full = partition.replicas.len() >= usize::from(REPLICAS_MAX);
        let grows = joining > surplus().count() && !is_lost && !full;
        let leaves = leaves
            .map(|one| one.node)
            .filter(|_| joins.is_none() || !grows);
        match (joins, leaves) {
            (None, None) => None,
            (Some(_), None) if full => None,
            (Some(_), _) => Some(Step { joins, leaves }),
            // Fewer replicas only when all that are wanted are there, and whole.
            (None, Some(leaver)) => {
                let mut stay = partition.replicas.iter().filter(|one| one.node != leaver);
                let sound = missing().next().is_none() && stay.all(|one| !one.rebuilding);
                (sound && partition.replicas.len() > 1).then_some(Step { joins, leaves })
            }
        }
    }

    pub(super) fn begin(&mut self, id: PartitionId) -> Change {
        let partition = self.find_partition(id)?;
        if partition.transition.is_some() {
            return Err(Refused::Moving { partition: id });
        }
        let step = self.step(partition);
        let Step { joins, leaves } = step.ok_or(Refused::NothingToMove { partition: id })?;
        let since = self.next_epoch();
        let joins = joins.map(|node| Replica {
            node,
            incarnation: self.issue(),
            since,
            rebuilding: false,
        });
        let partition = self.touch(id);
        partition.members_since = since;
        partition.transition = Some(Transition {
            joins,
            leaves,
            left: None,
            stage: Stage::Join,
            began: since,
            since,
        });
        Ok(Changed::Something)
    }

    pub(super) fn streamed(
        &mut self,
        id: PartitionId,
        began: Epoch,
        sources: &[Witness],
    ) -> Change {
        let (partition, moves) = self.at_stage(id, began, Stage::Join)?;
        let leaver = moves.leaves.and_then(|node| partition.replica(node));
        let stay = || {
            let stays = |one: &&Replica| Some(one.node) != moves.leaves;
            partition.replicas.iter().filter(stays)
        };
        let mut since = moves.began;
        if self.planted.has(Plant::SessionBeforeEpoch) {
            since = Epoch::default();
        }
        if moves.joins.is_none() {
            check_whole(stay())?;
            enough(count(sources, stay(), since), stay().count())?;
        } else {
            let rebuilding_too = self.planted.has(Plant::StreamedFromRebuilding);
            let serves = |one: &&Replica| !one.rebuilding || rebuilding_too;
            let from_leaver = count(sources, leaver.into_iter().filter(serves), since) == 1;
            let whole = || stay().filter(serves);
            let needed = meets_quorum(partition.replicas.len());
            let needed = self.needed(partition, needed, whole());
            if !from_leaver {
                enough(count(sources, whole(), since), needed)?;
            }
        }
        self.set_stage(id, Stage::Streamed);
        Ok(Changed::Something)
    }

    pub(super) fn read_new(&mut self, id: PartitionId, began: Epoch, fence: &[Witness]) -> Change {
        let (partition, moves) = self.at_stage(id, began, Stage::Streamed)?;
        if let Some(joiner) = moves.joins {
            let others = partition
                .new_set()
                .filter(|one| one.incarnation != joiner.incarnation && !one.rebuilding);
            let others: Vec<_> = others.collect();
            self.check_fence(partition, fence, others.iter().copied(), moves.began)?;
        } else {
            // The leaver may be the last that is whole by now.
            check_whole(partition.new_set())?;
        }
        self.set_stage(id, Stage::ReadNew);
        Ok(Changed::Something)
    }

    pub(super) fn use_new(&mut self, id: PartitionId, began: Epoch, applied: &[Witness]) -> Change {
        let (partition, moves) = self.at_stage(id, began, Stage::ReadNew)?;
        match &moves.joins {
            Some(joiner) => check_whole([joiner].into_iter())?,
            None => check_whole(partition.new_set())?,
        }
        let old = || partition.replicas.iter();
        let needed = self.needed(partition, meets_quorum(partition.replicas.len()), old());
        if !self.planted.has(Plant::UseNewAtOnce) {
            enough(count(applied, old(), moves.since), needed)?;
        }
        let left = moves
            .leaves
            .and_then(|node| partition.replica(node))
            .copied();
        let mut replicas: Vec<_> = partition.new_set().copied().collect();
        sort(&mut replicas, &partition.wanted);
        let since = self.next_epoch();
        let partition = self.touch(id);
        partition.replicas = replicas;
        partition.members_since = since;
        if let Some(moves) = &mut partition.transition {
            (moves.stage, moves.since, moves.left) = (Stage::Cleanup, since, left);
        }
        // Nobody waits for who is lost; and where nobody leaves, nothing is to be cleaned.
        if left.is_none_or(|left| !self.lives(left.node)) {
            self.end_move(id, left.map(|left| left.incarnation));
        }
        Ok(Changed::Something)
    }

    pub(super) fn cleaned_up(&mut self, id: PartitionId, began: Epoch, leaver: Witness) -> Change {
        let (_, moves) = self.at_stage(id, began, Stage::Cleanup)?;
        enough(count(&[leaver], moves.left.iter(), moves.since), 1)?;
        self.end_move(id, Some(leaver.incarnation));
        Ok(Changed::Something)
    }

    pub(super) fn abort(&mut self, id: PartitionId, began: Epoch) -> Change {
        let moves = self.find_move(id, began)?;
        let stage = match moves.stage {
            Stage::ReadNew if self.planted.has(Plant::AbortAtOnce) => Stage::Join,
            stage => stage,
        };
        let since = self.next_epoch();
        match stage {
            Stage::Join | Stage::Streamed => {
                let partition = self.touch(id);
                partition.members_since = since;
                partition.wanted.clear();
                // A joiner that was never read has minted nothing: nothing to settle.
                self.end_move(id, None);
            }
            Stage::ReadNew => {
                self.check_way_back(id)?;
                self.partitions[id.index()].wanted.clear();
                self.set_stage(id, Stage::Back);
            }
            Stage::Cleanup => return Err(Refused::TooLate { partition: id }),
            Stage::Back => return Ok(Changed::Nothing),
        }
        Ok(Changed::Layout)
    }

    pub(super) fn abort_done(
        &mut self,
        id: PartitionId,
        began: Epoch,
        applied: &[Witness],
    ) -> Change {
        let (partition, moves) = self.at_stage(id, began, Stage::Back)?;
        let new: Vec<_> = partition.new_set().copied().collect();
        let needed = self.needed(partition, meets_quorum(new.len()), new.iter());
        enough(count(applied, new.iter(), moves.since), needed)?;
        self.check_way_back(id)?;
        let joiner = moves.joins.map(|joiner| joiner.incarnation);
        let since = self.next_epoch();
        self.touch(id).members_since = since;
        self.end_move(id, joiner);
        Ok(Changed::Something)
    }

    /// INVARIANT topology-21: the joiner is not given up where the old set has lost what it would be
    /// rebuilt from.
    fn check_way_back(&self, id: PartitionId) -> Result<(), Refused> {
        let old = &self.find_partition(id)?.replicas;
        let whole = old.iter().filter(|one| !one.rebuilding).count();
        if whole < meets_quorum(old.len()) {
            return check_whole(old.iter());
        }
        Ok(())
    }

    /// The move is over: `gone` mints no more, and who has left may be let go.
    pub(super) fn end_move(&mut self, id: PartitionId, gone: Option<Incarnation>) {
        let since = self.next_epoch();
        let partition = self.touch(id);
        let moves = partition.transition.take();
        if let Some(incarnation) = gone {
            partition.retire(incarnation, None, since);
        }
        self.arrange(id);
        self.ease(id);
        if let Some(moves) = moves {
            let joins = moves.joins.map(|joiner| joiner.node);
            moves
                .leaves
                .into_iter()
                .chain(joins)
                .for_each(|node| self.let_go(node));
        }
    }

    /// Nobody waits for a lost node to clean up.
    pub(super) fn end_cleanups_of(&mut self, node: NodeId) {
        for id in self.partition_ids() {
            let moves = self.partitions[id.index()].transition.as_ref();
            let left = moves
                .and_then(|moves| moves.left)
                .filter(|left| left.node == node);
            if let Some(left) = left {
                self.end_move(id, Some(left.incarnation));
            }
        }
    }

    /// INVARIANT topology-4: what was done for an earlier move, or an earlier stint of the joiner, does
    /// not count.
    fn find_move(&self, id: PartitionId, began: Epoch) -> Result<&Transition, Refused> {
        let moves = self.find_partition(id)?.transition.as_ref();
        let moves = moves.filter(|moves| moves.began == began);
        moves.ok_or(Refused::AnotherMove { partition: id })
    }

    fn at_stage(
        &self,
        id: PartitionId,
        began: Epoch,
        stage: Stage,
    ) -> Result<(&Partition, &Transition), Refused> {
        let moves = self.find_move(id, began)?;
        if moves.stage != stage {
            return Err(Refused::AnotherStage { partition: id });
        }
        Ok((self.find_partition(id)?, moves))
    }

    fn set_stage(&mut self, id: PartitionId, stage: Stage) {
        let since = self.next_epoch();
        if let Some(moves) = &mut self.touch(id).transition {
            (moves.stage, moves.since) = (stage, since);
        }
    }
}

fn check_whole<'a>(mut replicas: impl Iterator<Item = &'a Replica>) -> Result<(), Refused> {
    match replicas.find(|replica| replica.rebuilding) {
        Some(replica) => Err(Refused::Rebuilding { node: replica.node }),
        None => Ok(()),
    }
}

/// By their places in `wanted`; who is not in there comes last.
fn sort(replicas: &mut [Replica], wanted: &[NodeId]) {
    let place = |node: NodeId| wanted.iter().position(|&one| one == node);
    replicas.sort_by_key(|replica| place(replica.node).unwrap_or(usize::MAX));
}
