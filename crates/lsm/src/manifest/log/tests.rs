use ringwood_env::RealDisk;
use ringwood_env::faulty::{
    Class, CrashMode, Failure, Fault, FaultPlan, FaultyDisk, Operation, TraceEntry,
};

use super::*;
use crate::batch::KeyspaceNumber;
use crate::files::{log_path, table_path};
use crate::key::SeqNo;
use crate::manifest::testing::meta;
use crate::options::KeyspaceOptions;

const KEYSPACE: KeyspaceNumber = KeyspaceNumber(0);

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn create_keyspace() -> Edit {
    Edit::CreateKeyspace {
        id: KEYSPACE,
        name: "default".to_owned(),
        options: KeyspaceOptions::default(),
    }
}

fn add(number: u64) -> Edit {
    Edit::AddTable {
        keyspace: KEYSPACE,
        level: 0,
        meta: Arc::new(meta(number, [b"first key", b"last key"], [number, number])),
    }
}

fn show(state: &State) -> String {
    format!("{state:?}")
}

/// The state as it would be if the file's numbers had not gone on since.
fn show_but_numbers(state: &State) -> String {
    let mut state = state.clone();
    state.next_file = FileNumber::default();
    show(&state)
}

/// A manifest of four records; its bytes, and the state after each record.
fn four_records() -> (Vec<u8>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::create(disk(), directory.path(), 77).unwrap();
    let mut states = vec![show(manifest.state())];
    let edits = [
        vec![create_keyspace()],
        vec![add(11), Edit::LastSeq(SeqNo::new(30))],
        vec![Edit::ClockHigh(99)],
    ];
    for edits in edits {
        manifest.append(&edits).unwrap();
        states.push(show(manifest.state()));
    }
    let bytes = read_file(&RealDisk, &manifest.path).unwrap().unwrap();
    (bytes, states)
}

#[test]
fn what_was_appended_is_there_after_opening() {
    let directory = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::create(disk(), directory.path(), 77).unwrap();
    manifest.append(&[create_keyspace(), add(40)]).unwrap();
    let issued = manifest.numbers().issue();
    manifest.append(&[Edit::ClockHigh(5)]).unwrap();
    let before = show(manifest.state());
    drop(manifest);

    let mut manifest = Manifest::open(disk(), directory.path()).unwrap();
    assert_eq!(show(manifest.state()), before);
    assert_eq!(manifest.state().identity, 77);
    assert!(manifest.damage().is_empty());
    assert!(manifest.numbers().issue() > issued);
    manifest.append(&[add(41)]).unwrap();
    let manifest = Manifest::open(disk(), directory.path()).unwrap();
    assert_eq!(manifest.state().keyspaces[&KEYSPACE].tables.len(), 2);
}

#[test]
fn frame_1_any_one_changed_byte_changes_nothing() {
    let (bytes, states) = four_records();
    let path = Path::new("MANIFEST-000001");
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            let replayed = replay(path, &changed).unwrap();
            assert_eq!(show(&replayed.state), states[3], "byte {at}");
            assert_eq!(replayed.damage.len(), 1, "byte {at}");
        }
    }
}

