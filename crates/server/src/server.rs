//! The server: listens, bounds the connections, and stops without losing what is in flight.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ringwood_env::SystemClock;
use ringwood_node::Node;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, timeout};

use crate::answers::Answers;
use crate::app::App;
use crate::config::{Limits, ServerConfig};
use crate::connection::{self, Stage};
use crate::counted::Counted;
use crate::error::{Code, Problem};
use crate::host::Hosts;
use crate::router::Handler;

/// Connections that the system holds for us between two calls of accept.
const BACKLOG: u32 = 4096;
/// Descriptors for everything but connections: tables, log, listener.
const OTHER_FILES: u64 = 8192;
/// How long to leave a failing accept alone; it fails for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Why a server does not listen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Anybody who reaches the address could read and write everything: there is no authentication.
    #[error(
        "refusing to listen on {0}: there is no authentication yet, so only loopback addresses (127.0.0.1, [::1]) are allowed"
    )]
    NotLoopback(SocketAddr),

    /// What requests may be sent to is a name or an address, without a port.
    #[error(
        "http.allowed_hosts has {0:?}, which is neither a name nor an address; leave out scheme and port"
    )]
    InvalidHost(String),

    /// With none of these, every request would be refused.
    #[error("limits.{0} must be at least 1")]
    NothingAllowed(&'static str),

    /// The system does not give the address.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
}

/// A server that has its address, and serves once [`Server::serve`] runs.
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
    stage: watch::Sender<Stage>,
    address: SocketAddr,
    grace: Duration,
}

/// Which hosts a server answers for.
///
/// # Errors
/// [`BindError::NotLoopback`], [`BindError::InvalidHost`].
/// The hosts of a configuration that can be served.
fn check(config: &ServerConfig) -> Result<Hosts, BindError> {
    let Limits {
        connections,
        requests,
        batch_len,
        body_bytes,
        answer_bytes,
        ..
    } = config.limits;
    for (name, limit) in [
        ("connections", connections),
        ("requests", requests),
        ("batch_len", batch_len),
        ("body_bytes", body_bytes),
        ("answer_bytes", answer_bytes),
    ] {
        if limit == 0 {
            return Err(BindError::NothingAllowed(name));
        }
    }
    hosts_of(config)
}

fn hosts_of(config: &ServerConfig) -> Result<Hosts, BindError> {
    let listen = config.listen;
    if !listen.ip().is_loopback() {
        return Err(BindError::NotLoopback(listen));
    }
    Hosts::new(listen.ip(), &config.allowed_hosts).map_err(BindError::InvalidHost)
}

impl Server {
    /// Checks what [`Server::bind`] refuses whatever the system says.
    ///
    /// # Errors
    /// [`BindError::NotLoopback`], [`BindError::InvalidHost`], [`BindError::NothingAllowed`].
    pub fn check(config: &ServerConfig) -> Result<(), BindError> {
        check(config).map(drop)
    }

