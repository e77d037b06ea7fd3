//! Who mints a write, in which bounds, and what becomes of requests that nobody answers (rule 17).

use core::time::Duration;

use ringwood_types::{Hlc, NodeId, Version};

use super::super::failure::Failure;
use super::super::plant::Plant;
use super::super::replicas::Members;
use super::super::standing::Attempt;
use super::seam::{Conflict, Effect, Why};
use super::{Holders, Phase, Write};
use crate::time::Time;

/// A request to mint.
#[derive(Clone, Debug, Hash)]
pub(super) struct Ask {
    pub(super) attempt: Attempt,
    by: Minter,
    above: Hlc,
    limit: Hlc,
    /// Its answer, if that came when somebody else had been asked already.
    version: Option<Version>,
}

#[derive(Clone, Copy, Debug, Hash)]
enum Minter {
    Owner(usize),
    /// A fallback, for a replica.
    Guest(NodeId, usize),
}

impl Write {
    /// Asks the next one that may mint; if nobody is left, waits for one that was silent.
    pub(super) fn ask_next(&mut self, now: Time) {
        if self.answered
            && !self.planted.has(Plant::MintedAgainBehind)
            && !self.planted.has(Plant::MintedAfterUnknown)
        {
            return self.finish();
        }
        if let Some(place) = self.next_minter() {
            return self.ask(now, Minter::Owner(place), Hlc::ZERO);
        }
        if let Some(ask) = self.silent.take() {
            self.settle(ask.attempt, true);
            return match ask.version {
                Some(version) => self.minted(now, &ask, version),
                None => {
                    let patience = None;
                    self.phase = Phase::Minting { ask, patience };
                }
            };
        }
        match self.next_guest() {
            Some(guest) => self.ask(now, guest, Hlc::ZERO),
            None => self.end(now, Why::NobodyMints),
        }
    }

    /// The first time this node, if it may; else, and every later time, the first of the table that is
    /// healthy: all coordinators meet there, and somebody always finishes.
    fn next_minter(&self) -> Option<usize> {
        let standing = &self.request.standing;
        let left = |all: Members| all.and(standing.reachable).without(self.tried);
        let whole = left(standing.replicas.minting());
        let first =
            self.rounds == 0 && !self.may_exist() || self.planted.has(Plant::SecondMintingAnywhere);
        let me = standing.replicas.place(self.request.me);
        if self.planted.has(Plant::RebuildingMints) {
            return left(standing.replicas.old()).iter().last();
        }
        let own = me.filter(|&place| first && whole.contains(place));
        own.or_else(|| whole.and(standing.healthy).iter().next())
            .or_else(|| whole.iter().next())
            .or_else(|| match self.request.conflict {
                // Nobody's order hangs on its clock.
                Conflict::Siblings => left(standing.replicas.old()).iter().next(),
                Conflict::LastWriteWins => None,
            })
    }

    /// Rule 3: a guest mints where no owner can, and not in a last-write-wins namespace.
    fn next_guest(&mut self) -> Option<Minter> {
        let may =
            self.request.sloppy && self.request.conflict == Conflict::Siblings && !self.may_exist();
        let target = self.replicas().old().iter().next()?;
        let guest = may.then(|| self.next_fallback())??;
        Some(Minter::Guest(guest, target))
    }

    fn ask(&mut self, now: Time, by: Minter, at_least: Hlc) {
        self.attempt.0 += 1;
        let ask = Ask {
            attempt: self.attempt,
            by,
            above: self.floor,
            limit: self.limit(now, at_least),
            version: None,
        };
        let (to, guest_for) = match by {
            Minter::Owner(place) => (self.replicas().node(place), None),
            Minter::Guest(guest, target) => (guest, Some(self.replicas().node(target))),
        };
        self.effects.push_back(Effect::Mint {
            to,
            attempt: ask.attempt,
            epoch: self.replicas().epoch(),
            above: ask.above,
            limit: ask.limit,
            guest_for,
        });
        // A version of a siblings namespace that is minted twice is two: there, silence is waited for.
        let patience = match self.request.conflict {
            Conflict::LastWriteWins => self.after(now, self.tuning.patience),
            Conflict::Siblings => None,
        };
        self.phase = Phase::Minting { ask, patience };
    }

    fn limit(&self, now: Time, at_least: Hlc) -> Hlc {
        let base = self.hybrid(now).max(self.floor).max(at_least);
        let slack = millis(self.tuning.slack).max(1);
        Hlc::at(base.millis().saturating_add(slack))
    }

    /// This node's hybrid time, as far as it follows from the time that has passed.
    fn hybrid(&self, now: Time) -> Hlc {
        let passed = millis(now.since(self.started));
        Hlc::at(self.request.hybrid.millis().saturating_add(passed))
    }

