//! What will happen, in order of time; of one moment in the order in which it was planned.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use ringwood_protocol::Time;
use ringwood_protocol::consensus::Message;
use ringwood_types::NodeId;

pub enum Event {
    Deliver {
        from: NodeId,
        to: NodeId,
        message: Message,
    },
    /// The disk has written the queue up to this batch.
    Written {
        node: NodeId,
        life: u64,
        number: u64,
    },
    Wake {
        node: NodeId,
    },
    Client,
    Operator,
    Fault,
    Restart {
        node: NodeId,
    },
    Crash {
        node: NodeId,
        life: u64,
    },
    SnapshotLost {
        node: NodeId,
        life: u64,
        to: NodeId,
    },
}

#[derive(Default)]
pub struct Events {
    next: u64,
    order: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, Event>,
}

impl Events {
    pub fn push(&mut self, at: Time, event: Event) {
        self.order.push(Reverse((at, self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    pub fn pop(&mut self) -> Option<(Time, u64, Event)> {
        let Reverse((time, number)) = self.order.pop()?;
        let event = self.events.remove(&number).unwrap();
        Some((time, number, event))
    }
}
