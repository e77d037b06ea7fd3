//! How commands and snapshots stand in bytes.
//!
//! # Format
//! ```text
//! command:  format u8 = 1 | proposer u64 | number varint | kind u8 | fields of the kind
//! snapshot: format u8 = 1 | cluster u128 | partitions u32 | seed varint | cursor secret 32 bytes |
//!           epoch | layout | first incarnation | next incarnation varint | settings |
//!           nodes | partitions | namespaces | next namespace? | outcomes | forgotten
//! ```
//! Fields stand in the order of the lists below; lists behind their number (u32), optional values
//! behind a byte 0 or 1, text and opaque bytes behind their length (u32); ids as the `wire` crate has
//! them. A number that names a variant is never used again for another one. A format that is not known
//! is an error and never guessed at: a member that passed over a command would have another state from
//! then on. It stops instead, and waits for its new version.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;

use ringwood_types::bytes::{Reader, Writer};
use ringwood_types::{NodeId, PartitionCount, Ring};
use ringwood_wire::{Encoded, encoded_fields, encoded_variants};

use super::command::{
    Applied, Command, CommandId, NewNode, NodeChange, Outcome, Refused, Request, Wanted, Witness,
};
use super::memory::Memory;
use super::model::{
    Gone, GoneStage, Namespace, Node, NodeState, Partition, Replica, Settings, Stage, Transition,
};
use super::plant::Planted;
use super::state::Topology;

const FORMAT: u8 = 1;

/// Bytes that are no command, or no snapshot, of this version. Nothing was done on account of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// Written by another version. Whoever applies a log stops here until it understands.
    Format(u8),
    /// Cut, changed, or contradicting itself.
    Malformed,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(found) => {
                write!(f, "the cluster's metadata has format {found}, not {FORMAT}")
            }
            Self::Malformed => f.write_str("the cluster's metadata is damaged"),
        }
    }
}

impl core::error::Error for Unreadable {}

impl Request {
    /// The command as it stands in the log.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::new();
        to.u8(FORMAT);
        self.id.write(&mut to);
        self.command.write(&mut to);
        to.into_vec()
    }

    /// Reads a command.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (id, command) =
            <(CommandId, Command)>::decode(checked(bytes)?).map_err(|_| Unreadable::Malformed)?;
        Ok(Self { id, command })
    }
}

impl Topology {
    /// All of it. The same state has the same bytes everywhere.
    #[must_use]
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut to = Writer::new();
        to.u8(FORMAT);
        self.cluster.write(&mut to);
        to.u32(self.ring.partitions().get());
        to.varint(self.ring.seed());
        to.put(&self.cursor_secret);
        self.epoch.write(&mut to);
        self.layout.write(&mut to);
        self.first_incarnation.write(&mut to);
        to.varint(self.next_incarnation);
        self.settings.write(&mut to);
        write_values(&self.nodes, &mut to);
        self.partitions.write(&mut to);
        write_values(&self.namespaces, &mut to);
        self.next_namespace.write(&mut to);
        to.count(self.memory.outcomes.len());
        for (id, outcome) in &self.memory.outcomes {
            id.write(&mut to);
            to.bool(outcome.is_ok());
            match outcome {
                Ok(applied) => applied.write(&mut to),
                Err(refused) => refused.write(&mut to),
            }
        }
        to.count(self.memory.forgotten.len());
        for (proposer, number) in &self.memory.forgotten {
            proposer.write(&mut to);
            number.write(&mut to);
        }
        to.into_vec()
    }

    /// Reads a snapshot, which then holds what [`check`](Self::check) looks at.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut from = Reader(checked(bytes)?);
        let topology = Self::read(&mut from).filter(|_| from.is_empty());
        let topology = topology.ok_or(Unreadable::Malformed)?;
        topology.check().map_err(|_| Unreadable::Malformed)?;
        Ok(topology)
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let cluster = Encoded::read(from)?;
        let partition_count = PartitionCount::new(from.u32()?)?;
        let ring = Ring::new(partition_count, from.varint()?);
        Some(Self {
            cluster,
            ring,
            cursor_secret: from.array()?,
            epoch: Encoded::read(from)?,
            layout: Encoded::read(from)?,
            first_incarnation: Encoded::read(from)?,
            next_incarnation: from.varint()?,
            settings: Encoded::read(from)?,
            nodes: read_by_id(from, |node: &Node| node.id)?,
            partitions: Encoded::read(from).filter(|partitions: &Vec<Partition>| {
                partitions.len() == partition_count.iter().count()
            })?,
            namespaces: read_by_id(from, |namespace: &Namespace| namespace.id)?,
            next_namespace: Encoded::read(from)?,
            memory: Memory {
                outcomes: read_outcomes(from)?,
                forgotten: read_by_id(from, |&(proposer, _): &(NodeId, u64)| proposer)?
                    .into_values()
                    .collect(),
            },
            planted: Planted::default(),
        })
    }
}