    /// Its patience is over. Whoever is asked next has to mint above what the silent one may mint.
    pub(super) fn minter_is_silent(&mut self, now: Time) {
        let Phase::Minting { ask, patience } = &mut self.phase else {
            return;
        };
        *patience = None;
        let Minter::Owner(place) = ask.by else {
            return;
        };
        let ask = ask.clone();
        self.tried.insert(place);
        if self.next_minter().is_none() || self.answered {
            self.tried.remove(place);
            return;
        }
        self.failures[place] = Some(Failure::Silent);
        self.unresolved.push(ask.attempt);
        self.raise_floor(ask.limit);
        self.silent = Some(ask);
        self.ask_next(now);
    }

    /// `write-2`, for a request that may have been carried out.
    fn raise_floor(&mut self, limit: Hlc) {
        if !self.planted.has(Plant::NotAboveTheLimit) {
            self.floor = self.floor.max(limit);
        }
    }

    /// The one that is waited for did not mint, or nobody knows.
    pub(super) fn mint_failed(&mut self, now: Time, failure: Failure) {
        let Phase::Minting { ask, .. } = core::mem::replace(&mut self.phase, Phase::Over) else {
            return;
        };
        if let Minter::Owner(place) = ask.by {
            self.failures[place] = Some(failure);
            match failure {
                Failure::Fenced(epoch) if !self.answered => return self.renew(epoch),
                Failure::AboveLimit(time) if self.may_raise(now, place, time) => {
                    self.raised.insert(place);
                    return self.ask(now, ask.by, time);
                }
                _ => self.tried.insert(place),
            }
        }
        if !failure.did_nothing() {
            self.lost = true;
            self.silent = None;
            self.raise_floor(ask.limit);
            if self.request.conflict == Conflict::Siblings {
                return self.end(now, Why::NobodyMints);
            }
        }
        self.ask_next(now);
    }

    /// Nothing was done: with a limit of its own it will, unless its clock is beyond all limits.
    fn may_raise(&self, now: Time, place: usize, time: Hlc) -> bool {
        let skew = millis(self.tuning.skew_max);
        let plausible = self.hybrid(now).millis().saturating_add(skew);
        !self.answered && !self.raised.contains(place) && time.millis() <= plausible
    }

    /// What became of a request that was passed over.
    pub(super) fn settle(&mut self, attempt: Attempt, known: bool) {
        let before = self.unresolved.len();
        self.unresolved.retain(|&one| one != attempt);
        self.lost |= before > self.unresolved.len() && !known;
        self.silent.take_if(|ask| ask.attempt == attempt);
    }

    pub(super) fn mint_answered(&mut self, now: Time, attempt: Attempt, version: Version) {
        if let Phase::Minting { ask, .. } = &self.phase
            && ask.attempt == attempt
        {
            let ask = ask.clone();
            return self.minted(now, &ask, version);
        }
        if self.unresolved.contains(&attempt) {
            // It counts as minted; whoever has been asked since mints above it.
            match &mut self.silent {
                Some(ask) if ask.attempt == attempt => ask.version = Some(version),
                _ => {
                    self.settle(attempt, false);
                }
            }
        }
    }

    fn minted(&mut self, now: Time, ask: &Ask, version: Version) {
        let in_bounds = version.time > ask.above && version.time <= ask.limit;
        self.rounds = self.rounds.saturating_add(1);
        self.floor = self.floor.max(version.time);
        if self.request.conflict == Conflict::LastWriteWins
            && !in_bounds
            && !self.planted.has(Plant::NotAboveTheLimit)
        {
            // A minter that does not keep to its bounds is no minter. What it minted is below the next.
            if let Minter::Owner(place) = ask.by {
                self.failures[place] = Some(Failure::Refused);
                self.tried.insert(place);
            }
            return self.ask_next(now);
        }
        self.version = Some(version);
        if !self.planted.has(Plant::AnswersCarried) {
            self.copies = Holders::default();
        }
        match ask.by {
            Minter::Owner(place) => {
                self.fallbacks_used = 0;
                self.tried.remove(place);
                self.copies.durable.insert(place);
                self.copies.held.insert(place);
            }
            Minter::Guest(_, target) => self.copies.hinted.insert(target),
        }
        self.store_all(now, version);
    }

    /// Something later is in its way: it is minted again above that, unless it has been too often.
    pub(super) fn mint_again(&mut self, now: Time) {
        if self.planted.has(Plant::MintedAfterUnknown) {
            self.reply(super::Outcome::Unknown {
                why: Why::Contended,
                copies: self.copies(),
            });
        }
        match self.rounds {
            rounds if rounds >= self.tuning.rounds_max => self.end(now, Why::Contended),
            0 | 1 => self.ask_next(now),
            rounds => {
                let pause = self.tuning.pause * (1 << (rounds - 2).min(8));
                let until = now.after(self.random.shorter_than(pause));
                self.phase = Phase::Pausing { until };
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
