//! One member of a group: what it remembers, and how a step becomes effects.

mod change;
mod election;
mod reads;
mod replication;
mod snapshot;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;

use ringwood_types::NodeId;

use super::entry::{Entry, Payload};
use super::index::{Index, Term};
use super::log::Log;
use super::membership::{Configurations, Members};
use super::message::{Body, Message, Round};
use super::plant::{Plant, Planted};
use super::seam::{
    DamagedLog, Effect, HardState, Input, Outcome, Persist, ProposalId, Role, Status, Stored,
    Tuning,
};
use crate::random::Random;
use crate::time::Time;
use reads::Reads;
use replication::Peer;

/// One member of a group; see [`consensus`](super).
///
/// A copy goes its own way, and equal members have equal hashes: that is for those who explore all of
/// its futures. Two copies must never speak for one node.
#[derive(Clone, Hash)]
pub struct Group {
    id: NodeId,
    tuning: Tuning,
    random: Random,
    planted: Planted,
    /// The time of the present step.
    now: Time,

    hard: HardState,
    log: Log,
    configurations: Configurations,
    /// What was handed out to be applied.
    handed: Index,
    /// What is on this member's disk: the log's end, and the term.
    durable: Index,
    durable_term: Term,

    stance: Stance,
    leader: Option<NodeId>,
    leader_heard: Option<Time>,
    votes: BTreeMap<NodeId, bool>,
    election_at: Time,
    heartbeat_at: Time,
    quorum_check_at: Time,
    peers: BTreeMap<NodeId, Peer>,
    /// Who the leader hands over to, and until when it tries.
    transfer: Option<(NodeId, Time)>,
    round: Round,
    reads: Reads,
    /// What this member's caller has proposed, by where it was put.
    proposals: BTreeMap<Index, (Term, ProposalId)>,

