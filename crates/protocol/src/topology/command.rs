//! Every change of the topology, and what is answered to it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ringwood_types::{Epoch, Incarnation, NamespaceId, NodeId, PartitionId};

use super::model::{REPLICAS_MAX, Settings};

/// Names a command for ever, so that one that comes twice is applied once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId {
    /// Who proposes it.
    pub proposer: NodeId,
    /// Goes up, over restarts too: one that is at or below what was forgotten is refused.
    pub number: u64,
}

/// A command, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub id: CommandId,
    /// What is to change.
    pub command: Command,
}

/// A replica's word that it has applied everything up to an epoch, and has done after that what the
/// command says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The stint that speaks.
    pub incarnation: Incarnation,
    /// What it had applied.
    pub applied: Epoch,
}

/// What a node is that joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// Drawn by itself.
    pub id: NodeId,
    /// See [`Node::name`](super::Node::name).
    pub name: String,
    /// See [`Node::peer_address`](super::Node::peer_address).
    pub peer_address: String,
    /// See [`Node::client_address`](super::Node::client_address).
    pub client_address: String,
    /// See [`Node::zone`](super::Node::zone).
    pub zone: String,
    /// See [`Node::weight`](super::Node::weight).
    pub weight: u32,
    /// See [`Node::start`](super::Node::start).
    pub start: u64,
}

/// What of a node is to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeChange {
    /// See [`Node::peer_address`](super::Node::peer_address).
    pub peer_address: Option<String>,
    /// See [`Node::client_address`](super::Node::client_address).
    pub client_address: Option<String>,
    /// See [`Node::zone`](super::Node::zone).
    pub zone: Option<String>,
    /// See [`Node::weight`](super::Node::weight).
    pub weight: Option<u32>,
}

/// Where the replicas of a partition are to be, the primary one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub partition: PartitionId,
    /// On these.
    pub nodes: Vec<NodeId>,
}

