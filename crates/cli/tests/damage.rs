//! Data directories that are damaged, foreign, half there or not ours to use: what is said about them,
//! and what is still to be had.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Ran, Server, ringwood, run};

const KEYS: usize = 300;

/// Starts a server that is expected not to come up.
fn refused(data: &Path) -> Ran {
    refused_with(1, data)
}

fn refused_with(code: i32, data: &Path) -> Ran {
    let ran = run(ringwood(&["dev", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data));
    assert_eq!(ran.code, code, "{ran:?}");
    ran
}

fn verify(data: &Path) -> Ran {
    run(ringwood(&["-o", "json", "verify"]).arg(data))
}

fn value(number: usize) -> String {
    format!("value {number} ").repeat(20)
}

fn fill(server: &Server) {
    let put = |number| {
        let value = value(number);
        format!(
            "{{\"op\":\"put\",\"key\":\"k{number}\",\"value\":\"{value}\",\"encoding\":\"utf8\"}}\n"
        )
    };
    let items: String = (0..KEYS).map(put).collect();
    assert_eq!(server.run_with(&["batch"], items.as_bytes()).code, 0);
}

/// A store whose keys all stand in its log.
fn logged(directory: &Path) -> PathBuf {
    let data = directory.join("data");
    let mut server = Server::start(&data);
    fill(&server);
    server.kill();
    data
}

/// A store whose keys all stand in one table.
fn flushed(directory: &Path) -> (PathBuf, PathBuf) {
    let copy = directory.join("copy");
    let data = logged(directory);
    assert_eq!(run(ringwood(&["checkpoint"]).args([&data, &copy])).code, 0);
    let table = largest(&copy, "sst");
    (copy, table)
}

fn largest(directory: &Path, extension: &str) -> PathBuf {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap()
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Damages more of a record of the log than can be put right.
fn spoil(path: &Path, offset: usize) {
    flip(path, offset);
    flip(path, offset + 1);
}

/// The log that holds the keys, and where one of them begins in it.
fn place_in_log(data: &Path, number: usize) -> (PathBuf, usize) {
    let wanted = value(number);
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let place = bytes
            .windows(wanted.len())
            .position(|part| part == wanted.as_bytes());
        if let Some(place) = place {
            return (path, place);
        }
    }
    panic!("no file holds key {number}");
}

#[test]
fn a_directory_that_is_no_store_of_this_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = logged(directory.path());
    // As this version writes it, but for the number.
    let claim = "ringwood format 99 manifest 000001";
    let line = format!("{claim} crc32c {:08x}\n", crc32c(claim.as_bytes()));
    let before = fs::read(data.join("CURRENT")).unwrap();
    fs::write(data.join("CURRENT"), line.repeat(2)).unwrap();
    for told in [
        refused(&data),
        run(ringwood(&["verify"]).arg(&data)),
        run(ringwood(&["repair"]).arg(&data)),
    ] {
        assert_eq!(told.code, 1, "{told:?}");
        assert!(
            told.err.contains("has format 99, this build reads"),
            "{told:?}"
        );
    }
    fs::write(data.join("CURRENT"), before).unwrap();
    let server = Server::start(&data);
    assert_eq!(
        server.run(&["get", "k7"]).out,
        value(7),
        "nothing was changed"
    );
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    })
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    for data in [file.clone(), file.join("below")] {
        let told = refused_with(2, &data);
        assert!(told.err.contains(data.to_str().unwrap()), "{told:?}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"not a directory");
    // The administrator may write everywhere.
    let locked = directory.path().join("locked");
    fs::create_dir(&locked).unwrap();
    let mut permissions = fs::metadata(&locked).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&locked, permissions).unwrap();
    if fs::write(locked.join("probe"), "").is_err() {
        let told = refused(&locked.join("data"));
        assert!(told.err.contains("denied"), "{told:?}");
        let told = refused(&locked);
        assert!(told.err.contains("denied"), "{told:?}");
    }
}

