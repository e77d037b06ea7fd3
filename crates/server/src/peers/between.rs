//! What can stand between nodes, for demonstrations and tests: a way to a node's peer address that can be cut,
//! each direction for itself.
//!
//! How to read it: each node is reached through a [`Between`] of its own, which it advertises in place of its
//! address; all of them share one [`Cuts`], which says between whom nothing passes. Who dials is known by the
//! name in the first message of the handshake, so nodes need to know nothing of it.
//!
//! A cut is what it is in a network that loses every packet: connections stand, and what is sent waits. Once it is
//! healed, all of it arrives, in order.
//!
//! # Invariants
//! - `between-1`: from the moment [`Cuts::set`] returns, nothing that comes then passes a way that is cut, until
//!   it is healed.
//! - `between-2`: whatever is cut and healed, a connection's bytes arrive as they were sent, each once.
//! - `between-3`: what waits takes bounded memory: a chunk for each direction of each connection.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ringwood_wire::frame::Decoder;
use ringwood_wire::handshake::{self, Message, PAYLOAD_LEN_MAX};
use ringwood_wire::{Kind, Versions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Waits of a direction, at most.
const CHUNK_LEN: usize = 64 << 10;

/// From one node to another, by their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Whose messages do not arrive.
    pub from: String,
    /// At whom.
    pub to: String,
}

/// Which ways are cut. Clones are one and the same.
#[derive(Clone, Debug)]
pub struct Cuts(watch::Sender<Arc<BTreeSet<Way>>>);

impl Default for Cuts {
    fn default() -> Self {
        Self(watch::Sender::new(Arc::default()))
    }
}

impl Cuts {
    /// These are cut from now on, and all others are whole.
    pub fn set(&self, ways: impl IntoIterator<Item = Way>) {
        self.0.send_replace(Arc::new(ways.into_iter().collect()));
    }

    /// Those that are cut.
    #[must_use]
    pub fn get(&self) -> Arc<BTreeSet<Way>> {
        Arc::clone(&self.0.borrow())
    }

    fn gate(&self, way: Way) -> Gate {
        let cuts = self.0.subscribe();
        Gate { cuts, way }
    }
}

/// One direction of a connection.
struct Gate {
    cuts: watch::Receiver<Arc<BTreeSet<Way>>>,
    way: Way,
}

impl Gate {
    /// Returns once the way is whole.
    async fn open(&mut self) {
        let way = &self.way;
        let is_lost = {
            let whole = self.cuts.wait_for(|cuts| !cuts.contains(way)).await;
            whole.is_err()
        };
        if is_lost {
            // Nobody is left who could heal it.
            std::future::pending().await
        }
    }
}

/// The way in to one node.
#[derive(Debug)]
pub struct Between {
    listener: TcpListener,
    name: String,
    node: SocketAddr,
    cuts: Cuts,
}

impl Between {
    /// Listens on `address` for whoever wants to reach the node of this name, which listens on `node`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(
        address: SocketAddr,
        name: impl Into<String>,
        node: SocketAddr,
        cuts: Cuts,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            name: name.into(),
            node,
            cuts,
        })
    }

    /// Where it listens: what the node behind it advertises.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Lets connections through, until it is dropped; then they all end.
    pub async fn serve(self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                dialled = self.listener.accept() => match dialled {
                    Ok((stream, _)) => {
                        let (name, cuts) = (self.name.clone(), self.cuts.clone());
                        connections.spawn(pass(stream, name, self.node, cuts));
                    }
                    // Too many open files, or the like: others may end soon.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// One connection, until either side ends it. Who closes one of its directions closes both: so do nodes.
async fn pass(dials: TcpStream, to: String, node: SocketAddr, cuts: Cuts) {
    let (mut from_dialler, to_dialler) = split(dials);
    let greeting = timeout(handshake::TIMEOUT, greeting(&mut from_dialler)).await;
    let Ok(Some((from, said))) = greeting else {
        return;
    };
    let mut there = cuts.gate(Way {
        from: from.clone(),
        to: to.clone(),
    });
    let back = cuts.gate(Way { from: to, to: from });
    there.open().await;
    let Ok(stream) = TcpStream::connect(node).await else {
        return;
    };
    let (from_node, to_node) = split(stream);
    tokio::select! {
        () = carry(said, from_dialler, to_node, there) => {}
        () = carry(Vec::new(), from_node, to_dialler, back) => {}
    }
}

fn split(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    // Else what passes would wait for acknowledgements that the nodes do not wait for.
    let _ = stream.set_nodelay(true);
    stream.into_split()
}

/// The name that a dialler says, and all the bytes that were read to know it. `None` where it is no node.
async fn greeting(from: &mut OwnedReadHalf) -> Option<(String, Vec<u8>)> {
    let mut decoder = Decoder::new(PAYLOAD_LEN_MAX);
    let mut said = Vec::new();
    loop {
        let begin = said.len();
        if from.read_buf(&mut said).await.ok()? == 0 {
            return None;
        }
        let Some(frame) = decoder.feed(&mut &said[begin..]).ok()? else {
            continue;
        };
        let kind = Kind::of(&frame.head, Versions::OURS.newest()).ok()?;
        return match Message::read(kind, &frame.payload)? {
            Message::Hello(hello) => Some((hello.identity.name, said)),
            _ => None,
        };
    }
}

/// One direction: `first`, then all that comes, as long as the way is whole.
async fn carry(first: Vec<u8>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: Gate) {
    let mut chunk = first;
    chunk.reserve(CHUNK_LEN);
    loop {
        gate.open().await;
        if to.write_all(&chunk).await.is_err() {
            return;
        }
        chunk.clear();
        if !matches!(from.read_buf(&mut chunk).await, Ok(1..)) {
            // A connection's end does not pass a way that is cut either.
            gate.open().await;
            return;
        }
    }
}

#[cfg(test)]
mod tests;