/// What stands behind the format.
fn checked(bytes: &[u8]) -> Result<&[u8], Unreadable> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => Ok(rest),
        Some((&other, _)) => Err(Unreadable::Format(other)),
        None => Err(Unreadable::Malformed),
    }
}

fn write_values<K, V: Encoded>(values: &BTreeMap<K, V>, to: &mut Writer) {
    to.count(values.len());
    values.values().for_each(|value| value.write(to));
}

/// Values that stand in the order of their ids, each id once.
fn read_by_id<K: Ord + Copy, V: Encoded>(
    from: &mut Reader<'_>,
    id: impl Fn(&V) -> K,
) -> Option<BTreeMap<K, V>> {
    let values = Vec::<V>::read(from)?;
    let ordered = values.is_sorted_by(|one, next| id(one) < id(next));
    ordered.then(|| {
        values
            .into_iter()
            .map(|value| (id(&value), value))
            .collect()
    })
}

fn read_outcomes(from: &mut Reader<'_>) -> Option<VecDeque<(CommandId, Outcome)>> {
    let count = from.count(1)?;
    let read = |_| {
        let id = CommandId::read(from)?;
        let outcome = match from.bool()? {
            true => Ok(Applied::read(from)?),
            false => Err(Refused::read(from)?),
        };
        Some((id, outcome))
    };
    (0..count).map(read).collect()
}

encoded_variants!(Command {
    1 => AddNode { node },
    2 => SetNode { node, change },
    3 => Leave { node, fewer },
    4 => Stay { node },
    5 => MarkPermanentlyFailed { node, by_operator },
    6 => Returned { node },
    7 => Remove { node, fewer },
    8 => Replace { old, new },
    9 => Start { node, previous, start },
    10 => UncleanStart { node, previous, start },
    11 => NewIncarnation { node, start, partitions },
    12 => Rebuilt { partition, incarnation, compared, fence },
    13 => AcceptLoss { partition },
    14 => ApplyPlan { based_on, wanted },
    15 => Begin { partition },
    16 => Streamed { partition, began, sources },
    17 => ReadNew { partition, began, fence },
    18 => UseNew { partition, began, applied },
    19 => CleanedUp { partition, began, leaver },
    20 => Abort { partition, began },
    21 => AbortDone { partition, began, applied },
    22 => Retire { partition, incarnation, up_to },
    23 => Close { closing, clear },
    24 => Settle { partition, incarnation, agreed },
    25 => Forget { partition, incarnation, covered },
    26 => CreateNamespace { name, policy },
    27 => UpdateNamespace { id, revision, policy },
    28 => DropNamespace { id },
    29 => SetSettings { before, after },
});

