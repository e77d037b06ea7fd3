//! What a person at a terminal is asked and told, and what never reaches one.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod support;

use std::io::Write;
use std::net::TcpStream;

use support::{Server, at_terminal};

const EVIL: &str = "a\x1b]0;title\x07\u{9b}31m";

#[test]
fn writes_say_what_they_did_to_a_person_only() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    for (command, told) in [
        (
            &["put", "k", "hello"][..],
            "stored 5 B under \"k\" in namespace default",
        ),
        (&["delete", "k"], "deleted \"k\" in namespace default"),
        (
            &["namespace", "create", "pets", "--default-ttl", "1h30m"],
            "made namespace pets: synced, ttl 90m",
        ),
        (
            &["namespace", "set", "pets", "--default-ttl", "none"],
            "changed namespace pets: synced, no limits",
        ),
        (
            &["namespace", "drop", "pets", "--yes"],
            "dropped namespace pets with all its keys",
        ),
    ] {
        let (code, screen) = at_terminal(server.command(command), "");
        assert_eq!(code, 0, "{command:?}: {screen}");
        assert!(screen.contains(told), "{command:?}: {screen}");
        if command[1] == "drop" {
            server.run(&["namespace", "create", "pets"]);
        }
        let mut quiet = server.command(command);
        quiet.arg("--quiet");
        let (_, screen) = at_terminal(quiet, "");
        assert!(!screen.contains(told), "{command:?}: {screen}");
        if command[0] != "namespace" {
            let ran = server.run(command);
            let silent = (0, String::new(), String::new());
            assert_eq!((ran.code, ran.out, ran.err), silent, "{command:?}");
        }
    }
}

#[test]
fn what_nobody_gave_is_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    assert_eq!(server.run(&["put", "k", "before"]).code, 0);
    let (code, screen) = at_terminal(server.command(&["put", "k"]), "");
    assert_eq!(code, 2, "{screen}");
    assert!(screen.contains("nothing was stored"), "{screen}");
    assert!(screen.contains("help: give it as"), "{screen}");
    let piped = server.run_with(&["put", "k"], b"");
    assert_eq!(piped.code, 2, "{piped:?}");
    assert!(piped.err.contains("through the pipe"), "{piped:?}");
    assert_eq!(server.run(&["get", "k"]).out, "before");
    for said in [&["put", "k", ""][..], &["put", "k", "--file", "-"]] {
        assert_eq!(server.run(&["put", "k", "before"]).code, 0);
        assert_eq!(server.run_with(said, b"").code, 0, "{said:?}");
        assert_eq!(server.run(&["get", "k"]).out, "");
    }
    assert_eq!(server.run_with(&["put", "k"], b"piped").code, 0);
    assert_eq!(server.run(&["get", "k"]).out, "piped");
}

#[test]
fn dropping_a_namespace_asks() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    assert_eq!(server.run(&["namespace", "create", "pets"]).code, 0);
    let drop = || server.command(&["namespace", "drop", "pets"]);
    let unasked = support::run(&mut drop());
    assert_eq!(unasked.code, 2, "{unasked:?}");
    assert!(unasked.err.contains("--yes"), "{unasked:?}");
    for no in ["n\n", "\n", "pets\n"] {
        let (code, screen) = at_terminal(drop(), no);
        assert_eq!(code, 1, "{screen}");
        assert!(screen.contains("with all its keys? [y/N]"), "{screen}");
        assert!(screen.contains("nothing was dropped"), "{screen}");
    }
    assert!(server.run(&["namespace", "list"]).out.contains("pets"));
    let (code, screen) = at_terminal(drop(), "y\n");
    assert_eq!(code, 0, "{screen}");
    assert!(!server.run(&["namespace", "list"]).out.contains("pets"));
}

