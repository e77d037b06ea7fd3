//! A damaged store gives an error or the right answer, never a wrong one, and never hangs.
//!
//! Every byte of every file is changed, one at a time, of stores that were closed and of stores that were
//! killed behind a write that was acknowledged; so much by default as takes seconds, and all of it with
//! `cargo xtask flip` (about a quarter of an hour).

#![allow(clippy::unwrap_used)] // helpers of the tests, outside their functions

mod store_kit;

use std::collections::BTreeMap;
use std::fmt;

use ringwood_env::FaultyDisk;
use ringwood_env::faulty::FaultPlan;
use ringwood_lsm::{Db, Durability, Error, KeyspaceOptions, Options, VerifyReport, verify};
use store_kit::{Expected, PATH, closed_store, options, read_everything};

/// How many bytes lie between two that are changed.
fn stride() -> usize {
    std::env::var("RINGWOOD_FLIP_STRIDE").map_or(499, |stride| {
        stride.parse().expect("RINGWOOD_FLIP_STRIDE is a number")
    })
}

/// What came of one damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Opening named it.
    RefusedToOpen,
    /// A read named it; every other answer was right.
    ReadFailed,
    /// Every answer was right, and verify named it.
    Found,
    /// Every answer was right, and it was noted as healed or torn off.
    Noted,
    /// Every answer was right, and nothing was to be seen: the byte counts for nothing.
    Unseen,
}

#[derive(Default)]
struct Tally(BTreeMap<(String, Outcome), u64>);

impl Tally {
    fn count(&mut self, path: &str, outcome: Outcome) {
        let kind = path.rsplit('/').next().unwrap();
        let kind = kind.trim_start_matches(|c: char| c.is_ascii_digit());
        let kind = kind.split('-').next().unwrap().to_owned();
        *self.0.entry((kind, outcome)).or_default() += 1;
    }

    fn of(&self, outcome: Outcome) -> u64 {
        let all = self.0.iter().filter(|((_, one), _)| *one == outcome);
        all.map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((kind, outcome), count) in &self.0 {
            writeln!(f, "{kind:>10} {outcome:?}: {count}")?;
        }
        Ok(())
    }
}

/// Opens the damaged store, reads all of it and verifies it.
fn examine(disk: &FaultyDisk, expected: &Expected, what: &dyn fmt::Display) -> Outcome {
    let report = verify(&options(disk));
    let db = match Db::open(options(disk)) {
        Ok(db) => db,
        Err(error) => {
            assert!(is_named(&error), "{what}: {error}");
            if let Ok(report) = report {
                assert!(!report.is_clean(), "{what}: {error} is not found by verify");
            }
            return Outcome::RefusedToOpen;
        }
    };
    let report = report.unwrap_or_else(|error| panic!("{what}: opens, but {error}"));
    let torn = db.open_report().torn_tail.is_some() || !db.open_report().healed.is_empty();
    let failures = read_everything(&db, expected, what);
    for failure in &failures {
        assert!(is_named(failure), "{what}: {failure}");
    }
    match (failures.is_empty(), report) {
        (false, report) => {
            assert!(
                !report.is_clean(),
                "{what}: {} is not found by verify",
                failures[0]
            );
            Outcome::ReadFailed
        }
        (true, report) if !report.is_clean() => Outcome::Found,
        (
            true,
            VerifyReport {
                healed, torn_tail, ..
            },
        ) => {
            if torn || !healed.is_empty() || torn_tail.is_some() {
                Outcome::Noted
            } else {
                Outcome::Unseen
            }
        }
    }
}

fn is_named(error: &Error) -> bool {
    matches!(
        error,
        Error::Corruption(_) | Error::UnsupportedFormat { .. } | Error::NoSuchKeyspace { .. }
    )
}

fn files(disk: &FaultyDisk) -> Vec<(String, Vec<u8>)> {
    let paths = disk
        .paths()
        .into_iter()
        .filter(|path| !path.ends_with("LOCK"));
    paths
        .map(|path| (path.clone(), disk.read_file(&path).unwrap()))
        .collect()
}

