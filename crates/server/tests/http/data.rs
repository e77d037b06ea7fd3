//! Keys, ranges, batches and namespaces, as they are meant to be used.

use serde_json::{Value, json};

use crate::Running;
use crate::client::Client;

async fn started() -> (Running, Client) {
    let server = Running::start().await;
    let client = Client::connect(server.address).await;
    (server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_values_come_back_as_they_went_with_their_type_and_version() {
    let (_server, mut client) = started().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let typed = [("Content-Type", "image/png")];
    let stored = client
        .call("PUT", "/kv/photos/1", &typed, &every_byte)
        .await;
    assert_eq!(stored.status, 204);
    let found = client.get("/kv/photos/1").await;
    assert_eq!((found.status, &found.body), (200, &every_byte));
    assert_eq!(found.header("content-type"), Some("image/png"));
    assert_eq!(found.header("content-length"), Some("256"));
    assert_eq!(found.header("ringwood-replicas"), Some("1/1"));
    for name in ["etag", "ringwood-context"] {
        assert!(found.header(name).is_some(), "{name}");
        assert_eq!(found.header(name), stored.header(name), "{name}");
    }
    let head = client.call("HEAD", "/kv/photos/1", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("256"));
    let known = [("If-None-Match", found.header("etag").unwrap())];
    assert_eq!(
        client.call("GET", "/kv/photos/1", &known, b"").await.status,
        304
    );
    let part = client
        .call("GET", "/kv/photos/1", &[("Range", "bytes=10-12")], b"")
        .await;
    assert_eq!((part.status, &part.body[..]), (206, &[10, 11, 12][..]));
    assert_eq!(part.header("content-range"), Some("bytes 10-12/256"));
    let context = [(
        "Ringwood-Context",
        found.header("ringwood-context").unwrap(),
    )];
    let removed = client.call("DELETE", "/kv/photos/1", &context, b"").await;
    assert_eq!(removed.status, 204);
    assert_eq!(client.get("/kv/photos/1").await.code(), "KEY_NOT_FOUND");
    assert_eq!(
        client.call("HEAD", "/kv/photos/1", &[], b"").await.status,
        404
    );
    assert_eq!(client.delete("/kv/photos/1").await.status, 204, "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_bytes_however_they_are_written() {
    let (_server, mut client) = started().await;
    for (written, read) in [
        ("/kv/a/b", "/kv/a%2Fb"),
        ("/kv/a/b", "/v1/namespaces/default/raw/a/b"),
        ("/kv/a//../b?", "/kv/a%2f%2f%2e%2E%2fb"),
        ("/kv/%00%ff", "/kv/?key64=AP8"),
        ("/kv/+", "/kv/%2b"),
        ("/kv/gr%C3%BC%C3%9Fe", "/kv/?key64=Z3LDvMOfZQ%3D%3D"),
    ] {
        assert_eq!(
            client.put(written, written.as_bytes()).await.status,
            204,
            "{written}"
        );
        let found = client.get(read).await;
        assert_eq!(
            (found.status, &found.body[..]),
            (200, written.as_bytes()),
            "{read}"
        );
    }
    let by_key64 = client.get("/v1/kv/?key64=AP8").await.json();
    assert_eq!(
        (&by_key64["key"], &by_key64["key64"]),
        (&Value::Null, &json!("AP8"))
    );
    let by_text = client.get("/v1/kv/gr%C3%BC%C3%9Fe").await.json();
    assert_eq!(
        (&by_text["key"], &by_text["key64"]),
        (&json!("grüße"), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn json_values_are_base64_or_text_and_may_expire() {
    let (_server, mut client) = started().await;
    let stored = client
        .json(
            "PUT",
            "/v1/kv/a",
            &json!({"value": "aGVsbG8=", "ttl": 3600}),
        )
        .await;
    let stored = stored.json();
    assert_eq!(
        (&stored["key"], &stored["status"]),
        (&json!("a"), &json!("stored"))
    );
    assert_eq!(stored["replicas"], "1/1");
    let found = client.get("/v1/kv/a").await.json();
    assert_eq!(
        (&found["value"], &found["encoding"]),
        (&json!("aGVsbG8="), &json!("base64"))
    );
    for same in ["version", "context", "expires_at"] {
        assert_eq!(found[same], stored[same], "{same}");
    }
    assert!((3590..=3600).contains(&found["ttl"].as_u64().unwrap()));
    assert_eq!(
        client.get("/v1/kv/a?encoding=utf8").await.json()["value"],
        "hello"
    );
    let raw = client.get("/kv/a").await;
    let deadline = raw.header("ringwood-expires-at").unwrap();
    assert_eq!(
        deadline.parse::<u64>().unwrap(),
        found["expires_at"].as_u64().unwrap()
    );

    client
        .put("/v1/kv/b?encoding=utf8&ttl=never", br#"{"value":"text"}"#)
        .await;
    let found = client.get("/v1/namespaces/default/kv/b").await.json();
    assert_eq!(
        (&found["value"], &found["ttl"]),
        (&json!("dGV4dA=="), &Value::Null)
    );
    let typed = [("Content-Type", "text/plain")];
    client
        .call("PUT", "/v1/kv/c", &typed, br#"{"value":"text"}"#)
        .await;
    let found = client.get("/v1/kv/c?encoding=utf8").await.json();
    assert_eq!(
        found["value"], r#"{"value":"text"}"#,
        "no JSON, so the value itself"
    );
    assert_eq!(found["content_type"], "text/plain");
    let removed = client.delete("/api/v1/keys/c").await.json();
    assert_eq!(
        (&removed["key"], &removed["status"]),
        (&json!("c"), &json!("deleted"))
    );
    assert_eq!(client.get("/api/v1/kv/c").await.code(), "KEY_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_is_gone_from_reads_and_ranges() {
    let (_server, mut client) = started().await;
    client.put("/kv/short?ttl=1", b"x").await;
    client.put("/kv/stays?ttl=100", b"x").await;
    assert_eq!(client.get("/kv/short").await.status, 200);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(client.get("/kv/short").await.status, 404);
    let page = client.get("/v1/kv?keys_only=1").await.json();
    assert_eq!(page["items"], json!([{"key": "stays"}]));
}

fn keys(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["key"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_in_order_and_pages_join_without_gap_or_overlap() {
    let (_server, mut client) = started().await;
    let expected: Vec<String> = (0..57).map(|n| format!("k/{n:02}")).collect();
    for key in &expected {
        client.put(&format!("/kv/{key}"), key.as_bytes()).await;
    }
    client.put("/kv/other", b"x").await;
    for (direction, mut expected) in [("", expected.clone()), ("&reverse=true", expected.clone())] {
        if !direction.is_empty() {
            expected.reverse();
        }
        let mut found = Vec::new();
        let mut path = format!("/v1/kv?prefix=k/&limit=10{direction}");
        let first = path.clone();
        loop {
            let page = client.get(&path).await.json();
            found.extend(keys(&page));
            match page["cursor"].as_str() {
                Some(cursor) => path = format!("{first}&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(found, expected, "{direction}");
    }
    let page = client
        .get("/api/v1/kv/range?start=k%2F10&end=k/13&encoding=utf8")
        .await
        .json();
    assert_eq!(keys(&page), ["k/10", "k/11", "k/12"]);
    assert_eq!(page["items"][0]["value"], "k/10");
    let page = client
        .get("/v1/kv?prefix=k/5&keys_only=true&limit=1")
        .await
        .json();
    assert_eq!(page["items"], json!([{"key": "k/50"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_tells_of_each_item() {
    let (_server, mut client) = started().await;
    let body = json!({"items": [
        {"op": "put", "key": "a", "value": "one", "encoding": "utf8", "content_type": "text/plain"},
        {"op": "put", "key64": "_w", "value": "dHdv", "ttl": 60},
        {"op": "get", "key": "a", "encoding": "utf8"},
        {"op": "get", "key": "none"},
        {"op": "delete", "key": "a"},
        {"op": "put", "key": "", "value": ""},
        {"op": "put", "key": "b", "value": "!"},
        {"op": "put", "key": "b", "value": "", "ttl": 0},
    ]});
    for path in [
        "/v1/batch",
        "/api/v1/kv/batch",
        "/v1/namespaces/default/batch",
    ] {
        let answer = client.json("POST", path, &body).await;
        assert_eq!(answer.status, 200);
        let reply = answer.json();
        let field = |name: &str| -> Vec<Value> {
            let results = reply["results"].as_array().unwrap();
            results.iter().map(|result| result[name].clone()).collect()
        };
        let statuses = [
            "stored", "stored", "found", "missing", "deleted", "failed", "failed", "failed",
        ];
        assert_eq!(field("status"), statuses, "{reply}");
        assert_eq!(
            field("code")[5..],
            ["KEY_EMPTY", "BASE64_INVALID", "TTL_INVALID"]
        );
        assert_eq!(field("value")[2], "one");
        assert_eq!(field("key64")[1], "_w");
        assert_eq!(
            (&reply["succeeded"], &reply["failed"]),
            (&json!(5), &json!(3))
        );
        assert_eq!(reply["unprocessed"], json!({"items": []}));
    }
    assert_eq!(client.get("/kv/%ff").await.body, b"two");
    assert_eq!(client.get("/kv/a").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_and_gives_text_where_that_is_asked_for() {
    let (_server, mut client) = started().await;
    let items = json!({"items": [
        {"op": "put", "key": "text", "value": "höflich"},
        {"op": "put", "key": "bytes", "value": "_w==", "encoding": "base64"},
        {"op": "get", "key": "text"},
        {"op": "get", "key": "bytes"},
        {"op": "get", "key": "text", "encoding": "base64"},
        {"op": "delete", "key": "bytes"},
    ]});
    let reply = client.json("POST", "/v1/batch?encoding=utf8", &items).await;
    let reply = reply.json();
    assert_eq!(reply["succeeded"], 6, "{reply}");
    let found = |n: usize| {
        (
            &reply["results"][n]["value"],
            &reply["results"][n]["encoding"],
        )
    };
    assert_eq!(found(2), (&json!("höflich"), &json!("utf8")));
    assert_eq!(found(3), (&json!("/w=="), &json!("base64")));
    assert_eq!(found(4), (&json!("aMO2ZmxpY2g="), &json!("base64")));
    assert_eq!(client.get("/kv/text").await.body, "höflich".as_bytes());
    let wrong = client
        .json("POST", "/v1/batch?encoding=rot13", &items)
        .await;
    assert_eq!(wrong.code(), "PARAMETER_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_reach_keys_that_fit_no_url() {
    let (_server, mut client) = started().await;
    let key = "k".repeat(64 << 10);
    let put = json!({"items": [{"op": "put", "key": key, "value": "aGk="}]});
    assert_eq!(
        client.json("POST", "/v1/batch", &put).await.json()["succeeded"],
        1
    );
    let get = json!({"items": [{"op": "get", "key": key}]});
    let reply = client.json("POST", "/v1/batch", &get).await.json();
    assert_eq!(reply["results"][0]["value"], "aGk=");
    let longer = json!({"items": [{"op": "put", "key": key + "k", "value": "aGk="}]});
    let reply = client.json("POST", "/v1/batch", &longer).await.json();
    assert_eq!(reply["results"][0]["code"], "KEY_TOO_LARGE");
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_keep_their_keys_and_policies_apart() {
    let (_server, mut client) = started().await;
    let body = json!({"name": "pets", "policy": {"default_ttl": 60}});
    let made = client.json("POST", "/v1/namespaces", &body).await;
    assert_eq!(
        (made.status, made.header("location")),
        (201, Some("/v1/namespaces/pets"))
    );
    assert_eq!(
        client.json("POST", "/v1/namespaces", &body).await.code(),
        "NAMESPACE_EXISTS"
    );
    client.put("/v1/namespaces/pets/kv/cat", b"miaow").await;
    client.put("/v1/namespaces/pets/raw/dog", b"woof").await;
    assert_eq!(client.get("/kv/cat").await.status, 404);
    let found = client.get("/v1/namespaces/pets/raw/cat").await;
    assert_eq!(found.body, b"miaow");
    assert!(
        found.header("ringwood-expires-at").is_some(),
        "as the policy says"
    );
    let page = client.get("/v1/namespaces/pets/kv").await.json();
    assert_eq!(keys(&page), ["cat", "dog"]);
    assert_eq!(client.get("/v1/kv").await.json()["items"], json!([]));

    let change = json!({"default_ttl": null, "durability": "buffered"});
    let changed = client
        .json("PUT", "/v1/namespaces/pets", &change)
        .await
        .json();
    assert_eq!(changed["policy"]["durability"], "buffered");
    assert_eq!(client.get("/v1/namespaces/pets").await.json(), changed);
    let list = client.get("/v1/namespaces").await.json();
    let names: Vec<_> = list["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| &n["name"])
        .collect();
    assert_eq!(names, ["default", "pets"]);

    let dropped = client.delete("/v1/namespaces/pets").await.json();
    assert_eq!(dropped, json!({"name": "pets", "status": "dropped"}));
    assert_eq!(
        client.get("/v1/namespaces/pets/raw/cat").await.code(),
        "NAMESPACE_NOT_FOUND"
    );
    client
        .json("POST", "/v1/namespaces", &json!({"name": "pets"}))
        .await;
    assert_eq!(
        client.get("/v1/namespaces/pets/raw/cat").await.code(),
        "KEY_NOT_FOUND"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_are_there_after_a_restart() {
    let (server, mut client) = started().await;
    for n in 0..20 {
        client.put(&format!("/kv/{n}"), &[n; 100]).await;
    }
    client.delete("/kv/7").await;
    drop(client);
    let (cut, directory) = server.stop().await;
    assert_eq!(cut, 0);
    let server = Running::in_directory(directory, ringwood_server::ServerConfig::default()).await;
    let mut client = Client::connect(server.address).await;
    for n in 0..20 {
        let found = client.get(&format!("/kv/{n}")).await;
        match n {
            7 => assert_eq!(found.status, 404),
            _ => assert_eq!(found.body, [n; 100]),
        }
    }
}
