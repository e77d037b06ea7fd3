//! Reading request bodies: within a length, not slower than a rate, whole or not at all.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::config::Limits;
use crate::error::{Code, Problem, Result};
use crate::head::Head;

/// Bodies up to this length need no share of the budget: their connection accounts for them.
const SMALL: usize = 16 << 10;
/// What is read and thrown away so that a client that is still sending gets to see its error.
const DISCARD_LEN: u64 = 32 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// A request's body, not read yet.
pub(crate) struct RequestBody {
    incoming: Incoming,
    expects_continue: bool,
    given_up: bool,
}

/// A body that was read, and its share of the memory for bodies.
pub(crate) struct Received<'a> {
    pub(crate) bytes: Bytes,
    /// Whether it took waiting.
    pub(crate) was_awaited: bool,
    _share: Option<SemaphorePermit<'a>>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, head: &Head<'_>) -> Self {
        Self {
            incoming,
            expects_continue: head.expect.is_some(),
            given_up: false,
        }
    }

    /// The whole body, if it is at most `limit` bytes.
    ///
    /// # Errors
    /// `too_large`; 400 when it is cut short, 408 when it comes too slowly, 503 when bodies hold all
    /// the memory they may.
    pub(crate) async fn read<'a>(
        &mut self,
        limit: usize,
        too_large: Code,
        limits: &Limits,
        budget: &'a Semaphore,
    ) -> Result<Received<'a>> {
        let refuse = |len: u64| {
            Problem::new(
                too_large,
                format!("a body of {len} bytes or more; the limit is {limit}"),
            )
        };
        let hint = self.incoming.size_hint();
        if hint.lower() > limit as u64 {
            return Err(refuse(hint.lower()));
        }
        let most = usize::try_from(hint.exact().unwrap_or(limit as u64)).unwrap_or(limit);
        let share = self.reserve(most, limits, budget).await?;
        let mut pace = None;
        let mut first = Bytes::new();
        let mut rest: Option<BytesMut> = None;
        let mut received = 0;
        while let Some(data) = self.frame(&mut pace, limits, received).await? {
            received += data.len() as u64;
            if received > limit as u64 {
                return Err(refuse(received));
            }
            match &mut rest {
                Some(rest) => rest.extend_from_slice(&data),
                None if first.is_empty() => first = data,
                None => {
                    let mut joined = BytesMut::with_capacity(most.max(first.len() + data.len()));
                    joined.extend_from_slice(&first);
                    joined.extend_from_slice(&data);
                    rest = Some(joined);
                }
            }
        }
        Ok(Received {
            bytes: rest.map_or(first, BytesMut::freeze),
            was_awaited: share.is_some() || pace.is_some(),
            _share: share,
        })
    }

    /// Reads what a refused client is still sending, so that closing the connection does not make
    /// its system throw our answer away. Gives up on endless ones, and on slow ones at once.
    pub(crate) async fn discard(&mut self) {
        // Whoever waits for `100 Continue` sends nothing, and must not be asked to.
        if self.expects_continue || self.given_up || self.incoming.is_end_stream() {
            return;
        }
        let until = Instant::now() + DISCARD_TIME;
        let mut left = DISCARD_LEN;
        while let Ok(Some(Ok(frame))) = timeout_at(until, self.incoming.frame()).await {
            let len = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }

    async fn reserve<'a>(
        &self,
        len: usize,
        limits: &Limits,
        budget: &'a Semaphore,
    ) -> Result<Option<SemaphorePermit<'a>>> {
        if len <= SMALL {
            return Ok(None);
        }
        let share = u32::try_from(len.min(limits.body_bytes)).unwrap_or(u32::MAX);
        let until = Instant::now() + limits.request_timeout;
        match timeout_at(until, budget.acquire_many(share)).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(Problem::new(
                Code::Overloaded,
                "the memory for request bodies is taken",
            )),
        }
    }

    /// The next piece. What has come already is taken without a look at the clock: the pace counts
    /// from the first wait.
    async fn frame(
        &mut self,
        pace: &mut Option<Pace>,
        limits: &Limits,
        received: u64,
    ) -> Result<Option<Bytes>> {
        loop {
            let come =
                poll_fn(|context| Poll::Ready(Pin::new(&mut self.incoming).poll_frame(context)));
            let next = match come.await {
                Poll::Ready(next) => Ok(next),
                Poll::Pending => {
                    let pace = pace.get_or_insert_with(|| Pace::new(limits));
                    timeout_at(pace.due(received), self.incoming.frame()).await
                }
            };
            let frame = match next {
                Err(_) => {
                    self.given_up = true;
                    return Err(Problem::new(
                        Code::BodyTimeout,
                        format!("only {received} bytes of the body came in time"),
                    ));
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => {
                    return Err(Problem::new(
                        Code::BodyIncomplete,
                        format!("the body ended after {received} bytes, before its announced end"),
                    ));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers carry nothing for us.
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
    }
}

/// When which byte of a body must have come.
struct Pace {
    start: Instant,
    slack: Duration,
    bytes_per_second: f64,
}

impl Pace {
    fn new(limits: &Limits) -> Self {
        Self {
            start: Instant::now(),
            slack: limits.body_timeout,
            bytes_per_second: f64::from(limits.body_rate.max(1)),
        }
    }

    #[allow(clippy::cast_precision_loss)] // a few bytes more or less in 2^53
    fn due(&self, received: u64) -> Instant {
        let earned = Duration::from_secs_f64(received as f64 / self.bytes_per_second);
        self.start + self.slack + earned
    }
}
