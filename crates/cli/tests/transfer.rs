//! Import and export: what goes in comes out, over restarts of the server and of the transfer.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use support::{Ran, Server, run};

fn make_tree(root: &Path, files: usize) {
    for number in 0..files {
        let directory = root.join(format!("d{}/e{}", number % 7, number % 3));
        fs::create_dir_all(&directory).unwrap();
        let content: Vec<u8> = (0..number * 37 % 9000)
            .map(|at| u8::try_from((at * number) % 251).unwrap())
            .collect();
        fs::write(directory.join(format!("f {number}%.bin")), content).unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(b"not-utf8-\xff\xfe")), b"odd").unwrap();
}

fn read_tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut next = vec![root.to_owned()];
    while let Some(directory) = next.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => next.push(entry.path()),
                false => {
                    _ = all.insert(
                        entry.path().strip_prefix(root).unwrap().to_owned(),
                        fs::read(entry.path()).unwrap(),
                    )
                }
            }
        }
    }
    all
}

#[test]
fn a_tree_comes_back_as_it_went_in() {
    let directory = tempfile::tempdir().unwrap();
    let (tree, copy) = (directory.path().join("tree"), directory.path().join("copy"));
    make_tree(&tree, 200);
    let server = Server::start(&directory.path().join("data"));
    let imported = run(server
        .command(&["-o", "json", "import", "tree", "--prefix", "t/", "--verify"])
        .arg(&tree));
    assert_eq!(imported.code, 0, "{imported:?}");
    let summary = imported.json();
    assert_eq!(
        (summary["done"].as_u64(), summary["verified"].as_u64()),
        (Some(201), Some(201))
    );
    let exported = run(server
        .command(&["export", "tree", "--prefix", "t/"])
        .arg(&copy));
    assert_eq!(exported.code, 0, "{exported:?}");
    assert_eq!(exported.out, "", "talk goes to stderr");
    assert_eq!(read_tree(&copy), read_tree(&tree));
}

#[test]
fn what_cannot_be_stored_is_named_and_the_rest_is() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    make_tree(&tree, 3);
    fs::write(tree.join("too-long"), vec![0; (1 << 20) + 1]).unwrap();
    fs::write(tree.join("far-too-long"), vec![0; 17 << 20]).unwrap();
    std::os::unix::fs::symlink("/etc", tree.join("link")).unwrap();
    let server = Server::start(&directory.path().join("data"));
    let imported = run(server.command(&["-o", "json", "import", "tree"]).arg(&tree));
    assert_eq!(imported.code, 6, "{imported:?}");
    let summary = imported.json();
    assert_eq!(
        (summary["done"].as_u64(), summary["skipped"].as_u64()),
        (Some(4), Some(3))
    );
    let named = summary["skipped_names"].to_string();
    for (name, why) in [
        ("too-long", "VALUE_TOO_LARGE"),
        ("far-too-long", "no server takes"),
        ("link", "symbolic link"),
    ] {
        assert!(named.contains(name) && named.contains(why), "{named}");
    }
}

/// Keeps killing and restarting the server until the command has ended.
fn run_under_kills(server: &mut Server, arguments: &[&str], paths: &[&Path]) -> (Ran, usize) {
    let mut child = server
        .command(arguments)
        .args(paths)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut kills = 0;
    while child.try_wait().unwrap().is_none() {
        if kills < 3 {
            thread::sleep(Duration::from_millis(30 + 40 * kills as u64));
            server.kill();
            server.restart();
            kills += 1;
        }
        thread::sleep(Duration::from_millis(5));
    }
    (child.wait_with_output().unwrap().into(), kills)
}

#[test]
fn transfers_go_on_when_the_server_is_killed_under_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    make_tree(&path("tree"), 400);
    let mut server = Server::start(&path("data"));
    let (imported, kills) = run_under_kills(
        &mut server,
        &["-o", "json", "import", "tree", "--concurrency", "4"],
        &[&path("tree")],
    );
    assert_eq!(imported.code, 0, "{imported:?}");
    assert!(
        kills > 0 && imported.json()["done"] == 401,
        "{kills} kills: {imported:?}"
    );

    let (exported, _) = run_under_kills(
        &mut server,
        &["-o", "json", "export", "ndjson"],
        &[&path("all.ndjson")],
    );
    assert_eq!(exported.code, 0, "{exported:?}");
    let (exported, _) = run_under_kills(
        &mut server,
        &["-o", "json", "export", "tree"],
        &[&path("copy")],
    );
    assert_eq!(exported.code, 0, "{exported:?}");
    assert_eq!(read_tree(&path("copy")), read_tree(&path("tree")));

    drop(server);
    let mut other = Server::start(&path("other"));
    let (imported, _) = run_under_kills(
        &mut other,
        &["-o", "json", "import", "ndjson"],
        &[&path("all.ndjson")],
    );
    assert_eq!(imported.code, 0, "{imported:?}");
    let exported = run(other.command(&["export", "tree"]).arg(path("second")));
    assert_eq!(exported.code, 0, "{exported:?}");
    assert_eq!(read_tree(&path("second")), read_tree(&path("tree")));
}

