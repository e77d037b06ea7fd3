//! Several members of one group in one thread: a seeded network, disks, clocks, clients and an operator.
//!
//! Each seed draws its own mix of faults. They go on for [`Plan::chaos`]; then the world heals, and
//! must converge.

pub mod chance;
mod drive;
mod events;
mod history;
mod member;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ringwood_protocol::Time;
use ringwood_protocol::consensus::{
    Effect, Entry, HardState, Index, Input, Members, Message, Outcome, Payload, Persist,
    ProposalId, ReadId, Role, Snapshot, Stored, Term, Tuning,
};
use ringwood_types::NodeId;

use crate::order;
use chance::{Chance, mix};
use events::{Event, Events};
use history::History;
use member::{Member, SnapshotState};

/// A defect of the node around the protocol: the checks must find each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeDefect {
    /// Messages that wait for a batch leave before it is durable.
    AckBeforeDurable,
    /// `Persisted` is reported before the batch is durable.
    PersistedEarly,
    /// The vote is not written.
    VoteNotPersisted,
    /// The term is not written.
    TermNotPersisted,
    /// A conflicting tail is overwritten but not cut.
    TailNotCut,
    /// Reads are served at the local commit index, and nobody is asked.
    LocalReads,
    /// A snapshot is installed without the state moving with it.
    SnapshotWithoutState,
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// How long faults go on.
    pub chaos: Duration,
    /// How long the world has to converge.
    pub heal: Duration,
    pub defect: Option<NodeDefect>,
    /// Nearly every vote is followed by a crash.
    pub aim_at_votes: bool,
    #[cfg(feature = "plant")]
    pub plant: Option<ringwood_protocol::consensus::plant::Plant>,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            chaos: Duration::from_secs(60),
            heal: Duration::from_secs(30),
            defect: None,
            aim_at_votes: false,
            #[cfg(feature = "plant")]
            plant: None,
        }
    }
}

/// What happened in a run. The counters show that rare states were reached.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub seed: u64,
    /// The same for two runs of one seed.
    pub trace: u64,
    pub violation: Option<String>,
    /// Nothing unsafe happened, but the world did not converge.
    pub only_stuck: bool,
    pub counts: BTreeMap<&'static str, u64>,
}

pub struct World {
    plan: Plan,
    tuning: Tuning,
    chance: Chance,
    now: Time,
    events: Events,
    members: BTreeMap<NodeId, Member>,
    history: History,
    /// Ways on which nothing arrives: from, to.
    cut: BTreeSet<(NodeId, NodeId)>,
    faults: Faults,
    healed: bool,
    next_node: u64,
    next_proposal: u64,
    next_read: u64,
    report: Report,
}

/// What this seed has drawn; in parts of a thousand where not said otherwise.
struct Faults {
    drop: u64,
    duplicate: u64,
    delay_max: Duration,
    /// Crashes around the moment in which a vote is written: where the oldest bugs live.
    crash_at_vote: u64,
}

impl World {
    pub fn run(plan: &Plan) -> Report {
        let mut world = Self::new(plan.clone());
        world.go();
        world.report.trace = mix(world.report.trace ^ world.now.micros());
        let (committed, elections) = world.history.size();
        world.report.counts.insert("committed", committed);
        world.report.counts.insert("elections", elections);
        world.report
    }

    fn new(plan: Plan) -> Self {
        let mut chance = Chance::new(plan.seed);
        let voters = if chance.permille(250) { 1 } else { 3 };
        let faults = Faults {
            drop: *chance.pick(&[0, 0, 10, 50, 150]),
            duplicate: *chance.pick(&[0, 10, 100]),
            delay_max: Duration::from_millis(*chance.pick(&[2, 20, 200, 900])),
            crash_at_vote: *chance.pick(&[0, 100, 400]),
        };
        let faults = if plan.aim_at_votes {
            Faults {
                crash_at_vote: 700,
                ..faults
            }
        } else {
            faults
        };
        let tuning = Tuning {
            append_len_max: *chance.pick(&[1, 200, 1 << 20]),
            in_flight_max: *chance.pick(&[2, 16, 1024]),
            ..Tuning::default()
        };
        let mut world = Self {
            tuning,
            now: Time::ZERO,
            events: Events::default(),
            members: BTreeMap::new(),
            history: History::new(),
            cut: BTreeSet::new(),
            faults,
            healed: false,
            next_node: 1,
            next_proposal: 1,
            next_read: 1,
            report: Report {
                seed: plan.seed,
                ..Report::default()
            },
            chance,
            plan,
        };
        let first = world.first_stored(voters);
        for node in 1..=3 {
            let stored = if node <= voters {
                first.clone()
            } else {
                Stored::default()
            };
            world.add_member(stored);
        }
        world.after(Duration::from_millis(100), Event::Client);
        world.after(Duration::from_secs(2), Event::Operator);
        world.after(Duration::from_millis(1500), Event::Fault);
        world
    }

