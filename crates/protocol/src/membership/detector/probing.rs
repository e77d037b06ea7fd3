//! Asking: is it there?

use alloc::vec::Vec;

use ringwood_types::NodeId;

use super::Detector;
use crate::membership::message::Body;
use crate::membership::states::State;
use crate::time::Time;

/// How many are asked to try, where one does not answer.
const HELPERS: usize = 3;
/// How many silent ones each node asks again in each interval.
const AGAIN_PER_INTERVAL: usize = 2;
/// For how many others a node tries at once.
const RELAYS_MAX: usize = 256;

/// A question that is open.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) target: NodeId,
    sent: Time,
    stage: Stage,
    pub(super) due: Time,
    helpers: Vec<NodeId>,
    nacks: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// This node asked.
    Direct,
    /// Others were asked to try.
    Indirect,
    /// Nobody had an answer in time. One that comes late still says something.
    Missed,
}

/// A question for somebody else.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) asker: NodeId,
    number: u64,
    pub(super) target: NodeId,
    pub(super) due: Time,
}

impl Detector {
    /// The next in turn; an order of chance, new in each round, so that none waits for long.
    pub(super) fn probe_next(&mut self) {
        for _ in 0..self.order.len() {
            if self.turn >= self.order.len() {
                self.turn = 0;
                for at in (1..self.order.len()).rev() {
                    self.order.swap(at, self.random.below(at + 1));
                }
            }
            let node = self.order[self.turn];
            self.turn += 1;
            if self.state(node).is_some_and(State::is_local) && !self.is_asked(node) {
                return self.probe(node, Stage::Direct);
            }
        }
    }

    /// Those that did not answer this node, while that decides something.
    pub(super) fn probe_again(&mut self) {
        let again = self.silent.iter().filter(|node| {
            let missed = self
                .members
                .get(node)
                .filter(|one| one.missed_since.is_some());
            missed.is_some_and(|one| matches!(one.state, State::Healthy | State::Suspicious))
        });
        let mut again: Vec<_> = again.copied().collect();
        again.retain(|node| !self.is_asked(*node));
        for _ in 0..AGAIN_PER_INTERVAL.min(again.len()) {
            let node = again.swap_remove(self.random.below(again.len()));
            self.probe(node, Stage::Indirect);
        }
    }

    /// Whether it was asked within the interval: a node that is unwell waits long for each answer, and
    /// goes on asking meanwhile.
    fn is_asked(&self, node: NodeId) -> bool {
        let (running, interval) = (self.clock.running(), self.tuning.gossip_interval);
        let is_new = |probe: &&Probe| running.since(probe.sent) < interval;
        let mut open = self.probes.values().filter(is_new);
        open.any(|probe| probe.target == node && probe.stage != Stage::Missed)
    }

    fn probe(&mut self, target: NodeId, stage: Stage) {
        let number = self.number();
        let sent = self.clock.running();
        self.send(target, Body::Ping { number });
        let mut probe = Probe {
            target,
            sent,
            stage: Stage::Direct,
            due: sent.after(self.patience()),
            helpers: Vec::new(),
            nacks: 0,
        };
        if stage == Stage::Indirect {
            self.ask_helpers(number, &mut probe);
        }
        self.probes.insert(number, probe);
    }

    fn ask_helpers(&mut self, number: u64, probe: &mut Probe) {
        let target = probe.target;
        let mut helpers = self.some(HELPERS + 1, |member| member.state == State::Healthy);
        helpers.retain(|helper| *helper != target);
        helpers.truncate(HELPERS);
        for helper in &helpers {
            self.send(*helper, Body::PingFor { number, target });
        }
        probe.helpers = helpers;
        probe.stage = Stage::Indirect;
        probe.due = self.clock.running().after(self.patience());
    }