encoded_variants!(Refused {
    1 => Forgotten { above },
    2 => UnknownNode { node },
    3 => NodeRemoved { node },
    4 => NameTaken { by, same_address },
    5 => AddressTaken { by },
    6 => InvalidNode {},
    7 => NodeLives { node },
    8 => NodeFailed { node },
    9 => NodeGoes { node },
    10 => TooFewNodes { left, replicas },
    11 => LastNode {},
    12 => TooManyFailures { failed },
    13 => LastCopy { partition },
    14 => AnotherStart {},
    15 => UnknownPartition { partition },
    16 => RingChanged { planned, now },
    17 => InvalidPlan { partition },
    18 => Moving { partition },
    19 => NothingToMove { partition },
    20 => AnotherMove { partition },
    21 => AnotherStage { partition },
    22 => TooLate { partition },
    23 => TooFewWitnesses { counted, needed },
    24 => Rebuilding { node },
    25 => NothingLost { partition },
    26 => UnknownIncarnation { incarnation },
    27 => AnotherGoneStage { incarnation },
    28 => InvalidNamespaceName {},
    29 => NamespaceExists { id },
    30 => UnknownNamespace { id },
    31 => NamespaceChanged { id },
    32 => DefaultNamespace {},
    33 => NamespacesExhausted {},
    34 => SettingsChanged {},
    35 => InvalidSettings {},
});

encoded_variants!(NodeState {
    1 => Joined {},
    2 => Leaving {},
    3 => PermanentlyFailed {},
    4 => Removing {},
    5 => Removed {},
});

encoded_variants!(Stage {
    1 => Join {},
    2 => Streamed {},
    3 => ReadNew {},
    4 => Cleanup {},
    5 => Back {},
});

encoded_variants!(GoneStage {
    1 => Open { minter },
    2 => Retired {},
    3 => Closed {},
    4 => Settled { with },
});

encoded_fields!(CommandId { proposer, number });

encoded_fields!(Witness {
    incarnation,
    applied
});

encoded_fields!(NewNode {
    id,
    name,
    peer_address,
    client_address,
    zone,
    weight,
    start
});

encoded_fields!(NodeChange {
    peer_address,
    client_address,
    zone,
    weight
});

encoded_fields!(Wanted { partition, nodes });

encoded_fields!(Applied { epoch, namespace });

encoded_fields!(Node {
    id,
    name,
    peer_address,
    client_address,
    zone,
    weight,
    state,
    since,
    start,
    guest
});

encoded_fields!(Replica {
    node,
    incarnation,
    since,
    rebuilding
});

encoded_fields!(Transition {
    joins,
    leaves,
    left,
    stage,
    began,
    since
});

encoded_fields!(Gone {
    incarnation,
    up_to,
    stage,
    since
});

encoded_fields!(Partition {
    epoch,
    members_since,
    replicas,
    wanted,
    loss_accepted,
    transition,
    gone
});

encoded_fields!(Namespace {
    id,
    name,
    policy,
    revision
});

encoded_fields!(Settings {
    replicas,
    gossip_interval_ms,
    suspicion_threshold_ms,
    down_threshold_ms,
    permanent_failure_threshold_ms,
    hint_ttl_ms,
    hint_bytes_max,
    streaming_throughput,
    failures_at_once_max
});

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_command_or_refused(mut bytes: Vec<u8>, kind in 0u8..32) {
            let _ = Request::from_bytes(&bytes);
            bytes.splice(0..0, [FORMAT, 1, 0, 0, 0, 0, 0, 0, 0, 5, kind]);
            if let Ok(request) = Request::from_bytes(&bytes) {
                prop_assert_eq!(request.to_bytes(), bytes);
            }
        }

        #[test]
        fn any_bytes_are_a_snapshot_or_refused(mut bytes: Vec<u8>) {
            let _ = Topology::from_snapshot(&bytes);
            bytes.insert(0, FORMAT);
            let _ = Topology::from_snapshot(&bytes);
        }
    }

    #[test]
    fn another_format_is_named() {
        assert_eq!(Request::from_bytes(&[2, 0]), Err(Unreadable::Format(2)));
        assert_eq!(Request::from_bytes(&[]), Err(Unreadable::Malformed));
        assert_eq!(
            Topology::from_snapshot(&[9]).err(),
            Some(Unreadable::Format(9))
        );
        assert_eq!(Request::from_bytes(&[1; 3]), Err(Unreadable::Malformed));
    }
}
