//! What must hold after every command, looked at as a whole: for tests and simulations.

use alloc::collections::BTreeSet;
use core::fmt;

use ringwood_types::PartitionId;

use super::super::model::{NodeState, Partition, REPLICAS_MAX, Stage};
use super::{Topology, distinct};

/// Nobody counts as far: a state that claims more was not made by commands.
const NUMBER_MAX: u64 = 1 << 62;

/// An invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong.
    pub what: &'static str,
    /// Where.
    pub partition: Option<PartitionId>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        match self.partition {
            Some(partition) => write!(f, " in partition {partition}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Violation {}

impl Topology {
    /// Looks at everything.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        let whole = |what| Violation {
            what,
            partition: None,
        };
        let names = |member: bool| {
            let nodes = self.nodes.values();
            nodes.filter(move |node| (node.state != NodeState::Removed) == member)
        };
        let unique: BTreeSet<_> = names(true).map(|node| &node.name).collect();
        if unique.len() != names(true).count() {
            return Err(whole("two nodes of one name"));
        }
        let unique: BTreeSet<_> = self.namespaces.values().map(|one| &one.name).collect();
        if unique.len() != self.namespaces.len() {
            return Err(whole("two namespaces of one name"));
        }
        let last = self.namespaces.keys().next_back();
        if self
            .next_namespace
            .is_some_and(|next| last.is_some_and(|last| *last >= next))
        {
            return Err(whole(
                "an id of a namespace that was issued is to be issued again",
            ));
        }
        let counted = [self.epoch.get(), self.next_incarnation];
        if counted
            .iter()
            .any(|&number| number == 0 || number > NUMBER_MAX)
        {
            return Err(whole(
                "an epoch or an incarnation that counting does not lead to",
            ));
        }
        if !self.settings.are_sound() {
            return Err(whole("settings that make no sense"));
        }
        if names(false).any(|node| self.holds(node.id)) {
            return Err(whole("a removed node holds something"));
        }
        for (id, partition) in self.partition_ids().zip(&self.partitions) {
            self.check_partition(partition).map_err(|what| Violation {
                what,
                partition: Some(id),
            })?;
        }
        Ok(())
    }

    fn check_partition(&self, partition: &Partition) -> Result<(), &'static str> {
        let holds = |so: bool, what| so.then_some(()).ok_or(what);
        let left = partition.transition.as_ref().and_then(|moves| moves.left);
        let all = || partition.members().chain(&left);
        let nodes: alloc::vec::Vec<_> = partition.members().map(|one| one.node).collect();
        holds(!partition.replicas.is_empty(), "no replica")?;
        holds(distinct(&nodes), "two replicas on one node")?; // topology-6
        holds(
            partition.replicas.len() <= usize::from(REPLICAS_MAX),
            "too many replicas",
        )?;
        holds(distinct(&partition.wanted), "a node is wanted twice")?;
        let known = |one: &super::Replica| self.nodes.contains_key(&one.node);
        holds(all().all(known), "a replica on a node that was never there")?;
        let gone = partition.gone.iter().map(|gone| gone.incarnation);
        let stints: alloc::vec::Vec<_> = all().map(|one| one.incarnation).chain(gone).collect();
        // topology-26
        holds(distinct(&stints), "an incarnation stands for two stints")?;
        let issued = stints.iter().all(|&stint| self.was_issued(stint));
        holds(issued, "an incarnation that nobody issued")?;
        // topology-3
        let epochs = [partition.epoch, partition.members_since];
        holds(
            epochs.iter().all(|at| *at <= self.epoch),
            "an epoch ahead of all",
        )?;
        holds(
            partition.members_since <= partition.epoch,
            "members changed unseen",
        )?;
        if let Some(moves) = &partition.transition {
            // topology-4
            holds(
                moves.joins.is_some() || moves.leaves.is_some(),
                "nobody moves",
            )?;
            let gone = moves.stage == Stage::Cleanup;
            let here = moves
                .leaves
                .is_none_or(|node| partition.replica(node).is_some());
            holds(
                here != gone || moves.leaves.is_none(),
                "a leaver that is none",
            )?;
            holds(moves.left.is_some() == gone, "a leaver before its time")?;
            holds(moves.began <= moves.since, "a stage before its move")?;
            holds(partition.new_set().next().is_some(), "nobody behind a move")?;
        }
        Ok(())
    }
}