#[test]
fn a_file_cut_anywhere_says_what_it_said_at_some_time() {
    let (bytes, states) = four_records();
    let mut reached = 0;
    for cut in 0..=bytes.len() {
        match replay(Path::new("m"), &bytes[..cut]) {
            Ok(replayed) => {
                let state = show(&replayed.state);
                let state = states.iter().position(|known| *known == state);
                let state = state.expect("a state that never was");
                assert!(state >= reached, "cut at {cut}");
                reached = state;
            }
            Err(Error::Corruption(_)) => assert_eq!(reached, 0, "cut at {cut}"),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(reached, 3);
}

#[test]
fn frame_2_damage_in_the_middle_is_named_and_never_skipped() {
    let (bytes, states) = four_records();
    let path = Path::new("m");
    let (_, mut records) = Records::begin(&bytes).unwrap();
    let mut spans = Vec::new();
    while let Some(record) = records.next().unwrap() {
        spans.push((record.offset, record.end));
    }
    for (i, (offset, end)) in spans.iter().enumerate() {
        let mut zeroed = bytes.clone();
        zeroed[*offset..*end].fill(0);
        if i == spans.len() - 1 {
            let replayed = replay(path, &zeroed).unwrap();
            assert_eq!(show(&replayed.state), states[2], "only a tail");
            assert_eq!(replayed.damage.len(), 1);
            continue;
        }
        let removed = [&bytes[..*offset], &bytes[*end..]].concat();
        for (bytes, kind) in [
            (zeroed, CorruptionKind::Checksum),
            (removed, CorruptionKind::MissingRecord),
        ] {
            let error = replay(path, &bytes).map(|_| ()).unwrap_err();
            let Error::Corruption(corruption) = error else {
                panic!("{error}");
            };
            let expected = Corruption::new(path, *offset as u64, kind);
            assert_eq!(corruption, expected, "record {i}");
        }
    }
}

#[test]
fn manifest_3_damage_is_healed_by_the_next_append() {
    let directory = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::create(disk(), directory.path(), 77).unwrap();
    manifest.append(&[create_keyspace()]).unwrap();
    let path = manifest.path.clone();
    manifest
        .file
        .write_at(b"half a rec", manifest.position.end)
        .unwrap();
    let current = disk()
        .open(&directory.path().join(CURRENT), OpenMode::Write)
        .unwrap();
    current.write_at(b"?", 3).unwrap();
    let before = show_but_numbers(manifest.state());
    let len = manifest.file.len().unwrap();

    let mut manifest = Manifest::open(disk(), directory.path()).unwrap();
    assert_eq!(manifest.damage().len(), 2);
    assert_eq!(manifest.file.len().unwrap(), len, "opening changes nothing");
    assert_eq!(show_but_numbers(manifest.state()), before);
    manifest.append(&[add(5)]).unwrap();
    assert_ne!(manifest.path, path);
    assert!(read_file(&RealDisk, &path).unwrap().is_none());
    let after = show(manifest.state());

    let manifest = Manifest::open(disk(), directory.path()).unwrap();
    assert!(manifest.damage().is_empty());
    assert_eq!(show(manifest.state()), after);
}

#[test]
fn a_long_log_becomes_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::create(disk(), directory.path(), 1).unwrap();
    let first = manifest.path.clone();
    let name = "n".repeat(60_000);
    let mut longest = 0;
    for id in 0..40 {
        let id = KeyspaceNumber(id);
        let create = Edit::CreateKeyspace {
            id,
            name: name.clone(),
            options: KeyspaceOptions::default(),
        };
        manifest.append(&[create]).unwrap();
        manifest.append(&[Edit::DropKeyspace { id }]).unwrap();
        longest = longest.max(manifest.position.end);
    }
    assert_ne!(manifest.path, first);
    assert!(longest < 2 * CHECKPOINT_AFTER, "{longest}");
    let names = disk().read_dir(directory.path()).unwrap();
    assert_eq!(names.len(), 2, "CURRENT and one manifest: {names:?}");
    let reopened = Manifest::open(disk(), directory.path()).unwrap();
    assert_eq!(show(reopened.state()), show(manifest.state()));
}

#[test]
fn small_changes_go_on_where_a_checkpoint_does_not_fit() {
    let disk = FaultyDisk::new(3);
    let here = Path::new("store");
    disk.create_dir_all(here).unwrap();
    let shared = || Arc::new(disk.clone()) as Arc<dyn Disk>;
    let mut manifest = Manifest::create(shared(), here, 1).unwrap();
    let create = |id| Edit::CreateKeyspace {
        id: KeyspaceNumber(id),
        name: format!("{id:0>60000}"),
        options: KeyspaceOptions::default(),
    };
    let drop = |id| Edit::DropKeyspace {
        id: KeyspaceNumber(id),
    };
    let mut id = 0;
    while !manifest.wants_checkpoint() {
        manifest.append(&[create(id)]).unwrap();
        id += 1;
    }
    // Every new file is refused, as on a disk with room for a record only.
    let none = Failure::for_good(Class::Only(Operation::Create), 1, Fault::NoSpace);
    disk.set_plan(FaultPlan::fail(none));
    let first = manifest.path.clone();
    for gone in 0..id {
        manifest.append(&[drop(gone)]).unwrap();
    }
    assert_eq!(manifest.path, first);
    disk.set_plan(FaultPlan::default());
    while manifest.path == first {
        manifest.append(&[create(id)]).unwrap();
        manifest.append(&[drop(id)]).unwrap();
        id += 1;
    }
    let reopened = Manifest::open(shared(), here).unwrap();
    assert_eq!(show(reopened.state()), show(manifest.state()));
}

#[test]
fn a_directory_without_current_is_empty_or_half_a_copy() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let open = || Manifest::open(disk(), here).map(|_| ()).unwrap_err();
    assert!(matches!(open(), Error::NotFound { .. }));
    let absent = Manifest::open(disk(), &here.join("absent")).unwrap_err();
    assert!(matches!(absent, Error::NotFound { .. }));

    // As a crash while the store is made leaves it.
    let manifest = Manifest::create(disk(), here, u128::MAX).unwrap();
    disk().remove_file(&here.join(CURRENT)).unwrap();
    assert!(matches!(open(), Error::NotFound { .. }));
    drop(manifest);

    let mut manifest = Manifest::create(disk(), here, 2).unwrap();
    manifest.append(&[create_keyspace(), add(7)]).unwrap();
    let path = manifest.path.clone();
    disk().remove_file(&here.join(CURRENT)).unwrap();
    let half_a_copy = |error: Error, path: &Path| {
        let missing = Corruption::new(path, 0, CorruptionKind::MissingFile);
        assert!(
            matches!(&error, Error::Corruption(c) if *c == missing),
            "{error}"
        );
    };
    half_a_copy(open(), &here.join(CURRENT));
    disk().remove_file(&path).unwrap();
    for path in [
        table_path(here, FileNumber::new(7)),
        log_path(here, FileNumber::new(8)),
    ] {
        disk().open(&path, OpenMode::CreateNew).unwrap();
        half_a_copy(open(), &here.join(CURRENT));
        disk().remove_file(&path).unwrap();
    }

    let manifest = Manifest::create(disk(), here, 3).unwrap();
    disk().remove_file(&manifest.path).unwrap();
    half_a_copy(open(), &manifest.path);
}

