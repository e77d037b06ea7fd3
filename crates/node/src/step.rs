//! Takes a request and says how its answer comes.
//!
//! What memory can answer is answered on the caller's thread. A write is queued there, and its
//! reply rides inside its [`Persisting`] until the write is as durable as asked. What may have to
//! wait for the disk comes back as a [`Blocking`], to be run where waiting hurts nobody.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use ringwood_env::UnixMillis;
use ringwood_lsm::{Durability, Error, ReadTier, Ticket};
use ringwood_types::{Record, context};

use crate::batch::{self, BatchReply};
use crate::catalog::Namespace;
use crate::error::NodeError;
use crate::node::{Node, Shared};
use crate::partition_store::{Change, Write};
use crate::request::{KeyReply, Put, Reply, Request, TTL_SECONDS_MAX, Ttl};
use crate::scan;
use crate::{KEY_LEN_MAX, Policy};

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

/// A reply that is true once its write is durable. Wait for it or await it (it needs no particular
/// runtime). Dropping it forgets the reply; the write happens all the same.
#[derive(Debug)]
#[must_use = "the write is not acknowledged before this completes"]
pub struct Persisting {
    ticket: Ticket,
    /// Taken when the ticket completes.
    reply: Option<DurableReply>,
    shared: Arc<Shared>,
}

/// A reply that waits for a ticket.
#[derive(Debug)]
pub(crate) enum DurableReply {
    Key(KeyReply),
    Batch(BatchReply),
}

impl Persisting {
    pub(crate) fn new(shared: Arc<Shared>, ticket: Ticket, reply: DurableReply) -> Self {
        Self {
            ticket,
            reply: Some(reply),
            shared,
        }
    }

    /// Waits on this thread.
    ///
    /// # Errors
    /// As the write; see [`NodeError::outcome`].
    pub fn wait(self) -> Result<Reply, NodeError> {
        let reply = self.reply.expect("taken only on completion");
        finish(&self.shared, self.ticket.wait().map(drop), reply)
    }
}

impl Future for Persisting {
    type Output = Result<Reply, NodeError>;

    /// # Panics
    /// When polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let written = ready!(Pin::new(&mut self.ticket).poll(context));
        let reply = self.reply.take().expect("polled after it was ready");
        Poll::Ready(finish(&self.shared, written.map(drop), reply))
    }
}

fn finish(
    shared: &Shared,
    written: Result<(), Error>,
    reply: DurableReply,
) -> Result<Reply, NodeError> {
    if written.is_err() {
        shared.counters.writes_failed.add(1);
    }
    match reply {
        DurableReply::Key(reply) => Ok(written.map(|()| Reply::Key(reply))?),
        DurableReply::Batch(batch) => Ok(Reply::Batch(batch.finish(written))),
    }
}

/// A request that may have to wait for the disk.
#[derive(Debug)]
#[must_use = "the request is not answered yet"]
pub struct Blocking {
    node: Node,
    now: UnixMillis,
    request: Request,
}

impl Blocking {
    /// Answers, waiting for the disk where needed.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn run(self) -> Result<Reply, NodeError> {
        let Self { node, now, request } = self;
        match request {
            Request::Get { namespace, key } | Request::Head { namespace, key } => {
                node.shared.read(&namespace, &key, ReadTier::Disk)
            }
            Request::Scan { namespace, scan } => {
                scan::page(&node.shared, &namespace, &scan, now).map(Reply::Page)
            }
            Request::Batch {
                namespace,
                items,
                durability,
            } => {
                let durability = durability.unwrap_or(namespace.policy().durability);
                batch::run(
                    &node.shared,
                    &namespace,
                    items,
                    durability,
                    now,
                    ReadTier::Disk,
                )
                .unwrap_or_else(|_| unreachable!("reads from the disk never refuse to wait"))
                .wait()
            }
            write @ (Request::Put { .. } | Request::Delete { .. }) => node.step(now, write).wait(),
        }
    }
}

impl Node {
    /// Takes a request. Never waits for the disk; `now` is [`Node::now`], read once for the request
    /// or for all that came with it.
    pub fn step(&self, now: UnixMillis, request: Request) -> Step {
        match request {
            Request::Get {
                ref namespace,
                ref key,
            }
            | Request::Head {
                ref namespace,
                ref key,
            } => match self.shared.read(namespace, key, ReadTier::Memory) {
                Err(NodeError::Engine(Error::WouldBlock)) => self.block(now, request),
                answer => Step::Reply(answer),
            },
            Request::Put {
                namespace,
                put,
                durability,
            } => self.put(&namespace, &put, durability, now),
            Request::Delete {
                namespace,
                key,
                context,
                durability,
            } => self.delete(&namespace, &key, context.as_deref(), durability, now),
            // Hundreds of partitions are sought: too long for a thread that serves others.
            Request::Scan { .. } => self.block(now, request),
            Request::Batch {
                namespace,
                items,
                durability,
            } => {
                let durability = durability.unwrap_or(namespace.policy().durability);
                let tier = ReadTier::Memory;
                match batch::run(&self.shared, &namespace, items, durability, now, tier) {
                    Ok(step) => step,
                    Err(items) => self.block(
                        now,
                        Request::Batch {
                            namespace,
                            items,
                            durability: Some(durability),
                        },
                    ),
                }
            }
        }
    }

    fn block(&self, now: UnixMillis, request: Request) -> Step {
        if !matches!(request, Request::Scan { .. }) {
            self.shared.counters.requests_blocked.add(1);
        }
        Step::Blocking(Blocking {
            node: self.clone(),
            now,
            request,
        })
    }

