//! Commands against a real server: results, exit codes, and what goes where.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use support::{Server, ringwood, run};

#[test]
fn values_go_in_and_out_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let put = server.run(&["put", "greeting", "hello"]);
    assert_eq!((put.code, put.out.as_str(), put.err.as_str()), (0, "", ""));
    let get = server.run(&["get", "greeting"]);
    assert_eq!(
        (get.code, get.out.as_str(), get.err.as_str()),
        (0, "hello", "")
    );

    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    assert_eq!(server.run_with(&["put", "a/../b %+ü"], &bytes).code, 0);
    let file = directory.path().join("copy");
    assert_eq!(
        server
            .run(&["get", "a/../b %+ü", "--file", file.to_str().unwrap()])
            .code,
        0
    );
    assert_eq!(fs::read(&file).unwrap(), bytes);

    assert_eq!(server.run(&["put", "empty", ""]).code, 0);
    let empty = server.run(&["-o", "json", "get", "empty"]);
    assert_eq!(
        (empty.json()["value"].as_str(), empty.json()["key"].as_str()),
        (Some(""), Some("empty"))
    );
    assert_eq!(server.run(&["delete", "greeting", "never-was"]).code, 0);
    assert_eq!(server.run(&["get", "greeting"]).code, 3);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn exit_codes_and_errors_say_what_happened() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let missing = server.run(&["get", "nothing"]);
    assert_eq!((missing.code, missing.out.as_str()), (3, ""));
    assert!(missing.err.contains("KEY_NOT_FOUND"), "{missing:?}");
    let missing = server.run(&["-o", "json", "get", "nothing"]);
    let told: serde_json::Value = serde_json::from_str(&missing.err).unwrap();
    assert_eq!(
        (missing.code, told["code"].as_str()),
        (3, Some("KEY_NOT_FOUND"))
    );

    let nowhere = server.run(&["-n", "nowhere", "put", "a", "b"]);
    assert_eq!(nowhere.code, 3);
    assert!(
        nowhere.err.contains("ringwood namespace list"),
        "{nowhere:?}"
    );
    assert_eq!(server.run(&["namespace", "create", "pets"]).code, 0);
    assert_eq!(server.run(&["namespace", "create", "pets"]).code, 4);
    let drop = server.run(&["namespace", "drop", "default", "--yes"]);
    assert_eq!(drop.code, 4, "{drop:?}");
    assert_eq!(server.run(&["-n", "pets", "put", "a", "b"]).code, 0);
    assert_eq!(server.run(&["get", "a"]).code, 3, "another namespace");
    assert!(server.run(&["namespace", "list"]).out.contains("pets"));

    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let away = run(&mut ringwood(&[
        "--url",
        &format!("http://127.0.0.1:{port}"),
        "get",
        "a",
    ]));
    assert_eq!(away.code, 5);
    assert!(
        away.err
            .contains("help: start a server with `ringwood dev`"),
        "{away:?}"
    );
}

#[test]
fn scans_list_in_order_and_end_where_they_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let items: String = (0..2500)
        .map(|number| format!("{{\"op\":\"put\",\"key\":\"s/{number:05}\",\"value\":\"v{number}\",\"encoding\":\"utf8\"}}\n"))
        .collect();
    let batch = server.run_with(&["batch"], items.as_bytes());
    assert_eq!(batch.code, 0, "{batch:?}");
    assert_eq!(batch.out.lines().count(), 2500);
    assert!(
        batch.err.contains("2500 succeeded, 0 failed"),
        "{}",
        batch.err
    );

    let all = server.run(&["-o", "json", "scan", "s/", "--keys-only"]);
    let keys: Vec<_> = all.out.lines().map(str::to_owned).collect();
    let expected: Vec<_> = (0..2500)
        .map(|number| format!("{{\"key\":\"s/{number:05}\"}}"))
        .collect();
    assert_eq!(keys, expected);
    let some = server.run(&["scan", "--start", "s/00010", "--end", "s/00013"]);
    assert_eq!(some.out, "s/00010\tv10\ns/00011\tv11\ns/00012\tv12\n");
    let last = server.run(&["scan", "s/", "--reverse", "--limit", "2", "--keys-only"]);
    assert_eq!(last.out, "s/02499\ns/02498\n");
    assert_eq!(server.run(&["scan", "nothing/"]).out, "");
}

