//! One write of one key, over its replicas: minted by an owner, stored by the others, acknowledged when
//! rules 5 and 17 of CAUSALITY say so.
//!
//! ```text
//!             answered               R held, W durable
//!  Minting ─────────────▶ Storing ─────────────────────▶ Reply(Applied); the other stores go on
//!   │   ▲                  │ │                            until the deadline, what is left becomes hints
//!   │   │   Pausing ◀──────┘ │ R held cannot be had, for something later is there: minted again
//!   │   └──────┘             │
//!   └──────▶ Renewing ◀──────┘ a replica has moved on to a later epoch
//! ```
//! The bytes stay with the driver, which carries out [`Effect`]s and reports what came of them. A batch of
//! one partition is one write: it is minted in one record, and a replica that holds not all of it is
//! older than the latest thing in its way.
//!
//! # Invariants
//! - `write-1`: only the last minting that was asked for is acknowledged, by answers for it alone.
//! - `write-2`: every minting is above every earlier one of the write, those of unanswered requests
//!   included (their limit), and above every time answered.
//! - `write-3`: nothing is minted once the client has its answer, or is gone.
//! - `write-4`: [`Outcome::NotApplied`] is said only if no request to mint can have been carried out.
//! - `write-5`: the client is answered once, at its deadline at the latest.
//!
//! *Not here*: what a replica answers, who is a replica, repetition of messages (a store may be repeated at
//! will, a request to mint never).

mod minting;
mod seam;
mod storing;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use ringwood_types::{Epoch, Hlc, NodeId, Version};

use super::failure::Failure;
use super::plant::{Plant, Planted};
use super::quorum::{Impossible, WriteQuorum};
use super::replicas::{Members, REPLICAS_MAX, ReplicaSet};
use super::standing::{Attempt, Standing};
use crate::random::Random;
use crate::time::Time;
pub use seam::{Answer, Conflict, Copies, Effect, Input, Outcome, Request, Tuning, Why};

use minting::Ask;

/// The coordinator of one write.
#[derive(Clone, Debug, Hash)]
pub struct Write {
    request: Request,
    tuning: Tuning,
    started: Time,
    needs: WriteQuorum,
    phase: Phase,
    /// The client has its answer, or is gone.
    answered: bool,
    attempt: Attempt,
    /// Every later minting is above it.
    floor: Hlc,
    /// Mintings that got a version.
    rounds: u8,
    /// The last of them.
    version: Option<Version>,
    copies: Holders,
    /// Replicas that did not mint when they were asked.
    tried: Members,
    /// Those that were asked again with a higher limit.
    raised: Members,
    /// The last request that nobody answered, if nothing has been done by any later one.
    silent: Option<Ask>,
    /// Requests that nobody has answered and that were passed over.
    unresolved: Vec<Attempt>,
    /// A request may have been carried out, and nobody will ever say.
    lost: bool,
    failures: [Option<Failure>; REPLICAS_MAX],
    /// A replica has applied this later epoch.
    fenced: Option<Epoch>,
    /// Fallbacks that were asked for this minting.
    fallbacks_used: usize,
    random: Random,
    effects: VecDeque<Effect>,
    planted: Planted,
}

/// Who has the last minting.
#[derive(Clone, Debug, Default, Hash)]
struct Holders {
    /// It is durable here, or was.
    durable: Members,
    /// It stands here.
    held: Members,
    /// Somebody keeps it for these.
    hinted: Members,
    /// Asked, and not heard of.
    asked: Members,
    /// Fallbacks that were asked, and for whom.
    hinting: Vec<(NodeId, usize)>,
}

#[derive(Clone, Debug, Hash)]
enum Phase {
    /// Somebody was asked to mint.
    Minting {
        ask: Ask,
        /// Until when it is waited for, if somebody else is left to be asked.
        patience: Option<Time>,
    },
    /// What was minted is on its way to the replicas.
    Storing {
        version: Version,
        /// Until when silent replicas are waited for; `None` behind that.
        patience: Option<Time>,
    },
    /// Somebody else was faster; not everybody shall try again at the same moment.
    Pausing { until: Time },
    /// Waits for the replicas of a later epoch.
    Renewing,
    /// Nothing more happens.
    Over,
}

