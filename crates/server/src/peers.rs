//! Connections between nodes: coordinators' questions go out over them, and replicas' answers come back.
//!
//! How to read it: [`Peers`] (in `link`) asks other nodes, over one connection to each that it dials and dials
//! again; [`PeerListener`] (in `listen`) takes the connections of others and hands what they ask to a handler;
//! `stream` is what both have in common: frames over a socket, and the handshake. [`Between`] is apart from them: a
//! network that can be cut, for demonstrations and tests.
//!
//! # Invariants
//! - `peers-1`: a question is sent once at most. What was not sent is answered by `Unreachable` or `Overloaded`,
//!   what may have been sent by `Silent`.
//! - `peers-2`: nobody asks or is asked who has not gone through the handshake, as another node of this cluster.
//! - `peers-3`: whatever comes over a connection, it takes a bounded amount of memory, and at worst ends that
//!   connection.

mod between;
mod link;
mod listen;
mod stream;
#[cfg(test)]
mod tests;

pub use between::{Between, Cuts, Way};
pub use link::Peers;
pub use listen::PeerListener;
pub use stream::Broken;

use std::sync::Arc;
use std::time::Duration;

use ringwood_env::Random;
use ringwood_wire::handshake::{Challenge, Local};

/// Most bytes of questions, or of answers that are owed, on one connection.
const BYTES_MAX: usize = 32 << 20;
/// What a question takes beside its bytes, about.
const CALL_LEN: usize = 4 << 10;
/// How long a connection may say nothing while answers are awaited.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Written at once, about.
const WRITE_LEN: usize = 64 << 10;

/// Who this node is among its peers.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// What it says in handshakes.
    pub local: Local,
    /// Draws challenges, and how long to wait before dialling again.
    pub random: Arc<dyn Random>,
}

impl PeerConfig {
    fn challenge(&self) -> Challenge {
        let mut bytes = [0; 32];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.random.next_u64().to_le_bytes());
        }
        Challenge(bytes)
    }
}

/// What a message of so many bytes takes of [`BYTES_MAX`].
fn cost(len: usize) -> u32 {
    u32::try_from(len + CALL_LEN).unwrap_or(u32::MAX)
}

const _: () = assert!(ringwood_wire::frame::Frame::PAYLOAD_LEN_MAX + CALL_LEN <= BYTES_MAX);