    step: Step,
    in_flight: VecDeque<Batch>,
    next_batch: u64,
    effects: VecDeque<Effect>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stance {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

/// What the present step has changed and not handed out yet.
#[derive(Clone, Debug, Default, Hash)]
struct Step {
    hard: bool,
    snapshot: bool,
    sync: bool,
    send_now: Vec<(NodeId, Message)>,
    send_when_durable: Vec<(NodeId, Message)>,
}

/// A batch that is being written.
#[derive(Clone, Debug, Hash)]
struct Batch {
    number: u64,
    /// Where the log ends on the disk behind it, if it holds any of it.
    log_end: Option<(Index, Term)>,
    term: Term,
}

impl Group {
    /// A member as its disk remembers it. `seed` is the only source of chance: no two members, and no
    /// two starts of one, should have the same.
    ///
    /// # Errors
    /// [`DamagedLog`] where `stored` was not written by a member.
    pub fn restore(
        id: NodeId,
        seed: u64,
        now: Time,
        stored: Stored,
        tuning: Tuning,
    ) -> Result<Self, DamagedLog> {
        stored.check()?;
        let Stored {
            mut hard,
            snapshot,
            entries,
        } = stored;
        let base = snapshot.index;
        let mut configurations = Configurations::new(base, snapshot.members.clone());
        for entry in &entries {
            if let Payload::Change(members) = &entry.payload {
                configurations.push(entry.index, members.clone());
            }
        }
        let log = Log::new(snapshot, entries);
        let last = log.last();
        hard.commit = hard.commit.clamp(base, last);
        let mut group = Self {
            id,
            tuning,
            random: Random::new(seed),
            planted: Planted::default(),
            now,
            durable_term: hard.term,
            hard,
            log,
            configurations,
            handed: base,
            durable: last,
            stance: Stance::Follower,
            leader: None,
            leader_heard: None,
            votes: BTreeMap::new(),
            election_at: now,
            heartbeat_at: now,
            quorum_check_at: now,
            peers: BTreeMap::new(),
            transfer: None,
            round: Round::default(),
            reads: Reads::default(),
            proposals: BTreeMap::new(),
            step: Step::default(),
            in_flight: VecDeque::new(),
            next_batch: 1,
            effects: VecDeque::new(),
        };
        group.arm_election();
        group.hand_out();
        Ok(group)
    }

    /// Takes what happened. Effects are polled afterwards, until there are none.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.now = now;
        match input {
            Input::Wake => self.wake(),
            Input::Received { from, message } => self.received(from, message),
            Input::Persisted { number } => self.persisted(number),
            Input::Propose { id, data } => {
                let taken = self.takes_proposals();
                self.propose(id, taken.then_some(Payload::Data(data)));
            }
            Input::Change { id, change } => {
                let members = self.change(change);
                self.propose(id, members.map(Payload::Change));
            }
            Input::Read { id } => self.read(id),
            Input::Transfer { to } => self.begin_transfer(to),
            Input::Compact { index, state } => self.compact(index, state),
            Input::SnapshotLost { to } => self.snapshot_lost(to),
        }
        self.hand_out();
    }

    /// What is to be done next; `None`: nothing until the next input.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Wake`] is wanted, if nothing comes before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        match self.stance {
            Stance::Leader => Some(self.heartbeat_at.min(self.quorum_check_at)),
            _ => self.may_campaign().then_some(self.election_at),
        }
    }

    /// How the member stands.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            role: match self.stance {
                Stance::Follower => Role::Follower,
                Stance::PreCandidate | Stance::Candidate => Role::Candidate,
                Stance::Leader => Role::Leader,
            },
            term: self.hard.term,
            leader: self.leader,
            commit: self.hard.commit,
            last: self.log.last(),
            members: self.members().clone(),
        }
    }

    /// Plants a defect.
    #[cfg(feature = "plant")]
    pub fn plant(&mut self, defect: Plant) {
        self.planted = Planted(Some(defect));
    }

    /// The members that rule: those of the newest change in the log.
    fn members(&self) -> &Members {
        self.configurations.newest().1
    }

    fn decides(&self, yes: impl Fn(NodeId) -> bool) -> bool {
        if self.planted.has(Plant::OldQuorumIgnored) {
            return self.members().left_joint().decide(yes);
        }
        self.members().decide(yes)
    }

    fn others(&self) -> Vec<NodeId> {
        let mut others = self.members().all();
        others.retain(|&node| node != self.id);
        others
    }

    /// Only then a leader knows what is committed.
    fn has_committed_in_term(&self) -> bool {
        self.log.term_at(self.hard.commit) == Some(self.hard.term)
    }

    fn wake(&mut self) {
        if self.stance != Stance::Leader {
            if self.now >= self.election_at {
                self.ask_for_votes(true, false);
            }
            return;
        }
        if self.now >= self.quorum_check_at && !self.is_still_followed() {
            return self.follow(self.hard.term, None);
        }
        if self.transfer.is_some_and(|(_, until)| until <= self.now) {
            self.transfer = None;
        }
        if self.now >= self.heartbeat_at {
            self.heartbeat();
        }
    }

    fn received(&mut self, from: NodeId, message: Message) {
        let Message { term, body } = message;
        let unasked = matches!(body, Body::Vote { force: false, .. });
        // Whoever hears its leader does not help to unseat it.
        if unasked && term > self.hard.term && self.hears_leader() {
            return;
        }
        if term < self.hard.term {
            return self.received_late(from, &body);
        }
        if term > self.hard.term {
            match body {
                // A pre-vote is of a term that has not begun.
                Body::Vote { pre: true, .. }
                | Body::VoteReply {
                    pre: true,
                    granted: true,
                } => {}
                Body::Append { .. } | Body::Snapshot { .. } => self.follow(term, Some(from)),
                _ => self.follow(term, None),
            }
        }
        match body {
            Body::Vote {
                pre,
                last_index,
                last_term,
                ..
            } => {
                self.asked_for_vote(from, term, pre, (last_term, last_index));
            }
            Body::VoteReply { pre, granted } => self.received_vote(from, pre, granted),
            Body::Append {
                prev,
                prev_term,
                entries,
                commit,
                round,
            } => {
                self.hear_leader(from);
                self.take_entries(from, (prev, prev_term), entries, commit, round);
            }
            Body::Snapshot { snapshot, round } => {
                self.hear_leader(from);
                self.install(from, snapshot, round);
            }
            Body::AppendReply {
                ok,
                index,
                prev,
                round,
            } => {
                self.received_reply(from, ok, index, prev, round);
            }
            Body::TimeoutNow => self.take_over(),
            Body::ReadAsk { id } => self.read_asked(from, id),
            Body::ReadReply { id, at } => self.effects.push_back(Effect::ReadAt { id, at }),
        }
    }

    /// Tells an old leader, or a candidate, which term it missed.
    fn received_late(&mut self, from: NodeId, body: &Body) {
        let reply = match body {
            Body::Append { prev, .. } => refusal(*prev),
            Body::Snapshot { snapshot, .. } => refusal(snapshot.index),
            Body::Vote { pre: true, .. } => Body::VoteReply {
                pre: true,
                granted: false,
            },
            _ => return,
        };
        self.promise(from, self.hard.term, reply);
    }

    /// May leave at once: it promises nothing. ORDER: but not before its term is durable.
    fn send(&mut self, to: NodeId, body: Body) {
        let message = Message {
            term: self.hard.term,
            body,
        };
        if self.durable_term < self.hard.term && !self.planted.has(Plant::TermNotAwaited) {
            self.step.send_when_durable.push((to, message));
        } else {
            self.step.send_now.push((to, message));
        }
    }

    /// ORDER: leaves when everything that this step has written is durable.
    fn promise(&mut self, to: NodeId, term: Term, body: Body) {
        self.step
            .send_when_durable
            .push((to, Message { term, body }));
    }

    fn hard_changed(&mut self) {
        self.step.hard = true;
        self.step.sync = true;
    }

    fn learn_commit(&mut self, commit: Index) {
        if commit > self.hard.commit {
            self.hard.commit = commit;
            self.step.hard = true;
        }
    }

    fn persisted(&mut self, number: u64) {
        while let Some(batch) = self.in_flight.pop_front_if(|batch| batch.number <= number) {
            self.durable_term = self.durable_term.max(batch.term);
            if let Some((index, term)) = batch.log_end
                && self.log.term_at(index) == Some(term)
            {
                self.durable = self.durable.max(index);
            }
        }
        match self.stance {
            Stance::Candidate => self.count_own_vote(),
            Stance::Leader => self.advance_commit(),
            Stance::Follower | Stance::PreCandidate => {}
        }
    }

    /// Puts a command in the log, or refuses it.
    fn propose(&mut self, id: ProposalId, payload: Option<Payload>) {
        let Some(payload) = payload else {
            return self.resolved(id, Outcome::NotApplied);
        };
        let index = self.append(payload);
        self.proposals.insert(index, (self.hard.term, id));
        self.advance_commit();
    }

    fn resolved(&mut self, id: ProposalId, outcome: Outcome) {
        self.effects.push_back(Effect::Resolved { id, outcome });
    }

    /// Turns what the step has changed into effects, in the order that the world must see.
    fn hand_out(&mut self) {
        for (to, message) in core::mem::take(&mut self.step.send_now) {
            self.effects.push_back(Effect::Send { to, message });
        }
        let entries = self.log.take_unwritten();
        let writes = self.step.hard || self.step.snapshot || !entries.is_empty();
        let promises = !self.step.send_when_durable.is_empty();
        // A promise waits for batches of earlier steps as well.
        if writes || (promises && !self.in_flight.is_empty()) {
            self.persist(entries);
        } else {
            for (to, message) in core::mem::take(&mut self.step.send_when_durable) {
                self.effects.push_back(Effect::Send { to, message });
            }
        }
        self.step = Step::default();
        self.hand_to_apply();
    }

    fn persist(&mut self, entries: Vec<Entry>) {
        let number = self.next_batch;
        self.next_batch += 1;
        let snapshot = self.step.snapshot.then(|| self.log.snapshot().clone());
        let snapshot_end = snapshot
            .as_ref()
            .map(|snapshot| (snapshot.index, snapshot.term));
        let entries_end = entries.last().map(|entry| (entry.index, entry.term));
        self.in_flight.push_back(Batch {
            number,
            log_end: entries_end.or(snapshot_end),
            term: self.hard.term,
        });
        self.effects.push_back(Effect::Persist(Persist {
            number,
            hard: self.step.hard.then_some(self.hard),
            sync: self.step.sync || !entries.is_empty(),
            entries,
            snapshot,
            then_send: core::mem::take(&mut self.step.send_when_durable),
        }));
    }

    fn hand_to_apply(&mut self) {
        let durable = if self.planted.has(Plant::ApplyBeforeDurable) {
            self.log.last()
        } else {
            self.durable
        };
        let ready = self.hard.commit.min(durable);
        if ready <= self.handed {
            return;
        }
        let entries = self.log.between(self.handed, ready);
        self.handed = ready;
        let terms: Vec<_> = entries
            .iter()
            .map(|entry| (entry.index, entry.term))
            .collect();
        self.effects.push_back(Effect::Apply(entries));
        for (index, term) in terms {
            let Some((proposed_in, id)) = self.proposals.remove(&index) else {
                continue;
            };
            // INVARIANT raft-6: another entry stands where it was put: by raft-2 it never will.
            let outcome = if proposed_in == term {
                Outcome::Applied(index)
            } else {
                Outcome::NotApplied
            };
            self.resolved(id, outcome);
        }
    }
}

fn refusal(prev: Index) -> Body {
    Body::AppendReply {
        ok: false,
        index: Index::ZERO,
        prev,
        round: Round::default(),
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("id", &self.id)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
