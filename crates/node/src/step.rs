//! Takes a request and says how its answer comes.
//!
//! What memory can answer is answered on the caller's thread. A write is queued there, and its
//! reply rides inside its [`Persisting`] until the write is as durable as asked. What may have to
//! wait for the disk comes back as a [`Blocking`], to be run where waiting hurts nobody.

use std::sync::Arc;

use bytes::Bytes;
use ringwood_env::UnixMillis;
use ringwood_lsm::{Durability, Error, ReadTier};

use crate::batch;
use crate::error::NodeError;
use crate::limits::check_key;
use crate::namespace::Namespace;
use crate::node::{Node, Shared};
use crate::page;
use crate::persisting::{Answer, DurableReply, Persisting};
use crate::request::{BatchItem, KeyReply, Put, Reply, Request, Scan};
use crate::store::{Change, Write};

/// How the answer to a request comes.
#[derive(Debug)]
#[must_use = "the request is not answered yet"]
pub enum Step {
    /// Here it is.
    Reply(Result<Reply, NodeError>),
    /// When a write is durable.
    Persisting(Persisting),
    /// From a thread that may wait for the disk.
    Blocking(Blocking),
}

impl From<Answer> for Step {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Now(reply) => Self::Reply(reply),
            Answer::Durable(persisting) => Self::Persisting(persisting),
        }
    }
}

impl Step {
    /// Does what is left to do, on this thread, and gives the answer.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn wait(self) -> Result<Reply, NodeError> {
        match self {
            Self::Reply(reply) => reply,
            Self::Persisting(persisting) => persisting.wait(),
            Self::Blocking(blocking) => blocking.run(),
        }
    }
}

/// A request that may have to wait for the disk.
#[derive(Debug)]
#[must_use = "the request is not answered yet"]
pub struct Blocking {
    node: Node,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Get {
        namespace: Arc<Namespace>,
        key: Bytes,
    },
    Put {
        namespace: Arc<Namespace>,
        put: Put,
        durability: Option<Durability>,
        now: UnixMillis,
    },
    Scan {
        namespace: Arc<Namespace>,
        scan: Scan,
        now: UnixMillis,
    },
    Batch {
        namespace: Arc<Namespace>,
        items: Vec<BatchItem>,
        durability: Durability,
        now: UnixMillis,
    },
}

impl Blocking {
    /// Answers, waiting for the disk where needed.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn run(self) -> Result<Reply, NodeError> {
        let shared = &self.node.shared;
        match self.work {
            Work::Get { namespace, key } => shared.read(&namespace, &key, ReadTier::Disk),
            Work::Put {
                namespace,
                put,
                durability,
                now,
            } => {
                let checked = shared.check_put(&namespace, &put, now, ReadTier::Disk);
                self.node.write(&namespace, checked, durability, now).wait()
            }
            Work::Scan {
                namespace,
                scan,
                now,
            } => page::answer(shared, &namespace, &scan, now).map(Reply::Page),
            Work::Batch {
                namespace,
                items,
                durability,
                now,
            } => batch::run(shared, &namespace, items, durability, now, ReadTier::Disk)
                .unwrap_or_else(|_| unreachable!("reads from the disk never refuse to wait"))
                .wait(),
        }
    }
}

impl Node {
    /// Takes a request. Never waits for the disk; `now` is [`Node::now`], read once for the request
    /// or for all that came with it.
    pub fn step(&self, now: UnixMillis, request: Request) -> Step {
        if let Request::Get { namespace, key } | Request::Head { namespace, key } = &request {
            return self.get(namespace, key);
        }
        if let Err(refused) = self.shared.admit(request.namespace(), request.cost()) {
            return Step::Reply(Err(refused));
        }
        match request {
            Request::Get { .. } | Request::Head { .. } => unreachable!("answered above"),
            Request::Put {
                namespace,
                put,
                durability,
            } => match self
                .shared
                .check_put(&namespace, &put, now, ReadTier::Memory)
            {
                Err(NodeError::Engine(Error::WouldBlock)) => {
                    self.shared.counters.requests_blocked.add(1);
                    self.blocking(Work::Put {
                        namespace,
                        put,
                        durability,
                        now,
                    })
                }
                checked => self.write(&namespace, checked, durability, now),
            },
            Request::Delete {
                namespace,
                key,
                context,
                durability,
            } => {
                let checked = self
                    .shared
                    .check_delete(&namespace, &key, context.as_deref());
                self.write(&namespace, checked, durability, now)
            }
            // Hundreds of partitions are sought: too long for a thread that serves others.
            Request::Scan { namespace, scan } => self.blocking(Work::Scan {
                namespace,
                scan,
                now,
            }),
            Request::Batch {
                namespace,
                items,
                durability,
            } => {
                let durability = durability.unwrap_or(namespace.policy().durability);
                let tier = ReadTier::Memory;
                match batch::run(&self.shared, &namespace, items, durability, now, tier) {
                    Ok(answer) => answer.into(),
                    Err(items) => {
                        self.shared.counters.requests_blocked.add(1);
                        self.blocking(Work::Batch {
                            namespace,
                            items,
                            durability,
                            now,
                        })
                    }
                }
            }
        }
    }

    /// As [`Request::Get`], without a copy of the key where memory can answer.
    pub fn get(&self, namespace: &Arc<Namespace>, key: &[u8]) -> Step {
        if let Err(refused) = self.shared.admit(namespace, 1) {
            return Step::Reply(Err(refused));
        }
        match self.shared.read(namespace, key, ReadTier::Memory) {
            Err(NodeError::Engine(Error::WouldBlock)) => {
                self.shared.counters.requests_blocked.add(1);
                self.blocking(Work::Get {
                    namespace: Arc::clone(namespace),
                    key: Bytes::copy_from_slice(key),
                })
            }
            answer => Step::Reply(answer),
        }
    }

    fn blocking(&self, work: Work) -> Step {
        let node = self.clone();
        Step::Blocking(Blocking { node, work })
    }

    fn write(
        &self,
        namespace: &Namespace,
        checked: Result<Write<'_>, NodeError>,
        durability: Option<Durability>,
        now: UnixMillis,
    ) -> Step {
        let write = match checked {
            Ok(write) => write,
            Err(refused) => return Step::Reply(Err(refused)),
        };
        let durability = durability.unwrap_or(namespace.policy().durability);
        let counters = &self.shared.counters;
        match write.change {
            Change::Put { .. } => counters.keys_put.add(1),
            Change::Delete => counters.keys_deleted.add(1),
        }
        let writes = std::slice::from_ref(&write);
        match self.shared.store.submit(namespace, writes, durability, now) {
            Ok((ticket, written)) => {
                let written = written.first().expect("one for each write");
                let reply = KeyReply::of_write(namespace, written);
                let shared = Arc::clone(&self.shared);
                Step::Persisting(Persisting::new(shared, ticket, DurableReply::Key(reply)))
            }
            Err(error) => {
                counters.writes_failed.add(1);
                Step::Reply(Err(error))
            }
        }
    }
}

impl Shared {
    fn read(&self, namespace: &Namespace, key: &[u8], tier: ReadTier) -> Result<Reply, NodeError> {
        check_key(key)?;
        namespace.check_alive()?;
        let entry = self.store.get(namespace, key, tier)?;
        self.counters.keys_read.add(1);
        Ok(Reply::Key(match entry {
            Some(entry) => {
                self.counters.keys_found.add(1);
                KeyReply::Entry(entry)
            }
            None => KeyReply::Missing,
        }))
    }
}