#[test]
fn numbers_pass_by_every_name_in_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    drop(Manifest::create(disk(), directory.path(), 1).unwrap());
    let orphan = FileNumber::new(500);
    let path = table_path(directory.path(), orphan);
    disk().open(&path, OpenMode::CreateNew).unwrap();
    let manifest = Manifest::open(disk(), directory.path()).unwrap();
    assert!(manifest.numbers().issue() > orphan);
}

#[test]
fn another_format_is_refused() {
    let header = Header {
        format: 2,
        key_id: 0,
        number: FileNumber::new(1),
    };
    let bytes = [header.encode().0; 2].concat();
    assert!(matches!(
        replay(Path::new("m"), &bytes),
        Err(Error::UnsupportedFormat {
            found: 2,
            supported: 1,
            ..
        })
    ));
}

#[test]
fn arbitrary_damage_is_an_error_or_a_state() {
    let (bytes, _) = four_records();
    for step in 1..bytes.len() {
        let mut damaged = bytes.clone();
        for at in (0..bytes.len()).step_by(step) {
            damaged[at] = damaged[at].wrapping_mul(31).wrapping_add(7);
        }
        fuzz::file(Path::new("m"), &damaged);
    }
    let edits = &bytes[2 * frame::HEADER_LEN + 20..];
    for from in 0..edits.len() {
        fuzz::records(Path::new("m"), &edits[from..]);
    }
    for claim in [
        "ringwood format 1 manifest 000007",
        "ringwood format 1 manifest 7",
        "",
    ] {
        fuzz::current(Path::new("c"), claim.as_bytes());
    }
}

