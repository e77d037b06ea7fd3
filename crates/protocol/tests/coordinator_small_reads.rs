//! One read in a siblings namespace, at every moment of the life of its key: writes, a delete, repairs and
//! purges at three replicas, in every order, between any two answers of the read.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod scripts;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use ringwood_protocol::Time;
#[cfg(feature = "plant")]
use ringwood_protocol::coordinator::plant::Plant;
use ringwood_protocol::coordinator::read::{Ask, Effect, Input, Joinable, Outcome, Read, Tuning};
use ringwood_protocol::coordinator::{Attempt, Nodes};
use ringwood_types::NodeId;

/// The versions of the story, by dot: what each replaces. The third is a tombstone.
const PASTS: [&[u8]; 4] = [&[], &[], &[0], &[0, 1]];
const TOMBSTONE: u8 = 2;
/// Who mints them: 0 and 1 do not know of each other, 2 has read 0, 3 has read 0 and 1.
const MINTERS: [u64; 4] = [1, 3, 2, 2];

fn replaces(one: u8, other: u8) -> bool {
    PASTS[usize::from(one)].contains(&other)
}

/// What a replica holds of the key, and what it has seen of it (rules 4, 7, 8 and 9).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Replica {
    held: BTreeSet<u8>,
    seen: BTreeSet<u8>,
    purged: BTreeSet<u8>,
}

impl Replica {
    fn store(&mut self, version: u8) {
        if self.seen.insert(version) && !self.held.iter().any(|&held| replaces(held, version)) {
            self.held.retain(|&held| !replaces(version, held));
            self.held.insert(version);
        }
    }

    fn pull(&mut self, from: &Self) {
        if !from.purged.is_subset(&self.seen) {
            self.held
                .retain(|held| !from.seen.contains(held) || from.held.contains(held));
            self.purged.extend(&from.purged);
        }
        from.held.iter().for_each(|&version| self.store(version));
        self.seen.extend(&from.seen);
    }
}

/// The same, as an answer: the seen-clock only where it is exact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    held: BTreeSet<u8>,
    seen: BTreeSet<u8>,
}

impl Joinable for State {
    type Digest = BTreeSet<u8>;

    fn join(&mut self, other: &Self) {
        let left = |one: &Self, by: &Self| {
            let gone = |dot: &u8| by.seen.contains(dot) && !by.held.contains(dot);
            one.held
                .iter()
                .copied()
                .filter(|dot| !gone(dot))
                .collect::<BTreeSet<_>>()
        };
        let mut held = left(self, other);
        held.extend(left(other, self));
        let all = held.clone();
        held.retain(|&dot| !all.iter().any(|&one| replaces(one, dot)));
        self.held = held;
        self.seen.extend(&other.seen);
    }

