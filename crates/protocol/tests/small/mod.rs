//! A small world without time, in which every step is somebody's choice: for scripts, and for whoever
//! explores all choices.
//!
//! Timeouts are nothing here: anybody may stand for election at any moment, and no vote is withheld
//! because a leader was just heard. What is safe here does not rest on time.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use ringwood_protocol::Time;
use ringwood_protocol::consensus::{
    Body, Change, Effect, Entry, Group, HardState, Index, Input, Members, Message, Outcome,
    Persist, ProposalId, ReadId, Role, Snapshot, Stored, Term, Tuning,
};
use ringwood_types::NodeId;

use crate::order;

#[cfg(feature = "plant")]
pub type Planted = Option<ringwood_protocol::consensus::plant::Plant>;
#[cfg(not(feature = "plant"))]
pub type Planted = Option<std::convert::Infallible>;

/// A message under way: from, to.
pub type Flying = (u64, u64, Message);

#[derive(Clone)]
pub struct Small {
    nodes: BTreeMap<u64, Node>,
    /// Each once: a repeated message is the same choice again.
    pub net: Vec<Flying>,
    /// What has been applied anywhere, from index 2 on.
    chosen: Vec<Entry>,
    leaders: BTreeMap<Term, u64>,
    pub outcomes: BTreeMap<u64, Outcome>,
    pub reads: BTreeMap<ReadId, Index>,
    /// A batch is durable as soon as it is emitted.
    quick_disks: bool,
    pub violation: Option<String>,
    planted: Planted,
}

#[derive(Clone, Hash)]
struct Node {
    group: Group,
    durable: Stored,
    queue: VecDeque<Persist>,
    applied: Index,
}

fn tuning() -> Tuning {
    Tuning {
        election: Duration::ZERO,
        heartbeat: Duration::ZERO,
        // One entry a message: each may arrive without the next.
        append_len_max: 1,
        ..Tuning::default()
    }
}

