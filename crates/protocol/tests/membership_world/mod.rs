//! A network of failure detectors, from one seed: what is said, lost, delayed and cut, who is stopped,
//! killed and started again; and what must never be seen in it.

#[path = "../world/chance.rs"]
mod chance;
mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ringwood_protocol::Time;
use ringwood_protocol::membership::{
    Brake, Detector, Effect, Input, MESSAGE_LEN_MAX, Message, Standing, State, Tuning,
};
use ringwood_types::NodeId;
use ringwood_wire::Encoded;

use chance::{Chance, mix};

/// Nobody that was there all the time may be called down any more so long after the last fault.
const SETTLED: Duration = Duration::from_secs(20);
/// So long after it died, all know that something is wrong with a node.
const KNOWN: Duration = Duration::from_secs(20);

/// So long it may take until all have heard that a node is back.
const HEARD_OF: Duration = Duration::from_secs(10);

/// What a world is like.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub nodes: u64,
    pub tuning: Tuning,
    /// Of a thousand messages, how many are lost.
    pub loss: u64,
    pub delay_max: Duration,
    /// Faults of chance until then, and then none.
    pub faults_until: Time,
    pub end: Time,
    /// Proposals are carried out.
    pub commits: bool,
    /// Keeps what everybody thought of everybody, to compare.
    pub compares: bool,
    #[cfg(feature = "plant")]
    pub plant: Option<ringwood_protocol::membership::plant::Plant>,
}

impl Plan {
    /// Without faults.
    pub fn calm(seed: u64, nodes: u64, tuning: Tuning) -> Self {
        Self {
            seed,
            nodes,
            tuning,
            loss: 0,
            delay_max: Duration::from_millis(5),
            faults_until: Time::ZERO,
            end: Time::from_micros(u64::MAX),
            commits: false,
            compares: true,
            #[cfg(feature = "plant")]
            plant: None,
        }
    }

    /// Of its own mix for each seed.
    pub fn wild(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let tuning = Tuning {
            gossip_interval: Duration::from_secs(1),
            suspicion_threshold: Duration::from_secs(4),
            down_threshold: Duration::from_secs(15),
            permanent_failure_threshold: Duration::from_secs(60),
        };
        Self {
            loss: *chance.pick(&[0, 0, 10, 50, 100, 200]),
            delay_max: Duration::from_millis(*chance.pick(&[2, 20, 100])),
            faults_until: seconds(600),
            end: seconds(700),
            commits: chance.permille(700),
            ..Self::calm(seed, chance.range(2, 10), tuning)
        }
    }
}

