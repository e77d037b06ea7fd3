//! A small world for coordinators of one key: four replicas in memory with skewed clocks, a network that
//! loses, delays and repeats, replicas that go down and come back, purges, one move or one lost disk; from
//! one seed. What must hold is checked at every step.

#[path = "../world/chance.rs"]
mod chance;
mod check;
mod life;
mod reads;
mod replica;
mod ring;

use std::collections::BTreeMap;
use std::time::Duration;

use ringwood_protocol::Time;
#[cfg(feature = "plant")]
use ringwood_protocol::coordinator::plant::Plant;
use ringwood_protocol::coordinator::write::{
    Conflict, Copies, Effect, Input, Outcome, Request, Tuning,
};
use ringwood_protocol::coordinator::{Attempt, Failure, Health, Level, Nodes, Standing, Write};
use ringwood_types::{Epoch, Hlc, NodeId, Version};

use chance::Chance;
use check::Purged;
pub use replica::{Kept, Replica, ReplicaDefect};
use ring::{Change, Ring};

const NODES: u64 = 5;
const WRITES: usize = 24;
const READS: usize = 12;

/// Where a world is led that looks for what needs luck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aim {
    #[default]
    Nothing,
    /// The disk of 3 is lost when it has one of two copies of what was just acknowledged.
    Wipe,
    /// A move, each step of which comes behind an answer.
    Move,
    /// Deletes, repairs and purges overtake messages.
    Repairs,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub defect: Option<ReplicaDefect>,
    pub aim: Aim,
    #[cfg(feature = "plant")]
    pub plant: Option<Plant>,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            defect: None,
            aim: Aim::Nothing,
            #[cfg(feature = "plant")]
            plant: None,
        }
    }
}

/// What was seen in one run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub violation: Option<String>,
    pub applied: u64,
    pub not_applied: u64,
    pub unknown: u64,
    /// Acknowledged at a later minting than the first.
    pub minted_again: u64,
    pub hints: u64,
    pub renewed: u64,
    pub purged: u64,
    pub silent_minters: u64,
    pub moved: u64,
    pub rebuilt: u64,
    pub reads: u64,
    pub reads_refused: u64,
    pub repairs: u64,
    /// Replicas that were asked what they have seen.
    pub doubts: u64,
    /// Monotonic reads that had to make something durable.
    pub repaired_before: u64,
}

/// A message to a replica.
#[derive(Clone, Copy, Debug)]
enum Message {
    Mint { above: Hlc, limit: Hlc },
    Store(Kept),
}

#[derive(Clone, Debug)]
enum Event {
    Begin(usize),
    Ask {
        to: u64,
        write: usize,
        attempt: Attempt,
        epoch: u64,
        message: Message,
    },
    Answer(usize, Input),
    Wake(usize),
    Replay(u64, Kept),
    /// Repair, purge, learning of epochs, going down and coming up.
    Life,
    Step,
    Read(reads::Event),
}

#[derive(Debug)]
struct Running {
    write: Write,
    /// Counts for the order: last-write-wins, strict.
    strict: bool,
    tombstone: bool,
    /// Writes acknowledged before it began.
    before: u64,
    reply: Option<Outcome>,
    abandoned: bool,
}

/// What a seed draws before anything happens: worlds of very different kinds find different things.
#[derive(Clone, Debug)]
struct Mix {
    skew_ms: u64,
    /// Messages that take their time, of a thousand.
    slow: u64,
    /// Messages that get lost, of a thousand.
    lost: u64,
    /// Repairs, purges and so on.
    lively: u64,
    /// Of a thousand writes.
    deletes: u64,
    /// The ring changes right behind an answer.
    step_behind_answer: bool,
}

pub struct World {
    plan: Plan,
    mix: Mix,
    chance: Chance,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    /// By node; the first is nobody.
    replicas: Vec<Replica>,
    ring: Ring,
    writes: BTreeMap<usize, Running>,
    reads: Vec<reads::Running>,
    /// What a monotonic read has shown: no later one may show less.
    shown: Option<Version>,
    minted: Vec<Kept>,
    purged: Vec<Purged>,
    acknowledged: u64,
    /// Writes that begin when this one is answered.
    chains: BTreeMap<usize, usize>,
    wiped: Option<u64>,
    /// The next write is coordinated by the one that has not heard of the last.
    aimed: bool,
    report: Report,
}

