//! What plans do.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::clock::{Clock, ManualClock};

/// A disk with a durable file `a` of four blocks, each of its own byte.
fn disk_with_blocks(seed: u64) -> (FaultyDisk, Arc<dyn DiskFile>) {
    let disk = FaultyDisk::new(seed);
    let bytes = (1..=4).flat_map(|block| [block; 4_096]);
    disk.write_file("a", bytes.collect::<Vec<u8>>());
    let file = open(&disk, "a", OpenMode::Write);
    (disk, file)
}

#[test]
fn the_nth_call_of_a_class_fails_once_or_for_good() {
    let outcomes = |failure: Failure| -> Vec<bool> {
        let (disk, file) = disk_with_blocks(1);
        disk.set_plan(FaultPlan::fail(failure));
        let outcomes = (0..4).map(|_| {
            file.read_at(&mut [0; 1], 0).unwrap();
            file.write_at(b"x", 0).is_ok()
        });
        outcomes.collect()
    };
    let writes = Class::Only(Operation::Write);
    assert_eq!(
        outcomes(Failure::once(writes, 2, Fault::Io)),
        [true, false, true, true]
    );
    assert_eq!(
        outcomes(Failure::for_good(Class::Writes, 3, Fault::NoSpace)),
        [true, true, false, false]
    );
    assert_eq!(
        outcomes(Failure::for_good(Class::Any, 1, Fault::Io).of(".log")),
        [true; 4]
    );
}

#[test]
fn every_operation_belongs_to_one_class_or_none() {
    use Operation as Op;
    let all = [
        Op::Open,
        Op::Create,
        Op::Read,
        Op::Write,
        Op::SetLen,
        Op::Sync,
        Op::SyncDir,
        Op::Rename,
        Op::Link,
        Op::Remove,
        Op::CreateDir,
        Op::RemoveDir,
        Op::List,
        Op::Lock,
    ];
    let classes = [Class::Reads, Class::Writes, Class::Syncs, Class::Names];
    for operation in all {
        let count = classes
            .iter()
            .filter(|class| class.contains(operation))
            .count();
        assert_eq!(count, usize::from(operation != Op::Lock), "{operation:?}");
        assert!(Class::Any.contains(operation) && Class::Only(operation).contains(operation));
    }
}

#[test]
fn errors_are_those_of_the_operating_system() {
    assert_eq!(io::Error::from(Fault::Io).raw_os_error(), Some(5));
    assert_eq!(
        io::Error::from(Fault::NoSpace).kind(),
        io::ErrorKind::StorageFull
    );
}

#[test]
fn a_failed_write_may_leave_its_first_sectors() {
    let mut reached = [false; 3];
    for seed in 0..50 {
        let (disk, file) = disk_with_blocks(seed);
        disk.set_plan(FaultPlan::fail(Failure::once(Class::Writes, 1, Fault::Io)));
        file.write_at(&[9; 1_024], 0).unwrap_err();
        let bytes = disk.read_file("a").unwrap();
        let written = bytes.iter().filter(|byte| **byte == 9).count();
        assert!(bytes[..written].iter().all(|byte| *byte == 9));
        reached[written / 512] = true;
    }
    assert_eq!(reached, [true; 3]);
}

#[test]
fn a_full_disk_refuses_growth_only_until_there_is_space() {
    let (disk, file) = disk_with_blocks(1);
    disk.set_capacity(Some(5 * 4_096));
    let space = || disk.available_space(Path::new("")).unwrap();
    assert_eq!(space(), 4_096);
    let full = file.write_at(&[9; 4_097], 4 * 4_096).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(
        file.set_len(5 * 4_096 + 1).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    file.write_at(&[9; 4_096], 0).expect("no growth");
    file.set_len(4_096).unwrap();
    assert_eq!(space(), 4 * 4_096);
    file.write_at(&[9; 4_097], 4_096).expect("space again");
    disk.set_capacity(None);
    assert_eq!(space(), u64::MAX);
}

#[test]
fn reads_may_have_a_bit_flipped_while_the_disk_holds_the_right_one() {
    let (disk, file) = disk_with_blocks(1);
    disk.set_plan(FaultPlan {
        flipped_reads: 0.5,
        ..FaultPlan::default()
    });
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..100 {
        let mut buf = [0; 100];
        file.read_at(&mut buf, 0).unwrap();
        match buf.iter().map(|byte| (byte ^ 1).count_ones()).sum() {
            0 => right += 1,
            1 => wrong += 1,
            bits => panic!("{bits} bits flipped"),
        }
    }
    assert!(right > 20 && wrong > 20, "{right} {wrong}");
    assert_eq!(disk.read_file("a").unwrap()[..100], [1; 100]);
}

#[test]
fn misdirected_reads_return_another_place() {
    let (disk, file) = disk_with_blocks(1);
    disk.write_file("b", vec![7; 4_096]);
    disk.set_plan(FaultPlan {
        misdirected_reads: 0.9,
        ..FaultPlan::default()
    });
    let mut seen = [0; 8];
    for _ in 0..200 {
        let mut buf = [0; 4_096];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 4_096);
        seen[usize::from(buf[0])] += 1;
        assert!(buf.iter().all(|byte| *byte == buf[0]), "a whole block");
    }
    assert!([1, 2, 3, 4, 7].iter().all(|&i| seen[i] > 0), "{seen:?}");
}

