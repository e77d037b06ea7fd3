//! Being asked by other nodes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringwood_node::{PeerReply, PeerRequest};
use ringwood_protocol::coordinator::Failure;
use ringwood_types::NodeId;
use ringwood_wire::frame::Frame;
use ringwood_wire::handshake::{Handshake, Refusal};
use ringwood_wire::kind::NotUnderstood;
use ringwood_wire::{Encoded, Kind};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::stream::{self, Broken, Incoming, Standing};
use super::{BYTES_MAX, PeerConfig, SILENCE_MAX, WRITE_LEN, cost};

/// Connections of other nodes at once, strangers before their handshake among them.
const CONNECTIONS_MAX: usize = 4096;
/// How long to leave a failing accept alone; it fails for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens to other nodes.
#[derive(Debug)]
pub struct PeerListener {
    listener: TcpListener,
    config: PeerConfig,
}

/// An answer that is owed.
struct Owed {
    frame: Frame,
    /// None for what takes no memory worth the name.
    _room: Option<OwnedSemaphorePermit>,
}

impl PeerListener {
    /// Takes the address. Connections wait in the system's queue until [`PeerListener::serve`] runs.
    ///
    /// # Errors
    /// The system does not give it.
    pub async fn bind(address: SocketAddr, config: PeerConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, config })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Hands what other nodes ask to `handler`, each question on a task of its own, until this is dropped; all
    /// connections close then. `admit` says which nodes may ask.
    pub async fn serve<A, H, F>(self, admit: A, handler: H)
    where
        A: Fn(NodeId) -> Result<(), Refusal> + Send + Sync + 'static,
        H: Fn(NodeId, PeerRequest) -> F + Send + Sync + 'static,
        F: Future<Output = PeerReply> + Send + 'static,
    {
        let (admit, handler) = (Arc::new(admit), Arc::new(handler));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let (stream, from) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of a node");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if connections.len() >= CONNECTIONS_MAX {
                tracing::warn!(%from, "too many connections of nodes: one is closed");
                continue;
            }
            let (config, admit) = (self.config.clone(), Arc::clone(&admit));
            let handler = Arc::clone(&handler);
            connections.spawn(async move {
                let why = attend(stream, &config, &*admit, &handler).await;
                tracing::info!(%from, %why, "a connection of a node is over");
            });
        }
    }
}

async fn attend<H, F>(
    stream: TcpStream,
    config: &PeerConfig,
    admit: &(dyn Fn(NodeId) -> Result<(), Refusal> + Send + Sync),
    handler: &Arc<H>,
) -> Broken
where
    H: Fn(NodeId, PeerRequest) -> F + Send + Sync + 'static,
    F: Future<Output = PeerReply> + Send + 'static,
{
    let machine = Handshake::accept(config.local.clone(), config.challenge());
    let Standing {
        mut incoming,
        mut write,
        node,
        version,
    } = match stream::shake(stream, machine, None, admit).await {
        Ok(standing) => standing,
        Err(why) => return why,
    };
    // Bounded by the room that its items hold, and by the answers to what is not even read.
    let (owe, owed) = mpsc::channel(1024);
    tokio::select! {
        why = take_questions(&mut incoming, (node, version), handler, &owe) => why,
        why = send_answers(&mut write, owed) => why,
    }
}

async fn take_questions<H, F>(
    incoming: &mut Incoming,
    (node, version): (NodeId, u16),
    handler: &Arc<H>,
    owe: &mpsc::Sender<Owed>,
) -> Broken
where
    H: Fn(NodeId, PeerRequest) -> F + Send + Sync + 'static,
    F: Future<Output = PeerReply> + Send + 'static,
{
    let all = Arc::new(Semaphore::new(BYTES_MAX));
    loop {
        let frame = match incoming.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Broken::Closed,
            Err(why) => return why,
        };
        let number = frame.head.request;
        let request = match question(&frame, version) {
            Ok(request) => request,
            Err(Unread::Broken(why)) => return why,
            Err(Unread::NotUnderstood(why)) => {
                if owe.send(not_understood(number, &why)).await.is_err() {
                    return Broken::Closed;
                }
                continue;
            }
        };
        let room = Arc::clone(&all).try_acquire_many_owned(cost(frame.payload.len()));
        let Ok(room) = room else {
            let reply = PeerReply::Failed(Failure::Overloaded);
            if owe.send(answer(number, &reply, None)).await.is_err() {
                return Broken::Closed;
            }
            continue;
        };
        let (handler, owe) = (Arc::clone(handler), owe.clone());
        // It goes on where the connection breaks: what was begun has an end, and whoever asked knows of no answer.
        tokio::spawn(async move {
            let reply = handler(node, request).await;
            let _ = owe.send(answer(number, &reply, Some(room))).await;
        });
    }
}

enum Unread {
    Broken(Broken),
    NotUnderstood(NotUnderstood),
}

fn question(frame: &Frame, version: u16) -> Result<PeerRequest, Unread> {
    let kind = Kind::of(&frame.head, version).map_err(Unread::NotUnderstood)?;
    if kind != PeerRequest::KIND || frame.head.is_answer || frame.head.request == 0 {
        return Err(Unread::Broken(Broken::Unexpected(kind)));
    }
    let malformed = |cause| Unread::Broken(Broken::Malformed { kind, cause });
    PeerRequest::decode(&frame.payload).map_err(malformed)
}

fn answer(number: u64, reply: &PeerReply, room: Option<OwnedSemaphorePermit>) -> Owed {
    let mut payload = reply.to_vec();
    if payload.len() > Frame::PAYLOAD_LEN_MAX {
        payload = PeerReply::Failed(Failure::Refused).to_vec();
    }
    let head = PeerReply::KIND.head(number, true);
    Owed {
        frame: Frame { head, payload },
        _room: room,
    }
}

fn not_understood(number: u64, why: &NotUnderstood) -> Owed {
    let (head, payload) = (Kind::NotUnderstood.head(number, true), why.to_vec());
    Owed {
        frame: Frame { head, payload },
        _room: None,
    }
}

async fn send_answers(write: &mut OwnedWriteHalf, mut owed: mpsc::Receiver<Owed>) -> Broken {
    let mut bytes = Vec::new();
    while let Some(first) = owed.recv().await {
        first.frame.write(&mut bytes);
        while bytes.len() < WRITE_LEN
            && let Ok(next) = owed.try_recv()
        {
            next.frame.write(&mut bytes);
        }
        // Whoever does not take its answers holds memory here.
        match timeout(SILENCE_MAX, write.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return Broken::Silent,
        }
        bytes.clear();
        bytes.shrink_to(WRITE_LEN);
    }
    Broken::Closed
}
