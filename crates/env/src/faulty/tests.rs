//! The faulty disk as a whole: like a real disk while nothing fails (here), what crashes leave
//! (`crash`), what plans do (`faults`).

mod crash;
mod faults;

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::{DIRECT_ALIGNMENT, Disk, DiskFile, OpenMode};
use crate::random::SeededRandom;
use crate::real::RealDisk;

/// Memory fit for direct I/O.
#[repr(align(4096))]
struct Block([u8; DIRECT_ALIGNMENT]);

fn open(disk: &dyn Disk, path: &str, mode: OpenMode) -> Arc<dyn DiskFile> {
    disk.open(Path::new(path), mode).unwrap()
}

fn sync_root(disk: &dyn Disk) {
    disk.sync_dir(Path::new("")).unwrap();
}

/// What a call showed: bytes, a number, names, or the kind of its error.
type Shown = Result<Vec<u8>, io::ErrorKind>;

/// One random call on a few paths below `root`; what it was and what it showed.
fn random_call(disk: &dyn Disk, root: &Path, random: &SeededRandom) -> (String, Shown) {
    const PATHS: [&str; 8] = ["a", "b", "d/a", "d/b", "d/e/a", "d", "d/e", "f/a"];
    let name = *random.pick(&PATHS);
    let other = *random.pick(&PATHS);
    let (path, other_path) = (root.join(name), root.join(other));
    let (len, offset) = (random.index(2_000), random.below(2_000));
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    let call = random.below(12);
    let shown = match call {
        0 => disk.open(&path, OpenMode::CreateNew).map(|_| Vec::new()),
        1 | 2 => disk.open(&path, OpenMode::Write).and_then(|file| {
            file.write_at(&bytes, offset)?;
            file.sync()?;
            Ok(file.len()?.to_le_bytes().to_vec())
        }),
        3 => disk.open(&path, OpenMode::Write).and_then(|file| {
            file.set_len(offset)?;
            let count = file.read_at(&mut bytes, offset / 2)?;
            Ok(bytes[..count].to_vec())
        }),
        4 => disk.rename(&path, &other_path).map(|()| Vec::new()),
        5 => disk.hard_link(&path, &other_path).map(|()| Vec::new()),
        6 => disk.remove_file(&path).map(|()| Vec::new()),
        7 => disk.remove_dir(&path).map(|()| Vec::new()),
        8 => disk.create_dir_all(&path).map(|()| Vec::new()),
        9 => disk.read_dir(&path).map(|mut entries| {
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            format!("{entries:?}").into_bytes()
        }),
        10 => disk.sync_dir(&root.join("d")).map(|()| Vec::new()),
        _ => disk.open(&path, OpenMode::Read).and_then(|file| {
            let mut all = vec![0; 4_096];
            let count = file.read_at(&mut all, 0)?;
            all.truncate(count);
            Ok(all)
        }),
    };
    (
        format!("call {call} on {name}, {other}"),
        shown.map_err(|error| error.kind()),
    )
}

/// Without faults it is a disk: the same calls show the same on the machine's own.
#[test]
fn behaves_as_the_real_disk_while_nothing_fails() {
    let mut succeeded = 0;
    for seed in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let faulty = FaultyDisk::new(seed);
        let (for_real, for_faulty) = (SeededRandom::new(seed), SeededRandom::new(seed));
        for step in 0..200 {
            let (call, real) = random_call(&RealDisk, directory.path(), &for_real);
            let (_, shown) = random_call(&faulty, Path::new("/"), &for_faulty);
            assert_eq!(shown, real, "seed {seed}, step {step}: {call}");
            succeeded += u32::from(real.is_ok());
        }
    }
    assert!(succeeded > 1_000, "most of it should be more than refusals");
}

#[test]
fn the_same_seed_and_calls_meet_the_same_fate() {
    let run = |seed| {
        let disk = FaultyDisk::new(seed);
        disk.set_plan(FaultPlan {
            crash_at: Some(150),
            failures: vec![Failure::once(Class::Writes, 9, Fault::Io)],
            misdirected_writes: 0.1,
            flipped_reads: 0.1,
            ..FaultPlan::default()
        });
        let calls = SeededRandom::new(1);
        let shown: Vec<Shown> = (0..300)
            .map(|_| random_call(&disk, Path::new(""), &calls).1)
            .collect();
        let trace = disk.trace();
        disk.crash(CrashMode::Subset);
        (shown, trace, disk.durable_snapshot())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).2, run(2).2, "another seed draws otherwise");
}

