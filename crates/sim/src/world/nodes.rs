//! Messages between nodes, and what replicas make of them.

use ringwood_lsm::Ticket;
use ringwood_node::{Deferred, Node, PeerReply, ReplicaRequest, Serving};

use super::{Event, Message, World};
use crate::member::{CallId, Waiting};
#[cfg(feature = "plant")]
use crate::plant::Plant;
use crate::queue::Moment;

impl World {
    pub(super) fn send(&mut self, from: usize, to: usize, message: Message) {
        if from == to {
            self.queue.push(self.now, Event::Deliver { to, message });
            return;
        }
        if self.cut.contains(&(from, to)) || !self.healing && self.random.chance(self.mix.drop) {
            return;
        }
        // A question to mint comes once: a connection repeats nothing, and nobody asks it again.
        let may_repeat = match &message {
            Message::Question { request, .. } => {
                !matches!(request.request, ReplicaRequest::Mint { .. })
            }
            Message::Answer { .. } => true,
        };
        if may_repeat && !self.healing && self.random.chance(self.mix.duplicate) {
            let event = Event::Deliver {
                to,
                message: message.clone(),
            };
            self.queue.push(self.now + self.delay(), event);
        }
        let event = Event::Deliver { to, message };
        self.queue.push(self.now + self.delay(), event);
    }

    pub(super) fn delay(&self) -> Moment {
        let delay = 1 + self.random.below(self.mix.delay_max);
        match !self.healing && self.random.chance(self.mix.straggle) {
            true => delay * 100,
            false => delay,
        }
    }

    pub(super) fn deliver(&mut self, to: usize, message: Message) {
        if self.members[to].paused_until > self.now {
            let until = self.members[to].paused_until;
            self.queue.push(until, Event::Deliver { to, message });
            return;
        }
        match message {
            Message::Question {
                call,
                from,
                request,
            } => {
                let Some(node) = self.node(to) else { return };
                let serving = node.serve(node.now(), request);
                self.serving(to, from, call, serving);
            }
            Message::Answer { call, reply } => self.told(call, reply),
        }
    }

    pub(super) fn node(&mut self, member: usize) -> Option<Node> {
        let now = self.now;
        let member = &mut self.members[member];
        member.show(now);
        member.node.clone()
    }

    pub(super) fn serving(&mut self, member: usize, from: usize, call: CallId, serving: Serving) {
        match serving {
            Serving::Reply(reply) => self.answer(member, from, call, reply),
            Serving::Persisting(ticket, reply) => {
                #[cfg(feature = "plant")]
                if self.mix.plant == Some(Plant::AnswerBeforeSync) {
                    self.answer(member, from, call, reply.clone());
                }
                self.persist(member, ticket, Waiting::Reply(call, from, reply));
            }
            Serving::Behind(ticket, deferred) => {
                self.persist(member, ticket, Waiting::Behind(call, from, deferred));
            }
            Serving::Blocking(deferred) => {
                let wait = self.random.below(self.mix.disk_max);
                let life = self.members[member].life;
                let event = Event::Run {
                    member,
                    life,
                    from,
                    call,
                    deferred,
                };
                self.queue.push(self.now + wait, event);
            }
        }
    }

    pub(super) fn run_deferred(
        &mut self,
        member: usize,
        life: u64,
        from: usize,
        call: CallId,
        deferred: Deferred,
    ) {
        if self.members[member].life != life {
            return;
        }
        if let Some(node) = self.node(member) {
            let serving = deferred.run(node.now());
            self.serving(member, from, call, serving);
        }
    }

    pub(super) fn persist(&mut self, member: usize, ticket: Ticket, waiting: Waiting) {
        self.members[member].persisting.push((ticket, waiting));
        self.begin_disk(member);
    }

    pub(super) fn begin_disk(&mut self, member: usize) {
        let slow = self.members[member].disk_is_slow;
        if self.members[member].disk_is_busy {
            return;
        }
        self.members[member].disk_is_busy = true;
        let takes = 1 + self.random.below(self.mix.disk_max);
        let takes = if slow { takes * 100 } else { takes };
        let life = self.members[member].life;
        self.queue
            .push(self.now + takes, Event::DiskDone { member, life });
    }

    pub(super) fn disk_done(&mut self, at: usize, life: u64) {
        if self.members[at].life != life || !self.members[at].is_up() {
            return;
        }
        if self.members[at].paused_until > self.now {
            let until = self.members[at].paused_until;
            self.queue.push(until, Event::DiskDone { member: at, life });
            return;
        }
        let now = self.now;
        self.members[at].show(now);
        self.members[at].disk_is_busy = false;
        self.members[at].work();
        let (done, rest) = std::mem::take(&mut self.members[at].persisting)
            .into_iter()
            .partition(|(ticket, _)| ticket.is_done());
        self.members[at].persisting = rest;
        let done: Vec<(Ticket, Waiting)> = done;
        for (ticket, waiting) in done {
            let written = ticket.wait().map(drop);
            match waiting {
                Waiting::Reply(call, from, reply) => {
                    let reply = reply.once(written);
                    self.answer(at, from, call, reply);
                }
                Waiting::Behind(call, from, deferred) => {
                    self.run_deferred(at, life, from, call, deferred);
                }
            }
        }
        if !self.members[at].persisting.is_empty() {
            self.begin_disk(at);
        }
    }

    pub(super) fn answer(&mut self, member: usize, from: usize, call: CallId, reply: PeerReply) {
        if let PeerReply::Minted(version) = reply
            && let Some(op) = self.minting.remove(&call)
        {
            self.history.minted.insert(version, op);
        }
        self.send(member, from, Message::Answer { call, reply });
    }
}
