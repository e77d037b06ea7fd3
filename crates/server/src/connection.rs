//! One connection: HTTP/1.1 or HTTP/2 over a stream, watched for clients that take too long.
//!
//! [`serve`] is a function of a stream and an application, so that the way connections are spread
//! over threads can change without it.
//!
//! A connection has ONE timer that looks at what happened lately, rather than one that is set anew
//! for every request: a late look costs nothing while requests flow. So every timeout is kept to
//! within [`Limits::head_timeout`]. It also has requests polled again, which then look at their own
//! deadlines, so that a request that is quick sets no timer either.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::Limits;

/// What the server wants of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Go on.
    Serving,
    /// Answer what was asked, then close.
    Draining,
    /// Close.
    Closed,
}

/// What answers the requests of a connection.
pub trait Application:
    Service<
        Request<Incoming>,
        Response = Response<Full<Bytes>>,
        Error = Infallible,
        Future: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + Unpin + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S> Application for S where
    S: Service<
            Request<Incoming>,
            Response = Response<Full<Bytes>>,
            Error = Infallible,
            Future: Future<Output = Result<Response<Full<Bytes>>, Infallible>>
                        + Send
                        + Unpin
                        + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// What is read and thrown away after an answer that ends a connection, so that closing it does not
/// make the client's system throw the answer away.
const LINGER_LEN: usize = 1 << 20;
const LINGER_TIME: Duration = Duration::from_secs(1);

/// Serves requests from `stream` with `application` until either side is done.
pub async fn serve<T>(
    stream: T,
    application: impl Application,
    limits: &Limits,
    mut stage: watch::Receiver<Stage>,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let left_over = Arc::new(Mutex::new(None));
    let stream = Watched {
        stream: Some(stream),
        activity: Arc::new(Activity::new()),
        left_over: Arc::clone(&left_over),
    };
    if let End::Refused = converse(stream, application, limits, &mut stage).await {
        let stream = left_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(stream) = stream {
            linger(stream).await;
        }
    }
}

/// How a connection ended.
enum End {
    /// Nothing is left to say or hear.
    Done,
    /// With what is no HTTP, and an answer that says so; the client may be sending still.
    Refused,
}

async fn converse<T>(
    stream: Watched<T>,
    application: impl Application,
    limits: &Limits,
    stage: &mut watch::Receiver<Stage>,
) -> End
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Arc::clone(&stream.activity);
    let service = Observed {
        application,
        activity: Arc::clone(&activity),
    };
    let builder = protocol(limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut alarm = pin!(sleep_until(Instant::now() + look_interval(limits)));
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => match ended {
                Ok(()) => return End::Done,
                Err(_) => return End::Refused,
            },
            changed = stage.changed() => {
                let now = *stage.borrow_and_update();
                if changed.is_err() || now == Stage::Closed {
                    return End::Done;
                }
                connection.as_mut().graceful_shutdown();
            }
            () = alarm.as_mut() => match activity.patience(limits) {
                Some(wait) => alarm.as_mut().reset(Instant::now() + wait),
                None => return End::Done,
            },
        }
    }
}

/// The longest time between two looks: one falls into every request that takes too long.
fn look_interval(limits: &Limits) -> Duration {
    limits.head_timeout.min(limits.request_timeout)
}

