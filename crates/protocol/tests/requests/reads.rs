//! Reads in the small world: each must show what was acknowledged before it began, and a monotonic one what
//! an earlier one has shown.

use std::collections::BTreeSet;
use std::time::Duration;

use ringwood_protocol::coordinator::read::{
    Ask, Effect, Input, Joinable, Outcome, Read, Request, Tuning,
};
use ringwood_protocol::coordinator::{Attempt, Failure, Level, Nodes};
use ringwood_types::{Dot, Epoch, NodeId, Version};

use super::replica::Kept;
use super::{NODES, World, index};

/// What a replica holds, in a last-write-wins namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    kept: Option<Kept>,
    /// All that has been seen, of an exact state; else what is held.
    seen: BTreeSet<Dot>,
}

impl State {
    fn plain(kept: Option<Kept>) -> Self {
        let seen = kept.iter().map(|kept| kept.version.dot).collect();
        Self { kept, seen }
    }

    /// What it holds, unless `other` has seen it and does not hold it.
    fn left_by(&self, other: &Self) -> Option<Kept> {
        let gone = |kept: &Kept| other.seen.contains(&kept.version.dot) && other.kept != self.kept;
        self.kept.filter(|kept| !gone(kept))
    }
}

impl Joinable for State {
    type Digest = Option<Version>;

    fn join(&mut self, other: &Self) {
        let both = [self.left_by(other), other.left_by(self)];
        self.kept = both.into_iter().flatten().max_by_key(|kept| kept.version);
        self.seen.extend(&other.seen);
    }

    fn digest(&self) -> Option<Version> {
        self.kept.map(|kept| kept.version)
    }

    fn includes(&self, digest: &Option<Version>) -> bool {
        self.digest() >= *digest
    }

    fn in_doubt(&self, digest: &Option<Version>) -> bool {
        digest.is_none() && self.kept.is_some()
    }
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Begin,
    Ask {
        to: NodeId,
        read: usize,
        attempt: Attempt,
        epoch: Epoch,
        ask: Ask,
    },
    Repair {
        to: NodeId,
        read: usize,
        state: State,
    },
    Answer(usize, Input<State>),
    Wake(usize),
}

pub(super) struct Running {
    pub(super) read: Read<State>,
    pub(super) replied: bool,
    monotonic: bool,
    /// Writes acknowledged when it began.
    acknowledged: u64,
    /// What a monotonic read had shown when it began.
    shown: Option<Version>,
    repairs: u64,
}

impl World {
    pub(super) fn happen_to_read(&mut self, event: Event) {
        match event {
            Event::Begin => self.begin_read(),
            Event::Ask {
                to,
                read,
                attempt,
                epoch,
                ask,
            } => self.read_asked(to, read, attempt, epoch, ask),
            Event::Repair { to, read, state } => self.repair_asked(to, read, state),
            Event::Answer(read, input) => self.handle_read(read, input),
            Event::Wake(read) => {
                let due = self.reads[read].read.next_deadline();
                if due.is_some_and(|due| due.micros() <= self.now) {
                    self.handle_read(read, Input::Wake);
                }
            }
        }
    }

    fn begin_read(&mut self) {
        let latest = self.ring.latest();
        let epoch = match self.chance.permille(300) {
            true => latest.saturating_sub(1).max(1),
            false => latest,
        };
        let standing = self.standing(epoch);
        let monotonic = self.chance.permille(500);
        let best = NodeId::new(self.chance.range(1, NODES));
        let request = Request {
            standing,
            best: Nodes::of(&[best]),
            level: Level::Quorum,
            monotonic,
            digests: self.chance.permille(500),
            deadline: self.time().after(Duration::from_secs(1)),
        };
        let running = Running {
            read: self.new_read(request),
            replied: false,
            monotonic,
            acknowledged: self.acknowledged,
            shown: self.shown,
            repairs: 0,
        };
        self.reads.push(running);
        self.pump_read(self.reads.len() - 1);
    }

    fn new_read(&self, request: Request) -> Read<State> {
        let tuning = Tuning::default();
        #[cfg(feature = "plant")]
        if let Some(plant) = self.plan.plant {
            return Read::with_plant(request, tuning, self.time(), plant);
        }
        Read::new(request, tuning, self.time())
    }

    fn handle_read(&mut self, read: usize, input: Input<State>) {
        let now = self.time();
        self.reads[read].read.handle(now, input);
        self.pump_read(read);
    }

