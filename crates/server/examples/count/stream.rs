//! The server's end of a connection whose client costs next to nothing: it asks as soon as it has its
//! answer, and looks at no more of it than it needs to.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// What a client says next, and what it makes of the answer.
pub(crate) trait Script: Send + Unpin + 'static {
    /// Makes the next request.
    fn prepare(&mut self) {}

    /// The request that was made last.
    fn request(&self) -> &[u8];

    /// Whether it wants to see answers: those it does not are counted and forgotten.
    fn reads(&self) -> bool {
        false
    }

    /// Takes an answer.
    fn answer(&mut self, _answer: &[u8]) {}
}

/// What clients share with whoever counts. One thread runs them all, so that nothing here waits for
/// anything.
#[derive(Default)]
pub(crate) struct Clients {
    /// Requests that may still be sent.
    left: AtomicU32,
    answered: AtomicU32,
    /// Told when there is nothing left to answer.
    rest: Notify,
    awaited: AtomicU32,
    broken: AtomicBool,
    asleep: Mutex<Vec<Waker>>,
}

impl Clients {
    /// Lets so many requests be sent.
    pub(crate) fn send(&self, requests: u32) {
        self.left.store(requests, Relaxed);
        self.awaited.store(self.answered() + requests, Relaxed);
        let mut asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        asleep.drain(..).for_each(Waker::wake);
    }

    /// Whether all were answered.
    pub(crate) fn is_done(&self) -> bool {
        self.answered() == self.awaited.load(Relaxed)
    }

    /// Waits until all are answered.
    pub(crate) async fn done(&self) {
        while !self.is_done() {
            self.rest.notified().await;
            assert!(!self.broken.load(Relaxed), "a connection ended");
        }
    }

    fn answered(&self) -> u32 {
        self.answered.load(Relaxed)
    }

    fn take(&self) -> bool {
        let left = self.left.load(Relaxed);
        self.left.store(left.saturating_sub(1), Relaxed);
        left > 0
    }
}

/// One connection.
pub(crate) struct Stream<S> {
    script: S,
    clients: Arc<Clients>,
    /// Bytes of the request that were sent; `None`: its answer is there.
    sent: Option<usize>,
    /// Bytes of the answer that have come.
    len: usize,
    answer: Vec<u8>,
    reader: Option<Waker>,
}

impl<S: Script> Stream<S> {
    pub(crate) fn new(script: S, clients: Arc<Clients>) -> Self {
        Self {
            script,
            clients,
            sent: None,
            len: 0,
            answer: Vec::new(),
            reader: None,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.len == 0 {
            let head = bytes.get(..10).unwrap_or(bytes);
            assert_eq!(head, b"HTTP/1.1 2", "{}", bytes.escape_ascii());
        }
        self.len += bytes.len();
        if self.script.reads() {
            self.answer.extend_from_slice(bytes);
        }
    }
}

impl<S> Drop for Stream<S> {
    fn drop(&mut self) {
        self.clients.broken.store(true, Relaxed);
        self.clients.rest.notify_one();
    }
}

impl<S: Script> AsyncRead for Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = match this.sent {
            Some(sent) => sent,
            None if this.clients.take() => {
                this.script.prepare();
                0
            }
            None => {
                let asleep = &this.clients.asleep;
                let mut asleep = asleep.lock().unwrap_or_else(PoisonError::into_inner);
                asleep.push(context.waker().clone());
                return Poll::Pending;
            }
        };
        let rest = &this.script.request()[sent..];
        if rest.is_empty() {
            this.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let part = &rest[..rest.len().min(buffer.remaining())];
        buffer.put_slice(part);
        this.sent = Some(sent + part.len());
        Poll::Ready(Ok(()))
    }
}

impl<S: Script> AsyncWrite for Stream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        slices.iter().for_each(|slice| this.take(slice));
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The server is done with an answer.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.len > 0 {
            this.script.answer(&this.answer);
            this.answer.clear();
            (this.len, this.sent) = (0, None);
            let answered = this.clients.answered();
            this.clients.answered.store(answered + 1, Relaxed);
            if this.clients.is_done() {
                this.clients.rest.notify_one();
            }
            this.reader.take().map(Waker::wake).unwrap_or_default();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
