//! Clients that do not take their answers: how much they hold, and for how long.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::BodyExt;
use ringwood_server::{Limits, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::Running;
use crate::client::{Client, Http2, request};

const VALUE_LEN: usize = 200 << 10;
/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(limits: Limits) -> ServerConfig {
    ServerConfig {
        limits,
        ..ServerConfig::default()
    }
}

/// Room for four long answers.
fn small() -> Limits {
    Limits {
        answer_bytes: 1100 << 10,
        answer_wait: Duration::from_millis(50),
        ..Limits::default()
    }
}

async fn with_values(limits: Limits) -> (Running, Client) {
    let server = Running::with(config(limits)).await;
    let mut client = Client::connect(server.address).await;
    for n in 0..8 {
        let value = vec![n; VALUE_LEN];
        assert_eq!(client.put(&format!("/kv/{n}"), &value).await.status, 204);
    }
    client.put("/kv/short", b"x").await;
    (server, client)
}

fn path(n: usize) -> String {
    format!("http://localhost/kv/{n}")
}

/// A connection whose client's system keeps little.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_reads_hold_no_more_than_their_part() {
    let (_server, mut client) = with_values(small()).await;
    let mut greedy = Http2::with_window(_server.address, 0).await;
    let mut held = Vec::new();
    let mut refused = 0;
    for n in 0..8 {
        let answer = greedy.call("GET", &path(n), &[], b"").await;
        match answer.status().as_u16() {
            200 => held.push(answer),
            503 => refused += 1,
            status => panic!("{status}"),
        }
    }
    assert_eq!(
        (held.len(), refused),
        (4, 4),
        "three quarters of the budget"
    );
    let full = client.get("/kv/0").await;
    assert_eq!((full.status, full.code().as_str()), (503, "OVERLOADED"));
    assert_eq!(full.header("retry-after"), Some("1"));
    assert_eq!(client.get("/kv/short").await.body, b"x");
    assert_eq!(client.put("/kv/short", b"y").await.status, 204);
    let page = client.get("/v1/kv?limit=2&prefix=short").await.json();
    assert_eq!(
        page["items"][0]["key"], "short",
        "a short page needs no share"
    );
    drop(greedy);
    drop(held);
    let mut again = 503;
    for _ in 0..200 {
        again = client.get("/kv/0").await.status;
        if again == 200 {
            break;
        }
    }
    assert_eq!(again, 200, "what a connection held comes back with its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_shorter_where_memory_is_taken_and_none_is_lost() {
    let (server, mut client) = with_values(small()).await;
    for n in 0..300 {
        client.put(&format!("/kv/page/{n:03}"), &[7; 100]).await;
    }
    let mut greedy = Http2::with_window(server.address, 0).await;
    let mut held = Vec::new();
    for n in 0..4 {
        held.push(greedy.call("GET", &path(n), &[], b"").await);
    }
    let (mut keys, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = client
            .get(&format!("/v1/kv?prefix=page/&limit=300{cursor}"))
            .await
            .json();
        pages += 1;
        for item in page["items"].as_array().unwrap() {
            keys.push(item["key"].as_str().unwrap().to_owned());
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<_> = (0..300).map(|n| format!("page/{n:03}")).collect();
    assert_eq!(keys, expected);
    assert!(pages > 1, "{pages}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_reads_are_cut_off_in_time() {
    let limits = Limits {
        head_timeout: Duration::from_millis(100),
        write_timeout: Duration::from_millis(200),
        ..small()
    };
    let (server, mut client) = with_values(limits).await;
    let mut greedy = Http2::with_window(server.address, 0).await;
    let answer = greedy.call("GET", &path(0), &[], b"").await;
    assert_eq!(answer.status(), 200);
    let cut = timeout(PATIENCE, answer.collect()).await.unwrap();
    assert!(cut.is_err(), "it never opens its window");
    assert_eq!(client.get("/kv/0").await.body.len(), VALUE_LEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_a_few_bytes_now_and_then_is_cut_off() {
    let limits = Limits {
        head_timeout: Duration::from_millis(100),
        write_timeout: Duration::from_millis(400),
        answer_rate: 1 << 20,
        ..Limits::default()
    };
    let (server, mut client) = with_values(limits).await;
    for n in 10..50 {
        client.put(&format!("/kv/{n}"), &vec![7; 250_000]).await;
    }
    let mut slow = narrow(server.address).await;
    let asked = request("GET", "/v1/kv?limit=1000", &[], b"");
    slow.write_all(&asked).await.unwrap();
    slow.readable().await.unwrap();
    let trickle = async {
        let mut some = [0; 512];
        loop {
            let _ = slow.read(&mut some).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let cut = async {
        loop {
            let metrics = String::from_utf8(client.get("/metrics").await.body).unwrap();
            if metrics.contains("\nringwood_http_connections 1\n") {
                assert!(
                    metrics.contains("\nringwood_http_answer_bytes 0\n"),
                    "{metrics}"
                );
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = timeout(PATIENCE, async {
        tokio::select! { () = cut => {}, () = trickle => {} }
    });
    ended.await.expect("it is not cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_reads_no_more_than_a_page_does() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    client.put("/kv/large", &vec![7; 1 << 20]).await;
    let items = vec![serde_json::json!({"op": "get", "key": "large"}); 100];
    let batch = serde_json::json!({ "items": items });
    let answer = client.json("POST", "/v1/batch", &batch).await;
    assert!(answer.body.len() < 16 << 20, "{}", answer.body.len());
    let reply = answer.json();
    assert_eq!(reply["results"][0]["status"], "found");
    assert_eq!(reply["results"][99]["code"], "UNPROCESSED");
    let again = reply["unprocessed"]["items"].as_array().unwrap().len();
    assert_eq!(reply["succeeded"], 100 - again);
    let put = serde_json::json!({"op": "put", "key": "k", "value": "x".repeat(1 << 20), "encoding": "utf8"});
    let mut items = vec![put];
    items.resize(100, serde_json::json!({"op": "get", "key": "k"}));
    let batch = serde_json::json!({ "items": items });
    let answer = client.json("POST", "/v1/batch", &batch).await;
    assert!(answer.body.len() < 16 << 20, "{}", answer.body.len());
    assert_eq!(answer.json()["results"][0]["status"], "stored");
}

/// A frame of HTTP/2: type and payload.
async fn frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], payload))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_http2_connection_is_told_goodbye() {
    let limits = Limits {
        head_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let server = Running::with(config(limits)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let told = async {
        while let Some((kind, _)) = frame(&mut stream).await {
            if kind == 7 {
                return true;
            }
        }
        false
    };
    assert!(
        timeout(PATIENCE, told).await.unwrap(),
        "GOAWAY before the end"
    );
}
