//! Keep-alive, pipelining, HTTP/2, many idle connections, limits, and stopping.

use std::time::Duration;

use http_body_util::BodyExt;
use ringwood_server::{BindError, Limits, Server, ServerConfig};

use crate::Running;
use crate::client::{Client, Http2, request};

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_their_order() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    let mut sent = Vec::new();
    for n in 0..50 {
        let path = format!("/kv/{n}");
        sent.extend(request("PUT", &path, &[], path.as_bytes()));
        sent.extend(request("GET", &path, &[], b""));
        sent.extend(request("HEAD", "/kv/none", &[], b""));
    }
    client.send(&sent).await;
    for n in 0..50 {
        assert_eq!(client.answer(false).await.status, 204);
        assert_eq!(
            client.answer(false).await.body,
            format!("/kv/{n}").into_bytes()
        );
        assert_eq!(client.answer(true).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_wait_for_what_comes_next() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    client
        .send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n\r\nGET /li")
        .await;
    assert_eq!(client.answer(false).await.body, b"ok\n");
    client
        .send(b"vez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    client.finish_sending().await;
    assert_eq!(
        client.answer(false).await.body,
        b"ok\n",
        "also with half a connection"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_leave_room_for_work() {
    let server = Running::start().await;
    let mut idle = Vec::new();
    for _ in 0..1500 {
        idle.push(Client::connect(server.address).await);
    }
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.put("/kv/a", b"x").await.status, 204);
    let metrics = String::from_utf8(client.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("ringwood_http_connections 1501\n"));
    for client in idle.iter_mut().step_by(100) {
        assert_eq!(client.get("/kv/a").await.body, b"x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_told_and_closed() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let config = ServerConfig {
        limits,
        ..ServerConfig::default()
    };
    let server = Running::with(config).await;
    let mut first = Client::connect(server.address).await;
    let mut second = Client::connect(server.address).await;
    assert_eq!(first.get("/livez").await.status, 200);
    assert_eq!(second.get("/livez").await.status, 200);
    let mut third = Client::connect(server.address).await;
    let answer = third.answer(false).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(answer.json()["code"], "OVERLOADED");
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut fourth = Client::connect(server.address).await;
    assert_eq!(fourth.get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_limit_are_told_to_come_back() {
    let limits = Limits {
        requests: 1,
        ..Limits::default()
    };
    let config = ServerConfig {
        limits,
        ..ServerConfig::default()
    };
    let server = Running::with(config).await;
    let mut slow = Client::connect(server.address).await;
    slow.send(b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhe")
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut client = Client::connect(server.address).await;
    let answer = client.put("/kv/b", b"x").await;
    assert_eq!(answer.header("retry-after"), Some("1"));
    let expected = (503, "OVERLOADED".to_owned(), "not_applied".to_owned());
    assert_eq!(answer.refusal(), expected);
    assert_eq!(
        client.get("/livez").await.status,
        200,
        "health is answered always"
    );
    slow.send(b"llo").await;
    assert_eq!(slow.answer(false).await.status, 204);
    assert_eq!(client.put("/kv/b", b"x").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_connection_after_its_time() {
    let limits = Limits {
        head_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let config = ServerConfig {
        limits,
        ..ServerConfig::default()
    };
    let server = Running::with(config).await;
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.get("/livez").await.status, 200);
    assert!(!client.is_closed_within(Duration::from_millis(150)).await);
    assert!(client.is_closed_within(Duration::from_secs(2)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_answers_what_was_asked_and_closes_the_rest() {
    let server = Running::start().await;
    let node = server.node.clone();
    let mut idle = Client::connect(server.address).await;
    assert_eq!(idle.get("/readyz").await.status, 200);
    let mut writing = Vec::new();
    for n in 0..20 {
        let mut client = Client::connect(server.address).await;
        client
            .send(
                format!("PUT /kv/{n} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhe")
                    .as_bytes(),
            )
            .await;
        writing.push(client);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let address = server.address;
    let served = server.begin_stop();
    assert!(
        idle.is_closed_within(Duration::from_secs(2)).await,
        "an idle connection"
    );
    for client in &mut writing {
        client.send(b"llo").await;
        let answer = client.answer(false).await;
        assert_eq!(
            (answer.status, answer.header("connection")),
            (204, Some("close"))
        );
    }
    assert_eq!(served.await.unwrap(), 0, "none was cut off");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    let namespace = node.namespace("default").unwrap();
    for n in 0..20 {
        let request = ringwood_node::Request::Get {
            namespace: namespace.clone(),
            key: n.to_string().into(),
        };
        let reply = node.step(node.now(), request).wait().unwrap();
        let ringwood_node::Reply::Key(ringwood_node::KeyReply::Entry(entry)) = reply else {
            panic!("key {n}: {reply:?}");
        };
        assert_eq!(entry.value(), b"hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_in_time_is_cut_off() {
    let config = ServerConfig {
        grace: Duration::from_millis(200),
        ..ServerConfig::default()
    };
    let server = Running::with(config).await;
    let mut client = Client::connect(server.address).await;
    client
        .send(b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhe")
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.begin_stop().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens_beyond_loopback_without_authentication() {
    let server = Running::start().await;
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let config = ServerConfig {
            listen: address.parse().unwrap(),
            ..ServerConfig::default()
        };
        let refused = Server::bind(config, server.node.clone()).unwrap_err();
        assert!(matches!(refused, BindError::NotLoopback(_)), "{address}");
        assert!(refused.to_string().contains("authentication"));
    }
    let config = ServerConfig {
        listen: server.address,
        ..ServerConfig::default()
    };
    let taken = Server::bind(config, server.node.clone()).unwrap_err();
    assert!(matches!(taken, BindError::Io { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_to_those_who_know() {
    let server = Running::start().await;
    let client = Http2::connect(server.address).await;
    let call = |method: &'static str, body: &'static [u8]| {
        let mut client = client.clone();
        async move {
            client
                .call(method, "http://localhost/kv/two", &[], body)
                .await
        }
    };
    assert_eq!(call("PUT", b"value").await.status(), 204);
    let (a, b) = tokio::join!(call("GET", b""), call("HEAD", b""));
    assert_eq!(a.collect().await.unwrap().to_bytes(), "value");
    assert_eq!(b.headers()["content-length"], "5");
    assert!(b.collect().await.unwrap().to_bytes().is_empty());
}
