//! What one tenant may take, so that something is left for the others.

use std::time::Duration;

use ringwood_server::{Limits, ServerConfig};
use serde_json::json;

use crate::Running;
use crate::client::{Answer, Client};

async fn with_namespace(policy: serde_json::Value) -> (Running, Client) {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    let body = json!({"name": "tenant", "policy": policy});
    let made = client.json("POST", "/v1/namespaces", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    (server, client)
}

/// The first of many answers that is no success.
async fn first_refusal(client: &mut Client, path: &str, body: &[u8]) -> Answer {
    for n in 0..2000 {
        let answer = client.put(&format!("{path}{n}"), body).await;
        if answer.status != 204 {
            return answer;
        }
    }
    panic!("{path} was never refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_over_its_rate_is_told_when_to_come_back() {
    let (_server, mut client) = with_namespace(json!({"requests_per_second": 2})).await;
    let raw = "/v1/namespaces/tenant/raw/";
    let refused = first_refusal(&mut client, raw, b"x").await;
    let expected = (429, "RATE_LIMITED".to_owned(), "not_applied".to_owned());
    assert_eq!(refused.refusal(), expected);
    assert_eq!(refused.json()["retryable"], true);
    assert_eq!(refused.header("retry-after"), Some("1"));
    for n in 0..50 {
        assert_eq!(client.put(&format!("/kv/{n}"), b"x").await.status, 204);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let items: Vec<_> = (0..20)
        .map(|n| json!({"op": "get", "key": n.to_string()}))
        .collect();
    let batch = json!({"items": items});
    let path = "/v1/namespaces/tenant/batch";
    assert_eq!(client.json("POST", path, &batch).await.status, 200);
    let refused = client.json("POST", path, &batch).await;
    assert_eq!(refused.code(), "RATE_LIMITED");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(
        (8..=10).contains(&wait),
        "a batch of twenty is ten seconds' worth: {wait}"
    );
    for path in [
        "/v1/namespaces/tenant/kv/1",
        "/v1/namespaces/tenant/kv?limit=1",
    ] {
        let refused = client.get(path).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (429, "RATE_LIMITED")
        );
        assert!(refused.json().get("outcome").is_none(), "reads have none");
    }
    let free = json!({"requests_per_second": null});
    let changed = client.json("PUT", "/v1/namespaces/tenant", &free).await;
    assert_eq!(changed.json()["policy"]["requests_per_second"], json!(null));
    for n in 0..50 {
        assert_eq!(client.put(&format!("{raw}{n}"), b"x").await.status, 204);
    }
    let metrics = String::from_utf8(client.get("/metrics").await.body).unwrap();
    assert!(
        metrics.contains("\nringwood_requests_limited_total 4\n"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_all_its_bytes_reads_and_deletes() {
    let (server, mut client) = with_namespace(json!({"bytes_max": 100_000})).await;
    let listed = client.get("/v1/namespaces").await.json();
    assert_eq!(listed["namespaces"][1]["policy"]["bytes_max"], 100_000);
    let raw = "/v1/namespaces/tenant/raw/";
    let refused = first_refusal(&mut client, raw, &[7; 1000]).await;
    let expected = (507, "QUOTA_EXCEEDED".to_owned(), "not_applied".to_owned());
    assert_eq!(refused.refusal(), expected);
    assert_eq!(refused.json()["retryable"], false);
    assert_eq!(client.put("/kv/other", &[7; 1000]).await.status, 204);
    assert_eq!(client.get(&format!("{raw}5")).await.body, [7; 1000]);
    let items = json!({"items": [
        {"op": "put", "key": "n", "value": ""}, {"op": "delete", "key": "6"}, {"op": "get", "key": "7"},
    ]});
    let batch = client
        .json("POST", "/v1/namespaces/tenant/batch", &items)
        .await
        .json();
    assert_eq!(batch["results"][0]["code"], "QUOTA_EXCEEDED");
    assert_eq!(
        (&batch["succeeded"], &batch["failed"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(batch["unprocessed"]["items"], json!([]));
    for n in 0..100 {
        assert_eq!(client.delete(&format!("{raw}{n}")).await.status, 204);
    }
    server.node.engine().flush().unwrap();
    let mut taken = false;
    for _ in 0..100 {
        taken = client.put(&format!("{raw}again"), b"x").await.status == 204;
        if taken {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(taken, "room is found within some seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_with_impossible_quotas_are_refused() {
    let (_server, mut client) = with_namespace(json!({})).await;
    for quota in [
        json!({"requests_per_second": 0}),
        json!({"requests_per_second": 1_000_000_001u64}),
        json!({"bytes_max": 0}),
    ] {
        let refused = client.json("PUT", "/v1/namespaces/tenant", &quota).await;
        let expected = (
            422,
            "NAMESPACE_INVALID".to_owned(),
            "not_applied".to_owned(),
        );
        assert_eq!(refused.refusal(), expected, "{quota}");
    }
    for quota in [
        json!({"requests_per_second": -1}),
        json!({"bytes_max": "1GB"}),
    ] {
        let refused = client.json("PUT", "/v1/namespaces/tenant", &quota).await;
        assert_eq!(refused.code(), "JSON_INVALID", "{quota}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_their_memory_wait_and_are_told_to_come_back() {
    let limits = Limits {
        body_bytes: 64 << 10,
        request_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let config = ServerConfig {
        limits,
        ..ServerConfig::default()
    };
    let server = Running::with(config).await;
    let mut slow = Client::connect(server.address).await;
    slow.send(b"PUT /kv/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n")
        .await;
    slow.send(&[0; 60_000]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut client = Client::connect(server.address).await;
    let refused = client.put("/kv/large", &[0; 20 << 10]).await;
    let expected = (503, "OVERLOADED".to_owned(), "not_applied".to_owned());
    assert_eq!(refused.refusal(), expected);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(client.put("/kv/small", &[0; 1 << 10]).await.status, 204);
    assert_eq!(client.get("/kv/large").await.status, 404);
    slow.send(&[0; 5536]).await;
    assert_eq!(slow.answer(false).await.status, 204);
    assert_eq!(client.put("/kv/large", &[0; 20 << 10]).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_announced_gets_no_memory_before_it_comes() {
    let limits = Limits {
        body_bytes: 1 << 20,
        request_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let config = ServerConfig {
        limits,
        ..ServerConfig::default()
    };
    let server = Running::with(config).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(server.address).await;
        client
            .send(b"PUT /kv/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n")
            .await;
        client.send(&[0; 17 << 10]).await;
        slow.push(client);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut client = Client::connect(server.address).await;
    for _ in 0..3 {
        let put = client.put("/kv/large", &[0; 256 << 10]).await;
        assert_eq!(
            put.status, 204,
            "eight times 1 MiB were announced, and did not come"
        );
    }
}
