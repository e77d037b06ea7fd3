//! Who is a member, who counts, and how that changes.
//!
//! A configuration rules from when its entry is in the log, not from when it is committed; it goes
//! when its entry is cut off, and a snapshot brings its own.

use alloc::vec::Vec;

use ringwood_types::NodeId;

use super::index::Index;

/// The members of a group. Each set is sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Members {
    voters: Vec<NodeId>,
    learners: Vec<NodeId>,
    /// The voters before a joint change, while it lasts; then empty.
    outgoing: Vec<NodeId>,
}

/// A change of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A node begins to be told of everything, without a vote.
    AddLearner(NodeId),
    /// A learner that has caught up gets a vote.
    Promote(NodeId),
    /// A voter becomes a learner.
    Demote(NodeId),
    /// A voter or learner leaves.
    Remove(NodeId),
    /// A learner that has caught up takes a voter's place, in one step; that one becomes a learner.
    Replace {
        /// The learner.
        joins: NodeId,
        /// The voter.
        leaves: NodeId,
    },
}

impl Members {
    /// Voters only.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            voters: sorted(voters),
            ..Self::default()
        }
    }

    /// From what [`voters`](Self::voters), [`learners`](Self::learners) and
    /// [`outgoing`](Self::outgoing) gave.
    #[must_use]
    pub fn from_parts(
        voters: impl IntoIterator<Item = NodeId>,
        learners: impl IntoIterator<Item = NodeId>,
        outgoing: impl IntoIterator<Item = NodeId>,
    ) -> Self {
        Self {
            voters: sorted(voters),
            learners: sorted(learners),
            outgoing: sorted(outgoing),
        }
    }

    /// Who votes, and counts.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// Who is told of everything without a vote.
    #[must_use]
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// Who voted before the joint change that is under way.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.outgoing
    }

    /// Whether a joint change is under way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `node` votes, by the old or the new of a joint change.
    #[must_use]
    pub fn has_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether `node` is a member.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.has_voter(node) || self.learners.contains(&node)
    }

    /// Everybody, sorted.
    #[must_use]
    pub fn all(&self) -> Vec<NodeId> {
        let mut all = sorted(
            [&self.voters, &self.learners, &self.outgoing]
                .into_iter()
                .flatten()
                .copied(),
        );
        all.dedup();
        all
    }

    /// Whether those that say yes decide: a majority of the voters, and in a joint change of the old
    /// ones too. Nobody decides for a group without voters.
    pub(super) fn decide(&self, yes: impl Fn(NodeId) -> bool) -> bool {
        !self.voters.is_empty() && majority(&self.voters, &yes) && majority(&self.outgoing, &yes)
    }

    /// Whether those that say no keep every majority from saying yes.
    pub(super) fn forbid(&self, no: impl Fn(NodeId) -> bool) -> bool {
        !self.decide(|node| !no(node))
    }

    /// What `change` makes of these members; `None` where it makes no sense. `caught_up` says who may
    /// get a vote.
    pub(super) fn changed(
        &self,
        change: Change,
        caught_up: impl Fn(NodeId) -> bool,
    ) -> Option<Self> {
        let mut next = self.clone();
        match change {
            Change::AddLearner(node) => {
                if self.contains(node) {
                    return None;
                }
                next.learners.push(node);
            }
            Change::Promote(node) => {
                take(&mut next.learners, node).filter(|_| caught_up(node))?;
                next.voters.push(node);
            }
            Change::Demote(node) => {
                take(&mut next.voters, node)?;
                next.learners.push(node);
            }
            Change::Remove(node) => {
                take(&mut next.learners, node).or_else(|| take(&mut next.voters, node))?;
            }
            Change::Replace { joins, leaves } => {
                take(&mut next.learners, joins).filter(|_| caught_up(joins))?;
                take(&mut next.voters, leaves)?;
                next.voters.push(joins);
                next.learners.push(leaves);
                next.outgoing.clone_from(&self.voters);
            }
        }
        next.voters.sort_unstable();
        next.learners.sort_unstable();
        (!next.voters.is_empty()).then_some(next)
    }

    /// What a joint change ends in.
    pub(super) fn left_joint(&self) -> Self {
        Self {
            outgoing: Vec::new(),
            ..self.clone()
        }
    }
}

fn sorted(nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_unstable();
    nodes
}

fn take(from: &mut Vec<NodeId>, node: NodeId) -> Option<NodeId> {
    let at = from.iter().position(|&one| one == node)?;
    Some(from.remove(at))
}

/// More than half; of nobody nothing is asked.
fn majority(set: &[NodeId], yes: impl Fn(NodeId) -> bool) -> bool {
    set.is_empty() || set.iter().filter(|&&node| yes(node)).count() * 2 > set.len()
}

/// Every configuration that the log still shows, the snapshot's first. The last one rules.
#[derive(Clone, Debug, Hash)]
pub(super) struct Configurations(Vec<(Index, Members)>);