#[test]
fn a_journal_lets_the_next_run_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    make_tree(&path("tree"), 60);
    let mut server = Server::start(&path("data"));
    let import = |server: &Server| {
        run(server
            .command(&[
                "-o",
                "json",
                "import",
                "tree",
                "--give-up-after",
                "200ms",
                "--journal",
            ])
            .args([path("journal"), path("tree")]))
    };
    let summary = import(&server).json();
    assert_eq!(
        (summary["done"].as_u64(), summary["done_before"].as_u64()),
        (Some(61), Some(0))
    );
    fs::write(path("tree/new"), "new").unwrap();
    fs::write(path("tree/d0/e0/f 0%.bin"), "changed").unwrap();
    let summary = import(&server).json();
    assert_eq!(
        (summary["done"].as_u64(), summary["done_before"].as_u64()),
        (Some(2), Some(60))
    );
    assert_eq!(server.run(&["get", "d0/e0/f 0%.bin"]).out, "changed");

    server.kill();
    fs::write(path("tree/newer"), "newer").unwrap();
    let gave_up = import(&server);
    assert_eq!(gave_up.code, 5, "{gave_up:?}");
    server.restart();
    let summary = import(&server).json();
    assert_eq!(
        (summary["done"].as_u64(), summary["done_before"].as_u64()),
        (Some(1), Some(62))
    );
    let other = run(server
        .command(&["import", "tree", "--prefix", "x/", "--journal"])
        .args([path("journal"), path("tree")]));
    assert_eq!(other.code, 1, "{other:?}");
    assert!(other.err.contains("another import"), "{other:?}");
}

#[test]
fn lines_keep_their_deadlines_and_types() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    assert_eq!(
        server
            .run(&[
                "put",
                "a",
                "1",
                "--ttl",
                "5000",
                "--content-type",
                "text/plain"
            ])
            .code,
        0
    );
    assert_eq!(server.run(&["put", "b", "2"]).code, 0);
    let lines = server.run(&["export", "ndjson"]);
    assert_eq!((lines.code, lines.out.lines().count()), (0, 2), "{lines:?}");
    assert!(
        lines.err.contains("2 items"),
        "talk goes to stderr: {lines:?}"
    );
    let input = format!(
        "{}{{\"key\":\"old\",\"value\":\"eA==\",\"expires_at\":5}}\n\n",
        lines.out
    );
    assert_eq!(server.run(&["namespace", "create", "n"]).code, 0);
    let imported = server.run_with(&["-n", "n", "import", "ndjson", "-"], input.as_bytes());
    assert_eq!(imported.code, 6, "{imported:?}");
    assert!(imported.err.contains("old: has expired"), "{imported:?}");
    let value = |namespace: &str, key: &str| {
        server
            .run(&["-o", "json", "-n", namespace, "get", key])
            .json()
    };
    assert_eq!(value("n", "a")["content_type"], "text/plain");
    let deadline = |namespace| value(namespace, "a")["expires_at"].as_u64().unwrap();
    assert!(deadline("n").abs_diff(deadline("default")) <= 2000);
    assert!(value("n", "b")["expires_at"].is_null());
    let broken = server.run_with(
        &["import", "ndjson"],
        b"{\"key\":\"z\",\"value\":\"eA==\"}\nnonsense\n",
    );
    assert_eq!(broken.code, 6);
    assert!(
        broken.err.contains("line 2: is no item") && broken.err.contains("1 item,"),
        "{broken:?}"
    );
}

#[test]
fn all_lines_before_a_bad_one_are_stored_and_a_mended_file_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    let path = |name: &str| directory.path().join(name);
    let line = |at: usize| format!("{{\"key\":\"k{at}\",\"value\":\"eA==\"}}\n");
    let before: String = (0..10).map(line).collect();
    let import = |text: String| {
        fs::write(path("lines"), text).unwrap();
        run(server
            .command(&["-o", "json", "import", "ndjson", "--journal"])
            .args([path("journal"), path("lines")]))
    };
    let broken = import(format!("{before}nonsense\n{}", line(11)));
    assert_eq!((broken.code, &broken.json()["done"]), (6, &10.into()));
    assert_eq!(server.run(&["get", "k9"]).out, "x");
    assert_eq!(server.run(&["get", "k11"]).code, 3);
    let mended = import(format!("{before}{}{}", line(10), line(11)));
    let summary = mended.json();
    assert_eq!((mended.code, &summary["done"]), (0, &2.into()));
    assert_eq!(summary["done_before"], 10);
    assert_eq!(server.run(&["get", "k11"]).out, "x");
}

#[test]
fn files_have_the_types_that_their_names_say() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let types = [
        ("page.html", "text/html"),
        ("photo.JPG", "image/jpeg"),
        ("data.json", "application/json"),
        ("archive.tar.gz", "application/gzip"),
        ("README", "application/octet-stream"),
        ("odd.nothing-known", "application/octet-stream"),
    ];
    for (name, _) in types {
        fs::write(tree.join(name), "content").unwrap();
    }
    let data = directory.path().join("data");
    let server = Server::start(&data);
    assert_eq!(run(server.command(&["import", "tree"]).arg(&tree)).code, 0);
    let lines = server.run(&["export", "ndjson"]).out;
    let other = Server::start(&directory.path().join("other"));
    assert_eq!(
        other.run_with(&["import", "ndjson"], lines.as_bytes()).code,
        0
    );
    for server in [server, other] {
        for (name, kind) in types {
            let got = server.run(&["-o", "json", "get", name]).json();
            assert_eq!(got["content_type"], kind, "{name}");
        }
    }
}
