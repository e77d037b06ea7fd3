//! Incarnations that are gone, until clocks need not list them (rule 14; rule 22 for those that an
//! unclean start has closed).

use ringwood_types::{Epoch, Incarnation, NodeId, PartitionId};

use super::super::command::{Refused, Witness};
use super::super::model::{Gone, GoneStage, Partition, Replica};
use super::super::plant::Plant;
use super::{Change, Changed, Topology, count, enough};

impl Topology {
    pub(super) fn retire(
        &mut self,
        id: PartitionId,
        incarnation: Incarnation,
        up_to: Option<u64>,
    ) -> Change {
        let partition = self.find_partition(id)?;
        if partition.gone(incarnation).is_some() {
            return Err(Refused::AnotherGoneStage { incarnation });
        }
        let left = partition.transition.as_ref().and_then(|moves| moves.left);
        let mints = |replica: &Replica| replica.incarnation == incarnation;
        let mints_on = partition.members().chain(&left).any(mints);
        let guest = self.nodes.values().any(|node| node.guest == incarnation);
        if mints_on || !self.was_issued(incarnation) || (guest && up_to.is_none()) {
            return Err(Refused::UnknownIncarnation { incarnation });
        }
        let since = self.next_epoch();
        self.touch(id).retire(incarnation, up_to, since);
        Ok(Changed::Something)
    }

    pub(super) fn close(
        &mut self,
        closing: &[(PartitionId, Incarnation)],
        clear: &[(NodeId, Epoch)],
    ) -> Change {
        let mut since = Epoch::default();
        for &(id, incarnation) in closing {
            let gone = self.find_partition(id)?.gone(incarnation);
            let gone = gone.ok_or(Refused::UnknownIncarnation { incarnation })?;
            if gone.stage != GoneStage::Retired {
                return Err(Refused::AnotherGoneStage { incarnation });
            }
            since = since.max(gone.since);
        }
        let living = || self.nodes.values().filter(|node| node.state.lives());
        let looked = |node: NodeId| clear.iter().any(|&(one, at)| one == node && at >= since);
        let counted = living().filter(|node| looked(node.id)).count();
        enough(counted, living().count())?;
        for &(id, incarnation) in closing {
            let since = self.next_epoch();
            self.touch(id)
                .set_gone(incarnation, GoneStage::Closed, since);
        }
        Ok(if closing.is_empty() {
            Changed::Nothing
        } else {
            Changed::Something
        })
    }

    pub(super) fn settle(
        &mut self,
        id: PartitionId,
        incarnation: Incarnation,
        agreed: &[Witness],
    ) -> Change {
        let partition = self.find_partition(id)?;
        let gone = partition.gone(incarnation);
        let gone = gone.ok_or(Refused::UnknownIncarnation { incarnation })?;
        let skipped =
            self.planted.has(Plant::SettledBeforeClose) && gone.stage == GoneStage::Retired;
        if gone.stage != GoneStage::Closed && !skipped {
            return Err(Refused::AnotherGoneStage { incarnation });
        }
        let whole_only = self.planted.has(Plant::SettledWithoutPending);
        let all = || {
            let members = partition.members();
            members.filter(move |one| !whole_only || partition.replicas.contains(one))
        };
        enough(count(agreed, all(), gone.since), all().count())?;
        let with = all().map(|replica| replica.incarnation).collect();
        let since = self.next_epoch();
        self.touch(id)
            .set_gone(incarnation, GoneStage::Settled { with }, since);
        Ok(Changed::Something)
    }

    pub(super) fn forget(
        &mut self,
        id: PartitionId,
        incarnation: Incarnation,
        covered: &[Witness],
    ) -> Change {
        let partition = self.find_partition(id)?;
        let gone = partition.gone(incarnation);
        let gone = gone.ok_or(Refused::UnknownIncarnation { incarnation })?;
        if !matches!(
            gone.stage,
            GoneStage::Settled { .. } | GoneStage::Open { .. }
        ) {
            return Err(Refused::AnotherGoneStage { incarnation });
        }
        let counted = count(covered, partition.members(), gone.since);
        enough(counted, partition.members().count())?;
        self.touch(id)
            .gone
            .retain(|gone| gone.incarnation != incarnation);
        Ok(Changed::Something)
    }
}

impl Partition {
    /// Whoever mints no more is settled from the beginning, and so are those that it was to speak for.
    pub(super) fn retire(&mut self, incarnation: Incarnation, up_to: Option<u64>, since: Epoch) {
        for gone in &mut self.gone {
            if gone.stage
                == (GoneStage::Open {
                    minter: incarnation,
                })
            {
                (gone.stage, gone.since) = (GoneStage::Retired, since);
            }
        }
        self.insert_gone(Gone {
            incarnation,
            up_to,
            stage: GoneStage::Retired,
            since,
        });
    }

    /// An unclean start: what the old stint, and those it was to speak for, have left open is for the
    /// next one to close.
    pub(super) fn reopen(&mut self, old: Incarnation, minter: Incarnation, since: Epoch) {
        for gone in &mut self.gone {
            if gone.stage == (GoneStage::Open { minter: old }) {
                gone.stage = GoneStage::Open { minter };
            }
        }
        self.insert_gone(Gone {
            incarnation: old,
            up_to: None,
            stage: GoneStage::Open { minter },
            since,
        });
    }

    fn insert_gone(&mut self, gone: Gone) {
        let place = self
            .gone
            .binary_search_by_key(&gone.incarnation, |one| one.incarnation);
        match place {
            Ok(place) => self.gone[place] = gone,
            Err(place) => self.gone.insert(place, gone),
        }
    }

    fn set_gone(&mut self, incarnation: Incarnation, stage: GoneStage, since: Epoch) {
        let gone = self
            .gone
            .iter_mut()
            .find(|gone| gone.incarnation == incarnation);
        let gone = gone.expect("it was looked up");
        (gone.stage, gone.since) = (stage, since);
    }
}
