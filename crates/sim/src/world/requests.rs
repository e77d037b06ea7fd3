//! Clients, and the coordinators of what they ask.

use bytes::Bytes;
use ringwood_node::{
    Coordinate, Effect, Node, Payload, PeerReply, PeerRequest, ReadOf, ReplicaRequest, Tag, WriteOf,
};
use ringwood_protocol::Time;
use ringwood_protocol::coordinator::write::{Conflict, Outcome as WriteOutcome};
use ringwood_protocol::coordinator::{Failure, Health, Level, Nodes, Standing, read, write};
#[cfg(feature = "plant")]
use ringwood_protocol::coordinator::{Read, Write};
use ringwood_types::{Hlc, NodeId, Routing};

use super::{Call, Drive, Event, Message, NAMESPACE, Running, World, key_name};
use crate::client;
use crate::history::{Kind, OpId, Told};
use crate::member::CallId;
#[cfg(feature = "plant")]
use crate::plant::Plant;
use crate::queue::{MILLI, Moment};

/// How long a question waits for its answer.
const CALL_PATIENCE: Moment = 1000 * MILLI;

impl World {
    pub(super) fn told(&mut self, call: CallId, reply: PeerReply) {
        let Some(Call { op, tag, from }) = self.calls.remove(&call) else {
            return;
        };
        if self.members[from.0].life != from.1 {
            return;
        }
        let now = self.time();
        if let Some(running) = self.running.get_mut(&op) {
            running.drive.told(now, tag, reply);
            self.drive(op);
        }
    }

    pub(super) fn call_over(&mut self, call: CallId) {
        if self.calls.contains_key(&call) {
            self.told(call, PeerReply::Failed(Failure::Silent));
        }
    }

    pub(super) fn wake(&mut self, op: OpId) {
        let now = self.time();
        let Some(running) = self.running.get_mut(&op) else {
            return;
        };
        let until = self.members[running.at.0].paused_until;
        if until > self.now {
            self.queue.push(until, Event::Wake { op });
            return;
        }
        running.drive.wake(now);
        self.drive(op);
    }

    /// Does what a coordinator wants done.
    pub(super) fn drive(&mut self, op: OpId) {
        let Some(mut running) = self.running.remove(&op) else {
            return;
        };
        let at = running.at;
        loop {
            match running.drive.poll() {
                None => break,
                Some(Wanted::Ask { to, tag, request }) => self.question(op, at, to, tag, request),
                Some(Wanted::Told(told)) => self.end(op, told),
                Some(Wanted::Renew) => {} // the topology stands still
            }
        }
        if let Some(deadline) = running.drive.next_deadline() {
            let deadline = deadline.micros().max(self.now + 1);
            self.queue.push(deadline, Event::Wake { op });
            self.running.insert(op, running);
        }
    }

    pub(super) fn question(
        &mut self,
        op: OpId,
        at: (usize, u64),
        to: NodeId,
        tag: Tag,
        request: PeerRequest,
    ) {
        self.next_call += 1;
        let call = CallId(self.next_call);
        let to = self.places[&to];
        if matches!(request.request, ReplicaRequest::Mint { .. }) {
            self.minting.insert(call, op);
        }
        self.calls.insert(call, Call { op, tag, from: at });
        self.queue
            .push(self.now + CALL_PATIENCE, Event::CallOver { call });
        let from = at.0;
        let message = Message::Question {
            call,
            from,
            request,
        };
        self.send(from, to, message);
    }

    pub(super) fn ask(&mut self, client: usize) {
        let (_, key, kind) = client::next(&self.random, self.mix.keys);
        if self.finishing {
            return;
        }
        let at = self.random.index(self.members.len());
        let op = self.history.begin(key, kind, self.now);
        self.waiting[client] = Some(op);
        self.queue
            .push(self.now + client::PATIENCE, Event::GiveUp { client, op });
        if self.members[at].paused_until <= self.now {
            self.coordinate_at(at, op, key, kind);
        }
    }

    /// A node is asked.
    pub(super) fn coordinate_at(&mut self, at: usize, op: OpId, key: u64, kind: Kind) {
        let Some(node) = self.node(at) else {
            self.end(op, Told::NotApplied);
            return;
        };
        let drive = self.coordinate(at, &node, op, key, kind);
        let at = (at, self.members[at].life);
        self.running.insert(op, Running { at, drive });
        self.drive(op);
    }