#[test]
fn a_batch_that_is_done_in_part_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let items = r#"{"items":[{"op":"put","key":"a","value":"YQ=="},{"op":"put","key":"b","value":"!"},{"op":"get","key":"a"}]}"#;
    let batch = server.run_with(&["-o", "json", "batch", "-"], items.as_bytes());
    assert_eq!(batch.code, 6, "{batch:?}");
    let results: Vec<serde_json::Value> = batch
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(results.len(), 3);
    assert_eq!(results[1]["code"], "BASE64_INVALID");
    assert_eq!(
        (&results[2]["value"], &results[2]["encoding"]),
        (&"a".into(), &"utf8".into()),
        "as a range has it"
    );

    // What stands before a mistake is done, and said to be.
    let items = b"{\"op\":\"put\",\"key\":\"c\",\"value\":\"YQ==\"}\n{\"op\":";
    let cut = server.run_with(&["batch"], items);
    assert_eq!(cut.code, 6, "{cut:?}");
    assert!(cut.err.contains("1 succeeded, 0 failed"), "{cut:?}");
    assert!(cut.err.contains("nothing from there on"), "{cut:?}");
    assert_eq!(server.run(&["get", "c"]).out, "a");
}

#[test]
fn status_and_bench_report_for_programs() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let bench = server.run(&[
        "-o",
        "json",
        "bench",
        "e",
        "--records",
        "200",
        "--operations",
        "300",
        "--connections",
        "3",
        "--buffered",
        "--keep",
    ]);
    assert_eq!(bench.code, 0, "{bench:?}");
    let report = bench.json();
    let counts: u64 = report["run"]["operations"]
        .as_object()
        .unwrap()
        .values()
        .map(|one| one["count"].as_u64().unwrap())
        .sum();
    assert_eq!((counts, report["run"]["errors"].as_u64()), (300, Some(0)));
    assert_eq!(report["load"]["operations"]["insert"]["count"], 200);
    let open = server.run(&[
        "-o",
        "json",
        "bench",
        "c",
        "--records",
        "200",
        "--skip-load",
        "--rate",
        "500",
        "--duration",
        "400ms",
    ]);
    let rate = open.json()["run"]["operations"]["read"]["count"]
        .as_u64()
        .unwrap();
    assert!(
        (150..=201).contains(&rate),
        "an open loop keeps its rate: {rate}"
    );

    let status = server.run(&["-o", "json", "status"]).json();
    assert_eq!(status["ready"], true);
    assert!(
        status["metrics"]["ringwood_keys_put_total"]
            .as_f64()
            .unwrap()
            >= 200.0,
        "{status}"
    );
    assert_eq!(status["state"], "ready");
    assert!(status["state_since"].as_u64() >= status["started_at"].as_u64());
    let page = server.run(&["status"]);
    assert!(page.out.starts_with("ready since "), "{page:?}");
    assert!(
        page.out.lines().all(|line| line.chars().count() <= 80),
        "{page:?}"
    );
    assert!(
        !page.out.contains('\x1b') && !page.out.contains("keys_put_total"),
        "{page:?}"
    );
    let all = server.run(&["status", "--all"]);
    assert!(all.out.contains("ringwood_keys_put_total"), "{all:?}");
}

