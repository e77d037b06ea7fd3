//! One read of one key: R replicas of the read set answer, their states are joined, and those that are
//! behind are repaired.
//!
//! ```text
//!           R of them included                        durable at N - R + 1
//!  Asking ─────────────────────▶ (Repairing, if monotonic) ──────────▶ Reply ──▶ Behind: those that are
//!   │  ▲                                                                         behind are repaired
//!   └──┴─ Renewing: a replica has moved on to a later epoch
//! ```
//! The R best are asked at once, and one more whenever one fails or the hedge's time has passed. Where
//! digests are asked for, a replica counts as soon as the joined state includes what it has; else its
//! state is fetched. A replica that may have purged what took the place of something found elsewhere is
//! asked what it has seen, before it counts.
//!
//! # Invariants
//! - `read-1`: what is returned includes the states of R replicas of the read set of one epoch, none of
//!   them rebuilding, each given after the read began.
//! - `read-2`: nothing is returned that was replaced, by something acknowledged, before the read began:
//!   also if that has been purged at one replica when another did not know of it.
//! - `read-3`: what a monotonic read returns is, before that, durable at so many replicas of the old and the
//!   new set that every later read at its level meets one.
//! - `read-4`: repairs go to owners only, and mint nothing.
//! - `read-5`: the client is answered once, at its deadline at the latest.
//!
//! *Not here*: what a state is ([`Joinable`]), what of it a client is shown.

mod repairing;
mod seam;

use alloc::collections::VecDeque;
use core::fmt;
use core::hash::{Hash, Hasher};

use ringwood_types::{Epoch, NodeId};

use super::failure::Failure;
use super::plant::{Plant, Planted};
use super::quorum::{Impossible, ReadQuorum, WriteQuorum};
use super::replicas::{Members, REPLICAS_MAX, ReplicaSet};
use super::standing::{Attempt, Standing};
use crate::time::Time;
pub use seam::{Ask, Effect, Input, Joinable, Outcome, Request, Tuning, Why};

/// The coordinator of one read.
#[derive(Clone)]
pub struct Read<S: Joinable> {
    request: Request,
    tuning: Tuning,
    needs: ReadQuorum,
    repair: WriteQuorum,
    phase: Phase,
    attempt: Attempt,
    /// All states that came, joined.
    state: S,
    /// Which state a replica had when it answered.
    holds: [Option<S::Digest>; REPLICAS_MAX],
    answered: Members,
    /// Whose state came.
    joined: Members,
    /// Whose exact state came.
    exact: Members,
    /// Whose state was asked for and has not come.
    states_asked: Members,
    /// Whose exact state was asked for and has not come.
    exact_asked: Members,
    /// Whose digest was asked for and has not come.
    digests_asked: Members,
    failures: [Option<Failure>; REPLICAS_MAX],
    fenced: Option<Epoch>,
    repaired: Members,
    repairing: Members,
    effects: VecDeque<Effect<S>>,
    planted: Planted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Waits for answers; at this time, one more is asked.
    Asking { hedge: Time },
    /// Waits until what was found is durable at enough replicas.
    Repairing,
    /// The client is answered; until this time, late answers may show who is behind.
    Behind { until: Time },
    /// Waits for the replicas of a later epoch.
    Renewing,
    /// Nothing more happens.
    Over,
}

impl<S: Joinable> Read<S> {
    /// Begins to read. Effects are there at once.
    #[must_use]
    pub fn new(request: Request, tuning: Tuning, now: Time) -> Self {
        Self::planted(request, tuning, now, Planted::default())
    }

    /// With a defect, for the tests of the tests.
    #[cfg(feature = "plant")]
    #[must_use]
    pub fn with_plant(request: Request, tuning: Tuning, now: Time, plant: Plant) -> Self {
        Self::planted(request, tuning, now, Planted(Some(plant)))
    }