/// A change. The rules meant are those of CAUSALITY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A node joins. Harmless for one that has.
    AddNode {
        /// What it is.
        node: NewNode,
    },
    /// A node has another address, zone or weight.
    SetNode {
        /// Which.
        node: NodeId,
        /// What is other.
        change: NodeChange,
    },
    /// A node that lives is to hand over what it holds, and go.
    Leave {
        /// Which.
        node: NodeId,
        /// Also where partitions have fewer replicas afterwards than they should.
        fewer: bool,
    },
    /// A node that leaves is to stay.
    Stay {
        /// Which.
        node: NodeId,
    },
    /// A node is not to be waited for.
    MarkPermanentlyFailed {
        /// Which.
        node: NodeId,
        /// A person says so: the brake on correlated failures does not hold.
        by_operator: bool,
    },
    /// A node that was not waited for is there again, with its disk.
    Returned {
        /// Which.
        node: NodeId,
    },
    /// A node that has failed for good is to go.
    Remove {
        /// Which.
        node: NodeId,
        /// Also where partitions have fewer replicas afterwards than they should.
        fewer: bool,
    },
    /// One node is to take the place of another in every partition.
    Replace {
        /// Who goes.
        old: NodeId,
        /// Who has joined for it.
        new: NodeId,
    },
    /// A node's process has started, and its disk has lost nothing.
    Start {
        /// Which.
        node: NodeId,
        /// What its disk says it drew last time.
        previous: u64,
        /// What it has drawn now.
        start: u64,
    },
    /// A node's process has started, and its log may have lost its end (rule 22).
    UncleanStart {
        /// Which.
        node: NodeId,
        /// What its disk says it drew last time.
        previous: u64,
        /// What it has drawn now.
        start: u64,
    },
    /// A node's disk is empty, an older copy, or damaged (rules 11, 12).
    NewIncarnation {
        /// Which.
        node: NodeId,
        /// What it has drawn at this start.
        start: u64,
        /// Where only these are lost. `None`: all.
        partitions: Option<Vec<PartitionId>>,
    },
    /// A rebuilding replica serves again (rule 11).
    Rebuilt {
        /// Of which.
        partition: PartitionId,
        /// Its stint.
        incarnation: Incarnation,
        /// It has fully compared with these (11a).
        compared: Vec<Witness>,
        /// What these have purged, it has seen (11b).
        fence: Vec<Witness>,
    },
    /// A person accepts that what replicas of a partition held is lost, where too few are left to
    /// rebuild from.
    AcceptLoss {
        /// Of which.
        partition: PartitionId,
    },
    /// Replicas are to be elsewhere.
    ApplyPlan {
        /// What it was planned on.
        based_on: Epoch,
        /// Where they are to be.
        wanted: Vec<Wanted>,
    },
    /// The next move of a partition to where it is wanted begins (rule 13, join).
    Begin {
        /// Which.
        partition: PartitionId,
    },
    /// The joiner has everything (rule 13, stream). Where nobody joins: all that stay have pulled what
    /// the leaver holds.
    Streamed {
        /// Of which.
        partition: PartitionId,
        /// The move.
        began: Epoch,
        /// It has fully compared with these; or these have pulled.
        sources: Vec<Witness>,
    },
    /// The new set is read (rule 13).
    ReadNew {
        /// Of which.
        partition: PartitionId,
        /// The move.
        began: Epoch,
        /// What these have purged, the joiner has seen (11b).
        fence: Vec<Witness>,
    },
    /// The old set is no longer written (rule 13).
    UseNew {
        /// Of which.
        partition: PartitionId,
        /// The move.
        began: Epoch,
        /// Of the old set, these know that the new one is read.
        applied: Vec<Witness>,
    },
    /// The leaver has dropped what it held (rule 13).
    CleanedUp {
        /// Of which.
        partition: PartitionId,
        /// The move.
        began: Epoch,
        /// The leaver's word.
        leaver: Witness,
    },
    /// A move is undone (rule 13).
    Abort {
        /// Of which.
        partition: PartitionId,
        /// The move.
        began: Epoch,
    },
    /// The new set is no longer written, on the way back (rule 13).
    AbortDone {
        /// Of which.
        partition: PartitionId,
        /// The move.
        began: Epoch,
        /// Of the new set, these know that the old one is read.
        applied: Vec<Witness>,
    },
    /// An incarnation's holes are to be settled (rule 14). Replicas that leave or are replaced need no
    /// word.
    Retire {
        /// Of which.
        partition: PartitionId,
        /// Which.
        incarnation: Incarnation,
        /// Only dots up to here: needed where it goes on.
        up_to: Option<u64>,
    },
    /// No node that lives holds a hint of these (rule 14).
    Close {
        /// Which, of which partitions.
        closing: Vec<(PartitionId, Incarnation)>,
        /// What each node had applied when it looked.
        clear: Vec<(NodeId, Epoch)>,
    },
    /// All replicas have seen the same of an incarnation (rule 14).
    Settle {
        /// Of which.
        partition: PartitionId,
        /// Which.
        incarnation: Incarnation,
        /// All of them.
        agreed: Vec<Witness>,
    },
    /// All replicas have seen all of an incarnation: clocks need not list it (rule 14).
    Forget {
        /// Of which.
        partition: PartitionId,
        /// Which.
        incarnation: Incarnation,
        /// All of them.
        covered: Vec<Witness>,
    },
    /// A namespace is made.
    CreateNamespace {
        /// Its name.
        name: String,
        /// As the node encodes it.
        policy: Box<[u8]>,
    },
    /// A namespace has another policy.
    UpdateNamespace {
        /// Which.
        id: NamespaceId,
        /// What the new policy was made from.
        revision: u64,
        /// As the node encodes it.
        policy: Box<[u8]>,
    },
    /// A namespace goes, and all that is in it.
    DropNamespace {
        /// Which.
        id: NamespaceId,
    },
    /// Settings of the cluster are other.
    SetSettings {
        /// What they were when these were made from them.
        before: Settings,
        /// What they are to be.
        after: Settings,
    },
}

/// What a command has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The epoch after it. That before it where nothing had to change.
    pub epoch: Epoch,
    /// The namespace that it made.
    pub namespace: Option<NamespaceId>,
}

/// What became of a command: the same for each time that it comes.
pub type Outcome = Result<Applied, Refused>;

