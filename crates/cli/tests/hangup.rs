//! The terminal that closes, and other ways of telling a command to end.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod support;

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use support::{Server, Terminal, wait_for};

fn send(signal: &str, child: &Child) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
    assert!(sent.success());
}

fn ended(child: &mut Child) -> ExitStatus {
    wait_for(|| child.try_wait().unwrap())
}

fn has_records(server: &Server) -> bool {
    !server
        .run(&["scan", "bench/", "--limit", "1"])
        .out
        .is_empty()
}

const BENCH: [&str; 5] = [
    "bench",
    "a",
    "--records=2000",
    "--duration=5m",
    "--buffered",
];

#[test]
fn bench_tidies_up_when_its_terminal_closes() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    for signal in ["-HUP", "-TERM", "-INT"] {
        let terminal = Terminal::open();
        let mut child = terminal.spawn(server.command(&BENCH));
        wait_for(|| has_records(&server).then_some(()));
        // A signal before the process listens would end it.
        std::thread::sleep(Duration::from_millis(100));
        if signal == "-HUP" {
            drop(terminal);
        }
        send(signal, &child);
        assert_eq!(ended(&mut child).code(), Some(6), "{signal}");
        assert!(!has_records(&server), "{signal}");
    }
}

#[test]
fn hangups_that_are_ignored_stay_so() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let ringwood = server.command(&BENCH);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    command
        .arg(ringwood.get_program())
        .args(ringwood.get_args());
    command
        .env("RINGWOOD_URL", &server.url)
        .stderr(Stdio::null())
        .stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for(|| has_records(&server).then_some(()));
    send("-HUP", &child);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "it goes on");
    send("-TERM", &child);
    assert_eq!(ended(&mut child).code(), Some(6));
}

#[test]
fn a_watch_that_is_told_to_end_gives_the_screen_back() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    for signal in ["-HUP", "-TERM", "-INT"] {
        let terminal = Terminal::open();
        let mut command = server.command(&["status", "--watch", "--every", "100ms"]);
        command.env("TERM", "xterm");
        let mut child = terminal.spawn(command);
        let mut screen = File::from(terminal);
        let mut shown = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&shown).contains("namespace default") {
            let read = screen.read(&mut buffer).unwrap();
            shown.extend_from_slice(&buffer[..read]);
        }
        send(signal, &child);
        // Ends with an error once nobody has the terminal open.
        let _ = screen.read_to_end(&mut shown);
        assert_eq!(ended(&mut child).code(), Some(0), "{signal}");
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert!(shown.contains("\x1b[?1049l"), "{signal}: {shown:?}");
    }
    let terminal = Terminal::open();
    let mut child = terminal.spawn(server.command(&["status", "--watch", "--every", "100ms"]));
    std::thread::sleep(Duration::from_millis(500));
    drop(terminal);
    send("-HUP", &child);
    assert_eq!(ended(&mut child).code(), Some(0), "the terminal is gone");
}