#[test]
fn misdirected_writes_miss_their_place_but_extend_the_file() {
    let mut missed = 0;
    for seed in 0..50 {
        let (disk, file) = disk_with_blocks(seed);
        disk.set_plan(FaultPlan {
            misdirected_writes: 0.5,
            ..FaultPlan::default()
        });
        file.write_at(&[9; 4_096], 4 * 4_096).unwrap();
        let bytes = disk.read_file("a").unwrap();
        assert_eq!(bytes.len(), 5 * 4_096);
        let hits = bytes.chunks(4_096).filter(|block| **block == [9; 4_096]);
        assert_eq!(hits.count(), 1, "it went to one place");
        if bytes[4 * 4_096] == 0 {
            missed += 1;
        }
    }
    assert!((10..40).contains(&missed), "{missed}");
}

#[test]
fn slow_operations_take_time_and_hold_no_lock() {
    let (disk, file) = disk_with_blocks(1);
    let clock = Arc::new(ManualClock::new(0));
    let calls = Arc::new(AtomicU32::new(0));
    let hook = {
        let (disk, clock, calls) = (disk.clone(), clock.clone(), calls.clone());
        move |by| {
            assert!(disk.operations() > 0, "the disk can be used meanwhile");
            clock.advance(by);
            calls.fetch_add(1, Ordering::Relaxed);
        }
    };
    disk.on_delay(hook);
    disk.set_plan(FaultPlan {
        delays: vec![Delay {
            on: Class::Syncs,
            suffix: "",
            chance: 0.5,
            by: Duration::from_millis(20),
        }],
        ..FaultPlan::default()
    });
    for _ in 0..100 {
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
    }
    let calls = calls.load(Ordering::Relaxed);
    assert!((30..70).contains(&calls), "{calls}");
    assert_eq!(clock.monotonic(), Duration::from_millis(20) * calls);
}

#[test]
fn failed_syncs_of_names_lose_some_and_leave_nothing_for_the_next() {
    let mut reached = [false; 2];
    for seed in 0..50 {
        let (disk, _) = disk_with_blocks(seed);
        disk.rename(Path::new("a"), Path::new("b")).unwrap();
        disk.set_plan(FaultPlan::fail(Failure::once(Class::Syncs, 1, Fault::Io)));
        disk.sync_dir(Path::new("")).unwrap_err();
        assert_eq!(disk.paths(), ["b"], "still in the cache");
        sync_root(&disk);
        disk.crash(CrashMode::LoseAll);
        reached[usize::from(disk.paths() == ["b"])] = true;
    }
    assert_eq!(reached, [true; 2]);
}

#[test]
fn planted_defects_skip_syncs_of_what_they_name() {
    let disk = FaultyDisk::new(1);
    for path in ["x.log", "x.sst"] {
        disk.write_file(path, vec![1; 4_096]);
    }
    disk.set_plan(FaultPlan {
        ignore_sync_of: vec![".log".to_owned()],
        ignore_sync_dir: true,
        ..FaultPlan::default()
    });
    for path in ["x.log", "x.sst"] {
        let file = open(&disk, path, OpenMode::Write);
        file.write_at(&[2; 512], 0).unwrap();
        file.sync().unwrap();
        let direct = open(&disk, path, OpenMode::DirectSync);
        direct
            .write_at(&Block([3; DIRECT_ALIGNMENT]).0, DIRECT_ALIGNMENT as u64)
            .unwrap();
    }
    drop(open(&disk, "new", OpenMode::CreateNew));
    sync_root(&disk);
    let durable = disk.durable_snapshot();
    assert_eq!(durable["x.log"], vec![1; 4_096]);
    assert_eq!(durable["x.sst"][..512], [2; 512]);
    assert_eq!(durable["x.sst"][4_096..], [3; 4_096]);
    assert!(!durable.contains_key("new"));
}

#[test]
fn the_trace_shows_the_last_calls() {
    let (disk, file) = disk_with_blocks(1);
    disk.set_plan(FaultPlan::crash_at(302));
    for i in 0..300 {
        file.write_at(b"x", i).unwrap();
    }
    disk.remove_file(Path::new("missing")).unwrap_err();
    file.sync().unwrap_err();
    let trace = disk.trace();
    let shown: Vec<String> = trace
        .iter()
        .rev()
        .take(3)
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        shown,
        [
            "#303 Sync a: other error",
            "#302 Remove missing: entity not found",
            "#301 Write a 299+1",
        ]
    );
    assert_eq!(trace.len(), 256);
}

#[test]
fn a_bad_sector_is_never_read_and_the_others_are() {
    let (disk, file) = disk_with_blocks(1);
    disk.set_plan(FaultPlan {
        bad_sectors: vec![BadSector {
            path: "a".to_owned(),
            offset: 4_096 + 700,
        }],
        ..FaultPlan::default()
    });
    let reads = |offset, len| file.read_at(&mut vec![0; len], offset).is_ok();
    for _ in 0..3 {
        assert!(reads(0, 4_096 + 512) && reads(4_096 + 1_024, 4_096));
        assert!(!reads(4_096 + 512, 1) && !reads(4_096 + 1_023, 1) && !reads(0, 16_384));
    }
    disk.set_plan(FaultPlan::default());
    assert!(reads(0, 16_384));
}

#[test]
fn a_file_system_may_not_take_direct_writes() {
    let (disk, _) = disk_with_blocks(1);
    disk.refuse_direct(true);
    for disk in [disk.clone(), disk.image(2)] {
        let opened = disk.open(Path::new("a"), OpenMode::DirectSync);
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert!(disk.open(Path::new("a"), OpenMode::Write).is_ok());
    }
}
