//! Changes of the members (`raft-4`), and handing over.

use ringwood_types::NodeId;

use super::super::entry::Payload;
use super::super::membership::{Change, Members};
use super::super::message::Body;
use super::super::plant::Plant;
use super::{Group, Stance};

impl Group {
    pub(super) fn takes_proposals(&self) -> bool {
        self.stance == Stance::Leader
            && self.transfer.is_none()
            && self.members().has_voter(self.id)
    }

    /// The members that `change` leads to, where it may be made now.
    pub(super) fn change(&self, change: Change) -> Option<Members> {
        let (index, members) = self.configurations.newest();
        let settled = index <= self.hard.commit && !members.is_joint();
        let may_change = self.takes_proposals()
            && (self.has_committed_in_term() || self.planted.has(Plant::ChangeBeforeCommit))
            && (settled || self.planted.has(Plant::SecondChangeAtOnce));
        if !may_change {
            return None;
        }
        members.changed(change, |node| self.has_caught_up(node))
    }

    fn has_caught_up(&self, node: NodeId) -> bool {
        if self.planted.has(Plant::PromotedUnseen) {
            return true;
        }
        self.peers.get(&node).is_some_and(|peer| {
            let lag = self.log.last().beyond(peer.matched);
            let heard_lately = self.now.since(peer.heard) <= self.tuning.election;
            lag <= self.tuning.promotion_lag_max && heard_lately
        })
    }

    /// The commit has moved: what follows for a change that is now committed.
    pub(super) fn members_committed(&mut self) {
        let (index, members) = self.configurations.newest();
        if index > self.hard.commit || self.stance != Stance::Leader {
            return;
        }
        if members.is_joint() {
            if self.has_committed_in_term() {
                let left = members.left_joint();
                self.append(Payload::Change(left));
                self.advance_commit();
            }
        } else if !members.has_voter(self.id) {
            // It has led until it was out; now others may.
            self.follow(self.hard.term, None);
        }
    }

    pub(super) fn begin_transfer(&mut self, to: NodeId) {
        let wanted =
            self.stance == Stance::Leader && to != self.id && self.members().voters().contains(&to);
        if wanted {
            self.transfer = Some((to, self.now.after(self.tuning.election)));
            self.go_on_with_transfer();
        }
    }

    /// Lets the successor stand as soon as it has everything.
    pub(super) fn go_on_with_transfer(&mut self) {
        let last = self.log.last();
        let ready = |to: &NodeId| self.peers.get(to).is_some_and(|peer| peer.matched == last);
        if let Some(to) = self.transfer.map(|(to, _)| to).filter(ready) {
            self.send(to, Body::TimeoutNow);
        }
    }
}
