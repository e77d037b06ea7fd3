//! The machine: one node's failure detector.
//!
//! `probing` asks, `hearing` listens, `judging` decides; here is what they share.

mod hearing;
mod judging;
mod probing;

use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use ringwood_types::NodeId;
use ringwood_wire::Encoded;

use super::encode::MESSAGE_LEN_MAX;
use super::health::Health;
use super::life::Life;
use super::members::Member;
use super::message::{Body, Claim, Message, Rumor};
#[cfg(feature = "plant")]
use super::plant;
use super::plant::{Plant, Planted};
use super::rumors::{Rumors, Topic};
use super::seam::{Brake, Effect, Input, MemberView, Standing};
use super::states::{State, Why};
use super::tuning::Tuning;
use crate::random::Random;
use crate::time::Time;
use probing::{Probe, Relay};

/// How many hear of what is new in each interval, beside those that are probed.
const NEWS_PER_INTERVAL: usize = 2;
/// How many intervals lie between two comparisons with others, about.
const COMPARE_INTERVALS: u32 = 30;

/// One node's view of the health of all others.
///
/// Driven as all machines are: [`handle`](Self::handle), then [`poll_effect`](Self::poll_effect) until
/// it gives nothing more, and [`next_deadline`](Self::next_deadline).
///
/// ```
/// use ringwood_protocol::Time;
/// use ringwood_protocol::membership::{Detector, Effect, Input, Standing, State, Tuning};
/// use ringwood_types::NodeId;
///
/// let (me, other) = (NodeId::new(1), NodeId::new(2));
/// let mut detector = Detector::new(me, 1, Tuning::default(), 42, Time::ZERO);
/// let members = [me, other].map(|node| Standing { node, has_failed: false });
/// detector.handle(Time::ZERO, Input::Members(members.to_vec()));
/// // Nobody answers.
/// let mut changes = Vec::new();
/// while changes.len() < 2 {
///     detector.handle(detector.next_deadline().expect("it always has one"), Input::Wake);
///     while let Some(effect) = detector.poll_effect() {
///         if let Effect::Changed { node, to, .. } = effect {
///             changes.push((node, to));
///         }
///     }
/// }
/// assert_eq!(changes, [(other, State::Suspicious), (other, State::Down)]);
/// ```
#[derive(Debug)]
pub struct Detector {
    me: NodeId,
    life: Life,
    /// Whether this node belongs to the cluster and was not given up.
    is_member: bool,
    /// The generation of a later process with this id, if one was heard of.
    successor: Option<u64>,
    tuning: Tuning,
    planted: Planted,
    random: Random,
    clock: OwnClock,
    health: Health,
    /// All others.
    members: BTreeMap<NodeId, Member>,
    /// Those of which silence is said.
    silent: BTreeSet<NodeId>,
    /// All others in the order in which they are probed, and where in it this node is.
    order: Vec<NodeId>,
    turn: usize,
    probes: BTreeMap<u64, Probe>,
    relays: BTreeMap<u64, Relay>,
    next_number: u64,
    rumors: Rumors,
    brake: Option<Brake>,
    /// When it was last on.
    braked: Time,
    tick_at: Time,
    compare_at: Time,
    effects: VecDeque<Effect>,
}

/// Time in which this node ran: what it was stopped for is nobody's silence.
#[derive(Debug)]
struct OwnClock {
    now: Time,
    lost: Duration,
}

impl OwnClock {
    fn running(&self) -> Time {
        Time::ZERO.after(self.now.since(Time::ZERO.after(self.lost)))
    }
}

impl Detector {
    /// The detector of `me`, whose process starts for the `generation`th time, in a cluster of which it
    /// will hear by [`Input::Members`].
    ///
    /// `seed` is drawn anew for each start.
    ///
    /// # Panics
    /// With times that make no sense together: [`Tuning::checked`] tells. With generation 0.
    #[must_use]
    pub fn new(me: NodeId, generation: u64, tuning: Tuning, seed: u64, now: Time) -> Self {
        assert!(tuning.checked().is_ok(), "tuning is checked: {tuning:?}");
        assert!(generation > 0, "starts are counted from 1");
        let mut random = Random::new(seed);
        let clock = OwnClock {
            now,
            lost: Duration::ZERO,
        };
        let running = clock.running();
        let first = running.after(random.shorter_than(tuning.gossip_interval));
        Self {
            me,
            life: Life::of_start(generation),
            is_member: false,
            successor: None,
            tuning,
            planted: Planted::default(),
            next_number: random.next() >> 16,
            random,
            health: Health::default(),
            members: BTreeMap::new(),
            silent: BTreeSet::new(),
            order: Vec::new(),
            turn: 0,
            probes: BTreeMap::new(),
            relays: BTreeMap::new(),
            rumors: Rumors::default(),
            brake: None,
            braked: running,
            tick_at: first,
            compare_at: first,
            clock,
            effects: VecDeque::new(),
        }
    }

