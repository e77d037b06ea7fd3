//! Servers that allow little, and have much.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use support::Server;

#[test]
fn commands_keep_to_the_limits_of_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let few = [
        "--set",
        "limits.page_items=10",
        "--set",
        "limits.batch_items=10",
    ];
    let server = Server::start_with(&directory.path().join("data"), &few);
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (items, lines, tree) = (path("items"), path("lines"), path("tree"));
    let batch = |n| format!("{{\"op\":\"put\",\"key\":\"k/{n:02}\",\"value\":\"dg==\"}}\n");
    fs::write(&items, (0..25).map(batch).collect::<String>()).unwrap();
    let check = |arguments: &[&str], told: usize| {
        let ran = server.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        assert_eq!(ran.out.lines().count(), told, "{arguments:?}: {ran:?}");
    };
    check(&["batch", &items], 25);
    check(&["scan"], 25);
    check(&["scan", "--limit", "17"], 17);
    check(&["export", "ndjson"], 25);
    check(&["export", "ndjson", &lines], 0);
    check(&["export", "tree", &tree], 0);
    assert_eq!(fs::read_dir(&tree).unwrap().count(), 1);
    check(&["-n", "default", "import", "ndjson", &lines], 0);
    check(&["import", "tree", &tree, "--prefix", "t/"], 0);
    check(&["scan", "t/", "--keys-only"], 25);
    for n in 0..25 {
        check(&["namespace", "create", &format!("n{n:02}")], 0);
    }
    check(&["namespace", "list"], 26);
    let status = server.run(&["status"]);
    assert!(status.out.contains("in 26 namespaces"), "{status:?}");
    let bench = [
        "bench",
        "e",
        "--records",
        "35",
        "--operations",
        "50",
        "--rate",
        "1k",
    ];
    let ran = server.run(&bench);
    assert_eq!(ran.code, 0, "{ran:?}");
    check(&["scan", "bench/"], 0);
}

#[test]
fn status_and_the_prompt_know_of_thousands_of_namespaces() {
    const COUNT: usize = 3000;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start_with(&data, &["--set", "limits.namespaces=4000"]);
    let mut connection = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    let mut requests = String::new();
    for n in 1..COUNT {
        let body = format!("{{\"name\":\"n{n:04}\"}}");
        let len = body.len();
        write!(
            requests,
            "POST /v1/namespaces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {len}\r\n\r\n{body}"
        )
        .unwrap();
    }
    let mut writing = connection.try_clone().unwrap();
    let writer = std::thread::spawn(move || writing.write_all(requests.as_bytes()).unwrap());
    let (mut answers, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let made = |answers: &[u8]| {
        String::from_utf8_lossy(answers)
            .matches("HTTP/1.1 201")
            .count()
    };
    loop {
        let read = connection.read(&mut buffer).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answers));
        answers.extend_from_slice(&buffer[..read]);
        // Counting all of them each time would take longer than making them.
        if read < buffer.len()
            && made(&answers[answers.len().saturating_sub(2000)..]) > 0
            && answers
                .windows(6)
                .rev()
                .take(2000)
                .any(|six| six == b"\"n2999".as_slice())
        {
            break;
        }
    }
    writer.join().unwrap();
    let status = server.run(&["status"]);
    assert!(
        status
            .out
            .contains("in 3,000 namespaces: default, n0001, n0002, …"),
        "{status:?}"
    );
    let status = server.run(&["status", "-o", "json"]);
    assert_eq!(status.json()["namespaces"].as_array().unwrap().len(), COUNT);
    let ran = server.run_with(&["repl"], b"use n2999\nput k v\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(server.run(&["-n", "n2999", "get", "k"]).out, "v");
}
