//! Frames over a socket, and the handshake that comes first.

use std::io;

use ringwood_types::NodeId;
use ringwood_wire::frame::{Decoder, Frame, FrameError};
use ringwood_wire::handshake::{
    self, Failure, Handshake, Message, PAYLOAD_LEN_MAX, Peer, Progress, Refusal,
};
use ringwood_wire::kind::NotUnderstood;
use ringwood_wire::{Kind, Malformed, Versions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

const CHUNK_LEN: usize = 64 << 10;

/// Why a connection between nodes is over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no stream of frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other side closed it.
    #[error("the other node closed the connection")]
    Closed,
    /// The other side closed it inside of a message.
    #[error("the other node closed the connection inside of a message")]
    CutOff,
    /// There is no connection.
    #[error(transparent)]
    Handshake(#[from] Failure),
    /// The handshake took too long.
    #[error("the other node did not finish the handshake within {} s", handshake::TIMEOUT.as_secs())]
    TooSlow,
    /// A message of the handshake is none that is known.
    #[error(transparent)]
    NotUnderstood(#[from] NotUnderstood),
    /// A message is not what its kind is.
    #[error("a message of kind {kind} is {cause}")]
    Malformed {
        /// Its kind.
        kind: Kind,
        /// Where.
        cause: Malformed,
    },
    /// A message that has no place here.
    #[error("a message of kind {0} came, which was not asked for")]
    Unexpected(Kind),
    /// Answers are awaited, and nothing comes.
    #[error("the other node has not said anything for {} s", super::SILENCE_MAX.as_secs())]
    Silent,
}

/// The frames that come.
pub(super) struct Incoming {
    read: OwnedReadHalf,
    decoder: Decoder,
    chunk: Box<[u8]>,
    /// What of the chunk is not decoded yet.
    left: std::ops::Range<usize>,
}

impl Incoming {
    /// The next frame, `None` where the other side ended in order. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, Broken> {
        loop {
            let mut rest = &self.chunk[self.left.clone()];
            let found = self.decoder.feed(&mut rest);
            self.left.start = self.left.end - rest.len();
            if let Some(frame) = found? {
                return Ok(Some(frame));
            }
            self.left = 0..self.read.read(&mut self.chunk).await?;
            if self.left.is_empty() {
                return match self.decoder.is_between_frames() {
                    true => Ok(None),
                    false => Err(Broken::CutOff),
                };
            }
        }
    }
}

/// A connection that stands.
pub(super) struct Standing {
    pub(super) incoming: Incoming,
    pub(super) write: OwnedWriteHalf,
    pub(super) node: NodeId,
    pub(super) version: u16,
}

/// Goes through the handshake, within its time. `admit` says who may come in.
pub(super) async fn shake(
    stream: TcpStream,
    machine: Handshake,
    first: Option<Message>,
    admit: &(dyn Fn(NodeId) -> Result<(), Refusal> + Send + Sync),
) -> Result<Standing, Broken> {
    // Without this an answer waits for the other side's delayed acknowledgement.
    stream.set_nodelay(true)?;
    let talk = talk(stream, machine, first, admit);
    timeout(handshake::TIMEOUT, talk)
        .await
        .unwrap_or(Err(Broken::TooSlow))
}

async fn talk(
    stream: TcpStream,
    mut machine: Handshake,
    first: Option<Message>,
    admit: &(dyn Fn(NodeId) -> Result<(), Refusal> + Send + Sync),
) -> Result<Standing, Broken> {
    let (read, mut write) = stream.into_split();
    let mut incoming = Incoming {
        read,
        decoder: Decoder::new(PAYLOAD_LEN_MAX),
        chunk: vec![0; CHUNK_LEN].into(),
        left: 0..0,
    };
    if let Some(first) = first {
        say(&mut write, &first).await?;
    }
    let peer = loop {
        let frame = incoming.next().await?.ok_or(Broken::Closed)?;
        let kind = Kind::of(&frame.head, Versions::OURS.newest())?;
        let progress = machine.handle(kind, &frame.payload);
        match progress {
            Ok(Progress::Send(message)) => say(&mut write, &message).await?,
            Ok(Progress::Established(peer)) => break peer,
            Ok(Progress::Admit(peer)) => match may(&peer, admit) {
                Ok(()) => {
                    say(&mut write, &machine.admit()).await?;
                    break peer;
                }
                Err(refusal) => return Err(part(&mut write, machine.refuse(refusal)).await),
            },
            Err(failure) => return Err(part(&mut write, failure).await),
        }
    };
    incoming.decoder.set_payload_len_max(Frame::PAYLOAD_LEN_MAX);
    let node = peer.identity.node.ok_or(Broken::Closed)?;
    Ok(Standing {
        incoming,
        write,
        node,
        version: peer.version,
    })
}

/// Who has no id yet may only ask to join, and nobody is asked that here.
fn may(
    peer: &Peer,
    admit: &(dyn Fn(NodeId) -> Result<(), Refusal> + Send + Sync),
) -> Result<(), Refusal> {
    match peer.identity.node {
        Some(node) if peer.identity.cluster.is_some() => admit(node),
        node => Err(Refusal::NoMember {
            node: node.unwrap_or(NodeId::new(0)),
        }),
    }
}

/// Says why there is no connection; whether that arrives is no matter.
async fn part(write: &mut OwnedWriteHalf, failure: Failure) -> Broken {
    if let Some(message) = failure.tell() {
        let _ = say(write, &message).await;
    }
    failure.into()
}

async fn say(write: &mut OwnedWriteHalf, message: &Message) -> io::Result<()> {
    let mut bytes = Vec::new();
    message.kind().frame(message.payload()).write(&mut bytes);
    write.write_all(&bytes).await
}
