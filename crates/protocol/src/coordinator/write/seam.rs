//! What goes into the coordinator of a write, and what comes out.

use core::fmt;
use core::time::Duration;

use ringwood_types::{Epoch, Hlc, NodeId, Version};

use super::super::failure::Failure;
use super::super::quorum::{Impossible, Level};
use super::super::replicas::Nodes;
use super::super::standing::{Attempt, Standing};
use crate::time::Time;

/// What becomes of two writes of a key that do not know of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conflict {
    /// The later one stays: the order of writes is checked (rule 17).
    LastWriteWins,
    /// Both stay: there is no order to check.
    Siblings,
}

/// A write as it is asked for. The bytes stay with the caller.
#[derive(Clone, Debug, Hash)]
pub struct Request {
    /// The node that coordinates it.
    pub me: NodeId,
    /// Who is asked.
    pub standing: Standing,
    /// What becomes of concurrent writes.
    pub conflict: Conflict,
    /// How many copies must be durable.
    pub level: Level,
    /// Last-write-wins: how many of the read set must vouch for the order. With `level`, more than all of
    /// them together, or the order is not promised.
    pub order: Level,
    /// Whether hints count.
    pub sloppy: bool,
    /// Nodes that hold hints, none of them a replica, best first.
    pub fallbacks: Nodes,
    /// Last-write-wins: the time of what the client has read. The write is minted above it.
    pub context: Hlc,
    /// This node's hybrid time now.
    pub hybrid: Hlc,
    /// When the client is answered at the latest.
    pub deadline: Time,
    /// Decides the pauses between mintings.
    pub seed: u64,
}

/// How patient writes are. The same for all of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuning {
    /// A replica that is silent for this long is not waited for where another will do.
    pub patience: Duration,
    /// How far above the coordinator's hybrid time a minting may lie. At most the skew limit; and at most
    /// `patience`, or one silent replica after another drives hybrid time ahead of all clocks.
    pub slack: Duration,
    /// What nodes' clocks may differ by.
    pub skew_max: Duration,
    /// Times to mint before giving up on the order.
    pub rounds_max: u8,
    /// The first pause between mintings is shorter than this; then it doubles.
    pub pause: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            patience: Duration::from_millis(250),
            slack: Duration::from_millis(250),
            skew_max: Duration::from_millis(500),
            rounds_max: 4,
            pause: Duration::from_millis(10),
        }
    }
}

/// A replica's answer for the last minting, once that is durable there (rule 17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It holds it.
    Held,
    /// Something of this time or later is in its place.
    Older(Hlc),
}

/// What happens to a write.
#[derive(Clone, Debug)]
pub enum Input {
    /// The moment of [`Write::next_deadline`](super::Write::next_deadline) has come.
    Wake,
    /// The version was minted, and is durable at its minter.
    Minted {
        /// As it was asked.
        attempt: Attempt,
        /// What it is called; of a batch, its last one.
        version: Version,
    },
    /// It is durable here, or was.
    Answered {
        /// At this replica.
        from: NodeId,
        /// As it was asked.
        attempt: Attempt,
        /// Whether it won.
        answer: Answer,
    },
    /// A hint is durable.
    Hinted {
        /// At this node.
        holder: NodeId,
        /// As it was asked.
        attempt: Attempt,
    },
    /// It was not done, or nobody knows.
    Failed {
        /// Who was asked.
        from: NodeId,
        /// As it was asked.
        attempt: Attempt,
        /// Why.
        failure: Failure,
    },
    /// The replicas of a later epoch, as [`Effect::Renew`] wanted them.
    Renewed(Standing),
    /// The client is gone: nobody waits for the answer any more.
    Abandoned,
}

/// What a write wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Have it minted, stored and made durable there. At most once: the same request must never be
    /// carried out again, not even by a network that repeats it.
    Mint {
        /// By this replica, if it is a whole owner in exactly `epoch`; or by this fallback, for a hint.
        to: NodeId,
        /// Comes back.
        attempt: Attempt,
        /// The epoch of the request.
        epoch: Epoch,
        /// At a later time than this.
        above: Hlc,
        /// And not later than this, or not at all ([`Failure::AboveLimit`]): so a request that is long under
        /// way does nothing.
        limit: Hlc,
        /// A fallback mints as a guest (rule 3) and keeps it as a hint for this replica.
        guest_for: Option<NodeId>,
    },
    /// Have what was minted stored there.
    Store {
        /// At this replica, unless it has applied a later epoch.
        to: NodeId,
        /// Comes back.
        attempt: Attempt,
        /// The epoch of the request.
        epoch: Epoch,
        /// The last minting.
        version: Version,
    },
    /// Have what was minted kept for a replica that does not have it.
    Hint {
        /// For this one.
        target: NodeId,
        /// There. Nobody else is left where it is this node itself.
        holder: NodeId,
        /// Comes back.
        attempt: Attempt,
        /// The last minting.
        version: Version,
    },
    /// A replica has moved on: the replicas of a later epoch than this are wanted
    /// ([`Input::Renewed`]).
    Renew {
        /// At least this one.
        epoch: Epoch,
    },
    /// The answer, once.
    Reply(Outcome),
}

/// Who has a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Copies {
    /// Replicas where it is durable, or something later is.
    pub nodes: Nodes,
    /// How many replicas it is written to.
    pub of: usize,
    /// Nodes that keep it for a replica, counted on top.
    pub hints: usize,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It stands as it was asked for.
    Applied {
        /// As the replicas know it.
        version: Version,
        /// Who has it by now; the others follow.
        copies: Copies,
    },
    /// It was not done and never will be.
    NotApplied {
        /// Why.
        why: Why,
    },
    /// It may have been done, and may still show.
    Unknown {
        /// Why that is all that can be said.
        why: Why,
        /// Who has its last minting.
        copies: Copies,
    },
}

/// Why a write does not stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// So many cannot be had of this partition.
    Impossible(Impossible),
    /// More replicas are needed than are up.
    TooFewUp {
        /// Needed.
        needed: usize,
        /// Up.
        up: usize,
    },
    /// No replica would or could mint it.
    NobodyMints,
    /// Too few replicas have it, and no more will answer.
    TooFewAnswered,
    /// Its time is up.
    Deadline,
    /// Other writes of the key were later each time.
    Contended,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Impossible(impossible) => impossible.fmt(f),
            Self::TooFewUp { needed, up } => {
                write!(f, "{needed} replicas are needed, and {up} are up")
            }
            Self::NobodyMints => f.write_str("no replica that may take the write took it"),
            Self::TooFewAnswered => f.write_str("too few replicas took the write"),
            Self::Deadline => f.write_str("its time was up"),
            Self::Contended => f.write_str("other writes of the same key were later each time"),
        }
    }
}
