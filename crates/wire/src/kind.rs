//! The one table of messages: which kinds there are, and since when.
//!
//! # Invariants
//! - `kind-1`: a number means one kind for ever. What is no longer sent keeps its number among the
//!   retired; what changes its encoding gets a new number.
//! - `kind-2`: nothing is sent to a node whose version does not know it, and what is not in the table,
//!   or not as the table has it, is refused.

use core::fmt;

use ringwood_types::bytes::{Reader, Writer};

use crate::encoded::Encoded;
use crate::frame::{Class, Frame, Head};

macro_rules! kinds {
    ($($number:literal $name:ident, $class:ident, since $since:literal: $about:literal;)*) => {
        /// What a message is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Kind {
            $(#[doc = $about] $name = $number,)*
        }

        impl Kind {
            /// All that this build knows.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            const fn row(self) -> (&'static str, Class, u16) {
                match self {
                    $(Self::$name => (stringify!($name), Class::$class, $since),)*
                }
            }
        }
    };
}

kinds! {
    1 Hello, Requests, since 1: "Who speaks, and a challenge: the first message of either side.";
    2 Proof, Requests, since 1: "The answer of whoever dialled to the challenge.";
    3 Accepted, Requests, since 1: "The answer of whoever was dialled: the connection stands.";
    4 Refused, Requests, since 1: "Why there will be no connection; the last message.";
    8 NotUnderstood, Requests, since 1: "The request of this number was of no kind that is known here.";
    16 Consensus, Requests, since 1: "Members of a consensus group among each other.";
    17 ConsensusSnapshot, Bulk, since 1: "A consensus group's state, for a member that is far behind.";
    24 Membership, Requests, since 1: "Signs of life, and what was heard of others.";
    32 Replica, Requests, since 1: "A coordinator's question to a replica about one key.";
    33 ReplicaReply, Requests, since 1: "A replica's answer to a coordinator.";
}

/// Numbers of kinds that are no longer sent, which mean nothing else.
const RETIRED: &[u16] = &[];

impl Kind {
    /// Its number in the stream.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Its traffic.
    #[must_use]
    pub const fn class(self) -> Class {
        self.row().1
    }

    /// The first version of the protocol that knows it.
    #[must_use]
    pub const fn since(self) -> u16 {
        self.row().2
    }

    /// Whether a peer with which `version` was settled on knows it.
    #[must_use]
    pub const fn is_known_in(self, version: u16) -> bool {
        self.since() <= version
    }

    /// A head for such a message, which is or is not an answer to a request.
    #[must_use]
    pub const fn head(self, request: u64, is_answer: bool) -> Head {
        Head {
            class: self.class(),
            is_answer,
            kind: self.number(),
            since: self.since(),
            request,
        }
    }

    /// A message that answers nothing and is not to be answered.
    #[must_use]
    pub const fn frame(self, payload: alloc::vec::Vec<u8>) -> Frame {
        Frame {
            head: self.head(0, false),
            payload,
        }
    }

    /// What a message is that came from a peer with which `version` was settled on.
    ///
    /// # Errors
    /// [`NotUnderstood`]: the message is to be refused, and the stream goes on behind it.
    pub fn of(head: &Head, version: u16) -> Result<Self, NotUnderstood> {
        let (kind, since) = (head.kind, head.since);
        let known = Self::ALL.iter().find(|one| one.number() == kind);
        match known {
            Some(known) if known.since() == since && known.class() == head.class => {
                if known.is_known_in(version) {
                    Ok(*known)
                } else {
                    Err(NotUnderstood::Newer {
                        kind,
                        since,
                        version,
                    })
                }
            }
            Some(_) => Err(NotUnderstood::NotAsKnown { kind }),
            None if RETIRED.contains(&kind) => Err(NotUnderstood::Retired { kind }),
            None if since > version => Err(NotUnderstood::Newer {
                kind,
                since,
                version,
            }),
            None => Err(NotUnderstood::Unknown { kind }),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().0)
    }
}

/// Why a message is refused before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotUnderstood {
    /// It belongs to a later version of the protocol than was settled on.
    Newer {
        /// Its kind.
        kind: u16,
        /// The version that knows it.
        since: u16,
        /// The version that was settled on.
        version: u16,
    },
    /// Its kind is no longer understood.
    Retired {
        /// Its kind.
        kind: u16,
    },
    /// Its kind is known, but of another class or since another version.
    NotAsKnown {
        /// Its kind.
        kind: u16,
    },
    /// No version up to ours has such a kind.
    Unknown {
        /// Its kind.
        kind: u16,
    },
}

