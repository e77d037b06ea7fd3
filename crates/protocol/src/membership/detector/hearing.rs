//! Listening: what others say.

use alloc::vec::Vec;

use ringwood_types::NodeId;
use ringwood_wire::Encoded;

use super::Detector;
use crate::membership::encode::MESSAGE_LEN_MAX;
use crate::membership::life::Life;
use crate::membership::message::{Body, Claim, Message, Rumor};
use crate::membership::plant::Plant;
use crate::membership::rumors::Topic;
use crate::membership::seam::Effect;
use crate::membership::states::Why;
use crate::random::Random;
use crate::time::Time;

impl Detector {
    pub(super) fn hear(&mut self, from: NodeId, message: Message) {
        let Some(member) = self.members.get(&from) else {
            return; // removed, or not heard of yet: the topology comes first
        };
        if message.life.generation < member.life.generation {
            return self.tell_successor(from);
        }
        self.learn_life(from, message.life);
        for rumor in &message.rumors {
            self.hear_rumor(*rumor);
        }
        match message.body {
            Body::Ping { number } => self.send(from, Body::Ack { number }),
            Body::Ack { number } => self.acked(from, number),
            Body::PingFor { number, target } => self.ping_for(from, number, target),
            Body::Nack { number } => self.nacked(from, number),
            Body::News => {}
            Body::Compare { digest, is_answer } => self.compared(from, digest, is_answer),
        }
    }

    /// Whoever speaks with an earlier generation hears of the later one, and nothing else.
    fn tell_successor(&mut self, to: NodeId) {
        let rumor = self
            .members
            .get(&to)
            .and_then(|member| self.rumor(to, member));
        let message = Message {
            life: self.life,
            body: Body::News,
            rumors: rumor.into_iter().collect(),
        };
        self.effects.push_back(Effect::Send { to, message });
    }

    fn hear_rumor(&mut self, rumor: Rumor) {
        if rumor.node == self.me {
            return self.hear_of_self(rumor);
        }
        let Some(member) = self.members.get(&rumor.node) else {
            return;
        };
        // INVARIANT member-2: of an earlier life.
        if self.is_later(member.life, rumor.life) {
            return;
        }
        self.learn_life(rumor.node, rumor.life);
        let Claim::Silent {
            silent_for,
            reporter,
        } = rumor.claim
        else {
            return;
        };
        if reporter != rumor.node && self.is_known(reporter) {
            let age = u64::try_from(silent_for.as_micros()).unwrap_or(u64::MAX);
            let since = self.clock.running().micros().saturating_sub(age);
            self.report(rumor.node, Time::from_micros(since), reporter);
        }
    }

    fn is_known(&self, node: NodeId) -> bool {
        node == self.me || self.members.contains_key(&node)
    }

    fn hear_of_self(&mut self, rumor: Rumor) {
        if rumor.life.generation > self.life.generation {
            let generation = rumor.life.generation;
            if self.successor < Some(generation) {
                self.successor = Some(generation);
                self.effects.push_back(Effect::Superseded { generation });
            }
            return;
        }
        let is_old = rumor.life < self.life;
        let is_good = rumor.claim == Claim::Alive && rumor.life == self.life;
        if is_old || is_good || self.planted.has(Plant::NoRefutation) {
            return;
        }
        self.life = rumor.life.refuted();
        self.doubt_self(1);
        self.say(self.me, None);
    }

    /// What this node knows of another's life is never taken back.
    fn learn_life(&mut self, node: NodeId, life: Life) {
        let Some(member) = self.members.get(&node) else {
            return;
        };
        if !self.is_later(life, member.life) {
            return;
        }
        let is_restart = life.generation > member.life.generation && member.life != Life::UNKNOWN;
        if let Some(member) = self.members.get_mut(&node) {
            member.life = life;
        }
        self.start_anew(node);
        self.say(node, None);
        let generation = life.generation;
        self.judge(
            node,
            if is_restart {
                Why::Restarted { generation }
            } else {
                Why::Refuted
            },
        );
    }

    fn is_later(&self, life: Life, other: Life) -> bool {
        if self.planted.has(Plant::GenerationIgnored) && other != Life::UNKNOWN {
            return life.refutation > other.refutation;
        }
        life > other
    }

    pub(super) fn say(&mut self, node: NodeId, reporter: Option<NodeId>) {
        self.rumors.add(Topic { node, reporter });
    }

    /// Asks whether the other knows the same.
    pub(super) fn compare(&mut self, to: NodeId, is_answer: bool) {
        let digest = self.digest();
        self.send(to, Body::Compare { digest, is_answer });
    }

    fn compared(&mut self, from: NodeId, digest: u64, is_answer: bool) {
        if digest == self.digest() {
            return;
        }
        self.tell_all(from);
        if !is_answer {
            self.compare(from, true);
        }
    }

    /// Over who lives which life, and who is called silent; the same in any order.
    fn digest(&self) -> u64 {
        let others = self.members.iter();
        let others = others.map(|(node, member)| (*node, member.life, member.silence.is_some()));
        let all = others.chain([(self.me, self.life, false)]);
        all.filter(|(_, life, _)| *life != Life::UNKNOWN)
            .map(|(node, life, is_silent)| {
                let mut digest = Random::new(node.get());
                let generation = Random::new(digest.next() ^ life.generation).next();
                let refutation = Random::new(generation ^ life.refutation).next();
                Random::new(refutation ^ u64::from(is_silent)).next()
            })
            .fold(0, u64::wrapping_add)
    }

    /// All that this node knows, in as many messages as it takes.
    fn tell_all(&mut self, to: NodeId) {
        let empty = Message {
            life: self.life,
            body: Body::News,
            rumors: Vec::new(),
        };
        let room_at_first = MESSAGE_LEN_MAX - empty.to_vec().len();
        let (mut message, mut room) = (empty.clone(), room_at_first);
        let all: Vec<_> = self
            .members
            .iter()
            .filter_map(|(node, member)| self.rumor(*node, member))
            .collect();
        for rumor in all {
            let len = rumor.to_vec().len();
            if len > room {
                let message = core::mem::replace(&mut message, empty.clone());
                self.effects.push_back(Effect::Send { to, message });
                room = room_at_first;
            }
            room -= len;
            message.rumors.push(rumor);
        }
        self.effects.push_back(Effect::Send { to, message });
    }
}
