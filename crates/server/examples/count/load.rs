//! Kinds of requests whose cost is counted, and a server in this process that answers them: router,
//! node and engine are those that ship, and the disk is a real one.
//!
//! One thread does everything but what blocks, in an order that is the same each time.

use std::sync::Arc;

use ringwood_node::{Node, NodeConfig};
use ringwood_server::connection::{self, Application, Stage};
use ringwood_server::{Answers, Limits};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::constant::Constant;
use crate::stream::{Clients, Script, Stream};

/// Durable puts that come together.
const WRITERS: u32 = 32;
const VALUE_LEN: usize = 1024;
const PAGE_LEN: usize = 100;
/// Keys of the range that pages are of.
const RANGE_LEN: usize = 50 * PAGE_LEN;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// One key, in a memtable.
    Get,
    /// One key, in a block that is cached.
    GetCached,
    /// Durable puts of new keys, from many connections at once.
    Put,
    /// Following pages of a hundred entries.
    Pages { keys_only: bool },
}

impl Load {
    #[allow(dead_code)] // by one of those that share this module
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("get", Self::Get),
        ("get-cached", Self::GetCached),
        ("put", Self::Put),
        ("page", Self::Pages { keys_only: false }),
        ("page-keys", Self::Pages { keys_only: true }),
    ];
}

/// A server, and clients that wait for their turn.
pub(crate) struct Bench {
    runtime: Runtime,
    clients: Arc<Clients>,
    /// With a directory that is removed with it.
    node: Option<(Node, TempDir)>,
    limits: Arc<Limits>,
    answers: Arc<Answers>,
    stage: watch::Sender<Stage>,
    /// Whether somebody must write the log.
    writes: bool,
}

impl Bench {
    /// A node with what the load asks for.
    pub(crate) fn of_node(load: Load) -> Self {
        let directory = tempfile::tempdir().expect("a directory is to be had");
        let mut config = NodeConfig::new(directory.path());
        // The log is written by whoever waits, and nothing happens beside.
        config.engine.threads = 0;
        let node = Node::open(config).expect("a new node comes up");
        let mut bench = Self::new(Some((node.clone(), directory)));
        let application = ringwood_server::application(
            node.clone(),
            Limits::default(),
            Arc::clone(&bench.answers),
            bench.stage.subscribe(),
        );
        match load {
            Load::Get | Load::GetCached => bench.fill(&application, "hot", 1),
            Load::Put => {}
            Load::Pages { .. } => bench.fill(&application, "range", RANGE_LEN),
        }
        bench.writes = load == Load::Put;
        if load == Load::GetCached {
            node.engine().flush().expect("a flush is done");
        }
        bench.connect(load, &application);
        bench
    }

    /// The bare handler.
    pub(crate) fn of_constants(load: Load) -> Self {
        let mut bench = Self::new(None);
        bench.connect(load, &Constant);
        bench
    }

    fn new(node: Option<(Node, TempDir)>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .expect("a runtime is to be had");
        Self {
            runtime,
            clients: Arc::default(),
            node,
            limits: Arc::new(Limits::default()),
            answers: Arc::new(Answers::new(Limits::default().answer_bytes)),
            stage: watch::Sender::new(Stage::Serving),
            writes: true,
        }
    }

    fn fill(&mut self, application: &impl Application, prefix: &'static str, keys: usize) {
        self.spawn(Puts::new(prefix, 0), application.clone());
        self.run(u32::try_from(keys).expect("a few thousand"));
        // Those connections go on waiting, for nothing.
        self.clients = Arc::default();
    }

    fn connect(&mut self, load: Load, application: &impl Application) {
        match load {
            Load::Get | Load::GetCached => self.spawn(Get, application.clone()),
            Load::Put => {
                for writer in 0..WRITERS {
                    self.spawn(Puts::new("put", writer), application.clone());
                }
            }
            Load::Pages { keys_only } => self.spawn(Pages::new(keys_only), application.clone()),
        }
    }

