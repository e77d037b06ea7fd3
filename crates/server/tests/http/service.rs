//! Health, metrics, the description, and request ids.

use serde_json::Value;

use crate::Running;
use crate::client::Client;

#[tokio::test(flavor = "multi_thread")]
async fn health_and_the_first_page_answer() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.get("/livez").await.body, b"ok\n");
    assert_eq!(client.get("/readyz").await.body, b"ready\n");
    let page = String::from_utf8(client.get("/").await.body).unwrap();
    assert!(page.contains("curl -T"));
    assert_eq!(
        client
            .call("HEAD", "/livez", &[], b"")
            .await
            .header("content-length"),
        Some("3")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    client.put("/kv/a", b"x").await;
    client.get("/kv/a").await;
    client.get("/kv/a").await;
    client.get("/kv/none").await;
    let answer = client.get("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        "ringwood_http_requests_total{operation=\"raw_get\",status=\"2xx\"} 2",
        "ringwood_http_requests_total{operation=\"raw_get\",status=\"4xx\"} 1",
        "ringwood_http_requests_total{operation=\"raw_put\",status=\"2xx\"} 1",
        "ringwood_http_request_duration_seconds_count{operation=\"raw_get\"} 3",
        "ringwood_http_errors_total{code=\"KEY_NOT_FOUND\"} 1",
        "ringwood_keys_put_total 1",
        "ringwood_http_connections 1",
        "ringwood_memory_budget_bytes 16777216",
        "ringwood_store_failed 0",
        "ringwood_disk_full 0",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is missing in\n{text}"
        );
    }
    for name in [
        "ringwood_memory_bytes{consumer=",
        "ringwood_tables{keyspace=\"data\",level=\"0\"}",
        "ringwood_table_bytes{keyspace=\"data\",level=\"0\"}",
        "ringwood_compaction_debt_bytes{keyspace=\"data\"}",
        "ringwood_log_sync_duration_seconds_bucket{le=\"+Inf\"}",
        "ringwood_disk_available_bytes ",
        "ringwood_cache_hit_ratio ",
        "ringwood_write_stalls_total ",
    ] {
        assert!(
            text.contains(&format!("\n{name}")),
            "{name} is missing in\n{text}"
        );
    }
    check_format(&text);
}

/// Every sample belongs to a metric that was announced, once.
fn check_format(text: &str) {
    let mut announced = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(announced.insert(rest.split(' ').next().unwrap()), "{line}");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = series.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .filter(|base| announced.contains(base))
                .unwrap_or(name);
            assert!(announced.contains(base), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_described_is_there() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    let description = client.get("/openapi.json").await.json();
    for (path, operations) in description["paths"].as_object().unwrap() {
        let path = path.replace("{ns}", "default").replace("{key}", "k");
        for (method, operation) in operations.as_object().unwrap() {
            for parameter in operation["parameters"].as_array().unwrap_or(&Vec::new()) {
                if parameter["in"] == "query" {
                    // Nonsense for most of them, but known.
                    let asked = format!("{path}?{}=", parameter["name"].as_str().unwrap());
                    check_known(&mut client, method, &asked).await;
                }
            }
            check_known(&mut client, method, &path).await;
        }
    }
}

async fn check_known(client: &mut Client, method: &str, path: &str) {
    let answer = client.call(&method.to_uppercase(), path, &[], b"").await;
    assert!(answer.status != 405, "{method} {path}");
    if answer.status >= 400 && method != "head" {
        let body: Value = answer.json();
        assert_ne!(body["code"], "ROUTE_NOT_FOUND", "{method} {path}");
        let detail = body["detail"].as_str().unwrap();
        assert!(
            !detail.contains("is not known here"),
            "{method} {path}: {detail}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ids_come_back_or_are_made() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    let given = [("X-Request-Id", "trace-7")];
    let answer = client.call("GET", "/kv/none", &given, b"").await;
    assert_eq!(answer.header("x-request-id"), Some("trace-7"));
    assert_eq!(answer.json()["request_id"], "trace-7");
    let first = client.get("/livez").await;
    let second = client.get("/livez").await;
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}