#[test]
fn one_disk_serves_many_threads() {
    let disk = FaultyDisk::new(1);
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let disk = &disk;
            scope.spawn(move || {
                let path = format!("{thread}");
                let file = open(disk, &path, OpenMode::CreateNew);
                for i in 0..500 {
                    file.write_at(&[thread; 10], i * 10).unwrap();
                    file.sync().unwrap();
                    sync_root(disk);
                }
            });
        }
    });
    disk.crash(CrashMode::LoseAll);
    for thread in 0..4_u8 {
        assert_eq!(
            disk.read_file(thread.to_string()),
            Some(vec![thread; 5_000])
        );
    }
    assert_eq!(disk.operations(), 4 * (1 + 500 * 3));
}

#[test]
fn direct_access_goes_by_whole_blocks_of_file_and_memory() {
    let disk = FaultyDisk::new(1);
    disk.write_file("a", vec![1; 3 * DIRECT_ALIGNMENT]);
    let file = open(&disk, "a", OpenMode::DirectSync);
    let mut blocks = [Block([2; DIRECT_ALIGNMENT]), Block([3; DIRECT_ALIGNMENT])];
    file.write_at(&blocks[0].0, DIRECT_ALIGNMENT as u64)
        .unwrap();
    file.read_at(&mut blocks[1].0, 0).unwrap();
    assert_eq!(blocks[1].0[0], 1);

    let refused = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    };
    refused(file.write_at(&blocks[0].0, 512));
    refused(file.write_at(&blocks[0].0[..512], 0));
    refused(file.read_at(&mut blocks[1].0[..512], 0).map(drop));
    let unaligned_memory = vec![0; 2 * DIRECT_ALIGNMENT + 1];
    let start = usize::from(
        unaligned_memory
            .as_ptr()
            .addr()
            .is_multiple_of(DIRECT_ALIGNMENT),
    );
    refused(file.write_at(&unaligned_memory[start..start + DIRECT_ALIGNMENT], 0));
}

#[test]
fn a_lock_holds_until_dropped_or_the_machine_restarts() {
    let disk = FaultyDisk::new(1);
    let path = Path::new("LOCK");
    let held = disk.lock(path).unwrap();
    assert_eq!(
        disk.lock(path).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    drop(held);
    let stale = disk.lock(path).unwrap();
    sync_root(&disk);
    disk.crash(CrashMode::LoseAll);
    let _held = disk.lock(path).expect("the crash released it");
    drop(stale);
    disk.lock(path)
        .expect_err("dropping a lock of the boot before frees nothing");
}

#[test]
fn the_testers_hands_leave_no_trace_and_touch_nothing_else() {
    let disk = FaultyDisk::new(1);
    drop(open(&disk, "pending", OpenMode::CreateNew));
    let operations = disk.operations();
    disk.write_file("d/e/a", *b"one");
    disk.write_file("d/e/a", *b"two");
    disk.write_file("gone", *b"");
    assert!(disk.remove("gone") && !disk.remove("gone"));
    assert!(disk.flip("d/e/a", 2, 0) && !disk.flip("d/e/a", 3, 0) && !disk.flip("gone", 0, 0));
    assert_eq!(disk.paths(), ["d/e/a", "pending"]);
    assert_eq!(disk.operations(), operations);

    disk.crash(CrashMode::LoseAll);
    assert_eq!(disk.paths(), ["d/e/a"]);
    assert_eq!(disk.read_file("/d/e/a").as_deref(), Some(&b"twn"[..]));
}

#[test]
fn a_removed_file_lives_while_it_is_open_and_then_frees_its_space() {
    let disk = FaultyDisk::new(1);
    let file = open(&disk, "a", OpenMode::CreateNew);
    file.write_at(&[7; 1_000], 0).unwrap();
    disk.set_capacity(Some(1_000));
    let space = || disk.available_space(Path::new("")).unwrap();
    disk.remove_file(Path::new("a")).unwrap();
    sync_root(&disk);
    let mut buf = [0; 4];
    file.read_at(&mut buf, 996).unwrap();
    assert_eq!((buf, space()), ([7; 4], 0));
    drop(file);
    assert_eq!(space(), 1_000);
    assert!(disk.shared.machine().inodes.is_empty());
}
