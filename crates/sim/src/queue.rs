//! What is going to happen, in the order of time; at one moment, in the order in which it was foreseen.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds of the world.
pub(crate) type Moment = u64;

pub(crate) const MILLI: Moment = 1000;
pub(crate) const SECOND: Moment = 1_000_000;

/// Events to come.
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<Slot<E>>>,
    foreseen: u64,
}

struct Slot<E> {
    at: (Moment, u64),
    event: E,
}

impl<E> Queue<E> {
    pub(crate) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            foreseen: 0,
        }
    }

    pub(crate) fn push(&mut self, at: Moment, event: E) {
        self.foreseen += 1;
        let at = (at, self.foreseen);
        self.heap.push(Reverse(Slot { at, event }));
    }

    pub(crate) fn pop(&mut self) -> Option<(Moment, E)> {
        let Reverse(Slot { at, event }) = self.heap.pop()?;
        Some((at.0, event))
    }
}

impl<E> Ord for Slot<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl<E> PartialOrd for Slot<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Slot<E> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<E> Eq for Slot<E> {}
