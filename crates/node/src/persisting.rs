//! Replies that wait for their writes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ringwood_lsm::{Error, Ticket};

use crate::error::NodeError;
use crate::node::Shared;
use crate::request::{KeyReply, Reply};

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

/// The results of a batch whose writes are on their way.
#[derive(Debug)]
pub(crate) struct BatchReply {
    pub(crate) results: Vec<Result<KeyReply, NodeError>>,
    /// Items whose results hold only if the writes do.
    pub(crate) dependents: Vec<usize>,
}

impl BatchReply {
    fn finish(mut self, written: Result<(), Error>) -> Vec<Result<KeyReply, NodeError>> {
        if let Err(error) = written {
            for item in self.dependents {
                self.results[item] = Err(error.clone().into());
            }
        }
        self.results
    }
}

/// An answer for which nothing need be read any more.
pub(crate) enum Answer {
    Now(Result<Reply, NodeError>),
    Durable(Persisting),
}

impl Answer {
    /// Waits on this thread.
    pub(crate) fn wait(self) -> Result<Reply, NodeError> {
        match self {
            Self::Now(reply) => reply,
            Self::Durable(persisting) => persisting.wait(),
        }
    }
}