/// Makes a store and changes it, a checkpoint included; says after which state each change was
/// acknowledged, and ends where the disk does.
fn workload(disk: &FaultyDisk, acknowledged: &mut Vec<String>) -> Result<()> {
    let here = Path::new("store");
    disk.create_dir_all(here)
        .and_then(|()| disk.sync_dir(Path::new("")))
        .map_err(|error| Error::io("create", here, error))?;
    let mut manifest = Manifest::create(Arc::new(disk.clone()), here, 1)?;
    acknowledged.push(show_but_numbers(manifest.state()));
    for id in 0..12 {
        let create = Edit::CreateKeyspace {
            id: KeyspaceNumber(id),
            name: format!("{id}").repeat(60_000),
            options: KeyspaceOptions::default(),
        };
        let edits = match id {
            0..11 => vec![
                create,
                Edit::DropKeyspace {
                    id: KeyspaceNumber(id),
                },
            ],
            _ => vec![create],
        };
        manifest.append(&edits)?;
        acknowledged.push(show_but_numbers(manifest.state()));
    }
    Ok(())
}

/// Crashes the workload at every operation, and what was recovered again, under a plan that may hold
/// a planted defect. How often something acknowledged was lost, or something came up that never was.
fn violations(plan: &FaultPlan) -> usize {
    let disk = FaultyDisk::new(0);
    let mut states = Vec::new();
    workload(&disk, &mut states).unwrap();
    let crashes = (1..=disk.operations()).flat_map(|n| (0..4).map(move |seed| (n, seed)));
    let violates = |&(n, seed): &(u64, u64)| {
        let disk = FaultyDisk::new(n * 100 + seed);
        let crash_at = Some(n);
        disk.set_plan(FaultPlan {
            crash_at,
            ..plan.clone()
        });
        let mut acknowledged = Vec::new();
        assert!(workload(&disk, &mut acknowledged).is_err());
        disk.crash(CrashMode::Subset);
        disk.set_plan(plan.clone());
        recovery(&disk, &states, acknowledged.len()).is_none()
    };
    crashes.filter(violates).count()
}

/// Opens what a crash left; `None` where that shows a state it must not, now or after more crashes.
fn recovery(disk: &FaultyDisk, states: &[String], acknowledged: usize) -> Option<()> {
    let open = || Manifest::open(Arc::new(disk.clone()), Path::new("store"));
    let found = match open() {
        Ok(manifest) => show_but_numbers(manifest.state()),
        Err(Error::NotFound { .. }) if acknowledged == 0 => return Some(()),
        Err(_) => return None,
    };
    let at = states.iter().position(|state| *state == found)?;
    let allowed = acknowledged.max(1) - 1..=acknowledged;
    // INVARIANT manifest-2: what was opened stays.
    disk.crash(CrashMode::Subset);
    let mut manifest = open().ok()?;
    let again = show_but_numbers(manifest.state());
    manifest.append(&[Edit::ClockHigh(7)]).ok()?;
    disk.crash(CrashMode::Subset);
    let last = open().ok()?;
    let right = allowed.contains(&at) && again == found && last.state().clock_high == 7;
    right.then_some(())
}

#[test]
fn manifest_1_and_2_whatever_is_lost_in_a_crash_was_not_acknowledged() {
    assert_eq!(violations(&FaultPlan::default()), 0);
}

#[test]
fn planted_defects_are_found() {
    let disk = FaultyDisk::new(0);
    workload(&disk, &mut Vec::new()).unwrap();
    let manifests = disk
        .trace()
        .into_iter()
        .filter(|entry| entry.operation == Operation::Create && entry.path.contains("MANIFEST"))
        .map(|entry| entry.path);
    let manifests: Vec<_> = manifests.collect();
    assert!(manifests.len() > 1, "the workload reaches a checkpoint");
    let no_sync_of = |paths: Vec<String>| FaultPlan {
        ignore_sync_of: paths,
        ..FaultPlan::default()
    };
    assert!(violations(&no_sync_of(manifests)) > 0);
    assert!(violations(&no_sync_of(vec!["CURRENT.tmp".to_owned()])) > 0);
    let ignore_sync_dir = true;
    assert!(
        violations(&FaultPlan {
            ignore_sync_dir,
            ..FaultPlan::default()
        }) > 0
    );
}