#[test]
fn a_bench_removes_what_it_made_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let keys = || server.run(&["scan", "--keys-only"]).out.lines().count();
    let quick = [
        "bench",
        "d",
        "--records",
        "1500",
        "--operations",
        "400",
        "--buffered",
    ];
    let bench = server.run(&quick);
    assert_eq!((bench.code, keys()), (0, 0), "{bench:?}");
    assert!(bench.err.contains("loaded 1,500 records"), "{bench:?}");
    assert!(bench.err.contains("removed 1,5"), "{bench:?}");
    assert!(bench.out.starts_with("workload d"), "{bench:?}");
    for line in bench.out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }

    // Under the prefix of somebody else's keys it does not begin.
    assert_eq!(server.run(&["put", "bench/notes", "mine"]).code, 0);
    let refused = server.run(&quick);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.err.contains("--prefix"), "{refused:?}");
    let kept = server.run(&[&quick[..], &["--keep"]].concat());
    assert_eq!(kept.code, 0, "{kept:?}");
    let there = keys();
    // Without a load, only what was inserted goes.
    let again = server.run(&[&quick[..], &["--skip-load"]].concat());
    assert!(
        again.code == 0 && keys() >= 1501 && keys() <= there,
        "{again:?}"
    );
    let clean = server.run(&["bench", "--clean"]);
    assert_eq!((clean.code, keys()), (0, 1), "{clean:?}");
    assert_eq!(server.run(&["get", "bench/notes"]).out, "mine");
}

#[test]
fn an_interrupted_bench_tidies_up() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    for (arguments, wait) in [
        (
            vec!["bench", "a", "--records", "300", "--duration", "60s"],
            true,
        ),
        (
            vec!["bench", "a", "--records", "50000000", "--buffered"],
            false,
        ),
    ] {
        let bench = server
            .command(&arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Some are there, and where it measures, all.
        let wanted = if wait { 300 } else { 50 };
        while server.run(&["scan", "--keys-only"]).out.lines().count() < wanted {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let pid = bench.id().to_string();
        let killed = std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status();
        assert!(killed.unwrap().success());
        let ended: support::Ran = bench.wait_with_output().unwrap().into();
        assert_eq!(ended.code, 6, "{ended:?}");
        assert!(ended.err.contains("interrupted"), "{ended:?}");
        assert_eq!(server.run(&["scan", "--keys-only"]).out, "", "{ended:?}");
    }
}

#[test]
fn a_prompt_without_a_terminal_runs_every_line() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let lines = b"# comments and empty lines are nothing

put 'a key' \"a value\"
get a\\ key
get missing
frobnicate
put unfinished 'quote
put no-value
batch
namespace create pets
use pets
use nowhere
put a 1 --ttl 60
scan --keys-only
-n default scan --keys-only
help put
exit
put never reached
";
    let ran = server.run_with(&["repl"], lines);
    assert_eq!(ran.code, 3, "the first failure's: {ran:?}");
    assert!(ran.out.starts_with("a value"), "{ran:?}");
    let listed: Vec<_> = ran
        .out
        .lines()
        .filter(|line| line.starts_with('a'))
        .collect();
    assert_eq!(
        listed,
        ["a valuea", "a key"],
        "no prompt, no history: {ran:?}"
    );
    for told in [
        "KEY_NOT_FOUND",
        "unrecognized subcommand 'frobnicate'",
        "' is not closed",
        "put would read the commands that follow",
        "batch would read the commands that follow",
        "there is no namespace \"nowhere\", but default, pets",
    ] {
        assert!(ran.err.contains(told), "{told} is missing in {ran:?}");
    }
    assert!(ran.out.contains("Set a key"), "{ran:?}");
    assert!(
        !ran.out.contains("ringwood>") && !ran.err.contains("Tab"),
        "{ran:?}"
    );
    assert_eq!(server.run(&["get", "never"]).code, 3);
    assert_eq!(server.run_with(&["repl"], b"put b c\nget b").out, "c");

    let json = server.run_with(&["-o", "json", "repl"], b"get 'a key'\n");
    assert_eq!(json.json()["value"], "a value");
    let away =
        run(ringwood(&["--url", "http://127.0.0.1:1", "repl"]).env("HOME", directory.path()));
    assert_eq!((away.code, away.out.as_str()), (0, ""));
}

#[test]
fn two_servers_do_not_share_a_directory_or_an_address() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let second =
        run(ringwood(&["dev", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory.path()));
    assert_eq!(second.code, 1);
    assert!(second.err.contains("data directory"), "{second:?}");
    let other = tempfile::tempdir().unwrap();
    let address = server.url.trim_start_matches("http://");
    let second = run(ringwood(&["dev", "--listen", address, "--data-dir"]).arg(other.path()));
    assert_eq!(second.code, 1);
    assert!(second.err.contains("--listen"), "{second:?}");
    let open = run(ringwood(&["dev", "--listen", "0.0.0.0:0", "--data-dir"]).arg(other.path()));
    assert_eq!(open.code, 2);
    assert!(open.err.contains("loopback"), "{open:?}");
}

