//! The things that the metadata group knows: nodes, partitions with their replicas and moves,
//! incarnations that are gone, namespaces, settings.
//!
//! Plain data; [`Topology`](super::Topology) is what changes it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use ringwood_types::{Epoch, Incarnation, NamespaceId, NodeId};

/// Most replicas that a partition can have when nothing moves.
pub const REPLICAS_MAX: u8 = 7;

/// A member of the cluster, or one that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Never another's.
    pub id: NodeId,
    /// What people call it. No two members have the same.
    pub name: String,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
    /// What fails together with it; empty for none.
    pub zone: String,
    /// Its part of everything, relative to the others'. 100 is what a node has that says nothing.
    pub weight: u32,
    /// How it stands.
    pub state: NodeState,
    /// Since when it stands so.
    pub since: Epoch,
    /// Drawn by its process at its last start. Another one's start makes it stop.
    pub start: u64,
    /// What it mints under where it is no replica.
    pub guest: Incarnation,
}

/// How a node stands, as far as it is committed. Health is gossip and stands elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// A member.
    Joined,
    /// A member that hands over what it holds, and then goes.
    Leaving,
    /// Not to be waited for: its replicas are made anew elsewhere.
    PermanentlyFailed,
    /// The same, and it goes when nothing is left on it, also where nobody takes its place.
    Removing,
    /// Gone. Its id stays, so that nobody comes back under it.
    Removed,
}

impl NodeState {
    /// Whether it is expected to take part.
    #[must_use]
    pub const fn lives(self) -> bool {
        matches!(self, Self::Joined | Self::Leaving)
    }
}

/// One stint of one disk as a replica of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    /// Whose disk.
    pub node: NodeId,
    /// The stint.
    pub incarnation: Incarnation,
    /// The epoch that issued the incarnation.
    pub since: Epoch,
    /// Whether it lost something and has not caught up: written to, counted, and not read (rule 11).
    pub rebuilding: bool,
}

/// How far a move has come (rule 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Both sets are written, the old one is read; data goes to the joiner.
    Join,
    /// The same, and the joiner has everything.
    Streamed,
    /// Both sets are written, the new one is read.
    ReadNew,
    /// The new set is read and written; the leaver's data goes. (use-new)
    Cleanup,
    /// Both sets are written, the old one is read: on the way back from `ReadNew`.
    Back,
}

/// A move of one replica: one joins, one leaves, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Who joins.
    pub joins: Option<Replica>,
    /// Who leaves: one of the partition's replicas, or none of them any more in `Cleanup`.
    pub leaves: Option<NodeId>,
    /// The leaver's last stint, once it has left.
    pub left: Option<Replica>,
    /// How far it has come.
    pub stage: Stage,
    /// When it began, or began again with another stint of the joiner. Names it: what was done for an
    /// earlier one does not count.
    pub began: Epoch,
    /// Since when it stands at this stage.
    pub since: Epoch,
}

/// An incarnation that mints no more, and may have left holes in clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Which.
    pub incarnation: Incarnation,
    /// Only its dots up to here, where it is a guest that goes on.
    pub up_to: Option<u64>,
    /// How far its holes are settled.
    pub stage: GoneStage,
    /// Since when.
    pub since: Epoch,
}

/// How far the holes of an incarnation are settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoneStage {
    /// Closed by an unclean start of its disk; the stint that followed looks for what was lost (rule 22).
    Open {
        /// The stint that followed.
        minter: Incarnation,
    },
    /// No hints of its dots are taken any more (rule 14).
    Retired,
    /// Its dots are taken by exchange only.
    Closed,
    /// These, while they are the same stints, add all its dots to what they have seen.
    Settled {
        /// Those that agreed.
        with: Vec<Incarnation>,
    },
}

/// One slice of the ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Of its last change. Requests carry it, and replicas fence what is older.
    pub epoch: Epoch,
    /// Of the last change of who belongs to it, stints told apart. An unclean start asks all others
    /// again after it (rule 22).
    pub members_since: Epoch,
    /// Its replicas; before `Cleanup` those from before the move. The first is the primary one.
    pub replicas: Vec<Replica>,
    /// Where its replicas are to be in the end; empty where that is so.
    pub wanted: Vec<NodeId>,
    /// A person has accepted that what its dead and rebuilding replicas held is lost: those that live
    /// are enough, until it is in order again.
    pub loss_accepted: bool,
    /// The one move that is under way.
    pub transition: Option<Transition>,
    /// By incarnation.
    pub gone: Vec<Gone>,
}

