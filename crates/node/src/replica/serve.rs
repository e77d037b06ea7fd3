//! Carries out what coordinators ask, as far as memory can, on the caller's thread.
//!
//! # Invariants
//! - `serve-1` (3): nothing is minted in any other epoch than the partition's here, and nothing is stored in an
//!   earlier one.
//! - `serve-2` (1): what a replica answers is durable as its namespace wants it, what it minted and what it
//!   stored.

use bytes::Bytes;
use ringwood_env::UnixMillis;
use ringwood_lsm::{Error, ReadTier, Ticket};
use ringwood_protocol::coordinator::Failure;
use ringwood_protocol::topology::View;
use ringwood_types::{Epoch, PartitionId, RecordHead};

use super::message::{Found, Payload, PeerReply, PeerRequest, ReplicaRequest};
use crate::check::check_content_type;
use crate::error::{NodeError, Outcome};
use crate::limits::check_key;
use crate::namespace::Namespace;
use crate::node::{Node, Shared};
use crate::store::{Arrival, Arrived, Change, NotTaken, Write, Written};

/// How the answer to a coordinator comes.
#[derive(Debug)]
#[must_use = "the coordinator is not answered yet"]
pub enum Serving {
    /// Here it is.
    Reply(PeerReply),
    /// When this is durable; see [`PeerReply::once`].
    Persisting(Ticket, PeerReply),
    /// Once this ticket is complete, whatever becomes of it: then it is to be asked again.
    Behind(Ticket, Deferred),
    /// From a thread that may wait for the disk.
    Blocking(Deferred),
}

/// A question that is to be asked again.
#[derive(Debug)]
pub struct Deferred {
    node: Node,
    request: PeerRequest,
}

impl Deferred {
    /// Asks again, on a thread that may wait for the disk. Never [`Serving::Blocking`].
    pub fn run(self, now: UnixMillis) -> Serving {
        self.node.serve_from(now, self.request, ReadTier::Disk)
    }
}

impl PeerReply {
    /// This answer, once what it depends on was written, or was not.
    #[must_use]
    pub fn once(self, written: Result<(), Error>) -> Self {
        match written {
            Ok(()) => self,
            Err(error) => Self::Failed(failure(&error.into())),
        }
    }
}

impl Node {
    /// Takes a coordinator's question. Never waits for the disk.
    pub fn serve(&self, now: UnixMillis, request: PeerRequest) -> Serving {
        self.serve_from(now, request, ReadTier::Memory)
    }

    fn serve_from(&self, now: UnixMillis, request: PeerRequest, tier: ReadTier) -> Serving {
        match self.shared.try_serve(now, &request, tier) {
            Ok(Served::Reply(reply)) => Serving::Reply(reply),
            Ok(Served::Persisting(ticket, reply)) => Serving::Persisting(ticket, reply),
            Ok(Served::Behind(ticket)) => Serving::Behind(ticket, self.defer(request)),
            Err(NotTaken::Node(NodeError::Engine(Error::WouldBlock))) => {
                Serving::Blocking(self.defer(request))
            }
            Err(not_taken) => Serving::Reply(PeerReply::Failed(why(&not_taken))),
        }
    }

    fn defer(&self, request: PeerRequest) -> Deferred {
        let node = self.clone();
        Deferred { node, request }
    }
}

enum Served {
    Reply(PeerReply),
    Persisting(Ticket, PeerReply),
    Behind(Ticket),
}

impl Shared {
    fn try_serve(
        &self,
        now: UnixMillis,
        asked: &PeerRequest,
        tier: ReadTier,
    ) -> Result<Served, NotTaken> {
        let view = self.view.load();
        let Some(view) = view.as_deref() else {
            return Ok(refused());
        };
        self.check_asked(asked)?;
        if !is_sound(&asked.request) {
            tracing::warn!(namespace = %asked.namespace, "another node sent what is no version: refused");
            return Ok(refused());
        }
        let namespace = self.catalog.find_id(asked.namespace)?;
        let partition = self.store.partition(&namespace, &asked.key);
        if let Some(failure) = self.fence(view, partition, asked) {
            return Ok(Served::Reply(PeerReply::Failed(failure)));
        }
        match &asked.request {
            ReplicaRequest::Mint {
                payload,
                above,
                limit,
            } => {
                let write = write_of(partition, &asked.key, payload);
                let times = (*above, *limit);
                let (ticket, written) =
                    self.store
                        .mint(&namespace, &write, asked.epoch, times, now)?;
                let (Written::Put { version, .. } | Written::Deleted { version }) = written;
                Ok(Served::Persisting(ticket, PeerReply::Minted(version)))
            }
            ReplicaRequest::Store { record, deadline } => {
                let arrival = Arrival::new(partition, &asked.key, record, *deadline)
                    .map_err(|cause| NodeError::DamagedRecord { partition, cause })?;
                self.store_arrival(&namespace, &arrival, asked.epoch, now, tier)
            }
            ReplicaRequest::Read => {
                let id = namespace.id();
                let found = self.store.record(id, partition, &asked.key, tier)?;
                let found = found.map(|found| Found {
                    record: Bytes::from_owner(found.value),
                    deadline: found.deadline,
                });
                Ok(Served::Reply(PeerReply::Found(found)))
            }
        }
    }

