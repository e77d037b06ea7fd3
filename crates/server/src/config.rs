//! What can be chosen about a server, and how much of everything one client may take.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How a server listens and what it allows.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where HTTP is served; port 0 takes any free one. Loopback only, as there is no authentication.
    pub listen: SocketAddr,
    /// Names and addresses, without ports, that requests may be sent to besides loopback addresses,
    /// `localhost` and [`ServerConfig::listen`]. Under any other host nothing is served, health neither.
    pub allowed_hosts: Vec<String>,
    /// How much of everything a client may take.
    pub limits: Limits,
    /// How long requests in flight may go on once the server is told to stop.
    pub grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            allowed_hosts: Vec::new(),
            limits: Limits::default(),
            grace: Duration::from_secs(10),
        }
    }
}

/// Bounds for everything a client can make grow, but for what the node itself bounds (keys, values,
/// pages, batches). Lengths are in bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest body that is taken as one value; as long as the node's longest value.
    pub value_len: usize,
    /// Longest body of a batch.
    pub batch_len: usize,
    /// Request line and headers together. A request's target alone is at most 65,534 bytes.
    pub head_len: usize,
    /// Connections served at once; one more is answered 503 and closed.
    pub connections: usize,
    /// Requests at work at once, over all connections, but for those answered from memory; one more is answered 503.
    pub requests: usize,
    /// Body bytes held at once, over all connections, as they come; others wait their turn, then get 503.
    pub body_bytes: usize,
    /// Bytes of answers held at once, over all connections, until the network has taken them. Requests
    /// beyond wait for [`Limits::answer_wait`], then get 503; ranges get shorter pages.
    pub answer_bytes: usize,
    /// Reads that wait for the disk at once.
    pub blocking_reads: usize,
    /// Reads that may queue for one of those places; one more is answered 503.
    pub blocking_queue: usize,
    /// From the first byte of a request's head to its last; over HTTP/2 of any frame but a body's too.
    pub head_timeout: Duration,
    /// A body may fall this far behind [`Limits::body_rate`].
    pub body_timeout: Duration,
    /// Bytes a second below which a body is cut off with 408. Long bodies have to come at 64 KiB a second,
    /// and may fall 2 seconds behind, while others wait for the memory that they hold.
    pub body_rate: u32,
    /// From the whole request to its answer.
    pub request_timeout: Duration,
    /// Silence between requests.
    pub idle_timeout: Duration,
    /// A client may fall this far behind [`Limits::answer_rate`] in taking its answers; 3 seconds at most
    /// while others wait for the memory that they hold.
    pub write_timeout: Duration,
    /// Bytes a second below which a connection is closed that has answers to take.
    pub answer_rate: u32,
    /// How long a request waits for memory for its answer.
    pub answer_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            value_len: 1 << 20,
            batch_len: 8 << 20,
            head_len: 128 << 10,
            connections: 20_000,
            requests: 4096,
            body_bytes: 128 << 20,
            answer_bytes: 128 << 20,
            blocking_reads: 32,
            blocking_queue: 2048,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            body_rate: 4096,
            request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(30),
            answer_rate: 64 << 10,
            answer_wait: Duration::from_secs(1),
        }
    }
}
