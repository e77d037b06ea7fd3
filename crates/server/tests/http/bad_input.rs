//! Bad input gets a clear error, and changes nothing.

use std::time::Duration;

use ringwood_server::{Limits, ServerConfig};
use serde_json::json;

use crate::Running;
use crate::client::{Client, request};

async fn started() -> (Running, Client) {
    let server = Running::start().await;
    let client = Client::connect(server.address).await;
    (server, client)
}

fn hasty() -> ServerConfig {
    ServerConfig {
        limits: Limits {
            head_timeout: Duration::from_millis(300),
            body_timeout: Duration::from_millis(300),
            idle_timeout: Duration::from_secs(600),
            ..Limits::default()
        },
        ..ServerConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_name_their_reason() {
    let (_server, mut client) = started().await;
    for (method, path, status, code) in [
        ("GET", "/kv/", 400, "KEY_EMPTY"),
        ("GET", "/kv/%", 400, "KEY_INVALID"),
        ("GET", "/kv/%4", 400, "KEY_INVALID"),
        ("GET", "/kv/%zz", 400, "KEY_INVALID"),
        ("GET", "/kv/?key64=***", 400, "KEY_INVALID"),
        ("GET", "/kv/a?key64=YQ", 400, "KEY_INVALID"),
        ("GET", "/kv/a?colour=red", 400, "PARAMETER_INVALID"),
        ("GET", "/kv/a?r=many", 400, "PARAMETER_INVALID"),
        ("GET", "/kv/a?r=2", 503, "INSUFFICIENT_REPLICAS"),
        ("GET", "/v1/kv/a?encoding=rot13", 400, "PARAMETER_INVALID"),
        ("GET", "/v1/kv?limit=0", 400, "PARAMETER_INVALID"),
        ("GET", "/v1/kv?limit=-1", 400, "PARAMETER_INVALID"),
        ("GET", "/v1/kv?limit=99999999", 400, "PARAMETER_INVALID"),
        ("GET", "/v1/kv?reverse=maybe", 400, "PARAMETER_INVALID"),
        ("GET", "/v1/kv?prefix=%q", 400, "PARAMETER_INVALID"),
        ("GET", "/v1/kv?start=b&end=a", 400, "RANGE_INVERTED"),
        ("GET", "/v1/kv?cursor=forged", 400, "CURSOR_INVALID"),
        ("GET", "/v1/namespaces/none", 404, "NAMESPACE_NOT_FOUND"),
        ("GET", "/v1/namespaces/none/kv", 404, "NAMESPACE_NOT_FOUND"),
        (
            "GET",
            "/v1/namespaces/none/raw/a",
            404,
            "NAMESPACE_NOT_FOUND",
        ),
        ("GET", "/v2/kv/a", 404, "ROUTE_NOT_FOUND"),
        ("GET", "/kv", 404, "ROUTE_NOT_FOUND"),
        ("PATCH", "/kv/a", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/metrics", 405, "METHOD_NOT_ALLOWED"),
    ] {
        let answer = client.call(method, path, &[], b"").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{method} {path}"
        );
    }
    let answer = client.call("PATCH", "/kv/a", &[], b"").await;
    assert_eq!(answer.header("allow"), Some("GET, HEAD, PUT, DELETE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_writes_say_that_nothing_changed() {
    let (_server, mut client) = started().await;
    client.put("/kv/a", b"before").await;
    for (path, headers, status, code) in [
        ("/kv/a?ttl=0", vec![], 422, "TTL_INVALID"),
        ("/kv/a?ttl=-5", vec![], 422, "TTL_INVALID"),
        ("/kv/a?ttl=1e9", vec![], 422, "TTL_INVALID"),
        ("/kv/a?ttl=99999999999999999999", vec![], 422, "TTL_INVALID"),
        ("/kv/a?ttl=3155760001", vec![], 422, "TTL_INVALID"),
        ("/kv/a?w=3", vec![], 503, "INSUFFICIENT_REPLICAS"),
        ("/kv/a?durability=hopeful", vec![], 400, "PARAMETER_INVALID"),
        (
            "/kv/a",
            vec![("If-Match", "*")],
            422,
            "CONDITION_UNSUPPORTED",
        ),
        (
            "/kv/a",
            vec![("If-None-Match", "*")],
            422,
            "CONDITION_UNSUPPORTED",
        ),
        (
            "/kv/a",
            vec![("Ringwood-Consistency", "most")],
            400,
            "HEADER_INVALID",
        ),
        (
            "/kv/a",
            vec![("X-Consistency-Level", "")],
            400,
            "HEADER_INVALID",
        ),
        (
            "/kv/a",
            vec![("Content-Encoding", "gzip")],
            415,
            "CONTENT_ENCODING_UNSUPPORTED",
        ),
        (
            "/kv/a",
            vec![("Ringwood-Context", "made up")],
            400,
            "CONTEXT_INVALID",
        ),
        (
            "/kv/a",
            vec![("Origin", "http://elsewhere.example")],
            403,
            "ORIGIN_FORBIDDEN",
        ),
        (
            "/v1/namespaces/none/kv/a",
            vec![],
            404,
            "NAMESPACE_NOT_FOUND",
        ),
    ] {
        let answer = client.call("PUT", path, &headers, b"after").await;
        let expected = (status, code.to_owned(), "not_applied".to_owned());
        assert_eq!(answer.refusal(), expected, "{path} {headers:?}");
    }
    assert_eq!(client.get("/kv/a").await.body, b"before");
    for headers in [
        ("Ringwood-Consistency", "all"),
        ("X-Consistency-Level", "Quorum"),
    ] {
        assert_eq!(
            client
                .call("PUT", "/kv/a?w=1", &[headers], b"after")
                .await
                .status,
            204
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_json_and_bad_namespaces_are_refused_whole() {
    let (_server, mut client) = started().await;
    let typed = [("Content-Type", "application/json")];
    for (method, path, body, status, code) in [
        ("PUT", "/v1/kv/a", "{", 400, "JSON_INVALID"),
        ("PUT", "/v1/kv/a", r#"{"value":7}"#, 400, "JSON_INVALID"),
        (
            "PUT",
            "/v1/kv/a",
            r#"{"value":"","colour":1}"#,
            400,
            "JSON_INVALID",
        ),
        ("PUT", "/v1/kv/a", r#"{"value":"*"}"#, 400, "BASE64_INVALID"),
        (
            "PUT",
            "/v1/kv/a",
            r#"{"value":"","ttl":-1}"#,
            422,
            "TTL_INVALID",
        ),
        (
            "PUT",
            "/v1/kv/a",
            r#"{"value":"","ttl":1e30}"#,
            422,
            "TTL_INVALID",
        ),
        ("POST", "/v1/batch", "", 400, "JSON_INVALID"),
        ("POST", "/v1/batch", "[]", 400, "JSON_INVALID"),
        (
            "POST",
            "/v1/batch",
            r#"{"items":[{"op":"increment","key":"a"}]}"#,
            400,
            "JSON_INVALID",
        ),
        (
            "POST",
            "/v1/namespaces",
            r#"{"name":"Ä"}"#,
            422,
            "NAMESPACE_INVALID",
        ),
        (
            "POST",
            "/v1/namespaces",
            r#"{"name":""}"#,
            422,
            "NAMESPACE_INVALID",
        ),
        (
            "POST",
            "/v1/namespaces",
            r#"{"name":"x","policy":{"mode":"strong"}}"#,
            422,
            "NAMESPACE_INVALID",
        ),
        (
            "POST",
            "/v1/namespaces",
            r#"{"name":"x","policy":{"speed":9}}"#,
            400,
            "JSON_INVALID",
        ),
        (
            "PUT",
            "/v1/namespaces/none",
            "{}",
            404,
            "NAMESPACE_NOT_FOUND",
        ),
        (
            "PUT",
            "/v1/namespaces/default",
            r#"{"mode":"strong"}"#,
            400,
            "JSON_INVALID",
        ),
        (
            "DELETE",
            "/v1/namespaces/default",
            "",
            409,
            "NAMESPACE_PROTECTED",
        ),
        (
            "DELETE",
            "/v1/namespaces/none",
            "",
            404,
            "NAMESPACE_NOT_FOUND",
        ),
    ] {
        let answer = client.call(method, path, &typed, body.as_bytes()).await;
        let expected = (status, code.to_owned(), "not_applied".to_owned());
        assert_eq!(answer.refusal(), expected, "{method} {path} {body}");
    }
    assert_eq!(client.get("/kv/a").await.status, 404);
    client.put("/kv/bytes", b"\xff").await;
    let answer = client.get("/v1/kv/bytes?encoding=utf8").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (422, "VALUE_NOT_UTF8")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_serve_the_range_they_were_given_out_for() {
    let (_server, mut client) = started().await;
    for n in 0..10 {
        client.put(&format!("/kv/{n}"), b"x").await;
    }
    let page = client.get("/v1/kv?limit=3").await.json();
    let cursor = page["cursor"].as_str().unwrap().to_owned();
    let other = client
        .get(&format!("/v1/kv?limit=3&prefix=1&cursor={cursor}"))
        .await;
    assert_eq!(other.code(), "CURSOR_INVALID");
    let mut changed = cursor.clone().into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    assert_eq!(
        client
            .get(&format!("/v1/kv?limit=3&cursor={changed}"))
            .await
            .code(),
        "CURSOR_INVALID"
    );
    client
        .json("POST", "/v1/namespaces", &json!({"name": "other"}))
        .await;
    let elsewhere = client
        .get(&format!("/v1/namespaces/other/kv?limit=3&cursor={cursor}"))
        .await;
    assert_eq!(elsewhere.code(), "CURSOR_INVALID");
    assert_eq!(
        client
            .get(&format!("/v1/kv?limit=3&cursor={cursor}"))
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_are_taken_up_to_their_limit() {
    let (_server, mut client) = started().await;
    let limit = 1 << 20;
    for (len, status) in [(limit - 1, 204), (limit, 204), (limit + 1, 413)] {
        let answer = client.put("/kv/large", &vec![b'x'; len]).await;
        assert_eq!(answer.status, status, "{len}");
    }
    assert_eq!(client.get("/kv/large").await.body.len(), limit);
    let mut client = Client::connect(_server.address).await;
    let answer = client.put("/kv/large", &vec![b'x'; 4 * limit]).await;
    let expected = (413, "VALUE_TOO_LARGE".to_owned(), "not_applied".to_owned());
    assert_eq!(answer.refusal(), expected, "the client gets to read why");

    let value = |len: usize| json!({"value": "x".repeat(len), "encoding": "utf8"});
    let mut client = Client::connect(_server.address).await;
    for (len, status) in [(limit, 200), (limit + 1, 413)] {
        let answer = client.json("PUT", "/v1/kv/large", &value(len)).await;
        assert_eq!(answer.status, status, "{len}");
    }
    let mut client = Client::connect(_server.address).await;
    let answer = client
        .call("POST", "/v1/batch", &[], &vec![b' '; (8 << 20) + 1])
        .await;
    assert_eq!(answer.code(), "BODY_TOO_LARGE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_refused_need_not_be_sent_first() {
    let (server, _client) = started().await;
    for (head, code) in [
        ("Content-Length: 4194304", "VALUE_TOO_LARGE"),
        (
            "Transfer-Encoding: chunked\r\nContent-Encoding: gzip",
            "CONTENT_ENCODING_UNSUPPORTED",
        ),
    ] {
        let mut client = Client::connect(server.address).await;
        let request = format!("PUT /kv/a HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n");
        client.send(request.as_bytes()).await;
        let answer = tokio::time::timeout(Duration::from_secs(3), client.answer(false)).await;
        assert_eq!(answer.expect("it waits for the body").code(), code);
    }
    let mut client = Client::connect(server.address).await;
    client
        .send(b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2097152\r\n\r\n")
        .await;
    assert_eq!(client.answer(false).await.status, 413);
    client.send(&vec![b'x'; 2 << 20]).await;
    assert_eq!(
        client.get("/kv/a").await.status,
        404,
        "and the connection goes on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_taken_up_to_their_limit() {
    let (_server, mut client) = started().await;
    let batch =
        |op: &str, len: usize| json!({"items": [{"op": op, "key": "k".repeat(len), "value": ""}]});
    for (len, code) in [
        (65_536, None),
        (65_537, Some("KEY_TOO_LARGE")),
        (0, Some("KEY_EMPTY")),
    ] {
        let answer = client.json("POST", "/v1/batch", &batch("put", len)).await;
        let result = &answer.json()["results"][0];
        assert_eq!(result["code"].as_str(), code, "{len}");
        if code.is_some() {
            assert_eq!(result["outcome"], "not_applied", "{len}");
        }
    }
    let listed = client.get("/v1/kv?keys_only=true").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_bodies_are_held_to_the_same_limit() {
    let (server, mut client) = started().await;
    let head = b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).await;
    client.send(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n").await;
    assert_eq!(client.answer(false).await.status, 204);
    assert_eq!(client.get("/kv/a").await.body, b"hello world");
    client.send(head).await;
    let chunk = [&b"40000\r\n"[..], &[b'x'; 0x40000], b"\r\n"].concat();
    for _ in 0..5 {
        client.try_send(&chunk).await;
    }
    client.try_send(b"0\r\n\r\n").await;
    assert_eq!(client.answer(false).await.code(), "VALUE_TOO_LARGE");
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.get("/kv/a").await.body, b"hello world");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_targets_and_heads_are_refused_by_the_protocol() {
    let (server, mut client) = started().await;
    let key = "k".repeat(65_000);
    assert_eq!(client.put(&format!("/kv/{key}"), b"x").await.status, 204);
    assert_eq!(client.get(&format!("/kv/{key}")).await.body, b"x");
    client
        .send(&request(
            "GET",
            &format!("/kv/{}", "k".repeat(66_000)),
            &[],
            b"",
        ))
        .await;
    assert_eq!(client.answer(false).await.status, 414);
    let mut client = Client::connect(server.address).await;
    let long = "x".repeat(200 << 10);
    client
        .try_send(&request("GET", "/kv/a", &[("X-Long", &long)], b""))
        .await;
    assert_eq!(client.answer(false).await.status, 431);
    let mut client = Client::connect(server.address).await;
    let many: Vec<_> = (0..200).map(|_| ("X-Many", "1")).collect();
    client.send(&request("GET", "/kv/a", &many, b"")).await;
    assert_eq!(client.answer(false).await.status, 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused_and_hurts_nobody() {
    let (server, _client) = started().await;
    for nonsense in [
        &b"GET /kv/a HTTP/1.1\r\nContent-Length: many\r\n\r\n"[..],
        b"PUT /kv/a HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"PUT /kv/a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /kv/a\x00 HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
    ] {
        let mut client = Client::connect(server.address).await;
        client.send(nonsense).await;
        assert_eq!(
            client.answer(false).await.status,
            400,
            "{}",
            nonsense.escape_ascii()
        );
    }
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.get("/kv/a").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_cut_short_changes_nothing() {
    let (server, mut client) = started().await;
    client.put("/kv/a", b"before").await;
    client
        .send(b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        .await;
    client.finish_sending().await;
    let expected = (400, "BODY_INCOMPLETE".to_owned(), "not_applied".to_owned());
    assert_eq!(client.answer(false).await.refusal(), expected);
    let mut client = Client::connect(server.address).await;
    let head = b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    client.send(head).await;
    drop(client);
    let mut client = Client::connect(server.address).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(client.get("/kv/a").await.body, b"before");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_codings_that_nobody_takes_off_are_refused() {
    let (server, mut client) = started().await;
    client.put("/kv/a", b"before").await;
    for path in ["/kv/a", "/v1/kv/a", "/v1/namespaces/default/raw/a"] {
        for coding in [
            "gzip, chunked",
            "chunked, chunked",
            "gzip\r\nTransfer-Encoding: chunked",
            "chunked\r\nTransfer-Encoding: chunked",
            "x-made-up;q=1, Chunked",
        ] {
            let mut client = Client::connect(server.address).await;
            let head = format!(
                "PUT {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {coding}\r\n\r\n\
                 5\r\n\x1f\u{8}zip\r\n0\r\n\r\n"
            );
            client.send(head.as_bytes()).await;
            let refusal = client.answer(false).await.refusal();
            let code = "TRANSFER_ENCODING_UNSUPPORTED".to_owned();
            assert_eq!(
                refusal,
                (501, code, "not_applied".to_owned()),
                "{path} {coding}"
            );
        }
        let twice = [
            ("Content-Encoding", "identity"),
            ("Content-Encoding", "gzip"),
        ];
        let answer = client.call("PUT", path, &twice, b"zip").await;
        assert_eq!(answer.status, 415, "{path}");
    }
    let mut get = Client::connect(server.address).await;
    get.send(b"GET /kv/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
        .await;
    assert_eq!(get.answer(false).await.status, 501);
    assert_eq!(client.get("/kv/a").await.body, b"before");
    let mut client = Client::connect(server.address).await;
    client
        .send(b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding:  Chunked \r\n\r\n5\r\nafter\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.answer(false).await.status, 204);
    assert_eq!(client.get("/kv/a").await.body, b"after");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_head_that_trickles_is_cut_off() {
    let server = Running::with(hasty()).await;
    let start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // A head that ends in no frame; one in a frame of which a byte comes now and then.
    let headers = b"\0\0\x01\x01\0\0\0\0\x01\x82";
    let continuation = b"\0\x0f\x00\x09\0\0\0\0\x01";
    for (begun, more) in [
        (&headers[..], &b""[..]),
        (&[&headers[..], continuation].concat()[..], b"\0"),
    ] {
        let mut client = Client::connect(server.address).await;
        client.send(start).await;
        client.send(begun).await;
        let began = tokio::time::Instant::now();
        while !client.has_ended().await {
            client.try_send(more).await;
            assert!(began.elapsed() < Duration::from_secs(5), "{more:?}");
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }
    let mut client = crate::client::Http2::connect(server.address).await;
    for _ in 0..3 {
        let answer = client.call("GET", "http://localhost/kv/a", &[], b"").await;
        assert_eq!(answer.status(), 404);
        tokio::time::sleep(Duration::from_millis(350)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_trickles_is_cut_off() {
    let server = Running::with(hasty()).await;
    let mut body = Client::connect(server.address).await;
    body.send(b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        .await;
    let mut head = Client::connect(server.address).await;
    let mut idle = Client::connect(server.address).await;
    for _ in 0..20 {
        body.try_send(b"x").await;
        head.try_send(b"G").await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let expected = (408, "BODY_TIMEOUT".to_owned(), "not_applied".to_owned());
    assert_eq!(body.answer(false).await.refusal(), expected);
    assert!(
        head.is_closed_within(Duration::from_secs(1)).await,
        "slow head"
    );
    assert_eq!(
        idle.get("/kv/a").await.status,
        404,
        "silence is allowed for longer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_not_taken_for_objects() {
    let (_server, mut client) = started().await;
    let typed = [("Content-Type", "application/json")];
    for (method, path, body) in [
        ("PUT", "/v1/kv/a", r#"["aGk=",null,null,null,null]"#),
        (
            "POST",
            "/v1/batch",
            r#"[[{"op":"put","key":"a","value":"aGk="}]]"#,
        ),
        (
            "POST",
            "/v1/batch",
            r#"{"items":[["put","a",null,"aGk=",null,null,null,null]]}"#,
        ),
        ("POST", "/v1/namespaces", r#"["x",{}]"#),
        (
            "POST",
            "/v1/namespaces",
            r#"{"name":"x","policy":["eventual",1,"lww","whole-key",null,"synced",null,null,null]}"#,
        ),
        (
            "PUT",
            "/v1/namespaces/default",
            r#"[60,"buffered",null,null,null]"#,
        ),
        (
            "POST",
            "/v1/cluster/nodes/self/checkpoint",
            r#"["/nowhere/at/all"]"#,
        ),
    ] {
        let answer = client.call(method, path, &typed, body.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "JSON_INVALID"),
            "{method} {path} {body}"
        );
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("expected an object"), "{detail}");
    }
    assert_eq!(client.get("/kv/a").await.status, 404);
    let policy = client.get("/v1/namespaces/default").await.json();
    assert_eq!(policy["policy"]["durability"], "synced");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_written_without_a_plus() {
    let (_server, mut client) = started().await;
    client.put("/kv/a", b"0123456789").await;
    for (path, code) in [
        ("/v1/kv?limit=%2B5", "PARAMETER_INVALID"),
        ("/kv/a?r=%2B1", "PARAMETER_INVALID"),
    ] {
        let answer = client.get(path).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{path}"
        );
    }
    let answer = client.put("/kv/a?ttl=%2B5", b"x").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (422, "TTL_INVALID")
    );
    for range in ["bytes=+0-1", "bytes=0-+1", "bytes=-+1"] {
        let answer = client.call("GET", "/kv/a", &[("Range", range)], b"").await;
        assert_eq!(answer.status, 200, "{range}: nonsense is ignored");
    }
}
