//! Elections: who leads, and for how long it may believe so.

use ringwood_types::NodeId;

use super::super::entry::Payload;
use super::super::index::{Index, Term};
use super::super::message::Body;
use super::super::plant::Plant;
use super::{Group, Stance};

impl Group {
    pub(super) fn arm_election(&mut self) {
        let patience = self.tuning.election + self.random.shorter_than(self.tuning.election);
        self.election_at = self.now.after(patience);
    }

    pub(super) fn may_campaign(&self) -> bool {
        self.configurations.may_campaign(self.id, self.hard.commit)
    }

    /// Whether this member leads, or has heard from its leader lately.
    pub(super) fn hears_leader(&self) -> bool {
        let lately = |heard| self.now.since(heard) < self.tuning.election;
        match self.stance {
            Stance::Leader => true,
            _ => self.leader.is_some() && self.leader_heard.is_some_and(lately),
        }
    }

    /// Whether a majority has answered since the last look.
    pub(super) fn is_still_followed(&mut self) -> bool {
        self.quorum_check_at = self.now.after(self.tuning.election);
        self.decides(|node| {
            let lately = |heard| self.now.since(heard) <= self.tuning.election;
            node == self.id || self.peers.get(&node).is_some_and(|peer| lately(peer.heard))
        })
    }

    /// Becomes a follower, in a later term or in this one.
    pub(super) fn follow(&mut self, term: Term, leader: Option<NodeId>) {
        if term > self.hard.term {
            self.hard.term = term;
            self.hard.vote = None;
            self.hard_changed();
        }
        self.stance = Stance::Follower;
        self.leader = leader;
        self.transfer = None;
        self.votes.clear();
        self.peers.clear();
        self.refuse_reads();
        self.arm_election();
    }

    pub(super) fn hear_leader(&mut self, from: NodeId) {
        assert_ne!(
            self.stance,
            Stance::Leader,
            "raft-1: {from} leads the same term"
        );
        if self.stance != Stance::Follower || self.leader != Some(from) {
            self.follow(self.hard.term, Some(from));
        }
        self.leader_heard = Some(self.now);
        self.arm_election();
    }

    /// Stands for election, or asks first whether that would be of use.
    pub(super) fn ask_for_votes(&mut self, pre: bool, force: bool) {
        self.arm_election();
        if !self.may_campaign() {
            return;
        }
        self.leader = None;
        self.votes.clear();
        let term = self.hard.term.next();
        if pre {
            self.stance = Stance::PreCandidate;
            self.votes.insert(self.id, true);
        } else {
            self.stance = Stance::Candidate;
            self.hard.term = term;
            self.hard.vote = Some(self.id);
            self.hard_changed();
            if self.planted.has(Plant::OwnVoteAtOnce) {
                self.votes.insert(self.id, true);
            }
        }
        let (last_index, last_term) = (self.log.last(), self.log.last_term());
        for to in self.others() {
            let body = Body::Vote {
                pre,
                last_index,
                last_term,
                force,
            };
            self.promise(to, term, body);
        }
        self.count_votes();
    }

    pub(super) fn asked_for_vote(
        &mut self,
        from: NodeId,
        term: Term,
        pre: bool,
        last: (Term, Index),
    ) {
        let free = if pre {
            term > self.hard.term
        } else {
            match self.hard.vote {
                Some(other) => other == from,
                None => self.leader.is_none(),
            }
        };
        let complete = last >= (self.log.last_term(), self.log.last());
        let granted = free && (complete || self.planted.has(Plant::VoteWithoutComparing));
        if granted && !pre {
            self.hard.vote = Some(from);
            self.hard_changed();
            self.arm_election();
        }
        let term = if granted { term } else { self.hard.term };
        self.promise(from, term, Body::VoteReply { pre, granted });
    }

    pub(super) fn received_vote(&mut self, from: NodeId, pre: bool, granted: bool) {
        let asked = match self.stance {
            Stance::PreCandidate => pre,
            Stance::Candidate => !pre,
            Stance::Follower | Stance::Leader => false,
        };
        if asked {
            self.votes.insert(from, granted);
            self.count_votes();
        }
    }

    /// ORDER: a candidate's own vote counts when it is durable.
    pub(super) fn count_own_vote(&mut self) {
        if self.durable_term == self.hard.term {
            self.votes.insert(self.id, true);
            self.count_votes();
        }
    }

    /// A leader that hands over has asked this member to stand.
    pub(super) fn take_over(&mut self) {
        if self.stance == Stance::Follower {
            self.ask_for_votes(false, true);
        }
    }

    fn count_votes(&mut self) {
        let won = self.decides(|node| self.votes.get(&node) == Some(&true));
        let lost = (self.members()).forbid(|node| self.votes.get(&node) == Some(&false));
        match self.stance {
            Stance::PreCandidate if won => self.ask_for_votes(false, false),
            Stance::Candidate if won => self.lead(),
            Stance::PreCandidate | Stance::Candidate if lost => self.follow(self.hard.term, None),
            _ => {}
        }
    }

    fn lead(&mut self) {
        self.stance = Stance::Leader;
        self.leader = Some(self.id);
        self.peers.clear();
        self.quorum_check_at = self.now.after(self.tuning.election);
        // INVARIANT raft-3: only through an entry of its own does a leader learn what is committed.
        self.append(Payload::Empty);
        self.heartbeat();
    }
}
