//! What goes into a member of a group, and what comes out.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use ringwood_types::NodeId;

use super::entry::{Entry, Snapshot};
use super::index::{Index, Term};
use super::membership::{Change, Members};
use super::message::{Message, ReadId};

/// A caller's number for a proposal; of no meaning to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// What a member must remember of elections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The latest term heard of.
    pub term: Term,
    /// Who has its vote in that term.
    pub vote: Option<NodeId>,
    /// Known to be committed. A hint: needs no sync of its own.
    pub commit: Index,
}

/// What the log's place on the disk gives back at a start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stored {
    /// As last persisted.
    pub hard: HardState,
    /// The log begins behind it. The caller has applied exactly this much when the member is restored,
    /// or passes over what it has applied beyond.
    pub snapshot: Snapshot,
    /// In order, without gaps, from behind the snapshot on.
    pub entries: Vec<Entry>,
}

impl Stored {
    /// Whether it is a log: without gaps, terms going up, none later than the one remembered.
    ///
    /// # Errors
    /// [`DamagedLog`].
    pub(super) fn check(&self) -> Result<(), DamagedLog> {
        let (mut index, mut term) = (self.snapshot.index, self.snapshot.term);
        for entry in &self.entries {
            if entry.index != index.next() || entry.term < term {
                return Err(DamagedLog { index: entry.index });
            }
            (index, term) = (entry.index, entry.term);
        }
        if term > self.hard.term {
            return Err(DamagedLog { index });
        }
        Ok(())
    }

    /// A new group whose only member is `node`, in `state`.
    #[must_use]
    pub fn bootstrapped(node: NodeId, state: Arc<[u8]>) -> Self {
        let (index, term) = (Index::new(1), Term::new(1));
        Self {
            hard: HardState {
                term,
                vote: None,
                commit: index,
            },
            snapshot: Snapshot {
                index,
                term,
                members: Members::of_voters([node]),
                state,
            },
            entries: Vec::new(),
        }
    }
}

/// What the disk gave back is no log. Its member must not take part again: it may have forgotten what
/// it promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedLog {
    /// Where it was noticed.
    pub index: Index,
}

impl fmt::Display for DamagedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.index.get();
        write!(f, "the log of the group is damaged at entry {index}")
    }
}

impl core::error::Error for DamagedLog {}

/// One atomic batch for the log's place on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Persist {
    /// Goes up by one from batch to batch; see [`Input::Persisted`].
    pub number: u64,
    /// Replaces the stored one.
    pub hard: Option<HardState>,
    /// Replace the stored log from the first one's index on; whatever lay behind is gone.
    pub entries: Vec<Entry>,
    /// Replaces the stored one and the log up to its index, and the log behind it too unless it holds
    /// the same entry there. One beyond what is applied replaces the applied state.
    pub snapshot: Option<Snapshot>,
    /// Unset: nothing waits for this batch; it may ride with a later one.
    pub sync: bool,
    /// ORDER: leave only when this batch, and all before it, are durable.
    pub then_send: Vec<(NodeId, Message)>,
}

/// What happens to a member.
#[derive(Clone, Debug)]
pub enum Input {
    /// The moment of [`Group::next_deadline`](super::Group::next_deadline) has come.
    Wake,
    /// A message has come. The caller vouches for the sender.
    Received {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// This batch and all before it are durable.
    Persisted {
        /// Of the last such batch.
        number: u64,
    },
    /// A command is to be put in order. Answered by [`Effect::Resolved`].
    Propose {
        /// Comes back with the outcome.
        id: ProposalId,
        /// The command.
        data: Arc<[u8]>,
    },
    /// The members are to change. Answered by [`Effect::Resolved`].
    Change {
        /// Comes back with the outcome.
        id: ProposalId,
        /// How.
        change: Change,
    },
    /// Somebody wants to read what is committed by now. Answered by [`Effect::ReadAt`] or
    /// [`Effect::ReadRefused`], or not at all: ask again under another number.
    Read {
        /// Comes back with the answer.
        id: ReadId,
    },
    /// The leader is to hand over. What comes of it shows in [`Status`].
    Transfer {
        /// To this voter.
        to: NodeId,
    },
    /// The caller has cut a snapshot behind an applied index: the log up to it may go.
    Compact {
        /// At most what was applied.
        index: Index,
        /// The state behind it.
        state: Arc<[u8]>,
    },
    /// A message with a snapshot could not be delivered.
    SnapshotLost {
        /// Who did not get it.
        to: NodeId,
    },
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It stands at this index, and has just been applied.
    Applied(Index),
    /// It was not and will not be applied.
    NotApplied,
    /// It may have been applied, or not: a snapshot has gone over it.
    Unknown,
}

/// What a member wants done. To be carried out in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// May leave at once.
    Send {
        /// The receiver.
        to: NodeId,
        /// What to say.
        message: Message,
    },
    /// To be written.
    Persist(Persist),
    /// Committed, in order, once in the life of a member; never empty.
    Apply(Vec<Entry>),
    /// The read may be served once this much is applied.
    ReadAt {
        /// As it was asked.
        id: ReadId,
        /// What must be applied.
        at: Index,
    },
    /// Nobody is known who could vouch for this read now.
    ReadRefused {
        /// As it was asked.
        id: ReadId,
    },
    /// What became of a proposal or a change of this member's caller. Said once at most: where the
    /// member is not told, it stays silent, and the outcome is unknown.
    Resolved {
        /// As it was proposed.
        id: ProposalId,
        /// What became of it.
        outcome: Outcome,
    },
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes what the leader sends, or waits for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Puts commands in order.
    Leader,
}

/// How a member stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// What it does.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Known to be committed.
    pub commit: Index,
    /// Where its log ends.
    pub last: Index,
    /// The newest members in its log, committed or not.
    pub members: Members,
}

/// How patient a group is. The same for all its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuning {
    /// Without a word of the leader for this long, up to twice as long, a voter stands for election.
    pub election: Duration,
    /// The leader is heard this often; a small part of `election`.
    pub heartbeat: Duration,
    /// Bytes of commands that one message carries at most; a larger command goes by itself.
    pub append_len_max: usize,
    /// Entries under way to a member before the leader waits for its answer.
    pub in_flight_max: u64,
    /// A learner lags at most this many entries when it becomes a voter.
    pub promotion_lag_max: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            election: Duration::from_secs(1),
            heartbeat: Duration::from_millis(100),
            append_len_max: 1 << 20,
            in_flight_max: 1024,
            promotion_lag_max: 64,
        }
    }
}
