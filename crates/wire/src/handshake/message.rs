//! What the two sides say.
//!
//! # Format
//! ```text
//! Hello     format u8 = 1 | flags u8 | versions u16 u16 | generation u64 | challenge 32 bytes
//!           name: length u8, UTF-8 | [cluster u128] | [node u64]
//! Proof, Accepted   HMAC-SHA-256, 32 bytes
//! Refused   reason u8 | what belongs to the reason
//! ```
//! Flags: 1 has a secret, 2 the cluster follows, 4 the node follows. These encodings stay as they are in
//! every version of the protocol, so that any two nodes can tell each other why they do not fit.

use alloc::string::String;
use alloc::vec::Vec;

use ringwood_types::bytes::{Reader, Writer};
use ringwood_types::{ClusterId, NodeId};

use super::refusal::Refusal;
use super::{Identity, Local};
use crate::encoded::Encoded;
use crate::kind::Kind;
use crate::version::Versions;

/// Longest name of a node in bytes.
pub const NAME_LEN_MAX: usize = 64;

const FORMAT: u8 = 1;
const HAS_SECRET: u8 = 1;
const HAS_CLUSTER: u8 = 2;
const HAS_NODE: u8 = 4;

/// Random bytes, drawn for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge(pub [u8; 32]);

/// Shows that its maker knows the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub(super) [u8; 32]);

/// What either side says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who it says it is.
    pub identity: Identity,
    /// What it speaks.
    pub versions: Versions,
    /// Whether it asks for a secret.
    pub has_secret: bool,
    /// To be covered by the other's proof.
    pub challenge: Challenge,
}

/// A message of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who is there.
    Hello(Hello),
    /// Whoever dialled knows the secret.
    Proof(Tag),
    /// Whoever was dialled knows it too, and the connection stands.
    Accepted(Tag),
    /// There will be no connection.
    Refused(Refusal),
}

impl Hello {
    pub(super) fn of(local: &Local, challenge: Challenge) -> Self {
        Self {
            identity: local.identity.clone(),
            versions: local.versions,
            has_secret: local.secret.is_some(),
            challenge,
        }
    }
}

impl Message {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Proof(_) => Kind::Proof,
            Self::Accepted(_) => Kind::Accepted,
            Self::Refused(_) => Kind::Refused,
        }
    }

    /// Its body.
    ///
    /// # Panics
    /// With a name of this node longer than [`NAME_LEN_MAX`]: configuration is checked.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => hello.to_vec(),
            Self::Proof(tag) | Self::Accepted(tag) => tag.0.to_vec(),
            Self::Refused(reason) => reason.to_vec(),
        }
    }

    /// From a frame's kind and payload; `None` for what is no message of the handshake.
    #[must_use]
    pub fn read(kind: Kind, payload: &[u8]) -> Option<Self> {
        let tag = || payload.try_into().ok().map(Tag);
        match kind {
            Kind::Hello => Hello::decode(payload).ok().map(Self::Hello),
            Kind::Proof => tag().map(Self::Proof),
            Kind::Accepted => tag().map(Self::Accepted),
            Kind::Refused => Refusal::decode(payload).ok().map(Self::Refused),
            _ => None,
        }
    }
}

impl Encoded for Hello {
    fn write(&self, to: &mut Writer) {
        let Identity {
            cluster,
            node,
            name,
            generation,
        } = &self.identity;
        let mut flags = if self.has_secret { HAS_SECRET } else { 0 };
        flags |= cluster.map_or(0, |_| HAS_CLUSTER) | node.map_or(0, |_| HAS_NODE);
        to.u8(FORMAT);
        to.u8(flags);
        self.versions.write(to);
        to.u64(*generation);
        to.put(&self.challenge.0);
        assert!(name.len() <= NAME_LEN_MAX, "names are checked");
        to.u8(u8::try_from(name.len()).expect("a name is short"));
        to.put(name.as_bytes());
        cluster.iter().for_each(|cluster| cluster.write(to));
        node.iter().for_each(|node| node.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (format, flags) = (from.u8()?, from.u8()?);
        if format != FORMAT || flags & !(HAS_SECRET | HAS_CLUSTER | HAS_NODE) != 0 {
            return None;
        }
        let versions = Versions::read(from)?;
        let generation = from.u64()?;
        let challenge = Challenge(from.array()?);
        let name_len = usize::from(from.u8()?);
        let name = core::str::from_utf8(from.take(name_len)?).ok()?;
        // Names go to logs and terminals.
        if name_len > NAME_LEN_MAX || name.chars().any(char::is_control) {
            return None;
        }
        let cluster = match flags & HAS_CLUSTER {
            0 => None,
            _ => Some(ClusterId::read(from)?),
        };
        let node = match flags & HAS_NODE {
            0 => None,
            _ => Some(NodeId::read(from)?),
        };
        Some(Self {
            identity: Identity {
                cluster,
                node,
                name: String::from(name),
                generation,
            },
            versions,
            has_secret: flags & HAS_SECRET != 0,
            challenge,
        })
    }
}