/// Why nothing was changed. Says what can be done instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Its number is not above those of commands that are forgotten: it may have been applied before.
    Forgotten {
        /// Use numbers above.
        above: u64,
    },
    /// There is no such node.
    UnknownNode {
        /// Asked for.
        node: NodeId,
    },
    /// The node was removed; it cannot come back under its id.
    NodeRemoved {
        /// Which.
        node: NodeId,
    },
    /// Another member has the name.
    NameTaken {
        /// Which.
        by: NodeId,
        /// It has the peer address too: the same machine with an empty disk.
        same_address: bool,
    },
    /// Another member has the peer address.
    AddressTaken {
        /// Which.
        by: NodeId,
    },
    /// A name that is none, an address that is missing, or a weight of nothing.
    InvalidNode,
    /// The command needs a node that stands otherwise: it lives.
    NodeLives {
        /// Which.
        node: NodeId,
    },
    /// The command needs a node that stands otherwise: it has failed for good.
    NodeFailed {
        /// Which.
        node: NodeId,
    },
    /// The command needs a node that stays: it leaves or is being removed.
    NodeGoes {
        /// Which.
        node: NodeId,
    },
    /// Partitions would have fewer replicas than they should.
    TooFewNodes {
        /// That would be left.
        left: u32,
        /// Replicas that each partition should have.
        replicas: u8,
    },
    /// It is the last node.
    LastNode,
    /// The brake: others have failed whose replicas are not made anew yet.
    TooManyFailures {
        /// So many.
        failed: u32,
    },
    /// What the node holds of a partition is nowhere else.
    LastCopy {
        /// Of which.
        partition: PartitionId,
    },
    /// Another start of this node is registered: its disk is older than the last start, or another
    /// process runs on a copy of it.
    AnotherStart,
    /// There is no such partition.
    UnknownPartition {
        /// Asked for.
        partition: PartitionId,
    },
    /// The ring has changed since the plan was made.
    RingChanged {
        /// What it was planned on.
        planned: Epoch,
        /// What rules now.
        now: Epoch,
    },
    /// A plan that names nobody, somebody twice, too many, or one partition twice.
    InvalidPlan {
        /// For which.
        partition: PartitionId,
    },
    /// The partition moves already.
    Moving {
        /// Which.
        partition: PartitionId,
    },
    /// The partition is where it is wanted, or cannot get nearer now.
    NothingToMove {
        /// Which.
        partition: PartitionId,
    },
    /// No such move, or another stint of its joiner by now.
    AnotherMove {
        /// Of which.
        partition: PartitionId,
    },
    /// The move stands at another stage.
    AnotherStage {
        /// Of which.
        partition: PartitionId,
    },
    /// The old set is no longer written: there is no way back. A new plan can move it again.
    TooLate {
        /// Of which.
        partition: PartitionId,
    },
    /// Not enough of those whose word is needed have given it, as the stints that they are now and at
    /// the epoch that counts.
    TooFewWitnesses {
        /// That counted.
        counted: u32,
        /// That are needed.
        needed: u32,
    },
    /// A replica that has to be whole is rebuilding.
    Rebuilding {
        /// Which.
        node: NodeId,
    },
    /// There is nothing lost that could not be had from others.
    NothingLost {
        /// Of which.
        partition: PartitionId,
    },
    /// The incarnation is none that this could be done with.
    UnknownIncarnation {
        /// Which.
        incarnation: Incarnation,
    },
    /// The incarnation stands at another stage of its settling.
    AnotherGoneStage {
        /// Which.
        incarnation: Incarnation,
    },
    /// A name is 1 to 63 of a–z, 0–9, `.`, `_` and `-`, and begins with a letter or a digit.
    InvalidNamespaceName,
    /// There is one of this name.
    NamespaceExists {
        /// Which.
        id: NamespaceId,
    },
    /// There is no such namespace.
    UnknownNamespace {
        /// Asked for.
        id: NamespaceId,
    },
    /// Somebody else has changed it since it was read.
    NamespaceChanged {
        /// Which.
        id: NamespaceId,
    },
    /// The namespace that is there from the start stays.
    DefaultNamespace,
    /// All ids are used up.
    NamespacesExhausted,
    /// Somebody else has changed the settings since they were read.
    SettingsChanged,
    /// Settings that make no sense together.
    InvalidSettings,
}