#[test]
fn a_torn_log_tail_is_recovered_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(&data);
    fill(&server);
    assert_eq!(server.run(&["put", "last", &value(KEYS)]).code, 0);
    server.kill();
    // A crash leaves the first part of a record: here of the last one, whose answer was then not sent.
    let (log, place) = place_in_log(&data, KEYS);
    let mut bytes = fs::read(&log).unwrap();
    bytes[place + 40..].fill(0);
    fs::write(&log, bytes).unwrap();
    let told = verify(&data);
    assert_eq!(told.code, 0, "a torn tail is no damage: {told:?}");
    assert_eq!(told.json()["torn_tail"]["file"], log.to_str().unwrap());
    server.restart();
    assert!(
        server.log().contains("a crash tore off the end of the log"),
        "{}",
        server.log()
    );
    assert!(
        server.log().contains(log.to_str().unwrap()),
        "{}",
        server.log()
    );
    assert_eq!(server.run(&["get", "last"]).code, 3);
    for number in [0, 7, KEYS - 1] {
        assert_eq!(
            server.run(&["get", &format!("k{number}")]).out,
            value(number)
        );
    }
}

/// The last write was acknowledged, and nothing follows that says so: it is not taken for a torn one.
#[test]
fn a_byte_of_the_log_that_changed_is_put_right_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(&data);
    for number in 0..4 {
        let put = server.run(&["put", &format!("k{number}"), &value(number)]);
        assert_eq!(put.code, 0, "{put:?}");
    }
    server.kill();
    let mut flipped = Vec::new();
    for number in [1, 3] {
        let (log, place) = place_in_log(&data, number);
        flip(&log, place + 5);
        flipped.push((log, place + 5));
    }
    let told = verify(&data);
    assert_eq!(told.code, 0, "{told:?}");
    let report = told.json();
    for ((log, at), healed) in flipped.iter().zip(report["healed"].as_array().unwrap()) {
        assert_eq!(healed["file"], log.to_str().unwrap(), "{report}");
        assert_eq!(healed["offset"], *at, "{report}");
    }
    assert!(report["torn_tail"].is_null(), "{report}");
    let repaired = run(ringwood(&["-o", "json", "repair"]).arg(&data));
    assert_eq!(repaired.code, 0, "there is nothing to repair: {repaired:?}");
    assert_eq!(repaired.json()["healed"], report["healed"]);
    server.restart();
    let (log, at) = &flipped[1];
    let told = format!("{} is corrupt at byte {at}", log.display());
    assert!(server.log().contains(&told), "{}", server.log());
    for number in 0..4 {
        let got = server.run(&["get", &format!("k{number}")]);
        assert_eq!(got.out, value(number), "{number}");
    }
    server.kill();
    let healed = verify(&data);
    assert_eq!(healed.json()["healed"], serde_json::json!([]), "{healed:?}");
}

#[test]
fn damage_in_the_middle_of_the_log_is_named_and_the_rest_saved() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(&data);
    for number in 0..20 {
        let put = server.run(&["put", &format!("k{number}"), &value(number)]);
        assert_eq!(put.code, 0, "{put:?}");
    }
    server.kill();
    let (log, place) = place_in_log(&data, 7);
    spoil(&log, place + 5);
    let told = refused(&data);
    assert!(told.err.contains(log.to_str().unwrap()), "{told:?}");
    assert!(told.err.contains("is corrupt at byte"), "{told:?}");
    let report = verify(&data).json();
    let problem = &report["problems"][0];
    assert_eq!(problem["file"], log.to_str().unwrap(), "{report}");
    let offset = usize::try_from(problem["offset"].as_u64().unwrap()).unwrap();
    assert!(
        (place - 4096..=place).contains(&offset),
        "{offset} for {place}"
    );

    let repaired = run(ringwood(&["-o", "json", "repair"]).arg(&data));
    assert_eq!(repaired.code, 6, "{repaired:?}");
    assert_eq!(repaired.json()["lost"][0]["file"], log.to_str().unwrap());
    assert!(
        !repaired.json()["set_aside"].as_array().unwrap().is_empty(),
        "{repaired:?}"
    );
    server.restart();
    assert_eq!(server.run(&["get", "k7"]).code, 3, "it was lost");
    for number in (0..20).filter(|number| *number != 7) {
        assert_eq!(
            server.run(&["get", &format!("k{number}")]).out,
            value(number),
            "{number}"
        );
    }
}

