//! Deciding: what silence makes of a member.

use alloc::vec::Vec;
use core::time::Duration;

use ringwood_types::NodeId;

use super::Detector;
use crate::membership::health::Health;
use crate::membership::members::{REPORTERS_MAX, Silence};
use crate::membership::plant::Plant;
use crate::membership::seam::{Brake, Effect};
use crate::membership::states::{State, Why};
use crate::time::Time;

impl Detector {
    /// Somebody says that `node` is silent.
    pub(super) fn report(&mut self, node: NodeId, since: Time, reporter: NodeId) {
        let running = self.clock.running();
        let is_own = reporter == self.me;
        let believed = is_own || self.planted.has(Plant::ReportedAgeBelieved);
        // It has had no time yet to say that it is there: others may have been cut off from it for
        // long, and this node not.
        let earliest = running.since(Time::ZERO.after(self.tuning.suspicion_threshold / 2));
        let earliest = Time::ZERO.after(if believed { Duration::ZERO } else { earliest });
        let Some(member) = self.members.get_mut(&node) else {
            return;
        };
        let silence = member.silence.get_or_insert_with(|| Silence {
            since: since.max(earliest).min(running),
            reporters: Vec::new(),
        });
        if silence.reporters.len() >= REPORTERS_MAX || silence.reporters.contains(&reporter) {
            return;
        }
        silence.reporters.push(reporter);
        self.silent.insert(node);
        self.say(node, Some(reporter));
        self.judge(node, Why::Answered);
    }

    /// `node` lived at `lived`: it answered this node.
    pub(super) fn answered(&mut self, node: NodeId, lived: Time) {
        let me = self.me;
        let Some(member) = self.members.get_mut(&node) else {
            return;
        };
        member.heard = member.heard.max(lived);
        member.missed_since = None;
        if let Some(silence) = &mut member.silence {
            silence.reporters.retain(|reporter| *reporter != me);
            if silence.reporters.is_empty() {
                member.silence = None;
                self.silent.remove(&node);
            }
        }
        self.judge(node, Why::Answered);
    }

    pub(super) fn judge_all(&mut self) {
        for node in self.silent.iter().copied().collect::<Vec<_>>() {
            self.judge(node, Why::Answered);
        }
    }

    /// Takes a member to the state that it is in by now, edge by edge. `why` it is healthy, where it is.
    pub(super) fn judge(&mut self, node: NodeId, why: Why) {
        let (running, confirmable) = (self.clock.running(), self.confirmable());
        while let Some(member) = self.members.get(&node) {
            let Some(next) = member.next_state(running, &self.tuning, confirmable) else {
                return self.propose(node);
            };
            let why = match (&member.silence, next) {
                (Some(silence), State::Suspicious | State::Down) => Why::Silent {
                    silent_for: member.silent_for(running).unwrap_or_default(),
                    reporter: silence.reporters[0],
                    reporters: silence.reporters.len(),
                },
                _ => why,
            };
            self.change(node, next, why);
        }
    }

    pub(super) fn change(&mut self, node: NodeId, to: State, why: Why) {
        let at = self.clock.now;
        let Some(member) = self.members.get_mut(&node) else {
            return;
        };
        let from = member.state;
        // INVARIANT member-1
        assert!(from.may_become(to), "{node} goes from {from} to {to}");
        (member.state, member.since, member.why) = (to, at, why);
        member.proposed = None;
        let changed = Effect::Changed {
            node,
            from,
            to,
            why,
            at,
        };
        self.effects.push_back(changed);
    }

    /// How many could say of a member that it is silent: those that are not silent themselves.
    pub(super) fn confirmable(&self) -> usize {
        self.members.len().saturating_sub(self.silent.len()) + 1
    }

    /// INVARIANT member-3: silent for so long while the brake was off, and it is off now.
    fn propose(&mut self, node: NodeId) {
        if self.is_to_be_proposed(node) {
            // What it was in the last interval may be long ago: this node may have been stopped since.
            self.look_at_brake();
            if !self.is_to_be_proposed(node) {
                return;
            }
            let running = self.clock.running();
            if let Some(member) = self.members.get_mut(&node) {
                member.proposed = Some(running);
                let silent_for = member.silent_for(running).unwrap_or_default();
                self.effects.push_back(Effect::Propose { node, silent_for });
            }
        }
    }

    fn is_to_be_proposed(&self, node: NodeId) -> bool {
        let (running, tuning) = (self.clock.running(), self.tuning);
        let has_brake = !self.planted.has(Plant::NoBrake);
        let braked = if has_brake { self.braked } else { Time::ZERO };
        let member = self.members.get(&node);
        let Some(member) = member.filter(|member| member.state == State::Down) else {
            return false;
        };
        let again = member
            .proposed
            .map(|last| last.after(tuning.down_threshold));
        let is_due = |since: Time| {
            let since = since.max(braked).after(tuning.permanent_failure_threshold);
            running >= again.map_or(since, |again| since.max(again))
        };
        member.silent_since().is_some_and(is_due)
    }

    /// Once in each interval.
    pub(super) fn look_at_brake(&mut self) {
        self.brake = self.find_brake();
        if self.brake.is_some() {
            self.braked = self.clock.running();
        }
    }

    fn find_brake(&self) -> Option<Brake> {
        if !self.is_member {
            return Some(Brake::NoMember);
        }
        let local = self
            .members
            .values()
            .filter(|member| member.state.is_local());
        let (mut members, mut unreachable, mut down) = (1, 0, 0);
        for member in local {
            members += 1;
            unreachable += usize::from(member.state != State::Healthy);
            down += usize::from(member.state == State::Down);
        }
        let allowed = (members / 8).max(1);
        let score = self.health.score();
        if (members - unreachable) * 2 <= members {
            return Some(Brake::MostUnreachable {
                unreachable,
                members,
            });
        }
        if down > allowed {
            return Some(Brake::ManyDown { down, allowed });
        }
        (score > Health::DOUBTFUL).then_some(Brake::Unwell { score })
    }
}
