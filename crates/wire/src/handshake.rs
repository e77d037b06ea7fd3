//! The handshake: who is there, of which cluster, with which version, and whether it knows the secret.
//!
//! ```text
//! whoever dials                                     whoever was dialled
//!   Hello  who, versions, challenge d  ───────────▶  refuses, or
//!   refuses, or  ◀───────────  Hello  who, versions, challenge a
//!   Proof  HMAC("dials" | its hello | the other)  ──▶  refuses, or asks its owner ([`Progress::Admit`]):
//!   the connection stands  ◀─────  Accepted  HMAC("is dialled" | the same)
//! ```
//!
//! Each side's challenge is new for every connection and stands in both hellos, which both proofs
//! cover: what was recorded of another connection proves nothing, no proof can be sent back to whoever
//! made it, and nobody in between changes who is there or which version is settled on. The proofs are
//! HMAC-SHA-256 (RFC 2104), compared in constant time. Where there is no secret, the key is empty: the
//! same steps, which then only show that neither side has one.
//!
//! A [`Handshake`] does no I/O: messages go in and come out. Its owner draws challenges, ends what
//! takes longer than [`TIMEOUT`], and closes the connection on every error, once what
//! [`Failure::tell`] gives is sent. What comes over a connection that stands is as trustworthy as the
//! network below it: secrecy, and that nobody takes it over, are TLS's.
//!
//! # Invariants
//! - `handshake-1`: both sides stand for the same two identities and the same version, or there is no
//!   connection.
//! - `handshake-2`: where this side has a secret, the other knew it for *this* connection.
//! - `handshake-3`: nothing that the other side can send before it is known takes more than
//!   [`PAYLOAD_LEN_MAX`] bytes or a panic.

mod failure;
mod message;
mod refusal;
mod secret;

use core::time::Duration;

use alloc::string::String;
use alloc::vec::Vec;

use ringwood_types::{ClusterId, NodeId};

use crate::kind::Kind;
use crate::version::Versions;

pub use failure::{Failure, Refused};
pub use message::{Challenge, Hello, Message, NAME_LEN_MAX};
pub use refusal::Refusal;
pub use secret::{Secret, SecretTooShort};

use message::Tag;

/// How long a connection may take until it stands.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest payload of a message of the handshake.
pub const PAYLOAD_LEN_MAX: usize = 512;

/// Who a side says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster; none while it looks for one to join.
    pub cluster: Option<ClusterId>,
    /// Its id, which comes with the membership.
    pub node: Option<NodeId>,
    /// Its name, for people; at most [`NAME_LEN_MAX`] bytes.
    pub name: String,
    /// Which of its starts this is: goes up with each, so that two processes with one id are told apart.
    pub generation: u64,
}

/// What this side brings.
#[derive(Clone, Debug)]
pub struct Local {
    /// Who it is.
    pub identity: Identity,
    /// What it speaks; [`Versions::OURS`] but for tests.
    pub versions: Versions,
    /// What both must know.
    pub secret: Option<Secret>,
}

/// Who is at the other end of a connection that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is. Without an id it is no member, and may only ask to join.
    pub identity: Identity,
    /// The version that was settled on.
    pub version: u16,
}

/// What comes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// To be sent; the next message is awaited.
    Send(Message),
    /// Whoever dialled has shown all it can: is it welcome? To be answered by [`Handshake::admit`] or
    /// [`Handshake::refuse`].
    Admit(Peer),
    /// The connection stands. Only whoever dialled learns it so.
    Established(Peer),
}

#[derive(Debug)]
enum State {
    /// Dialled, and said hello.
    Dialled { hello: Hello, whom: Option<NodeId> },
    /// Dialled, and sent its proof.
    Proved { both: Both, peer: Peer },
    /// Was dialled.
    Listens { challenge: Challenge },
    /// Was dialled, and said hello.
    Answered { both: Both, peer: Peer },
    /// Was dialled, and its owner is asked.
    Asks { both: Both },
    /// Nothing more is expected.
    Ended,
}

/// Both hellos as they are sent, that of whoever dialled first.
#[derive(Debug)]
struct Both(Vec<u8>);

impl Both {
    fn of(dials: &Hello, is_dialled: &Hello) -> Self {
        let hellos = [dials, is_dialled].map(|hello| Message::Hello(hello.clone()).payload());
        let len = |bytes: &[u8]| (bytes.len() as u64).to_le_bytes();
        Self([&len(&hellos[0])[..], &hellos[0], &hellos[1]].concat())
    }

    fn dials(&self) -> [&[u8]; 2] {
        [b"ringwood handshake 1: dials\0", &self.0]
    }

    fn is_dialled(&self) -> [&[u8]; 2] {
        [b"ringwood handshake 1: is dialled\0", &self.0]
    }
}

/// One side of a handshake.
#[derive(Debug)]
pub struct Handshake {
    local: Local,
    state: State,
}

impl Handshake {
    /// The side that dials, and what it says first. `whom` is who should answer, where that is known.
    ///
    /// `challenge` is drawn for this connection and never used again.
    #[must_use]
    pub fn dial(local: Local, whom: Option<NodeId>, challenge: Challenge) -> (Self, Message) {
        let hello = Hello::of(&local, challenge);
        let message = Message::Hello(hello.clone());
        let state = State::Dialled { hello, whom };
        (Self { local, state }, message)
    }