#[test]
fn no_command_reaches_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    assert_eq!(server.run(&["put", EVIL, EVIL]).code, 0);
    let batch = directory.path().join("batch");
    let get = serde_json::json!({"op": "get", "key": EVIL});
    std::fs::write(&batch, get.to_string()).unwrap();
    let tree = directory.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::os::unix::fs::symlink("nowhere", tree.join(EVIL)).unwrap();
    let (batch, tree) = (batch.to_str().unwrap(), tree.to_str().unwrap());
    for command in [
        &["get", EVIL][..],
        &["scan"],
        &["scan", "--full"],
        &["batch", batch],
        &["-o", "json", "get", EVIL],
        &["-o", "json", "scan"],
        &["-o", "json", "batch", batch],
        &["export", "ndjson"],
        &["import", "tree", tree],
        &["put", EVIL, "value"],
        &["delete", EVIL],
        &["-n", EVIL, "get", "k"],
        &["put", "k", "--file", EVIL],
        &["verify", EVIL],
    ] {
        let (_, screen) = at_terminal(server.command(command), "");
        assert!(screen.contains("title"), "{command:?}: {screen:?}");
        // Progress clears its line.
        let screen = screen.replace("\x1b[2K", "");
        let is_harmless = |c: char| !c.is_control() || "\r\n\t".contains(c);
        assert!(screen.chars().all(is_harmless), "{command:?}: {screen:?}");
    }
    server.run(&["put", "raw", "\x1b[0mplain"]);
    let (_, screen) = at_terminal(server.command(&["get", "raw", "--raw"]), "");
    assert!(
        screen.contains("\x1b[0mplain"),
        "as it was asked: {screen:?}"
    );
    assert_eq!(server.run(&["get", "raw"]).out, "\x1b[0mplain");
}

#[test]
fn no_command_reaches_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start_with(&data, &["--set", "log.filter=trace"]);
    let address = server.url.trim_start_matches("http://");
    for request in [
        &b"GET /kv/\xc2\x9b31m HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"GET /kv/%1b%5b31m?\x9b=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/namespaces/%1b%5b31m HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /kv/a HTTP/1.1\r\nHost: \xc2\x9b31m\r\nX-Request-Id: \xc2\x9b31m\r\n\r\n",
        b"GET /kv/a HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\x1b[31m\r\n\r\n",
        b"\x1b[31m /kv/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.write_all(request).unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = std::io::read_to_string(connection);
    }
    server.run(&["-n", EVIL, "get", EVIL]);
    let body = serde_json::json!({"items": [{"op": EVIL, "key": EVIL}]}).to_string();
    server.run_with(&["batch"], body.as_bytes());
    let log = server.log();
    assert!(log.contains("/v1/namespaces/%1b%5b31m"), "{log}");
    let is_harmless = |c: char| !c.is_control() || c == '\n';
    let bad: Vec<_> = log
        .lines()
        .filter(|line| !line.chars().all(is_harmless))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn a_mistake_commands_no_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    for words in [
        &["\x1b[31mx"][..],
        &[EVIL],
        &["put", "k", "v", "--ttl", EVIL],
        &["get", "k", EVIL],
    ] {
        let (code, screen) = at_terminal(server.command(words), "");
        assert_eq!(code, 2, "{screen}");
        assert!(screen.contains("error: "), "{screen}");
        assert!(!screen.contains(['\x1b', '\x07', '\u{9b}']), "{screen:?}");
    }
}

#[test]
fn lines_that_come_before_the_prompt_asks_are_all_run() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    let typed: String = (0..30).map(|n| format!("put typed{n} {n}\r")).collect();
    let pasted: String = (0..30).map(|n| format!("put pasted{n} {n}\r")).collect();
    let input = format!("{typed}\x1b[200~{pasted}\x1b[201~\rexit\r");
    let mut command = server.command(&["repl"]);
    command.env("HOME", directory.path()).env("TERM", "xterm");
    let (code, screen) = at_terminal(command, &input);
    assert_eq!(code, 0, "{screen}");
    for prefix in ["typed", "pasted"] {
        let keys = server.run(&["scan", prefix, "--keys-only"]).out;
        assert_eq!(keys.lines().count(), 30, "{prefix}: {keys}\n{screen}");
    }
}
