//! What the connections of a server share, and what handlers wait with: for the node, for the disk.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::Response;
use ringwood_env::{Clock, UnixMillis};
use ringwood_node::{DEFAULT_NAMESPACE, Namespace, Node, NodeError, Reply, Step};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::answer_body::AnswerBody;
use crate::answers::Answers;
use crate::budget::Budget;
use crate::config::Limits;
use crate::connection::Stage;
use crate::counted::Counted;
use crate::error::{Code, Outcome, Problem, Result};
use crate::health::{Health, State};
use crate::host::Hosts;
use crate::metrics::Metrics;
use crate::request;
use crate::request_id::RequestIds;
use crate::route::Route;

/// An HTTP response whose body is there.
pub(crate) type FullResponse = Response<AnswerBody>;

/// What all connections of a server share.
pub(crate) struct App {
    pub(crate) node: Node,
    pub(crate) limits: Limits,
    pub(crate) hosts: Hosts,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) stage: watch::Receiver<Stage>,
    pub(crate) bodies: Budget,
    pub(crate) answers: Arc<Answers>,
    pub(crate) request_ids: RequestIds,
    disk_reads: Arc<Semaphore>,
    upkeep: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new(
        node: Node,
        limits: Limits,
        hosts: Hosts,
        answers: Arc<Answers>,
        clock: &dyn Clock,
        stage: watch::Receiver<Stage>,
    ) -> Self {
        Self {
            bodies: Budget::new(limits.body_bytes),
            upkeep: Arc::new(Semaphore::new(1)),
            disk_reads: Arc::new(Semaphore::new(limits.blocking_reads)),
            request_ids: RequestIds::new(clock.wall()),
            health: Health::new(clock.wall()),
            metrics: Metrics::default(),
            node,
            limits,
            hosts,
            answers,
            stage,
        }
    }

    /// The namespace that a route names, or the default one.
    ///
    /// # Errors
    /// [`Code::NamespaceNotFound`].
    pub(crate) fn namespace(&self, route: &Route<'_>) -> Result<Arc<Namespace>> {
        let name = match route.namespace {
            None => Cow::Borrowed(DEFAULT_NAMESPACE),
            Some(name) => request::decode_name(name)?,
        };
        Ok(self.node.namespace(&name)?)
    }

    /// Waits for a step's reply: not at all, for a write's durability, or for the disk.
    ///
    /// # Errors
    /// The node's; [`Code::DeadlineExceeded`], [`Code::Overloaded`].
    pub(crate) async fn finish(&self, step: Step, deadline: Deadline) -> Result<Reply> {
        match step {
            Step::Reply(reply) => Ok(reply?),
            Step::Persisting(persisting) => match deadline.or(persisting).await {
                Some(reply) => Ok(reply?),
                None => Err(self
                    .too_slow("the write is still on its way to the disk")
                    .with_outcome(Some(Outcome::Unknown))),
            },
            Step::Blocking(blocking) => {
                self.on_disk_thread(deadline.until, move || blocking.run())
                    .await
            }
        }
    }

    /// Runs what may wait for the disk on a thread that may.
    ///
    /// # Errors
    /// `work`'s; [`Code::DeadlineExceeded`] (`work` goes on), [`Code::Overloaded`] (not begun).
    pub(crate) async fn on_disk_thread<T: Send + 'static>(
        &self,
        until: Instant,
        work: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T> {
        let queue = &self.metrics.blocking_queue;
        let _queued = Counted::below(queue, self.limits.blocking_queue)
            .ok_or_else(|| Problem::new(Code::Overloaded, "too many requests wait for the disk"))?;
        let permit = timeout_at(until, Arc::clone(&self.disk_reads).acquire_owned())
            .await
            .map_err(|_| {
                Problem::new(
                    Code::Overloaded,
                    "the disk did not get to the request in time",
                )
            })?;
        let running = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match timeout_at(until, running).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(panic)) => {
                tracing::error!(%panic, "a request panicked");
                Err(Problem::new(
                    Code::Internal,
                    "the request failed; the server's log says more",
                )
                .with_outcome(Some(Outcome::Unknown)))
            }
            Err(_) => Err(self
                .too_slow("the disk is still at it")
                .with_outcome(Some(Outcome::Unknown))),
        }
    }

    /// Gives an answer its share of the memory for answers, if it is long.
    ///
    /// # Errors
    /// [`Code::Overloaded`] when there is none to be had soon.
    pub(crate) async fn share(&self, result: Result<FullResponse>) -> Result<FullResponse> {
        let mut response = result?;
        let body = response.body_mut();
        if body.needs_share() {
            let until = Instant::now() + self.limits.answer_wait;
            let share = self.answers.share_for_made(body.len(), until).await;
            body.hold(share.ok_or_else(no_room)?);
        }
        Ok(response)
    }

    /// As [`App::share`], at once; whether it could.
    pub(crate) fn fits(&self, result: &mut Result<FullResponse>) -> bool {
        let Some(body) = result.as_mut().ok().map(FullResponse::body_mut) else {
            return true;
        };
        if !body.needs_share() {
            return true;
        }
        let share = self.answers.long.try_take(body.len());
        share.is_some_and(|share| {
            body.hold(share);
            true
        })
    }

    /// The place of whoever checks or copies the whole store; `None` when it is taken.
    pub(crate) fn upkeep_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.upkeep).try_acquire_owned().ok()
    }

    /// Holds a writer back while background work is behind, so that it need not be stopped.
    /// Says whether it did.
    pub(crate) async fn slow_down(&self) -> bool {
        let delay = self.node.write_delay();
        if let Some(delay) = delay {
            tokio::time::sleep(delay.min(self.limits.request_timeout)).await;
        }
        delay.is_some()
    }

    /// How the server is, and since when.
    pub(crate) fn state(&self) -> (State, UnixMillis) {
        let engine = self.node.engine();
        let state = if *self.stage.borrow() != Stage::Serving {
            State::Stopping
        } else if engine.failure().is_some() {
            State::Failed
        } else if engine.is_disk_full() {
            State::DiskFull
        } else {
            State::Ready
        };
        (state, self.health.since(state, self.node.now()))
    }

    /// When a request that begins to wait now is given up.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.limits.request_timeout
    }

    fn too_slow(&self, what: &str) -> Box<Problem> {
        let limit = self.limits.request_timeout;
        Problem::new(Code::DeadlineExceeded, format!("{what} after {limit:?}"))
    }
}