impl fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer {
                kind,
                since,
                version,
            } => write!(
                f,
                "a message of kind {kind} needs version {since} of the protocol; {version} was settled on"
            ),
            Self::Retired { kind } => {
                write!(f, "messages of kind {kind} are no longer understood")
            }
            Self::NotAsKnown { kind } => write!(
                f,
                "a message of kind {kind} has another class or version than that kind has"
            ),
            Self::Unknown { kind } => write!(f, "there is no kind {kind} of messages"),
        }
    }
}

impl core::error::Error for NotUnderstood {}

/// The body of [`Kind::NotUnderstood`].
impl Encoded for NotUnderstood {
    fn write(&self, to: &mut Writer) {
        let (tag, kind) = match self {
            Self::Newer { kind, .. } => (1, kind),
            Self::Retired { kind } => (2, kind),
            Self::NotAsKnown { kind } => (3, kind),
            Self::Unknown { kind } => (4, kind),
        };
        to.u8(tag);
        to.u16(*kind);
        if let Self::Newer { since, version, .. } = self {
            to.u16(*since);
            to.u16(*version);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (tag, kind) = (from.u8()?, from.u16()?);
        Some(match tag {
            1 => Self::Newer {
                kind,
                since: from.u16()?,
                version: from.u16()?,
            },
            2 => Self::Retired { kind },
            3 => Self::NotAsKnown { kind },
            4 => Self::Unknown { kind },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Versions;
    use std::collections::BTreeSet;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    /// Only ever grows: a line of it is a promise to nodes of other versions.
    const PROMISED: &str = "
        1 Hello Requests 1
        2 Proof Requests 1
        3 Accepted Requests 1
        4 Refused Requests 1
        8 NotUnderstood Requests 1
        16 Consensus Requests 1
        17 ConsensusSnapshot Bulk 1
        24 Membership Requests 1
        32 Replica Requests 1
        33 ReplicaReply Requests 1
    ";

    #[test]
    fn kind_1_the_table_keeps_its_promises() {
        let line = |kind: &Kind| {
            format!(
                "{} {kind} {:?} {}",
                kind.number(),
                kind.class(),
                kind.since()
            )
        };
        let found: Vec<String> = Kind::ALL.iter().map(line).collect();
        let promised: Vec<_> = PROMISED
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(found, promised);
        let numbers: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.number()).collect();
        assert_eq!(numbers.len(), Kind::ALL.len());
        assert!(RETIRED.iter().all(|retired| !numbers.contains(retired)));
        assert!(
            Kind::ALL
                .iter()
                .all(|kind| kind.is_known_in(Versions::OURS.newest()))
        );
    }

    #[test]
    fn answers_to_what_is_not_understood_are_read_back() {
        let (kind, since, version) = (9, 8, 7);
        for answer in [
            NotUnderstood::Newer {
                kind,
                since,
                version,
            },
            NotUnderstood::Retired { kind },
            NotUnderstood::NotAsKnown { kind },
            NotUnderstood::Unknown { kind },
        ] {
            let bytes = answer.to_vec();
            assert_eq!(NotUnderstood::decode(&bytes), Ok(answer));
            assert!((0..bytes.len()).all(|cut| NotUnderstood::decode(&bytes[..cut]).is_err()));
        }
    }

    #[test]
    fn kind_2_what_is_not_in_the_table_is_refused() {
        let head = Kind::Membership.head(0, false);
        assert_eq!(Kind::of(&head, 1), Ok(Kind::Membership));
        let (kind, since, version) = (24, 1, 0);
        let newer = Err(NotUnderstood::Newer {
            kind,
            since,
            version,
        });
        assert_eq!(Kind::of(&head, version), newer);
        let not_as_known = Err(NotUnderstood::NotAsKnown { kind });
        assert_eq!(Kind::of(&Head { since: 2, ..head }, 1), not_as_known);
        assert_eq!(
            Kind::of(
                &Head {
                    class: Class::Bulk,
                    ..head
                },
                1
            ),
            not_as_known
        );
        let kind = 9999;
        let unknown = Err(NotUnderstood::Unknown { kind });
        assert_eq!(Kind::of(&Head { kind, ..head }, 1), unknown);
        let (since, version) = (7, 6);
        let newer = Err(NotUnderstood::Newer {
            kind,
            since,
            version,
        });
        assert_eq!(
            Kind::of(
                &Head {
                    kind,
                    since,
                    ..head
                },
                version
            ),
            newer
        );
    }
}
