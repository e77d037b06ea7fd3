//! Three replicas of a partition in memory, over the real rules of causality, with what truly happened
//! beside them. Every message ever sent may arrive anywhere, at any time, any number of times.

use std::collections::BTreeMap;

use ringwood_protocol::causality::{Answer, Clocks, Conflict, Path, Views, Way, exchange, mint};
use ringwood_types::{Clock, Dot, Hlc, Incarnation, Object, Past, Sibling, Version};

pub const NODES: usize = 3;
const W: u32 = 2;

pub type Dress = fn(Clocks) -> Clocks;

/// A write, as it truly was.
#[derive(Clone)]
struct Op {
    key: u8,
    version: Version,
    is_dead: bool,
    /// The writes that its client had read, and those that they had.
    read: Vec<usize>,
    sent: Object,
    acks: u8,
    is_acked: bool,
}

#[derive(Clone)]
struct Node {
    clocks: Clocks,
    counter: u64,
    hybrid: Hlc,
    data: BTreeMap<u8, Object>,
    views: Views,
}

#[derive(Clone)]
pub struct World {
    conflict: Conflict,
    dress: Dress,
    nodes: Vec<Node>,
    image: Option<(usize, Node)>,
    ops: Vec<Op>,
    gone: Vec<Incarnation>,
    next: u64,
}

type Check = Result<(), String>;

impl World {
    pub fn new(conflict: Conflict, dress: Dress) -> Self {
        let node = |incarnation| Node {
            clocks: dress(Clocks::new(
                Incarnation::new(incarnation),
                Clock::new(),
                Clock::new(),
            )),
            counter: 0,
            hybrid: Hlc::ZERO,
            data: BTreeMap::new(),
            views: Views::default(),
        };
        Self {
            conflict,
            dress,
            nodes: (0..NODES as u64).map(node).collect(),
            image: None,
            ops: Vec::new(),
            gone: Vec::new(),
            next: NODES as u64,
        }
    }

    pub fn ops(&self) -> usize {
        self.ops.len()
    }

    fn held(&self, at: usize, key: u8) -> Object {
        self.nodes[at].data.get(&key).cloned().unwrap_or_default()
    }

    fn put_back(&mut self, at: usize, key: u8, object: Object) {
        if object.is_empty() {
            self.nodes[at].data.remove(&key);
        } else {
            self.nodes[at].data.insert(key, object);
        }
    }

    fn op(&self, dot: Dot) -> Option<usize> {
        self.ops.iter().position(|op| op.version.dot == dot)
    }

    pub fn write(&mut self, at: usize, key: u8, is_dead: bool, from: Option<usize>, wall: u64) {
        let lww = self.conflict == Conflict::LastWriteWins;
        let held = self.held(at, key);
        let node = &self.nodes[at];
        let source = from.or(is_dead.then_some(at)).filter(|_| !lww);
        let read_object = source.map(|from| self.held(from, key)).unwrap_or_default();
        let mut read = Vec::new();
        for sibling in read_object.siblings() {
            let op = self.op(sibling.dot()).unwrap();
            read.push(op);
            read.extend(self.ops[op].read.iter().copied());
        }
        let context = from.filter(|_| !lww).map(|_| read_object.context());
        let past = match lww {
            true => Past::new(),
            false => node
                .clocks
                .past(context, &held, is_dead, node.counter)
                .unwrap(),
        };
        let wall = Hlc::from_bits(wall);
        let time = mint::time(wall, node.hybrid, Hlc::ZERO, Hlc::from_bits(u64::MAX)).unwrap();
        let dot = Dot {
            incarnation: node.clocks.incarnation(),
            counter: node.counter + 1,
        };
        let version = Version { time, dot };
        let mut sibling = Sibling::tombstone(version, past);
        if !is_dead {
            sibling.kind = ringwood_types::Kind::Live;
        }
        let object = if lww {
            sibling.into()
        } else {
            node.clocks.minted(&held, sibling)
        };
        let sent = node.clocks.message(&object, dot);
        let node = &mut self.nodes[at];
        node.counter += 1;
        node.hybrid = time;
        node.clocks.add(&[dot]);
        node.data.insert(key, object);
        let (acks, is_acked) = (1 << at, false);
        self.ops.push(Op {
            key,
            version,
            is_dead,
            read,
            sent,
            acks,
            is_acked,
        });
    }