/// How long a request is left alone before it sets a timer.
const QUIET: Duration = Duration::from_millis(10);

/// When a request is given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) until: Instant,
    /// From when on it sets a timer that wakes it; until then its connection looks after it.
    alarm_from: Instant,
    /// Whether the connection does.
    watched: bool,
}

impl Deadline {
    /// Of a request that is all there at `from`. `watched`: it is polled with its connection, whose
    /// own timer goes off before the time is over.
    pub(crate) fn new(from: Instant, limits: &Limits, watched: bool) -> Self {
        Self {
            until: from + limits.request_timeout,
            alarm_from: from + QUIET,
            watched,
        }
    }

    /// The same, if the request is all there only now.
    pub(crate) fn restarted(self, limits: &Limits) -> Self {
        Self::new(Instant::now(), limits, self.watched)
    }

    /// Waits for `future`; gives `None` once the time is over.
    ///
    /// Timers are kept in one list for all threads, behind a lock, and a write takes a fraction of a
    /// millisecond. So none is set for what is polled as it begins; the connection's own timer has
    /// it polled again.
    fn or<F: Future + Unpin>(self, mut future: F) -> impl Future<Output = Option<F::Output>> {
        let mut begins = true;
        let mut timer = None;
        poll_fn(move |context| {
            if let Poll::Ready(output) = Pin::new(&mut future).poll(context) {
                return Poll::Ready(Some(output));
            }
            let begins = std::mem::take(&mut begins) || Instant::now() < self.alarm_from;
            if self.watched && begins {
                return Poll::Pending;
            }
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(self.until)));
            timer.as_mut().poll(context).map(|()| None)
        })
    }
}

/// Answers that nobody takes hold all the memory they may.
pub(crate) fn no_room() -> Box<Problem> {
    Problem::new(
        Code::Overloaded,
        "answers that their clients have not taken yet hold all the memory for answers",
    )
}
