//! The promise a submitted write is given, and the one place its group's outcome is told.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};
use crate::key::SeqNo;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, MutexGuard};

type Callback = Box<dyn FnOnce(Result<SeqNo>) + Send>;

/// What became of one commit group; shared by the tickets of its members.
#[derive(Default)]
pub(crate) struct GroupOutcome {
    done: AtomicBool,
    /// Set before `done`: the group's first sequence number, or why it has none.
    first_seq: OnceLock<Result<SeqNo, Error>>,
    waiters: Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    threads: Vec<Thread>,
    wakers: Vec<Waker>,
    callbacks: Vec<(u64, Callback)>,
}

impl GroupOutcome {
    /// Tells every member what the group's first sequence number is. Called once.
    pub(crate) fn complete(&self, first_seq: Result<SeqNo, Error>) {
        self.first_seq
            .set(first_seq)
            .expect("a group completes once");
        let waiters = {
            let mut waiters = self.lock();
            self.done.store(true, Ordering::Release);
            std::mem::take(&mut *waiters)
        };
        for thread in waiters.threads {
            thread.unpark();
        }
        for waker in waiters.wakers {
            waker.wake();
        }
        for (offset, callback) in waiters.callbacks {
            let result = self.result(offset);
            // One that panics must not take the others' answers with it, nor the thread that writes
            // the log. The panic itself was printed where it happened.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(result)));
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// The outcome for the member whose last change is the group's change number `offset`.
    fn result(&self, offset: u64) -> Result<SeqNo> {
        let first_seq = self.first_seq.get().expect("asked once it is done");
        first_seq
            .as_ref()
            .map(|first| first.plus(offset))
            .map_err(Error::clone)
    }

    /// Blocks until the group is done.
    fn wait(&self) {
        // No spinning first: it takes the core from the writer that is waited for.
        {
            let mut waiters = self.lock();
            if self.is_done() {
                return;
            }
            waiters.threads.push(thread::current());
        }
        while !self.is_done() {
            thread::park();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        // A callback that panics must not take the other members' answers with it.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A submitted write, on its way to the disk.
///
/// Wait for it, await it (it needs no particular runtime), or drop it: the write happens all the same.
/// Clones tell the same outcome.
#[derive(Clone)]
#[must_use = "the write is not acknowledged before its ticket completes"]
pub struct Ticket {
    outcome: Arc<GroupOutcome>,
    /// Of the batch's last change, from the group's first.
    offset: u64,
}

impl Ticket {
    pub(crate) fn new(outcome: Arc<GroupOutcome>, offset: u64) -> Self {
        Self { outcome, offset }
    }

    /// A ticket for what happened already.
    pub(crate) fn done(seq: SeqNo) -> Self {
        let outcome = GroupOutcome::default();
        outcome.complete(Ok(seq));
        Self::new(Arc::new(outcome), 0)
    }

    /// Waits until the write is as durable as asked, and visible. Somebody else must be writing the
    /// log: with 0 threads, run jobs first.
    ///
    /// # Errors
    /// As [`Db::write`](crate::Db::write).
    pub fn wait(self) -> Result<SeqNo> {
        self.outcome.wait();
        self.outcome.result(self.offset)
    }

    /// Whether waiting would return at once.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.outcome.is_done()
    }

    /// Calls `done` when the write is as durable as asked, on the thread that wrote the log: keep it
    /// short, and do not drop the last handle of the store in it. Called at once where that has happened already.
    pub fn on_complete(self, done: impl FnOnce(Result<SeqNo>) + Send + 'static) {
        {
            let mut waiters = self.outcome.lock();
            if !self.outcome.is_done() {
                waiters.callbacks.push((self.offset, Box::new(done)));
                return;
            }
        }
        done(self.outcome.result(self.offset));
    }
}

impl Future for Ticket {
    type Output = Result<SeqNo>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.outcome.is_done() {
            let mut waiters = self.outcome.lock();
            if !self.outcome.is_done() {
                if !waiters
                    .wakers
                    .iter()
                    .any(|waker| waker.will_wake(context.waker()))
                {
                    waiters.wakers.push(context.waker().clone());
                }
                return Poll::Pending;
            }
        }
        Poll::Ready(self.outcome.result(self.offset))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("done", &self.is_done())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    fn ticket() -> (Arc<GroupOutcome>, Ticket) {
        let outcome = Arc::new(GroupOutcome::default());
        (Arc::clone(&outcome), Ticket::new(outcome, 0))
    }

    #[test]
    fn waiters_of_every_sort_hear_of_success() {
        let (outcome, blocked) = ticket();
        let (sender, receiver) = std::sync::mpsc::channel();
        Ticket::new(Arc::clone(&outcome), 2)
            .on_complete(move |result| sender.send(result.unwrap()).unwrap());
        let waiter = thread::spawn(move || blocked.wait());
        assert!(receiver.try_recv().is_err());
        outcome.complete(Ok(SeqNo::new(7)));
        assert_eq!(waiter.join().unwrap().unwrap(), SeqNo::new(7));
        assert_eq!(receiver.recv().unwrap(), SeqNo::new(9));
    }

    #[test]
    fn late_askers_hear_of_failure() {
        let (outcome, early) = ticket();
        outcome.complete(Err(Error::Stalled));
        assert!(matches!(early.wait(), Err(Error::Stalled)));
        let (sender, receiver) = std::sync::mpsc::channel();
        Ticket::new(Arc::clone(&outcome), 0)
            .on_complete(move |result| sender.send(result.is_err()).unwrap());
        assert!(receiver.recv().unwrap());
        let mut late = Ticket::new(outcome, 0);
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(
            Pin::new(&mut late).poll(&mut context),
            Poll::Ready(Err(_))
        ));
    }
}
