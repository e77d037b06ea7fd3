//! A request on its way through a handler, and what most handlers ask of it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::HeaderValue;
use ringwood_node::{Durability, KeyReply, Namespace, Put, Reply, Request, Step};

use crate::app::{App, Deadline};
use crate::body::{Received, RequestBody};
use crate::error::{Code, Problem, Result};
use crate::head::Head;
use crate::request::{self, CONTEXT, Query};
use crate::route::Route;

/// A request on its way through a handler.
pub(crate) struct Call<'a> {
    pub(crate) app: &'a App,
    pub(crate) head: Head<'a>,
    pub(crate) route: Route<'a>,
    pub(crate) query: Query<'a>,
    pub(crate) body: &'a mut RequestBody,
    pub(crate) deadline: Deadline,
}

/// What every write to one key says.
pub(crate) struct Target {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) key: Bytes,
    pub(crate) context: Option<String>,
    pub(crate) durability: Option<Durability>,
}

impl<'a> Call<'a> {
    /// Checks what all writes to one key have in common.
    ///
    /// # Errors
    /// 400, 404, 415, 422, 503, by what is wrong.
    pub(crate) fn target(&mut self) -> Result<Target> {
        let key = Bytes::copy_from_slice(&request::key(self.route.key, &mut self.query)?);
        let durability = self.write_options()?;
        Ok(Target {
            namespace: self.app.namespace(&self.route)?,
            key,
            context: context(&self.head)?,
            durability,
        })
    }

    /// Checks what all writes of data have in common.
    ///
    /// # Errors
    /// As [`Call::target`].
    pub(crate) fn write_options(&mut self) -> Result<Option<Durability>> {
        request::check_consistency(&self.head, &mut self.query)?;
        request::refuse_conditions(&self.head)?;
        refuse_encoding(&self.head)?;
        request::durability(&mut self.query)
    }

    /// Reads a body that may be one value.
    ///
    /// # Errors
    /// [`Code::ValueTooLarge`], or as [`RequestBody::read`].
    pub(crate) async fn read_value(&mut self, room: usize) -> Result<Received> {
        let limits = &self.app.limits;
        let limit = limits.value_len.saturating_add(room);
        let received = self
            .body
            .read(limit, Code::ValueTooLarge, limits, &self.app.bodies)
            .await?;
        self.count_from_here(received.was_awaited);
        Ok(received)
    }

    /// Reads a body of JSON.
    ///
    /// # Errors
    /// [`Code::BodyTooLarge`], or as [`RequestBody::read`].
    pub(crate) async fn read_json(&mut self) -> Result<Received> {
        refuse_encoding(&self.head)?;
        let limits = &self.app.limits;
        let received = self
            .body
            .read(
                limits.batch_len,
                Code::BodyTooLarge,
                limits,
                &self.app.bodies,
            )
            .await?;
        self.count_from_here(received.was_awaited);
        Ok(received)
    }

    /// The time for an answer begins when the whole request is there.
    pub(crate) fn count_from_here(&mut self, waited: bool) {
        if waited {
            self.deadline = self.deadline.restarted(&self.app.limits);
        }
    }

    /// Sets a key and waits for it.
    ///
    /// # Errors
    /// The node's.
    pub(crate) async fn put(&mut self, target: Target, put: Put) -> Result<KeyReply> {
        self.write(Request::Put {
            namespace: target.namespace,
            put,
            durability: target.durability,
        })
        .await
    }

    /// Removes a key and waits for it.
    ///
    /// # Errors
    /// The node's.
    pub(crate) async fn delete(&mut self, target: Target) -> Result<KeyReply> {
        self.write(Request::Delete {
            namespace: target.namespace,
            key: target.key,
            context: target.context,
            durability: target.durability,
        })
        .await
    }

    async fn write(&mut self, request: Request) -> Result<KeyReply> {
        let held_back = self.app.slow_down().await;
        self.count_from_here(held_back);
        let node = &self.app.node;
        key_reply(self.finish(node.step(node.now(), request)).await?)
    }

    /// Waits for a step's reply.
    ///
    /// # Errors
    /// As [`App::finish`].
    pub(crate) async fn finish(&self, step: Step) -> Result<Reply> {
        self.app.finish(step, self.deadline).await
    }
}

/// The reply about one key.
///
/// # Errors
/// [`Code::Internal`] for any other: a mistake of ours.
pub(crate) fn key_reply(reply: Reply) -> Result<KeyReply> {
    match reply {
        Reply::Key(reply) => Ok(reply),
        _ => Err(misfit()),
    }
}

/// A reply that does not fit its request: a mistake of ours.
pub(crate) fn misfit() -> Box<Problem> {
    tracing::error!("a reply of the node does not fit its request");
    Problem::new(Code::Internal, "the node's reply does not fit the request")
}

/// The causal context that a write brings along.
fn context(head: &Head<'_>) -> Result<Option<String>> {
    let given = head
        .context
        .map(|context| context.to_str().map(str::to_owned));
    given.transpose().map_err(|_| {
        Problem::new(
            Code::ContextInvalid,
            format!("{CONTEXT} is not one that was given out"),
        )
    })
}

/// What came compressed would be stored, and given out, without anybody knowing.
fn refuse_encoding(head: &Head<'_>) -> Result<()> {
    let is_plain = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    if head.content_encoding.is_none_or(is_plain) && !head.coding_repeated {
        return Ok(());
    }
    Err(Problem::new(
        Code::EncodingUnsupported,
        "send the bytes without Content-Encoding, or as a value of their own Content-Type",
    ))
}
