//! A few members over disks of their own, with a network that loses messages and machines that stop.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringwood_env::SeededRandom;
use ringwood_env::faulty::{CrashMode, FaultyDisk};
use ringwood_lsm::{KeyspaceOptions, Options};
use ringwood_protocol::consensus::Role;
use ringwood_protocol::topology::{Command, NewNode, Origin};
use ringwood_types::{ClusterId, Incarnation, NamespaceId, PartitionCount, Ring};

use super::*;

const STEP_MICROS: u64 = 10_000;

fn node(n: usize) -> NodeId {
    NodeId::new(n as u64 + 1)
}

fn new_node(n: u64) -> NewNode {
    NewNode {
        id: NodeId::new(n),
        name: format!("n{n}"),
        peer_address: format!("n{n}:7410"),
        client_address: format!("n{n}:7400"),
        zone: String::new(),
        weight: 100,
        start: n,
    }
}

fn first() -> Topology {
    Topology::bootstrap(Origin {
        cluster: ClusterId::new(1),
        node: new_node(1),
        incarnation: Incarnation::new(7),
        ring: Ring::new(PartitionCount::new(4).unwrap(), 3),
        cursor_secret: [1; 32],
        namespaces: Vec::new(),
        next_namespace: NamespaceId::new(2),
    })
}

struct Machine {
    disk: FaultyDisk,
    member: Option<(Db, Metadata)>,
    writing: Vec<(u64, Ticket)>,
    epoch: u64,
}

impl Machine {
    fn db(&self) -> (Db, Keyspace) {
        let db = Db::open(Options {
            disk: Arc::new(self.disk.clone()),
            threads: 0,
            memory_budget: 4 << 20,
            log_segment_len: 1 << 20,
            ..Options::new("/store")
        })
        .unwrap();
        let system = db
            .keyspace("system")
            .or_else(|_| db.create_keyspace("system", KeyspaceOptions::default()))
            .unwrap();
        (db, system)
    }

    fn start(&mut self, id: NodeId, seed: u64, now: Time) {
        let (db, system) = self.db();
        let member = Metadata::open(db.clone(), system, id, seed, now, Tuning::default());
        self.member = Some((db, member.unwrap().unwrap()));
    }
}

struct World {
    random: SeededRandom,
    now: Time,
    machines: Vec<Machine>,
    messages: Vec<(usize, usize, Message)>,
    decided: BTreeMap<CommandId, Decided>,
    drop: f64,
    /// Chance that a disk is done within a step.
    written: f64,
}

impl World {
    fn new(seed: u64, members: usize) -> Self {
        let random = SeededRandom::new(seed);
        let now = Time::from_micros(1);
        let mut machines = Vec::new();
        for at in 0..members {
            let mut machine = Machine {
                disk: FaultyDisk::new(seed + at as u64),
                member: None,
                writing: Vec::new(),
                epoch: 0,
            };
            let (db, system) = machine.db();
            match at {
                0 => Metadata::bootstrap(&db, system, node(0), &first()).unwrap(),
                _ => Metadata::join(&db, system).unwrap(),
            }
            db.close().unwrap();
            machine.start(node(at), seed + at as u64, now);
            machines.push(machine);
        }
        Self {
            drop: *random.pick(&[0.0, 0.1, 0.3]),
            written: *random.pick(&[0.1, 0.3, 0.7]),
            random,
            now,
            machines,
            messages: Vec::new(),
            decided: BTreeMap::new(),
        }
    }

    fn handle(&mut self, at: usize, input: Input) {
        let now = self.now;
        let Some((_, member)) = &mut self.machines[at].member else {
            return;
        };
        member.handle(now, input);
        while let Some((_, member)) = &mut self.machines[at].member
            && let Some(effect) = member.poll_effect()
        {
            match effect {
                Effect::Send { to, message } => {
                    let to = usize::try_from(to.get()).unwrap() - 1;
                    self.messages.push((at, to, message));
                }
                Effect::Write { number, ticket } => {
                    self.machines[at].writing.push((number, ticket));
                }
                Effect::View(view) => {
                    // topology-3: epochs never go back, within one life.
                    let epoch = view.epoch().get();
                    assert!(epoch >= self.machines[at].epoch);
                    self.machines[at].epoch = epoch;
                }
                Effect::Decided(id, decided) => {
                    self.decided.insert(id, decided);
                }
            }
        }
    }

    /// A hundredth of a second.
    fn step(&mut self) {
        self.now = Time::from_micros(self.now.micros() + STEP_MICROS);
        let mut messages = std::mem::take(&mut self.messages);
        self.random.shuffle(&mut messages);
        for (from, to, message) in messages {
            if !self.random.chance(self.drop) {
                let from = node(from);
                self.handle(to, Input::Received { from, message });
            }
        }
        for at in 0..self.machines.len() {
            let now = self.now;
            let is_due =
                |(_, member): &(Db, Metadata)| member.next_deadline().is_some_and(|due| due <= now);
            if self.machines[at].member.as_ref().is_some_and(is_due) {
                self.handle(at, Input::Wake);
            }
            if self.random.chance(self.written) {
                self.write(at);
            }
        }
    }

