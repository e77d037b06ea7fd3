//! What members say to each other.

use alloc::vec::Vec;

use super::entry::{Entry, Snapshot};
use super::index::{Index, Term};

/// A leader's question "am I still leader?": whoever answers an append of this round, or of a later
/// one, has confirmed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(u64);

impl Round {
    /// The `n`th round.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The round behind.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A caller's number for a read. Never used twice by one incarnation of a node, so that a late answer
/// cannot serve another read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId {
    /// Drawn when the node starts.
    pub incarnation: u64,
    /// Its number among that start's.
    pub number: u64,
}

/// One message between two members of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The sender's term; of a request for a pre-vote, and of its grant, the term that would begin.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// "Vote for me."
    Vote {
        /// Only asks whether the vote would be given; binds nobody.
        pre: bool,
        /// Where the candidate's log ends.
        last_index: Index,
        /// The term of its last entry.
        last_term: Term,
        /// Asked by the leader that hands over: to be answered although that one was just heard.
        force: bool,
    },
    /// The answer to [`Body::Vote`].
    VoteReply {
        /// To a pre-vote.
        pre: bool,
        /// Whether it is given.
        granted: bool,
    },
    /// Entries of the leader's log, or none: a heartbeat.
    Append {
        /// The place before the first of them.
        prev: Index,
        /// The term of the entry there.
        prev_term: Term,
        /// In order, without gaps.
        entries: Vec<Entry>,
        /// What the leader knows to be committed.
        commit: Index,
        /// The leader's present round.
        round: Round,
    },
    /// The answer to [`Body::Append`] and [`Body::Snapshot`].
    AppendReply {
        /// Whether the entries were taken.
        ok: bool,
        /// Taken: up to where the logs agree. Else: where to try next.
        index: Index,
        /// What was answered: `prev` of the append.
        prev: Index,
        /// The round of what was answered.
        round: Round,
    },
    /// In place of entries that the leader's log no longer has.
    Snapshot {
        /// The state that replaces them.
        snapshot: Snapshot,
        /// The leader's present round.
        round: Round,
    },
    /// "Stand for election now": from a leader that hands over.
    TimeoutNow,
    /// A follower's client wants to read.
    ReadAsk {
        /// The asker's number for it.
        id: ReadId,
    },
    /// The answer to [`Body::ReadAsk`].
    ReadReply {
        /// As it was asked.
        id: ReadId,
        /// What the reader must have applied.
        at: Index,
    },
}