#[test]
fn a_checkpoint_is_a_store_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let (data, copy) = (directory.path().join("data"), directory.path().join("copy"));
    let mut server = Server::start(&data);
    assert_eq!(server.run(&["put", "k", "v"]).code, 0);
    let online = directory.path().join("online");
    let made = run(server.command(&["checkpoint"]).args([&data, &online]));
    assert_eq!(made.code, 0, "{made:?}");
    let again = run(server.command(&["checkpoint"]).args([&data, &online]));
    assert_eq!(again.code, 4, "{again:?}");
    assert!(again.err.contains("TARGET_EXISTS"), "{again:?}");
    server.kill();
    let made = run(ringwood(&["checkpoint"]).args([&data, &copy]));
    assert_eq!(made.code, 0, "{made:?}");
    drop(server);
    for copy in [copy, online] {
        let again = Server::start(&copy);
        assert_eq!(again.run(&["get", "k"]).out, "v", "{copy:?}");
    }
}

#[test]
fn a_directory_in_use_is_verified_by_its_own_server() {
    let directory = tempfile::tempdir().unwrap();
    let (data, other) = (
        directory.path().join("data"),
        directory.path().join("other"),
    );
    let server = Server::start(&data);
    assert_eq!(server.run(&["put", "k", "v"]).code, 0);
    let verified = run(server.command(&["-o", "json", "verify"]).arg(&data));
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_eq!(verified.json()["status"], "clean");

    let wrong = Server::start(&other);
    for command in [&["verify"][..], &["checkpoint"]] {
        let mut asked = wrong.command(command);
        asked.arg(&data);
        if command == ["checkpoint"] {
            asked.arg(directory.path().join("copy"));
        }
        let refused = run(&mut asked);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(
            refused.err.contains("name the right one with --url"),
            "{refused:?}"
        );
    }
    drop(wrong);
    let nobody = run(ringwood(&["--url", "http://127.0.0.1:1", "verify"]).arg(&data));
    assert_eq!(nobody.code, 5, "{nobody:?}");
    assert!(
        nobody.err.contains("in use by another process"),
        "{nobody:?}"
    );
    let repair = run(server.command(&["repair"]).arg(&data));
    assert_eq!(repair.code, 1, "{repair:?}");
    assert!(repair.err.contains("in use"), "{repair:?}");
}

#[test]
fn a_namespace_is_held_to_what_it_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let create = [
        "namespace",
        "create",
        "shop",
        "--requests-per-second",
        "3",
        "--bytes-max",
        "1MiB",
    ];
    assert_eq!(server.run(&create).code, 0);
    let refused = (0..20)
        .map(|_| server.run(&["-n", "shop", "put", "k", "v"]))
        .find(|put| put.code != 0);
    // Twenty programs may take longer to start than their requests are too many.
    if let Some(refused) = refused {
        assert_eq!(refused.code, 5, "{refused:?}");
        assert!(refused.err.contains("RATE_LIMITED"), "{refused:?}");
    }
    let listed = server.run(&["namespace", "list"]);
    assert!(
        listed.out.contains("3 requests/s, at most 1.0 MiB"),
        "{listed:?}"
    );
    let set = [
        "namespace",
        "set",
        "shop",
        "--requests-per-second",
        "none",
        "--durability",
        "buffered",
    ];
    assert_eq!(server.run(&set).code, 0);
    let listed = server.run(&["-o", "json", "namespace", "list"]).json();
    let policy = &listed["namespaces"][1]["policy"];
    assert_eq!(policy["requests_per_second"], serde_json::Value::Null);
    assert_eq!(
        (&policy["bytes_max"], &policy["durability"]),
        (&(1 << 20).into(), &"buffered".into())
    );
    for _ in 0..10 {
        assert_eq!(server.run(&["-n", "shop", "put", "k", "v"]).code, 0);
    }
    assert_eq!(
        server
            .run(&["namespace", "set", "shop", "--bytes-max", "lots"])
            .code,
        2
    );
    assert_eq!(
        server
            .run(&["namespace", "set", "none", "--bytes-max", "1MiB"])
            .code,
        3
    );
    let refused = server.run(&["namespace", "set", "shop", "--requests-per-second", "0"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("requests_per_second"), "{refused:?}");
}