/// Hears a client out, for a while, that was told goodbye.
async fn linger(mut stream: impl AsyncRead + Unpin) {
    let until = Instant::now() + LINGER_TIME;
    let mut sink = vec![0; 16 << 10];
    let mut left = LINGER_LEN;
    while let Ok(Ok(len @ 1..)) = timeout_at(until, stream.read(&mut sink)).await {
        match left.checked_sub(len) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// `pipeline_flush` stays off: it holds an answer back for as long as anything of a next request has
/// been read, be it a stray line break, and swallows the answer to what is no HTTP.
fn protocol(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .header_read_timeout(None)
        .half_close(true)
        .max_buf_size(limits.head_len);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_len).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(limits.write_timeout);
    builder
}

/// What happened on a connection lately. Times are in milliseconds since its start, plus one; 0: none.
#[derive(Debug)]
struct Activity {
    start: Instant,
    in_flight: AtomicU32,
    /// HTTP/2: bytes outside of requests are no beginning of a head.
    multiplexed: AtomicBool,
    head_since: AtomicU64,
    idle_since: AtomicU64,
    write_blocked_since: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            in_flight: AtomicU32::new(0),
            multiplexed: AtomicBool::new(false),
            head_since: AtomicU64::new(0),
            idle_since: AtomicU64::new(1),
            write_blocked_since: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn bytes_read(&self) {
        let between = self.in_flight.load(Relaxed) == 0 && !self.multiplexed.load(Relaxed);
        if between && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.now(), Relaxed);
        }
    }

    fn wrote(&self, pending: bool) {
        if !pending {
            if self.write_blocked_since.load(Relaxed) != 0 {
                self.write_blocked_since.store(0, Relaxed);
            }
        } else if self.write_blocked_since.load(Relaxed) == 0 {
            self.write_blocked_since.store(self.now(), Relaxed);
        }
    }

    fn request_begins(&self, version: Version) {
        self.in_flight.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
        if version == Version::HTTP_2 {
            self.multiplexed.store(true, Relaxed);
        }
    }

    fn request_ends(&self) {
        self.idle_since.store(self.now(), Relaxed);
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// How long the client may go on before the next look; `None`: it took too long.
    fn patience(&self, limits: &Limits) -> Option<Duration> {
        let now = self.now();
        let left = |since: u64, limit: Duration| {
            limit.checked_sub(Duration::from_millis(now.saturating_sub(since)))
        };
        let blocked = self.write_blocked_since.load(Relaxed);
        let head = self.head_since.load(Relaxed);
        let left = if blocked != 0 {
            left(blocked, limits.write_timeout)?
        } else if self.in_flight.load(Relaxed) > 0 {
            look_interval(limits) // bodies and requests have deadlines of their own
        } else if head != 0 {
            left(head, limits.head_timeout)?
        } else {
            left(self.idle_since.load(Relaxed), limits.idle_timeout)?
        };
        let soon = Duration::from_millis(1);
        Some(left.clamp(soon, look_interval(limits).max(soon)))
    }
}

/// The stream, telling when bytes move, and left for others when the protocol is done with it.
struct Watched<T> {
    /// Taken when it is dropped.
    stream: Option<T>,
    activity: Arc<Activity>,
    left_over: Arc<Mutex<Option<T>>>,
}

impl<T: Unpin> Watched<T> {
    fn stream(&mut self) -> Pin<&mut T> {
        Pin::new(self.stream.as_mut().expect("taken only when dropped"))
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        *self
            .left_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = self.stream.take();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.stream().poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.bytes_read();
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream().poll_write(context, bytes);
        self.activity.wrote(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream().poll_write_vectored(context, slices);
        self.activity.wrote(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}

/// The application, telling when requests begin and end.
struct Observed<S> {
    application: S,
    activity: Arc<Activity>,
}

impl<S: Application> Service<Request<Incoming>> for Observed<S> {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = InFlight<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.activity.request_begins(request.version());
        InFlight {
            activity: Arc::clone(&self.activity),
            answer: self.application.call(request),
        }
    }
}

struct InFlight<F> {
    activity: Arc<Activity>,
    answer: F,
}

impl<F: Future + Unpin> Future for InFlight<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        Pin::new(&mut self.answer).poll(context)
    }
}

impl<F> Drop for InFlight<F> {
    fn drop(&mut self) {
        self.activity.request_ends();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            head_timeout: Duration::from_millis(20),
            idle_timeout: Duration::from_millis(60),
            write_timeout: Duration::from_millis(20),
            ..Limits::default()
        }
    }

    async fn wait(ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_ends_patience_and_silence_does_so_later() {
        let (activity, limits) = (Activity::new(), limits());
        wait(40).await;
        assert!(activity.patience(&limits).is_some(), "idle");
        activity.bytes_read();
        wait(15).await;
        activity.bytes_read();
        wait(15).await;
        assert!(
            activity.patience(&limits).is_none(),
            "counts from the first byte"
        );
        activity.request_begins(Version::HTTP_11);
        wait(500).await;
        assert!(
            activity.patience(&limits).is_some(),
            "requests have their own deadlines"
        );
        activity.request_ends();
        wait(59).await;
        assert!(activity.patience(&limits).is_some());
        wait(2).await;
        assert!(activity.patience(&limits).is_none(), "idle for too long");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_ends_patience() {
        let (activity, limits) = (Activity::new(), limits());
        activity.wrote(true);
        wait(15).await;
        activity.wrote(false);
        activity.wrote(true);
        wait(15).await;
        assert!(activity.patience(&limits).is_some(), "it took some");
        wait(15).await;
        assert!(activity.patience(&limits).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn between_http2_requests_bytes_are_no_head() {
        let (activity, limits) = (Activity::new(), limits());
        activity.request_begins(Version::HTTP_2);
        activity.request_ends();
        activity.bytes_read();
        wait(40).await;
        assert!(activity.patience(&limits).is_some());
    }
}
