//! A repaired store opens, is sound, has lost no more than the report says, and is repaired once.

#![allow(clippy::unwrap_used)] // helpers of the tests, outside their functions

mod store_kit;

use ringwood_env::{CrashMode, FaultPlan, FaultyDisk};
use ringwood_lsm::{Db, Durability, Error, RepairReport, repair, verify};
use store_kit::{Expected, KEYS, closed_store, key, options, read_everything};

/// What may happen to a file.
const DAMAGES: [&str; 7] = [
    "flip",
    "two flips",
    "zeros",
    "start lost",
    "cut",
    "emptied",
    "missing",
];

fn damage(disk: &FaultyDisk, path: &str, how: &str, at: usize) {
    let mut bytes = disk.read_file(path).unwrap();
    let at = at.min(bytes.len() - 1);
    match how {
        "flip" => bytes[at] ^= 1,
        "two flips" => [at - 1, at].into_iter().for_each(|at| bytes[at] ^= 1),
        "zeros" => bytes
            .iter_mut()
            .skip(at)
            .take(700)
            .for_each(|byte| *byte = 0),
        "start lost" => bytes.iter_mut().take(100).for_each(|byte| *byte = 0xff),
        "cut" => bytes.truncate(at),
        "emptied" => bytes.clear(),
        _ => {
            disk.remove(path);
            return;
        }
    }
    disk.write_file(path, bytes);
}

fn files(disk: &FaultyDisk) -> Vec<String> {
    let paths = disk.paths().into_iter();
    paths.filter(|path| !path.ends_with("LOCK")).collect()
}

fn files_of(disk: &FaultyDisk, suffix: &str) -> Vec<String> {
    let is_named = |path: &String| path.rsplit('/').next().unwrap().contains(suffix);
    files(disk).into_iter().filter(is_named).collect()
}

