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
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::activity::{Activity, Verdict, look_interval};
use crate::answer_body::AnswerBody;
use crate::answers::Answers;
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
        Response = Response<AnswerBody>,
        Error = Infallible,
        Future: Future<Output = Result<Response<AnswerBody>, Infallible>> + Send + Unpin + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S> Application for S where
    S: Service<
            Request<Incoming>,
            Response = Response<AnswerBody>,
            Error = Infallible,
            Future: Future<Output = Result<Response<AnswerBody>, Infallible>>
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

/// Requests at once on an HTTP/2 connection, and what it may send of bodies that nobody reads yet.
const STREAMS: u32 = 32;
const CONNECTION_WINDOW: u32 = 256 << 10;
const STREAM_WINDOW: u32 = 128 << 10;

/// Serves requests from `stream` with `application` until either side is done. `answers` is the memory
/// that all connections share.
pub async fn serve<T>(
    stream: T,
    application: impl Application,
    limits: &Limits,
    answers: &Arc<Answers>,
    mut stage: watch::Receiver<Stage>,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let left_over = Arc::new(Mutex::new(None));
    let stream = Watched {
        stream: Some(stream),
        activity: Arc::new(Activity::new(limits, answers)),
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
    let mut retired = false;
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
            () = alarm.as_mut() => match activity.verdict(limits) {
                Verdict::GoOn(wait) => alarm.as_mut().reset(Instant::now() + wait),
                Verdict::Retire if !retired => {
                    retired = true;
                    connection.as_mut().graceful_shutdown();
                    alarm.as_mut().reset(Instant::now() + LINGER_TIME);
                }
                Verdict::Retire | Verdict::Cut => return End::Done,
            },
        }
    }
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
        .max_concurrent_streams(STREAMS)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_header_list_size(u32::try_from(limits.head_len).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(limits.write_timeout);
    builder
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
            self.activity.read(&buffer.filled()[before..]);
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
    type Response = Response<AnswerBody>;
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

impl<F> Future for InFlight<F>
where
    F: Future<Output = Result<Response<AnswerBody>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.activity.holds_back(context.waker()) {
            return Poll::Pending;
        }
        let mut answer = std::task::ready!(Pin::new(&mut self.answer).poll(context))?;
        answer.body_mut().owe(&self.activity);
        Poll::Ready(Ok(answer))
    }
}

impl<F> Drop for InFlight<F> {
    fn drop(&mut self) {
        self.activity.request_ends();
    }
}
