//! A handshake that failed: who refused, and what is said about it.

use core::fmt;

use super::message::Message;
use super::refusal::Refusal;

/// Who refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This side.
    Here(Refusal),
    /// The other side, or whoever is in between: until a connection stands, nothing is proved.
    ByPeer(Refusal),
}

/// A handshake that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who refused, and why.
    pub why: Refused,
}

impl Failure {
    /// To be sent before the connection is closed.
    #[must_use]
    pub const fn tell(&self) -> Option<Message> {
        match self.why {
            Refused::Here(reason) => Some(Message::Refused(reason)),
            Refused::ByPeer(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Refused::Here(reason) => write!(f, "the other node is refused: {reason}"),
            Refused::ByPeer(reason) => write!(f, "the other node refuses: {reason}"),
        }
    }
}

impl core::error::Error for Failure {}