    /// How long each step of a probe may take: the longer, the worse this node is itself.
    fn patience(&self) -> core::time::Duration {
        self.health.stretch(self.tuning.gossip_interval / 2)
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(super) fn probes_due(&mut self) {
        let running = self.clock.running();
        let is_due = |(number, due): (&u64, Time)| (due <= running).then_some(*number);
        let probes = self
            .probes
            .iter()
            .map(|(number, probe)| (number, probe.due));
        for number in probes.filter_map(is_due).collect::<Vec<_>>() {
            self.probe_due(number);
        }
        let relays = self
            .relays
            .iter()
            .map(|(number, relay)| (number, relay.due));
        for number in relays.filter_map(is_due).collect::<Vec<_>>() {
            if let Some(Relay { asker, number, .. }) = self.relays.remove(&number) {
                self.send(asker, Body::Nack { number });
            }
        }
    }

    fn probe_due(&mut self, number: u64) {
        let Some(mut probe) = self.probes.remove(&number) else {
            return;
        };
        match probe.stage {
            Stage::Direct => self.ask_helpers(number, &mut probe),
            Stage::Indirect => {
                probe.stage = Stage::Missed;
                probe.due = probe.due.after(self.tuning.suspicion_threshold);
                self.missed(&probe);
            }
            Stage::Missed => return,
        }
        self.probes.insert(number, probe);
    }

    /// Nobody had an answer of it.
    fn missed(&mut self, probe: &Probe) {
        let (node, running) = (probe.target, self.clock.running());
        let Some(member) = self.members.get_mut(&node) else {
            return;
        };
        let is_first = member.missed_since.is_none();
        let since = *member.missed_since.get_or_insert(probe.sent);
        if is_first {
            // Helpers that say nothing either: it may be this node that hears nothing.
            let unexplained = probe.helpers.len().saturating_sub(probe.nacks);
            let unexplained = unexplained.max(usize::from(probe.helpers.is_empty()));
            self.doubt_self(u32::try_from(unexplained).unwrap_or(u32::MAX));
        }
        if is_first && !self.silent.contains(&node) {
            return self.probe(node, Stage::Indirect);
        }
        self.report(node, since.min(running), self.me);
    }

    pub(super) fn doubt_self(&mut self, by: u32) {
        if !self
            .planted
            .has(crate::membership::plant::Plant::NoLocalHealth)
        {
            self.health.worse(by);
        }
    }

    pub(super) fn ping_for(&mut self, asker: NodeId, asked: u64, target: NodeId) {
        if self.relays.len() >= RELAYS_MAX || !self.members.contains_key(&target) {
            return;
        }
        let number = self.number();
        let wait = self.tuning.gossip_interval * 3 / 10;
        let relay = Relay {
            asker,
            number: asked,
            target,
            due: self.clock.running().after(wait),
        };
        self.relays.insert(number, relay);
        self.send(target, Body::Ping { number });
    }

    pub(super) fn acked(&mut self, from: NodeId, number: u64) {
        if let Some(relay) = self.relays.get(&number) {
            if relay.target == from {
                let (asker, asked) = (relay.asker, relay.number);
                self.relays.remove(&number);
                self.send(asker, Body::Ack { number: asked });
                self.answered(from, self.clock.running());
            }
            return;
        }
        let Some(probe) = self.probes.get(&number) else {
            return;
        };
        if probe.target != from && !probe.helpers.contains(&from) {
            return;
        }
        // A late answer says that it lived when it was asked, and nothing about this node's own health.
        let (target, in_time) = (probe.target, probe.stage != Stage::Missed);
        let (asked, running) = (probe.sent, self.clock.running());
        let lived = if in_time { running } else { asked };
        // Earlier questions are answered with it.
        self.probes
            .retain(|_, probe| probe.target != target || probe.sent > asked);
        if in_time {
            self.health.better();
        }
        self.answered(target, lived);
    }

    pub(super) fn nacked(&mut self, from: NodeId, number: u64) {
        let probe = self.probes.get_mut(&number);
        if let Some(probe) = probe.filter(|probe| probe.helpers.contains(&from)) {
            probe.nacks += 1;
        }
    }
}
