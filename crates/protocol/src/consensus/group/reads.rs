//! Reads of what is committed (`raft-5`): the leader notes the commit index, asks a majority whether
//! it still leads, and then lets the reader go as soon as that much is applied.
//!
//! One question is under way at a time; reads that come meanwhile share the next one.

use alloc::collections::VecDeque;

use ringwood_types::NodeId;

use super::super::index::Index;
use super::super::message::{Body, ReadId, Round};
use super::super::plant::Plant;
use super::super::seam::Effect;
use super::{Group, Stance};

/// Reads that wait for the leader to be confirmed, by round.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Reads(VecDeque<Waiting>);

#[derive(Clone, Debug, Hash)]
struct Waiting {
    id: ReadId,
    asker: NodeId,
    /// What was committed when it was asked.
    at: Index,
    round: Round,
}

impl Group {
    /// This member's caller wants to read.
    pub(super) fn read(&mut self, id: ReadId) {
        match (self.stance, self.leader) {
            (Stance::Leader, _) if self.has_committed_in_term() => self.queue_read(id, self.id),
            (Stance::Follower, Some(leader)) => self.send(leader, Body::ReadAsk { id }),
            _ => self.effects.push_back(Effect::ReadRefused { id }),
        }
    }

    /// Another member's caller wants to read. One that cannot be served asks again.
    pub(super) fn read_asked(&mut self, asker: NodeId, id: ReadId) {
        if self.stance == Stance::Leader && self.has_committed_in_term() {
            self.queue_read(id, asker);
        }
    }

    fn queue_read(&mut self, id: ReadId, asker: NodeId) {
        let at = self.hard.commit;
        if self.planted.has(Plant::ReadWithoutRound) {
            return self.answer_read(asker, id, at);
        }
        let idle = self.reads.0.is_empty();
        // Behind the question that is under way: its answers may be older than this read.
        self.reads.0.push_back(Waiting {
            id,
            asker,
            at,
            round: self.round.next(),
        });
        if idle {
            self.ask_next_round();
        }
    }

    fn ask_next_round(&mut self) {
        self.round = self.round.next();
        self.heartbeat();
        self.confirm_reads();
    }

    /// Answers the reads whose round a majority has confirmed.
    pub(super) fn confirm_reads(&mut self) {
        while let Some(oldest) = self.reads.0.front().map(|read| read.round) {
            if oldest > self.round {
                return self.ask_next_round();
            }
            let confirmed = self.decides(|node| {
                node == self.id
                    || self
                        .peers
                        .get(&node)
                        .is_some_and(|peer| peer.round >= oldest)
            });
            if !confirmed {
                return;
            }
            while let Some(read) = self.reads.0.pop_front_if(|read| read.round <= oldest) {
                self.answer_read(read.asker, read.id, read.at);
            }
        }
    }

    /// Nobody will confirm them any more.
    pub(super) fn refuse_reads(&mut self) {
        for read in core::mem::take(&mut self.reads.0) {
            if read.asker == self.id {
                self.effects.push_back(Effect::ReadRefused { id: read.id });
            }
        }
    }

    fn answer_read(&mut self, asker: NodeId, id: ReadId, at: Index) {
        if asker == self.id {
            self.effects.push_back(Effect::ReadAt { id, at });
        } else {
            self.send(asker, Body::ReadReply { id, at });
        }
    }
}
