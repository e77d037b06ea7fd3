//! The one place that orders writes: groups of batches go through append, sync, apply, publish.
//!
//! Writers leave their batches in a queue. Whoever holds the *token* takes the oldest group, writes
//! it to the log as one frame, and tells its members. There is ONE group in flight: while it is on
//! its way to the disk, the next one fills (measured against several in flight; they split groups
//! and cost more). A writer who finds the pipeline at rest takes the token and writes inline, with no thread to
//! wake; where many write, the log thread does it. Followers are told before the next group is
//! closed, so that it refills.
//!
//! What users want called (wakers and callbacks of tickets) is theirs: it waits in a list until
//! somebody who holds nothing of the store [makes the calls](CommitQueue::make_calls).
//!
//! # Invariants
//! - commit-1: sequence numbers are assigned here only, when a group is written, without gaps in the log.
//! - commit-2: a change is visible only after its frame is as durable as its group asked.
//! - commit-3: memtables are written to, and replaced, only by the token's holder.
//! - commit-5: code of users runs where neither the token nor any lock of the store is held, nor an
//!   update's key; while it runs, writes go on.
//! - commit-4: after a failed log write nothing is written any more, and nobody is told otherwise.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use crate::batch::Batch;
use crate::budget::MemoryBudget;
use crate::error::{Error, Result};
use crate::key::SeqNo;
use crate::options::Durability;
use crate::plant::{Plant, is_planted};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, thread_local};
use crate::ticket::{Calls, GroupOutcome, Ticket};
use crate::wal::Frame;

/// A group is closed at this many bytes, or what a segment takes; one larger batch is a group of its own.
const GROUP_LEN_MAX: usize = 1 << 20;
/// Groups that wait at most, where nobody waits with them: this many MiB of memory.
const GROUPS_MAX: usize = 32;
/// Groups that an inline writer commits for others before it hands over to the log thread.
const INLINE_ROUNDS_MAX: u32 = 16;

/// Batches that share one frame of the log.
pub(crate) struct Group {
    pub(crate) frame: Frame,
    pub(crate) durability: Durability,
    members: u32,
    outcome: Arc<GroupOutcome>,
}

/// What the pipeline needs of the store around it. Called by the token's holder only.
pub(crate) trait CommitTarget {
    /// The log, held.
    type Log<'a>
    where
        Self: 'a;
    /// Gives the log, in a segment that has room for the frame. Nothing is written yet.
    fn make_room(&self, frame: &Frame) -> Result<Self::Log<'_>>;
    /// Writes the frame and, where asked, makes it durable with everything before it.
    fn append(
        &self,
        log: Self::Log<'_>,
        frame: &mut Frame,
        first_seq: SeqNo,
        durability: Durability,
    ) -> Result<()>;
    /// Puts the frame's changes into memtables, where nobody sees them yet.
    fn apply(&self, frame: &Frame, first_seq: SeqNo);
    /// Replaces memtables that are full. Runs after the group is visible and its members are told.
    fn after_publish(&self, token: &Token<'_>);
}

/// The pipeline's state.
#[derive(Debug)]
pub(crate) struct CommitQueue {
    queue: Mutex<Queue>,
    /// Signalled when there is something for the log thread, and when the token is put back.
    changed: Condvar,
    /// The change that comes next. Moved by the token's holder only.
    next_seq: AtomicU64,
    /// The last change that readers may see.
    published: AtomicU64,
    /// Whether a log thread serves the queue.
    has_thread: bool,
    /// Groups are part of it, from when they are opened.
    budget: Arc<MemoryBudget>,
    /// What users want called, in the order in which it came about.
    calls: Mutex<Vec<Calls>>,
    /// Whether there are any, to be seen without the lock.
    calls_wait: AtomicBool,
    /// Whether the log thread is in a call that may take its time.
    log_thread_away: AtomicBool,
}

thread_local! {
    /// Queues whose calls this thread must not make: it is in one of them, or holds a key's lock.
    #[allow(clippy::missing_const_for_thread_local)] // the model checker's macro takes no `const`
    static HOLDING_CALLS: RefCell<Vec<usize>> = RefCell::new(Vec::new());
}

/// While it lives, this thread makes no calls of the queue.
#[derive(Debug)]
pub(crate) struct HeldCalls<'a> {
    queue: &'a CommitQueue,
}

impl Drop for HeldCalls<'_> {
    fn drop(&mut self) {
        HOLDING_CALLS.with(|holding| {
            let mut holding = holding.borrow_mut();
            let at = holding
                .iter()
                .rposition(|&queue| queue == self.queue.address());
            holding.swap_remove(at.expect("it was put there"));
        });
    }
}

