//! What goes into a detector, and what comes out.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use ringwood_types::NodeId;

use super::message::Message;
use super::states::{State, Why};
use super::tuning::Tuning;
use crate::time::Time;

/// What the cluster has agreed on about a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Who.
    pub node: NodeId,
    /// Whether it was agreed that it has failed for ever.
    pub has_failed: bool,
}

/// What happens to a node's detector.
#[derive(Clone, Debug)]
pub enum Input {
    /// The moment of [`Detector::next_deadline`](super::Detector::next_deadline) has come.
    Wake,
    /// A message has come. The caller vouches for the sender.
    Received {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// These are the members now, this node with them or not: all of them, as committed. Who is missing
    /// was removed, and is forgotten.
    Members(Vec<Standing>),
    /// The times change.
    Tune(Tuning),
}

/// What a detector wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To be sent at once, or dropped: never kept for later.
    Send {
        /// The receiver.
        to: NodeId,
        /// What to say; encoded, at most [`MESSAGE_LEN_MAX`](super::MESSAGE_LEN_MAX) bytes.
        message: Message,
    },
    /// A member's state has changed.
    Changed {
        /// Whose.
        node: NodeId,
        /// What it was.
        from: State,
        /// What it is.
        to: State,
        /// For what reason.
        why: Why,
        /// When, on this node's clock.
        at: Time,
    },
    /// The cluster should agree that this member has failed for ever. Said again from time to time while
    /// it is so: whoever leads the metadata group passes it on, others let it go.
    Propose {
        /// Who.
        node: NodeId,
        /// How long it has been silent.
        silent_for: Duration,
    },
    /// Another process runs, or ran, under this node's id and started later: two were started from one
    /// data directory, or its count of starts was lost. Only a person can tell which; this one should
    /// stop serving.
    Superseded {
        /// The other's generation.
        generation: u64,
    },
}

/// Why nobody is proposed as failed for ever at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Brake {
    /// This node does not belong to the cluster, or was given up: others tell it little.
    NoMember,
    /// Not even half of the members are reachable: it is this node that is cut off.
    MostUnreachable {
        /// How many are suspicious or down.
        unreachable: usize,
        /// Of how many, this node included.
        members: usize,
    },
    /// So many are down that they have one cause, which may pass.
    ManyDown {
        /// How many.
        down: usize,
        /// How many could be without the brake.
        allowed: usize,
    },
    /// This node is not well itself.
    Unwell {
        /// How much, 8 at most.
        score: u32,
    },
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMember => f.write_str("this node is no member of the cluster, or was given up"),
            Self::MostUnreachable {
                unreachable,
                members,
            } => write!(
                f,
                "{unreachable} of {members} members do not answer: this node is probably cut off"
            ),
            Self::ManyDown { down, allowed } => write!(
                f,
                "{down} members are down together, more than {allowed}: that has one cause, which may \
                 pass (where it does not, remove them by hand)"
            ),
            Self::Unwell { score } => {
                write!(
                    f,
                    "this node is slow or was stopped ({score} of 8): it trusts itself later"
                )
            }
        }
    }
}

/// A member as a node sees it, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Who.
    pub node: NodeId,
    /// How it is.
    pub state: State,
    /// Since when, on this node's clock.
    pub since: Time,
    /// Why.
    pub why: Why,
    /// Which start of its process; 0 while it was never heard of.
    pub generation: u64,
    /// How long it has been silent, if it is.
    pub silent_for: Option<Duration>,
}
