//! Who has the last minting, whether that is enough, and what is done for those that do not.

use ringwood_types::{NodeId, Version};

use super::super::failure::Failure;
use super::super::plant::Plant;
use super::super::replicas::Members;
use super::super::standing::Attempt;
use super::seam::{Answer, Conflict, Effect, Outcome, Why};
use super::{Phase, Write};
use crate::time::Time;

impl Write {
    /// Sends it to every replica, old, new and rebuilding, that does not have it.
    pub(super) fn store_all(&mut self, now: Time, version: Version) {
        let patience = self.after(now, self.tuning.patience);
        self.phase = Phase::Storing { version, patience };
        let missing = self.replicas().all().without(self.copies.durable);
        let reachable = self.request.standing.reachable;
        for place in missing.and(reachable).iter() {
            self.copies.asked.insert(place);
            self.effects.push_back(Effect::Store {
                to: self.replicas().node(place),
                attempt: self.attempt,
                epoch: self.replicas().epoch(),
                version,
            });
        }
        for place in missing.without(reachable).iter() {
            self.store_failed(self.replicas().node(place), Failure::Unreachable);
        }
        self.weigh(now);
    }

    /// A replica has it, and says whether it stands.
    pub(super) fn stored(&mut self, now: Time, from: NodeId, attempt: Attempt, answer: Answer) {
        if let Answer::Older(time) = answer {
            self.floor = self.floor.max(time);
        }
        let last = self.attempt == attempt || self.planted.has(Plant::AnyMintingAcknowledged);
        let Some(place) = self.replicas().place(from) else {
            return;
        };
        if !last || !matches!(self.phase, Phase::Storing { .. }) {
            return;
        }
        self.failures[place] = None;
        self.copies.asked.remove(place);
        self.copies.durable.insert(place);
        let order_checked = self.request.conflict == Conflict::LastWriteWins
            && !self.planted.has(Plant::OlderIgnored);
        if answer == Answer::Held || !order_checked {
            self.copies.held.insert(place);
        }
        self.weigh(now);
    }

    pub(super) fn store_failed(&mut self, from: NodeId, failure: Failure) {
        if let Failure::Fenced(epoch) = failure {
            self.fenced = self.fenced.max(Some(epoch));
        }
        let hinting = &mut self.copies.hinting;
        if let Some(index) = hinting.iter().position(|&(holder, _)| holder == from) {
            let (_, place) = hinting.swap_remove(index);
            return self.hint_instead(place);
        }
        if let Some(place) = self.replicas().place(from)
            && !self.copies.durable.contains(place)
        {
            self.copies.asked.remove(place);
            self.failures[place] = Some(failure);
            self.hint_instead(place);
        }
    }

    /// A sloppy write has somebody else keep it, one node for each replica that fails.
    fn hint_instead(&mut self, place: usize) {
        let Phase::Storing { version, .. } = self.phase else {
            return;
        };
        if !self.hints_count() || self.answered || self.copies.hinted.contains(place) {
            return;
        }
        if let Some(holder) = self.next_fallback() {
            self.copies.hinting.push((holder, place));
            self.hint(place, holder, version);
        }
    }

    /// The next node that keeps things for others, and is no replica by now.
    pub(super) fn next_fallback(&mut self) -> Option<NodeId> {
        let left = &self.request.fallbacks.as_slice()[self.fallbacks_used..];
        let passed = left
            .iter()
            .position(|&node| !self.replicas().contains(node))?;
        let holder = left[passed];
        self.fallbacks_used += passed + 1;
        Some(holder)
    }

    fn hint(&mut self, place: usize, holder: NodeId, version: Version) {
        self.effects.push_back(Effect::Hint {
            target: self.replicas().node(place),
            holder,
            attempt: self.attempt,
            version,
        });
    }

    pub(super) fn hinted(&mut self, now: Time, holder: NodeId, attempt: Attempt) {
        let hinting = &mut self.copies.hinting;
        let index = hinting.iter().position(|&(one, _)| one == holder);
        if attempt == self.attempt
            && let Some(index) = index
        {
            let (_, place) = hinting.swap_remove(index);
            self.copies.hinted.insert(place);
            self.weigh(now);
        }
    }

    /// Their patience is over: fallbacks take what silent replicas do not, and what is known to be
    /// in the way is reason enough to mint again.
    pub(super) fn replicas_are_silent(&mut self, now: Time) {
        if let Phase::Storing { patience, .. } = &mut self.phase {
            *patience = None;
        }
        for place in self.copies.asked.iter() {
            self.failures[place] = Some(Failure::Silent);
            self.hint_instead(place);
        }
        self.weigh(now);
    }

    /// Whether it is done, can still be, or must be minted again.
    pub(super) fn weigh(&mut self, now: Time) {
        let Phase::Storing { version, patience } = self.phase else {
            return;
        };
        let waiting = self.copies.hinting.iter().map(|&(_, place)| place);
        let hinting = waiting.collect::<Members>();
        let open = self.copies.asked.union(hinting);
        let older = !self.copies.durable.without(self.copies.held).is_empty();
        if self.answered {
            return match open.is_empty() {
                _ if older && self.planted.has(Plant::MintedAgainBehind) => self.mint_again(now),
                true => self.finish(),
                false => {}
            };
        }
        let hints = match self.hints_count() {
            true => self.copies.hinted,
            false => Members::default(),
        };
        let durable = self.copies.durable.union(hints);
        let held = self.copies.held.union(hints);
        if self.is_durable(durable) && self.is_ordered(held) {
            let copies = self.copies();
            self.reply(Outcome::Applied { version, copies });
            return self.weigh(now);
        }
        // What is silent for long may yet answer `held`; with something later known, it is not waited for.
        let may_hold = match older && patience.is_none() {
            true => hinting,
            false => open,
        };
        if !self.is_durable(durable.union(open)) || !older && !self.is_ordered(held.union(open)) {
            match self.fenced {
                Some(epoch) => self.renew(epoch),
                None => self.end(now, Why::TooFewAnswered),
            }
        } else if !self.is_ordered(held.union(may_hold)) {
            self.mint_again(now);
        }
    }

    fn is_durable(&self, copies: Members) -> bool {
        let copies = match self.planted.has(Plant::OldSetOnly) {
            true if copies.and(self.replicas().old()).len() >= self.needs.copies() => {
                self.replicas().all()
            }
            _ => copies,
        };
        self.needs.is_durable(self.replicas(), copies)
    }

    fn is_ordered(&self, held: Members) -> bool {
        let replicas = self.replicas();
        let unchecked = self.planted.has(Plant::MintedAgainBehind)
            || self.planted.has(Plant::SecondUnchecked) && self.rounds > 1;
        if unchecked {
            return true;
        }
        if self.planted.has(Plant::RebuildingVouches) {
            return held.and(replicas.read_set()).len() >= self.needs.held();
        }
        if self.planted.has(Plant::PendingVouches) {
            return held.len() >= self.needs.held();
        }
        self.needs.is_ordered(replicas, held)
    }

    /// Nothing more is waited for: what is not known to be where it belongs becomes a hint.
    pub(super) fn finish(&mut self) {
        if let Phase::Storing { version, .. } = self.phase {
            let kept = self.copies.hinting.iter().map(|&(_, place)| place);
            let kept = kept.chain(self.copies.hinted.iter()).collect();
            let missing = self
                .replicas()
                .all()
                .without(self.copies.durable)
                .without(kept);
            for place in missing.iter() {
                let holder = self.next_fallback().unwrap_or(self.request.me);
                self.hint(place, holder, version);
            }
        }
        self.phase = Phase::Over;
    }
}
