use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

#[test]
fn reads_and_writes_by_position_from_any_handle() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let file = RealDisk.open(&path, OpenMode::CreateNew).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(b"world", 6).unwrap();
    file.write_at(b"hello", 0).unwrap();
    file.sync().unwrap();

    let reader = RealDisk.open(&path, OpenMode::Read).unwrap();
    let mut buf = [7; 20];
    assert_eq!(reader.read_at(&mut buf, 0).unwrap(), 11);
    assert_eq!(&buf[..12], b"hello\0world\x07", "the gap is zeros");
    assert_eq!(reader.read_at(&mut buf, 9).unwrap(), 2);
    assert_eq!(reader.read_at(&mut buf, 100).unwrap(), 0);
    reader.write_at(b"x", 0).expect_err("opened to be read");

    file.set_len(3).unwrap();
    file.set_len(5).unwrap();
    assert_eq!(reader.read_at(&mut buf, 0).unwrap(), 5);
    assert_eq!(&buf[..5], b"hel\0\0");
    assert_eq!(RealDisk.file_len(&path).unwrap(), 5);
    reader.will_need(0, 5);
    reader.will_not_need(0, 0);
}

#[test]
fn opening_says_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    for mode in [OpenMode::Read, OpenMode::Write, OpenMode::DirectSync] {
        let error = RealDisk.open(&path, mode).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{mode:?}");
    }
    RealDisk.open(&path, OpenMode::CreateNew).unwrap();
    let error = RealDisk.open(&path, OpenMode::CreateNew).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
}

/// In `directory`, a file of a block and a half opened directly; `None` where the file system of
/// this machine has no direct I/O and said so.
fn direct_file(directory: &Path) -> Option<Arc<dyn DiskFile>> {
    let path = directory.join("a");
    let file = RealDisk.open(&path, OpenMode::CreateNew).unwrap();
    file.write_at(&[1; DIRECT_ALIGNMENT * 3 / 2], 0).unwrap();
    match RealDisk.open(&path, OpenMode::DirectSync) {
        Ok(file) => Some(file),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
            None
        }
    }
}

#[test]
fn direct_access_reads_to_an_unaligned_end_and_writes_whole_blocks() {
    // Beside the test itself, for temporary directories are often in memory.
    let program = std::env::current_exe().unwrap();
    let directory = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let Some(file) = direct_file(directory.path()) else {
        return;
    };
    #[repr(align(4096))]
    struct Blocks([u8; 3 * DIRECT_ALIGNMENT]);
    let mut blocks = Blocks([0; 3 * DIRECT_ALIGNMENT]);
    let count = file.read_at(&mut blocks.0, 0).unwrap();
    assert_eq!(count, DIRECT_ALIGNMENT * 3 / 2);
    assert!(blocks.0[..count].iter().all(|byte| *byte == 1));

    blocks.0.fill(2);
    file.write_at(&blocks.0, DIRECT_ALIGNMENT as u64).unwrap();
    assert_eq!(file.len().unwrap(), 4 * DIRECT_ALIGNMENT as u64);
    let error = file.write_at(&blocks.0[1..=DIRECT_ALIGNMENT], 0);
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn names_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let names = || {
        let entries = RealDisk.read_dir(directory.path()).unwrap();
        let mut names: Vec<_> = entries
            .into_iter()
            .map(|e| (e.name, e.len, e.is_dir))
            .collect();
        names.sort();
        names
    };
    let entry = |name: &str, len, is_dir| (name.to_owned(), len, is_dir);
    RealDisk.create_dir_all(&path("d/e")).unwrap();
    RealDisk.create_dir_all(&path("d/e")).unwrap();
    let file = RealDisk.open(&path("a"), OpenMode::CreateNew).unwrap();
    file.write_at(b"abc", 0).unwrap();
    RealDisk.hard_link(&path("a"), &path("b")).unwrap();
    RealDisk.rename(&path("a"), &path("c")).unwrap();
    RealDisk.sync_dir(directory.path()).unwrap();
    assert_eq!(
        names(),
        [
            entry("b", 3, false),
            entry("c", 3, false),
            entry("d", 0, true)
        ]
    );

    let error = RealDisk.remove_dir(&path("d")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
    RealDisk.remove_dir(&path("d/e")).unwrap();
    RealDisk.remove_dir(&path("d")).unwrap();
    RealDisk.remove_file(&path("b")).unwrap();
    assert_eq!(names(), [entry("c", 3, false)]);
    assert!(RealDisk.available_space(directory.path()).unwrap() > 0);
    let error = RealDisk.read_dir(&path("d")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_directory_is_listed_while_files_in_it_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |i: u32| directory.path().join(i.to_string());
    let create = |i: u32| drop(RealDisk.open(&path(i), OpenMode::CreateNew).unwrap());
    (0..300).for_each(create);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..300).for_each(|i| RealDisk.remove_file(&path(i)).unwrap()));
        while !RealDisk.read_dir(directory.path()).unwrap().is_empty() {}
    });
}

#[test]
fn a_lock_keeps_out_a_second_opener_in_the_same_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("LOCK");
    let held = RealDisk.lock(&path).unwrap();
    let error = RealDisk.lock(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(held);
    RealDisk.lock(&path).unwrap();
}

const LOCK_PATH: &str = "RINGWOOD_TEST_LOCK_PATH";

/// Not a test of its own: the other process of the next one.
#[test]
#[ignore = "run by a_lock_keeps_out_another_process_until_that_is_killed"]
fn hold_a_lock_until_killed() {
    let Some(path) = std::env::var_os(LOCK_PATH) else {
        return;
    };
    let _held = RealDisk.lock(Path::new(&path)).unwrap();
    println!("\nlocked");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn a_lock_keeps_out_another_process_until_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("LOCK");
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("real::tests::hold_a_lock_until_killed")
        .env(LOCK_PATH, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(other.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap() == "locked"));
    let error = RealDisk.lock(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    other.kill().unwrap();
    other.wait().unwrap();
    RealDisk.lock(&path).expect("free when its holder is dead");
}