#[test]
fn any_changed_byte_of_any_file_gives_an_error_or_the_right_answer() {
    let (disk, expected) = closed_store();
    let mut tally = Tally::default();
    let mut bytes = 0;
    for (path, content) in files(&disk) {
        // The start of each file is tried whole: headers are there.
        let stride = stride();
        let positions = (0..content.len()).filter(|at| *at < 64 || at % stride == 0);
        for at in positions {
            let flip = 1u8 << (at % 8);
            let byte = content[at];
            for changed in [byte ^ flip, 0, 0xff] {
                if changed == byte {
                    continue;
                }
                let image = disk.image(1);
                let mut damaged = content.clone();
                damaged[at] = changed;
                image.write_file(&path, damaged);
                let what = format!("{path} byte {at} {byte:#x} → {changed:#x}");
                tally.count(&path, examine(&image, &expected, &what));
                bytes += 1;
            }
        }
    }
    println!("{bytes} changes of a byte\n{tally}");
    assert!(tally.of(Outcome::ReadFailed) > 0 && tally.of(Outcome::Noted) > 0);
}

/// Attacks wal-7. Nothing follows the last write, and still it is not taken for one that a crash tore.
#[test]
fn any_changed_byte_of_a_killed_store_is_put_right() {
    for value_len in [10, 3000, 70_000] {
        for durability in [Durability::Synced, Durability::Buffered] {
            for before in [0, 3] {
                let what = format!("{value_len} bytes, {durability:?}, {before} before");
                flip_killed_store(before, value_len, durability, &what);
            }
        }
    }
}

/// Writes some, and then one of `value_len` bytes; changes bytes of every file as that left it.
fn flip_killed_store(before: u32, value_len: usize, durability: Durability, what: &str) {
    let disk = FaultyDisk::new(9);
    let store = |disk: &FaultyDisk| Options {
        log_segment_len: 128 << 10,
        ..options(disk)
    };
    let db = Db::open(store(&disk)).unwrap();
    let keyspace = db.create_keyspace("plain", KeyspaceOptions::default());
    let keyspace = keyspace.unwrap();
    let mut model = BTreeMap::new();
    let mut put = |i, len, durability| {
        let (key, value) = (store_kit::key(i), vec![u8::try_from(i + 1).unwrap(); len]);
        keyspace.put(&key, &value, durability).unwrap();
        model.insert(key, value);
    };
    for i in 0..before {
        put(i, 400, Durability::Buffered);
    }
    put(before, value_len, durability);
    let killed = disk.image(0);
    drop(db);
    let expected = Expected::from([("plain", model)]);
    let mut tally = Tally::default();
    let is_log = |path: &str| path.ends_with(".log");
    for (path, content) in files(&killed) {
        let end = content.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 100;
        let stride = if end > 60_000 { stride() * 7 } else { stride() };
        let is_tried = |at: &usize| {
            let of_header = is_log(&path) && (4096..4096 + 64).contains(at);
            *at < 64
                || at.is_multiple_of(stride)
                || of_header
                || (end.saturating_sub(240)..end).contains(at)
        };
        for at in (0..content.len().min(end)).filter(is_tried) {
            for changed in [content[at] ^ 1 << (at % 8), !content[at]] {
                let image = killed.image(1);
                let mut damaged = content.clone();
                damaged[at] = changed;
                image.write_file(&path, damaged);
                let what = format!("{what}: {path} byte {at} → {changed:#x}");
                let outcome = examine(&image, &expected, &what);
                if is_log(&path) {
                    assert!(
                        matches!(outcome, Outcome::Noted | Outcome::Unseen),
                        "{what}: {outcome:?}"
                    );
                }
                tally.count(&path, outcome);
            }
        }
    }
    println!("{what}:\n{tally}");
    assert!(tally.of(Outcome::Noted) > 200, "{what}:\n{tally}");
}

#[test]
fn a_file_cut_short_or_missing_gives_an_error_or_the_right_answer() {
    let (disk, expected) = closed_store();
    let mut tally = Tally::default();
    for (path, content) in files(&disk) {
        let image = disk.image(1);
        image.remove(&path);
        let what = format!("{path} missing");
        let outcome = examine(&image, &expected, &what);
        assert_ne!(outcome, Outcome::Noted, "{what}");
        tally.count(&path, outcome);
        let ends = (0..content.len()).filter(|at| at % stride() == 0 || content.len() - at < 64);
        for end in ends {
            let image = disk.image(1);
            image.write_file(&path, &content[..end]);
            let what = format!("{path} cut at {end} of {}", content.len());
            tally.count(&path, examine(&image, &expected, &what));
        }
    }
    println!("{tally}");
    assert!(tally.of(Outcome::RefusedToOpen) > 0 && tally.of(Outcome::ReadFailed) > 0);
}