pub fn seconds(seconds: u64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

#[derive(Clone, Debug)]
enum Event {
    Deliver {
        from: NodeId,
        to: NodeId,
        bytes: Vec<u8>,
    },
    Wake {
        node: NodeId,
    },
    Resume {
        node: NodeId,
    },
    Restart {
        node: NodeId,
    },
    Fault,
    Reconnect,
    Known {
        node: NodeId,
        killed: Time,
    },
    Commit,
}

pub struct Node {
    pub detector: Option<Detector>,
    generation: u64,
    /// Its clock began this much before the world's.
    offset: Duration,
    paused_until: Time,
    /// What came while it was paused.
    inbox: Vec<(NodeId, Vec<u8>)>,
    /// How late it gets to what there is to do, at most.
    slow: Duration,
    wake_at: Option<Time>,
    /// Until then something was wrong with it, or with the network around it.
    faulty_at: Time,
    /// When most could last reach it, or last could not, before what is now; and since when that is so.
    away: Away,
}

/// When most members could not reach a node.
#[derive(Clone, Copy, Debug, Default)]
struct Away {
    is_away: bool,
    /// The last time that it was away, or is: from when to when.
    from: Time,
    to: Time,
}

pub struct World {
    pub plan: Plan,
    pub now: Time,
    pub chance: Chance,
    pub nodes: BTreeMap<NodeId, Node>,
    /// What is committed.
    standings: Vec<Standing>,
    /// From whom to whom nothing gets through.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    events: BTreeMap<(Time, u64), Event>,
    next_event: u64,
    /// What everybody thinks of everybody, by their own words.
    thought: BTreeMap<(NodeId, NodeId), State>,
    pub changes: Vec<(Time, NodeId, NodeId, State)>,
    pub proposals: Vec<(Time, NodeId, NodeId)>,
    pub superseded: Vec<NodeId>,
    pub bytes_sent: u64,
    pub counts: BTreeMap<&'static str, u64>,
    pub trace: u64,
    pub violation: Option<String>,
    /// What was done to it, for whoever looks into a seed.
    pub log: Vec<String>,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let ids = (1..=plan.nodes).map(NodeId::new);
        let standings = ids.map(|node| Standing {
            node,
            has_failed: false,
        });
        let mut world = Self {
            now: Time::ZERO,
            chance: Chance::new(plan.seed ^ 0x5eed),
            nodes: BTreeMap::new(),
            standings: standings.collect(),
            cut: BTreeSet::new(),
            events: BTreeMap::new(),
            next_event: 0,
            thought: BTreeMap::new(),
            changes: Vec::new(),
            proposals: Vec::new(),
            superseded: Vec::new(),
            bytes_sent: 0,
            counts: BTreeMap::new(),
            trace: 0,
            violation: None,
            log: Vec::new(),
            plan,
        };
        for standing in world.standings.clone() {
            let offset = world.chance.within(Duration::from_secs(100_000));
            let node = Node {
                detector: None,
                generation: 0,
                offset,
                paused_until: Time::ZERO,
                inbox: Vec::new(),
                slow: Duration::ZERO,
                wake_at: None,
                faulty_at: Time::ZERO,
                away: Away::default(),
            };
            world.nodes.insert(standing.node, node);
            world.start(standing.node);
        }
        if world.plan.faults_until > Time::ZERO {
            world.after(Duration::from_secs(10), Event::Fault);
        }
        world
    }

    /// A whole life of a world: faults, and the time after them.
    pub fn live(plan: Plan) -> Self {
        let mut world = Self::new(plan);
        let (faults, end) = (world.plan.faults_until, world.plan.end);
        world.run_until(faults);
        world.heal();
        world.run_until(end);
        world.check_converged();
        world
    }

    pub fn run_until(&mut self, end: Time) {
        self.look_who_is_away();
        while self.violation.is_none() {
            match self.events.first_entry() {
                Some(next) if next.key().0 <= end => {
                    let ((at, _), event) = next.remove_entry();
                    self.now = at;
                    self.happen(event);
                }
                _ => break,
            }
        }
        self.now = self.now.max(end);
    }

    pub fn run_for(&mut self, wait: u64) {
        self.run_until(self.now.after(Duration::from_secs(wait)));
    }

    pub fn state(&self, observer: NodeId, of: NodeId) -> Option<State> {
        self.nodes[&observer].detector.as_ref()?.state(of)
    }

    /// Those whose process runs.
    pub fn alive(&self) -> Vec<NodeId> {
        let alive = self
            .nodes
            .iter()
            .filter(|(_, node)| node.detector.is_some());
        alive.map(|(id, _)| *id).collect()
    }

    fn happen(&mut self, event: Event) {
        let is_quiet = matches!(event, Event::Deliver { .. } | Event::Wake { .. });
        match event {
            Event::Deliver { from, to, bytes } => self.deliver(from, to, bytes),
            Event::Wake { node } => self.wake(node),
            Event::Resume { node } => self.resume(node),
            Event::Restart { node } => self.start(node),
            Event::Fault => self.fault(),
            Event::Reconnect => self.reconnect(),
            Event::Known { node, killed } => self.check_known(node, killed),
            Event::Commit => self.commit(),
        }
        if !is_quiet {
            self.look_who_is_away();
        }
    }

    pub fn start(&mut self, id: NodeId) {
        if !self.standings.iter().any(|standing| standing.node == id) {
            return; // removed while it was away
        }
        let (seed, now) = (self.chance.next(), self.now);
        let node = self.nodes.get_mut(&id).unwrap();
        if node.detector.is_some() {
            return;
        }
        node.generation += 1;
        let text = format!("{id} starts for the {}. time", node.generation);
        node.faulty_at = now;
        let local = now.after(node.offset);
        let detector = Detector::new(id, node.generation, self.plan.tuning, seed, local);
        #[cfg(feature = "plant")]
        let detector = match self.plan.plant {
            Some(defect) => detector.planted(defect),
            None => detector,
        };
        node.detector = Some(detector);
        node.wake_at = None;
        for other in self.nodes.keys().filter(|_| self.plan.compares) {
            self.thought.insert((id, *other), State::Healthy);
        }
        self.note(text);
        self.input(id, Input::Members(self.standings.clone()));
    }

    pub fn kill(&mut self, id: NodeId) {
        self.count("kills");
        self.note(format!("{id} is killed"));
        self.touch(id);
        let killed = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        node.detector = None;
        node.inbox.clear();
        node.paused_until = Time::ZERO;
        self.after(KNOWN, Event::Known { node: id, killed });
    }

    pub fn pause(&mut self, id: NodeId, wait: Duration) {
        self.count("pauses");
        self.note(format!("{id} is stopped for {wait:?}"));
        self.touch(id);
        let until = self.now.after(wait);
        self.nodes.get_mut(&id).unwrap().paused_until = until;
        self.after(wait, Event::Resume { node: id });
    }

    fn resume(&mut self, id: NodeId) {
        self.touch(id);
        let wakes_first = self.chance.permille(500);
        let node = self.nodes.get_mut(&id).unwrap();
        if node.paused_until > self.now || node.detector.is_none() {
            return;
        }
        let inbox = std::mem::take(&mut node.inbox);
        if wakes_first {
            self.input(id, Input::Wake);
        }
        self.input(id, Input::Members(self.standings.clone()));
        for (from, bytes) in inbox {
            self.received(id, from, &bytes);
        }
        self.input(id, Input::Wake);
    }

    /// Cut apart, or joined again; marks all that are touched by it.
    pub fn set_cut(&mut self, cut: BTreeSet<(NodeId, NodeId)>) {
        let touched = self.cut.symmetric_difference(&cut);
        let touched: BTreeSet<_> = touched.flat_map(|(from, to)| [*from, *to]).collect();
        let apart: Vec<_> = cut
            .iter()
            .map(|(from, to)| (from.get(), to.get()))
            .collect();
        self.note(format!("cut: {apart:?}"));
        touched.into_iter().for_each(|id| self.touch(id));
        self.cut = cut;
    }

    /// Something is wrong with it, or was until now.
    fn touch(&mut self, id: NodeId) {
        self.nodes.get_mut(&id).unwrap().faulty_at = self.now;
    }

    /// To be called behind each change of what runs and what is cut.
    fn look_who_is_away(&mut self) {
        if !self.plan.compares {
            return;
        }
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            let (now, is_away) = (self.now, !self.is_reachable(id));
            let away = &mut self.nodes.get_mut(&id).unwrap().away;
            match (away.is_away, is_away) {
                // It was back for a moment, of which others may not have heard.
                (false, true) if now.since(away.to) < HEARD_OF => {}
                (false, true) => away.from = now,
                (true, false) => away.to = now,
                _ => {}
            }
            away.is_away = is_away;
        }
    }

    /// Whether it was away for so long, and is, or came back a moment ago.
    fn was_away(&self, id: NodeId, for_: Duration) -> bool {
        let away = self.nodes[&id].away;
        let to = if away.is_away { self.now } else { away.to };
        self.now.since(to) < HEARD_OF && to.since(away.from) >= for_
    }

    fn runs(&self, id: NodeId) -> bool {
        let node = &self.nodes[&id];
        node.detector.is_some() && node.paused_until <= self.now
    }

    /// Most members, itself included, run and hear and are heard by it.
    fn is_reachable(&self, id: NodeId) -> bool {
        let open = |other: &NodeId| {
            self.runs(*other)
                && !self.cut.contains(&(id, *other))
                && !self.cut.contains(&(*other, id))
        };
        let members = self
            .standings
            .iter()
            .filter(|standing| !standing.has_failed);
        let members: Vec<_> = members.map(|standing| standing.node).collect();
        self.runs(id) && members.iter().filter(|other| open(other)).count() * 2 > members.len()
    }

    /// Nothing was wrong with it for so long.
    fn is_settled(&self, id: NodeId, for_: Duration) -> bool {
        let is_cut = self.cut.iter().any(|(from, to)| *from == id || *to == id);
        let node = &self.nodes[&id];
        let is_well = self.runs(id) && !is_cut && node.slow == Duration::ZERO;
        is_well && self.now.since(node.faulty_at) >= for_
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, bytes: Vec<u8>) {
        let Some(node) = self.nodes.get_mut(&to) else {
            return;
        };
        if node.detector.is_none() {
            return;
        }
        if node.paused_until > self.now {
            if node.inbox.len() < 200 {
                node.inbox.push((from, bytes));
            }
            return;
        }
        self.received(to, from, &bytes);
    }

    fn received(&mut self, to: NodeId, from: NodeId, bytes: &[u8]) {
        match Message::decode(bytes) {
            Ok(message) => self.input(to, Input::Received { from, message }),
            Err(error) => self.fail(format!("what {from} sent is {error}")),
        }
    }

    fn wake(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        if node.wake_at != Some(now) {
            return;
        }
        node.wake_at = None;
        // A paused one wakes when it resumes.
        if node.paused_until <= now {
            self.input(id, Input::Wake);
        }
    }

    pub fn input(&mut self, id: NodeId, input: Input) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(detector) = &mut node.detector else {
            return;
        };
        detector.handle(now.after(node.offset), input);
        while let Some(effect) = self
            .nodes
            .get_mut(&id)
            .unwrap()
            .detector
            .as_mut()
            .unwrap()
            .poll_effect()
        {
            self.carry_out(id, effect);
        }
        self.set_alarm(id);
    }

    fn set_alarm(&mut self, id: NodeId) {
        let (now, late) = (self.now, self.chance.within(self.nodes[&id].slow / 4));
        let node = self.nodes.get_mut(&id).unwrap();
        let due = node
            .detector
            .as_ref()
            .and_then(Detector::next_deadline)
            .unwrap();
        let due = Time::ZERO.after(due.since(Time::ZERO.after(node.offset)));
        let due = due.max(Time::from_micros(now.micros() + 1)).after(late);
        if node.wake_at.is_none_or(|at| due < at) {
            node.wake_at = Some(due);
            self.push(due, Event::Wake { node: id });
        }
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.send(id, to, &message),
            Effect::Changed { node, from, to, .. } => self.changed(id, node, from, to),
            Effect::Propose { node, .. } => self.proposed(id, node),
            Effect::Superseded { .. } => self.superseded.push(id),
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: &Message) {
        let bytes = message.to_vec();
        if bytes.len() > MESSAGE_LEN_MAX {
            return self.fail(format!("member-4: {from} sends {} bytes", bytes.len()));
        }
        self.count("messages");
        self.bytes_sent += bytes.len() as u64 + ringwood_wire::frame::Frame::OVERHEAD as u64;
        self.trace = mix(self.trace ^ bytes.len() as u64 ^ from.get() << 32 ^ to.get() << 40);
        if self.cut.contains(&(from, to)) || self.chance.permille(self.plan.loss) {
            return;
        }
        let slow = self.nodes.get(&to).map_or(Duration::ZERO, |node| node.slow);
        let delay = Duration::from_micros(200) + self.chance.within(self.plan.delay_max + slow);
        self.after(delay, Event::Deliver { from, to, bytes });
    }

    fn changed(&mut self, observer: NodeId, node: NodeId, from: State, to: State) {
        self.count(match to {
            State::Healthy => "recoveries",
            State::Suspicious => "suspicions",
            State::Down => "downs",
            State::PermanentlyFailed => "failures committed",
            State::Removed => "removals",
        });
        if self.plan.compares {
            let thought = self
                .thought
                .insert((observer, node), to)
                .unwrap_or(State::Healthy);
            if thought != from || !from.may_become(to) {
                self.fail(format!(
                    "member-1: {node} goes from {thought} ({from}) to {to} at {observer}"
                ));
            }
        }
        self.changes.push((self.now, observer, node, to));
        let both = self.is_settled(observer, SETTLED) && self.is_settled(node, SETTLED);
        if to == State::Suspicious && both {
            self.count("false suspicions");
        }
        if (from, to) == (State::Suspicious, State::Down) && both {
            self.fail(format!(
                "{observer} calls {node} down, which was there all the time"
            ));
        }
    }

    fn proposed(&mut self, by: NodeId, node: NodeId) {
        self.count("proposals");
        self.proposals.push((self.now, by, node));
        let threshold = self.plan.tuning.permanent_failure_threshold;
        let away = self.was_away(node, threshold - Duration::from_secs(10));
        if self.state(by, node) != Some(State::Down) {
            self.fail(format!("{by} proposes {node}, which is not down"));
        } else if !away {
            self.fail(format!(
                "member-3: {by} proposes {node}, which others reach"
            ));
        }
        let known = self
            .standings
            .iter_mut()
            .find(|standing| standing.node == node);
        if let Some(standing) = known.filter(|_| self.plan.commits) {
            standing.has_failed = true;
            self.after(Duration::from_millis(50), Event::Commit);
        }
    }

    fn note(&mut self, what: String) {
        self.log
            .push(format!("{} ms: {what}", self.now.micros() / 1000));
    }

    /// What was agreed on comes to all.
    fn commit(&mut self) {
        for id in self.alive() {
            if self.nodes[&id].paused_until <= self.now {
                self.input(id, Input::Members(self.standings.clone()));
            }
        }
    }

    fn check_known(&mut self, node: NodeId, killed: Time) {
        let back = self.nodes[&node].detector.is_some() || self.nodes[&node].faulty_at > killed;
        for observer in self.alive() {
            let blind = !self.is_settled(observer, KNOWN + SETTLED);
            if !back && !blind && self.state(observer, node) == Some(State::Healthy) {
                self.fail(format!(
                    "{observer} does not know that {node} died {KNOWN:?} ago"
                ));
            }
        }
    }

    fn check_converged(&mut self) {
        let members: BTreeSet<_> = self
            .standings
            .iter()
            .map(|standing| standing.node)
            .collect();
        for observer in self.alive() {
            let Some(detector) = &self.nodes[&observer].detector else {
                continue;
            };
            let views: Vec<_> = detector.members().collect();
            if views.iter().any(|view| !members.contains(&view.node)) {
                self.fail(format!("{observer} still knows who was removed"));
            }
            for view in views.iter().filter(|view| view.state != State::Healthy) {
                self.fail(format!("when all is well, {observer} has {view:?}"));
            }
            match self.nodes[&observer]
                .detector
                .as_ref()
                .and_then(Detector::brake)
            {
                // Where many messages are lost, nodes do right to doubt themselves now and then.
                Some(Brake::Unwell { .. }) if self.plan.loss >= 100 => {}
                Some(brake) => self.fail(format!("when all is well, {observer} brakes: {brake}")),
                None => {}
            }
        }
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.push(self.now.after(wait), event);
    }

    fn push(&mut self, at: Time, event: Event) {
        self.events.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn fail(&mut self, why: String) {
        let (seed, now) = (self.plan.seed, self.now.micros() / 1000);
        self.violation
            .get_or_insert_with(|| format!("seed {seed} at {now} ms: {why}"));
    }
}
