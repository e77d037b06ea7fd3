//! Outputs that are closed early, or full.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod support;

use std::fs::File;
use std::process::{Command, Stdio};

use support::{Ran, Server, ringwood};

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn run(command: &mut Command) -> Ran {
    command.stdin(Stdio::null()).output().unwrap().into()
}

fn with_many_keys(server: &Server) {
    let items: String = (0..3000)
        .map(|n| {
            format!("{{\"op\":\"put\",\"key\":\"k{n}\",\"value\":\"v\",\"encoding\":\"utf8\"}}\n")
        })
        .collect();
    assert_eq!(server.run_with(&["batch"], items.as_bytes()).code, 0);
}

#[test]
fn whoever_stops_reading_ends_a_command_quietly() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(&data);
    with_many_keys(&server);
    let batch = directory.path().join("batch");
    std::fs::write(&batch, "{\"op\":\"get\",\"key\":\"k1\"}\n").unwrap();
    let (batch, data) = (batch.to_str().unwrap(), data.to_str().unwrap());
    for command in [
        &["get", "k1"][..],
        &["-o", "json", "get", "k1"],
        &["-o", "json", "put", "k1", "v"],
        &["-o", "json", "delete", "gone"],
        &["scan"],
        &["-o", "json", "scan"],
        &["batch", batch],
        &["export", "ndjson"],
        &["namespace", "list"],
        &["-o", "json", "namespace", "create", "x"],
        &["status"],
        &["-o", "json", "status"],
        &["verify", data],
        &["config", "show"],
        &["completions", "bash"],
        &["bench", "c", "--records", "10", "--operations", "10"],
        &["-o", "json", "dev", "--data-dir", "other"],
    ] {
        let mut command_line = server.command(command);
        command_line
            .current_dir(directory.path())
            .stdout(closed())
            .stderr(Stdio::piped());
        if command.contains(&"dev") {
            command_line.args(["--listen", "127.0.0.1:0"]);
        }
        let child = command_line.stdin(Stdio::null()).spawn().unwrap();
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert_eq!(ran.code, 141, "{command:?}: {ran:?}");
        assert!(!ran.err.contains("error:"), "{command:?}: {ran:?}");
        assert!(!ran.err.contains("panicked"), "{command:?}: {ran:?}");
    }
    // Help is short, and nothing is lost that was asked for.
    for command in [&["--help"][..], &["scan", "--help"], &["--version"]] {
        let child = ringwood(command)
            .stdout(closed())
            .stderr(Stdio::piped())
            .spawn();
        let ran: Ran = child.unwrap().wait_with_output().unwrap().into();
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{command:?}");
    }
}

#[test]
fn a_full_output_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    with_many_keys(&server);
    for command in [
        &["get", "k1"][..],
        &["scan"],
        &["namespace", "list"],
        &["completions", "bash"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let child = server
            .command(command)
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn();
        let ran: Ran = child.unwrap().wait_with_output().unwrap().into();
        assert_eq!(ran.code, 1, "{command:?}: {ran:?}");
        assert!(ran.err.contains("No space left"), "{command:?}: {ran:?}");
    }
}

#[test]
fn nobody_need_listen_to_talk() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    assert_eq!(server.run(&["put", "k", "v"]).code, 0);
    let tree = directory.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::os::unix::fs::symlink("nowhere", tree.join("link")).unwrap();
    let tree = tree.to_str().unwrap();
    for (code, command) in [
        (3, &["get", "nothing"][..]),
        (3, &["-o", "json", "get", "nothing"]),
        (2, &["frobnicate"]),
        (2, &["put", "k"]),
        (0, &["get", "k", "--file", "out"]),
        (0, &["export", "ndjson"]),
        (6, &["import", "tree", tree]),
        (2, &["config", "show", "--set", "x=1"]),
    ] {
        let mut piped = server.command(command);
        let ran = run(piped
            .current_dir(directory.path())
            .stderr(closed())
            .stdout(Stdio::piped()));
        assert_eq!(ran.code, code, "{command:?}: {ran:?}");
        // As `2>&-` and `>&-` have it.
        for closing in ["2>&-", ">&- 2>&-", ">&- 2>&- <&-"] {
            let ringwood = env!("CARGO_BIN_EXE_ringwood");
            let line = format!("exec {ringwood} \"$@\" {closing}");
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &line, "sh"])
                .args(command)
                .current_dir(directory.path())
                .env("RINGWOOD_URL", &server.url);
            let ran = run(&mut shell);
            assert_eq!(ran.code, code, "{command:?} {closing}: {ran:?}");
        }
    }
}

#[test]
fn a_server_outlives_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = ringwood(&["-o", "json", "dev", "--listen", "127.0.0.1:0"]);
    let mut child = command
        .args(["--set", "log.filter=trace", "--data-dir"])
        .arg(directory.path().join("data"))
        .stdout(Stdio::piped())
        .stderr(closed())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = ready["url"].as_str().unwrap();
    for _ in 0..3 {
        let ran = run(ringwood(&["--url", url, "put", "k", "v"]).stdout(Stdio::piped()));
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let pid = child.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
