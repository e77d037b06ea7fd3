//! Drives one read by hand and writes down what it wants done.

use std::collections::BTreeSet;
use std::time::Duration;

use ringwood_protocol::Time;
use ringwood_protocol::coordinator::read::{
    Ask, Effect, Input, Joinable, Outcome, Read, Request, Tuning,
};
use ringwood_protocol::coordinator::{Attempt, Failure, Health, Level, Nodes, Standing};
use ringwood_types::NodeId;

use super::Table;

/// Siblings by their dots, and the dots that are known to be replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    held: BTreeSet<u64>,
    gone: BTreeSet<u64>,
}

impl Joinable for Values {
    type Digest = BTreeSet<u64>;

    fn join(&mut self, other: &Self) {
        self.gone.extend(&other.gone);
        self.held.extend(&other.held);
        self.held.retain(|dot| !self.gone.contains(dot));
    }

    fn digest(&self) -> BTreeSet<u64> {
        self.held.clone()
    }
}

/// The greatest of all: its digest says nearly everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latest(Values);

impl Latest {
    fn version(&self) -> u64 {
        self.0.held.last().copied().unwrap_or(0)
    }
}

impl Joinable for Latest {
    type Digest = u64;

    fn join(&mut self, other: &Self) {
        self.0.join(&other.0);
        let version = self.version();
        self.0.held.retain(|&one| one == version);
    }

    fn digest(&self) -> u64 {
        self.version()
    }

    fn includes(&self, digest: &u64) -> bool {
        self.version() >= *digest
    }

    fn in_doubt(&self, digest: &u64) -> bool {
        *digest == 0 && self.version() > 0
    }
}

/// A state from the numbers in it.
pub trait Made: Joinable {
    fn made(numbers: &[u64]) -> Self;
    fn without(self, gone: &[u64]) -> Self;
    fn told(&self) -> String;
}

impl Made for Values {
    fn made(numbers: &[u64]) -> Self {
        Self {
            held: numbers.iter().copied().collect(),
            gone: BTreeSet::new(),
        }
    }

    fn without(mut self, gone: &[u64]) -> Self {
        self.gone.extend(gone);
        self
    }

    fn told(&self) -> String {
        format!("{:?}", self.held)
    }
}

impl Made for Latest {
    fn made(numbers: &[u64]) -> Self {
        Self(Values::made(numbers))
    }

    fn without(self, gone: &[u64]) -> Self {
        Self(self.0.without(gone))
    }

    fn told(&self) -> String {
        format!("{}", self.version())
    }
}

/// What is read.
#[derive(Clone)]
pub struct ReadPlan {
    pub table: Table,
    pub level: Level,
    pub best: Vec<u64>,
    pub health: Vec<(u64, Health)>,
    pub digests: bool,
    pub monotonic: bool,
}

impl ReadPlan {
    pub fn new(table: Table) -> Self {
        Self {
            table,
            level: Level::Quorum,
            best: Vec::new(),
            health: Vec::new(),
            digests: false,
            monotonic: false,
        }
    }

    pub fn request(&self) -> Request {
        let standing = Standing::new(self.table.set(), |node| {
            let known = self.health.iter().find(|(one, _)| *one == node.get());
            known.map_or(Health::Healthy, |&(_, health)| health)
        });
        let best: Vec<_> = self.best.iter().map(|&node| NodeId::new(node)).collect();
        Request {
            standing,
            best: Nodes::of(&best),
            level: self.level,
            monotonic: self.monotonic,
            digests: self.digests,
            deadline: Time::ZERO.after(Duration::from_secs(1)),
        }
    }

    pub fn read<S: Made>(&self) -> ReadScript<S> {
        ReadScript {
            read: Read::new(self.request(), Tuning::default(), Time::ZERO),
            now: Time::ZERO,
            over: false,
        }
    }
}

/// A read that is led by hand. Attempts are the first one unless said otherwise.
pub struct ReadScript<S: Joinable> {
    read: Read<S>,
    now: Time,
    over: bool,
}

impl<S: Made> ReadScript<S> {
    fn handle(&mut self, input: Input<S>) {
        self.read.handle(self.now, input);
    }

    pub fn state(&mut self, from: u64, numbers: &[u64]) {
        self.state_of(1, from, numbers);
    }

    pub fn state_of(&mut self, attempt: u32, from: u64, numbers: &[u64]) {
        self.handle(Input::Answered {
            from: NodeId::new(from),
            attempt: Attempt(attempt),
            state: S::made(numbers),
            exact: false,
        });
    }

    /// Its exact state, with what it has seen and does not hold.
    pub fn exact(&mut self, from: u64, numbers: &[u64], gone: &[u64]) {
        self.handle(Input::Answered {
            from: NodeId::new(from),
            attempt: Attempt(1),
            state: S::made(numbers).without(gone),
            exact: true,
        });
    }

    pub fn digest(&mut self, from: u64, numbers: &[u64]) {
        self.handle(Input::Digest {
            from: NodeId::new(from),
            attempt: Attempt(1),
            digest: S::made(numbers).digest(),
        });
    }

    pub fn failed(&mut self, from: u64, failure: Failure) {
        self.handle(Input::Failed {
            from: NodeId::new(from),
            attempt: Attempt(1),
            failure,
        });
    }

    pub fn repaired(&mut self, from: u64) {
        let from = NodeId::new(from);
        self.handle(Input::Repaired { from });
    }

    pub fn not_repaired(&mut self, from: u64, failure: Failure) {
        let from = NodeId::new(from);
        self.handle(Input::NotRepaired { from, failure });
    }

    pub fn renewed(&mut self, table: &Table) {
        let standing = Standing::new(table.set(), |_| Health::Healthy);
        self.handle(Input::Renewed(standing));
    }

    pub fn abandon(&mut self) {
        self.handle(Input::Abandoned);
    }

    /// Lets it be so many milliseconds behind the beginning.
    pub fn at(&mut self, millis: u64) {
        self.now = Time::from_micros(1000 * millis);
        self.handle(Input::Wake);
    }

    fn take_effects(&mut self) -> String {
        let mut lines = Vec::new();
        while let Some(effect) = self.read.poll_effect() {
            lines.push(match effect {
                Effect::Read {
                    to,
                    attempt,
                    epoch,
                    ask,
                } => {
                    let what = match ask {
                        Ask::Digest => "digest",
                        Ask::State => "read",
                        Ask::Exact => "exact",
                    };
                    let again = match attempt.0 {
                        1 => String::new(),
                        number => format!(" #{number} e{}", epoch.get()),
                    };
                    format!("{what} n{}{again}", to.get())
                }
                Effect::Repair { to } => {
                    format!("repair n{} {}", to.get(), self.read.state().told())
                }
                Effect::Renew { epoch } => format!("renew e{}", epoch.get()),
                Effect::Reply(Outcome::Read { state, answered }) => {
                    format!("found {} {answered:?}", state.told())
                }
                Effect::Reply(Outcome::Refused {
                    why,
                    answered,
                    needed,
                }) => format!("refused {answered}/{needed}: {why:?}"),
            });
        }
        if self.read.is_over() && !std::mem::replace(&mut self.over, true) {
            lines.push("over".to_owned());
        }
        lines.join("; ")
    }

    #[track_caller]
    pub fn expect(&mut self, effects: &str) {
        assert_eq!(self.take_effects(), effects);
    }

    pub fn skip_effects(&mut self) {
        self.take_effects();
    }
}