    /// The side that is dialled.
    ///
    /// `challenge` is drawn for this connection and never used again.
    #[must_use]
    pub fn accept(local: Local, challenge: Challenge) -> Self {
        let state = State::Listens { challenge };
        Self { local, state }
    }

    /// Takes what the other side says: a frame's kind and payload.
    ///
    /// # Errors
    /// [`Failure`]: there will be no connection.
    pub fn handle(&mut self, kind: Kind, payload: &[u8]) -> Result<Progress, Failure> {
        let message = match Message::read(kind, payload) {
            Some(message) => message,
            None => return Err(self.end(Refusal::Malformed)),
        };
        if let Message::Refused(reason) = message {
            self.state = State::Ended;
            let why = Refused::ByPeer(reason);
            return Err(Failure { why });
        }
        match (core::mem::replace(&mut self.state, State::Ended), message) {
            (State::Listens { challenge }, Message::Hello(theirs)) => {
                self.greet(&theirs, challenge)
            }
            (State::Dialled { hello, whom }, Message::Hello(theirs)) => {
                self.prove(&hello, whom, &theirs)
            }
            (State::Answered { both, peer }, Message::Proof(tag)) => {
                self.verify(&both.dials(), &tag)?;
                self.state = State::Asks { both };
                Ok(Progress::Admit(peer))
            }
            (State::Proved { both, peer }, Message::Accepted(tag)) => {
                self.verify(&both.is_dialled(), &tag)?;
                Ok(Progress::Established(peer))
            }
            _ => Err(self.end(Refusal::OutOfTurn)),
        }
    }

    /// Lets in whom [`Progress::Admit`] named: the connection stands once this is sent.
    ///
    /// # Panics
    /// Where nobody was named.
    pub fn admit(&mut self) -> Message {
        match core::mem::replace(&mut self.state, State::Ended) {
            State::Asks { both } => Message::Accepted(self.tag(&both.is_dialled())),
            state => panic!("nobody is to be let in: {state:?}"),
        }
    }

    /// Ends the handshake for a reason that only its owner knows.
    pub fn refuse(&mut self, reason: Refusal) -> Failure {
        self.end(reason)
    }

    /// Was dialled, and hears who is there.
    fn greet(&mut self, theirs: &Hello, challenge: Challenge) -> Result<Progress, Failure> {
        let peer = self.check(theirs)?;
        let ours = Hello::of(&self.local, challenge);
        let both = Both::of(theirs, &ours);
        self.state = State::Answered { both, peer };
        Ok(Progress::Send(Message::Hello(ours)))
    }

    /// Dialled, and hears who answers.
    fn prove(
        &mut self,
        ours: &Hello,
        whom: Option<NodeId>,
        theirs: &Hello,
    ) -> Result<Progress, Failure> {
        let peer = self.check(theirs)?;
        let found = theirs.identity.node;
        if theirs.challenge == ours.challenge {
            return Err(self.end(Refusal::Echo));
        }
        if found.is_none() || theirs.identity.cluster.is_none() {
            return Err(self.end(Refusal::NoCluster));
        }
        if let Some(expected) = whom.filter(|_| whom != found) {
            return Err(self.end(Refusal::AnotherNode { expected, found }));
        }
        let both = Both::of(ours, theirs);
        let proof = self.tag(&both.dials());
        self.state = State::Proved { both, peer };
        Ok(Progress::Send(Message::Proof(proof)))
    }

    /// What can be said about a hello before anything is proved.
    fn check(&mut self, theirs: &Hello) -> Result<Peer, Failure> {
        let Identity { cluster, node, .. } = self.local.identity;
        let ours = self.local.versions;
        let Some(version) = ours.common(theirs.versions) else {
            let theirs = theirs.versions;
            return Err(self.end(Refusal::Versions {
                refuser: ours,
                refused: theirs,
            }));
        };
        match (cluster, theirs.identity.cluster) {
            (Some(refuser), Some(refused)) if refuser != refused => {
                return Err(self.end(Refusal::AnotherCluster { refuser, refused }));
            }
            (None, None) => return Err(self.end(Refusal::NoCluster)),
            _ => {}
        }
        if let Some(node) = node.filter(|_| node == theirs.identity.node) {
            return Err(self.end(Refusal::SameNode { node }));
        }
        match (self.local.secret.is_some(), theirs.has_secret) {
            (true, false) => Err(self.end(Refusal::SecretMissing)),
            (false, true) => Err(self.end(Refusal::SecretNotAsked)),
            _ => Ok(Peer {
                identity: theirs.identity.clone(),
                version,
            }),
        }
    }

    fn tag(&self, parts: &[&[u8]]) -> Tag {
        secret::tag(self.local.secret.as_ref(), parts)
    }

    fn verify(&mut self, parts: &[&[u8]], tag: &Tag) -> Result<(), Failure> {
        if secret::is_tag(self.local.secret.as_ref(), parts, tag) {
            return Ok(());
        }
        Err(self.end(Refusal::SecretWrong))
    }

    fn end(&mut self, reason: Refusal) -> Failure {
        self.state = State::Ended;
        let why = Refused::Here(reason);
        Failure { why }
    }
}

#[cfg(test)]
mod tests;
