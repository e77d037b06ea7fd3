//! The leader's log on its way to the others, and what they make of it.

use alloc::vec::Vec;

use ringwood_types::NodeId;

use super::super::entry::{Entry, Payload};
use super::super::index::{Index, Term};
use super::super::message::{Body, Round};
use super::super::plant::Plant;
use super::{Group, Stance};
use crate::time::Time;

/// What a leader knows of another member.
#[derive(Clone, Debug, Hash)]
pub(super) struct Peer {
    /// What it is sent next.
    pub(super) next: Index,
    /// Its log agrees, durably, up to here.
    pub(super) matched: Index,
    /// Until it has taken something, one message goes at a time.
    pub(super) probing: bool,
    /// A probe is under way.
    pub(super) waiting: bool,
    pub(super) heard: Time,
    /// A snapshot is under way, at most until then.
    pub(super) snapshot_until: Option<Time>,
    /// The last round it has answered.
    pub(super) round: Round,
}

impl Group {
    /// Adds an entry of the leader's own and sends it on. Gives its place.
    pub(super) fn append(&mut self, payload: Payload) -> Index {
        let index = self.log.last().next();
        if let Payload::Change(members) = &payload {
            self.configurations.push(index, members.clone());
        }
        self.log.push(Entry {
            index,
            term: self.hard.term,
            payload,
        });
        for to in self.others() {
            self.replicate(to, false);
        }
        index
    }

    pub(super) fn heartbeat(&mut self) {
        self.heartbeat_at = self.now.after(self.tuning.heartbeat);
        for to in self.others() {
            self.replicate(to, true);
        }
    }

    /// Sends a member what it lacks; with `beat` something, even if it lacks nothing.
    pub(super) fn replicate(&mut self, to: NodeId, beat: bool) {
        let last = self.log.last();
        let peer = self.peers.entry(to).or_insert(Peer {
            next: last.max(Index::new(1)),
            matched: Index::ZERO,
            probing: true,
            waiting: false,
            heard: self.now,
            snapshot_until: None,
            round: Round::default(),
        });
        let full = peer.next.beyond(peer.matched) > self.tuning.in_flight_max;
        if (peer.waiting || !peer.probing && full) && !beat {
            return;
        }
        peer.waiting = peer.probing;
        if peer.next <= self.log.base() {
            return self.send_snapshot(to, beat);
        }
        let room = if full && !peer.probing {
            0
        } else {
            self.tuning.in_flight_max
        };
        let entries = self.log.chunk(peer.next, room, self.tuning.append_len_max);
        if entries.is_empty() && !beat {
            return;
        }
        let prev = peer.next.previous();
        if !peer.probing {
            peer.next = peer.next.plus(entries.len() as u64);
        }
        let body = Body::Append {
            prev,
            prev_term: self.log.term_at(prev).expect("not before the base"),
            entries,
            commit: self.hard.commit,
            round: self.round,
        };
        self.send(to, body);
    }

    /// Commits what a majority holds durably.
    pub(super) fn advance_commit(&mut self) {
        if self.stance != Stance::Leader {
            return;
        }
        let mut reached = self.log.last();
        while reached > self.hard.commit && !self.is_held_by_majority(reached) {
            reached = reached.previous();
        }
        // INVARIANT raft-3: copies of an older term's entry prove nothing.
        let own = self.log.term_at(reached) == Some(self.hard.term);
        if reached > self.hard.commit && (own || self.planted.has(Plant::OlderTermCounted)) {
            self.learn_commit(reached);
            for to in self.others() {
                self.replicate(to, true);
            }
            self.members_committed();
        }
    }

    fn is_held_by_majority(&self, index: Index) -> bool {
        let own = if self.planted.has(Plant::OwnCopyAtOnce) {
            self.log.last()
        } else {
            self.durable
        };
        self.decides(|node| {
            if node == self.id {
                // ORDER: the leader's own copy counts when it is durable.
                own >= index
            } else {
                self.peers
                    .get(&node)
                    .is_some_and(|peer| peer.matched >= index)
            }
        })
    }

    /// A follower takes what the leader sent, as far as the logs agree before it.
    pub(super) fn take_entries(
        &mut self,
        from: NodeId,
        (prev, prev_term): (Index, Term),
        entries: Vec<Entry>,
        commit: Index,
        round: Round,
    ) {
        let end = prev.plus(entries.len() as u64);
        let reply = |ok, index| Body::AppendReply {
            ok,
            index,
            prev,
            round,
        };
        if end <= self.hard.commit {
            // All of it is known to be committed; of the snapshot no terms are left to compare.
            return self.promise(from, self.hard.term, reply(true, self.hard.commit));
        }
        if prev >= self.log.base() && self.log.term_at(prev) != Some(prev_term) {
            let hint = self.where_logs_may_agree(prev);
            return self.promise(from, self.hard.term, reply(false, hint));
        }
        for entry in entries {
            self.take_entry(entry);
        }
        self.learn_commit(commit.min(end));
        self.promise(from, self.hard.term, reply(true, end));
    }

    /// Before `prev`, where the logs differ: past a whole term of this one at a time.
    fn where_logs_may_agree(&self, prev: Index) -> Index {
        let mut hint = self.log.last().min(prev.previous());
        if let Some(differing) = self.log.term_at(prev) {
            while hint > self.hard.commit && self.log.term_at(hint) == Some(differing) {
                hint = hint.previous();
            }
        }
        hint
    }

    fn take_entry(&mut self, entry: Entry) {
        let index = entry.index;
        if index <= self.log.base() || self.log.term_at(index) == Some(entry.term) {
            return;
        }
        if index <= self.log.last() {
            assert!(index > self.hard.commit, "raft-2: {index:?} is committed");
            self.log.cut(index);
            self.durable = self.durable.min(index.previous());
            if !self.planted.has(Plant::ConfigurationKept) {
                self.configurations.cut(index);
            }
        }
        if let Payload::Change(members) = &entry.payload {
            self.configurations.push(index, members.clone());
        }
        self.log.push(entry);
    }

    /// A member has answered an append or a snapshot.
    pub(super) fn received_reply(
        &mut self,
        from: NodeId,
        ok: bool,
        index: Index,
        prev: Index,
        round: Round,
    ) {
        if self.stance != Stance::Leader {
            return;
        }
        let (now, last) = (self.now, self.log.last());
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        peer.heard = now;
        peer.round = peer.round.max(round);
        peer.waiting = false;
        if ok {
            peer.matched = peer.matched.max(index.min(last));
            peer.next = peer.next.max(peer.matched.next());
            peer.probing = false;
            peer.snapshot_until = None;
            self.advance_commit();
        } else if prev > peer.matched && prev < peer.next {
            peer.next = index.next().clamp(peer.matched.next(), prev);
            peer.probing = true;
        } else {
            // Late, or from a member that lost what it promised. An answer at once would bring the next
            // such refusal, and so on: the next heartbeat is soon enough.
            peer.waiting = true;
        }
        // The commit may have ended its leadership.
        if self.stance == Stance::Leader {
            let behind = self.peers.get(&from).is_some_and(|peer| peer.next <= last);
            if behind || !ok {
                self.replicate(from, false);
            }
            self.confirm_reads();
            self.go_on_with_transfer();
        }
    }
}
