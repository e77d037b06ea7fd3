//! The attack test: clients that ask for much and take nothing, or announce much and send nothing. What the
//! server holds for them must stay bounded, and others must hardly notice.
//!
//! The attackers write bytes to sockets of their own: no library would do what they do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use ureq::Agent;

use crate::server::Server;
use crate::{binary, process};

/// Rows of a page, and bytes of each.
const PAGE_ROWS: usize = 100;
const ROW_LEN: usize = 100_000;
/// Bytes of the values that others put and get meanwhile.
const OTHERS_LEN: usize = 100_000;
/// What may come on top of a budget, in KiB.
const BEYOND_BUDGET_KIB: u64 = 64 << 10;
/// The budgets of answers and of bodies, in KiB, as they are configured.
const BUDGET_KIB: u64 = 128 << 10;
/// Latencies are told apart from this on: below, it is the machine that one measures.
const NOISE: Duration = Duration::from_millis(10);

/// What to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Seconds of each attack.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Others' p99 may be so many times what it is alone.
    #[arg(long, default_value_t = 2.0)]
    ratio: f64,
    /// The profile to build the binary with.
    #[arg(long, default_value = "release")]
    profile: String,
}

/// How attackers begin, at an address.
type Begin = fn(&str) -> Result<Vec<TcpStream>>;
/// How they go on with a connection, about ten times a second.
type GoOn = fn(&mut TcpStream);

const ATTACKS: [(&str, Begin, GoOn); 3] = [
    ("HTTP/2 without a window", pages_without_window, |_| {}),
    ("pages read slowly", pages_read_slowly, read_a_little),
    ("bodies that trickle", bodies_that_trickle, send_a_little),
];

/// Runs the test, and prints its figures as JSON.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let binary = binary::build(root, &arguments.profile)?;
    let directory = tempfile::tempdir()?;
    let server = Server::start(&binary, directory.path())?;
    let others = Others::new(server.url());
    others.fill_pages()?;
    let time = Duration::from_secs(arguments.seconds);
    let (alone, rest_kib) = (others.p99(time)?, process::rss_kib(server.pid())?);
    let mut figures = vec![json!({
        "attack": "none",
        "others_p99_ms": alone.as_secs_f64() * 1000.0,
        "rss_mib": rest_kib >> 10,
    })];
    let mut failures = Vec::new();
    for (name, begin, go_on) in ATTACKS {
        let streams =
            begin(server.url().trim_start_matches("http://")).with_context(|| name.to_owned())?;
        let count = streams.len();
        let attackers = Attackers::start(streams, go_on);
        let peak = Peak::watch(server.pid());
        let p99 = others.p99(time)?;
        let peak_kib = peak.stop()?;
        let cut = attackers.stop()?;
        figures.push(json!({
            "attack": name,
            "connections": count,
            "cut": cut,
            "others_p99_ms": p99.as_secs_f64() * 1000.0,
            "rss_mib": peak_kib >> 10,
        }));
        if peak_kib > rest_kib + BUDGET_KIB + BEYOND_BUDGET_KIB {
            failures.push(format!("{name}: {peak_kib} KiB, from {rest_kib} at rest"));
        }
        if p99 > alone.max(NOISE).mul_f64(arguments.ratio) {
            failures.push(format!("{name}: others wait {p99:?}, and {alone:?} alone"));
        }
    }
    println!("{:#}", Value::from(figures));
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// A client that does nothing wrong.
struct Others {
    agent: Agent,
    url: String,
}

impl Others {
    fn new(url: &str) -> Self {
        let agent = Agent::config_builder()
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Self {
            agent: agent.into(),
            url: url.to_owned(),
        }
    }

    fn fill_pages(&self) -> Result<()> {
        for row in 0..PAGE_ROWS {
            let url = format!("{}/kv/page%2F{row:04}", self.url);
            self.agent.put(url).send(&vec![b'x'; ROW_LEN])?;
        }
        Ok(())
    }

