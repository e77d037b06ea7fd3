//! A write of one key, with its bytes.

use bytes::Bytes;
use ringwood_protocol::Time;
use ringwood_protocol::coordinator::write::{self, Input, Outcome, Tuning};
use ringwood_protocol::coordinator::{Failure, Standing, Write};
use ringwood_types::NamespaceId;

use super::{About, Coordinate, Effect, Tag};
use crate::replica::{Payload, PeerReply, PeerRequest, ReplicaRequest};

/// A write of one key on its way to its replicas.
#[derive(Debug)]
pub struct WriteOf {
    machine: Write,
    namespace: NamespaceId,
    key: Bytes,
    payload: Payload,
}

impl WriteOf {
    /// Begins to write; what is to be done first is there at once.
    #[must_use]
    pub fn new(
        request: write::Request,
        tuning: Tuning,
        now: Time,
        (namespace, key): (NamespaceId, Bytes),
        payload: Payload,
    ) -> Self {
        Self::of(Write::new(request, tuning, now), (namespace, key), payload)
    }

    /// The same, of a coordinator that has just begun.
    #[must_use]
    pub fn of(machine: Write, (namespace, key): (NamespaceId, Bytes), payload: Payload) -> Self {
        Self {
            machine,
            namespace,
            key,
            payload,
        }
    }

    fn ask(
        &self,
        tag: Tag,
        epoch: ringwood_types::Epoch,
        request: ReplicaRequest,
    ) -> Effect<Outcome> {
        Effect::Ask {
            to: tag.to,
            tag,
            request: PeerRequest {
                epoch,
                namespace: self.namespace,
                key: self.key.clone(),
                request,
            },
        }
    }
}

impl Coordinate for WriteOf {
    type Outcome = Outcome;

    fn told(&mut self, now: Time, tag: Tag, reply: PeerReply) {
        let Tag { to, attempt, about } = tag;
        let input = match (about, reply) {
            (About::Mint, PeerReply::Minted(version)) => Input::Minted { attempt, version },
            (About::Store, PeerReply::Stored(answer)) => Input::Answered {
                from: to,
                attempt,
                answer,
            },
            (_, PeerReply::Failed(failure)) => Input::Failed {
                from: to,
                attempt,
                failure,
            },
            // No answer to what it was asked: nobody knows what it has done.
            _ => Input::Failed {
                from: to,
                attempt,
                failure: Failure::Silent,
            },
        };
        self.machine.handle(now, input);
    }

    fn wake(&mut self, now: Time) {
        self.machine.handle(now, Input::Wake);
    }

    fn renewed(&mut self, now: Time, standing: Standing) {
        self.machine.handle(now, Input::Renewed(standing));
    }

    fn abandoned(&mut self, now: Time) {
        self.machine.handle(now, Input::Abandoned);
    }

    fn poll_effect(&mut self) -> Option<Effect<Outcome>> {
        loop {
            return Some(match self.machine.poll_effect()? {
                write::Effect::Mint {
                    to,
                    attempt,
                    epoch,
                    above,
                    limit,
                    guest_for,
                } => {
                    debug_assert!(guest_for.is_none(), "guests mint for siblings only");
                    let about = About::Mint;
                    let payload = self.payload.clone();
                    let request = ReplicaRequest::Mint {
                        payload,
                        above,
                        limit,
                    };
                    self.ask(Tag { to, attempt, about }, epoch, request)
                }
                write::Effect::Store {
                    to,
                    attempt,
                    epoch,
                    version,
                } => {
                    let about = About::Store;
                    let request = ReplicaRequest::Store {
                        record: self.payload.record(version),
                        deadline: self.payload.deadline(),
                    };
                    self.ask(Tag { to, attempt, about }, epoch, request)
                }
                // Repair finds what nobody keeps a hint of.
                write::Effect::Hint { .. } => continue,
                write::Effect::Renew { epoch } => Effect::Renew { epoch },
                write::Effect::Reply(outcome) => Effect::Reply(outcome),
            });
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.machine.next_deadline()
    }
}