    fn planted(request: Request, tuning: Tuning, now: Time, planted: Planted) -> Self {
        let mut read = Self {
            request,
            tuning,
            needs: ReadQuorum::default(),
            repair: WriteQuorum::default(),
            phase: Phase::Over,
            attempt: Attempt::default(),
            state: S::default(),
            holds: [const { None }; REPLICAS_MAX],
            answered: Members::default(),
            joined: Members::default(),
            exact: Members::default(),
            exact_asked: Members::default(),
            states_asked: Members::default(),
            digests_asked: Members::default(),
            failures: [None; REPLICAS_MAX],
            fenced: None,
            repaired: Members::default(),
            repairing: Members::default(),
            effects: VecDeque::new(),
            planted,
        };
        read.begin(now);
        read
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, now: Time, input: Input<S>) {
        match input {
            _ if self.phase == Phase::Over => {}
            _ if now >= self.request.deadline => self.refuse(Why::Deadline),
            Input::Wake => self.wake(now),
            Input::Answered {
                from,
                attempt,
                state,
                exact,
            } => self.state_came(now, from, attempt, &state, exact),
            Input::Digest {
                from,
                attempt,
                digest,
            } => self.digest_came(now, from, attempt, digest),
            Input::Failed {
                from,
                attempt,
                failure,
            } => self.failed(now, from, attempt, failure),
            Input::Repaired { from } => self.was_repaired(now, from),
            Input::NotRepaired { from, failure } => self.not_repaired(now, from, failure),
            Input::Renewed(standing) => self.renewed(now, standing),
            Input::Abandoned => self.phase = Phase::Over,
        }
    }

    /// What it wants done next, in order.
    pub fn poll_effect(&mut self) -> Option<Effect<S>> {
        self.effects.pop_front()
    }

