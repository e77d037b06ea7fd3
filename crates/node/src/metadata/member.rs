//! A member of the metadata group: a machine of consensus, its log in the engine, and the topology that the
//! log's entries are applied to.
//!
//! # Invariants
//! - `metadata-1`: batches of the group reach the engine in the order in which it emits them, and what
//!   promises something leaves once its batch is durable (the order of `ringwood_protocol::consensus`).
//! - `metadata-2`: the topology is what the committed entries make of the snapshot, in their order, each
//!   applied once; a member that cannot read one applies nothing behind it.
//!
//! *Not here*: who proposes what, where other members are, and what a view is good for.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use ringwood_lsm::{Batch, Db, Durability, Error, Keyspace, Ticket};
use ringwood_protocol::Time;
use ringwood_protocol::consensus::{
    self, Change, Entry, Group, Index, Message, Outcome, Payload, Persist, ProposalId, Status,
    Stored, Tuning,
};
use ringwood_protocol::topology::{self, CommandId, Request, Topology, View};
use ringwood_types::NodeId;

use super::log::MetadataLog;
use crate::error::OpenError;

/// Entries applied since the last snapshot at which the next one is cut.
const SNAPSHOT_EVERY: u64 = 256;

/// This node's part in the metadata group.
pub struct Metadata {
    db: Db,
    log: MetadataLog,
    group: Group,
    /// `None` until the first snapshot has come.
    topology: Option<Topology>,
    applied: Index,
    snapshot_at: Index,
    /// Of what was proposed here and is not decided.
    proposed: BTreeMap<ProposalId, CommandId>,
    next_proposal: u64,
    /// What this node's own proposals came to, until the group says so.
    outcomes: BTreeMap<Index, topology::Outcome>,
    writing: VecDeque<(u64, Vec<(NodeId, Message)>)>,
    effects: VecDeque<Effect>,
    /// It takes no part any more: its log could not be written, or not be understood.
    stopped: bool,
}

/// What happens to a member.
#[derive(Debug)]
pub enum Input {
    /// The moment of [`Metadata::next_deadline`] has come.
    Wake,
    /// A message of another member.
    Received {
        /// Whose.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// What [`Effect::Write`] was about has ended.
    Written {
        /// As it was given.
        number: u64,
        /// How.
        result: Result<(), Error>,
    },
    /// A command is to be decided. Answered by [`Effect::Decided`], or not at all: it may be proposed again
    /// under its id.
    Propose(Request),
    /// The members of the group are to change, if this one leads.
    Change(Change),
}

/// What a member wants done.
#[derive(Debug)]
pub enum Effect {
    /// Send this.
    Send {
        /// To this member.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Say when this ticket is complete: [`Input::Written`].
    Write {
        /// Comes back.
        number: u64,
        /// The ticket.
        ticket: Ticket,
    },
    /// The topology has changed.
    View(Arc<View>),
    /// What became of a command that was proposed here.
    Decided(CommandId, Decided),
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It was applied, or refused by all.
    Outcome(topology::Outcome),
    /// It was not put in order: this member does not lead. It may be proposed to the one that does.
    NotHere,
    /// Nobody knows here: it may be proposed again under its id.
    Unknown,
}

impl Metadata {
    /// Makes this node the only member of a new group. Durable on return.
    ///
    /// # Errors
    /// As a synced write.
    pub fn bootstrap(
        db: &Db,
        system: Keyspace,
        me: NodeId,
        first: &Topology,
    ) -> Result<(), OpenError> {
        let state: Arc<[u8]> = first.to_snapshot().into();
        begin(db, system, &Stored::bootstrapped(me, state))
    }

    /// Makes this node one that may be told by a group, and knows nothing of it yet. Durable on return.
    ///
    /// # Errors
    /// As a synced write.
    pub fn join(db: &Db, system: Keyspace) -> Result<(), OpenError> {
        begin(db, system, &Stored::default())
    }

