//! What goes into the coordinator of a read, and what comes out.

use core::fmt;
use core::time::Duration;

use ringwood_types::{Epoch, NodeId};

use super::super::failure::Failure;
use super::super::quorum::{Impossible, Level};
use super::super::replicas::Nodes;
use super::super::standing::{Attempt, Standing};
use crate::time::Time;

/// What replicas hold of a key, as far as a read has to know: states that can be joined. The default is
/// a replica's that holds nothing.
///
/// Tombstones and what has expired are part of the state: what they beat must not come back. They are
/// purged, though, and a read's answers are not of one moment: one replica may answer before it hears of
/// a delete, and another after it has purged that. Then the key is not there, though the answers, joined,
/// say so. Hence a state comes in two kinds: *plain*, which says what the replica holds; and *exact*,
/// with the replica's seen-clock of the same moment, which says what it has seen and does not hold any
/// more. [`in_doubt`](Self::in_doubt) says when an exact one is needed.
pub trait Joinable: Clone + Default {
    /// Says which state it is in few bytes.
    type Digest: Clone + PartialEq;

    /// Takes in `other`: associative, commutative, idempotent. A version whose dot an exact state covers
    /// and does not hold is gone (rule 9).
    fn join(&mut self, other: &Self);

    /// Equal for equal versions only.
    fn digest(&self) -> Self::Digest;

    /// Whether joining the plain state of this digest would change nothing. May say no too often: then
    /// the state is fetched.
    fn includes(&self, digest: &Self::Digest) -> bool {
        self.digest() == *digest
    }

    /// Whether a replica with this digest may once have had something of this state, and have purged
    /// what took its place. May say yes too often: then the replica is asked for its exact state.
    ///
    /// Where the last write wins, only a replica that holds nothing can be in doubt, and not if all it has
    /// purged is older than what is held here.
    fn in_doubt(&self, digest: &Self::Digest) -> bool {
        self.digest() != *digest
    }
}

/// What a replica is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Which state it has.
    Digest,
    /// Its state, plain.
    State,
    /// Its state, exact.
    Exact,
}

/// A read as it is asked for.
#[derive(Clone, Debug, Hash)]
pub struct Request {
    /// Who may be asked.
    pub standing: Standing,
    /// Who is asked first: this node if it is a replica, then the quickest. Others come behind them.
    pub best: Nodes,
    /// How many replicas have to answer.
    pub level: Level,
    /// Whether no later read at this level may show an earlier state: what is found is made durable at
    /// enough replicas before it is returned.
    pub monotonic: bool,
    /// Only the first replica sends the state, the others say which they have.
    pub digests: bool,
    /// When the client is answered at the latest.
    pub deadline: Time,
}

/// How patient reads are. The same for all of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuning {
    /// When so much time has passed without enough answers, one more replica is asked, and so on.
    pub hedge: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            hedge: Duration::from_millis(20),
        }
    }
}

/// What happens to a read.
#[derive(Clone, Debug)]
pub enum Input<S: Joinable> {
    /// The moment of [`Read::next_deadline`](super::Read::next_deadline) has come.
    Wake,
    /// A replica's state.
    Answered {
        /// Whose.
        from: NodeId,
        /// As it was asked.
        attempt: Attempt,
        /// The state.
        state: S,
        /// Whether it is exact.
        exact: bool,
    },
    /// Which state a replica has.
    Digest {
        /// Whose.
        from: NodeId,
        /// As it was asked.
        attempt: Attempt,
        /// Which.
        digest: S::Digest,
    },
    /// A replica did not answer, or will not.
    Failed {
        /// Who was asked.
        from: NodeId,
        /// As it was asked.
        attempt: Attempt,
        /// Why.
        failure: Failure,
    },
    /// What was found is durable there, or something later.
    Repaired {
        /// At this replica.
        from: NodeId,
    },
    /// A repair was not done.
    NotRepaired {
        /// At this replica.
        from: NodeId,
        /// Why.
        failure: Failure,
    },
    /// The replicas of a later epoch, as [`Effect::Renew`] wanted them.
    Renewed(Standing),
    /// The client is gone.
    Abandoned,
}

/// What a read wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect<S> {
    /// Ask what a replica holds.
    Read {
        /// This replica, unless it has applied a later epoch.
        to: NodeId,
        /// Comes back.
        attempt: Attempt,
        /// The epoch of the request.
        epoch: Epoch,
        /// What of it.
        ask: Ask,
    },
    /// Have [`Read::state`](super::Read::state), as it is when this is polled, stored there: rule 4, in
    /// whatever epoch.
    Repair {
        /// At this replica.
        to: NodeId,
    },
    /// A replica has moved on: the replicas of a later epoch than the request's are wanted
    /// ([`Input::Renewed`]).
    Renew {
        /// At least this one.
        epoch: Epoch,
    },
    /// The answer, once.
    Reply(Outcome<S>),
}

/// What became of a read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<S> {
    /// Enough have answered: their states joined.
    Read {
        /// Possibly of a key that is not there, or no longer.
        state: S,
        /// Who answered.
        answered: Nodes,
    },
    /// Nothing can be said of the key at this level.
    Refused {
        /// Why.
        why: Why,
        /// How many answered.
        answered: usize,
        /// How many are needed.
        needed: usize,
    },
}

/// Why a read is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// So many cannot be had of this partition.
    Impossible(Impossible),
    /// Of those that may be read, only so many are up.
    TooFewUp(usize),
    /// Too few answered, and no more will.
    TooFewAnswered,
    /// What was found could not be made durable at enough replicas: a later read might not show it.
    NotRepaired,
    /// Its time is up.
    Deadline,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Impossible(impossible) => impossible.fmt(f),
            Self::TooFewUp(up) => write!(f, "only {up} replicas that may be read are up"),
            Self::TooFewAnswered => f.write_str("too few replicas answered"),
            Self::NotRepaired => f.write_str(
                "what was read is at too few replicas, and could not be brought to more",
            ),
            Self::Deadline => f.write_str("its time was up"),
        }
    }
}
