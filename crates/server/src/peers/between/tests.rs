use std::time::Duration;

use ringwood_wire::handshake::{Challenge, Handshake, Identity, Local};
use tokio::task::JoinHandle;

use super::*;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

fn way(from: &str, to: &str) -> Way {
    let (from, to) = (from.to_owned(), to.to_owned());
    Way { from, to }
}

fn hello(name: &str) -> Vec<u8> {
    let local = Local {
        identity: Identity {
            cluster: None,
            node: None,
            name: name.to_owned(),
            generation: 1,
        },
        versions: Versions::OURS,
        secret: None,
    };
    let (_, message) = Handshake::dial(local, None, Challenge([7; 32]));
    let mut bytes = Vec::new();
    message.kind().frame(message.payload()).write(&mut bytes);
    bytes
}

/// A node called `b`, which a test plays itself, behind the way in to it.
struct Net {
    node: TcpListener,
    way_in: SocketAddr,
    cuts: Cuts,
    serving: JoinHandle<()>,
}

impl Net {
    async fn new() -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let node = TcpListener::bind(any).await.unwrap();
        let cuts = Cuts::default();
        let address = node.local_addr().unwrap();
        let between = Between::bind(any, "b", address, cuts.clone()).await;
        let between = between.unwrap();
        let way_in = between.address().unwrap();
        let serving = tokio::spawn(between.serve());
        Self {
            node,
            way_in,
            cuts,
            serving,
        }
    }

    /// Both ends of a connection from a node of this name.
    async fn connect(&self, name: &str) -> (TcpStream, TcpStream) {
        let dialler = self.dial(name).await;
        (dialler, self.accept(name).await)
    }

    async fn dial(&self, name: &str) -> TcpStream {
        let mut dialler = TcpStream::connect(self.way_in).await.unwrap();
        dialler.write_all(&hello(name)).await.unwrap();
        dialler
    }

    async fn accept(&self, name: &str) -> TcpStream {
        let accepted = timeout(DEADLINE, self.node.accept()).await;
        let mut node = accepted.unwrap().unwrap().0;
        hears(&mut node, &hello(name)).await;
        node
    }
}

async fn hears(stream: &mut TcpStream, what: &[u8]) {
    let mut heard = vec![0; what.len()];
    let read = timeout(DEADLINE, stream.read_exact(&mut heard)).await;
    read.unwrap().unwrap();
    assert_eq!(heard, what);
}

async fn says(from: &mut TcpStream, to: &mut TcpStream, what: &[u8]) {
    from.write_all(what).await.unwrap();
    hears(to, what).await;
}

fn hears_nothing(stream: &TcpStream) {
    let read = stream.try_read(&mut [0]);
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn between_2_all_that_is_said_arrives_both_ways() {
    let net = Net::new().await;
    let (mut dialler, mut node) = net.connect("a").await;
    says(&mut dialler, &mut node, b"there").await;
    says(&mut node, &mut dialler, b"and back").await;
    let much: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let (written, ()) = tokio::join!(dialler.write_all(&much), hears(&mut node, &much));
    written.unwrap();
}

#[tokio::test]
async fn between_1_a_way_is_cut_for_itself_and_what_was_said_comes_when_it_is_healed() {
    let net = Net::new().await;
    let (mut dialler, mut node) = net.connect("a").await;
    let (mut other, mut others) = net.connect("c").await;
    net.cuts.set([way("a", "b")]);
    dialler.write_all(b"held ").await.unwrap();
    // Behind it, on another way: what could pass would have.
    for _ in 0..20 {
        says(&mut other, &mut others, b"passes").await;
        says(&mut node, &mut dialler, b"the other direction passes").await;
    }
    hears_nothing(&node);
    dialler.write_all(b"and more").await.unwrap();
    net.cuts.set([]);
    hears(&mut node, b"held and more").await;
}

#[tokio::test]
async fn between_1_the_way_back_is_cut_for_itself_too() {
    let net = Net::new().await;
    let (mut dialler, mut node) = net.connect("a").await;
    net.cuts.set([way("b", "a")]);
    node.write_all(b"held").await.unwrap();
    for _ in 0..20 {
        says(&mut dialler, &mut node, b"passes").await;
    }
    hears_nothing(&dialler);
    net.cuts.set([way("a", "b")]);
    hears(&mut dialler, b"held").await;
}

#[tokio::test]
async fn between_1_nobody_comes_in_over_a_way_that_is_cut() {
    let net = Net::new().await;
    net.cuts.set([way("a", "b")]);
    let mut cut_off = net.dial("a").await;
    let (_other, _others) = net.connect("c").await;
    net.cuts.set([]);
    let mut node = net.accept("a").await;
    says(&mut cut_off, &mut node, b"then").await;
}

#[tokio::test]
async fn an_end_passes_as_words_do() {
    let net = Net::new().await;
    let (dialler, mut node) = net.connect("a").await;
    net.cuts.set([way("a", "b")]);
    drop(dialler);
    let (mut other, mut others) = net.connect("c").await;
    says(&mut other, &mut others, b"passes").await;
    hears_nothing(&node);
    net.cuts.set([]);
    let ended = timeout(DEADLINE, node.read(&mut [0])).await.unwrap();
    assert_eq!(ended.unwrap(), 0);
}

#[tokio::test]
async fn who_is_no_node_and_who_says_nothing_does_not_come_in() {
    let net = Net::new().await;
    let mut stranger = TcpStream::connect(net.way_in).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let told = timeout(DEADLINE, stranger.read(&mut [0])).await.unwrap();
    assert!(matches!(told, Ok(0) | Err(_)), "{told:?}");
    let (mut dialler, mut node) = net.connect("a").await;
    says(&mut dialler, &mut node, b"still here").await;
    net.serving.abort();
    let ended = timeout(DEADLINE, dialler.read(&mut [0])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}