    fn first_stored(&self, voters: u64) -> Stored {
        let (index, term) = (Index::new(1), Term::new(1));
        Stored {
            hard: HardState {
                term,
                vote: None,
                commit: index,
            },
            snapshot: Snapshot {
                index,
                term,
                members: Members::of_voters((1..=voters).map(NodeId::new)),
                state: SnapshotState { digest: 0 }.encode(),
            },
            entries: Vec::new(),
        }
    }

    fn go(&mut self) {
        let chaos_end = Time::ZERO.after(self.plan.chaos);
        let goal_at = chaos_end.after(self.plan.heal * 2 / 3);
        let end = chaos_end.after(self.plan.heal);
        let mut goal = None;
        while let Some((time, number, event)) = self.events.pop() {
            if time > end || self.report.violation.is_some() {
                break;
            }
            self.now = time;
            if !self.healed && time > chaos_end {
                self.heal();
            }
            // All members must still come to what is committed by now.
            if goal.is_none() && time > goal_at {
                goal = Some(self.history.last());
            }
            self.count("events");
            self.trace(time.micros() ^ (number << 40));
            self.dispatch(event);
        }
        if self.report.violation.is_none() {
            self.check_converged(goal.unwrap_or(Index::ZERO));
            self.report.only_stuck = self.report.violation.is_some();
        }
    }

    fn add_member(&mut self, stored: Stored) -> NodeId {
        let id = NodeId::new(self.next_node);
        self.next_node += 1;
        let member = Member::new(id, stored, &mut self.chance);
        self.members.insert(id, member);
        self.start(id);
        id
    }

