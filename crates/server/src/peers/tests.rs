use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use ringwood_env::SystemRandom;
use ringwood_node::{Found, PeerReply, PeerRequest, ReplicaRequest};
use ringwood_protocol::coordinator::Failure;
use ringwood_types::{ClusterId, Epoch, NamespaceId, NodeId};
use ringwood_wire::Versions;
use ringwood_wire::handshake::{Identity, Local, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::{PeerConfig, PeerListener, Peers};

const SERVER: NodeId = NodeId::new(2);

fn config(node: u64, cluster: u128, secret: Option<&[u8]>) -> PeerConfig {
    let identity = Identity {
        cluster: Some(ClusterId::new(cluster)),
        node: Some(NodeId::new(node)),
        name: format!("n{node}"),
        generation: 1,
    };
    PeerConfig {
        local: Local {
            identity,
            versions: Versions::OURS,
            secret: secret.map(|secret| Secret::new(secret).unwrap()),
        },
        random: Arc::new(SystemRandom),
    }
}

fn read(key: impl Into<Bytes>) -> PeerRequest {
    PeerRequest {
        epoch: Epoch::new(1),
        namespace: NamespaceId::new(1),
        key: key.into(),
        request: ReplicaRequest::Read,
    }
}

fn echo(key: Bytes) -> PeerReply {
    PeerReply::Found(Some(Found {
        record: key,
        deadline: None,
    }))
}

/// Answers with the key, later where that begins with `slow`; counts what it is asked.
async fn listen(address: &str, asked: Arc<AtomicUsize>) -> (SocketAddr, JoinHandle<()>) {
    let address: SocketAddr = address.parse().unwrap();
    let listener = PeerListener::bind(address, config(2, 7, None))
        .await
        .unwrap();
    let address = listener.address().unwrap();
    let handler = move |_, request: PeerRequest| {
        asked.fetch_add(1, SeqCst);
        async move {
            if request.key.starts_with(b"slow") {
                sleep(Duration::from_secs(30)).await;
            }
            echo(request.key)
        }
    };
    let serving = tokio::spawn(listener.serve(|_| Ok(()), handler));
    (address, serving)
}

fn peers_of(config: PeerConfig, address: SocketAddr) -> Arc<Peers> {
    let peers = Peers::new(config);
    peers.set(SERVER, address);
    Arc::new(peers)
}

fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// Asks until there is a connection.
async fn until_answered(peers: &Peers) {
    let ask = async {
        while peers.call(SERVER, &read("k"), within(5)).await != echo("k".into()) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), ask)
        .await
        .expect("a connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_1_thousands_of_calls_get_their_own_answers_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (address, _serving) = listen("127.0.0.1:0", Arc::clone(&asked)).await;
    let peers = peers_of(config(1, 7, Some(b"0123456789abcdef")), address);
    // A side with a secret does not speak to one that has none.
    let refused = peers.call(SERVER, &read("k"), within(5)).await;
    assert_eq!(refused, PeerReply::Failed(Failure::Unreachable));

    let peers = peers_of(config(1, 7, None), address);
    let mut calls = JoinSet::new();
    for number in 0..5000_u32 {
        let peers = Arc::clone(&peers);
        calls.spawn(async move {
            let key = format!("key {number}");
            let reply = peers.call(SERVER, &read(key.clone()), within(60)).await;
            assert_eq!(reply, echo(key.into()));
        });
        if calls.len() >= 2000 {
            calls.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    assert_eq!(asked.load(SeqCst), 5000);
}

#[tokio::test]
async fn a_slow_answer_delays_no_other_and_is_silent_at_its_deadline() {
    let (address, _serving) = listen("127.0.0.1:0", Arc::default()).await;
    let peers = peers_of(config(1, 7, None), address);
    until_answered(&peers).await;
    let slow = tokio::spawn({
        let peers = Arc::clone(&peers);
        async move { peers.call(SERVER, &read("slow"), within(2)).await }
    });
    for _ in 0..100 {
        assert_eq!(
            peers.call(SERVER, &read("k"), within(5)).await,
            echo("k".into())
        );
    }
    assert_eq!(slow.await.unwrap(), PeerReply::Failed(Failure::Silent));
}

#[tokio::test]
async fn peers_1_what_was_sent_is_silent_and_the_link_comes_back() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (address, serving) = listen("127.0.0.1:0", Arc::clone(&asked)).await;
    let peers = peers_of(config(1, 7, None), address);
    until_answered(&peers).await;
    let before = asked.load(SeqCst);
    let slow = tokio::spawn({
        let peers = Arc::clone(&peers);
        async move { peers.call(SERVER, &read("slow"), within(30)).await }
    });
    while asked.load(SeqCst) == before {
        sleep(Duration::from_millis(5)).await;
    }
    serving.abort();
    let _ = serving.await;
    assert_eq!(slow.await.unwrap(), PeerReply::Failed(Failure::Silent));
    let reply = peers.call(SERVER, &read("k"), within(5)).await;
    assert_eq!(reply, PeerReply::Failed(Failure::Unreachable));
    assert_eq!(asked.load(SeqCst), before + 1, "nothing is sent twice");

    let (_, _serving) = listen(&address.to_string(), Arc::clone(&asked)).await;
    until_answered(&peers).await;
    assert_eq!(asked.load(SeqCst), before + 2, "nothing is sent twice");
}

#[tokio::test]
async fn peers_2_strangers_are_refused() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (address, _serving) = listen("127.0.0.1:0", Arc::clone(&asked)).await;
    for stranger in [
        config(1, 8, None),
        config(2, 7, None),
        config(1, 7, Some(b"0123456789abcdef")),
    ] {
        let peers = peers_of(stranger, address);
        let reply = peers.call(SERVER, &read("k"), within(5)).await;
        assert_eq!(reply, PeerReply::Failed(Failure::Unreachable));
    }
    // Another node than was looked for answers there.
    let peers = Peers::new(config(1, 7, None));
    let other = NodeId::new(3);
    peers.set(other, address);
    let reply = peers.call(other, &read("k"), within(5)).await;
    assert_eq!(reply, PeerReply::Failed(Failure::Unreachable));
    assert_eq!(asked.load(SeqCst), 0);
}

#[tokio::test]
async fn peers_3_garbage_ends_its_own_connection_only() {
    let (address, _serving) = listen("127.0.0.1:0", Arc::default()).await;
    let peers = peers_of(config(1, 7, None), address);
    until_answered(&peers).await;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 64],
        &[0x52, 0x57, 9, 9, 9],
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let _ = stream.shutdown().await;
        let mut said = Vec::new();
        let ends = timeout(Duration::from_secs(10), stream.read_to_end(&mut said)).await;
        assert!(ends.is_ok(), "it is closed");
    }
    assert_eq!(
        peers.call(SERVER, &read("k"), within(5)).await,
        echo("k".into())
    );
}

#[tokio::test]
async fn peers_1_a_node_that_never_shakes_hands_was_asked_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peers = peers_of(config(1, 7, None), address);
    let soon = Instant::now() + Duration::from_millis(200);
    let reply = peers.call(SERVER, &read("k"), soon).await;
    assert_eq!(reply, PeerReply::Failed(Failure::Unreachable));
    let unknown = peers.call(NodeId::new(9), &read("k"), within(5)).await;
    assert_eq!(unknown, PeerReply::Failed(Failure::Unreachable));

    // What waits is bounded: more is turned away at once.
    let value = Bytes::from(vec![0; 8 << 20]);
    let store = PeerRequest {
        request: ReplicaRequest::Store {
            record: value,
            deadline: None,
        },
        ..read("k")
    };
    let mut waits = JoinSet::new();
    for _ in 0..3 {
        let (peers, store) = (Arc::clone(&peers), store.clone());
        waits.spawn(async move { peers.call(SERVER, &store, within(20)).await });
    }
    sleep(Duration::from_millis(100)).await;
    let reply = peers.call(SERVER, &store, within(5)).await;
    assert_eq!(reply, PeerReply::Failed(Failure::Overloaded));
}
