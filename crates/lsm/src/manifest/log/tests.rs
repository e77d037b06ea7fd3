use ringwood_env::RealDisk;

use super::*;
use crate::batch::KeyspaceId;
use crate::files::{log_path, table_path};
use crate::key::SeqNo;
use crate::manifest::testing::meta;
use crate::options::KeyspaceOptions;

const KEYSPACE: KeyspaceId = KeyspaceId(0);

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
    assert_eq!(manifest.file.len().unwrap(), len, "opening writes nothing");
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
        let id = KeyspaceId(id);
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
        fuzz_decode(Path::new("m"), &damaged);
    }
}