/// Opens the repaired store and compares: what the report does not name as lost must be right.
fn check(disk: &FaultyDisk, expected: &Expected, report: &RepairReport, what: &str) {
    let again = verify(&options(disk)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(again.is_clean(), "{what}: {:?}", again.problems);
    assert!(
        repair(&options(disk)).unwrap().is_clean(),
        "{what}: repaired twice"
    );
    let db = Db::open(options(disk)).unwrap_or_else(|error| panic!("{what}: {error}"));
    if report.lost.is_empty() {
        assert!(read_everything(&db, expected, &what).is_empty(), "{what}");
    }
    for (name, model) in expected {
        let keyspace = match db.keyspace(name) {
            Ok(keyspace) => keyspace,
            Err(error) => {
                assert!(!report.lost.is_empty(), "{what}: {error}");
                continue;
            }
        };
        for key in (0..KEYS).map(key) {
            let found = keyspace
                .get(&key)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let is_right = found.as_deref() == model.get(&key).map(|value| &value[..]);
            assert!(
                is_right || is_lost(report, name, &key),
                "{what}: {name} {key:?}"
            );
        }
        keyspace.put(b"new", b"value", Durability::Synced).unwrap();
        assert_eq!(keyspace.get(b"new").unwrap().unwrap(), b"value");
    }
    db.close().unwrap();
}

fn is_lost(report: &RepairReport, keyspace: &str, key: &[u8]) -> bool {
    report.lost.iter().any(|loss| {
        let of_other = loss.keyspace.as_ref().is_some_and(|name| name != keyspace);
        let within = loss.keys.is_empty()
            || loss.keys.iter().any(|range| {
                range.start.as_ref().is_none_or(|start| &start[..] <= key)
                    && range.end.as_ref().is_none_or(|end| key <= &end[..])
            });
        !of_other && within
    })
}

#[test]
fn a_sound_store_is_left_alone() {
    let (disk, expected) = closed_store();
    let before: Vec<_> = files(&disk)
        .iter()
        .map(|path| disk.read_file(path))
        .collect();
    let report = repair(&options(&disk)).unwrap();
    assert!(report.is_clean() && report.lost.is_empty() && report.set_aside.is_empty());
    let after: Vec<_> = files(&disk)
        .iter()
        .map(|path| disk.read_file(path))
        .collect();
    assert!(before == after);
    check(&disk, &expected, &report, "sound");
}

#[test]
fn every_file_may_be_damaged_in_every_way() {
    let (disk, expected) = closed_store();
    for path in files(&disk) {
        for how in DAMAGES {
            for at in [40, 300, 4200, 5000, 9000] {
                let image = disk.image(1);
                damage(&image, &path, how, at);
                let what = format!("{path}: {how} at {at}");
                let report = repair(&options(&image)).unwrap_or_else(|e| panic!("{what}: {e}"));
                let kept = report
                    .set_aside
                    .iter()
                    .all(|path| image.read_file(path).is_some());
                assert!(kept, "{what}");
                check(&image, &expected, &report, &what);
            }
        }
    }
}

#[test]
fn one_damaged_block_costs_its_entries_and_no_others() {
    let (disk, _) = closed_store();
    let path = &files_of(&disk, ".sst")[0];
    damage(&disk, path, "flip", 100);
    let report = repair(&options(&disk)).unwrap();
    let [loss] = &report.lost[..] else {
        panic!("{path}: {report:?}");
    };
    assert_eq!(loss.bytes.len(), 1, "{path}");
    assert!(
        loss.entries
            .is_some_and(|entries| (1..=40).contains(&entries)),
        "{loss:?}"
    );
    assert!(loss.keyspace.is_some() && loss.keys.len() == 1);
    assert!(report.table_entries_saved > 0 || report.tables_rewritten == 0);
    assert_eq!(report.set_aside.len(), 1);
}

#[test]
fn a_lost_manifest_is_made_anew_from_the_tables_and_the_log() {
    let (disk, expected) = closed_store();
    for gone in [&["CURRENT"][..], &["MANIFEST"], &["CURRENT", "MANIFEST"]] {
        let image = disk.image(1);
        for name in gone {
            for path in files_of(&image, name) {
                image.remove(&path);
            }
        }
        assert!(matches!(
            Db::open(options(&image)),
            Err(Error::Corruption(_))
        ));
        let report = repair(&options(&image)).unwrap();
        assert_eq!(report.manifest_rebuilt, gone.contains(&"MANIFEST"));
        assert!(report.lost.is_empty(), "{report:?}");
        check(&image, &expected, &report, &format!("{gone:?}"));
    }
}

#[test]
fn a_hole_in_the_log_costs_what_stood_in_it_and_nothing_behind() {
    let (disk, expected) = closed_store();
    let logs = files_of(&disk, ".log");
    let with_data = |path: &&String| {
        let bytes = disk.read_file(path).unwrap();
        bytes[4096..4160].iter().any(|byte| *byte != 0)
    };
    let path = logs.iter().find(with_data).unwrap();
    damage(&disk, path, "two flips", 4096 + 70);
    let second = second_frame(&disk.read_file(path).unwrap());
    damage(&disk, path, "flip", second + 70);
    assert!(matches!(
        Db::open(options(&disk)),
        Err(Error::Corruption(_))
    ));
    let report = repair(&options(&disk)).unwrap();
    let [loss] = &report.lost[..] else {
        panic!("{report:?}");
    };
    let hole = 4096..second as u64;
    assert_eq!(loss.bytes, std::slice::from_ref(&hole));
    assert!(report.log_entries_saved > 20, "{report:?}");
    // Of the next frame one byte was changed, and it is known which.
    let [mended] = &report.healed[..] else {
        panic!("{report:?}");
    };
    assert_eq!(mended.offset, second as u64 + 70);
    check(&disk, &expected, &report, "hole");
    let db = Db::open(options(&disk)).unwrap();
    for name in expected.keys() {
        let found = db.keyspace(name).unwrap().get(b"last").unwrap();
        assert_eq!(found.unwrap(), b"of all", "written behind the hole");
    }
}

/// Where the second frame of a log stands: behind the first one, or on the next page if that says so.
fn second_frame(log: &[u8]) -> usize {
    let len = u32::from_le_bytes(log[4096 + 24..4096 + 28].try_into().unwrap());
    let alignment = if log[4096 + 56] & 1 == 0 { 8 } else { 4096 };
    (4096 + 64 + usize::try_from(len).unwrap()).next_multiple_of(alignment)
}

#[test]
fn one_changed_byte_of_the_log_is_no_loss() {
    let (disk, expected) = closed_store();
    let path = files_of(&disk, ".log").remove(0);
    damage(&disk, &path, "flip", 4096 + 70);
    let sound = verify(&options(&disk)).unwrap();
    assert!(sound.is_clean() && sound.healed.len() == 1, "{sound:?}");
    let report = repair(&options(&disk)).unwrap();
    assert!(report.is_clean() && report.lost.is_empty(), "{report:?}");
    assert_eq!(report.healed, sound.healed);
    let db = Db::open(options(&disk)).unwrap();
    assert_eq!(db.open_report().healed, sound.healed);
    assert!(read_everything(&db, &expected, &"opened").is_empty());
    db.close().unwrap();
    let sound = verify(&options(&disk)).unwrap();
    assert!(sound.is_clean() && sound.healed.is_empty(), "{sound:?}");
}

#[test]
fn a_store_that_was_opened_and_crashed_before_any_write_opens_again() {
    let (disk, expected) = closed_store();
    let mut image = disk;
    for round in 0..3 {
        let db = Db::open(options(&image)).unwrap();
        assert!(read_everything(&db, &expected, &format!("round {round}")).is_empty());
        let crashed = image.image(round);
        crashed.crash(CrashMode::LoseAll);
        image = crashed;
    }
}

#[test]
fn a_repair_that_crashes_anywhere_is_done_again() {
    let (disk, expected) = closed_store();
    let table = files_of(&disk, ".sst").pop().unwrap();
    damage(&disk, &table, "zeros", 300);
    let log = files_of(&disk, ".log").remove(0);
    damage(&disk, &log, "two flips", 4200);
    for crash_at in 1.. {
        let mode = CrashMode::ALL[crash_at % 3];
        let image = disk.image(crash_at as u64);
        image.set_plan(FaultPlan::crash_at(crash_at as u64));
        let first = repair(&options(&image));
        let crashed = image.is_crashed();
        image.crash(mode);
        let what = format!("crash at {crash_at}, {mode:?}");
        let second = repair(&options(&image)).unwrap_or_else(|error| panic!("{what}: {error}"));
        // Where the crash came behind the last step, the first report tells.
        let report = match first {
            Ok(first) if second.is_clean() => first,
            _ if second.is_clean() => continue,
            _ => second,
        };
        check(&image, &expected, &report, &what);
        if !crashed {
            return;
        }
    }
}

#[test]
fn what_cannot_be_repaired_is_refused() {
    let disk = FaultyDisk::new(1);
    assert!(matches!(
        repair(&options(&disk)),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        verify(&options(&disk)),
        Err(Error::NotFound { .. })
    ));
    let (disk, _) = closed_store();
    let db = Db::open(options(&disk)).unwrap();
    assert!(matches!(repair(&options(&disk)), Err(Error::Locked { .. })));
    drop(db);
}
