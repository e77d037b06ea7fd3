//! Drives one coordinator by hand and writes down what it wants done.

pub mod reads;

use std::time::Duration;

use ringwood_protocol::Time;
use ringwood_protocol::coordinator::write::{
    Answer, Conflict, Copies, Effect, Input, Outcome, Request, Tuning,
};
use ringwood_protocol::coordinator::{
    Attempt, Failure, Health, Level, Nodes, Part, Replica, ReplicaSet, Stage, Standing, Write,
};
use ringwood_types::{Dot, Epoch, Hlc, Incarnation, NodeId, Version};

/// A table under construction.
#[derive(Clone)]
pub struct Table {
    epoch: u64,
    stage: Stage,
    replicas: Vec<Replica>,
}

impl Table {
    pub fn and_rebuilding(mut self, node: u64) -> Self {
        self.replicas.push(Replica {
            rebuilding: true,
            ..Replica::whole(NodeId::new(node))
        });
        self
    }

    pub fn set(&self) -> ReplicaSet {
        ReplicaSet::new(Epoch::new(self.epoch), self.stage, &self.replicas).unwrap()
    }
}

pub fn settled(epoch: u64, nodes: &[u64]) -> Table {
    let whole = nodes.iter().map(|&node| Replica::whole(NodeId::new(node)));
    Table {
        epoch,
        stage: Stage::Settled,
        replicas: whole.collect(),
    }
}

/// 4 takes the place of 1, beside 2 and 3.
pub fn moving(epoch: u64, stage: Stage) -> Table {
    let mut table = settled(epoch, &[1, 2, 3, 4]);
    table.stage = stage;
    table.replicas[0].part = Part::Leaves;
    table.replicas[3].part = Part::Joins;
    table
}

/// What is written, and by whom.
#[derive(Clone)]
pub struct Plan {
    pub me: u64,
    pub table: Table,
    pub level: Level,
    pub order: Level,
    pub health: Vec<(u64, Health)>,
    pub sloppy: bool,
    pub fallbacks: Vec<u64>,
    pub conflict: Conflict,
    pub context: u64,
}

impl Plan {
    /// A strict quorum, in a last-write-wins namespace, at hybrid time 1000.
    pub fn new(me: u64, table: Table) -> Self {
        Self {
            me,
            table,
            level: Level::Quorum,
            order: Level::Quorum,
            health: Vec::new(),
            sloppy: false,
            fallbacks: Vec::new(),
            conflict: Conflict::LastWriteWins,
            context: 0,
        }
    }

    pub fn level(mut self, level: Level) -> Self {
        (self.level, self.order) = (level, level);
        self
    }

    pub fn standing(&self) -> Standing {
        Standing::new(self.table.set(), |node| {
            let known = self.health.iter().find(|(one, _)| *one == node.get());
            known.map_or(Health::Healthy, |&(_, health)| health)
        })
    }

    pub fn request(&self) -> Request {
        let fallbacks: Vec<_> = self.fallbacks.iter().map(|&n| NodeId::new(n)).collect();
        Request {
            me: NodeId::new(self.me),
            standing: self.standing(),
            conflict: self.conflict,
            level: self.level,
            order: self.order,
            sloppy: self.sloppy,
            fallbacks: Nodes::of(&fallbacks),
            context: Hlc::at(self.context),
            hybrid: Hlc::at(1000),
            deadline: Time::ZERO.after(Duration::from_secs(1)),
            seed: 1,
        }
    }

    pub fn write(self) -> Script {
        Script {
            write: Write::new(self.request(), tuning(), Time::ZERO),
            now: Time::ZERO,
            over: false,
        }
    }
}

pub fn tuning() -> Tuning {
    Tuning::default()
}

/// A write that is led by hand.
pub struct Script {
    write: Write,
    now: Time,
    over: bool,
}

impl Script {
    fn handle(&mut self, input: Input) {
        self.write.handle(self.now, input);
    }

    pub fn minted(&mut self, attempt: u32, time: u64) {
        let incarnation = Incarnation::new(1);
        let counter = time;
        let version = Version {
            time: Hlc::at(time),
            dot: Dot {
                incarnation,
                counter,
            },
        };
        let attempt = Attempt(attempt);
        self.handle(Input::Minted { attempt, version });
    }

    fn answered(&mut self, from: u64, attempt: u32, answer: Answer) {
        self.handle(Input::Answered {
            from: NodeId::new(from),
            attempt: Attempt(attempt),
            answer,
        });
    }

    pub fn held(&mut self, from: u64, attempt: u32) {
        self.answered(from, attempt, Answer::Held);
    }

    pub fn older(&mut self, from: u64, attempt: u32, than: u64) {
        self.answered(from, attempt, Answer::Older(Hlc::at(than)));
    }

    pub fn hinted(&mut self, holder: u64, attempt: u32) {
        self.handle(Input::Hinted {
            holder: NodeId::new(holder),
            attempt: Attempt(attempt),
        });
    }

    pub fn failed(&mut self, from: u64, attempt: u32, failure: Failure) {
        self.handle(Input::Failed {
            from: NodeId::new(from),
            attempt: Attempt(attempt),
            failure,
        });
    }

    pub fn renewed(&mut self, table: Table) {
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

    pub fn is_over(&self) -> bool {
        self.write.is_over()
    }

    pub fn mintings(&self) -> u8 {
        self.write.mintings()
    }

    pub fn failures(&self) -> impl Iterator<Item = (u64, Failure)> + '_ {
        let failures = self.write.failures();
        failures.map(|(node, failure)| (node.get(), failure))
    }

    /// What it wanted since the last time, and whether it is over.
    pub fn take_effects(&mut self) -> String {
        let mut lines = Vec::new();
        while let Some(effect) = self.write.poll_effect() {
            lines.push(describe(&effect));
        }
        if self.write.is_over() && !std::mem::replace(&mut self.over, true) {
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

fn copies(copies: &Copies) -> String {
    let hints = match copies.hints {
        0 => String::new(),
        hints => format!(" +{hints}"),
    };
    format!("{:?}/{}{hints}", copies.nodes, copies.of)
}

fn describe(effect: &Effect) -> String {
    let node = |node: &NodeId| format!("n{}", node.get());
    match effect {
        Effect::Mint {
            to,
            attempt,
            epoch,
            above,
            limit,
            guest_for,
        } => {
            let guest = guest_for.map_or(String::new(), |target| format!(" for {}", node(&target)));
            let bounds = format!("({}, {}]", above.millis(), limit.millis());
            format!(
                "mint {}{guest} #{} e{} {bounds}",
                node(to),
                attempt.0,
                epoch.get()
            )
        }
        Effect::Store {
            to,
            attempt,
            epoch,
            version,
        } => {
            let time = version.time.millis();
            format!("store {} #{} e{} {time}", node(to), attempt.0, epoch.get())
        }
        Effect::Hint {
            target,
            holder,
            attempt,
            ..
        } => format!("hint {} at {} #{}", node(target), node(holder), attempt.0),
        Effect::Renew { epoch } => format!("renew e{}", epoch.get()),
        Effect::Reply(Outcome::Applied { version, copies: c }) => {
            format!("applied {} {}", version.time.millis(), copies(c))
        }
        Effect::Reply(Outcome::NotApplied { why }) => format!("not applied: {why:?}"),
        Effect::Reply(Outcome::Unknown { why, copies: c }) => {
            format!("unknown {}: {why:?}", copies(c))
        }
    }
}