    /// The member as the store remembers it; `None` where it never was one.
    ///
    /// # Errors
    /// [`OpenError::DamagedSystemRecord`], or as reads do.
    pub fn open(
        db: Db,
        system: Keyspace,
        me: NodeId,
        seed: u64,
        now: Time,
        tuning: Tuning,
    ) -> Result<Option<Self>, OpenError> {
        let (log, stored) = MetadataLog::open(system)?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let damaged = |_| OpenError::DamagedSystemRecord {
            record: "metadata".into(),
        };
        let at = stored.snapshot.index;
        let topology = match at {
            Index::ZERO => None,
            _ => Some(Topology::from_snapshot(&stored.snapshot.state).map_err(|_| damaged(()))?),
        };
        let group = Group::restore(me, seed, now, stored, tuning).map_err(|_| damaged(()))?;
        let mut member = Self {
            db,
            log,
            group,
            topology,
            applied: at,
            snapshot_at: at,
            proposed: BTreeMap::new(),
            next_proposal: 0,
            outcomes: BTreeMap::new(),
            writing: VecDeque::new(),
            effects: VecDeque::new(),
            stopped: false,
        };
        member.tell();
        member.carry_out(now);
        Ok(Some(member))
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        if self.stopped {
            return;
        }
        match input {
            Input::Wake => self.group.handle(now, consensus::Input::Wake),
            Input::Received { from, message } => {
                let input = consensus::Input::Received { from, message };
                self.group.handle(now, input);
            }
            Input::Written { number, result } => self.written(now, number, result),
            Input::Propose(request) => self.propose(now, &request),
            Input::Change(change) => {
                let id = self.proposal();
                self.group
                    .handle(now, consensus::Input::Change { id, change });
            }
        }
        self.carry_out(now);
    }

    /// What it wants done next, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Wake`] is wanted, if nothing comes before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.group.next_deadline().filter(|_| !self.stopped)
    }

    /// How it stands in the group.
    #[must_use]
    pub fn status(&self) -> Status {
        self.group.status()
    }

    /// What was decided, as far as it is known here.
    #[must_use]
    pub const fn topology(&self) -> Option<&Topology> {
        self.topology.as_ref()
    }

    /// Whether it takes no part any more until it is opened again.
    #[must_use]
    pub const fn has_stopped(&self) -> bool {
        self.stopped
    }

    fn proposal(&mut self) -> ProposalId {
        self.next_proposal += 1;
        ProposalId(self.next_proposal)
    }

    fn propose(&mut self, now: Time, request: &Request) {
        let id = self.proposal();
        self.proposed.insert(id, request.id);
        let data = request.to_bytes().into();
        self.group
            .handle(now, consensus::Input::Propose { id, data });
    }

    /// INVARIANT metadata-1: batches complete in their order, so what stands first is what was written.
    fn written(&mut self, now: Time, number: u64, result: Result<(), Error>) {
        if let Err(error) = result {
            return self.stop(&format_args!("its log cannot be written: {error}"));
        }
        while let Some((_, messages)) = self.writing.pop_front_if(|(one, _)| *one <= number) {
            let sends = messages.into_iter();
            self.effects
                .extend(sends.map(|(to, message)| Effect::Send { to, message }));
        }
        self.group
            .handle(now, consensus::Input::Persisted { number });
    }

    fn carry_out(&mut self, now: Time) {
        while !self.stopped {
            let Some(effect) = self.group.poll_effect() else {
                break;
            };
            match effect {
                consensus::Effect::Send { to, message } => {
                    self.effects.push_back(Effect::Send { to, message });
                }
                consensus::Effect::Persist(persist) => self.persist(persist),
                consensus::Effect::Apply(entries) => self.apply(now, &entries),
                consensus::Effect::Resolved { id, outcome } => self.resolve(id, outcome),
                // Nobody asks for reads: who needs the latest topology proposes.
                consensus::Effect::ReadAt { .. } | consensus::Effect::ReadRefused { .. } => {}
            }
        }
    }

