//! Disks that are full, slow or broken.

use std::sync::Arc;
use std::time::Duration;

use ringwood_env::FaultyDisk;
use ringwood_env::faulty::{Class, Delay, Failure, Fault, FaultPlan, Operation};
use ringwood_node::Node;
use ringwood_server::{Limits, ServerConfig};

use crate::client::Client;
use crate::{Running, settings};

fn node_on(disk: &FaultyDisk) -> Node {
    let mut settings = settings(&tempfile::tempdir().unwrap());
    settings.engine.path = "store".into();
    settings.engine.disk = Arc::new(disk.clone());
    settings.engine.log_segment_len = 256 << 10;
    settings.engine.memory_budget = 2 << 20;
    Node::open(settings).unwrap()
}

fn serving(disk: &FaultyDisk, config: ServerConfig) -> Running {
    Running::over(node_on(disk), tempfile::tempdir().unwrap(), config)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_no_puts_until_there_is_room_again() {
    let disk = FaultyDisk::new(1);
    let server = serving(&disk, ServerConfig::default());
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.put("/kv/before", b"x").await.status, 204);
    disk.set_capacity(Some(0));
    // What log and memtable have room for is taken still.
    let mut refused = None;
    for n in 0..2000 {
        let answer = client.put(&format!("/kv/{n}"), &[0; 4096]).await;
        if answer.status != 204 {
            refused = Some((n, answer));
            break;
        }
    }
    let (n, answer) = refused.expect("something must not fit");
    let expected = (507, "DISK_FULL".to_owned(), "not_applied".to_owned());
    assert_eq!(answer.refusal(), expected);
    assert_eq!(answer.json()["retryable"], true);
    assert_eq!(client.get(&format!("/kv/{n}")).await.status, 404);
    assert_eq!(client.get("/kv/before").await.body, b"x", "reads go on");
    assert_eq!(
        client.delete("/kv/before").await.status,
        204,
        "deletes go on"
    );
    let ready = client.get("/readyz").await;
    assert_eq!(ready.status, 200, "it serves reads and deletes");
    let told = String::from_utf8(ready.body).unwrap();
    assert!(told.starts_with("ready, but the disk is full"), "{told}");
    let node = client.get("/v1/cluster/nodes/self").await.json();
    assert_eq!(node["state"], "disk_full");
    assert!(node["state_since"].as_u64() >= node["started_at"].as_u64());
    disk.set_capacity(None);
    let mut taken = false;
    for _ in 0..100 {
        taken = client.put("/kv/after", b"x").await.status == 204;
        if taken {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(taken, "writing resumes by itself");
    assert_eq!(client.get("/readyz").await.body, b"ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_comes_up_on_a_disk_without_a_free_byte() {
    let disk = FaultyDisk::new(1);
    let server = serving(&disk, ServerConfig::default());
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.put("/kv/before", b"x").await.status, 204);
    let disk = disk.image(0);
    disk.set_capacity(Some(0));
    let server = serving(&disk, ServerConfig::default());
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.get("/kv/before").await.body, b"x");
    let answer = client.put("/kv/after", b"x").await;
    let expected = (507, "DISK_FULL".to_owned(), "not_applied".to_owned());
    assert_eq!(answer.refusal(), expected);
    let ready = client.get("/readyz").await;
    assert_eq!(ready.status, 200);
    assert!(ready.body.starts_with(b"ready, but the disk is full"));
    disk.set_capacity(None);
    assert_eq!(client.put("/kv/after", b"x").await.status, 204);
    assert_eq!(client.delete("/kv/before").await.status, 204);
    assert_eq!(client.get("/readyz").await.body, b"ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_nothing_is_promised_and_reads_go_on() {
    let disk = FaultyDisk::new(1);
    let server = serving(&disk, ServerConfig::default());
    let mut client = Client::connect(server.address).await;
    client.put("/kv/before", b"x").await;
    let failure = Failure::for_good(Class::Writes, 1, Fault::Io);
    disk.set_plan(FaultPlan::fail(failure));
    let answer = client.put("/kv/a", b"x").await;
    let expected = (500, "OUTCOME_UNKNOWN".to_owned(), "unknown".to_owned());
    assert_eq!(answer.refusal(), expected);
    let answer = client.put("/kv/b", b"x").await;
    let expected = (503, "STORE_FAILED".to_owned(), "not_applied".to_owned());
    assert_eq!(answer.refusal(), expected);
    assert_eq!(answer.json()["retryable"], false);
    assert_eq!(client.get("/kv/before").await.body, b"x");
    let ready = client.get("/readyz").await;
    assert_eq!((ready.status, ready.code().as_str()), (503, "STORE_FAILED"));
    assert_eq!(client.get("/livez").await.status, 200);
    let node = client.get("/v1/cluster/nodes/self").await.json();
    assert_eq!(node["state"], "failed");
    assert!(!node["failure"].as_str().unwrap().is_empty());
    let metrics = String::from_utf8(client.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("\nringwood_store_failed 1\n"));
}

/// Every matching call takes so long.
fn slow(disk: &FaultyDisk, on: Class, by: Duration) {
    disk.on_delay(std::thread::sleep);
    disk.set_plan(FaultPlan {
        delays: vec![Delay {
            on,
            suffix: "",
            chance: 1.0,
            by,
        }],
        ..FaultPlan::default()
    });
}

#[tokio::test] // one thread: whoever waits on it stalls everybody
async fn a_read_that_waits_for_the_disk_stalls_nobody() {
    let disk = FaultyDisk::new(1);
    let node = node_on(&disk);
    let server = Running::over(
        node.clone(),
        tempfile::tempdir().unwrap(),
        ServerConfig::default(),
    );
    let mut client = Client::connect(server.address).await;
    client.put("/kv/cold", b"x").await;
    node.engine().flush().unwrap();
    drop(client);
    drop(node);
    server.stop().await;

    let server = serving(&disk, ServerConfig::default());
    let mut client = Client::connect(server.address).await;
    slow(
        &disk,
        Class::Only(Operation::Read),
        Duration::from_millis(300),
    );
    let mut reader = Client::connect(server.address).await;
    reader
        .send(&crate::client::request("GET", "/kv/cold", &[], b""))
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = tokio::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(client.get("/livez").await.status, 200);
    }
    assert!(
        begun.elapsed() < Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(reader.answer(false).await.body, b"x");
    let metrics = String::from_utf8(client.get("/metrics").await.body).unwrap();
    let blocked = metrics
        .lines()
        .find(|line| line.starts_with("ringwood_requests_blocked_total"));
    assert_eq!(blocked, Some("ringwood_requests_blocked_total 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_takes_too_long_may_have_happened() {
    let disk = FaultyDisk::new(1);
    let limits = Limits {
        request_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let config = ServerConfig {
        limits,
        ..ServerConfig::default()
    };
    let server = serving(&disk, config);
    let mut client = Client::connect(server.address).await;
    client.put("/kv/warm", b"x").await;
    slow(&disk, Class::Writes, Duration::from_millis(500));
    let answer = client.put("/kv/a", b"x").await;
    let expected = (504, "DEADLINE_EXCEEDED".to_owned(), "unknown".to_owned());
    assert_eq!(answer.refusal(), expected);
    disk.set_plan(FaultPlan::default());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(client.get("/kv/a").await.body, b"x", "as it did here");
}