    fn spawn(&self, script: impl Script, application: impl Application) {
        let stream = Stream::new(script, Arc::clone(&self.clients));
        let (limits, stage) = (Arc::clone(&self.limits), self.stage.subscribe());
        let answers = Arc::clone(&self.answers);
        self.runtime.spawn(async move {
            connection::serve(stream, application, &limits, &answers, stage).await;
        });
    }

    /// Sends so many requests and has them answered.
    ///
    /// # Panics
    /// When one is not answered, or with an error.
    pub(crate) fn run(&mut self, requests: u32) {
        self.clients.send(requests);
        self.runtime.block_on(async {
            if let Some(node) = self.node.as_ref().filter(|_| self.writes) {
                while !self.clients.is_done() {
                    // Everybody who has something to write leaves it in the queue first.
                    tokio::task::yield_now().await;
                    if let Some(job) = node.0.engine().next_job() {
                        node.0.engine().run(job).expect("the disk works");
                    }
                }
            }
            self.clients.done().await;
        });
    }
}

/// Asks for one key again and again.
struct Get;

impl Script for Get {
    fn request(&self) -> &[u8] {
        b"GET /kv/hot/000000-0 HTTP/1.1\r\nHost: 127.0.0.1:7400\r\n\r\n"
    }
}

/// Puts keys that nobody else puts.
struct Puts {
    request: Vec<u8>,
    key_at: usize,
    next: u32,
}

impl Puts {
    fn new(prefix: &str, writer: u32) -> Self {
        let before = format!("PUT /kv/{prefix}/");
        let head = format!(
            "{before}000000-{writer} HTTP/1.1\r\nHost: 127.0.0.1:7400\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {VALUE_LEN}\r\n\r\n"
        );
        let mut request = head.into_bytes();
        request.resize(request.len() + VALUE_LEN, b'x');
        Self {
            request,
            key_at: before.len(),
            next: 0,
        }
    }
}

impl Script for Puts {
    fn prepare(&mut self) {
        let mut rest = self.next;
        for digit in self.request[self.key_at..][..6].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
        self.next += 1;
    }

    fn request(&self) -> &[u8] {
        &self.request
    }
}

/// Reads a range page by page, and begins again at its end.
struct Pages {
    first: Vec<u8>,
    next: Vec<u8>,
}

impl Pages {
    fn new(keys_only: bool) -> Self {
        let first = Self::request_of(keys_only, "");
        Self {
            next: first.clone(),
            first,
        }
    }

    fn request_of(keys_only: bool, cursor: &str) -> Vec<u8> {
        let target = format!("/v1/kv?prefix=range/&limit={PAGE_LEN}&keys_only={keys_only}");
        format!("GET {target}{cursor} HTTP/1.1\r\nHost: 127.0.0.1:7400\r\n\r\n").into_bytes()
    }
}

impl Script for Pages {
    fn request(&self) -> &[u8] {
        &self.next
    }

    fn reads(&self) -> bool {
        true
    }

    fn answer(&mut self, answer: &[u8]) {
        const MARK: &[u8] = b"\"cursor\":\"";
        // It stands at the end, and is short.
        let end = &answer[answer.len().saturating_sub(1024)..];
        let found = end.windows(MARK.len()).position(|window| window == MARK);
        self.next.clear();
        let Some(at) = found else {
            self.next.extend_from_slice(&self.first);
            return;
        };
        let cursor = end[at + MARK.len()..].split(|&byte| byte == b'"').next();
        let line_end = self.first.windows(9).position(|part| part == b" HTTP/1.1");
        let (target, rest) = self.first.split_at(line_end.expect("the request has one"));
        let parts = [target, b"&cursor=", cursor.unwrap_or_default(), rest];
        self.next.extend_from_slice(&parts.concat());
    }
}
