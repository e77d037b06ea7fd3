//! One member: its disk with a queue of batches, its clock, and the state it applies to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ringwood_protocol::Time;
use ringwood_protocol::consensus::{Effect, Entry, Group, Index, Persist, ReadId, Stored, Tuning};
use ringwood_types::NodeId;

use super::NodeDefect;
use super::chance::{Chance, mix};

pub struct Member {
    pub id: NodeId,
    /// `None`: it is down.
    pub group: Option<Group>,
    pub life: u64,
    pub durable: Stored,
    pub queue: VecDeque<Persist>,
    pub disk_busy: bool,
    pub slow_disk: bool,
    pub applied: Index,
    pub digest: u64,
    pub wake_at: Option<Time>,
    pub paused_until: Time,
    pub reads: BTreeMap<ReadId, Read>,
    /// Of its clock, in parts of a thousand.
    rate: u64,
    offset: u64,
}

/// A read that is not answered yet.
pub struct Read {
    /// What had been acknowledged when it was asked.
    pub floor: Index,
    pub at: Option<Index>,
}

/// The state that a snapshot holds: a digest of everything applied.
pub struct SnapshotState {
    pub digest: u64,
}

impl SnapshotState {
    pub fn encode(&self) -> Arc<[u8]> {
        Arc::from(self.digest.to_le_bytes())
    }

    pub fn decode(bytes: &[u8]) -> Self {
        // A member that never held anything has an empty state.
        let digest = bytes.try_into().map_or(0, u64::from_le_bytes);
        Self { digest }
    }
}

impl Member {
    pub fn new(id: NodeId, durable: Stored, chance: &mut Chance) -> Self {
        Self {
            id,
            group: None,
            life: 0,
            durable,
            queue: VecDeque::new(),
            disk_busy: false,
            slow_disk: chance.permille(200),
            applied: Index::ZERO,
            digest: 0,
            wake_at: None,
            paused_until: Time::ZERO,
            reads: BTreeMap::new(),
            rate: chance.range(900, 1101),
            offset: chance.range(0, 1_000_000_000),
        }
    }

    pub fn start(&mut self, seed: u64, now: Time, tuning: Tuning) {
        self.life += 1;
        self.applied = self.durable.snapshot.index;
        self.digest = SnapshotState::decode(&self.durable.snapshot.state).digest;
        self.wake_at = None;
        let (seed, local) = (mix(seed ^ self.life), self.local(now));
        let stored = self.durable.clone();
        self.group = Some(Group::restore(self.id, seed, local, stored, tuning).unwrap());
    }

    pub fn poll(&mut self) -> Option<Effect> {
        self.group.as_mut()?.poll_effect()
    }

    /// The time on its own clock.
    pub fn local(&self, now: Time) -> Time {
        Time::from_micros(self.offset + now.micros() * self.rate / 1000)
    }

    /// When its own clock will show `local`, or soon after.
    pub fn global(&self, local: Time) -> Time {
        let since = local.micros().saturating_sub(self.offset);
        Time::from_micros((since * 1000).div_ceil(self.rate))
    }

    pub fn is_up(&self, now: Time) -> bool {
        self.group.is_some() && self.paused_until <= now
    }

    /// Of what was not synced some first part stays, the rest is lost. Gives how much is lost.
    pub fn crash(&mut self, kept: u64, defect: Option<NodeDefect>) -> u64 {
        self.group = None;
        self.reads.clear();
        self.disk_busy = false;
        let queued = self.queue.len();
        let kept = usize::try_from(kept % (queued as u64 + 1)).unwrap();
        for batch in self.queue.drain(..).take(kept) {
            write(&mut self.durable, &batch, defect);
        }
        (queued - kept) as u64
    }
}

/// What a batch makes of what the disk holds.
pub fn write(durable: &mut Stored, batch: &Persist, defect: Option<NodeDefect>) {
    if let Some(hard) = batch.hard {
        let old = durable.hard;
        durable.hard = hard;
        if defect == Some(NodeDefect::VoteNotPersisted) {
            durable.hard.vote = old.vote.filter(|_| old.term == hard.term);
        }
        if defect == Some(NodeDefect::TermNotPersisted) {
            (durable.hard.term, durable.hard.vote) = (old.term, old.vote);
        }
    }
    if let Some(snapshot) = &batch.snapshot {
        let place = |entry: &Entry| (entry.index, entry.term);
        let same = durable
            .entries
            .iter()
            .any(|entry| place(entry) == (snapshot.index, snapshot.term));
        durable
            .entries
            .retain(|entry| same && entry.index > snapshot.index);
        durable.snapshot = snapshot.clone();
    }
    if let (Some(first), Some(last)) = (batch.entries.first(), batch.entries.last()) {
        let mut tail = durable.entries.split_off(
            durable
                .entries
                .partition_point(|entry| entry.index < first.index),
        );
        durable.entries.extend(batch.entries.iter().cloned());
        if defect == Some(NodeDefect::TailNotCut) {
            tail.retain(|entry| entry.index > last.index);
            durable.entries.extend(tail);
        }
    }
}

/// The longest that a pause lasts: longer than any timeout.
pub const PAUSE_MAX: Duration = Duration::from_secs(4);
