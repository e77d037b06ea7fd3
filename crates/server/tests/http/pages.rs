//! What a web page may do to a server on its reader's machine: nothing.

use ringwood_server::{BindError, Server, ServerConfig};

use crate::Running;
use crate::client::Client;

const FOREIGN: (&str, &str) = ("Host", "evil.example:7400");

/// A request as it stands, with these lines in its head.
async fn answered(
    client: &mut Client,
    method: &str,
    path: &str,
    head: &str,
) -> crate::client::Answer {
    let request = format!("{method} {path} HTTP/1.1\r\n{head}Content-Length: 0\r\n\r\n");
    client.send(request.as_bytes()).await;
    client.answer(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_ours_reaches_no_route() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    client.put("/kv/a", b"secret").await;
    let rebound = format!("Host: {}\r\nOrigin: http://{}\r\n", FOREIGN.1, FOREIGN.1);
    let plain = format!("Host: {}\r\n", FOREIGN.1);
    for head in [rebound, plain] {
        for (method, path) in [
            ("GET", "/kv/a"),
            ("PUT", "/kv/a"),
            ("DELETE", "/kv/a"),
            ("GET", "/v1/kv"),
            ("POST", "/v1/batch"),
            ("POST", "/v1/namespaces"),
            ("POST", "/v1/cluster/nodes/self/checkpoint"),
            ("GET", "/livez"),
            ("GET", "/metrics"),
            ("GET", "/nowhere"),
        ] {
            let refused = answered(&mut client, method, path, &head).await;
            assert_eq!(
                (refused.status, &*refused.code()),
                (403, "HOST_FORBIDDEN"),
                "{method} {path}"
            );
            let said = String::from_utf8(refused.body).unwrap();
            assert!(said.contains("http.allowed_hosts"), "what to do: {said}");
        }
    }
    assert_eq!(client.get("/kv/a").await.body, b"secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_name_one_host_is_refused() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    for head in [
        "",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: localhost\r\nhost: evil.example\r\n",
    ] {
        for (method, path) in [("GET", "/kv/a"), ("PUT", "/kv/a"), ("GET", "/livez")] {
            let refused = answered(&mut client, method, path, head).await;
            assert_eq!(
                (refused.status, &*refused.code()),
                (400, "HOST_INVALID"),
                "{method} {path} {head:?}"
            );
        }
    }
    let absolute = answered(
        &mut client,
        "PUT",
        "http://evil.example/kv/a",
        "Host: localhost\r\n",
    )
    .await;
    assert_eq!(
        absolute.refusal(),
        (400, "HOST_INVALID".to_owned(), "not_applied".to_owned())
    );
    assert_eq!(client.get("/kv/a").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_listed_are_served_and_bad_lists_are_not() {
    let config = |hosts: &[&str]| ServerConfig {
        allowed_hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        ..ServerConfig::default()
    };
    let server = Running::with(config(&["ring.example"])).await;
    let mut client = Client::connect(server.address).await;
    let listed = "Host: Ring.example:80\r\nOrigin: http://Ring.example:80\r\n";
    assert_eq!(
        answered(&mut client, "PUT", "/kv/a", listed).await.status,
        204
    );
    assert_eq!(
        answered(&mut client, "GET", "/livez", "Host: [::1]\r\n")
            .await
            .status,
        200
    );
    let elsewhere = "Host: ring.example\r\nOrigin: http://evil.example\r\n";
    let refused = answered(&mut client, "GET", "/kv/a", elsewhere).await;
    assert_eq!(refused.code(), "ORIGIN_FORBIDDEN");
    let mut wrong = config(&["http://ring.example"]);
    wrong.listen.set_port(0);
    let refused = Server::bind(wrong, server.node.clone()).unwrap_err();
    assert!(matches!(refused, BindError::InvalidHost(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_the_authority_is_the_host() {
    let server = Running::start().await;
    let mut client = crate::client::Http2::connect(server.address).await;
    for (uri, host, status) in [
        ("http://localhost/kv/none", None, 404),
        ("http://localhost/kv/none", Some("localhost"), 404),
        ("http://evil.example/kv/none", None, 403),
        ("http://localhost/kv/none", Some("evil.example"), 400),
    ] {
        let headers: Vec<_> = host.iter().map(|&host| ("host", host)).collect();
        let answer = client.call("GET", uri, &headers, b"").await;
        assert_eq!(answer.status(), status, "{uri} {host:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_runs_no_script_and_is_not_guessed_at() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    let html = [("Content-Type", "text/html")];
    client
        .call("PUT", "/kv/page", &html, b"<script>alert(1)</script>")
        .await;
    for range in [vec![], vec![("Range", "bytes=0-7")]] {
        let page = client.call("GET", "/kv/page", &range, b"").await;
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.contains("sandbox") && !policy.contains("allow-scripts"),
            "{policy}"
        );
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    }
    for path in [
        "/v1/kv",
        "/v1/kv/page",
        "/kv/none",
        "/metrics",
        "/",
        "/nowhere",
    ] {
        let answer = client.get(path).await;
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
    }
}