#[derive(Debug)]
struct Queue {
    groups: VecDeque<Group>,
    token_taken: bool,
    /// Callers of [`CommitQueue::take_token`] that sleep.
    token_waiters: u32,
    /// Members of the last group written: more than one says that writers come together.
    last_members: u32,
    failure: Option<Error>,
    closed: bool,
    spare: Option<Frame>,
    group_len_max: usize,
}

/// What the log thread does next.
#[derive(Debug)]
pub(crate) enum LogWork<'a> {
    Write(Token<'a>),
    /// Somebody has left calls behind.
    Calls,
    /// The queue is closed.
    Ended,
}

/// The exclusive right to write the log and the memtables. Put back by [`CommitQueue::run`] or on drop.
#[derive(Debug)]
#[must_use]
pub(crate) struct Token<'a> {
    queue: &'a CommitQueue,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

impl CommitQueue {
    /// A pipeline whose next change is `next_seq`; a frame of the log takes `payload_len_max` bytes.
    pub(crate) fn new(
        next_seq: SeqNo,
        has_thread: bool,
        payload_len_max: usize,
        budget: Arc<MemoryBudget>,
    ) -> Self {
        let queue = Queue {
            groups: VecDeque::new(),
            token_taken: false,
            token_waiters: 0,
            last_members: 0,
            failure: None,
            closed: false,
            spare: None,
            group_len_max: GROUP_LEN_MAX.min(payload_len_max),
        };
        Self {
            queue: Mutex::new(queue),
            changed: Condvar::new(),
            next_seq: AtomicU64::new(next_seq.get()),
            published: AtomicU64::new(next_seq.get() - 1),
            has_thread,
            budget,
            calls: Mutex::default(),
            calls_wait: AtomicBool::new(false),
            log_thread_away: AtomicBool::new(false),
        }
    }

    /// The last change that readers may see.
    pub(crate) fn published(&self) -> SeqNo {
        SeqNo::new(self.published.load(Ordering::Acquire))
    }

    /// Queues a batch, to be written by whoever serves the queue.
    pub(crate) fn submit(&self, batch: &Batch, durability: Durability) -> Result<Ticket> {
        let mut queue = self.lock();
        if queue.groups.len() >= GROUPS_MAX {
            return Err(Error::Stalled);
        }
        let ticket = queue.push(batch, durability, &self.budget)?;
        let wake = !queue.token_taken;
        drop(queue);
        if wake {
            self.changed.notify_all();
        }
        Ok(ticket)
    }

    /// Queues a batch and waits for its outcome, writing the log itself where that is quicker.
    pub(crate) fn write(
        &self,
        batch: &Batch,
        durability: Durability,
        target: &impl CommitTarget,
    ) -> Result<SeqNo> {
        let mut queue = self.lock();
        let ticket = match queue.push(batch, durability, &self.budget) {
            Ok(ticket) => ticket,
            Err(error) => {
                drop(queue);
                // Of a writer who panicked: nobody may come after this one.
                self.make_calls();
                return Err(error);
            }
        };
        // Nobody else may come to serve the queue: there is no log thread, or it is in a call.
        let alone = !self.has_thread || self.holds_calls() || self.is_log_thread_away();
        let inline = queue.token_is_free()
            && (alone || durability == Durability::Buffered || queue.last_members <= 1);
        if inline {
            queue.token_taken = true;
            drop(queue);
            self.run(Token { queue: self }, target, INLINE_ROUNDS_MAX);
        } else {
            let wake = !queue.token_taken;
            drop(queue);
            if wake {
                self.changed.notify_all();
            }
        }
        while alone && !ticket.is_done() {
            if let Some(token) = self.take_token() {
                self.run(token, target, u32::MAX);
            }
        }
        let outcome = ticket.wait();
        self.make_calls();
        outcome
    }

    /// Waits for the token. Gives `None` once the queue is closed.
    pub(crate) fn take_token(&self) -> Option<Token<'_>> {
        let mut queue = self.lock();
        queue.token_waiters += 1;
        while queue.token_taken && !queue.closed {
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.token_waiters -= 1;
        if queue.closed {
            return None;
        }
        queue.token_taken = true;
        Some(Token { queue: self })
    }