    pub(super) fn coordinate(
        &self,
        at: usize,
        node: &Node,
        op: OpId,
        key: u64,
        kind: Kind,
    ) -> Drive {
        let me = self.members[at].id;
        let name = key_name(key);
        let view = node.view().expect("it was told");
        let (_, replicas) = view.route(&name, Routing::WholeKey);
        let standing = Standing::new(*replicas, |_| Health::Healthy);
        let deadline = self.time().after(std::time::Duration::from_millis(2500));
        let place = (NAMESPACE, name);
        match kind {
            Kind::Get => {
                let best = match replicas.contains(me) {
                    true => Nodes::of(&[me]),
                    false => Nodes::default(),
                };
                let request = read::Request {
                    standing,
                    best,
                    level: match self.finishing {
                        true => Level::All,
                        false => Level::Quorum,
                    },
                    monotonic: self.healing || self.random.chance(0.5),
                    digests: false,
                    deadline,
                };
                let tuning = read::Tuning::default();
                #[cfg(feature = "plant")]
                if let Some(Plant::Coordinator(plant)) = self.mix.plant {
                    let machine = Read::with_plant(request, tuning, self.time(), plant);
                    return Drive::Read(ReadOf::of(machine, place));
                }
                Drive::Read(ReadOf::new(request, tuning, self.time(), place))
            }
            Kind::Put | Kind::Delete => {
                let request = write::Request {
                    me,
                    standing,
                    conflict: Conflict::LastWriteWins,
                    level: Level::Quorum,
                    order: Level::Quorum,
                    sloppy: false,
                    fallbacks: Nodes::default(),
                    context: Hlc::ZERO,
                    hybrid: node.hybrid_time(node.now()),
                    deadline,
                    seed: op.0,
                };
                let payload = match kind {
                    Kind::Put => Payload::Put {
                        value: Bytes::copy_from_slice(&op.0.to_le_bytes()),
                        content_type: String::new(),
                        deadline: None,
                    },
                    _ => Payload::Delete,
                };
                let tuning = write::Tuning::default();
                #[cfg(feature = "plant")]
                if let Some(Plant::Coordinator(plant)) = self.mix.plant {
                    let machine = Write::with_plant(request, tuning, self.time(), plant);
                    return Drive::Write(WriteOf::of(machine, place, payload));
                }
                let time = self.time();
                Drive::Write(WriteOf::new(request, tuning, time, place, payload))
            }
        }
    }

    pub(super) fn give_up(&mut self, client: usize, op: OpId) {
        if self.waiting[client] == Some(op) {
            self.end(op, Told::Nothing);
        }
    }

    pub(super) fn end(&mut self, op: OpId, told: Told) {
        let told = match (told, self.history.op(op).kind) {
            (Told::NotApplied, Kind::Get) => Told::Refused,
            _ => told,
        };
        if !self.history.end(op, told, self.now) {
            return;
        }
        self.trace(op, told);
        if let Some(client) = self.waiting.iter().position(|one| *one == Some(op)) {
            self.waiting[client] = None;
            let (wait, ..) = client::next(&self.random, self.mix.keys);
            self.queue.push(self.now + wait, Event::Ask { client });
        }
    }

    pub(super) fn trace(&mut self, op: OpId, told: Told) {
        let line = format!("{} {op:?} {told:?}", self.now);
        for byte in line.bytes() {
            self.report.trace =
                (self.report.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// As nodes count it; all their clocks go at the same pace.
    pub(super) fn time(&self) -> Time {
        Time::from_micros(self.now)
    }
}

enum Wanted {
    Ask {
        to: NodeId,
        tag: Tag,
        request: PeerRequest,
    },
    Told(Told),
    Renew,
}

impl Drive {
    fn told(&mut self, now: Time, tag: Tag, reply: PeerReply) {
        match self {
            Self::Write(write) => write.told(now, tag, reply),
            Self::Read(read) => read.told(now, tag, reply),
        }
    }

    fn wake(&mut self, now: Time) {
        match self {
            Self::Write(write) => write.wake(now),
            Self::Read(read) => read.wake(now),
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        match self {
            Self::Write(write) => write.next_deadline(),
            Self::Read(read) => read.next_deadline(),
        }
    }

    fn poll(&mut self) -> Option<Wanted> {
        match self {
            Self::Write(write) => Some(wanted(write.poll_effect()?, |outcome| match outcome {
                WriteOutcome::Applied { version, .. } => Told::Applied(version),
                WriteOutcome::NotApplied { .. } => Told::NotApplied,
                WriteOutcome::Unknown {
                    why: write::Why::Contended,
                    ..
                } => Told::Contended,
                WriteOutcome::Unknown { .. } => Told::Unknown,
            })),
            Self::Read(read) => Some(wanted(read.poll_effect()?, |outcome| match outcome {
                read::Outcome::Read { state, .. } => {
                    Told::Read(state.latest().map(|(version, _)| version))
                }
                read::Outcome::Refused { .. } => Told::Refused,
            })),
        }
    }
}

fn wanted<O>(effect: Effect<O>, told: impl FnOnce(O) -> Told) -> Wanted {
    match effect {
        Effect::Ask { to, tag, request } => Wanted::Ask { to, tag, request },
        Effect::Renew { .. } => Wanted::Renew,
        Effect::Reply(outcome) => Wanted::Told(told(outcome)),
    }
}