impl Partition {
    /// The replica on `node`, if it is one. A joiner is none yet.
    #[must_use]
    pub fn replica(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.node == node)
    }

    /// Who joins by a move that is under way, and is none of the replicas yet.
    #[must_use]
    pub fn joiner(&self) -> Option<&Replica> {
        let transition = self.transition.as_ref()?;
        let pending = transition.stage != Stage::Cleanup;
        transition.joins.as_ref().filter(|_| pending)
    }

    /// The replicas, and who joins: all that count in the stable clock (rule 7).
    pub fn members(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().chain(self.joiner())
    }

    /// The replicas behind the move that is under way; those there are where none is.
    pub fn new_set(&self) -> impl Iterator<Item = &Replica> {
        let leaves = self.transition.as_ref().and_then(|moves| moves.leaves);
        let stay = move |replica: &&Replica| Some(replica.node) != leaves;
        self.replicas.iter().filter(stay).chain(self.joiner())
    }

    /// The set that is read, with those that are rebuilding and are not.
    #[must_use]
    pub fn read_set(&self) -> Vec<&Replica> {
        match self.transition.as_ref().map(|moves| moves.stage) {
            Some(Stage::ReadNew) => self.new_set().collect(),
            _ => self.replicas.iter().collect(),
        }
    }

    /// The nodes that it is to be on in the end.
    #[must_use]
    pub fn intended(&self) -> Vec<NodeId> {
        if self.wanted.is_empty() {
            self.replicas.iter().map(|replica| replica.node).collect()
        } else {
            self.wanted.clone()
        }
    }

    /// What is known of an incarnation that mints no more; `None` where nothing is left to settle.
    #[must_use]
    pub fn gone(&self, incarnation: Incarnation) -> Option<&Gone> {
        self.gone
            .iter()
            .find(|gone| gone.incarnation == incarnation)
    }
}

/// A tenant's key space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Never another's.
    pub id: NamespaceId,
    /// No two have the same.
    pub name: String,
    /// As the node encodes it; of no meaning here.
    pub policy: Box<[u8]>,
    /// Goes up with each change, so that none is made to what somebody else has just changed.
    pub revision: u64,
}

/// What can be set for the whole cluster while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Replicas of a partition, 1 to [`REPLICAS_MAX`]; as many as there are nodes until then.
    pub replicas: u8,
    /// Between two rounds of gossip, in milliseconds.
    pub gossip_interval_ms: u64,
    /// Silence after which a node is suspicious, in milliseconds.
    pub suspicion_threshold_ms: u64,
    /// Silence after which a node is down, in milliseconds.
    pub down_threshold_ms: u64,
    /// Silence after which a node has failed for good, in milliseconds.
    pub permanent_failure_threshold_ms: u64,
    /// How long hints are kept, in milliseconds.
    pub hint_ttl_ms: u64,
    /// How many bytes of hints a node keeps.
    pub hint_bytes_max: u64,
    /// Bytes a second that a node sends, and receives, for moves and rebuilding.
    pub streaming_throughput: u64,
    /// How many nodes may fail for good, without a person's word, before their replicas are made anew.
    pub failures_at_once_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            replicas: 3,
            gossip_interval_ms: 1_000,
            suspicion_threshold_ms: 5_000,
            down_threshold_ms: 30_000,
            permanent_failure_threshold_ms: 600_000,
            hint_ttl_ms: 3 * 3_600_000,
            hint_bytes_max: 10_000_000_000,
            streaming_throughput: 50_000_000,
            failures_at_once_max: 1,
        }
    }
}

impl Settings {
    /// Whether they make sense together.
    pub(super) fn are_sound(&self) -> bool {
        let thresholds = [
            0,
            self.gossip_interval_ms,
            self.suspicion_threshold_ms,
            self.down_threshold_ms,
            self.permanent_failure_threshold_ms,
        ];
        thresholds.is_sorted_by(|one, next| one < next)
            && (1..=REPLICAS_MAX).contains(&self.replicas)
            && self.streaming_throughput > 0
            && self.failures_at_once_max > 0
    }
}

/// How many of `count` decide: the quorum that moves and rebuilding reckon with. Requests that read
/// fewer are not protected by a move's barriers.
#[must_use]
pub const fn majority(count: usize) -> usize {
    count / 2 + 1
}