#[test]
fn damage_is_found_named_and_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(&data);
    let items: String = (0..200)
        .map(|number| {
            format!(
                "{{\"op\":\"put\",\"key\":\"k{number}\",\"value\":\"v\",\"encoding\":\"utf8\"}}\n"
            )
        })
        .collect();
    assert_eq!(server.run_with(&["batch"], items.as_bytes()).code, 0);
    server.kill();
    drop(server);
    let verify = || run(ringwood(&["-o", "json", "verify"]).arg(&data));
    let clean = verify();
    assert_eq!(
        (clean.code, clean.json()["status"].as_str()),
        (0, Some("clean")),
        "{clean:?}"
    );

    // A byte of CURRENT, which stands twice, and then of its copy too.
    let current = data.join("CURRENT");
    let mut bytes = fs::read(&current).unwrap();
    bytes[3] ^= 1;
    fs::write(&current, &bytes).unwrap();
    let healed = verify();
    assert_eq!(healed.code, 0, "{healed:?}");
    let half = bytes.len() / 2;
    bytes[half + 3] ^= 1;
    fs::write(&current, &bytes).unwrap();
    let damaged = verify();
    assert_eq!(
        (damaged.code, damaged.json()["status"].as_str()),
        (1, Some("damaged")),
        "{damaged:?}"
    );
    let named = damaged.json()["problems"][0]["file"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(named.ends_with("CURRENT"), "{named}");
    let refused = run(ringwood(&["dev", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data));
    assert_eq!(refused.code, 1, "{refused:?}");

    let repaired = run(ringwood(&["-o", "json", "repair"]).arg(&data));
    assert_eq!(
        (repaired.code, repaired.json()["status"].as_str()),
        (0, Some("repaired")),
        "{repaired:?}"
    );
    assert_eq!(verify().code, 0);
    let server = Server::start(&data);
    assert_eq!(
        server
            .run(&["scan", "k", "--keys-only"])
            .out
            .lines()
            .count(),
        200
    );
    let nothing = run(ringwood(&["verify"]).arg(directory.path().join("gone")));
    assert_eq!(nothing.code, 2, "{nothing:?}");
}

#[test]
fn bad_input_is_told_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    assert_eq!(server.run(&["put", "k", "before"]).code, 0);
    let (long, escaped) = ("k".repeat(66_000), "ü".repeat(20_000));
    let large = directory.path().join("large");
    fs::write(&large, vec![7; (1 << 20) + 1]).unwrap();
    let large = large.to_str().unwrap();
    for (command, code, told) in [
        (&["put", "", "v"][..], 2, "KEY_EMPTY"),
        (&["put", &long, "v"], 2, "KEY_TOO_LARGE"),
        (&["put", &escaped, "v"], 2, "KEY_TOO_LARGE"),
        (&["get", &long], 2, "KEY_TOO_LARGE"),
        (&["delete", ""], 2, "KEY_EMPTY"),
        (&["put", "k", "v", "--ttl", "0"], 2, "a second at least"),
        (&["put", "k", "v", "--ttl", "-1"], 2, "1h30m"),
        (&["put", "k", "v", "--ttl", "40000d"], 2, "TTL_INVALID"),
        (&["put", "k", "v", "--ttl", "soon"], 2, "1h30m"),
        (&["put", "k", "--file", large], 2, "VALUE_TOO_LARGE"),
        (&["put", "k", "--file", "/no/such/file"], 2, "/no/such/file"),
        (&["scan", "--start", "b", "--end", "a"], 2, "RANGE_INVERTED"),
        (&["put", "k", "v", "--colour", "red"], 2, "--colour"),
        (&["namespace", "create", "Pets!"], 2, "NAMESPACE_INVALID"),
        (&["-n", "none", "scan"], 3, "NAMESPACE_NOT_FOUND"),
    ] {
        let ran = server.run(command);
        let shown: Vec<_> = command
            .iter()
            .map(|word| word.get(..20).unwrap_or(word))
            .collect();
        assert_eq!(ran.code, code, "{shown:?}: {ran:?}");
        assert!(ran.err.contains(told), "{shown:?}: {ran:?}");
        assert_eq!(ran.out, "", "{shown:?}");
    }
    assert_eq!(server.run(&["get", "k"]).out, "before");
    assert_eq!(server.run(&["scan", "--keys-only"]).out, "k\n");
}