    pub fn deliver(&mut self, op: usize, to: usize) -> Check {
        let Op {
            key,
            version,
            ref sent,
            ..
        } = self.ops[op];
        let (sent, held) = (sent.clone(), self.held(to, key));
        let node = &mut self.nodes[to];
        let time = sent.latest().unwrap().version.time;
        node.hybrid = node.hybrid.max(time);
        let stored = node.clocks.store(&held, &sent, self.conflict, Way::Message);
        let answer = if self.conflict == Conflict::LastWriteWins {
            let held = held.latest().map(|sibling| sibling.version);
            let lww = node
                .clocks
                .store_lww(held, version, node.hybrid, Way::Message);
            if lww.is_written != stored.object.is_some() {
                return Err("the two forms of store differ".to_owned());
            }
            lww.answer
        } else {
            stored.answer(&held, version, node.hybrid)
        };
        node.clocks.add(&stored.dots);
        if let Some(object) = stored.object {
            self.put_back(to, key, object);
        }
        let holds = self.held(to, key).get(version.dot).is_some();
        match answer {
            Some(Answer::Held) if !holds => return Err(format!("{version}: held, and is not")),
            Some(Answer::Older(time))
                if time < version.time && self.conflict == Conflict::LastWriteWins =>
            {
                return Err(format!("{version}: older than an earlier time"));
            }
            Some(_) => self.ops[op].acks |= 1 << to,
            None => {}
        }
        self.ops[op].is_acked |= self.ops[op].acks.count_ones() >= W;
        Ok(())
    }

    pub fn pull(&mut self, to: usize, from: usize, full: bool) {
        if to == from {
            return;
        }
        let (source, destination) = (&self.nodes[from], &self.nodes[to]);
        let path = match full {
            true => Path::Full,
            false => destination.clocks.path(source.clocks.purged()),
        };
        let session = source
            .clocks
            .session(path, destination.clocks.incarnation(), source.hybrid);
        let seen = destination.clocks.seen().clone();
        for key in 0..2 {
            let received = exchange::sent(&self.held(from, key), path, &seen).unwrap_or_default();
            let held = self.held(to, key);
            let node = &mut self.nodes[to];
            let stored = node
                .clocks
                .receive(&session, &held, &received, self.conflict);
            node.clocks.add(&stored.dots);
            if let Some(object) = stored.object {
                self.put_back(to, key, object);
            }
        }
        let node = &mut self.nodes[to];
        assert!(node.clocks.finish(&session));
        node.hybrid = node.hybrid.max(session.hybrid);
    }

    pub fn gossip(&mut self, from: usize, to: usize) {
        let Node {
            clocks,
            counter,
            hybrid,
            ..
        } = self.nodes[from].clone();
        let views = &mut self.nodes[to].views;
        views.heard(clocks.incarnation(), clocks.seen(), counter, hybrid);
    }

    fn present(&self) -> Vec<Incarnation> {
        self.nodes
            .iter()
            .map(|node| node.clocks.incarnation())
            .collect()
    }

    pub fn purge(&mut self, at: usize) {
        self.gossip(at, at);
        let present = self.present();
        let minters: Vec<_> = present.iter().chain(&self.gone).copied().collect();
        let views = &mut self.nodes[at].views;
        let stable = views.stable(&present);
        let horizon = views.horizon(&stable, &minters);
        for key in 0..2 {
            let held = self.held(at, key);
            let clocks = &mut self.nodes[at].clocks;
            let (rest, purged) = match (self.conflict, held.latest()) {
                (Conflict::Siblings, _) => clocks.purge(&held, 0, &stable),
                (_, Some(one))
                    if one.is_dead(0) && clocks.may_purge_lww(one.version, &stable, horizon) =>
                {
                    (Object::new(), vec![one.dot()])
                }
                _ => continue,
            };
            clocks.note_purged(&purged);
            self.put_back(at, key, rest);
        }
    }

    fn imaged(&self) -> Option<usize> {
        self.image.as_ref().map(|(of, _)| *of)
    }

    pub fn take_image(&mut self, of: usize) {
        self.image
            .get_or_insert_with(|| (of, self.nodes[of].clone()));
    }

    /// A disk is lost, or comes back from its image: a new incarnation, rebuilt from all others. Everybody
    /// applies the epoch at once.
    pub fn lose_disk(&mut self, at: usize, first: usize) -> Check {
        self.gone.push(self.nodes[at].clocks.incarnation());
        let incarnation = Incarnation::new(self.next);
        self.next += 1;
        let image = self
            .image
            .take()
            .filter(|(of, _)| *of == at)
            .map(|(_, node)| node);
        let (seen, purged, data, hybrid) = image.map_or_else(Default::default, |node| {
            let clocks = node.clocks;
            (
                clocks.seen().clone(),
                clocks.purged().clone(),
                node.data,
                node.hybrid,
            )
        });
        let clocks = (self.dress)(Clocks::new(incarnation, seen, purged));
        self.nodes[at] = Node {
            clocks,
            counter: 0,
            hybrid,
            data,
            views: Views::default(),
        };
        let keep: Vec<_> = self
            .present()
            .into_iter()
            .chain(self.gone.iter().copied())
            .collect();
        for node in &mut self.nodes {
            node.views.keep(&keep);
            for &gone in &self.gone {
                node.clocks.closed_mut().close(gone, None);
            }
        }
        for op in self.ops.iter_mut().filter(|op| !op.is_acked) {
            op.acks &= !(1 << at);
        }
        self.pull(at, (at + 1 + first % 2) % NODES, false);
        self.check()?;
        for other in 1..NODES {
            self.pull(at, (at + other) % NODES, true);
        }
        Ok(())
    }