    fn start(&mut self, id: NodeId) {
        let seed = mix(self.plan.seed ^ mix(id.get()));
        let member = self.members.get_mut(&id).unwrap();
        member.start(seed, self.now, self.tuning);
        #[cfg(feature = "plant")]
        if let (Some(defect), Some(group)) = (self.plan.plant, member.group.as_mut()) {
            group.plant(defect);
        }
        self.carry_out(id);
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::Written { node, life, number } => self.written(node, life, number),
            Event::Wake { node } => self.wake(node),
            Event::Client => self.client(),
            Event::Operator => self.operator(),
            Event::Fault => self.fault(),
            Event::Restart { node } => {
                if self.members[&node].group.is_none() {
                    self.start(node);
                }
            }
            Event::Crash { node, life } => {
                let member = &self.members[&node];
                if !self.healed && member.life == life && member.group.is_some() {
                    self.crash(node, Duration::from_millis(100));
                }
            }
            Event::SnapshotLost { node, life, to } => {
                if self.members[&node].life == life {
                    self.input(node, Input::SnapshotLost { to });
                }
            }
        }
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, message: Message) {
        let Some(member) = self.members.get(&to) else {
            return;
        };
        if member.group.is_none() || (self.cut.contains(&(from, to)) && !self.healed) {
            return;
        }
        if member.paused_until > self.now {
            let wait = member.paused_until.since(self.now);
            return self.after(wait, Event::Deliver { from, to, message });
        }
        self.input(to, Input::Received { from, message });
    }

    fn wake(&mut self, node: NodeId) {
        let member = self.members.get_mut(&node).unwrap();
        if member.group.is_none() || member.wake_at != Some(self.now) {
            return;
        }
        member.wake_at = None;
        if member.paused_until > self.now {
            member.wake_at = Some(member.paused_until);
            return self.events.push(member.paused_until, Event::Wake { node });
        }
        self.input(node, Input::Wake);
    }

    fn input(&mut self, id: NodeId, input: Input) {
        let member = self.members.get_mut(&id).unwrap();
        let local = member.local(self.now);
        if let Some(group) = member.group.as_mut() {
            group.handle(local, input);
            self.carry_out(id);
        }
    }

    /// Carries out the effects of one step, and sets the next alarm.
    fn carry_out(&mut self, id: NodeId) {
        while let Some(effect) = self.members.get_mut(&id).unwrap().poll() {
            match effect {
                Effect::Send { to, message } => {
                    self.check(order::check_sent(&self.members[&id].durable, &message));
                    self.send(id, to, message);
                }
                Effect::Persist(batch) => self.persist(id, batch),
                Effect::Apply(entries) => self.apply(id, entries),
                Effect::ReadAt { id: read, at } => self.read_at(id, read, at),
                Effect::ReadRefused { id: read } => {
                    self.count("reads refused");
                    self.members.get_mut(&id).unwrap().reads.remove(&read);
                }
                Effect::Resolved {
                    id: proposal,
                    outcome,
                } => self.resolved(proposal, outcome),
            }
        }
        self.observe(id);
        self.answer_reads(id);
    }

    fn observe(&mut self, id: NodeId) {
        let member = self.members.get_mut(&id).unwrap();
        let Some(group) = member.group.as_ref() else {
            return;
        };
        let status = group.status();
        if let Some(due) = group.next_deadline() {
            let due = member
                .global(due)
                .max(Time::from_micros(self.now.micros() + 1));
            if member.wake_at.is_none_or(|at| due < at) {
                member.wake_at = Some(due);
                self.events.push(due, Event::Wake { node: id });
            }
        }
        self.trace(status.term.get() ^ (status.commit.get() << 20) ^ (id.get() << 50));
        if status.role == Role::Leader {
            self.check(order::check_leads(&self.members[&id].durable, id, &status));
            if let Err(why) = self.history.leads(status.term, id) {
                self.fail(why);
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.count("messages");
        let unlucky = !self.healed && self.chance.permille(self.faults.drop);
        let cut = !self.healed && self.cut.contains(&(from, to));
        let is_snapshot = matches!(
            message.body,
            ringwood_protocol::consensus::Body::Snapshot { .. }
        );
        if unlucky || cut || !self.members.contains_key(&to) {
            if is_snapshot {
                let life = self.members[&from].life;
                let lost = Event::SnapshotLost {
                    node: from,
                    life,
                    to,
                };
                self.after(Duration::from_millis(50), lost);
            }
            return;
        }
        let least = Duration::from_micros(200);
        if !self.healed && self.chance.permille(self.faults.duplicate) {
            let delay = least + self.chance.within(self.faults.delay_max * 4);
            let message = message.clone();
            self.after(delay, Event::Deliver { from, to, message });
        }
        let delay = least + self.chance.within(self.faults.delay_max);
        self.after(delay, Event::Deliver { from, to, message });
    }

    fn persist(&mut self, id: NodeId, mut batch: Persist) {
        if let Some(snapshot) = &batch.snapshot {
            self.install(id, snapshot);
        }
        if self.plan.defect == Some(NodeDefect::AckBeforeDurable) {
            for (to, message) in std::mem::take(&mut batch.then_send) {
                self.send(id, to, message);
            }
        }
        let member = self.members.get_mut(&id).unwrap();
        let vote = |hard: HardState| (hard.term, hard.vote);
        let votes = batch
            .hard
            .is_some_and(|hard| vote(hard) != vote(member.durable.hard));
        let (number, life) = (batch.number, member.life);
        member.queue.push_back(batch);
        let idle = !member.disk_busy;
        if votes && !self.healed && self.chance.permille(self.faults.crash_at_vote) {
            let soon = self.chance.within(Duration::from_millis(30));
            self.after(soon, Event::Crash { node: id, life });
        }
        if idle {
            self.start_writing(id);
        }
        if self.plan.defect == Some(NodeDefect::PersistedEarly) {
            self.input(id, Input::Persisted { number });
        }
    }

    /// A received snapshot replaces the state; it must be one of history.
    fn install(&mut self, id: NodeId, snapshot: &Snapshot) {
        let applied = self.members[&id].applied;
        if snapshot.index <= applied {
            return;
        }
        self.count("snapshots installed");
        let state = SnapshotState::decode(&snapshot.state);
        if let Err(why) = self
            .history
            .check_snapshot(id, snapshot.index, state.digest)
        {
            return self.fail(why);
        }
        if self.plan.defect != Some(NodeDefect::SnapshotWithoutState) {
            let member = self.members.get_mut(&id).unwrap();
            (member.applied, member.digest) = (snapshot.index, state.digest);
        }
    }

    /// Group commit: one write in flight, which carries everything that is queued when it begins.
    fn start_writing(&mut self, id: NodeId) {
        let member = self.members.get_mut(&id).unwrap();
        let Some(number) = member.queue.back().map(|batch| batch.number) else {
            return;
        };
        member.disk_busy = true;
        let sync = member.queue.iter().any(|batch| batch.sync);
        let slow = member.slow_disk && !self.healed;
        let (node, life) = (id, member.life);
        let longest = Duration::from_millis(if slow { 300 } else { 8 });
        let delay = if sync {
            Duration::from_micros(100) + self.chance.within(longest)
        } else {
            Duration::from_micros(50)
        };
        self.after(delay, Event::Written { node, life, number });
    }

    fn written(&mut self, id: NodeId, life: u64, number: u64) {
        let defect = self.plan.defect;
        let member = self.members.get_mut(&id).unwrap();
        if member.life != life || member.group.is_none() {
            return;
        }
        member.disk_busy = false;
        let mut messages = Vec::new();
        while let Some(batch) = member.queue.pop_front_if(|batch| batch.number <= number) {
            member::write(&mut member.durable, &batch, defect);
            messages.extend(batch.then_send);
        }
        for (to, message) in messages {
            self.send(id, to, message);
        }
        self.start_writing(id);
        if defect != Some(NodeDefect::PersistedEarly) {
            self.input(id, Input::Persisted { number });
        }
    }

    fn apply(&mut self, id: NodeId, entries: Vec<Entry>) {
        for entry in entries {
            self.check(order::check_applied(&self.members[&id].durable, &entry));
            let member = self.members.get_mut(&id).unwrap();
            let applied = self
                .history
                .applied(id, (member.applied, member.digest), &entry);
            match applied {
                Ok(digest) => {
                    (member.applied, member.digest) = (entry.index, digest);
                    self.trace(digest);
                }
                Err(why) => return self.fail(why),
            }
            if matches!(entry.payload, Payload::Change(_)) {
                self.count("changes applied");
            }
        }
    }

    fn resolved(&mut self, proposal: ProposalId, outcome: Outcome) {
        self.count(match outcome {
            Outcome::Applied(_) => "proposals applied",
            Outcome::NotApplied => "proposals refused",
            Outcome::Unknown => "proposals unknown",
        });
        if let Err(why) = self.history.resolved(proposal.0, outcome) {
            self.fail(why);
        }
    }

    fn read_at(&mut self, id: NodeId, read: ReadId, at: Index) {
        if let Some(waiting) = self.members.get_mut(&id).unwrap().reads.get_mut(&read) {
            waiting.at = Some(at);
        }
    }

    fn answer_reads(&mut self, id: NodeId) {
        let member = self.members.get_mut(&id).unwrap();
        let applied = member.applied;
        let ready = member
            .reads
            .extract_if(.., |_, read| read.at.is_some_and(|at| at <= applied));
        for floor in ready.map(|(_, read)| read.floor).collect::<Vec<_>>() {
            self.count("reads");
            if applied < floor {
                self.fail(format!(
                    "raft-5: a stale read at {id}: {applied:?} is applied, {floor:?} was acknowledged before"
                ));
            }
        }
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.events.push(self.now.after(wait), event);
    }

    /// The order of effects against the disk.
    fn check(&mut self, held: Result<(), String>) {
        // What a node with a defect does is no news.
        if let (Err(why), None) = (held, self.plan.defect) {
            self.fail(why);
        }
    }

    fn fail(&mut self, why: String) {
        let (seed, now) = (self.plan.seed, self.now.micros() / 1000);
        let text = || format!("seed {seed} at {now} ms: {why}");
        self.report.violation.get_or_insert_with(text);
    }

    fn count(&mut self, what: &'static str) {
        *self.report.counts.entry(what).or_default() += 1;
    }

    fn trace(&mut self, what: u64) {
        self.report.trace = mix(self.report.trace ^ what);
    }

    fn propose_data(&mut self, leader: NodeId) {
        let id = ProposalId(self.next_proposal);
        self.next_proposal += 1;
        let data = Arc::from(id.0.to_le_bytes());
        self.input(leader, Input::Propose { id, data });
    }
}