    fn put(
        &self,
        namespace: &Namespace,
        put: &Put,
        durability: Option<Durability>,
        now: UnixMillis,
    ) -> Step {
        match self.shared.check_put(namespace, put, now) {
            Ok(write) => self.write(namespace, &write, durability, now),
            Err(refused) => Step::Reply(Err(refused)),
        }
    }

    fn delete(
        &self,
        namespace: &Namespace,
        key: &Bytes,
        context: Option<&str>,
        durability: Option<Durability>,
        now: UnixMillis,
    ) -> Step {
        match self.shared.check_delete(namespace, key, context) {
            Ok(write) => self.write(namespace, &write, durability, now),
            Err(refused) => Step::Reply(Err(refused)),
        }
    }

    fn write(
        &self,
        namespace: &Namespace,
        write: &Write<'_>,
        durability: Option<Durability>,
        now: UnixMillis,
    ) -> Step {
        let durability = durability.unwrap_or(namespace.policy().durability);
        let counters = &self.shared.counters;
        match write.change {
            Change::Put { .. } => counters.keys_put.add(1),
            Change::Delete => counters.keys_deleted.add(1),
        }
        let writes = std::slice::from_ref(write);
        match self.shared.store.submit(namespace, writes, durability, now) {
            Ok((ticket, mut replies)) => {
                let reply = replies.pop().expect("one reply for each write");
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

    pub(crate) fn check_put<'a>(
        &self,
        namespace: &Namespace,
        put: &'a Put,
        now: UnixMillis,
    ) -> Result<Write<'a>, NodeError> {
        check_key(&put.key)?;
        let policy = namespace.policy();
        let of_namespace = policy
            .value_len_max
            .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let limit = of_namespace
            .unwrap_or(usize::MAX)
            .min(self.limits.value_len_max);
        if put.value.len() > limit {
            return Err(NodeError::ValueTooLarge {
                len: put.value.len(),
                limit,
            });
        }
        let content_type = put.content_type.as_deref().unwrap_or_default();
        check_content_type(content_type)?;
        let deadline = deadline(put.ttl, policy, now)?;
        let partition = self.store.partition(namespace, &put.key);
        if let Some(token) = &put.context {
            context::decode(token, namespace.id(), partition)?;
        }
        Ok(Write {
            partition,
            key: &put.key,
            change: Change::Put {
                value: &put.value,
                content_type,
                deadline,
            },
        })
    }

    pub(crate) fn check_delete<'a>(
        &self,
        namespace: &Namespace,
        key: &'a [u8],
        context: Option<&str>,
    ) -> Result<Write<'a>, NodeError> {
        check_key(key)?;
        let partition = self.store.partition(namespace, key);
        if let Some(token) = context {
            context::decode(token, namespace.id(), partition)?;
        }
        Ok(Write {
            partition,
            key,
            change: Change::Delete,
        })
    }
}

pub(crate) fn check_key(key: &[u8]) -> Result<(), NodeError> {
    match key.len() {
        0 => Err(NodeError::EmptyKey),
        1..=KEY_LEN_MAX => Ok(()),
        len => Err(NodeError::KeyTooLarge {
            len,
            limit: KEY_LEN_MAX,
        }),
    }
}

fn check_content_type(content_type: &str) -> Result<(), NodeError> {
    let limit = Record::CONTENT_TYPE_LEN_MAX;
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if content_type.len() <= limit && content_type.bytes().all(printable) {
        Ok(())
    } else {
        Err(NodeError::InvalidContentType { limit })
    }
}

fn deadline(ttl: Ttl, policy: &Policy, now: UnixMillis) -> Result<Option<UnixMillis>, NodeError> {
    let seconds = match ttl {
        Ttl::Never => None,
        Ttl::Default => policy.default_ttl,
        Ttl::Seconds(seconds @ 1..=TTL_SECONDS_MAX) => Some(seconds.unsigned_abs()),
        Ttl::Seconds(seconds) => {
            return Err(NodeError::InvalidTtl {
                seconds,
                limit: TTL_SECONDS_MAX,
            });
        }
    };
    Ok(seconds.map(|seconds| now.saturating_add(seconds.saturating_mul(1000))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_live_are_checked_at_their_limits() {
        let policy = Policy {
            default_ttl: Some(7),
            ..Policy::default()
        };
        let deadline = |ttl| deadline(ttl, &policy, 1000);
        assert_eq!(deadline(Ttl::Default).unwrap(), Some(8000));
        assert_eq!(deadline(Ttl::Never).unwrap(), None);
        assert_eq!(deadline(Ttl::Seconds(1)).unwrap(), Some(2000));
        let longest = deadline(Ttl::Seconds(TTL_SECONDS_MAX)).unwrap();
        assert_eq!(longest, Some(1000 + 3_155_760_000_000));
        for seconds in [0, -1, i64::MIN, TTL_SECONDS_MAX + 1, i64::MAX] {
            assert!(matches!(
                deadline(Ttl::Seconds(seconds)),
                Err(NodeError::InvalidTtl { .. })
            ));
        }
    }

    #[test]
    fn keys_are_checked_at_their_limits() {
        assert!(matches!(check_key(b""), Err(NodeError::EmptyKey)));
        check_key(b"k").unwrap();
        check_key(&vec![0; KEY_LEN_MAX]).unwrap();
        assert!(check_key(&vec![0; KEY_LEN_MAX + 1]).is_err());
    }

    #[test]
    fn content_types_are_short_printable_text() {
        check_content_type("").unwrap();
        check_content_type("text/plain; charset=utf-8").unwrap();
        check_content_type(&"x".repeat(255)).unwrap();
        for bad in ["a\nb", "ä", "\u{7f}", &"x".repeat(256)] {
            assert!(check_content_type(bad).is_err());
        }
    }
}