    fn pump_read(&mut self, read: usize) {
        while let Some(effect) = self.reads[read].read.poll_effect() {
            self.carry_out_read(read, effect);
        }
        if let Some(due) = self.reads[read].read.next_deadline() {
            let at = due.micros().max(self.now);
            self.schedule_at(at, super::Event::Read(Event::Wake(read)));
        }
    }

    fn carry_out_read(&mut self, read: usize, effect: Effect<State>) {
        match effect {
            Effect::Read {
                to,
                attempt,
                epoch,
                ask,
            } => {
                self.report.doubts += u64::from(ask == Ask::Exact);
                let ask = Event::Ask {
                    to,
                    read,
                    attempt,
                    epoch,
                    ask,
                };
                let failed = |failure| Input::Failed {
                    from: to,
                    attempt,
                    failure,
                };
                self.send_read(read, to, ask, failed);
            }
            Effect::Repair { to } => {
                self.report.repairs += 1;
                self.reads[read].repairs += 1;
                let state = self.reads[read].read.state().clone();
                let failed = |failure| Input::NotRepaired { from: to, failure };
                self.send_read(read, to, Event::Repair { to, read, state }, failed);
            }
            Effect::Renew { .. } => {
                let standing = self.standing(self.ring.latest());
                self.answer_read(read, Input::Renewed(standing));
            }
            Effect::Reply(outcome) => self.read_replied(read, &outcome),
        }
    }

    fn send_read(
        &mut self,
        read: usize,
        to: NodeId,
        event: Event,
        failed: impl Fn(Failure) -> Input<State>,
    ) {
        let wait = self.latency();
        if !self.replicas[index(to.get())].up && self.chance.permille(500) {
            let answer = Event::Answer(read, failed(Failure::Unreachable));
            return self.schedule(wait, super::Event::Read(answer));
        }
        if !self.chance.permille(self.mix.lost) {
            self.schedule(wait, super::Event::Read(event));
        }
    }

    fn answer_read(&mut self, read: usize, input: Input<State>) {
        for _ in 0..=u64::from(self.chance.permille(50)) {
            let wait = self.latency();
            let answer = Event::Answer(read, input.clone());
            self.schedule(wait, super::Event::Read(answer));
        }
    }

    fn read_asked(&mut self, to: NodeId, read: usize, attempt: Attempt, epoch: Epoch, ask: Ask) {
        let own = self.replicas[index(to.get())].epoch;
        if !self.replicas[index(to.get())].up {
            return;
        }
        let from = to;
        if epoch.get() < own {
            let failure = Failure::Fenced(Epoch::new(own));
            let failed = Input::Failed {
                from,
                attempt,
                failure,
            };
            return self.answer_read(read, failed);
        }
        self.learn(to.get(), epoch.get());
        let replica = &self.replicas[index(to.get())];
        let mut state = State::plain(replica.kept);
        let exact = ask == Ask::Exact;
        if exact {
            state.seen.clone_from(&replica.seen);
        }
        let answer = match ask {
            Ask::Digest => Input::Digest {
                from,
                attempt,
                digest: state.digest(),
            },
            Ask::State | Ask::Exact => Input::Answered {
                from,
                attempt,
                state,
                exact,
            },
        };
        self.answer_read(read, answer);
    }

    fn repair_asked(&mut self, to: NodeId, read: usize, state: State) {
        let epoch = self.replicas[index(to.get())].epoch;
        let from = to;
        if !self.ring.is_member(epoch, to.get()) || !self.replicas[index(to.get())].up {
            let failure = Failure::Refused;
            return self.answer_read(read, Input::NotRepaired { from, failure });
        }
        if let Some(kept) = state.kept {
            self.replicas[index(to.get())].store(kept);
        }
        self.answer_read(read, Input::Repaired { from });
    }

    fn read_replied(&mut self, read: usize, outcome: &Outcome<State>) {
        let running = &mut self.reads[read];
        if std::mem::replace(&mut running.replied, true) {
            return self.violated(format!("r{read} is answered twice"));
        }
        let Outcome::Read { state, .. } = outcome else {
            self.report.reads_refused += 1;
            return;
        };
        self.report.reads += 1;
        self.report.repaired_before += u64::from(running.repairs > 0);
        let (acknowledged, before, monotonic) =
            (running.acknowledged, running.shown, running.monotonic);
        let version = state.digest();
        self.check_shown(state.kept, acknowledged, &format!("r{read}"));
        if monotonic {
            let gone = self.purged.iter().map(|purged| purged.0.version).max();
            if version < before && (version.is_some() || gone < before) {
                self.violated(format!("r{read} shows {version:?}, after {before:?}"));
            }
            self.shown = self.shown.max(version);
        }
    }
}