    /// When to wake it, if nothing happens before. `None` once it is over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let deadline = self.request.deadline;
        match self.phase {
            Phase::Asking { hedge } => Some(hedge.min(deadline)),
            Phase::Behind { until } => Some(until.min(deadline)),
            Phase::Repairing | Phase::Renewing => Some(deadline),
            Phase::Over => None,
        }
    }

    /// Whether it has nothing more to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over && self.effects.is_empty()
    }

    /// What has been found: what a repair stores.
    #[must_use]
    pub const fn state(&self) -> &S {
        &self.state
    }

    /// Replicas that did not do what they were last asked, and why.
    pub fn failures(&self) -> impl Iterator<Item = (NodeId, Failure)> + '_ {
        let nodes = self.replicas().nodes().iter().zip(self.failures);
        nodes.filter_map(|(&node, failure)| Some((node, failure?)))
    }

    fn replicas(&self) -> &ReplicaSet {
        &self.request.standing.replicas
    }

    fn begin(&mut self, now: Time) {
        match self.quorums() {
            Err(impossible) => self.refuse(Why::Impossible(impossible)),
            Ok((needs, repair)) => {
                (self.needs, self.repair) = (needs, repair);
                let up = self.left();
                if !self.enough(up) {
                    return self.refuse(Why::TooFewUp(up.len()));
                }
                self.attempt.0 += 1;
                let hedge = now.after(self.tuning.hedge);
                self.phase = Phase::Asking { hedge };
                self.proceed(now);
            }
        }
    }

    fn quorums(&self) -> Result<(ReadQuorum, WriteQuorum), Impossible> {
        let (replicas, level) = (self.replicas(), self.request.level);
        let repair = match self.request.monotonic {
            true => WriteQuorum::met_by(replicas, level)?,
            false => WriteQuorum::default(),
        };
        let needs = match self.planted.has(Plant::RebuildingRead) {
            true => ReadQuorum::default(),
            false => ReadQuorum::of(replicas, level)?,
        };
        Ok((needs, repair))
    }

    /// Those that may be read and were not asked, or did not fail.
    fn left(&self) -> Members {
        let standing = &self.request.standing;
        let readable = match self.planted.has(Plant::RebuildingRead) {
            true => standing.replicas.read_set(),
            false => standing.replicas.readable(),
        };
        let heard = self
            .answered
            .union(self.states_asked)
            .union(self.digests_asked);
        let failed = (0..REPLICAS_MAX).filter(|&place| self.failures[place].is_some());
        readable
            .and(standing.reachable)
            .without(heard)
            .without(failed.collect())
    }

    /// Who is to answer yet.
    fn asked(&self) -> Members {
        self.states_asked
            .union(self.exact_asked)
            .union(self.digests_asked)
    }

    fn enough(&self, answers: Members) -> bool {
        if self.planted.has(Plant::FirstAnswerOnly) {
            return !answers.is_empty();
        }
        if self.planted.has(Plant::RebuildingRead) {
            let needed = self.request.level.of(self.replicas().read_set().len());
            return needed.is_ok_and(|needed| answers.len() >= needed);
        }
        self.needs.is_met(self.replicas(), answers)
    }

    /// Who answered, and whose state is part of what was found.
    fn included(&self) -> Members {
        let same = |one: usize, digest| self.holds[one].as_ref() == Some(digest);
        let included = |&place: &usize| {
            let stated = |digest| self.joined.iter().any(|one| same(one, digest));
            let holds = self.holds[place].as_ref();
            self.planted.has(Plant::DigestsNotCompared)
                || holds.is_some_and(|digest| stated(digest) || self.state.includes(digest))
        };
        self.answered.iter().filter(included).collect()
    }

    /// Of those, who may know that something of what was found is gone (`read-2`).
    fn in_doubt(&self, included: Members) -> Members {
        let doubts = |&place: &usize| {
            let holds = self.holds[place].as_ref();
            holds.is_some_and(|digest| self.state.in_doubt(digest))
        };
        match self.planted.has(Plant::AbsenceIgnored) {
            true => Members::default(),
            false => included.without(self.exact).iter().filter(doubts).collect(),
        }
    }

    /// Whether it is done; else that enough are asked.
    fn proceed(&mut self, now: Time) {
        if !matches!(self.phase, Phase::Asking { .. }) {
            return;
        }
        let included = self.included();
        let doubted = self.in_doubt(included);
        if self.enough(included.without(doubted)) {
            return self.found(now);
        }
        for place in doubted.without(self.exact_asked).iter() {
            self.ask(place, Ask::Exact);
        }
        // A state that is on its way may include what these have; it is waited for until the hedge.
        let unknown = self.answered.without(included);
        if self.states_asked.is_empty() {
            for place in unknown.without(self.exact_asked).iter() {
                self.ask(place, Ask::State);
            }
        }
        while !self.enough(self.answered.union(self.asked())) {
            if !self.ask_one_more() {
                return self.give_up();
            }
        }
    }

    /// Too few will answer, in this epoch.
    fn give_up(&mut self) {
        match self.fenced.take() {
            Some(epoch) => {
                self.phase = Phase::Renewing;
                self.effects.push_back(Effect::Renew { epoch });
            }
            None => self.refuse(Why::TooFewAnswered),
        }
    }

    /// The best that is left.
    fn ask_one_more(&mut self) -> bool {
        let left = self.left();
        let healthy = left.and(self.request.standing.healthy);
        let best = self.request.best.as_slice().iter();
        let best = best.filter_map(|&node| self.replicas().place(node));
        let best = best
            .chain(0..REPLICAS_MAX)
            .find(|&place| healthy.contains(place));
        let Some(place) = best.or_else(|| left.iter().next()) else {
            return false;
        };
        let first = self.states_asked.is_empty() && self.answered.is_empty();
        self.ask(
            place,
            match self.request.digests && !first {
                true => Ask::Digest,
                false => Ask::State,
            },
        );
        true
    }

    fn ask(&mut self, place: usize, ask: Ask) {
        match ask {
            Ask::Digest => self.digests_asked.insert(place),
            Ask::State => self.states_asked.insert(place),
            Ask::Exact => self.exact_asked.insert(place),
        }
        self.effects.push_back(Effect::Read {
            to: self.replicas().node(place),
            attempt: self.attempt,
            epoch: self.replicas().epoch(),
            ask,
        });
    }

    fn wake(&mut self, now: Time) {
        match self.phase {
            Phase::Asking { hedge } if now >= hedge => {
                self.phase = Phase::Asking {
                    hedge: now.after(self.tuning.hedge),
                };
                // Whoever was to send its state may be the slow one.
                let unknown = self.answered.without(self.included());
                for place in unknown
                    .without(self.states_asked.union(self.exact_asked))
                    .iter()
                {
                    self.ask(place, Ask::State);
                }
                self.ask_one_more();
                self.proceed(now);
            }
            Phase::Behind { until } if now >= until => self.repair_behind(),
            _ => {}
        }
    }

    fn state_came(&mut self, now: Time, from: NodeId, attempt: Attempt, state: &S, exact: bool) {
        // While it is being made durable, what is returned stays as it is.
        let frozen = self.phase == Phase::Repairing || self.phase == Phase::Renewing;
        if !frozen {
            self.state.join(state);
        }
        let place = self.replicas().place(from);
        if let Some(place) = place.filter(|_| attempt == self.attempt) {
            self.states_asked.remove(place);
            if exact {
                self.exact_asked.remove(place);
            }
            if !frozen {
                self.joined.insert(place);
            }
            if exact && !frozen {
                self.exact.insert(place);
            }
        }
        self.answer_came(now, from, attempt, state.digest());
    }

    fn digest_came(&mut self, now: Time, from: NodeId, attempt: Attempt, digest: S::Digest) {
        let place = self.replicas().place(from);
        // Its state has come already, or is asked for as well.
        let known = place.is_some_and(|place| self.holds[place].is_some());
        if !known {
            self.answer_came(now, from, attempt, digest);
        }
    }

    fn answer_came(&mut self, now: Time, from: NodeId, attempt: Attempt, digest: S::Digest) {
        let place = self.replicas().place(from);
        let Some(place) = place.filter(|_| attempt == self.attempt) else {
            return;
        };
        self.digests_asked.remove(place);
        self.holds[place] = Some(digest);
        self.failures[place] = None;
        self.answered.insert(place);
        match self.phase {
            Phase::Behind { .. } => self.look_behind(),
            _ => self.proceed(now),
        }
    }

    fn failed(&mut self, now: Time, from: NodeId, attempt: Attempt, failure: Failure) {
        let place = self.replicas().place(from);
        let asked = |place: &usize| attempt == self.attempt && self.asked().contains(*place);
        let Some(place) = place.filter(asked) else {
            return;
        };
        if let Failure::Fenced(epoch) = failure {
            self.fenced = self.fenced.max(Some(epoch));
        }
        // A digest without its state, or a state that remains in doubt, is no answer.
        self.answered.remove(place);
        self.states_asked.remove(place);
        self.exact_asked.remove(place);
        self.digests_asked.remove(place);
        self.failures[place] = Some(failure);
        match self.phase {
            Phase::Behind { .. } => self.look_behind(),
            _ => self.proceed(now),
        }
    }

    fn renewed(&mut self, now: Time, standing: Standing) {
        if self.phase != Phase::Renewing || standing.replicas.epoch() <= self.replicas().epoch() {
            return;
        }
        self.request.standing = standing;
        self.holds = [const { None }; REPLICAS_MAX];
        self.answered = Members::default();
        self.joined = Members::default();
        self.exact = Members::default();
        self.exact_asked = Members::default();
        self.states_asked = Members::default();
        self.digests_asked = Members::default();
        self.failures = [None; REPLICAS_MAX];
        self.begin(now);
    }

    /// The client is told so, if it has not been answered.
    fn refuse(&mut self, why: Why) {
        if matches!(self.phase, Phase::Behind { .. }) {
            return self.repair_behind();
        }
        self.effects.push_back(Effect::Reply(Outcome::Refused {
            why,
            answered: self.answered.len(),
            needed: self.needs.answers(),
        }));
        self.phase = Phase::Over;
    }
}

/// So that worlds of all choices tell states apart.
impl<S: Joinable<Digest: Hash> + Hash> Hash for Read<S> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let heard = (self.answered, self.joined, self.exact, self.failures);
        let asked = (self.states_asked, self.exact_asked, self.digests_asked);
        let repair = (self.repaired, self.repairing);
        (&self.request, self.phase, self.attempt, self.fenced).hash(hasher);
        (
            &self.state,
            &self.holds,
            heard,
            asked,
            repair,
            &self.effects,
        )
            .hash(hasher);
    }
}

impl<S: Joinable> fmt::Debug for Read<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read")
            .field("replicas", self.replicas())
            .field("phase", &self.phase)
            .field("answered", &self.answered)
            .finish_non_exhaustive()
    }
}
