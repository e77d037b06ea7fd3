use super::*;
use crate::faulty::{Class, Failure, Fault, FaultPlan, FaultyDisk, Operation};

/// A latched faulty disk with a durable file `a`, opened to be written.
fn disk_with_file() -> (FaultyDisk, LatchedDisk, Arc<dyn DiskFile>) {
    let faulty = FaultyDisk::new(1);
    faulty.write_file("a", *b"bytes");
    let disk = LatchedDisk::new(Arc::new(faulty.clone()));
    let file = disk.open(Path::new("a"), OpenMode::Write).unwrap();
    (faulty, disk, file)
}

type Change = fn(&LatchedDisk, &dyn DiskFile) -> io::Result<()>;

/// Every call that changes something, each possible once on `disk_with_file`.
const CHANGES: [(Operation, Change); 9] = [
    (Operation::Write, |_, file| file.write_at(b"x", 0)),
    (Operation::SetLen, |_, file| file.set_len(3)),
    (Operation::Sync, |_, file| file.sync()),
    (Operation::SyncDir, |disk, _| disk.sync_dir(Path::new(""))),
    (Operation::Create, |disk, _| {
        disk.open(Path::new("new"), OpenMode::CreateNew).map(drop)
    }),
    (Operation::Link, |disk, _| {
        disk.hard_link(Path::new("a"), Path::new("linked"))
    }),
    (Operation::Rename, |disk, _| {
        disk.rename(Path::new("a"), Path::new("b"))
    }),
    (Operation::CreateDir, |disk, _| {
        disk.create_dir_all(Path::new("dir"))
    }),
    (Operation::Remove, |disk, _| {
        disk.remove_file(Path::new("a"))
    }),
];

#[test]
fn latch_1_any_failed_change_stops_all_later_ones_and_no_read() {
    for (failing, change) in CHANGES {
        let (faulty, disk, file) = disk_with_file();
        faulty.set_plan(FaultPlan::fail(Failure::once(
            Class::Only(failing),
            1,
            Fault::Io,
        )));
        assert!(disk.failure().is_none());
        let error = change(&disk, &*file).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "the first caller sees EIO");

        let first = disk.failure().expect("latched").to_string();
        let operations = faulty.operations();
        for (later, change) in CHANGES {
            let error = change(&disk, &*file).expect_err("latched");
            assert!(
                error.to_string().contains(&first),
                "{later:?} after {failing:?}: {error}"
            );
        }
        assert_eq!(faulty.operations(), operations, "nothing reached the disk");

        let mut buf = [0; 5];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 5);
        assert_eq!(file.len().unwrap(), 5);
        disk.open(Path::new("a"), OpenMode::Read).unwrap();
        assert_eq!(disk.read_dir(Path::new("")).unwrap().len(), 1);
    }
}

#[test]
fn latch_1_the_failure_names_operation_and_file_and_stays_the_first() {
    let (faulty, disk, file) = disk_with_file();
    faulty.set_plan(FaultPlan::fail(Failure::for_good(
        Class::Syncs,
        1,
        Fault::Io,
    )));
    file.sync().unwrap_err();
    disk.sync_dir(Path::new("")).unwrap_err();
    let first = disk.failure().unwrap();
    assert!(
        first.to_string().starts_with("sync of a failed: "),
        "{first}"
    );
}

#[test]
fn latch_1_a_sync_without_space_latches_and_is_not_reported_as_a_full_disk() {
    let (faulty, disk, file) = disk_with_file();
    faulty.set_plan(FaultPlan::fail(Failure::once(
        Class::Syncs,
        1,
        Fault::NoSpace,
    )));
    assert_eq!(file.sync().unwrap_err().kind(), io::ErrorKind::StorageFull);
    let later = file.write_at(b"x", 0).unwrap_err();
    assert_eq!(later.kind(), io::ErrorKind::Other);
    assert!(disk.failure().is_some());
}

#[test]
fn latch_2_refusals_do_not_latch() {
    let (faulty, disk, file) = disk_with_file();
    let refused = |result: io::Result<()>, kind| {
        assert_eq!(result.unwrap_err().kind(), kind);
        assert!(disk.failure().is_none());
    };
    let (a, missing, dir) = (Path::new("a"), Path::new("missing"), Path::new("dir"));
    refused(disk.remove_file(missing), io::ErrorKind::NotFound);
    refused(disk.hard_link(a, a), io::ErrorKind::AlreadyExists);
    refused(
        disk.open(a, OpenMode::CreateNew).map(drop),
        io::ErrorKind::AlreadyExists,
    );
    disk.create_dir_all(dir).unwrap();
    disk.hard_link(a, &dir.join("a")).unwrap();
    refused(disk.remove_dir(dir), io::ErrorKind::DirectoryNotEmpty);

    faulty.set_capacity(Some(5));
    refused(file.write_at(&[7; 600], 0), io::ErrorKind::StorageFull);
    refused(file.set_len(600), io::ErrorKind::StorageFull);
    faulty.set_capacity(None);
    file.write_at(&[7; 600], 0).unwrap();
    file.sync().unwrap();
}

#[test]
fn failed_reads_do_not_latch() {
    let (faulty, disk, file) = disk_with_file();
    faulty.set_plan(FaultPlan::fail(Failure::for_good(
        Class::Reads,
        1,
        Fault::Io,
    )));
    file.read_at(&mut [0; 5], 0).unwrap_err();
    disk.read_dir(Path::new("")).unwrap_err();
    disk.open(Path::new("a"), OpenMode::Read).unwrap_err();
    assert!(disk.failure().is_none());
    file.write_at(b"x", 0).unwrap();
}

/// The trap the latch is for: without it the second sync would report success.
#[test]
fn a_sync_after_a_failed_one_is_not_believed() {
    let (faulty, _, file) = disk_with_file();
    file.write_at(b"later", 0).unwrap();
    faulty.set_plan(FaultPlan::fail(Failure::once(Class::Syncs, 1, Fault::Io)));
    file.sync().unwrap_err();
    file.sync().expect_err("latched");
    let bare = faulty.open(Path::new("a"), OpenMode::Write).unwrap();
    bare.sync().expect("the disk itself calls the pages clean");
}