impl Small {
    /// `voters` of `nodes` nodes, numbered from 1.
    pub fn new(nodes: u64, voters: u64, quick_disks: bool, planted: Planted) -> Self {
        let (index, term) = (Index::new(1), Term::new(1));
        let first = Stored {
            hard: HardState {
                term,
                vote: None,
                commit: index,
            },
            snapshot: Snapshot {
                index,
                term,
                members: Members::of_voters((1..=voters).map(NodeId::new)),
                state: Arc::from([]),
            },
            entries: Vec::new(),
        };
        let mut small = Self {
            nodes: BTreeMap::new(),
            net: Vec::new(),
            chosen: Vec::new(),
            leaders: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            reads: BTreeMap::new(),
            quick_disks,
            violation: None,
            planted,
        };
        for id in 1..=nodes {
            let stored = if id <= voters {
                first.clone()
            } else {
                Stored::default()
            };
            small.restart(id, stored);
        }
        small
    }

    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// The same for worlds that have the same futures.
    pub fn fingerprint(&self) -> u64 {
        let hash = |what: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            what(&mut hasher);
            hasher.finish()
        };
        // The net is a set.
        let net = self.net.iter().map(|one| hash(&|hasher| one.hash(hasher)));
        let net = net.fold(0_u64, u64::wrapping_add);
        hash(&|hasher| {
            (&self.nodes, net, &self.chosen, &self.leaders).hash(hasher);
        })
    }

    pub fn wake(&mut self, node: u64) {
        self.input(node, Input::Wake);
    }

    pub fn propose(&mut self, node: u64, number: u64) {
        let data = Arc::from(number.to_le_bytes());
        let id = ProposalId(number);
        self.input(node, Input::Propose { id, data });
    }

    pub fn change(&mut self, node: u64, number: u64, change: Change) {
        let id = ProposalId(number);
        self.input(node, Input::Change { id, change });
    }

    pub fn read(&mut self, node: u64, number: u64) -> ReadId {
        let id = ReadId {
            incarnation: node,
            number,
        };
        self.input(node, Input::Read { id });
        id
    }

    pub fn compact(&mut self, node: u64) {
        let index = self.nodes[&node].applied;
        let state = Arc::from([]);
        self.input(node, Input::Compact { index, state });
    }

    pub fn transfer(&mut self, node: u64, to: u64) {
        let to = NodeId::new(to);
        self.input(node, Input::Transfer { to });
    }

    /// The oldest batch that waits becomes durable.
    pub fn written(&mut self, node: u64) {
        let one = self.nodes.get_mut(&node).unwrap();
        let Some(batch) = one.queue.pop_front() else {
            return;
        };
        write(&mut one.durable, &batch);
        for (to, message) in batch.then_send {
            self.fly(node, to.get(), message);
        }
        let number = batch.number;
        self.input(node, Input::Persisted { number });
    }

    pub fn waiting_batches(&self, node: u64) -> usize {
        self.nodes[&node].queue.len()
    }

    /// The node falls and comes back; of the batches that wait the first `kept` had been written.
    pub fn crash(&mut self, node: u64, kept: usize) {
        let one = self.nodes.get_mut(&node).unwrap();
        let mut durable = one.durable.clone();
        for batch in one.queue.drain(..).take(kept) {
            write(&mut durable, &batch);
        }
        self.restart(node, durable);
    }

    /// Takes a message out of the net and gives it to its receiver.
    pub fn deliver(&mut self, at: usize) {
        let (from, to, message) = self.net.remove(at);
        let from = NodeId::new(from);
        self.input(to, Input::Received { from, message });
    }

    /// Delivers all that goes from one to the other, also what comes of it on the same way.
    pub fn pass(&mut self, from: u64, to: u64) {
        while let Some(at) = self.net.iter().position(|one| (one.0, one.1) == (from, to)) {
            self.deliver(at);
        }
    }

    /// Delivers the first message on this way that is wanted; whether there was one.
    pub fn pass_one(&mut self, from: u64, to: u64, wanted: impl Fn(&Body) -> bool) -> bool {
        let on_way = |one: &Flying| (one.0, one.1) == (from, to) && wanted(&one.2.body);
        let at = self.net.iter().position(on_way);
        at.inspect(|at| self.deliver(*at)).is_some()
    }

    /// Lets these nodes talk among each other until nothing is left to say.
    pub fn talk(&mut self, among: &[u64]) {
        for _ in 0..10_000 {
            for &node in among {
                while self.waiting_batches(node) > 0 {
                    self.written(node);
                }
            }
            let heard = |one: &Flying| among.contains(&one.0) && among.contains(&one.1);
            match self.net.iter().position(heard) {
                Some(at) => self.deliver(at),
                None => return,
            }
        }
        panic!("they never stop talking");
    }

    /// Everything under way is lost.
    pub fn lose_all(&mut self) {
        self.net.clear();
    }

    /// `node` stands for election before `voters`, who hear nobody else; again where it only learns
    /// that it has missed a term.
    pub fn elect(&mut self, node: u64, voters: &[u64]) {
        let asked = |body: &Body| matches!(body, Body::Vote { .. } | Body::VoteReply { .. });
        for _ in 0..3 {
            self.lose_all();
            self.wake(node);
            // The question whether it would be of use, then the vote.
            for _ in 0..2 {
                self.write_all(node);
                for &voter in voters {
                    self.pass_one(node, voter, asked);
                    self.write_all(voter);
                    self.pass_one(voter, node, asked);
                }
            }
            self.write_all(node);
            if self.role(node) == Role::Leader {
                return;
            }
        }
    }

    pub fn write_all(&mut self, node: u64) {
        while self.waiting_batches(node) > 0 {
            self.written(node);
        }
    }

    pub fn role(&self, node: u64) -> Role {
        self.nodes[&node].group.status().role
    }

    pub fn term(&self, node: u64) -> u64 {
        self.nodes[&node].group.status().term.get()
    }

    pub fn commit(&self, node: u64) -> u64 {
        self.nodes[&node].group.status().commit.get()
    }

    pub fn last(&self, node: u64) -> u64 {
        self.nodes[&node].group.status().last.get()
    }

    pub fn applied(&self, node: u64) -> u64 {
        self.nodes[&node].applied.get()
    }

    pub fn members(&self, node: u64) -> Members {
        self.nodes[&node].group.status().members
    }

    /// Who leads the highest term.
    pub fn leader(&self) -> Option<u64> {
        let leading = self
            .nodes
            .keys()
            .filter(|id| self.role(**id) == Role::Leader);
        leading.max_by_key(|id| self.term(**id)).copied()
    }

    fn restart(&mut self, id: u64, durable: Stored) {
        let stored = durable.clone();
        #[allow(unused_mut)] // not without the feature
        let mut group = Group::restore(NodeId::new(id), 0, Time::ZERO, stored, tuning()).unwrap();
        #[cfg(feature = "plant")]
        if let Some(defect) = self.planted {
            group.plant(defect);
        }
        let applied = durable.snapshot.index;
        let node = Node {
            group,
            durable,
            queue: VecDeque::new(),
            applied,
        };
        self.nodes.insert(id, node);
        self.carry_out(id);
    }

    fn input(&mut self, node: u64, input: Input) {
        let group = &mut self.nodes.get_mut(&node).unwrap().group;
        group.handle(Time::ZERO, input);
        self.carry_out(node);
    }

    fn carry_out(&mut self, id: u64) {
        while let Some(effect) = self.nodes.get_mut(&id).unwrap().group.poll_effect() {
            match effect {
                Effect::Send { to, message } => {
                    self.check(order::check_sent(&self.nodes[&id].durable, &message));
                    self.fly(id, to.get(), message);
                }
                Effect::Persist(batch) => {
                    let node = self.nodes.get_mut(&id).unwrap();
                    if let Some(snapshot) = &batch.snapshot {
                        node.applied = node.applied.max(snapshot.index);
                    }
                    node.queue.push_back(batch);
                }
                Effect::Apply(entries) => self.apply(id, entries),
                Effect::ReadAt { id: read, at } => {
                    self.reads.insert(read, at);
                }
                Effect::ReadRefused { .. } => {}
                Effect::Resolved {
                    id: proposal,
                    outcome,
                } => {
                    self.outcomes.insert(proposal.0, outcome);
                }
            }
        }
        let status = self.nodes[&id].group.status();
        self.check(order::check_leads(
            &self.nodes[&id].durable,
            NodeId::new(id),
            &status,
        ));
        if status.role == Role::Leader {
            let first = *self.leaders.entry(status.term).or_insert(id);
            if first != id {
                self.fail(format!("raft-1: {first} and {id} lead {:?}", status.term));
            }
        }
        while self.quick_disks && self.waiting_batches(id) > 0 {
            self.written(id);
        }
    }

    fn fly(&mut self, from: u64, to: u64, message: Message) {
        let one = (from, to, message);
        if !self.net.contains(&one) && self.nodes.contains_key(&to) {
            self.net.push(one);
        }
    }

    fn apply(&mut self, id: u64, entries: Vec<Entry>) {
        for entry in entries {
            self.check(order::check_applied(&self.nodes[&id].durable, &entry));
            let node = self.nodes.get_mut(&id).unwrap();
            if entry.index != node.applied.next() {
                let applied = node.applied;
                return self.fail(format!("{id} applies {:?} behind {applied:?}", entry.index));
            }
            node.applied = entry.index;
            let at = usize::try_from(entry.index.get() - 2).unwrap();
            match self.chosen.get(at) {
                Some(chosen) if *chosen != entry => {
                    return self.fail(format!("raft-2: {id} applies {entry:?}, others {chosen:?}"));
                }
                Some(_) => {}
                None => self.chosen.push(entry),
            }
        }
    }

    fn check(&mut self, held: Result<(), String>) {
        if let Err(why) = held {
            self.fail(why);
        }
    }

    fn fail(&mut self, why: String) {
        self.violation.get_or_insert(why);
    }
}

fn write(durable: &mut Stored, batch: &Persist) {
    durable.hard = batch.hard.unwrap_or(durable.hard);
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
    if let Some(first) = batch.entries.first() {
        durable.entries.retain(|entry| entry.index < first.index);
        durable.entries.extend(batch.entries.iter().cloned());
    }
}