    /// Puts and gets a long value for some time.
    fn p99(&self, time: Duration) -> Result<Duration> {
        let value = vec![7; OTHERS_LEN];
        let url = format!("{}/kv/others", self.url);
        let (mut took, begun) = (Vec::new(), Instant::now());
        while begun.elapsed() < time {
            let began = Instant::now();
            self.agent.put(&url).send(&value)?;
            let mut answer = self.agent.get(&url).call()?;
            ensure!(answer.body_mut().read_to_vec()? == value, "another value");
            took.push(began.elapsed());
            thread::sleep(Duration::from_millis(2));
        }
        took.sort_unstable();
        Ok(took[took.len() * 99 / 100])
    }
}

/// Pages asked for on many streams, of which not a byte may be sent.
fn pages_without_window(address: &str) -> Result<Vec<TcpStream>> {
    let connections = (0..3).map(|_| {
        let mut stream = TcpStream::connect(address)?;
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS: INITIAL_WINDOW_SIZE is 0.
        bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
        let path = page_path();
        let mut head = vec![0x82, 0x86]; // GET, http
        for (name, value) in [(4, path.as_str()), (1, address)] {
            head.extend([name, u8::try_from(value.len())?]);
            head.extend(value.as_bytes());
        }
        for at in 0..60 {
            bytes.extend(frame(1, 5, 2 * at + 1, &head)); // ends the stream and the headers
        }
        stream.write_all(&bytes)?;
        Ok(stream)
    });
    connections.collect()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a short frame");
    let mut frame = len.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn page_path() -> String {
    format!("/v1/kv?prefix=page/&limit={PAGE_ROWS}")
}

fn pages_read_slowly(address: &str) -> Result<Vec<TcpStream>> {
    many(address, 60, &format!("GET {} HTTP/1.1\r\n", page_path()))
}

fn bodies_that_trickle(address: &str) -> Result<Vec<TcpStream>> {
    let head = "PUT /kv/trickle HTTP/1.1\r\nContent-Length: 1048576\r\n";
    many(address, 128, head)
}

/// Connections with the same head each.
fn many(address: &str, count: usize, head: &str) -> Result<Vec<TcpStream>> {
    let connections = (0..count).map(|_| {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "{head}Host: {address}\r\n\r\n")?;
        Ok(stream)
    });
    connections.collect()
}

fn read_a_little(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0; 100]);
}

fn send_a_little(stream: &mut TcpStream) {
    let _ = stream.write(b"x");
}

/// Keeps attacking, until it is stopped.
struct Attackers {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Result<usize>>,
}

impl Attackers {
    fn start(mut streams: Vec<TcpStream>, go_on: GoOn) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stopped);
        let thread = thread::spawn(move || {
            for stream in &streams {
                stream.set_nonblocking(true)?;
            }
            while !is_stopped.load(Ordering::Relaxed) {
                streams.iter_mut().for_each(go_on);
                thread::sleep(Duration::from_millis(100));
            }
            Ok(streams.iter_mut().filter_map(is_cut).count())
        });
        Self { stopped, thread }
    }

    /// How many of them the server has cut.
    fn stop(self) -> Result<usize> {
        self.stopped.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow::anyhow!("an attacker panicked"))?
    }
}

/// Whether the other side is done with this connection, behind whatever it has sent.
fn is_cut(stream: &mut TcpStream) -> Option<()> {
    let mut buffer = [0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Some(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
            Err(_) => return Some(()),
        }
    }
}

/// The most memory that a process has had.
struct Peak {
    stopped: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl Peak {
    fn watch(pid: u32) -> Self {
        let (stopped, most) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (is_stopped, seen) = (Arc::clone(&stopped), Arc::clone(&most));
        let thread = thread::spawn(move || {
            while !is_stopped.load(Ordering::Relaxed) {
                seen.fetch_max(process::rss_kib(pid)?, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        });
        Self {
            stopped,
            most,
            thread,
        }
    }

    fn stop(self) -> Result<u64> {
        self.stopped.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow::anyhow!("a watcher panicked"))??;
        Ok(self.most.load(Ordering::Relaxed))
    }
}