impl World {
    pub fn run(plan: &Plan) -> Report {
        let mut world = Self::new(plan.clone());
        while world.report.violation.is_none()
            && let Some(((at, _), event)) = world.queue.pop_first()
        {
            world.now = at;
            world.happen(event);
            world.check_reads();
        }
        world.check_end();
        world.report
    }

    fn new(plan: Plan) -> Self {
        let mut chance = Chance::new(plan.seed);
        let mut mix = Mix {
            skew_ms: *chance.pick(&[5, 100, 200]),
            slow: *chance.pick(&[20, 200, 500]),
            lost: *chance.pick(&[0, 10, 60]),
            lively: *chance.pick(&[10, 150, 2000]),
            deletes: *chance.pick(&[100, 500]),
            step_behind_answer: chance.permille(500),
        };
        match plan.aim {
            Aim::Move => mix.step_behind_answer = true,
            Aim::Repairs => {
                (mix.skew_ms, mix.lively, mix.deletes) = (200, 3000, 500);
                (mix.slow, mix.lost) = (500, 0);
            }
            _ => {}
        }
        let replicas = (0..=NODES).map(|node| {
            let skew = i64::try_from(chance.range(0, 2 * mix.skew_ms)).unwrap();
            let skew = skew - i64::try_from(mix.skew_ms).unwrap();
            Replica::new(node, skew, plan.defect)
        });
        let replicas = replicas.collect();
        let change = match plan.aim {
            Aim::Wipe => Change::Wipe,
            Aim::Move => Change::Move,
            _ => *chance.pick(&[Change::Nothing, Change::Move, Change::Wipe]),
        };
        let mut world = Self {
            plan,
            mix,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            replicas,
            ring: Ring::new(change),
            writes: BTreeMap::new(),
            reads: Vec::new(),
            shown: None,
            minted: Vec::new(),
            purged: Vec::new(),
            acknowledged: 0,
            chains: BTreeMap::new(),
            wiped: None,
            aimed: false,
            report: Report::default(),
            chance,
        };
        world.lay_out();
        world
    }

    /// Some writes begin at a moment of their own, others when their client has the last one's answer.
    fn lay_out(&mut self) {
        let mut last = None;
        for write in 0..WRITES {
            match last {
                Some(before) if self.chance.permille(700) => {
                    self.chains.insert(before, write);
                }
                _ => {
                    let at = self.chance.range(0, 3_000_000);
                    self.schedule_at(at, Event::Begin(write));
                }
            }
            last = Some(write);
        }
        for _ in 0..READS {
            let at = self.chance.range(0, 4_000_000);
            self.schedule_at(at, Event::Read(reads::Event::Begin));
        }
        for _ in 0..self.mix.lively {
            let at = self.chance.range(0, 5_000_000);
            self.schedule_at(at, Event::Life);
        }
        let from = self.chance.range(0, 1_500_000);
        for _ in 0..if self.plan.aim == Aim::Wipe { 0 } else { 40 } {
            let at = self.chance.range(from, 5_000_000);
            self.schedule_at(at, Event::Step);
        }
    }

    fn schedule_at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    fn schedule(&mut self, wait: u64, event: Event) {
        self.schedule_at(self.now + wait, event);
    }

    /// How long a message takes: mostly little, sometimes for ever, nearly.
    fn latency(&mut self) -> u64 {
        match self.chance.permille(self.mix.slow) {
            false => self.chance.range(100, 3_000),
            true if self.chance.permille(700) => self.chance.range(3_000, 400_000),
            true => self.chance.range(400_000, 3_000_000),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Begin(write) => self.begin(write),
            Event::Ask {
                to,
                write,
                attempt,
                epoch,
                message,
            } => self.asked(to, write, attempt, epoch, message),
            Event::Answer(write, input) => self.handle(write, input),
            Event::Wake(write) => {
                let due = self.writes[&write].write.next_deadline();
                if due.is_some_and(|due| due.micros() <= self.now) {
                    self.handle(write, Input::Wake);
                }
            }
            Event::Replay(to, kept) => {
                let replica = &mut self.replicas[index(to)];
                if self.ring.is_member(replica.epoch, to) && replica.up {
                    replica.store(kept);
                }
            }
            Event::Life => self.live(),
            Event::Read(event) => self.happen_to_read(event),
            Event::Step => {
                if let Some(node) = self.ring.step(&mut self.replicas) {
                    let epoch = self.ring.latest();
                    self.replicas[index(node)].wipe(100 + node, epoch);
                    self.wiped = Some(node);
                }
            }
        }
    }

