//! Sends the requests: one task for each connection, kept alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::Client;

use super::keys::{self, Distribution, Draw};
use super::mix::{Mix, Operation};
use super::progress::{self, Progress, Stop};
use super::report::{Report, Samples};

/// Scans are of 1 to so many records, where the server's pages may be as long.
const SCAN_LEN_MAX: u64 = 100;
/// A connection that broke is made anew after this.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// Everything a run needs to know.
pub(crate) struct Plan {
    pub(crate) client: Client,
    pub(crate) mix: Mix,
    pub(crate) distribution: Distribution,
    pub(crate) prefix: String,
    pub(crate) value_len: usize,
    pub(crate) connections: usize,
    pub(crate) stop: Stop,
    pub(crate) rate: Option<u64>,
    /// Most items of the server's pages.
    pub(crate) page_items: u64,
    pub(crate) buffered: bool,
    pub(crate) seed: u64,
    /// Records there are, the ones being inserted included.
    pub(crate) records: Arc<AtomicU64>,
    /// Operations that were answered.
    pub(crate) done: AtomicU64,
    /// Above 0: the run ends now.
    pub(crate) told: Arc<AtomicU64>,
}

/// Runs a plan to its end.
///
/// # Errors
/// When no connection can be made to begin with.
pub(crate) async fn drive(plan: Plan, mut progress: Progress) -> Result<Report> {
    let host = plan.client.base().trim_start_matches("http://").to_owned();
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        connections.push(connect(&host).await?);
    }
    let plan = Arc::new(plan);
    let issued = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, sender) in connections.into_iter().enumerate() {
        let seed = plan
            .seed
            .wrapping_mul(0x1_0000_0001)
            .wrapping_add(number as u64);
        let worker = Worker {
            plan: Arc::clone(&plan),
            issued: Arc::clone(&issued),
            host: host.clone(),
            sender,
            draw: Draw(seed),
            value: value(seed, plan.value_len),
        };
        tasks.spawn(worker.run(started));
    }
    let mut all = Samples::new();
    let mut ticks = tokio::time::interval(progress::TICK);
    loop {
        tokio::select! {
            joined = tasks.join_next() => match joined {
                Some(samples) => all.merge(samples.context("a connection's task panicked")?),
                None => break,
            },
            _ = ticks.tick() => progress.show(plan.done.load(Ordering::Relaxed)),
        }
    }
    progress.finish();
    Ok(all.report(plan.mix, plan.connections, plan.rate, started.elapsed()))
}

async fn connect(host: &str) -> Result<SendRequest<Full<Bytes>>> {
    let about = || format!("cannot reach {host}");
    let stream = TcpStream::connect(host).await.with_context(about)?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .with_context(about)?;
    // Ends when the sender is dropped, or the server closes; the sender then says so.
    tokio::spawn(connection);
    Ok(sender)
}

/// Half of it compresses, as much real data does.
fn value(seed: u64, len: usize) -> Bytes {
    let mut draw = Draw(seed ^ 0xabcd);
    let byte = |at: usize| {
        if at.is_multiple_of(2) {
            draw.next().to_le_bytes()[0]
        } else {
            b'.'
        }
    };
    (0..len).map(byte).collect()
}

struct Worker {
    plan: Arc<Plan>,
    issued: Arc<AtomicU64>,
    host: String,
    sender: SendRequest<Full<Bytes>>,
    draw: Draw,
    value: Bytes,
}

impl Worker {
    async fn run(mut self, started: Instant) -> Samples {
        let mut samples = Samples::new();
        while let Some(begin) = self.next(started).await {
            let operation = self.plan.mix.draw(&mut self.draw);
            match self.operate(operation).await {
                Ok(()) => {
                    samples.record(operation, begin.elapsed());
                    self.plan.done.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    samples.fail(&error);
                    self.reconnect(started).await;
                }
            }
        }
        samples
    }

    /// Waits for the next request's time, and returns it; `None` when the run is over.
    async fn next(&self, started: Instant) -> Option<Instant> {
        if self.plan.told.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let due = match self.plan.rate {
            None => Instant::now(),
            Some(rate) => {
                let nanos = u128::from(number) * 1_000_000_000 / u128::from(rate);
                started + Duration::from_nanos(u64::try_from(nanos).ok()?)
            }
        };
        let over = match self.plan.stop {
            Stop::After(count) => number >= count,
            Stop::At(duration) => {
                due.duration_since(started) >= duration || started.elapsed() >= duration * 2
            }
        };
        if over {
            return None;
        }
        if self.plan.rate.is_some() {
            tokio::time::sleep_until(due.into()).await;
        }
        Some(due)
    }

    async fn operate(&mut self, operation: Operation) -> Result<()> {
        let records = Arc::clone(&self.plan.records);
        let number = match operation {
            Operation::Insert => records.fetch_add(1, Ordering::Relaxed),
            _ => self
                .plan
                .distribution
                .draw(&mut self.draw, records.load(Ordering::Relaxed)),
        };
        let name = keys::name(&self.plan.prefix, number);
        match operation {
            Operation::Read => self.read(&name).await,
            Operation::Update | Operation::Insert => self.write(&name).await,
            Operation::Scan => self.scan(&name).await,
            Operation::ReadModifyWrite => {
                self.read(&name).await?;
                self.write(&name).await
            }
        }
    }

    async fn read(&mut self, name: &str) -> Result<()> {
        let path = self.plan.client.raw_path(name.as_bytes());
        self.send(Method::GET, &path, Bytes::new()).await
    }

    async fn write(&mut self, name: &str) -> Result<()> {
        let mut path = self.plan.client.raw_path(name.as_bytes());
        if self.plan.buffered {
            path.push_str("?durability=buffered");
        }
        let value = self.value.clone();
        self.send(Method::PUT, &path, value).await
    }

    async fn scan(&mut self, name: &str) -> Result<()> {
        let limit = 1 + self.draw.below(SCAN_LEN_MAX.min(self.plan.page_items));
        let path = self.plan.client.range_path(name.as_bytes(), limit);
        self.send(Method::GET, &path, Bytes::new()).await
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<()> {
        let reading = method == Method::GET;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", &self.host)
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        // The answer counts when all of it is here.
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        // An insert of another connection may have its number and not yet be there.
        if status.is_success() || (reading && status == StatusCode::NOT_FOUND) {
            return Ok(());
        }
        bail!("the server answered {status}")
    }

    /// Goes on when the server is back; whoever waits for nothing sees the end of the run.
    async fn reconnect(&mut self, started: Instant) {
        while self.sender.is_closed() && self.plan.told.load(Ordering::Relaxed) == 0 {
            if let Ok(sender) = connect(&self.host).await {
                self.sender = sender;
                return;
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
            let patience = match self.plan.stop {
                Stop::At(duration) => duration * 2,
                Stop::After(_) => Duration::from_secs(60),
            };
            if started.elapsed() > patience {
                return;
            }
        }
    }
}