impl Write {
    /// Begins to write. Effects are there at once.
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
        let mut write = Self {
            floor: request.context,
            random: Random::new(request.seed),
            request,
            tuning,
            started: now,
            needs: WriteQuorum::default(),
            phase: Phase::Over,
            answered: false,
            attempt: Attempt::default(),
            rounds: 0,
            version: None,
            copies: Holders::default(),
            tried: Members::default(),
            raised: Members::default(),
            silent: None,
            unresolved: Vec::new(),
            lost: false,
            failures: [None; REPLICAS_MAX],
            fenced: None,
            fallbacks_used: 0,
            effects: VecDeque::new(),
            planted,
        };
        write.begin(now);
        write
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        match input {
            _ if matches!(self.phase, Phase::Over) => {}
            _ if now >= self.request.deadline => self.deadline_passed(now, &input),
            Input::Wake => self.wake(now),
            Input::Minted { attempt, version } => self.mint_answered(now, attempt, version),
            Input::Answered {
                from,
                attempt,
                answer,
            } => self.stored(now, from, attempt, answer),
            Input::Hinted { holder, attempt } => self.hinted(now, holder, attempt),
            Input::Failed {
                from,
                attempt,
                failure,
            } => self.failed(now, from, attempt, failure),
            Input::Renewed(standing) => self.renewed(now, standing),
            Input::Abandoned => self.abandoned(),
        }
    }

    /// What it wants done next, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to wake it, if nothing happens before. `None` once it is over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let deadline = self.request.deadline;
        match self.phase {
            Phase::Minting { patience, .. } | Phase::Storing { patience, .. } => {
                Some(patience.map_or(deadline, |patience| patience.min(deadline)))
            }
            Phase::Pausing { until } => Some(until.min(deadline)),
            Phase::Renewing => Some(deadline),
            Phase::Over => None,
        }
    }

    /// Whether it has nothing more to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over) && self.effects.is_empty()
    }

    /// How often it was minted: more than once where something later was in its way.
    #[must_use]
    pub const fn mintings(&self) -> u8 {
        self.rounds
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
        match self.quorum() {
            Err(impossible) => self.end(now, Why::Impossible(impossible)),
            Ok(needs) => {
                self.needs = needs;
                match self.too_few_up() {
                    Some(why) => self.end(now, why),
                    None => self.ask_next(now),
                }
            }
        }
    }

    fn quorum(&self) -> Result<WriteQuorum, Impossible> {
        let Request {
            level,
            order,
            conflict,
            ..
        } = self.request;
        let order = (conflict == Conflict::LastWriteWins).then_some(order);
        WriteQuorum::of(self.replicas(), level, order)
    }

    /// A strict write that cannot succeed is refused before it is minted: then it was not done.
    fn too_few_up(&self) -> Option<Why> {
        let up = self.request.standing.reachable;
        let replicas = self.replicas();
        let enough = self.needs.is_durable(replicas, up) && self.needs.is_ordered(replicas, up);
        (!enough && !self.hints_count()).then(|| Why::TooFewUp {
            needed: self.needs.copies(),
            up: up.len(),
        })
    }

    fn hints_count(&self) -> bool {
        self.request.sloppy || self.planted.has(Plant::HintCounts)
    }

    fn wake(&mut self, now: Time) {
        match self.phase {
            Phase::Minting {
                patience: Some(until),
                ..
            } if now >= until => self.minter_is_silent(now),
            Phase::Storing {
                patience: Some(until),
                ..
            } if now >= until => self.replicas_are_silent(now),
            Phase::Pausing { until } if now >= until => self.ask_next(now),
            _ => {}
        }
    }

    /// What comes at the last moment still counts for what is left to be hinted; nothing new begins.
    fn deadline_passed(&mut self, now: Time, input: &Input) {
        if let Input::Answered { from, attempt, .. } = *input
            && attempt == self.attempt
            && let Some(place) = self.replicas().place(from)
        {
            self.copies.durable.insert(place);
        }
        self.end(now, Why::Deadline);
    }

    fn failed(&mut self, now: Time, from: NodeId, attempt: Attempt, failure: Failure) {
        match &self.phase {
            Phase::Minting { ask, .. } if ask.attempt == attempt => {
                self.mint_failed(now, failure);
            }
            Phase::Storing { .. } if self.attempt == attempt => {
                self.store_failed(from, failure);
                self.weigh(now);
            }
            _ => self.settle(attempt, failure.did_nothing()),
        }
    }

    /// A replica has applied a later epoch, and without it the write gets nowhere.
    fn renew(&mut self, epoch: Epoch) {
        self.fenced = None;
        self.phase = Phase::Renewing;
        self.effects.push_back(Effect::Renew { epoch });
    }

    fn renewed(&mut self, now: Time, standing: Standing) {
        if !matches!(self.phase, Phase::Renewing)
            || standing.replicas.epoch() <= self.replicas().epoch()
        {
            return;
        }
        self.request.standing = standing;
        self.tried = Members::default();
        self.raised = Members::default();
        self.failures = [None; REPLICAS_MAX];
        self.silent = None;
        match (self.request.conflict, self.version) {
            // Its dot is its own: it is the same write in every epoch, and is counted anew.
            (Conflict::Siblings, Some(version)) => match self.quorum() {
                Ok(needs) => {
                    self.needs = needs;
                    self.attempt.0 += 1;
                    self.copies = Holders::default();
                    self.store_all(now, version);
                }
                Err(impossible) => self.end(now, Why::Impossible(impossible)),
            },
            _ => {
                self.copies = Holders::default();
                self.begin(now);
            }
        }
    }

    fn abandoned(&mut self) {
        self.answered = true;
        if matches!(self.phase, Phase::Pausing { .. } | Phase::Renewing) {
            self.phase = Phase::Over;
        }
    }

    fn reply(&mut self, outcome: Outcome) {
        if !self.answered {
            self.answered = true;
            self.effects.push_back(Effect::Reply(outcome));
        }
    }

    /// The client is told how it stands, if it has not been. Stores that are under way go on.
    fn end(&mut self, now: Time, why: Why) {
        self.reply(match self.may_exist() {
            true => Outcome::Unknown {
                why,
                copies: self.copies(),
            },
            false => Outcome::NotApplied { why },
        });
        let stores = matches!(self.phase, Phase::Storing { .. }) && !self.copies.asked.is_empty();
        if !stores || now >= self.request.deadline {
            self.finish();
        }
    }

    /// Whether any minting of this write may be somewhere (`write-4`).
    fn may_exist(&self) -> bool {
        let asked = matches!(self.phase, Phase::Minting { .. }) || !self.unresolved.is_empty();
        self.rounds > 0 || (asked || self.lost) && !self.planted.has(Plant::SilenceIsNo)
    }

    fn copies(&self) -> Copies {
        let Holders {
            durable, hinted, ..
        } = self.copies;
        Copies {
            nodes: self.replicas().of(durable),
            of: self.replicas().nodes().len(),
            hints: hinted.without(durable).len(),
        }
    }

    fn after(&self, now: Time, wait: Duration) -> Option<Time> {
        Some(now.after(wait)).filter(|&until| until < self.request.deadline)
    }
}