impl Configurations {
    pub(super) fn new(base: Index, members: Members) -> Self {
        Self(alloc::vec![(base, members)])
    }

    /// The one that rules, and where it stands.
    pub(super) fn newest(&self) -> (Index, &Members) {
        let (index, members) = self.0.last().expect("the snapshot's is always there");
        (*index, members)
    }

    pub(super) fn push(&mut self, index: Index, members: Members) {
        self.0.push((index, members));
    }

    /// Entries from `index` on are cut off.
    pub(super) fn cut(&mut self, index: Index) {
        self.0.retain(|(at, _)| *at < index);
    }

    /// The log begins behind `index` from now on. Gives the members there.
    pub(super) fn compact(&mut self, index: Index) -> Members {
        let rules = self.ruling_at(index);
        self.0.drain(..rules);
        self.0[0].1.clone()
    }

    /// Whether `node` votes by the configuration committed last, or by any later one. A change that
    /// takes its vote binds it only when committed: until then its vote, and its log, may be the ones
    /// that are needed.
    pub(super) fn may_campaign(&self, node: NodeId, commit: Index) -> bool {
        let since = self.0[self.ruling_at(commit)..].iter();
        since
            .into_iter()
            .any(|(_, members)| members.has_voter(node))
    }

    fn ruling_at(&self, index: Index) -> usize {
        let rules = self.0.iter().rposition(|(at, _)| *at <= index);
        rules.expect("the log begins at or before what is committed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId::new).collect()
    }

    fn members(voters: &[u64], learners: &[u64], outgoing: &[u64]) -> Members {
        Members::from_parts(nodes(voters), nodes(learners), nodes(outgoing))
    }

    #[test]
    fn any_two_deciding_sets_meet_also_across_each_change() {
        let all = |_| true;
        let start = members(&[1, 2, 3], &[4, 5], &[]);
        let joint = start
            .changed(
                Change::Replace {
                    joins: NodeId::new(4),
                    leaves: NodeId::new(1),
                },
                all,
            )
            .unwrap();
        let steps = [
            (
                start.clone(),
                start.changed(Change::Promote(NodeId::new(4)), all).unwrap(),
            ),
            (
                start.clone(),
                start.changed(Change::Remove(NodeId::new(3)), all).unwrap(),
            ),
            (
                start.clone(),
                start.changed(Change::Demote(NodeId::new(3)), all).unwrap(),
            ),
            (start.clone(), joint.clone()),
            (joint.clone(), joint.left_joint()),
        ];
        for (before, after) in steps {
            for (one, other) in (0..64u64).flat_map(|one| (0..64).map(move |other| (one, other))) {
                let says = |set: u64| move |node: NodeId| set >> node.get() & 1 == 1;
                if before.decide(says(one)) && after.decide(says(other)) {
                    assert_ne!(one & other, 0, "raft-4: {before:?} and {after:?}");
                }
            }
        }
    }

    #[test]
    fn whoever_forbids_leaves_no_majority() {
        let joint = members(&[2, 3, 4], &[], &[1, 2, 3]);
        for no in 0..32u64 {
            let says_no = |node: NodeId| no >> node.get() & 1 == 1;
            let left = (0..32u64)
                .any(|yes| yes & no == 0 && joint.decide(|node| yes >> node.get() & 1 == 1));
            assert_eq!(joint.forbid(says_no), !left, "{no:b}");
        }
    }

    #[test]
    fn changes_that_make_no_sense_are_refused() {
        let start = members(&[1], &[2], &[]);
        let change = |change, caught_up: bool| start.changed(change, |_| caught_up);
        assert_eq!(change(Change::AddLearner(NodeId::new(2)), true), None);
        assert_eq!(change(Change::Promote(NodeId::new(3)), true), None);
        assert_eq!(change(Change::Promote(NodeId::new(2)), false), None);
        assert_eq!(
            change(Change::Remove(NodeId::new(1)), true),
            None,
            "the last voter"
        );
        assert_eq!(
            change(Change::Demote(NodeId::new(1)), true),
            None,
            "the last voter"
        );
        assert_eq!(change(Change::Remove(NodeId::new(9)), true), None);
        assert_eq!(
            change(Change::Promote(NodeId::new(2)), true),
            Some(members(&[1, 2], &[], &[]))
        );
        let replaced = change(
            Change::Replace {
                joins: NodeId::new(2),
                leaves: NodeId::new(1),
            },
            true,
        )
        .unwrap();
        assert_eq!(replaced, members(&[2], &[1], &[1]));
        assert_eq!(replaced.left_joint(), members(&[2], &[1], &[]));
    }

    #[test]
    fn nobody_decides_for_nobody() {
        assert!(!Members::default().decide(|_| true));
        assert!(Members::default().forbid(|_| false));
    }
}