    /// Takes the address. Connections wait in the system's queue until [`Server::serve`] runs.
    ///
    /// # Errors
    /// [`BindError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(config: ServerConfig, node: Node) -> Result<Self, BindError> {
        let listen = config.listen;
        let hosts = check(&config)?;
        let mut limits = config.limits;
        limits.connections = room_for_connections(limits.connections);
        let io = |source| BindError::Io {
            address: listen,
            source,
        };
        let answers = Arc::new(Answers::new(limits.answer_bytes));
        let listener = listen_on(listen).map_err(io)?;
        let address = listener.local_addr().map_err(io)?;
        let (stage, watched) = watch::channel(Stage::Serving);
        Ok(Self {
            listener,
            app: Arc::new(App::new(
                node,
                limits,
                hosts,
                answers,
                &SystemClock,
                watched,
            )),
            stage,
            address,
            grace: config.grace,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` completes, then takes no more connections, answers what was asked and
    /// closes. Returns how many connections had to be cut off after the grace period.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> usize {
        let most = self.app.limits.connections.min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(most));
        tokio::select! {
            () = shutdown => {}
            () = self.accept(&places) => {}
            () = self.sweep() => {}
        }
        drop(self.listener);
        let open = most - places.available_permits();
        tracing::info!(open, grace = ?self.grace, "stopping");
        self.stage.send_replace(Stage::Draining);
        let all = u32::try_from(most).unwrap_or(u32::MAX);
        if timeout(self.grace, places.acquire_many(all)).await.is_ok() {
            return 0;
        }
        let cut = most - places.available_permits();
        tracing::warn!(cut, "connections did not finish in time");
        self.stage.send_replace(Stage::Closed);
        // Each of them sees that at once.
        let _ = timeout(ACCEPT_PAUSE * 20, places.acquire_many(all)).await;
        cut
    }

    async fn accept(&self, places: &Arc<Semaphore>) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match Arc::clone(places).try_acquire_owned() {
                Ok(place) => self.spawn(stream, place),
                Err(_) => self.turn_away(&stream),
            }
        }
    }

    fn spawn(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        // Without this a pipelined answer waits for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection broke before it began");
            return;
        }
        let (app, stage) = (Arc::clone(&self.app), self.stage.subscribe());
        tokio::spawn(async move {
            let _place = place;
            let _counted = Counted::below(&app.metrics.connections, usize::MAX);
            connection::serve(
                stream,
                Handler(Arc::clone(&app)),
                &app.limits,
                &app.answers,
                stage,
            )
            .await;
        });
    }

    fn turn_away(&self, stream: &TcpStream) {
        self.app.metrics.connections_refused.fetch_add(1, Relaxed);
        // A new connection's buffer has room for this; if not, closing must say it.
        let _ = stream.try_write(&farewell(self.app.limits.connections));
    }

    /// Lets the node forget, once a second, what clients did not come back for, and looks how it is.
    async fn sweep(&self) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            second.tick().await;
            self.app.state();
            let node = self.app.node.clone();
            // It may wait for the disk. What panics there has told so.
            let _ = spawn_blocking(move || node.sweep(node.now())).await;
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What one connection too many is told, without waiting for its request.
fn farewell(limit: usize) -> Vec<u8> {
    let problem = Problem::new(
        Code::Overloaded,
        format!("{limit} connections are open already"),
    );
    let body = problem.to_json("");
    let mut bytes = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
         Retry-After: 1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Restarting must not wait for the last run's connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How many of the connections wanted there are descriptors for, after asking the system for more.
/// Tables and logs have theirs for sure: without, a store would fail where a client can be refused.
fn room_for_connections(wanted: usize) -> usize {
    let needed = (wanted as u64).saturating_add(OTHER_FILES);
    let allowed = raise_file_limit(needed);
    let room = connections_within(allowed, wanted);
    if room < wanted {
        tracing::warn!(
            allowed,
            room,
            wanted,
            "the system allows few open files, so there will be fewer connections (see ulimit -n)"
        );
    }
    room
}

fn connections_within(files: u64, wanted: usize) -> usize {
    let rest = files - OTHER_FILES.min(files / 2);
    usize::try_from(rest).unwrap_or(usize::MAX).min(wanted)
}

/// Asks the system for so many descriptors; gives how many it allows.
fn raise_file_limit(needed: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(now) = current.filter(|&now| now < needed) else {
        return needed;
    };
    let raised = maximum.map_or(needed, |most| most.min(needed)).max(now);
    let limit = Rlimit {
        current: Some(raised),
        maximum,
    };
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => raised,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_descriptors_whatever_connections_want() {
        for (files, wanted, room) in [
            (1 << 20, 20_000, 20_000),
            (20_000, 20_000, 11_808),
            (20_000, 1000, 1000),
            (1024, 1000, 512),
            (OTHER_FILES + 5, 10, 10),
            (0, 10, 0),
        ] {
            assert_eq!(
                connections_within(files, wanted),
                room,
                "{wanted} of {files}"
            );
        }
    }
}