    fn replaces(&self, u: usize, w: usize) -> bool {
        let (one, other) = (&self.ops[u], &self.ops[w]);
        one.key == other.key
            && match self.conflict {
                Conflict::LastWriteWins => one.version > other.version,
                Conflict::Siblings => one.read.contains(&w),
            }
    }

    /// What must hold at any time, at every replica.
    pub fn check(&self) -> Check {
        for (at, node) in self.nodes.iter().enumerate() {
            let seen = |op: usize| node.clocks.seen().covers(self.ops[op].version.dot);
            for (w, op) in self.ops.iter().enumerate() {
                let held = node
                    .data
                    .get(&op.key)
                    .is_some_and(|o| o.get(op.version.dot).is_some());
                let replaced = (0..self.ops.len()).any(|u| seen(u) && self.replaces(u, w));
                let lost = self.gone.contains(&op.version.dot.incarnation) && !op.is_acked;
                if held && replaced {
                    return Err(format!("write {w} is back at {at}"));
                }
                if held && !seen(w) {
                    return Err(format!("write {w} is held and not seen at {at}"));
                }
                if seen(w) && !held && !replaced && !op.is_dead && !lost {
                    return Err(format!("write {w} is seen at {at} and lost"));
                }
            }
        }
        Ok(())
    }

    /// Everybody meets everybody; all that is dead goes; then every message arrives once more.
    pub fn heal(&mut self) -> Check {
        let pairs: Vec<(usize, usize)> =
            (0..NODES * NODES).map(|i| (i / NODES, i % NODES)).collect();
        for _ in 0..3 {
            pairs
                .iter()
                .for_each(|&(to, from)| self.pull(to, from, false));
            self.check()?;
        }
        let present = self.present();
        for gone in std::mem::take(&mut self.gone) {
            let first = self.nodes[0].clocks.seen_of(gone);
            if self
                .nodes
                .iter()
                .any(|node| node.clocks.seen_of(gone) != first)
            {
                return Err("what was seen of a gone incarnation differs".to_owned());
            }
            for node in &mut self.nodes {
                assert!(node.clocks.settle(gone, None, &present));
            }
        }
        pairs.iter().for_each(|&(to, from)| self.gossip(from, to));
        (0..NODES).for_each(|at| self.purge(at));
        let healed: Vec<_> = self.nodes.iter().map(|node| node.data.clone()).collect();
        if healed.iter().any(|data| *data != healed[0]) {
            return Err("they hold different things".to_owned());
        }
        for (w, op) in self.ops.iter().enumerate() {
            if op.is_acked && !self.nodes[0].clocks.seen().covers(op.version.dot) {
                return Err(format!("acknowledged write {w} is lost"));
            }
        }
        if healed[0]
            .values()
            .any(|object| object.siblings().iter().any(|one| one.is_dead(0)))
        {
            return Err("a tombstone is stuck".to_owned());
        }
        for op in 0..self.ops.len() {
            (0..NODES).try_for_each(|to| self.deliver(op, to))?;
        }
        match self.nodes.iter().all(|node| node.data == healed[0]) {
            true => Ok(()),
            false => Err("late messages changed something".to_owned()),
        }
    }
}

/// SplitMix64.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let below = (mixed ^ (mixed >> 31)) % limit as u64;
        usize::try_from(below).unwrap()
    }
}

/// A random history, then healed.
pub fn run(seed: u64, conflict: Conflict, dress: Dress) -> Check {
    let mut chance = Chance(seed);
    let mut world = World::new(conflict, dress);
    let steps = 10 + chance.below(50);
    let keys = 1 + chance.below(2);
    for step in 0..steps {
        let (a, b) = (chance.below(NODES), chance.below(NODES));
        match chance.below(32) {
            0..8 if world.ops() < 12 => {
                let key = u8::try_from(chance.below(keys)).unwrap();
                let from = (chance.below(3) > 0).then_some(b);
                world.write(
                    a,
                    key,
                    chance.below(5) < 2,
                    from,
                    chance.below(step + 1) as u64,
                );
            }
            0..19 if world.ops() > 0 => world.deliver(chance.below(world.ops()), a)?,
            19..22 => world.pull(a, b, false),
            22 => world.pull(a, b, true),
            23..28 => world.gossip(a, b),
            28..30 => {
                if b == a {
                    (0..NODES).for_each(|from| world.gossip(from, a));
                }
                world.purge(a);
            }
            30 => world.take_image(a),
            31 if chance.below(3) == 0 => {
                let imaged = world.imaged().filter(|_| b > 0);
                world.lose_disk(imaged.unwrap_or(a), b)?;
            }
            _ => {}
        }
        world.check()?;
    }
    world.heal()
}