    /// Waits until there is something to write, and gives the token with it, or calls to be made.
    pub(crate) fn wait_for_work(&self) -> LogWork<'_> {
        let mut queue = self.lock();
        loop {
            if self.calls_wait.load(Ordering::Acquire) {
                return LogWork::Calls;
            }
            if queue.closed {
                return LogWork::Ended;
            }
            if queue.token_is_free() && !queue.groups.is_empty() {
                queue.token_taken = true;
                return LogWork::Write(Token { queue: self });
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether a batch waits, and nobody is writing or about to; or calls do that a writer left behind who
    /// panicked, where no log thread makes them.
    pub(crate) fn needs_writer(&self) -> bool {
        if !self.has_thread && self.calls_wait.load(Ordering::Acquire) && !self.holds_calls() {
            return true;
        }
        if self.has_thread && !self.is_log_thread_away() {
            return false;
        }
        let queue = self.lock();
        !queue.token_taken && !queue.groups.is_empty()
    }

    /// Whether calls wait that may take their time.
    pub(crate) fn has_slow_calls(&self) -> bool {
        self.calls_wait.load(Ordering::Acquire) && self.lock_calls().iter().any(Calls::may_block)
    }

    /// Says that the log thread is in a call, until this is said to be over: others serve the queue.
    pub(crate) fn set_log_thread_away(&self, away: bool) {
        self.log_thread_away.store(away, Ordering::Release);
    }

    pub(crate) fn is_log_thread_away(&self) -> bool {
        self.log_thread_away.load(Ordering::Acquire)
    }

    /// Keeps this thread from making calls, as it holds what they may want.
    pub(crate) fn hold_calls(&self) -> HeldCalls<'_> {
        HOLDING_CALLS.with(|holding| holding.borrow_mut().push(self.address()));
        HeldCalls { queue: self }
    }

    /// Makes the calls that wait. INVARIANT commit-5: the caller holds nothing of the store.
    pub(crate) fn make_calls(&self) {
        if !self.calls_wait.load(Ordering::Acquire) || self.holds_calls() {
            return;
        }
        // A call that writes leads back here: what comes of it is called by this loop.
        let _held = self.hold_calls();
        loop {
            let calls = {
                let mut calls = self.lock_calls();
                self.calls_wait.store(false, Ordering::Release);
                std::mem::take(&mut *calls)
            };
            if calls.is_empty() {
                return;
            }
            for call in calls {
                call.make();
            }
        }
    }

    /// Leaves calls to whoever makes them next. The log thread is told by whoever puts the token back.
    fn queue_calls(&self, calls: impl IntoIterator<Item = Calls>) {
        let mut waiting = self.lock_calls();
        waiting.extend(calls);
        if !waiting.is_empty() {
            self.calls_wait.store(true, Ordering::Release);
        }
    }

    fn holds_calls(&self) -> bool {
        HOLDING_CALLS.with(|holding| holding.borrow().contains(&self.address()))
    }

    /// Names the queue for as long as anybody is inside of it.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn lock_calls(&self) -> MutexGuard<'_, Vec<Calls>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes queued groups, the oldest first, and puts the token back. `rounds_max` limits the
    /// groups written for others, as long as there is a log thread to go on with them; so do calls that
    /// wait: the caller makes them next, if it can.
    pub(crate) fn run(&self, token: Token<'_>, target: &impl CommitTarget, rounds_max: u32) {
        let mut rounds = 0;
        loop {
            let (group, failure) = {
                let mut queue = self.lock();
                // Whoever waits for the token is let in between groups: no stream of writes keeps it away.
                let called = self.calls_wait.load(Ordering::Acquire) && rounds > 0;
                let enough = self.has_thread && (rounds >= rounds_max || called);
                let hand_over = enough || queue.token_waiters > 0 && rounds > 0;
                match queue.groups.pop_front() {
                    Some(group) if !hand_over => (group, queue.failure.clone()),
                    rest => {
                        if let Some(group) = rest {
                            queue.groups.push_front(group);
                        }
                        drop(queue);
                        drop(token);
                        return;
                    }
                }
            };
            self.commit_and_tell(group, failure, target, &token);
            rounds += 1;
        }
    }

    /// Takes no more writes; what is queued fails with [`Error::Closed`]. Waits for the token.
    pub(crate) fn close(&self) {
        if let Some(token) = self.take_token() {
            let groups = {
                let mut queue = self.lock();
                queue.closed = true;
                std::mem::take(&mut queue.groups)
            };
            let closed = |group: Group| group.outcome.complete(Err(Error::Closed));
            self.queue_calls(groups.into_iter().filter_map(closed));
            drop(token);
        }
        self.make_calls();
    }

    /// Takes no more writes, for `cause`; what is queued fails at once.
    pub(crate) fn fail(&self, cause: Error) {
        let groups = {
            let mut queue = self.lock();
            queue.failure.get_or_insert_with(|| cause.clone());
            std::mem::take(&mut queue.groups)
        };
        let cause = Arc::new(cause);
        let failed = |group: Group| {
            let cause = Arc::clone(&cause);
            group.outcome.complete(Err(Error::Failed { cause }))
        };
        // Whoever says so may hold anything.
        self.queue_calls(groups.into_iter().filter_map(failed));
        // ORDER: a log thread that has looked for calls and found none is asleep by now, and hears this.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Whether writes are taken no more because the store was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Why nothing is written any more, if so.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.lock().failure.clone()
    }

    fn commit_and_tell(
        &self,
        group: Group,
        failure: Option<Error>,
        target: &impl CommitTarget,
        token: &Token<'_>,
    ) {
        let Group {
            mut frame,
            durability,
            members,
            outcome,
        } = group;
        // A panic below must not leave the members waiting.
        let told = Told {
            queue: self,
            outcome: Some(outcome),
        };
        let result = match failure {
            Some(cause) => Err(Error::Failed {
                cause: Arc::new(cause),
            }),
            None => self.commit(&mut frame, durability, target),
        };
        let mut queue = self.lock();
        match &result {
            Ok(_) => queue.last_members = members,
            Err(Error::OutcomeUnknown { cause }) if queue.failure.is_none() => {
                queue.failure = Some(Error::clone(cause));
            }
            Err(_) => {}
        }
        frame.clear();
        queue.spare = Some(frame);
        drop(queue);
        let committed = result.is_ok();
        told.complete(result);
        if committed {
            target.after_publish(token);
        }
    }

    /// The order of a write. Everything else in this file is about who calls it.
    fn commit(
        &self,
        frame: &mut Frame,
        durability: Durability,
        target: &impl CommitTarget,
    ) -> Result<SeqNo> {
        // Nothing is written yet: a failure here leaves no trace, and takes no sequence number.
        let log = target.make_room(frame)?;
        let first_seq = SeqNo::new(self.next_seq.load(Ordering::Relaxed));
        let next_seq = first_seq.plus(u64::from(frame.count()));

        // ORDER: append, sync. From here on a failure leaves the outcome open, and ends all writing.
        target
            .append(log, frame, first_seq, durability)
            .map_err(|cause| Error::OutcomeUnknown {
                cause: Arc::new(cause),
            })?;
        self.next_seq.store(next_seq.get(), Ordering::Relaxed);

        if is_planted(Plant::PublishBeforeApply) {
            self.published.store(next_seq.get() - 1, Ordering::Release);
            std::thread::yield_now();
        }
        // ORDER: apply only what the log holds: a memtable must never be ahead of it.
        target.apply(frame, first_seq);

        // ORDER: publish last: a reader who sees the number finds every change up to it.
        self.published.store(next_seq.get() - 1, Ordering::Release);
        Ok(first_seq)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Whether a writer may take the token: those who wait for it go first.
    fn token_is_free(&self) -> bool {
        !self.token_taken && self.token_waiters == 0
    }

    /// Adds a batch to the last group, or opens one.
    fn push(
        &mut self,
        batch: &Batch,
        durability: Durability,
        budget: &Arc<MemoryBudget>,
    ) -> Result<Ticket> {
        if self.closed {
            return Err(Error::Closed);
        }
        if let Some(cause) = &self.failure {
            return Err(Error::Failed {
                cause: Arc::new(cause.clone()),
            });
        }
        let full = self.groups.back().is_none_or(|group| {
            group.frame.payload_len() + batch.encoded_len() > self.group_len_max
        });
        if full {
            self.groups.push_back(Group {
                frame: (self.spare.take()).unwrap_or_else(|| Frame::within(budget)),
                durability: Durability::Buffered,
                members: 0,
                outcome: Arc::default(),
            });
        }
        let group = self.groups.back_mut().expect("one was just made sure of");
        group.frame.push(batch.encoded(), batch.count());
        group.members += 1;
        if durability == Durability::Synced {
            group.durability = Durability::Synced;
        }
        let offset = u64::from(group.frame.count()).saturating_sub(1);
        Ok(Ticket::new(Arc::clone(&group.outcome), offset))
    }
}

/// Tells a group's members its outcome; that it is unknown, where the writer panicked.
struct Told<'a> {
    queue: &'a CommitQueue,
    outcome: Option<Arc<GroupOutcome>>,
}

impl Told<'_> {
    fn complete(mut self, result: Result<SeqNo>) {
        let outcome = self.outcome.take().expect("it is told once");
        if let Some(calls) = outcome.complete(result) {
            self.queue.queue_calls([calls]);
        }
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            let thread = std::thread::current().name().unwrap_or("writer").to_owned();
            let cause = Error::Panicked { thread };
            self.queue.fail(cause.clone());
            let unknown = Err(Error::OutcomeUnknown {
                cause: Arc::new(cause),
            });
            self.queue.queue_calls(outcome.complete(unknown));
        }
    }
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        let mut queue = self.queue.lock();
        queue.token_taken = false;
        let calls_wait = self.queue.calls_wait.load(Ordering::Acquire);
        let wanted =
            queue.token_waiters > 0 || !queue.groups.is_empty() || queue.closed || calls_wait;
        drop(queue);
        // Waking a thread costs more than a buffered write: not without need.
        if wanted {
            self.queue.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
