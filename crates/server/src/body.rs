//! Reading request bodies: within a length, not slower than a rate, whole or not at all.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use tokio::time::{Instant, timeout_at};

use crate::budget::{Budget, Share};
use crate::config::Limits;
use crate::error::{Code, Problem, Result};
use crate::head::Head;

/// Bodies up to this length need no share of the budget: their connection accounts for them.
const SMALL: usize = 16 << 10;
/// Longer ones get their share in pieces of this length.
const PIECE: usize = 64 << 10;
/// How long a body waits for its next piece, at most.
const WAIT: Duration = Duration::from_secs(2);
/// What a body that holds a share is held to while others wait for one.
const PRESSED_RATE: u32 = 64 << 10;
const PRESSED_SLACK: Duration = Duration::from_secs(2);
/// How often a body is looked at that holds a share.
const LOOK: Duration = Duration::from_secs(1);
/// What is read and thrown away so that a client that is still sending gets to see its error.
const DISCARD_LEN: u64 = 32 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);

type Next = Option<std::result::Result<Frame<Bytes>, hyper::Error>>;

/// A request's body, not read yet.
pub(crate) struct RequestBody {
    incoming: Incoming,
    expects_continue: bool,
    given_up: bool,
}

/// A body that was read, and its share of the memory for bodies.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    /// Whether it took waiting.
    pub(crate) was_awaited: bool,
    _share: Option<Share>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, head: &Head<'_>) -> Self {
        Self {
            incoming,
            expects_continue: head.expect.is_some(),
            given_up: false,
        }
    }

    /// The whole body, if it is at most `limit` bytes. What it announces to be gets it no memory: its
    /// share grows as it comes.
    ///
    /// # Errors
    /// `too_large`; 400 when it is cut short, 408 when it comes too slowly, 503 when bodies hold all
    /// the memory they may.
    pub(crate) async fn read(
        &mut self,
        limit: usize,
        too_large: Code,
        limits: &Limits,
        budget: &Budget,
    ) -> Result<Received> {
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
        let mut share = None;
        let mut pace = None;
        let mut first = Bytes::new();
        let mut rest: Option<BytesMut> = None;
        let mut received = 0;
        while let Some(data) = self.frame(&mut pace, limits, received, budget).await? {
            received += data.len();
            if received > limit {
                return Err(refuse(received as u64));
            }
            if received > SMALL {
                let begun = Instant::now();
                cover(&mut share, received, most, limits, budget).await?;
                if let Some(pace) = &mut pace {
                    pace.waited(begun.elapsed());
                }
            }
            match &mut rest {
                Some(rest) => rest.extend_from_slice(&data),
                None if first.is_empty() => first = data,
                None => {
                    let room = most.min(2 * received).max(received);
                    let mut joined = BytesMut::with_capacity(room);
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

    /// Reads, while the answer goes out already, what a refused client is still sending, so that closing
    /// the connection does not make its system throw the answer away. Gives up on endless and slow ones.
    pub(crate) fn discard(mut self) {
        // Whoever waits for `100 Continue` sends nothing, and must not be asked to.
        if self.expects_continue || self.given_up || self.incoming.is_end_stream() {
            return;
        }
        tokio::spawn(async move {
            let until = Instant::now() + DISCARD_TIME;
            let mut left = DISCARD_LEN;
            while let Ok(Some(Ok(frame))) = timeout_at(until, self.incoming.frame()).await {
                let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                match left.checked_sub(len) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        });
    }

    /// What comes next, if it comes in time; who `holds` memory is looked at more often.
    async fn awaited(
        &mut self,
        pace: &Pace,
        holds: bool,
        budget: &Budget,
    ) -> Result<Next, TooSlow> {
        loop {
            match timeout_at(pace.look(holds), self.incoming.frame()).await {
                Ok(next) => return Ok(next),
                Err(_) if pace.is_over(holds && budget.waiting() > 0) => return Err(TooSlow),
                Err(_) => {}
            }
        }
    }

    /// The next piece. What has come already is taken without a look at the clock: the pace counts
    /// from the first wait.
    async fn frame(
        &mut self,
        pace: &mut Option<Pace>,
        limits: &Limits,
        received: usize,
        budget: &Budget,
    ) -> Result<Option<Bytes>> {
        loop {
            let come =
                poll_fn(|context| Poll::Ready(Pin::new(&mut self.incoming).poll_frame(context)));
            let next = match come.await {
                Poll::Ready(next) => Ok(next),
                Poll::Pending => {
                    let pace = pace.get_or_insert_with(|| Pace::new(limits));
                    self.awaited(pace, received > SMALL, budget).await
                }
            };
            let frame = match next {
                Err(TooSlow) => {
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
                if let Some(pace) = pace {
                    pace.came(data.len());
                }
                return Ok(Some(data));
            }
        }
    }
}

/// A body that does not keep its pace.
struct TooSlow;

/// Makes a body's share as long as what came of it, a piece at a time.
async fn cover(
    share: &mut Option<Share>,
    received: usize,
    most: usize,
    limits: &Limits,
    budget: &Budget,
) -> Result<()> {
    let held = share.as_ref().map_or(0, Share::len);
    if received <= SMALL.max(held) {
        return Ok(());
    }
    let by = (received - held).max(PIECE.min(most.saturating_sub(held)));
    let until = Instant::now() + limits.request_timeout.min(WAIT);
    match budget.grow(share, by, until).await {
        true => Ok(()),
        false => Err(Problem::new(
            Code::Overloaded,
            "the memory for request bodies is taken",
        )),
    }
}

/// When the next byte of a body must have come: at a rate, which it may fall behind by some time, however
/// far ahead it was before. There is a second rate, for who holds memory that others wait for.
struct Pace {
    calm: Deadline,
    pressed: Deadline,
}

struct Deadline {
    at: Instant,
    slack: Duration,
    bytes_per_second: f64,
}

impl Pace {
    fn new(limits: &Limits) -> Self {
        Self {
            calm: Deadline::new(limits.body_timeout, limits.body_rate),
            pressed: Deadline::new(PRESSED_SLACK, PRESSED_RATE),
        }
    }

    fn came(&mut self, len: usize) {
        let now = Instant::now();
        self.calm.came(len, now);
        self.pressed.came(len, now);
    }

    /// It was us who took this long.
    fn waited(&mut self, time: Duration) {
        self.calm.at += time;
        self.pressed.at += time;
    }

    /// When to look again, whoever `holds` memory more often.
    fn look(&self, holds: bool) -> Instant {
        match holds {
            true => self.calm.at.min(Instant::now() + LOOK),
            false => self.calm.at,
        }
    }

    fn is_over(&self, pressed: bool) -> bool {
        let now = Instant::now();
        now >= self.calm.at || pressed && now >= self.pressed.at
    }
}

impl Deadline {
    fn new(slack: Duration, bytes_per_second: u32) -> Self {
        Self {
            at: Instant::now() + slack,
            slack,
            bytes_per_second: f64::from(bytes_per_second.max(1)),
        }
    }

    #[allow(clippy::cast_precision_loss)] // a few bytes more or less in 2^53
    fn came(&mut self, len: usize, now: Instant) {
        let earned = Duration::from_secs_f64(len as f64 / self.bytes_per_second);
        self.at = (self.at + earned).min(now + self.slack);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            body_timeout: Duration::from_secs(10),
            body_rate: 1000,
            ..Limits::default()
        }
    }

    async fn wait(ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_came_quickly_may_not_rest_on_that() {
        let mut pace = Pace::new(&limits());
        pace.came(1 << 20);
        wait(9_900).await;
        assert!(!pace.is_over(false));
        wait(200).await;
        assert!(
            pace.is_over(false),
            "a megabyte is worth no quarter of an hour"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_keeps_to_its_rate_and_to_a_higher_one_where_others_wait() {
        let mut pace = Pace::new(&limits());
        for _ in 0..100 {
            wait(500).await;
            pace.came(500);
        }
        assert!(!pace.is_over(false));
        assert!(pace.is_over(true));
        for _ in 0..30 {
            wait(500).await;
            pace.came(200);
        }
        assert!(!pace.is_over(false), "behind, but by less than ten seconds");
        wait(1500).await;
        assert!(pace.is_over(false));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_memory_is_not_held_against_a_body() {
        let mut pace = Pace::new(&limits());
        wait(9000).await;
        pace.waited(Duration::from_secs(9));
        wait(9000).await;
        assert!(!pace.is_over(false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_grows_with_what_came_and_not_with_what_is_claimed() {
        let (limits, budget) = (limits(), Budget::new(1 << 20));
        let mut share = None;
        cover(&mut share, SMALL, 1 << 20, &limits, &budget)
            .await
            .unwrap();
        assert_eq!(budget.held(), 0);
        cover(&mut share, SMALL + 1, 1 << 20, &limits, &budget)
            .await
            .unwrap();
        assert_eq!(budget.held(), PIECE);
        cover(&mut share, PIECE + 1, PIECE + 10, &limits, &budget)
            .await
            .unwrap();
        assert_eq!(budget.held(), PIECE + 10);
        let _others = budget.try_take(budget.held().abs_diff(1 << 20));
        let full = cover(&mut share, 3 * PIECE, 1 << 20, &limits, &budget).await;
        assert_eq!(full.unwrap_err().code, Code::Overloaded);
    }
}
