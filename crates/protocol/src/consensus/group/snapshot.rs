//! Snapshots: cut here, and sent to members that lag behind the log.

use alloc::sync::Arc;
use alloc::vec::Vec;

use ringwood_types::NodeId;

use super::super::entry::Snapshot;
use super::super::index::Index;
use super::super::membership::Configurations;
use super::super::message::{Body, Round};
use super::super::seam::Outcome;
use super::Group;

/// A snapshot that was sent is sent again after so many election timeouts without an answer.
const PATIENCE: u32 = 4;

impl Group {
    /// The caller has cut a snapshot of its own.
    pub(super) fn compact(&mut self, index: Index, state: Arc<[u8]>) {
        if index <= self.log.base() || index > self.handed {
            return;
        }
        let term = self
            .log
            .term_at(index)
            .expect("what was applied is in the log");
        let members = self.configurations.compact(index);
        self.log.replace_by(Snapshot {
            index,
            term,
            members,
            state,
        });
        self.step.snapshot = true;
    }

    pub(super) fn send_snapshot(&mut self, to: NodeId, beat: bool) {
        let round = self.round;
        let Some(peer) = self.peers.get_mut(&to) else {
            return;
        };
        if peer.snapshot_until.is_none_or(|until| until <= self.now) {
            let patience = self.tuning.election * PATIENCE;
            peer.snapshot_until = Some(self.now.after(patience));
            let snapshot = self.log.snapshot().clone();
            self.send(to, Body::Snapshot { snapshot, round });
        } else if beat {
            // Keeps it from standing for election while the snapshot travels.
            let (prev, prev_term) = (self.log.base(), self.log.snapshot().term);
            let body = Body::Append {
                prev,
                prev_term,
                entries: Vec::new(),
                commit: prev,
                round,
            };
            self.send(to, body);
        }
    }

    pub(super) fn snapshot_lost(&mut self, to: NodeId) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.snapshot_until = None;
        }
    }

    /// Takes the leader's state in place of entries.
    pub(super) fn install(&mut self, from: NodeId, snapshot: Snapshot, round: Round) {
        let prev = snapshot.index;
        let reply = |index| Body::AppendReply {
            ok: true,
            index,
            prev,
            round,
        };
        if prev <= self.hard.commit {
            return self.promise(from, self.hard.term, reply(self.hard.commit));
        }
        let same_history = self.log.term_at(prev) == Some(snapshot.term);
        if same_history {
            self.configurations.compact(prev);
        } else {
            self.configurations = Configurations::new(prev, snapshot.members.clone());
            self.durable = self.durable.min(prev);
        }
        self.log.replace_by(snapshot);
        self.learn_commit(prev);
        self.handed = prev;
        self.step.snapshot = true;
        self.step.sync = true;
        self.skipped_proposals(prev);
        self.promise(from, self.hard.term, reply(prev));
    }

    /// INVARIANT raft-6: whether they are in the snapshot cannot be known.
    fn skipped_proposals(&mut self, index: Index) {
        let behind = self.proposals.split_off(&index.next());
        let skipped = core::mem::replace(&mut self.proposals, behind);
        for (_, id) in skipped.into_values() {
            self.resolved(id, Outcome::Unknown);
        }
    }
}
