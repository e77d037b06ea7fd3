//! Exit codes, in one table: scripts depend on them.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;

use support::Server;

#[test]
fn every_command_ends_as_the_table_says() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(&data);
    assert_eq!(server.run(&["put", "there", "v"]).code, 0);
    assert_eq!(server.run(&["namespace", "create", "pets"]).code, 0);
    let foreign = directory.path().join("home");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "").unwrap();
    let bad_file = directory.path().join("bad.toml");
    fs::write(&bad_file, "nonsense = 1").unwrap();
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (data, foreign, bad_file) = (path(&data), path(&foreign), path(&bad_file));
    let long = "k".repeat(66_000);

    let table: &[(i32, &[&str])] = &[
        // All of it was done.
        (0, &["get", "there"]),
        (0, &["delete", "never-was"]),
        (0, &["scan", "nothing/"]),
        (0, &["--help"]),
        (0, &["put", "--help"]),
        (0, &["--version"]),
        (0, &["config", "show"]),
        (0, &["verify", &data]),
        (0, &["put", "k", "v", "--ttl", "1h30m"]),
        (
            0,
            &["-q", "namespace", "set", "pets", "--default-ttl", "7d"],
        ),
        // The command or its input is wrong.
        (2, &[]),
        (2, &["frobnicate"]),
        (2, &["put"]),
        (2, &["put", "k"]),
        (2, &["put", "", "v"]),
        (2, &["put", &long, "v"]),
        (2, &["get", ""]),
        (2, &["put", "k", "v", "--colour", "red"]),
        (2, &["put", "k", "v", "--ttl", "soon"]),
        (2, &["put", "k", "v", "--ttl", "-5"]),
        (2, &["put", "k", "v", "--ttl", "0"]),
        (2, &["put", "k", "--file", "/no/such/file"]),
        (2, &["put", "k", "--file", "/"]),
        (2, &["scan", "--limit", "many"]),
        (2, &["scan", "--start", "b", "--end", "a"]),
        (2, &["batch", "/no/such/file"]),
        (2, &["import", "ndjson", "/no/such/file"]),
        (2, &["import", "ndjson", "--journal", "j"]),
        (2, &["import", "tree", "/no/such/directory"]),
        (2, &["import", "tree"]),
        (2, &["export", "ndjson", "--journal", "j"]),
        (2, &["namespace", "create", "Pets!"]),
        (2, &["namespace", "create", "x", "--bytes-max", "lots"]),
        (
            2,
            &["namespace", "set", "pets", "--requests-per-second", "0"],
        ),
        (2, &["namespace", "drop", "pets"]),
        (2, &["-n", "", "get", "there"]),
        (2, &["--url", "https://localhost", "get", "there"]),
        (2, &["--url", "localhost:port", "get", "there"]),
        (2, &["-o", "xml", "get", "there"]),
        (2, &["verify", "/no/such/directory"]),
        (2, &["repair", "/no/such/directory"]),
        (2, &["reset-clock", "/no/such/directory"]),
        (2, &["checkpoint", "/no/such/directory", "/tmp/nowhere"]),
        (2, &["config", "show", "--config", "/no/such/file"]),
        (2, &["config", "show", "--config", &bad_file]),
        (2, &["config", "show", "--set", "listen=0.0.0.0:1"]),
        (2, &["serve", "--set", "storage.memory_budget=1"]),
        (2, &["dev", "--data-dir", &foreign]),
        (2, &["serve", "--data-dir", &foreign]),
        (2, &["completions", "klingon"]),
        // It is not there.
        (3, &["get", "nothing"]),
        (3, &["-n", "nowhere", "get", "there"]),
        (3, &["namespace", "drop", "nowhere", "--yes"]),
        // It is there already, or protected.
        (4, &["namespace", "create", "pets"]),
        (4, &["namespace", "drop", "default", "--yes"]),
        (4, &["checkpoint", &data, &foreign]),
        // Nobody is there.
        (5, &["--url", "127.0.0.1:1", "get", "there"]),
        // Something else: the directory is in use, and by another server.
        (1, &["dev", "--listen", "127.0.0.1:0", "--data-dir", &data]),
        (1, &["repair", &data]),
    ];
    for (code, arguments) in table {
        let ran = server.run(arguments);
        let shown: Vec<_> = arguments
            .iter()
            .map(|word| word.get(..30).unwrap_or(word))
            .collect();
        assert_eq!(ran.code, *code, "{shown:?}: {ran:?}");
        let is_silent = ran.err.is_empty();
        assert_eq!(is_silent, *code == 0, "{shown:?}: {ran:?}");
    }
    // Some was done.
    let some = server.run_with(
        &["batch"],
        b"{\"op\":\"get\",\"key\":\"a\"}{\"op\":\"get\",\"key\":\"\"}",
    );
    assert_eq!(some.code, 6, "{some:?}");
    let page = include_str!("../../../docs/command-line.md");
    for code in [0, 1, 2, 3, 4, 5, 6, 141] {
        assert!(page.contains(&format!("\n| {code} | ")), "{code}");
    }
}

#[test]
fn a_server_takes_no_directory_of_other_things() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("home");
    fs::create_dir(&home).unwrap();
    for name in ["a.txt", "b.txt", "c.tmp", "d", "e", "f", "g"] {
        fs::write(home.join(name), "").unwrap();
    }
    for command in ["dev", "serve"] {
        let refused = support::run(
            support::ringwood(&[command, "--listen", "127.0.0.1:0", "--data-dir"]).arg(&home),
        );
        assert_eq!(refused.code, 2, "{refused:?}");
        for told in ["a.txt, b.txt, c.tmp, d, e and 2 more", "--data-dir"] {
            assert!(refused.err.contains(told), "{refused:?}");
        }
    }
    assert_eq!(fs::read_dir(&home).unwrap().count(), 7, "nothing was made");
    // An empty one is as good as none; and who puts something beside a store may go on.
    let empty = directory.path().join("empty");
    fs::create_dir_all(empty.join("lost+found")).unwrap();
    let mut server = Server::start(&empty);
    server.kill();
    fs::write(empty.join("note.txt"), "").unwrap();
    Server::start(&empty);
}

#[test]
fn a_server_without_a_configuration_says_what_it_does() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut server = support::ringwood(&["serve", "--listen", "127.0.0.1:0"])
        .current_dir(directory.path())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let told = support::wait_for(|| {
        let told = fs::read_to_string(&log).unwrap();
        told.contains("is ready").then_some(told)
    });
    server.kill().unwrap();
    server.wait().unwrap();
    let data = directory
        .path()
        .canonicalize()
        .unwrap()
        .join("ringwood-data");
    for part in [
        "no --config",
        data.to_str().unwrap(),
        "only this machine",
        "no authentication",
        "config show",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}
