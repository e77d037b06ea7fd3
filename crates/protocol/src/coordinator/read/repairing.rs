//! What was found is returned, and brought to those that are behind: before or after.

use ringwood_types::NodeId;

use super::super::failure::Failure;
use super::super::plant::Plant;
use super::super::replicas::Members;
use super::{Effect, Joinable, Outcome, Phase, Read, Why};
use crate::time::Time;

impl<S: Joinable> Read<S> {
    pub(super) fn found(&mut self, now: Time) {
        self.phase = Phase::Repairing;
        self.make_durable(now);
    }

    /// Replies once enough replicas have what was found; at once where that is not asked for (`read-3`).
    fn make_durable(&mut self, now: Time) {
        let have = self.up_to_date().union(self.repaired);
        let durable = |members: Members| self.repair.is_durable(self.replicas(), members);
        if durable(have) || self.planted.has(Plant::RepairNotAwaited) {
            return self.reply(now);
        }
        // First those that are known to be behind, then those that were not asked.
        let failed = (0..)
            .zip(self.failures)
            .filter(|(_, failure)| failure.is_some());
        let failed = failed.map(|(place, _)| place).collect();
        let reachable = self.request.standing.reachable;
        let left = reachable.without(have).without(failed);
        for group in [left.and(self.answered), left.without(self.answered)] {
            if self
                .repair
                .is_durable(self.replicas(), have.union(self.repairing))
            {
                return;
            }
            for place in group.without(self.repairing).iter() {
                self.repairing.insert(place);
                let to = self.replicas().node(place);
                self.effects.push_back(Effect::Repair { to });
            }
        }
        if !self
            .repair
            .is_durable(self.replicas(), have.union(self.repairing))
        {
            self.refuse(Why::NotRepaired);
        }
    }

    pub(super) fn was_repaired(&mut self, now: Time, from: NodeId) {
        if let Some(place) = self.replicas().place(from)
            && self.repairing.contains(place)
        {
            self.repairing.remove(place);
            self.repaired.insert(place);
            if self.phase == Phase::Repairing {
                self.make_durable(now);
            }
        }
    }

    pub(super) fn not_repaired(&mut self, now: Time, from: NodeId, failure: Failure) {
        if let Some(place) = self.replicas().place(from)
            && self.repairing.contains(place)
        {
            self.repairing.remove(place);
            self.failures[place] = Some(failure);
            if self.phase == Phase::Repairing {
                self.make_durable(now);
            }
        }
    }

    fn reply(&mut self, now: Time) {
        let answered = self.replicas().of(self.answered);
        let state = self.state.clone();
        self.effects
            .push_back(Effect::Reply(Outcome::Read { state, answered }));
        let until = now.after(self.tuning.hedge);
        self.phase = Phase::Behind { until };
        self.look_behind();
    }

    /// Behind the answer: nobody is waited for who was not asked.
    pub(super) fn look_behind(&mut self) {
        if self.asked().is_empty() {
            self.repair_behind();
        }
    }

    /// Repairs those whose answer was another than what was found.
    pub(super) fn repair_behind(&mut self) {
        let known = self.up_to_date().union(self.repaired).union(self.repairing);
        for place in self.answered.without(known).iter() {
            let to = self.replicas().node(place);
            self.effects.push_back(Effect::Repair { to });
        }
        self.phase = Phase::Over;
    }

    fn up_to_date(&self) -> Members {
        let digest = self.state.digest();
        let same = |place: &usize| self.holds[*place].as_ref() == Some(&digest);
        self.answered.iter().filter(same).collect()
    }
}