#[test]
fn a_damaged_table_is_named_the_rest_is_read_and_keys_are_lost_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let (data, table) = flushed(directory.path());
    let len = usize::try_from(fs::metadata(&table).unwrap().len()).unwrap();
    flip(&table, len / 3);
    let mut server = Server::start(&data);
    let read: Vec<Ran> = (0..KEYS)
        .map(|number| server.run(&["get", &format!("k{number}")]))
        .collect();
    let damaged: Vec<_> = read.iter().filter(|ran| ran.code != 0).collect();
    assert!(
        !damaged.is_empty() && damaged.len() < KEYS / 2,
        "{} are damaged",
        damaged.len()
    );
    for ran in &damaged {
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("CORRUPT_DATA"), "{ran:?}");
        assert!(ran.err.contains(table.to_str().unwrap()), "{ran:?}");
    }
    for (number, ran) in read.iter().enumerate().filter(|(_, ran)| ran.code == 0) {
        assert_eq!(ran.out, value(number));
    }
    assert_eq!(server.run(&["put", "new", "value"]).code, 0, "writes go on");
    assert_eq!(
        run(server.command(&["verify"]).arg(&data)).code,
        1,
        "also while it serves"
    );
    server.kill();

    let report = verify(&data).json();
    assert_eq!(
        report["problems"][0]["file"],
        table.to_str().unwrap(),
        "{report}"
    );
    let repaired = run(ringwood(&["-o", "json", "repair"]).arg(&data));
    assert_eq!(repaired.code, 6, "{repaired:?}");
    let lost = repaired.json()["lost"][0].clone();
    for bound in ["start", "end"] {
        let key = &lost["keys"][0][bound];
        assert_eq!(key["namespace"], "default", "{lost}");
        assert!(key["partition"].is_u64(), "{lost}");
        assert!(key["key"].as_str().unwrap().starts_with('k'), "{lost}");
    }
    assert_eq!(verify(&data).code, 0);
    server.restart();
    for (number, ran) in read.iter().enumerate() {
        let again = server.run(&["get", &format!("k{number}")]);
        assert_eq!(
            again.code,
            if ran.code == 0 { 0 } else { 3 },
            "{number}: {again:?}"
        );
    }
    assert_eq!(server.run(&["get", "new"]).out, "value");
}

#[test]
fn a_copy_that_lacks_files_says_which() {
    let directory = tempfile::tempdir().unwrap();
    let (data, table) = flushed(directory.path());
    let kept = fs::read(&table).unwrap();
    fs::remove_file(&table).unwrap();
    let report = verify(&data);
    assert_eq!(report.code, 1, "{report:?}");
    assert_eq!(
        report.json()["problems"][0]["file"],
        table.to_str().unwrap()
    );
    assert!(
        report.json()["problems"][0]["what"]
            .as_str()
            .unwrap()
            .contains("missing")
    );
    let mut server = Server::start(&data);
    let read = server.run(&["get", "k7"]);
    assert!(
        read.code == 1 && read.err.contains(table.to_str().unwrap()),
        "{read:?}"
    );
    assert_eq!(server.run(&["put", "new", "value"]).code, 0);
    assert_eq!(server.run(&["get", "new"]).out, "value");
    server.kill();
    fs::write(&table, kept).unwrap();
    server.restart();
    assert_eq!(
        server.run(&["get", "k7"]).out,
        value(7),
        "nothing was lost by looking"
    );
    assert_eq!(server.run(&["get", "new"]).out, "value");
    server.kill();

    // Without the file that says what there is, tables are no store, and are not taken for nothing.
    fs::remove_file(data.join("CURRENT")).unwrap();
    let told = refused(&data);
    assert!(told.err.contains("CURRENT"), "{told:?}");
}

#[test]
fn time_is_taken_back_where_nobody_has_the_directory_open() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let reset = || run(ringwood(&["-o", "json", "reset-clock"]).arg(&data));
    assert_eq!(reset().code, 2, "there is none");
    let mut server = Server::start(&data);
    let refused = reset();
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("in use"), "{refused:?}");
    server.kill();
    let ran = reset();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("nothing to take back"), "{ran:?}");
}

#[test]
fn directories_that_hold_no_store_are_left_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("home");
    let copy = directory.path().join("copy");
    for letters in [0, 1] {
        fs::create_dir(&home).unwrap();
        (0..letters).for_each(|_| fs::write(home.join("letter.txt"), "").unwrap());
        for command in ["verify", "repair", "checkpoint", "reset-clock"] {
            let mut asked = ringwood(&[command]);
            asked.arg(&home);
            if command == "checkpoint" {
                asked.arg(&copy);
            }
            let ran = run(&mut asked);
            assert_eq!(ran.code, 1, "{command}: {ran:?}");
            assert!(ran.err.contains("there is no store in"), "{ran:?}");
            let left = fs::read_dir(&home).unwrap().count();
            assert_eq!(left, letters, "{command} left something behind");
        }
        fs::remove_dir_all(&home).unwrap();
    }
    assert!(!copy.exists());
}