    fn begin(&mut self, write: usize) {
        let me = match std::mem::take(&mut self.aimed) {
            true => 2,
            false => self.chance.range(1, NODES + 1),
        };
        let latest = self.ring.latest();
        let epoch = match self.chance.permille(300) {
            true => latest.saturating_sub(1).max(1),
            false => latest,
        };
        let standing = self.standing(epoch);
        let (level, sloppy) = match self.chance.range(0, 20) {
            0 => (Level::One, false),
            1 => (Level::Quorum, true),
            2 => (Level::All, false),
            _ => (Level::Quorum, false),
        };
        let order = match level {
            Level::All => Level::Quorum,
            _ => level,
        };
        let request = Request {
            me: NodeId::new(me),
            standing,
            conflict: Conflict::LastWriteWins,
            level,
            order,
            sloppy,
            fallbacks: Nodes::of(&[NodeId::new(5), NodeId::new(4)]),
            context: Hlc::ZERO,
            hybrid: self.replicas[index(me)].time(self.now),
            deadline: self.time().after(Duration::from_secs(1)),
            seed: self.chance.next(),
        };
        let running = Running {
            write: self.new_write(request),
            strict: level != Level::One && !sloppy,
            tombstone: self.chance.permille(self.mix.deletes),
            before: self.acknowledged,
            reply: None,
            abandoned: false,
        };
        self.writes.insert(write, running);
        if self.chance.permille(20) {
            let after = self.chance.range(0, 500_000);
            self.schedule(after, Event::Answer(write, Input::Abandoned));
        }
        self.pump(write);
    }

    fn new_write(&self, request: Request) -> Write {
        let tuning = Tuning::default();
        #[cfg(feature = "plant")]
        if let Some(plant) = self.plan.plant {
            return Write::with_plant(request, tuning, self.time(), plant);
        }
        Write::new(request, tuning, self.time())
    }

    fn standing(&mut self, epoch: u64) -> Standing {
        let set = *self.ring.at(epoch);
        let mut health = BTreeMap::new();
        for node in set.nodes() {
            let up = self.replicas[index(node.get())].up;
            let believed = match self.chance.range(0, 20) {
                0 => Health::Suspicious,
                1..10 if !up => Health::Down,
                _ => Health::Healthy,
            };
            health.insert(*node, believed);
        }
        Standing::new(set, |node| health[&node])
    }

    fn time(&self) -> Time {
        Time::from_micros(self.now)
    }

    fn handle(&mut self, write: usize, input: Input) {
        let now = self.time();
        let running = self.writes.get_mut(&write).unwrap();
        running.abandoned |= matches!(input, Input::Abandoned) && running.reply.is_none();
        running.write.handle(now, input);
        self.pump(write);
    }

    fn pump(&mut self, write: usize) {
        while let Some(effect) = self.writes.get_mut(&write).unwrap().write.poll_effect() {
            self.carry_out(write, effect);
        }
        if let Some(due) = self.writes[&write].write.next_deadline() {
            self.schedule_at(due.micros().max(self.now), Event::Wake(write));
        }
    }

    fn carry_out(&mut self, write: usize, effect: Effect) {
        match effect {
            Effect::Mint {
                to,
                attempt,
                epoch,
                above,
                limit,
                guest_for,
            } => {
                self.check_mint(write, guest_for);
                let message = Message::Mint { above, limit };
                self.send(write, to, attempt, epoch, message);
            }
            Effect::Store {
                to,
                attempt,
                epoch,
                version,
            } => {
                let kept = self.kept(write, version);
                self.send(write, to, attempt, epoch, Message::Store(kept));
            }
            Effect::Hint {
                target,
                holder,
                attempt,
                version,
            } => {
                self.report.hints += 1;
                let kept = self.kept(write, version);
                let wait = self.latency();
                self.schedule(
                    wait,
                    Event::Answer(write, Input::Hinted { holder, attempt }),
                );
                let later = wait + self.latency();
                self.schedule(later, Event::Replay(target.get(), kept));
            }
            Effect::Renew { .. } => {
                self.report.renewed += 1;
                let standing = self.standing(self.ring.latest());
                let wait = self.latency();
                self.schedule(wait, Event::Answer(write, Input::Renewed(standing)));
            }
            Effect::Reply(outcome) => self.replied(write, outcome),
        }
    }

    fn kept(&self, write: usize, version: Version) -> Kept {
        Kept {
            version,
            write,
            tombstone: self.writes[&write].tombstone,
        }
    }