    fn persist(&mut self, persist: Persist) {
        if let Some(snapshot) = &persist.snapshot
            && snapshot.index > self.applied
        {
            match Topology::from_snapshot(&snapshot.state) {
                Ok(topology) => self.topology = Some(topology),
                Err(error) => return self.stop(&format_args!("a snapshot is unreadable: {error}")),
            }
            (self.applied, self.snapshot_at) = (snapshot.index, snapshot.index);
            self.tell();
        }
        let durability = match persist.sync {
            true => Durability::Synced,
            false => Durability::Buffered,
        };
        let mut batch = Batch::new();
        let added = self.log.add(&persist, &mut batch);
        match added.and_then(|()| self.db.submit(&batch, durability)) {
            Ok(ticket) => {
                let number = persist.number;
                self.writing.push_back((number, persist.then_send));
                self.effects.push_back(Effect::Write { number, ticket });
            }
            Err(error) => self.stop(&format_args!("its log cannot be written: {error}")),
        }
    }

    /// INVARIANT metadata-2
    fn apply(&mut self, now: Time, entries: &[Entry]) {
        let mut changed = false;
        for entry in entries {
            debug_assert!(entry.index == self.applied.next(), "entries come in order");
            if let Payload::Data(data) = &entry.payload {
                let Some(topology) = &mut self.topology else {
                    return self.stop(&"there is no state to apply an entry to");
                };
                let request = match Request::from_bytes(data) {
                    Ok(request) => request,
                    Err(error) => {
                        return self.stop(&format_args!(
                            "entry {} is unreadable: {error}",
                            entry.index.get()
                        ));
                    }
                };
                let before = topology.epoch();
                let outcome = topology.apply(&request);
                changed |= topology.epoch() != before;
                if !self.proposed.is_empty() {
                    self.outcomes.insert(entry.index, outcome);
                }
            }
            self.applied = entry.index;
        }
        if changed {
            self.tell();
        }
        self.compact(now);
    }

    fn compact(&mut self, now: Time) {
        let due = self.applied.get() - self.snapshot_at.get() >= SNAPSHOT_EVERY;
        if let Some(topology) = self.topology.as_ref().filter(|_| due) {
            let (index, state) = (self.applied, topology.to_snapshot().into());
            self.snapshot_at = index;
            self.group
                .handle(now, consensus::Input::Compact { index, state });
        }
    }

    fn resolve(&mut self, id: ProposalId, outcome: Outcome) {
        let Some(command) = self.proposed.remove(&id) else {
            return; // a change of members: it shows in the status
        };
        let decided = match outcome {
            Outcome::Applied(index) => match self.outcomes.remove(&index) {
                Some(outcome) => Decided::Outcome(outcome),
                None => Decided::Unknown,
            },
            Outcome::NotApplied => Decided::NotHere,
            Outcome::Unknown => Decided::Unknown,
        };
        if self.proposed.is_empty() {
            self.outcomes.clear();
        }
        self.effects.push_back(Effect::Decided(command, decided));
    }

    fn tell(&mut self) {
        if let Some(topology) = &self.topology {
            let view = Arc::new(View::new(topology));
            self.effects.push_back(Effect::View(view));
        }
    }

    fn stop(&mut self, why: &dyn fmt::Display) {
        tracing::error!(%why, "this node takes no part in the metadata group until it is started again");
        self.stopped = true;
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("status", &self.group.status())
            .field("applied", &self.applied)
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

fn begin(db: &Db, system: Keyspace, stored: &Stored) -> Result<(), OpenError> {
    let (mut log, _) = MetadataLog::open(system)?;
    let mut batch = Batch::new();
    log.add_first(stored, &mut batch)?;
    db.write(&batch, Durability::Synced)?;
    Ok(())
}

#[cfg(test)]
mod tests;