impl fmt::Display for Refused {
    #[allow(clippy::too_many_lines)] // a sentence each
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forgotten { above } => write!(
                f,
                "a command of this number may have been applied before; number commands above {above}"
            ),
            Self::UnknownNode { node } => write!(f, "node {node} is no member of this cluster"),
            Self::NodeRemoved { node } => write!(
                f,
                "node {node} was removed from this cluster; to join again, it must start with an empty data directory"
            ),
            Self::NameTaken { by, same_address: false } => {
                write!(f, "node {by} has that name; choose another")
            }
            Self::NameTaken { by, same_address: true } => write!(
                f,
                "node {by} has that name and address; if this is the same machine with an empty disk, it takes a new incarnation of that node"
            ),
            Self::AddressTaken { by } => {
                write!(f, "node {by} has that peer address; choose another, or remove that node")
            }
            Self::InvalidNode => f.write_str(
                "a node has a name of 1 to 63 of a-z, 0-9, '.', '_' and '-', two addresses, and a weight of 1 to 1000000",
            ),
            Self::NodeLives { node } => write!(
                f,
                "node {node} has not failed for good; a node that lives goes with `leave`"
            ),
            Self::NodeFailed { node } => write!(
                f,
                "node {node} has failed for good; a node that does not live goes with `remove`"
            ),
            Self::NodeGoes { node } => write!(f, "node {node} is on its way out"),
            Self::TooFewNodes { left, replicas } => write!(
                f,
                "{left} nodes would be left for {replicas} replicas of each partition; add a node first, or use `replace`, or allow fewer replicas"
            ),
            Self::LastNode => f.write_str("it is the last node; add another one first"),
            Self::TooManyFailures { failed } => write!(
                f,
                "{failed} nodes have failed whose replicas are not made anew yet; a person may say that this one has failed too"
            ),
            Self::LastCopy { partition } => write!(
                f,
                "what the node holds of partition {partition} is nowhere else; bring it back, or accept the loss"
            ),
            Self::AnotherStart => f.write_str(
                "another start of this node is registered: its disk is an older copy, and it must take a new incarnation; or another process runs on a copy of its data directory, and one of them must stop",
            ),
            Self::UnknownPartition { partition } => write!(f, "there is no partition {partition}"),
            Self::RingChanged { planned, now } => write!(
                f,
                "the ring has changed since this was planned (epoch {planned}, now {now}); plan again"
            ),
            Self::InvalidPlan { partition } => write!(
                f,
                "the plan for partition {partition} is none: 1 to {REPLICAS_MAX} different nodes that stay or hold it now"
            ),
            Self::Moving { partition } => write!(f, "partition {partition} moves already"),
            Self::NothingToMove { partition } => write!(
                f,
                "partition {partition} is where it is wanted, or must wait for a replica or a node"
            ),
            Self::AnotherMove { partition } => write!(
                f,
                "partition {partition} does not move, or by another move; look again"
            ),
            Self::AnotherStage { partition } => {
                write!(f, "the move of partition {partition} stands at another stage; look again")
            }
            Self::TooLate { partition } => write!(
                f,
                "the move of partition {partition} is past its way back; a new plan can move it again"
            ),
            Self::TooFewWitnesses { counted, needed } => write!(
                f,
                "{counted} of {needed} replicas whose word is needed have given it"
            ),
            Self::Rebuilding { node } => {
                write!(f, "the replica on node {node} is rebuilding; wait until it is whole")
            }
            Self::NothingLost { partition } => write!(
                f,
                "partition {partition} has replicas enough to rebuild from; nothing is lost"
            ),
            Self::UnknownIncarnation { incarnation } => {
                write!(f, "incarnation {incarnation} is none that this can be done with")
            }
            Self::AnotherGoneStage { incarnation } => write!(
                f,
                "incarnation {incarnation} stands at another stage of its settling; look again"
            ),
            Self::InvalidNamespaceName => f.write_str(
                "a namespace has a name of 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit",
            ),
            Self::NamespaceExists { id } => write!(f, "namespace {id} has that name"),
            Self::UnknownNamespace { id } => write!(f, "there is no namespace {id}"),
            Self::NamespaceChanged { id } => {
                write!(f, "namespace {id} has been changed meanwhile; read it again")
            }
            Self::DefaultNamespace => f.write_str("the default namespace cannot be dropped"),
            Self::NamespacesExhausted => f.write_str("all ids of namespaces are used up"),
            Self::SettingsChanged => {
                f.write_str("the settings have been changed meanwhile; read them again")
            }
            Self::InvalidSettings => write!(
                f,
                "thresholds must go up from the gossip interval (suspicion, down, permanent failure), replicas be 1 to {REPLICAS_MAX}, and the rest above 0"
            ),
        }
    }
}

impl core::error::Error for Refused {}
