//! What nodes say to each other about who is there.

use alloc::vec::Vec;
use core::time::Duration;

use ringwood_types::NodeId;

use super::life::Life;

/// One message. Whoever carries it vouches for its sender.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The sender's life.
    pub life: Life,
    /// What it is for.
    pub body: Body,
    /// What rides along.
    pub rumors: Vec<Rumor>,
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// "Are you there?"
    Ping {
        /// Comes back with the answer.
        number: u64,
    },
    /// "I am"; or, from a helper, "it is".
    Ack {
        /// As it was asked.
        number: u64,
    },
    /// "Ask that one for me."
    PingFor {
        /// Comes back with the answer.
        number: u64,
        /// Who is to be asked.
        target: NodeId,
    },
    /// "It does not answer me either": the asker's own network works.
    Nack {
        /// As it was asked.
        number: u64,
    },
    /// Only rumors.
    News,
    /// "Do we know the same?" If not, the other sends all it knows, as news.
    Compare {
        /// Over all that the sender knows.
        digest: u64,
        /// It answers a comparison, and is not to be answered by another.
        is_answer: bool,
    },
}

/// What is said of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rumor {
    /// Of whom.
    pub node: NodeId,
    /// Of which of its lives.
    pub life: Life,
    /// What.
    pub claim: Claim,
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// It lives.
    Alive,
    /// It answers no probes.
    Silent {
        /// For how long already. In milliseconds; the rest is cut off.
        silent_for: Duration,
        /// Whose probes.
        reporter: NodeId,
    },
}
