//! Asking other nodes: one connection to each, dialled when it is known and again whenever it breaks.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ringwood_node::{PeerReply, PeerRequest};
use ringwood_protocol::coordinator::Failure;
use ringwood_types::NodeId;
use ringwood_wire::frame::Frame;
use ringwood_wire::handshake::Handshake;
use ringwood_wire::{Encoded, Kind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::stream::{self, Broken, Incoming, Standing};
use super::{BYTES_MAX, PeerConfig, SILENCE_MAX, WRITE_LEN, cost};

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// The other nodes, as this one asks them.
#[derive(Debug)]
pub struct Peers {
    config: PeerConfig,
    links: RwLock<BTreeMap<NodeId, Arc<Link>>>,
}

impl Peers {
    /// Nobody yet.
    #[must_use]
    pub fn new(config: PeerConfig) -> Self {
        let links = RwLock::default();
        Self { config, links }
    }

    /// Says where a node listens. It is dialled at once, and again whenever the connection breaks.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn set(&self, node: NodeId, address: SocketAddr) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if links.get(&node).is_some_and(|link| link.address == address) {
            return;
        }
        let link = Link::start(self.config.clone(), node, address);
        if let Some(old) = links.insert(node, link) {
            old.close();
        }
    }

    /// Forgets a node. Calls that wait for it fail.
    pub fn remove(&self, node: NodeId) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.remove(&node) {
            link.close();
        }
    }

    /// Asks a node, and waits for its answer until `deadline`. Where none comes, the answer says whether the
    /// node may have been asked. A call that is dropped before it was sent will not be.
    pub async fn call(&self, to: NodeId, request: &PeerRequest, deadline: Instant) -> PeerReply {
        let link = {
            let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
            links.get(&to).cloned()
        };
        let answer = match link {
            Some(link) => link.call(request, deadline).await,
            None => Err(Failure::Unreachable),
        };
        answer.unwrap_or_else(PeerReply::Failed)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let links = self.links.get_mut().unwrap_or_else(PoisonError::into_inner);
        links.values().for_each(|link| link.close());
    }
}

/// Questions that wait for an answer, by their numbers.
#[derive(Debug, Default)]
struct Calls {
    waiting: HashMap<u64, Waiting>,
    last: u64,
}

#[derive(Debug)]
struct Waiting {
    /// INVARIANT peers-1: set before its first byte is written, never taken back.
    is_sent: bool,
    answer: oneshot::Sender<Result<PeerReply, Failure>>,
}

/// A question on its way to the connection.
struct Question {
    number: u64,
    payload: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Link {
    address: SocketAddr,
    calls: Arc<Mutex<Calls>>,
    queue: mpsc::UnboundedSender<Question>,
    /// Bounds the queue, in bytes.
    room: Arc<Semaphore>,
    task: AbortHandle,
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers a question, if it still waits.
fn settle(calls: &Mutex<Calls>, number: u64, answer: Result<PeerReply, Failure>) {
    let waiting = lock(calls).waiting.remove(&number);
    if let Some(waiting) = waiting {
        // Whoever asked may be gone just now.
        let _ = waiting.answer.send(answer);
    }
}

/// A caller that waits. Once it is gone, its question is not sent any more.
struct Caller<'a> {
    calls: &'a Mutex<Calls>,
    number: u64,
}

impl Caller<'_> {
    /// Stops waiting. Whether it was sent; `None` where it was answered.
    fn give_up(&self) -> Option<bool> {
        let waiting = lock(self.calls).waiting.remove(&self.number);
        waiting.map(|waiting| waiting.is_sent)
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Link {
    fn start(config: PeerConfig, node: NodeId, address: SocketAddr) -> Arc<Self> {
        let calls = Arc::new(Mutex::new(Calls::default()));
        let (queue, questions) = mpsc::unbounded_channel();
        let dialler = Dialler {
            config,
            node,
            address,
            calls: Arc::clone(&calls),
            questions,
        };
        Arc::new(Self {
            address,
            calls,
            queue,
            room: Arc::new(Semaphore::new(BYTES_MAX)),
            task: tokio::spawn(dialler.run()).abort_handle(),
        })
    }

    async fn call(&self, request: &PeerRequest, deadline: Instant) -> Result<PeerReply, Failure> {
        let payload = request.to_vec();
        if payload.len() > Frame::PAYLOAD_LEN_MAX {
            return Err(Failure::Refused);
        }
        let room = Arc::clone(&self.room).try_acquire_many_owned(cost(payload.len()));
        let room = room.map_err(|_| Failure::Overloaded)?;
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut calls = lock(&self.calls);
            calls.last += 1;
            let number = calls.last;
            let is_sent = false;
            calls.waiting.insert(number, Waiting { is_sent, answer });
            number
        };
        let calls = &*self.calls;
        let caller = Caller { calls, number };
        let question = Question {
            number,
            payload,
            _room: room,
        };
        if self.queue.send(question).is_err() {
            return Err(Failure::Unreachable);
        }
        let mut answered = answered;
        match timeout_at(deadline, &mut answered).await {
            Ok(answer) => answer.unwrap_or(Err(Failure::Silent)),
            Err(_) => match caller.give_up() {
                Some(true) => Err(Failure::Silent),
                Some(false) => Err(Failure::Unreachable),
                // It came at the last moment.
                None => answered.await.unwrap_or(Err(Failure::Silent)),
            },
        }
    }

    fn close(&self) {
        self.task.abort();
        fail(&self.calls, true);
    }
}

/// Fails what was sent, and with `all` what was not, too.
fn fail(calls: &Mutex<Calls>, all: bool) {
    let mut calls = lock(calls);
    let failed = calls
        .waiting
        .extract_if(|_, waiting| all || waiting.is_sent);
    for (_, waiting) in failed {
        let failure = match waiting.is_sent {
            true => Failure::Silent,
            false => Failure::Unreachable,
        };
        let _ = waiting.answer.send(Err(failure));
    }
}

/// Keeps one connection.
struct Dialler {
    config: PeerConfig,
    node: NodeId,
    address: SocketAddr,
    calls: Arc<Mutex<Calls>>,
    questions: mpsc::UnboundedReceiver<Question>,
}

impl Dialler {
    async fn run(mut self) {
        let mut pause = BACKOFF_MIN;
        loop {
            let why = match self.dial().await {
                Ok(standing) => {
                    pause = BACKOFF_MIN;
                    self.carry(standing).await
                }
                Err(why) => why,
            };
            let (node, address) = (self.node, self.address);
            tracing::info!(%node, %address, %why, "no connection to a node; it is dialled again");
            fail(&self.calls, false);
            // Half of it at random: nodes that lost one another together do not come back together.
            let half = pause / 2;
            let jitter =
                self.config.random.next_u64() % u64::try_from(half.as_micros()).unwrap_or(1).max(1);
            self.turn_away(half + Duration::from_micros(jitter)).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }

    async fn dial(&self) -> Result<Standing, Broken> {
        let connecting = TcpStream::connect(self.address);
        let stream = timeout(ringwood_wire::handshake::TIMEOUT, connecting)
            .await
            .map_err(|_| Broken::TooSlow)??;
        let local = self.config.local.clone();
        let (machine, hello) = Handshake::dial(local, Some(self.node), self.config.challenge());
        stream::shake(stream, machine, Some(hello), &|_| Ok(())).await
    }

    /// While there is no connection, whoever asks hears so at once.
    async fn turn_away(&mut self, pause: Duration) {
        let until = sleep(pause);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return,
                Some(question) = self.questions.recv() => {
                    settle(&self.calls, question.number, Err(Failure::Unreachable));
                }
            }
        }
    }

