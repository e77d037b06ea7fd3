//! Why there is no connection, in words that whoever runs the nodes can act upon.

use core::fmt;

use ringwood_types::bytes::{Reader, Writer};
use ringwood_types::{ClusterId, NodeId};

use crate::encoded::Encoded;
use crate::version::Versions;

/// Why a side refuses the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// What came is no message of the handshake.
    Malformed,
    /// A message came that is not the next one.
    OutOfTurn,
    /// They speak no common version.
    Versions {
        /// What the refusing node speaks.
        refuser: Versions,
        /// What the refused node speaks.
        refused: Versions,
    },
    /// They belong to two clusters.
    AnotherCluster {
        /// The refusing node's.
        refuser: ClusterId,
        /// The refused node's.
        refused: ClusterId,
    },
    /// Whoever was dialled belongs to no cluster yet.
    NoCluster,
    /// Both have one id.
    SameNode {
        /// That id.
        node: NodeId,
    },
    /// Somebody else answers at the address.
    AnotherNode {
        /// Who was dialled.
        expected: NodeId,
        /// Who answered.
        found: Option<NodeId>,
    },
    /// The refused node has no secret, the refusing one asks for it.
    SecretMissing,
    /// The refused node asks for a secret, the refusing one has none.
    SecretNotAsked,
    /// The refused node has another secret, or repeats what another said.
    SecretWrong,
    /// The refused node only sends back what it hears.
    Echo,
    /// The refused node was removed from the cluster. Found by the owner, as all below.
    Removed {
        /// Its id.
        node: NodeId,
    },
    /// The refused node's id is none of the cluster's.
    NoMember {
        /// That id.
        node: NodeId,
    },
    /// Another process, which started later or still lives, has the refused node's id.
    Replaced {
        /// That id.
        node: NodeId,
        /// The generation of that other process.
        generation: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("what the refused side sent is no handshake"),
            Self::OutOfTurn => f.write_str("the refused side sent a message of the handshake out of turn"),
            Self::Versions { refuser, refused } => write!(
                f,
                "the refused node speaks version {refused} of the protocol, the refusing one {refuser}: \
                 upgrade the older one, one release after the other"
            ),
            Self::AnotherCluster { refuser, refused } => write!(
                f,
                "the refused node belongs to cluster {refused}, the refusing one to {refuser}: check the \
                 addresses given to --join, and that no data directory was moved"
            ),
            Self::NoCluster => {
                f.write_str("no cluster is there to join: give --join the address of a member")
            }
            Self::SameNode { node } => write!(
                f,
                "both sides are node {node}: a node was told to dial itself, or two were started from \
                 copies of one data directory (stop one of them)"
            ),
            Self::AnotherNode { expected, found: Some(found) } => {
                write!(f, "node {found} answers at the address of node {expected}")
            }
            Self::AnotherNode { expected, found: None } => {
                write!(f, "a node that is no member answers at the address of node {expected}")
            }
            Self::SecretMissing => f.write_str(
                "the refused node has no peer secret and the refusing one asks for it: give both the \
                 same --peer-secret-file",
            ),
            Self::SecretNotAsked => f.write_str(
                "the refusing node has no peer secret and the refused one asks for it: give both the \
                 same --peer-secret-file",
            ),
            Self::SecretWrong => f.write_str(
                "the refused node did not prove that it knows the peer secret: give both the same \
                 --peer-secret-file",
            ),
            Self::Echo => f.write_str("the refused side only sends back what it hears"),
            Self::Removed { node } => write!(
                f,
                "node {node} was removed from the cluster: to come back it joins as a new node, with an \
                 empty data directory"
            ),
            Self::NoMember { node } => {
                write!(f, "node {node} is no member of the cluster: it joins with --join")
            }
            Self::Replaced { node, generation } => write!(
                f,
                "another process runs as node {node} (its start number {generation}): two were started \
                 from copies of one data directory (stop one of them)"
            ),
        }
    }
}

impl Encoded for Refusal {
    fn write(&self, to: &mut Writer) {
        match self {
            Self::Malformed => to.u8(1),
            Self::OutOfTurn => to.u8(2),
            Self::Versions { refuser, refused } => {
                to.u8(3);
                refuser.write(to);
                refused.write(to);
            }
            Self::AnotherCluster { refuser, refused } => {
                to.u8(4);
                refuser.write(to);
                refused.write(to);
            }
            Self::NoCluster => to.u8(5),
            Self::SameNode { node } => {
                to.u8(6);
                node.write(to);
            }
            Self::AnotherNode { expected, found } => {
                to.u8(7);
                expected.write(to);
                to.bool(found.is_some());
                found.iter().for_each(|found| found.write(to));
            }
            Self::SecretMissing => to.u8(8),
            Self::SecretNotAsked => to.u8(9),
            Self::SecretWrong => to.u8(10),
            Self::Echo => to.u8(11),
            Self::Removed { node } => {
                to.u8(12);
                node.write(to);
            }
            Self::NoMember { node } => {
                to.u8(13);
                node.write(to);
            }
            Self::Replaced { node, generation } => {
                to.u8(14);
                node.write(to);
                to.u64(*generation);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(match from.u8()? {
            1 => Self::Malformed,
            2 => Self::OutOfTurn,
            3 => Self::Versions {
                refuser: Versions::read(from)?,
                refused: Versions::read(from)?,
            },
            4 => Self::AnotherCluster {
                refuser: ClusterId::read(from)?,
                refused: ClusterId::read(from)?,
            },
            5 => Self::NoCluster,
            6 => Self::SameNode {
                node: NodeId::read(from)?,
            },
            7 => Self::AnotherNode {
                expected: NodeId::read(from)?,
                found: match from.bool()? {
                    true => Some(NodeId::read(from)?),
                    false => None,
                },
            },
            8 => Self::SecretMissing,
            9 => Self::SecretNotAsked,
            10 => Self::SecretWrong,
            11 => Self::Echo,
            12 => Self::Removed {
                node: NodeId::read(from)?,
            },
            13 => Self::NoMember {
                node: NodeId::read(from)?,
            },
            14 => Self::Replaced {
                node: NodeId::read(from)?,
                generation: from.u64()?,
            },
            _ => return None,
        })
    }
}