    /// Holds what a node asks to what a client's request is held to: nobody vouches for it. What was minted
    /// elsewhere is taken up to what the engine takes, or a limit that was lowered would part replicas.
    fn check_asked(&self, asked: &PeerRequest) -> Result<(), NodeError> {
        check_key(&asked.key)?;
        let (value, content_type) = match &asked.request {
            ReplicaRequest::Mint {
                payload:
                    Payload::Put {
                        value,
                        content_type,
                        ..
                    },
                ..
            } => (value, content_type),
            ReplicaRequest::Store { record, .. } => return check_record(record),
            _ => return Ok(()),
        };
        check_content_type(content_type)?;
        let (len, limit) = (value.len(), self.limits.value_len_max);
        match len > limit {
            true => Err(NodeError::ValueTooLarge { len, limit }),
            false => Ok(()),
        }
    }

    fn store_arrival(
        &self,
        namespace: &Namespace,
        arrival: &Arrival<'_>,
        epoch: Epoch,
        now: UnixMillis,
        tier: ReadTier,
    ) -> Result<Served, NotTaken> {
        let durability = namespace.policy().durability;
        let arrived = self
            .store
            .store(namespace, arrival, epoch, durability, now, tier)?;
        Ok(match arrived {
            Arrived::Stored(ticket, answer) => {
                Served::Persisting(ticket, PeerReply::Stored(answer))
            }
            Arrived::Known(answer) => Served::Reply(PeerReply::Stored(answer)),
            Arrived::Behind(ticket) => Served::Behind(ticket),
        })
    }

    /// Why this replica does not do that, if it does not, by a view that may be behind the partition: what
    /// changes anything is fenced again under its lock (`serve-1`).
    fn fence(&self, view: &View, partition: PartitionId, asked: &PeerRequest) -> Option<Failure> {
        let replicas = view.replicas(partition);
        let here: Epoch = replicas.epoch();
        if asked.epoch < here {
            return Some(Failure::Fenced(here));
        }
        let me = self.identity.node;
        let may = match asked.request {
            ReplicaRequest::Mint { .. } => {
                asked.epoch == here && replicas.minters().as_slice().contains(&me)
            }
            // Whoever asks knows of a later epoch: he may know that this is a replica.
            ReplicaRequest::Store { .. } => asked.epoch > here || replicas.contains(me),
            ReplicaRequest::Read => {
                asked.epoch == here && replicas.readers().as_slice().contains(&me)
            }
        };
        (!may).then_some(Failure::Refused)
    }
}

/// Whether a record's content type may stand in an answer. What is no record at all is found by who stores it.
fn check_record(record: &[u8]) -> Result<(), NodeError> {
    let Ok(head) = RecordHead::decode(record) else {
        return Ok(());
    };
    let content_type = std::str::from_utf8(&record[head.content_type()]);
    check_content_type(content_type.expect("the head was checked"))
}

/// Whether what is to be stored is a version: it comes from another node, which may be wrong.
fn is_sound(request: &ReplicaRequest) -> bool {
    match request {
        // Counters begin with 1; and a tombstone that expires would bring back what it deletes.
        ReplicaRequest::Store { record, deadline } => {
            RecordHead::decode(record).is_ok_and(|head| {
                head.version.dot.counter > 0 && !(head.is_tombstone() && deadline.is_some())
            })
        }
        ReplicaRequest::Mint { .. } | ReplicaRequest::Read => true,
    }
}

fn refused() -> Served {
    Served::Reply(PeerReply::Failed(Failure::Refused))
}

fn write_of<'a>(partition: PartitionId, key: &'a [u8], payload: &'a Payload) -> Write<'a> {
    let change = match payload {
        Payload::Put {
            value,
            content_type,
            deadline,
        } => Change::Put {
            value,
            content_type,
            deadline: *deadline,
        },
        Payload::Delete => Change::Delete,
    };
    Write {
        partition,
        key,
        change,
    }
}

fn why(not_taken: &NotTaken) -> Failure {
    match not_taken {
        NotTaken::AboveLimit(time) => Failure::AboveLimit(*time),
        NotTaken::Fenced(epoch) => Failure::Fenced(*epoch),
        NotTaken::Ahead => Failure::Refused,
        NotTaken::Skew(skew) => {
            tracing::warn!(%skew, "a write of another node is refused: set its clock right, or this one's");
            Failure::Refused
        }
        NotTaken::Node(error) => failure(error),
    }
}

fn failure(error: &NodeError) -> Failure {
    match error {
        NodeError::Engine(error) if error.is_disk_full() => Failure::DiskFull,
        error if error.outcome() == Outcome::NotApplied => Failure::Refused,
        _ => Failure::DiskFailed,
    }
}
