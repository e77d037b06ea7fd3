//! A read of one key.

use bytes::Bytes;
use ringwood_protocol::Time;
use ringwood_protocol::coordinator::read::{self, Input, Outcome, Tuning};
use ringwood_protocol::coordinator::{Attempt, Failure, Read, Standing};
use ringwood_types::{Epoch, NamespaceId};

use super::state::KeyState;
use super::{About, Coordinate, Effect, Tag};
use crate::replica::{Found, PeerReply, PeerRequest, ReplicaRequest};

/// A read of one key on its way to its replicas.
pub struct ReadOf {
    machine: Read<KeyState>,
    namespace: NamespaceId,
    key: Bytes,
    /// As replicas were last asked: repairs go out under it too.
    epoch: Epoch,
}

impl ReadOf {
    /// Begins to read; what is to be done first is there at once.
    #[must_use]
    pub fn new(
        request: read::Request,
        tuning: Tuning,
        now: Time,
        (namespace, key): (NamespaceId, Bytes),
    ) -> Self {
        Self::of(Read::new(request, tuning, now), (namespace, key))
    }

    /// The same, of a coordinator that has just begun.
    #[must_use]
    pub fn of(machine: Read<KeyState>, (namespace, key): (NamespaceId, Bytes)) -> Self {
        Self {
            epoch: Epoch::default(),
            machine,
            namespace,
            key,
        }
    }

    fn ask(&self, tag: Tag, request: ReplicaRequest) -> Effect<Outcome<KeyState>> {
        Effect::Ask {
            to: tag.to,
            tag,
            request: PeerRequest {
                epoch: self.epoch,
                namespace: self.namespace,
                key: self.key.clone(),
                request,
            },
        }
    }
}

/// What a reply to a read of a replica's state is to the machine.
fn answer(tag: Tag, found: Option<Found>) -> Input<KeyState> {
    let Tag { to, attempt, .. } = tag;
    match KeyState::new(found) {
        Ok(state) => Input::Answered {
            from: to,
            attempt,
            state,
            exact: false,
        },
        Err(_) => Input::Failed {
            from: to,
            attempt,
            failure: Failure::Refused,
        },
    }
}

impl Coordinate for ReadOf {
    type Outcome = Outcome<KeyState>;

    fn told(&mut self, now: Time, tag: Tag, reply: PeerReply) {
        let Tag { to, attempt, about } = tag;
        let failure = match &reply {
            PeerReply::Failed(failure) => *failure,
            _ => Failure::Silent,
        };
        self.machine.handle(
            now,
            match (about, reply) {
                (About::Read, PeerReply::Found(found)) => answer(tag, found),
                (About::Repair, PeerReply::Stored(_)) => Input::Repaired { from: to },
                (About::Repair, _) => Input::NotRepaired { from: to, failure },
                _ => Input::Failed {
                    from: to,
                    attempt,
                    failure,
                },
            },
        );
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

    fn poll_effect(&mut self) -> Option<Effect<Outcome<KeyState>>> {
        Some(match self.machine.poll_effect()? {
            read::Effect::Read {
                to, attempt, epoch, ..
            } => {
                self.epoch = epoch;
                let about = About::Read;
                self.ask(Tag { to, attempt, about }, ReplicaRequest::Read)
            }
            read::Effect::Repair { to } => {
                let (_, found) = self
                    .machine
                    .state()
                    .latest()
                    .expect("what is repaired is there");
                let request = ReplicaRequest::Store {
                    record: found.record.clone(),
                    deadline: found.deadline,
                };
                let tag = Tag {
                    to,
                    attempt: Attempt::default(),
                    about: About::Repair,
                };
                self.ask(tag, request)
            }
            read::Effect::Renew { epoch } => Effect::Renew { epoch },
            read::Effect::Reply(outcome) => Effect::Reply(outcome),
        })
    }

    fn next_deadline(&self) -> Option<Time> {
        self.machine.next_deadline()
    }
}