    fn write(&mut self, at: usize) {
        let Some((db, _)) = &self.machines[at].member else {
            return;
        };
        while let Some(job) = db.next_job() {
            db.run(job).unwrap();
        }
        for (number, ticket) in std::mem::take(&mut self.machines[at].writing) {
            assert!(ticket.is_done(), "all jobs have run");
            let result = ticket.wait().map(drop);
            self.handle(at, Input::Written { number, result });
        }
    }

    fn crash(&mut self, at: usize) {
        let mode = *self.random.pick(&CrashMode::ALL);
        let machine = &mut self.machines[at];
        machine.disk.crash(mode);
        machine.member = None;
        machine.writing.clear();
        machine.epoch = 0;
        let seed = ringwood_env::Random::next_u64(&self.random);
        machine.start(node(at), seed, self.now);
    }

    fn leader(&self) -> Option<usize> {
        let leads = |machine: &Machine| {
            let member = machine.member.as_ref();
            member.is_some_and(|(_, member)| member.status().role == Role::Leader)
        };
        self.machines.iter().position(leads)
    }

    fn steps_until(&mut self, most: usize, done: impl Fn(&Self) -> bool) {
        for _ in 0..most {
            if done(self) {
                return;
            }
            self.step();
        }
        panic!("it never comes to be");
    }

    /// All members get a vote.
    fn grow(&mut self) {
        for at in 1..self.machines.len() {
            for change in [Change::AddLearner(node(at)), Change::Promote(node(at))] {
                for _ in 0..500 {
                    let members = |world: &Self| {
                        let leader = world.leader()?;
                        let (_, member) = world.machines[leader].member.as_ref()?;
                        Some(member.status().members)
                    };
                    let is_done = members(self).is_some_and(|members| match change {
                        Change::AddLearner(id) => members.contains(id),
                        _ => members.has_voter(node(at)),
                    });
                    if is_done {
                        break;
                    }
                    if let Some(leader) = self.leader() {
                        self.handle(leader, Input::Change(change));
                    }
                    (0..20).for_each(|_| self.step());
                }
            }
        }
    }
}

#[test]
fn metadata_1_and_2_members_agree_whatever_crashes() {
    for seed in 0..30 {
        let mut world = World::new(seed * 100, 3);
        world.grow();
        let mut proposed = Vec::new();
        for number in 1..=40 {
            let at = match world.random.chance(0.7) {
                true => world.leader().unwrap_or(0),
                false => world.random.index(3),
            };
            let id = CommandId {
                proposer: node(at),
                number,
            };
            let node = new_node(10 + number);
            let command = Command::AddNode { node };
            world.handle(at, Input::Propose(Request { id, command }));
            proposed.push((id, NodeId::new(10 + number)));
            for _ in 0..world.random.index(40) {
                world.step();
            }
            if world.random.chance(0.4) {
                // Best where something is lost by it.
                let busy = |machine: &Machine| !machine.writing.is_empty();
                let at = world.random.index(3);
                let at = world.machines.iter().position(busy).unwrap_or(at);
                world.crash(at);
            }
        }
        world.drop = 0.0;
        let topology = |world: &World, at: usize| {
            let (_, member) = world.machines[at].member.as_ref()?;
            Some(member.topology()?.to_snapshot())
        };
        world.steps_until(2000, |world| {
            world.leader().is_some() && (1..3).all(|at| topology(world, at) == topology(world, 0))
        });
        (0..300).for_each(|_| world.step());
        let last = topology(&world, 0).unwrap();
        assert!((1..3).all(|at| topology(&world, at).as_ref() == Some(&last)));
        let last = Topology::from_snapshot(&last).unwrap();
        for (id, node) in proposed {
            let stands = last.node(node).is_some();
            match world.decided.get(&id) {
                Some(Decided::Outcome(outcome)) => assert!(outcome.is_ok() && stands, "{node}"),
                Some(Decided::NotHere) => assert!(!stands, "{node}"),
                Some(Decided::Unknown) | None => {}
            }
        }
    }
}

/// Enough commands that snapshots are cut and sent, to members that were away.
#[test]
fn a_member_that_was_away_catches_up_by_a_snapshot() {
    let mut world = World::new(77, 3);
    world.drop = 0.0;
    world.grow();
    world.machines[2].member = None;
    world.machines[2].writing.clear();
    let mut number = 0;
    while number < 3 * SNAPSHOT_EVERY {
        let Some(at) = world.leader() else {
            world.step();
            continue;
        };
        number += 1;
        let id = CommandId {
            proposer: node(at),
            number,
        };
        let command = match number % 2 {
            0 => Command::Leave {
                node: NodeId::new(999),
                fewer: false,
            },
            _ => Command::AddNode {
                node: new_node(10 + number),
            },
        };
        world.handle(at, Input::Propose(Request { id, command }));
        if number % 8 == 0 {
            world.step();
        }
    }
    world.machines[2].epoch = 0;
    let now = world.now;
    world.machines[2].start(node(2), 5, now);
    world.steps_until(3000, |world| {
        let snapshot = |at: usize| {
            let (_, member) = world.machines[at].member.as_ref()?;
            Some(member.topology()?.to_snapshot())
        };
        snapshot(0).is_some() && (1..3).all(|at| snapshot(at) == snapshot(0))
    });
    let (_, member) = world.machines[2].member.as_ref().unwrap();
    assert!(!member.has_stopped() && member.snapshot_at > Index::new(SNAPSHOT_EVERY));
}
