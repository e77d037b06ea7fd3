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

/// What users want called when a group is done. It is theirs, and may do anything: write, wait, drop the
/// store. So it is called where nothing of the store is held.
#[must_use = "tickets that are awaited hear of the outcome through it"]
pub(crate) struct Calls {
    outcome: Arc<GroupOutcome>,
    wakers: Vec<Waker>,
    callbacks: Vec<(u64, Callback)>,
}

impl Calls {
    /// Whether any of them may take its time: wakers must not.
    pub(crate) fn may_block(&self) -> bool {
        !self.callbacks.is_empty()
    }

    pub(crate) fn make(self) {
        // One that panics must not take the others' answers with it, nor the thread that writes the log.
        // The panic itself was printed where it happened.
        for waker in self.wakers {
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
        for (offset, callback) in self.callbacks {
            let result = self.outcome.result(offset);
            let _ = catch_unwind(AssertUnwindSafe(|| callback(result)));
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("wakers", &self.wakers.len())
            .field("callbacks", &self.callbacks.len())
            .finish_non_exhaustive()
    }
}

impl GroupOutcome {
    /// Says what the group's first sequence number is, and wakes the threads that wait. Gives what else
    /// wants to hear. Called once.
    pub(crate) fn complete(self: &Arc<Self>, first_seq: Result<SeqNo, Error>) -> Option<Calls> {
        self.first_seq
            .set(first_seq)
            .expect("a group completes once");
        let waiters = {
            let mut waiters = self.lock();
            self.done.store(true, Ordering::Release);
            std::mem::take(&mut *waiters)
        };
        for thread in &waiters.threads {
            thread.unpark();
        }
        let Waiters {
            wakers, callbacks, ..
        } = waiters;
        let wanted = !(wakers.is_empty() && callbacks.is_empty());
        wanted.then(|| Calls {
            outcome: Arc::clone(self),
            wakers,
            callbacks,
        })
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
        let outcome = Arc::new(GroupOutcome::default());
        let calls = outcome.complete(Ok(seq));
        debug_assert!(calls.is_none(), "nobody has the ticket yet");
        Self::new(outcome, 0)
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

    /// Calls `done` when the write is as durable as asked, on a thread of the store or one that writes.
    /// It may write, wait for writes, and drop the last handle of the store; while it runs, others that
    /// were written with it may wait to hear. Called at once, on this thread, where that has happened
    /// already.
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
        outcome.complete(Ok(SeqNo::new(7))).unwrap().make();
        assert_eq!(waiter.join().unwrap().unwrap(), SeqNo::new(7));
        assert_eq!(receiver.recv().unwrap(), SeqNo::new(9));
    }

    #[test]
    fn late_askers_hear_of_failure() {
        let (outcome, early) = ticket();
        assert!(outcome.complete(Err(Error::Stalled)).is_none());
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
