//! A cluster with its clients, from event to event.

mod faults;
mod nodes;
mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ringwood_env::SeededRandom;
use ringwood_node::{
    Deferred, Fixed, PeerReply, PeerRequest, ReadOf, ReplicaRequest, Serving, Tag, WriteOf,
};
use ringwood_protocol::topology::View;
use ringwood_types::{NamespaceId, NodeId, Routing};

use crate::checks::{Violation, check};
use crate::client;
use crate::cluster::settled;
use crate::history::{History, OpId, Told};
use crate::member::{CallId, Member};
use crate::mix::Mix;
use crate::queue::{Moment, Queue, SECOND};

/// The namespace that there is from the start.
const NAMESPACE: NamespaceId = NamespaceId::new(1);

/// How long the last reads have, behind which all replicas must be equal.
const LAST_READS_FOR: Moment = 5 * SECOND;

/// What is going to happen.
enum Event {
    /// A message arrives.
    Deliver { to: usize, message: Message },
    /// A disk is done with what was given to it.
    DiskDone { member: usize, life: u64 },
    /// A thread that may wait for the disk does so.
    Run {
        member: usize,
        life: u64,
        from: usize,
        call: CallId,
        deferred: Deferred,
    },
    /// A request's deadline has come.
    Wake { op: OpId },
    /// A question was not answered in time.
    CallOver { call: CallId },
    /// A client asks something.
    Ask { client: usize },
    /// A client does not wait any longer.
    GiveUp { client: usize, op: OpId },
    /// A node's power goes, for so long.
    Crash { member: usize, down_for: Moment },
    /// A node comes up again.
    Start { member: usize },
    /// A node stands still for so long.
    Pause { member: usize, lasts: Moment },
    /// Messages get lost between these and the others, for so long.
    Cut {
        cut: Vec<(usize, usize)>,
        lasts: Moment,
    },
    /// They get through again.
    Mend { cut: Vec<(usize, usize)> },
    /// The next fault of a kind is drawn.
    Next(FaultKind),
}

#[derive(Clone, Copy)]
enum FaultKind {
    Crash,
    Cut,
    Pause,
}

#[derive(Clone)]
enum Message {
    Question {
        call: CallId,
        from: usize,
        request: PeerRequest,
    },
    Answer {
        call: CallId,
        reply: PeerReply,
    },
}

/// A question under way.
struct Call {
    op: OpId,
    tag: Tag,
    /// Who asks, and in which life.
    from: (usize, u64),
}

/// A request at its coordinator.
struct Running {
    at: (usize, u64),
    drive: Drive,
}

enum Drive {
    Write(WriteOf),
    Read(ReadOf),
}

/// What came of a world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// A number that another run of the seed has too.
    pub trace: u64,
    /// Microseconds that passed in it.
    pub lived: u64,
    /// Events.
    pub events: u64,
    /// Requests that clients made.
    pub requests: u64,
    /// Writes that were acknowledged.
    pub applied: u64,
    /// Writes of which nobody knows.
    pub unknown: u64,
    /// Reads that were answered.
    pub read: u64,
    /// Writes that were minted more than once.
    pub minted_again: u64,
    /// Times that a node's power went.
    pub crashes: u64,
}

/// A cluster with its clients.
pub struct World {
    mix: Mix,
    random: SeededRandom,
    now: Moment,
    queue: Queue<Event>,
    members: Vec<Member>,
    places: BTreeMap<NodeId, usize>,
    view: Arc<View>,
    cut: BTreeSet<(usize, usize)>,
    calls: BTreeMap<CallId, Call>,
    /// Whose write is minted, whether or not anybody waits for the answer.
    minting: BTreeMap<CallId, OpId>,
    running: BTreeMap<OpId, Running>,
    history: History,
    next_call: u64,
    /// The request that each client waits for.
    waiting: Vec<Option<OpId>>,
    healing: bool,
    finishing: bool,
    report: Report,
}

impl World {
    /// Everybody is up, and nothing is stored.
    #[must_use]
    pub fn new(mix: Mix) -> Self {
        let random = SeededRandom::new(mix.seed);
        let mut members: Vec<Member> = Vec::new();
        for _ in 0..mix.members {
            let fixed = members.first().map(|first| {
                let first = first.identity();
                Fixed::new(first.ring, *first.cursor_secret())
            });
            let skew = match mix.skew_ms_max {
                0 => 0,
                most => random.below(most),
            };
            let seed = ringwood_env::Random::next_u64(&random);
            let slow = random.chance(mix.slow_disk);
            members.push(Member::new(seed, fixed, skew, slow));
        }
        let identities: Vec<_> = members.iter().map(Member::identity).collect();
        let view = Arc::new(View::new(&settled(&identities)));
        members.iter().for_each(|member| member.learn(&view));
        let places = identities.iter().map(|one| one.node).zip(0..).collect();
        let mut world = Self {
            waiting: vec![None; mix.clients],
            mix,
            random,
            now: 0,
            queue: Queue::new(),
            members,
            places,
            view,
            cut: BTreeSet::new(),
            calls: BTreeMap::new(),
            minting: BTreeMap::new(),
            running: BTreeMap::new(),
            history: History::default(),
            next_call: 0,
            healing: false,
            finishing: false,
            report: Report::default(),
        };
        for client in 0..world.mix.clients {
            world.queue.push(0, Event::Ask { client });
        }
        for kind in [FaultKind::Crash, FaultKind::Cut, FaultKind::Pause] {
            world.foresee(kind);
        }
        world
    }