    fn digest(&self) -> BTreeSet<u8> {
        self.held.clone()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Message {
    Store(usize, u8),
    Ask(usize, Attempt, Kind),
    Digest(usize, Attempt, BTreeSet<u8>),
    State(usize, Attempt, BTreeSet<u8>, BTreeSet<u8>, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Digest,
    State,
    Exact,
}

#[derive(Clone)]
struct World {
    /// By node; the first is nobody.
    replicas: Vec<Replica>,
    minted: u8,
    messages: Vec<Message>,
    read: Option<Read<State>>,
    /// At two replicas when the read began.
    acknowledged: BTreeSet<u8>,
    found: Option<BTreeSet<u8>>,
    pulls_left: u8,
}

/// How the read is asked.
#[derive(Clone, Copy, Debug)]
struct Scope {
    best: u64,
    digests: bool,
    versions: u8,
    #[cfg(feature = "plant")]
    plant: Option<Plant>,
}

impl World {
    fn new(pulls: u8) -> Self {
        Self {
            replicas: vec![Replica::default(); 4],
            minted: 0,
            messages: Vec::new(),
            read: None,
            acknowledged: BTreeSet::new(),
            found: None,
            pulls_left: pulls,
        }
    }

    fn fingerprint(&self) -> u64 {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let Self {
            replicas,
            minted,
            messages,
            read,
            acknowledged,
            found,
            pulls_left,
        } = self;
        hasher.hash_one((
            replicas,
            minted,
            messages,
            read,
            acknowledged,
            found,
            pulls_left,
        ))
    }

    fn mint(&mut self) -> bool {
        let (version, at) = (self.minted, MINTERS[usize::from(self.minted)]);
        let minter = &mut self.replicas[usize::try_from(at).unwrap()];
        let context = PASTS[usize::from(version)];
        if !context.iter().all(|dot| minter.seen.contains(dot)) {
            return false;
        }
        minter.store(version);
        for node in (1..4).filter(|&node| node as u64 != at) {
            self.messages.push(Message::Store(node, version));
        }
        self.messages.sort();
        self.minted += 1;
        true
    }

    /// Rule 7: everybody has seen it and what it replaces.
    fn purge(&mut self, node: usize) -> bool {
        let stable = |dot: &u8| {
            self.replicas[1..]
                .iter()
                .all(|replica| replica.seen.contains(dot))
        };
        let context = PASTS[usize::from(TOMBSTONE)];
        let may = stable(&TOMBSTONE) && context.iter().all(stable);
        let replica = &mut self.replicas[node];
        if !may || !replica.held.remove(&TOMBSTONE) {
            return false;
        }
        replica.purged.insert(TOMBSTONE);
        true
    }

    fn begin_read(&mut self, scope: &Scope) {
        let count = |dot: u8| {
            self.replicas
                .iter()
                .filter(|one| one.seen.contains(&dot))
                .count()
        };
        self.acknowledged = (0..self.minted).filter(|&dot| count(dot) >= 2).collect();
        let mut plan = scripts::reads::ReadPlan::new(scripts::settled(1, &[1, 2, 3]));
        plan.digests = scope.digests;
        let mut request = plan.request();
        request.best = Nodes::of(&[NodeId::new(scope.best)]);
        self.read = Some(scope.read(request));
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(effect) = self.read.as_mut().unwrap().poll_effect() {
            match effect {
                Effect::Read {
                    to, attempt, ask, ..
                } => {
                    let kind = match ask {
                        Ask::Digest => Kind::Digest,
                        Ask::State => Kind::State,
                        Ask::Exact => Kind::Exact,
                    };
                    let to = usize::try_from(to.get()).unwrap();
                    self.messages.push(Message::Ask(to, attempt, kind));
                }
                Effect::Reply(Outcome::Read { state, .. }) => self.found = Some(state.held),
                Effect::Reply(refused) => panic!("{refused:?}"),
                Effect::Repair { .. } | Effect::Renew { .. } => {}
            }
        }
        self.messages.sort();
    }

    fn deliver(&mut self, message: Message) {
        let from = |node: usize| NodeId::new(node as u64);
        let input = match message {
            Message::Store(to, version) => return self.replicas[to].store(version),
            Message::Ask(to, attempt, kind) => {
                let Replica { held, seen, .. } = self.replicas[to].clone();
                self.messages.push(match kind {
                    Kind::Digest => Message::Digest(to, attempt, held),
                    Kind::State => Message::State(to, attempt, held.clone(), held, false),
                    Kind::Exact => Message::State(to, attempt, held, seen, true),
                });
                return self.messages.sort();
            }
            Message::Digest(node, attempt, digest) => Input::Digest {
                from: from(node),
                attempt,
                digest,
            },
            Message::State(node, attempt, held, seen, exact) => Input::Answered {
                from: from(node),
                attempt,
                state: State { held, seen },
                exact,
            },
        };
        self.read.as_mut().unwrap().handle(Time::ZERO, input);
        self.pump();
    }

    /// What was acknowledged shows, or what took its place; and nothing that it replaces.
    fn wrong(&self) -> Option<String> {
        let found = self.found.as_ref()?;
        let gone = |dot: u8| {
            self.replicas
                .iter()
                .any(|replica| replica.purged.contains(&dot))
        };
        for &dot in &self.acknowledged {
            let successor = |&one: &u8| replaces(one, dot);
            let follows =
                found.iter().any(successor) || (0..4).any(|one| replaces(one, dot) && gone(one));
            if !found.contains(&dot) && !gone(dot) && !follows {
                return Some(format!("{dot} is lost: {found:?}"));
            }
            if let Some(back) = found.iter().find(|&&one| replaces(dot, one)) {
                return Some(format!("{back} is back: {found:?}"));
            }
        }
        None
    }
}

impl Scope {
    fn read(&self, request: ringwood_protocol::coordinator::read::Request) -> Read<State> {
        #[cfg(feature = "plant")]
        if let Some(plant) = self.plant {
            return Read::with_plant(request, Tuning::default(), Time::ZERO, plant);
        }
        Read::new(request, Tuning::default(), Time::ZERO)
    }

    fn next(&self, world: &World) -> Vec<World> {
        let mut next = Vec::new();
        let mut push = |step: &dyn Fn(&mut World) -> bool| {
            let mut then = world.clone();
            if step(&mut then) {
                next.push(then);
            }
        };
        for place in 0..world.messages.len() {
            push(&|world| {
                let message = world.messages.remove(place);
                world.deliver(message);
                true
            });
        }
        if world.minted < self.versions {
            push(&World::mint);
        }
        if world.read.is_none() {
            push(&|world| {
                world.begin_read(self);
                true
            });
        }
        for node in 1..4 {
            push(&|world| world.purge(node));
            for from in (1..4).filter(|&from| from != node && world.pulls_left > 0) {
                push(&|world| {
                    let source = world.replicas[from].clone();
                    world.replicas[node].pull(&source);
                    world.pulls_left -= 1;
                    true
                });
            }
        }
        next
    }

    /// How many states there are and how many reads ended in them, or what is wrong in one.
    fn explore(&self, pulls: u8) -> Result<(usize, usize), String> {
        let mut seen = HashSet::new();
        let mut open = vec![World::new(pulls)];
        let mut ended = 0;
        while let Some(world) = open.pop() {
            if !seen.insert(world.fingerprint()) {
                continue;
            }
            if let Some(why) = world.wrong() {
                return Err(why);
            }
            if world.found.is_some() {
                ended += 1;
                continue;
            }
            open.extend(self.next(&world));
        }
        Ok((seen.len(), ended))
    }

    fn all(versions: u8) -> Vec<Self> {
        let each = (1..=3).flat_map(|best| [false, true].map(|digests| (best, digests)));
        let scope = |(best, digests)| Self {
            best,
            digests,
            versions,
            #[cfg(feature = "plant")]
            plant: None,
        };
        each.map(scope).collect()
    }
}

#[test]
fn read_2_no_read_shows_what_was_replaced_before_it_began() {
    let mut all = BTreeMap::new();
    // With one repair, or with one version more, there are two million states each.
    let long = std::env::var_os("RINGWOOD_COORDINATOR_STATES").is_some();
    let sizes: &[_] = match long {
        true => &[(3, 0), (3, 1), (4, 0)],
        false => &[(3, 0)],
    };
    for &(versions, pulls) in sizes {
        for scope in Scope::all(versions) {
            let (states, ended) = scope
                .explore(pulls)
                .unwrap_or_else(|why| panic!("{scope:?}: {why}"));
            let sum: &mut (usize, usize) = all.entry((versions, pulls)).or_default();
            *sum = (sum.0 + states, sum.1 + ended);
        }
    }
    println!("{all:?}");
    assert!(all.values().all(|&(_, ended)| ended > 100), "{all:?}");
}

#[cfg(feature = "plant")]
#[test]
fn what_is_purged_between_two_answers_is_found() {
    for plant in [Plant::AbsenceIgnored, Plant::FirstAnswerOnly] {
        let found = Scope::all(3).into_iter().find_map(|mut scope| {
            scope.plant = Some(plant);
            scope.explore(0).err()
        });
        println!("{plant:?}: {found:?}");
        assert!(found.is_some(), "{plant:?}");
    }
}
