//! A node's upkeep while it serves.
#![allow(clippy::disallowed_methods)] // flips a byte behind the server's back

use serde_json::json;

use crate::Running;
use crate::client::Client;

const CHECKPOINT: &str = "/v1/cluster/nodes/self/checkpoint";
const VERIFY: &str = "/v1/cluster/nodes/self/verify";

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_a_store_of_its_own_and_made_while_serving() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    client.put("/kv/before", b"x").await;
    let parent = tempfile::tempdir().unwrap();
    let to = parent.path().join("copy");
    let made = client.json("POST", CHECKPOINT, &json!({"to": to})).await;
    assert_eq!(
        (made.status, &made.json()["status"]),
        (200, &json!("copied"))
    );
    client.put("/kv/after", b"x").await;
    let again = client.json("POST", CHECKPOINT, &json!({"to": to})).await;
    assert_eq!(
        (again.status, again.code().as_str()),
        (409, "TARGET_EXISTS")
    );

    let copy = ringwood_node::Node::open(ringwood_node::NodeConfig::new(&to)).unwrap();
    let copy = Running::over(copy, parent, Default::default());
    let mut client = Client::connect(copy.address).await;
    assert_eq!(client.get("/kv/before").await.body, b"x");
    assert_eq!(client.get("/kv/after").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_checkpoints_are_refused_and_leave_nothing() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    for (body, status, code) in [
        (json!({"to": "copy"}), 400, "PATH_INVALID"),
        (json!({"to": ""}), 400, "PATH_INVALID"),
        (json!({"to": "../copy"}), 400, "PATH_INVALID"),
        (json!({}), 400, "JSON_INVALID"),
        (json!({"to": "/tmp", "force": true}), 400, "JSON_INVALID"),
        (json!({"to": server.directory.path()}), 409, "TARGET_EXISTS"),
        (
            json!({"to": server.directory.path().join("copy")}),
            400,
            "PATH_INVALID",
        ),
        (json!({"to": "/no/such/place"}), 400, "PATH_INVALID"),
    ] {
        let answer = client.json("POST", CHECKPOINT, &body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{body}"
        );
    }
    assert_eq!(client.get(CHECKPOINT).await.code(), "METHOD_NOT_ALLOWED");
    // On another file system, where not even root may make anything.
    let refused = client
        .json("POST", CHECKPOINT, &json!({"to": "/proc/copy"}))
        .await;
    assert!(refused.status >= 400);
    assert_eq!(refused.json()["outcome"], "not_applied");
    assert_eq!(client.put("/kv/go", b"on").await.status, 204);
    assert_eq!(client.get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_tells_where_it_is_and_verifies_itself() {
    let server = Running::start().await;
    let mut client = Client::connect(server.address).await;
    let node = client.get("/v1/cluster/nodes/self").await.json();
    assert_eq!(node["data_dir"], server.directory.path().to_str().unwrap());
    assert_eq!(node["state"], "ready");
    let limits = json!({
        "page_items": 10_000, "batch_items": 10_000, "batch_len": 8 << 20, "value_len": 1 << 20,
    });
    assert_eq!(node["limits"], limits);
    assert_eq!(node["state_since"], node["started_at"]);
    for n in 0..200 {
        client.put(&format!("/kv/{n}"), &[7; 100]).await;
    }
    server.node.engine().flush().unwrap();
    let clean = client.call("POST", VERIFY, &[], b"").await.json();
    assert_eq!(
        (&clean["status"], &clean["problems"]),
        (&json!("clean"), &json!([]))
    );

    let tables = std::fs::read_dir(server.directory.path()).unwrap();
    let paths = tables.map(|entry| entry.unwrap().path());
    let table = paths
        .filter(|path| path.extension().is_some_and(|end| end == "sst"))
        .max_by_key(|path| path.metadata().unwrap().len())
        .expect("a flush makes one");
    let mut bytes = std::fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&table, bytes).unwrap();
    let damaged = client.call("POST", VERIFY, &[], b"").await;
    assert_eq!(damaged.status, 200, "it was looked at");
    let report = damaged.json();
    assert_eq!(report["status"], "damaged");
    assert_eq!(report["problems"][0]["file"], table.to_str().unwrap());
    assert!(report["problems"][0]["offset"].is_u64());
    assert_eq!(client.put("/kv/go", b"on").await.status, 204);
}