    /// Lets time pass: with faults, and then without.
    ///
    /// # Errors
    /// What must not be.
    pub fn live(mut self) -> Result<Report, Violation> {
        self.live_until(self.mix.faults_for);
        self.heal();
        self.live_until(self.mix.faults_for + self.mix.healing_for);
        self.finish();
        self.live_until(self.now + LAST_READS_FOR);
        self.look().map_err(|(invariant, what)| Violation {
            seed: self.mix.seed,
            invariant,
            what,
        })
    }

    fn live_until(&mut self, end: Moment) {
        while let Some((at, event)) = self.queue.pop() {
            if at >= end {
                self.queue.push(at, event);
                break;
            }
            self.now = at;
            self.report.events += 1;
            self.happen(event);
        }
        self.now = end;
    }

    fn look(&mut self) -> Result<Report, (u8, String)> {
        let report = self.sum_up();
        check(&self.history)?;
        self.check_liveness()?;
        self.check_replicas()?;
        Ok(report)
    }

    /// Invariant 27: what was begun when all was well, and could have been ended, was done.
    fn check_liveness(&self) -> Result<(), (u8, String)> {
        let well = self.mix.faults_for + 5 * SECOND;
        let end = self.mix.faults_for + self.mix.healing_for - client::PATIENCE;
        for op in &self.history.ops {
            if (well..end).contains(&op.began)
                && !matches!(op.told, Told::Applied(_) | Told::Read(_) | Told::Contended)
            {
                return Err((27, format!("all was well, and {op:?} was not done")));
            }
        }
        Ok(())
    }

    /// Invariant 9, as far as reads repair: after a last read of each key all its replicas are equal.
    fn check_replicas(&mut self) -> Result<(), (u8, String)> {
        for key in 0..self.mix.keys {
            let name = key_name(key);
            let (_, replicas) = self.view.route(&name, Routing::WholeKey);
            let replicas = *replicas;
            let mut held: BTreeMap<Option<Bytes>, Vec<NodeId>> = BTreeMap::new();
            for &id in replicas.nodes() {
                let request = PeerRequest {
                    epoch: replicas.epoch(),
                    namespace: NAMESPACE,
                    key: name.clone(),
                    request: ReplicaRequest::Read,
                };
                let member = &mut self.members[self.places[&id]];
                member.work();
                let node = member.node.as_ref().expect("it is up").clone();
                let serving = match node.serve(node.now(), request) {
                    Serving::Blocking(deferred) => deferred.run(node.now()),
                    other => other,
                };
                let Serving::Reply(PeerReply::Found(found)) = serving else {
                    return Err((27, format!("{id} does not answer: {serving:?}")));
                };
                held.entry(found.map(|found| found.record))
                    .or_default()
                    .push(id);
            }
            if held.len() > 1 {
                return Err((9, format!("replicas of key {key} differ: {held:?}")));
            }
        }
        Ok(())
    }

    fn sum_up(&self) -> Report {
        let mut report = self.report;
        report.lived = self.now;
        report.requests = self.history.ops.len() as u64;
        let mut minted = BTreeMap::<OpId, u64>::new();
        for &op in self.history.minted.values() {
            *minted.entry(op).or_default() += 1;
        }
        report.minted_again = minted.values().filter(|&&times| times > 1).count() as u64;
        for op in &self.history.ops {
            match op.told {
                Told::Applied(_) => report.applied += 1,
                Told::Unknown | Told::Contended => report.unknown += 1,
                Told::Read(_) => report.read += 1,
                Told::Nothing | Told::NotApplied | Told::Refused => {}
            }
        }
        report
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { to, message } => self.deliver(to, message),
            Event::DiskDone { member, life } => self.disk_done(member, life),
            Event::Run {
                member,
                life,
                from,
                call,
                deferred,
            } => self.run_deferred(member, life, from, call, deferred),
            Event::Wake { op } => self.wake(op),
            Event::CallOver { call } => self.call_over(call),
            Event::Ask { client } => self.ask(client),
            Event::GiveUp { client, op } => self.give_up(client, op),
            Event::Crash { member, down_for } => self.crash(member, down_for),
            Event::Start { member } => self.start(member),
            Event::Pause { member, lasts } => {
                if !self.healing {
                    self.members[member].paused_until = self.now + lasts;
                }
            }
            Event::Cut { cut, lasts } => {
                if !self.healing {
                    self.cut.extend(cut.iter().copied());
                    self.queue.push(self.now + lasts, Event::Mend { cut });
                }
            }
            Event::Mend { cut } => {
                for link in cut {
                    self.cut.remove(&link);
                }
            }
            Event::Next(kind) => self.strike(kind),
        }
    }
}

fn key_name(key: u64) -> Bytes {
    Bytes::from(format!("key-{key}"))
}
