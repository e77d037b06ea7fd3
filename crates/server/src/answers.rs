//! Answers on their way: the memory that they may hold, until the network has taken them.
//!
//! An answer is charged from when it is made to when the transport lets go of its last byte, be that
//! because it was sent, or because the connection ended: what is charged is carried by the bytes
//! themselves. A client that does not take its answers keeps them in memory, and is cut off by its
//! connection (see `activity`).
//!
//! Long answers have a [`Share`] of their own, taken before they are made or, where they are there
//! already (a value that a memtable holds), before they are given to the connection. Short ones are
//! counted by connection, and have room of their own: however many long ones nobody takes, short ones go on.
//!
//! # Invariants
//! - `answers-1`: all long answers together hold no more than their part of the budget, but for those few
//!   that wait for it.
//! - `answers-2`: what is charged is given back exactly when the bytes are gone (see `answer_body`).

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::time::Instant;

use crate::budget::{Budget, Share};

/// Answers up to this length need no share.
pub(crate) const SHORT: usize = 16 << 10;
/// What a connection's short answers may hold without anybody counting.
const FREE: usize = 4 << 10;
/// Answers that are made and wait for their share: few, for they hold memory already.
const MADE_WAITING: usize = 32;

/// The memory of all answers.
#[derive(Debug)]
pub struct Answers {
    pub(crate) long: Budget,
    short: AtomicUsize,
    short_most: usize,
}

impl Answers {
    /// `bytes` for all of them: a quarter is kept for short ones.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let short_most = bytes / 4;
        Self {
            long: Budget::new(bytes - short_most),
            short: AtomicUsize::new(0),
            short_most,
        }
    }

    /// A share for an answer of `len` bytes that is there already; `None`: not in time.
    pub(crate) async fn share_for_made(&self, len: usize, until: Instant) -> Option<Share> {
        // INVARIANT answers-1
        match self.long.waiting() < MADE_WAITING {
            true => self.long.take(len, until).await,
            false => self.long.try_take(len),
        }
    }

    /// Whether not even short answers have room.
    pub(crate) fn are_full(&self) -> bool {
        self.short.load(Relaxed) >= self.short_most
    }

    /// Bytes of answers that are held.
    pub(crate) fn held(&self) -> usize {
        self.long.held() + self.short.load(Relaxed)
    }

    /// A connection's short answers hold `after` bytes now, and held `before`.
    pub(crate) fn charge(&self, before: usize, after: usize) {
        let (before, after) = (before.saturating_sub(FREE), after.saturating_sub(FREE));
        if after > before {
            self.short.fetch_add(after - before, Relaxed);
        } else if before > after {
            self.short.fetch_sub(before - after, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_answers_leave_room_for_short_ones() {
        let answers = Answers::new(4000);
        let _all = answers.long.try_take(usize::MAX).unwrap();
        assert_eq!(answers.held(), 3000);
        assert!(!answers.are_full());
        answers.charge(0, FREE + 1000);
        assert!(answers.are_full());
        answers.charge(FREE + 1000, FREE + 999);
        assert!(!answers.are_full());
    }
}