/// As a restored backup of half a directory leaves it, or a disk that lost writes it had confirmed.
#[test]
fn an_older_copy_of_any_file_gives_an_error_or_the_right_answer() {
    let (disk, expected) = closed_store();
    let mut older = files(&disk);
    let db = Db::open(options(&disk)).unwrap();
    let first = db.keyspace("plain").unwrap();
    first.put(b"last", b"of all", Durability::Synced).unwrap();
    older.extend(files(&disk));
    let mut newer = expected;
    for (round, (name, model)) in newer.iter_mut().enumerate() {
        let keyspace = db.keyspace(name).unwrap();
        for i in (0..store_kit::KEYS).step_by(7) {
            let (key, value) = (store_kit::key(i), store_kit::value(i, 99));
            keyspace.put(&key, &value, Durability::Synced).unwrap();
            model.insert(key, value);
        }
        if round == 0 {
            db.flush().unwrap();
            keyspace.compact().unwrap();
        }
    }
    db.close().unwrap();
    let mut tally = Tally::default();
    for (path, bytes) in older {
        if disk.read_file(&path).is_none_or(|newer| newer == bytes) {
            continue;
        }
        let image = disk.image(0);
        image.write_file(&path, bytes);
        let outcome = examine(&image, &newer, &format_args!("an older {path}"));
        tally.count(&path, outcome);
    }
    println!("older copies of single files:\n{tally}");
    assert!(tally.of(Outcome::RefusedToOpen) >= 2, "manifest and log");
}

#[test]
fn tables_that_changed_places_are_found() {
    let (disk, expected) = closed_store();
    let tables: Vec<_> = files(&disk)
        .into_iter()
        .filter(|(path, _)| path.ends_with(".sst"))
        .collect();
    assert!(tables.len() >= 3);
    for (path, _) in &tables {
        for (other, content) in &tables {
            if path != other {
                let image = disk.image(1);
                image.write_file(path, content.clone());
                let what = format!("{other} in place of {path}");
                assert_eq!(
                    examine(&image, &expected, &what),
                    Outcome::ReadFailed,
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn a_disk_that_reads_wrongly_gives_an_error_or_the_right_answer() {
    let (disk, expected) = closed_store();
    for seed in 0..60 {
        let image = disk.image(seed);
        image.set_plan(FaultPlan {
            flipped_reads: 0.02,
            misdirected_reads: 0.02,
            ..FaultPlan::default()
        });
        let what = format!("seed {seed}");
        if let Ok(db) = Db::open(options(&image)) {
            for failure in read_everything(&db, &expected, &what) {
                assert!(is_named(&failure), "{what}: {failure}");
            }
        }
    }
}

#[test]
fn a_sound_store_verifies_clean_open_and_closed() {
    let (disk, expected) = closed_store();
    let report = verify(&options(&disk)).unwrap();
    assert!(report.is_clean() && report.healed.is_empty(), "{report:?}");
    assert!(report.torn_tail.is_none() && report.log_entries > 0);
    let db = Db::open(options(&disk)).unwrap();
    assert!(read_everything(&db, &expected, &"sound").is_empty());
    let online = db.verify().unwrap();
    assert!(online.is_clean(), "{online:?}");
    assert_eq!(online.table_entries, report.table_entries);
    assert!(matches!(verify(&options(&disk)), Err(Error::Locked { .. })));
    drop(db);
    assert!(disk.paths().iter().any(|path| path.starts_with(&PATH[1..])));
}

#[test]
fn a_damaged_table_is_set_aside_and_the_store_goes_on() {
    let (disk, _) = closed_store();
    let is_table = |path: &String| path.ends_with(".sst");
    let path = disk.paths().into_iter().find(is_table).unwrap();
    disk.flip(&path, 200, 3);
    let db = Db::open(options(&disk)).unwrap();
    let mut failed = 0;
    for name in db.keyspaces() {
        let keyspace = db.keyspace(&name).unwrap();
        for _ in 0..2 {
            if let Err(error) = keyspace.compact() {
                assert!(matches!(error, Error::Corruption(_)), "{error}");
                failed += 1;
            }
        }
        keyspace.put(b"new", b"value", Durability::Synced).unwrap();
        assert_eq!(keyspace.get(b"new").unwrap().unwrap(), b"value");
    }
    assert_eq!(failed, 2, "one keyspace, each time it is asked");
    let damaged = db.statistics().damaged_tables;
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert!(path.ends_with(damaged[0].file.file_name().unwrap().to_str().unwrap()));
    assert_eq!(db.statistics().job_failures, 1, "it is not tried again");
}