    fn send(&mut self, write: usize, to: NodeId, attempt: Attempt, epoch: Epoch, message: Message) {
        let fail = |failure| {
            let from = to;
            Event::Answer(
                write,
                Input::Failed {
                    from,
                    attempt,
                    failure,
                },
            )
        };
        if !self.replicas[index(to.get())].up && self.chance.permille(500) {
            let wait = self.chance.range(10, 500);
            return self.schedule(wait, fail(Failure::Unreachable));
        }
        if self.chance.permille(self.mix.lost) {
            // Lost, which the sender may hear of.
            if self.chance.permille(500) {
                let wait = self.latency();
                self.schedule(wait, fail(Failure::Silent));
            }
            return;
        }
        let copies = match message {
            Message::Store(_) if self.chance.permille(100) => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let wait = self.latency();
            self.schedule(
                wait,
                Event::Ask {
                    to: to.get(),
                    write,
                    attempt,
                    epoch: epoch.get(),
                    message,
                },
            );
        }
    }

    fn asked(&mut self, to: u64, write: usize, attempt: Attempt, epoch: u64, message: Message) {
        if !self.replicas[index(to)].up {
            return;
        }
        let from = NodeId::new(to);
        let input = match self.do_asked(to, write, epoch, message) {
            Ok(Done::Minted(version)) => Input::Minted { attempt, version },
            Ok(Done::Stored(answer)) => Input::Answered {
                from,
                attempt,
                answer,
            },
            Err(failure) => Input::Failed {
                from,
                attempt,
                failure,
            },
        };
        if self.chance.permille(self.mix.lost) {
            self.report.silent_minters += u64::from(matches!(input, Input::Minted { .. }));
            return;
        }
        for _ in 0..=u64::from(self.chance.permille(50)) {
            let wait = self.latency();
            self.schedule(wait, Event::Answer(write, input.clone()));
        }
    }

    fn do_asked(
        &mut self,
        to: u64,
        write: usize,
        epoch: u64,
        message: Message,
    ) -> Result<Done, Failure> {
        let own = self.replicas[index(to)].epoch;
        if epoch < own {
            return Err(Failure::Fenced(Epoch::new(own)));
        }
        self.learn(to, epoch);
        if self.chance.permille(20) {
            return Err(*self.chance.pick(&[Failure::Overloaded, Failure::DiskFull]));
        }
        let tombstone = self.writes[&write].tombstone;
        match message {
            Message::Mint { above, limit } => {
                let whole = self.ring.at(epoch).minters();
                if !whole.as_slice().contains(&NodeId::new(to)) {
                    return Err(Failure::Refused);
                }
                let bounds = (above, limit);
                let replica = &mut self.replicas[index(to)];
                let version = replica.mint(self.now, bounds, write, tombstone)?;
                self.minted.push(Kept {
                    version,
                    write,
                    tombstone,
                });
                Ok(Done::Minted(version))
            }
            Message::Store(kept) => match self.ring.is_member(epoch, to) {
                true => Ok(Done::Stored(self.replicas[index(to)].store(kept))),
                false => Err(Failure::Refused),
            },
        }
    }

    fn replied(&mut self, write: usize, outcome: Outcome) {
        self.check_reply(write, &outcome);
        let running = self.writes.get_mut(&write).unwrap();
        running.reply = Some(outcome);
        match outcome {
            Outcome::Applied { .. } => {
                self.report.applied += 1;
                self.report.minted_again += u64::from(running.write.mintings() > 1);
                if running.strict {
                    self.acknowledged |= 1 << write;
                }
            }
            Outcome::NotApplied { .. } => self.report.not_applied += 1,
            Outcome::Unknown { .. } => self.report.unknown += 1,
        }
        let lone = |copies: &Copies| copies.nodes.as_slice() == [1, 3].map(NodeId::new);
        let lone = matches!(outcome, Outcome::Applied { copies, .. } if lone(&copies));
        self.aimed = self.plan.aim == Aim::Wipe && lone && self.wiped.is_none();
        if self.aimed {
            self.happen(Event::Step);
        }
        if self.mix.step_behind_answer && self.plan.aim != Aim::Wipe && self.chance.permille(200) {
            self.happen(Event::Step);
        }
        if let Some(next) = self.chains.remove(&write) {
            let wait = self.chance.range(0, 2_000);
            self.schedule(wait, Event::Begin(next));
        }
    }
}

enum Done {
    Minted(Version),
    Stored(ringwood_protocol::coordinator::write::Answer),
}

fn index(node: u64) -> usize {
    usize::try_from(node).unwrap()
}