#[test]
fn a_directory_that_cannot_be_written_is_verified() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(&data);
    assert_eq!(server.run(&["put", "k", "v"]).code, 0);
    // Mounts in a name space of its own, which a system may not allow.
    let line = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && \
                ! touch \"$1/x\" 2>&- && exec \"$2\" -o json verify \"$1\"";
    let verify = || {
        let mut shell = Command::new("unshare");
        shell.args(["-m", "sh", "-c", line, "sh"]);
        run(shell
            .arg(&data)
            .arg(env!("CARGO_BIN_EXE_ringwood"))
            .env("RINGWOOD_URL", &server.url))
    };
    let used = verify();
    if used.out.is_empty() {
        return;
    }
    assert_eq!(
        (used.code, used.json()["status"].as_str()),
        (0, Some("clean")),
        "its server is asked: {used:?}"
    );
    server.kill();
    for lock in ["there", "gone"] {
        let mut shell = Command::new("unshare");
        shell.args(["-m", "sh", "-c", line, "sh"]);
        let clean = run(shell.arg(&data).arg(env!("CARGO_BIN_EXE_ringwood")));
        assert_eq!(
            (clean.code, clean.json()["status"].as_str()),
            (0, Some("clean")),
            "the lock is {lock}: {clean:?}"
        );
        fs::remove_file(data.join("LOCK")).unwrap_or_default();
    }
}

#[test]
fn servers_are_named_as_people_name_them() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let address = server.url.trim_start_matches("http://").to_owned();
    let port = address.rsplit(':').next().unwrap();
    assert_eq!(server.run(&["put", "k", "v"]).code, 0);
    for url in [
        &address,
        &format!("localhost:{port}"),
        &format!("http://{address}/"),
    ] {
        let get = run(&mut ringwood(&["--url", url, "get", "k"]));
        assert_eq!((get.code, get.out.as_str()), (0, "v"), "{url}: {get:?}");
    }
    let path = run(&mut ringwood(&["--url", "localhost:7400/kv", "get", "k"]));
    assert!(path.err.contains("has a path"), "{path:?}");
}

#[test]
fn help_has_headings_and_examples() {
    let help = run(&mut ringwood(&["--help"]));
    for heading in [
        "Run a server:",
        "Keys:",
        "Upkeep",
        "Options of all commands:",
        "Examples:",
    ] {
        assert!(help.out.contains(heading), "{heading}: {}", help.out);
    }
    let at = |what: &str| help.out.find(what).unwrap();
    assert!(at("  dev ") < at("  put ") && at("  put ") < at("  verify "));
    assert!(!help.out.contains("More:"), "a command without a group");
    let help = run(&mut ringwood(&["put", "--help"]));
    let at = |what: &str| help.out.find(what).unwrap();
    assert!(at("--ttl") < at("Options of all commands:"));
    assert!(at("Options of all commands:") < at("--url"));
    assert!(at("Examples:") > 0);
    for line in run(&mut ringwood(&["-h"])).out.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn a_line_that_is_no_text_is_told_and_those_behind_it_are_run() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let ran = server.run_with(&["repl"], b"put a 1\nput b \xff\xfe\nget none\nput c 3");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.err
            .contains("error: line 2 is not UTF-8 from byte 7 on"),
        "{ran:?}"
    );
    let keys = server.run(&["scan", "--keys-only"]).out;
    assert_eq!(keys.lines().collect::<Vec<_>>(), ["a", "c"]);
}