#[test]
fn a_full_disk_refuses_a_change_and_takes_it_later() {
    let disk = FaultyDisk::new(3);
    let here = Path::new("");
    let mut manifest = Manifest::create(Arc::new(disk.clone()), here, 1).unwrap();
    let before = show(manifest.state());
    let full = Failure::once(Class::Writes, 1, Fault::NoSpace);
    disk.set_plan(FaultPlan::fail(full));
    let error = manifest.append(&[create_keyspace()]).unwrap_err();
    assert!(error.is_disk_full() && !manifest.has_failed());
    assert_eq!(show(manifest.state()), before);
    let reopened = Manifest::open(Arc::new(disk.image(1)), here).unwrap();
    assert_eq!(show(reopened.state()), before);
    assert!(
        reopened.damage().is_empty(),
        "what was written of it is gone"
    );
    manifest.append(&[create_keyspace()]).unwrap();
    let reopened = Manifest::open(Arc::new(disk), here).unwrap();
    assert_eq!(show(reopened.state()), show(manifest.state()));
}

/// The checkpoint that a torn tail asks for meets a full disk in each of its calls.
#[test]
fn a_disk_that_fills_up_in_a_checkpoint_leaves_the_old_file_in_force() {
    let here = Path::new("");
    let mut refused = 0;
    for n in 1..20 {
        let disk = FaultyDisk::new(n);
        let mut manifest = Manifest::create(Arc::new(disk.clone()), here, 1).unwrap();
        manifest.append(&[create_keyspace()]).unwrap();
        let path = manifest.path.clone();
        let torn = [&disk.read_file(&path).unwrap()[..], b"torn"].concat();
        disk.write_file(&path, torn);
        let mut manifest = Manifest::open(Arc::new(disk.clone()), here).unwrap();
        assert!(manifest.wants_checkpoint());
        let before = show(manifest.state());

        let full = Failure::once(Class::Any, n, Fault::NoSpace);
        disk.set_plan(FaultPlan::fail(full));
        let appended = manifest.append(&[add(11)]);
        disk.set_plan(FaultPlan::default());
        let Err(error) = appended else {
            assert_ne!(manifest.path, path, "the call was none of the checkpoint's");
            continue;
        };
        assert!(error.is_disk_full(), "{error}");
        if manifest.has_failed() {
            let trace = disk.trace();
            let is_full = |call: &&TraceEntry| call.outcome == Err(io::ErrorKind::StorageFull);
            let failed = trace.iter().find(is_full).unwrap();
            let switch = [Operation::Rename, Operation::SyncDir];
            assert!(switch.contains(&failed.operation), "{failed}");
            continue; // the outcome is open
        }
        refused += 1;
        assert_eq!((show(manifest.state()), &manifest.path), (before, &path));
        manifest.append(&[add(11)]).unwrap();
        disk.crash(CrashMode::LoseAll);
        let reopened = Manifest::open(Arc::new(disk), here).unwrap();
        assert_eq!(show(reopened.state()), show(manifest.state()));
    }
    assert!(refused >= 4, "{refused}");
}

#[test]
fn manifest_2_after_a_failed_sync_nothing_is_taken_and_what_is_opened_stays() {
    for seed in 0..50 {
        let disk = FaultyDisk::new(seed);
        let here = Path::new("");
        let mut manifest = Manifest::create(Arc::new(disk.clone()), here, 1).unwrap();
        let failure = Failure::once(Class::Syncs, 1, Fault::Io);
        disk.set_plan(FaultPlan::fail(failure));
        assert!(manifest.append(&[create_keyspace()]).is_err());
        assert!(manifest.has_failed());
        let again = manifest.append(&[create_keyspace()]);
        assert!(matches!(again, Err(Error::Failed { .. })));
        drop(manifest);

        let open = || Manifest::open(Arc::new(disk.clone()), here).unwrap();
        let opened = show(open().state());
        disk.crash(CrashMode::Subset);
        assert_eq!(show(open().state()), opened, "seed {seed}");
    }
}