    /// With a defect.
    #[cfg(feature = "plant")]
    #[must_use]
    pub fn planted(mut self, defect: plant::Plant) -> Self {
        self.planted = Planted(Some(defect));
        self
    }

    /// Takes what happens at `now`, which never goes back.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.advance(now);
        match input {
            Input::Wake => {}
            Input::Received { from, message } => self.hear(from, message),
            Input::Members(members) => self.set_members(&members),
            Input::Tune(tuning) => self.tune(tuning),
        }
        self.probes_due();
        if self.clock.running() >= self.tick_at {
            self.tick();
        }
        self.judge_all();
    }

    /// What to do next, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to wake it, whatever comes before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let states = self.silent.iter().filter_map(|node| {
            let member = self.members.get(node)?;
            member.due(&self.tuning, self.confirmable())
        });
        let probes = self.probes.values().map(|probe| probe.due);
        let relays = self.relays.values().map(|relay| relay.due);
        let all = states.chain(probes).chain(relays);
        let running = all.fold(self.tick_at, Time::min);
        Some(running.after(self.clock.lost))
    }

    /// How `node` is; `None` for who is no member, and for this node.
    #[must_use]
    pub fn state(&self, node: NodeId) -> Option<State> {
        self.members.get(&node).map(|member| member.state)
    }

    /// All others, as this node sees them.
    pub fn members(&self) -> impl Iterator<Item = MemberView> + '_ {
        let running = self.clock.running();
        self.members.iter().map(move |(node, member)| MemberView {
            node: *node,
            state: member.state,
            since: member.since,
            why: member.why,
            generation: member.life.generation,
            silent_for: member.silent_for(running),
        })
    }

    /// This node's own life.
    #[must_use]
    pub const fn life(&self) -> Life {
        self.life
    }

    /// How unwell this node is itself: 0 is well, 8 the worst.
    #[must_use]
    pub const fn unwell(&self) -> u32 {
        self.health.score()
    }

    /// Why nobody is proposed as failed at the moment, if that is so.
    #[must_use]
    pub const fn brake(&self) -> Option<Brake> {
        self.brake
    }

    /// Takes out what this node was stopped for.
    fn advance(&mut self, now: Time) {
        let due = self.next_deadline().unwrap_or(now);
        self.clock.now = now.max(self.clock.now);
        let late = now.since(due);
        let interval = self.tuning.gossip_interval;
        if late > interval / 2 && !self.planted.has(Plant::NoLocalHealth) {
            self.clock.lost += late;
            let intervals = late.as_micros() / interval.as_micros();
            self.health
                .worse(u32::try_from(intervals).unwrap_or(u32::MAX));
        }
    }

    fn set_members(&mut self, standings: &[Standing]) {
        let known: BTreeSet<_> = standings.iter().map(|standing| standing.node).collect();
        let here = standings.iter().find(|standing| standing.node == self.me);
        self.is_member = here.is_some_and(|standing| !standing.has_failed);
        let gone = self.members.keys().filter(|node| !known.contains(node));
        for node in gone.copied().collect::<Vec<_>>() {
            self.change(node, State::Removed, Why::Committed);
            self.forget(node);
        }
        let (running, now, me) = (self.clock.running(), self.clock.now, self.me);
        for standing in standings.iter().filter(|standing| standing.node != me) {
            let node = standing.node;
            if let Entry::Vacant(vacant) = self.members.entry(node) {
                vacant.insert(Member::new(running, now));
                let place = self.random.below(self.order.len() + 1);
                self.order.insert(place, node);
            }
            let has_failed = self.state(node) == Some(State::PermanentlyFailed);
            if standing.has_failed && !has_failed {
                self.change(node, State::PermanentlyFailed, Why::Committed);
            } else if !standing.has_failed && has_failed {
                self.change(node, State::Down, Why::TakenBack);
                self.start_anew(node);
                self.judge(node, Why::TakenBack);
            }
        }
    }

    /// Whatever was said of it is void: it has as long as any other to show that it is there.
    fn start_anew(&mut self, node: NodeId) {
        let running = self.clock.running();
        if let Some(member) = self.members.get_mut(&node) {
            (member.silence, member.missed_since, member.heard) = (None, None, running);
        }
        self.silent.remove(&node);
        self.rumors.forget(node);
    }

    /// Nothing of a removed node stays behind.
    fn forget(&mut self, node: NodeId) {
        self.members.remove(&node);
        self.silent.remove(&node);
        self.order.retain(|one| *one != node);
        self.probes.retain(|_, probe| probe.target != node);
        self.relays
            .retain(|_, relay| relay.asker != node && relay.target != node);
        self.rumors.forget(node);
    }

    fn tune(&mut self, tuning: Tuning) {
        if tuning.checked().is_ok() {
            self.tuning = tuning;
            self.tick_at = self
                .tick_at
                .min(self.clock.running().after(tuning.gossip_interval));
        }
    }

    /// Once in each interval.
    fn tick(&mut self) {
        let (running, interval) = (self.clock.running(), self.tuning.gossip_interval);
        self.tick_at = self
            .tick_at
            .after(interval)
            .max(running.after(interval / 2));
        self.probe_next();
        self.probe_again();
        if !self.rumors.is_empty() {
            for node in self.some(NEWS_PER_INTERVAL, |member| member.state == State::Healthy) {
                self.send(node, Body::News);
            }
        }
        if running >= self.compare_at {
            let wait = interval * COMPARE_INTERVALS;
            self.compare_at = running.after(wait / 2 + self.random.shorter_than(wait));
            for node in self.some(1, |member| member.state.is_local()) {
                self.compare(node, false);
            }
        }
        self.look_at_brake();
    }

    /// Some members of chance, of those that fit; none twice.
    fn some(&mut self, count: usize, fits: impl Fn(&Member) -> bool) -> Vec<NodeId> {
        let mut found = Vec::new();
        for _ in 0..4 * count + 8 {
            if found.len() == count || self.order.is_empty() {
                break;
            }
            let node = self.order[self.random.below(self.order.len())];
            if !found.contains(&node) && self.members.get(&node).is_some_and(&fits) {
                found.push(node);
            }
        }
        found
    }

    fn send(&mut self, to: NodeId, body: Body) {
        let mut message = Message {
            life: self.life,
            body,
            rumors: Vec::new(),
        };
        let mut room = MESSAGE_LEN_MAX - message.to_vec().len();
        // Who is called silent must hear it, to say that it is not (Lifeguard's buddy).
        let first = self
            .members
            .get(&to)
            .and_then(|member| self.rumor(to, member));
        let first = first.filter(|rumor| rumor.claim != Claim::Alive);
        message.rumors.extend(first);
        room -= first.map_or(0, |rumor| rumor.to_vec().len());
        let (limit, is_bound) = (self.times_said(), !self.planted.has(Plant::NoBound));
        let mut rumors = core::mem::take(&mut self.rumors);
        rumors.say(limit, |topic| {
            let Some(rumor) = self.rumor_of(topic) else {
                return true; // void by now: as good as said
            };
            let len = rumor.to_vec().len();
            if len > room && is_bound {
                return false;
            }
            room = room.saturating_sub(len);
            message.rumors.push(rumor);
            true
        });
        self.rumors = rumors;
        self.effects.push_back(Effect::Send { to, message });
    }

    /// How often each node says what is new, so that nobody misses it by chance.
    fn times_said(&self) -> u32 {
        if self.planted.has(Plant::NoBound) {
            return u32::MAX;
        }
        2 * (self.members.len() + 2).ilog2() + 2
    }

    fn rumor_of(&self, topic: Topic) -> Option<Rumor> {
        let Topic { node, reporter } = topic;
        if node == self.me {
            let (life, claim) = (self.life, Claim::Alive);
            return Some(Rumor { node, life, claim });
        }
        let member = self.members.get(&node)?;
        let rumor = self.rumor(node, member)?;
        match (reporter, rumor.claim) {
            (None, Claim::Alive) => Some(rumor),
            (Some(reporter), Claim::Silent { silent_for, .. }) => {
                let claim = Claim::Silent {
                    silent_for,
                    reporter,
                };
                Some(Rumor { claim, ..rumor })
            }
            _ => None,
        }
    }

    /// All that is to be said of a member in one sentence; nothing of one that was never heard of.
    fn rumor(&self, node: NodeId, member: &Member) -> Option<Rumor> {
        let claim = match &member.silence {
            None => Claim::Alive,
            Some(silence) => Claim::Silent {
                silent_for: self.clock.running().since(silence.since),
                reporter: silence.reporters[0],
            },
        };
        let life = member.life;
        (life != Life::UNKNOWN || claim != Claim::Alive).then_some(Rumor { node, life, claim })
    }
}