    /// Sends questions and takes answers until the connection breaks.
    async fn carry(&mut self, standing: Standing) -> Broken {
        let Standing {
            mut incoming,
            mut write,
            version,
            ..
        } = standing;
        let heard = Mutex::new(Instant::now());
        tokio::select! {
            why = take_answers(&mut incoming, version, &self.calls, &heard) => why,
            why = send_questions(&mut write, &mut self.questions, &self.calls) => why,
            why = watch(&self.calls, &heard) => why,
        }
    }
}

async fn send_questions(
    write: &mut OwnedWriteHalf,
    questions: &mut mpsc::UnboundedReceiver<Question>,
    calls: &Mutex<Calls>,
) -> Broken {
    let mut bytes = Vec::new();
    while let Some(question) = questions.recv().await {
        let mut next = Some(question);
        while let Some(question) = next {
            put(&question, calls, &mut bytes);
            next = match bytes.len() < WRITE_LEN {
                true => questions.try_recv().ok(),
                false => None,
            };
        }
        if let Err(error) = write.write_all(&bytes).await {
            return error.into();
        }
        bytes.clear();
        bytes.shrink_to(WRITE_LEN);
    }
    Broken::Closed
}

/// INVARIANT peers-1: from here on the question counts as sent. Nobody sends what nobody waits for.
fn put(question: &Question, calls: &Mutex<Calls>, bytes: &mut Vec<u8>) {
    match lock(calls).waiting.get_mut(&question.number) {
        Some(waiting) => waiting.is_sent = true,
        None => return,
    }
    let head = PeerRequest::KIND.head(question.number, false);
    let (head, trailer) = head.seal(&question.payload);
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&question.payload);
    bytes.extend_from_slice(&trailer);
}

async fn take_answers(
    incoming: &mut Incoming,
    version: u16,
    calls: &Mutex<Calls>,
    heard: &Mutex<Instant>,
) -> Broken {
    loop {
        let frame = match incoming.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Broken::Closed,
            Err(why) => return why,
        };
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let kind = match Kind::of(&frame.head, version) {
            Ok(kind) => kind,
            Err(why) => return why.into(),
        };
        let answer = match kind {
            Kind::ReplicaReply if frame.head.is_answer => match PeerReply::decode(&frame.payload) {
                Ok(reply) => Ok(reply),
                Err(cause) => return Broken::Malformed { kind, cause },
            },
            // It was not even read.
            Kind::NotUnderstood if frame.head.is_answer => Err(Failure::Refused),
            kind => return Broken::Unexpected(kind),
        };
        let number = frame.head.request;
        let is_sent = lock(calls).waiting.get(&number).map(|call| call.is_sent);
        match is_sent {
            Some(true) => settle(calls, number, answer),
            Some(false) => return Broken::Unexpected(kind),
            // Nobody waits for it any more.
            None => {}
        }
    }
}

/// Ends when answers are awaited and nothing was heard for too long: a connection can be dead at one end only.
async fn watch(calls: &Mutex<Calls>, heard: &Mutex<Instant>) -> Broken {
    loop {
        sleep(SILENCE_MAX / 10).await;
        let is_awaited = lock(calls).waiting.values().any(|call| call.is_sent);
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_awaited {
            *heard = Instant::now();
        } else if heard.elapsed() > SILENCE_MAX {
            return Broken::Silent;
        }
    }
}
