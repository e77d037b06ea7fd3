//! What crashes leave.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const SECTOR: usize = 512;

/// The paths that crashes in `mode` leave, over many seeds.
fn paths_left(disk: &FaultyDisk, mode: CrashMode) -> BTreeSet<Vec<String>> {
    let left = (0..200).map(|seed| {
        let image = disk.image(seed);
        image.crash(mode);
        image.paths()
    });
    left.collect()
}

fn sets<const N: usize>(expected: [&[&str]; N]) -> BTreeSet<Vec<String>> {
    let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    expected.into_iter().map(owned).collect()
}

fn create(disk: &FaultyDisk, path: &str) {
    drop(open(disk, path, OpenMode::CreateNew));
}

#[test]
fn names_are_lost_until_their_directory_is_synced() {
    let disk = FaultyDisk::new(1);
    create(&disk, "a");
    create(&disk, "b");
    assert_eq!(paths_left(&disk, CrashMode::LoseAll), sets([&[]]));
    assert_eq!(
        paths_left(&disk, CrashMode::Prefix),
        sets([&[], &["a"], &["a", "b"]])
    );
    assert_eq!(
        paths_left(&disk, CrashMode::Subset),
        sets([&[], &["a"], &["b"], &["a", "b"]])
    );
    sync_root(&disk);
    disk.remove_file(Path::new("a")).unwrap();
    assert_eq!(paths_left(&disk, CrashMode::LoseAll), sets([&["a", "b"]]));
    assert_eq!(
        paths_left(&disk, CrashMode::Subset),
        sets([&["a", "b"], &["b"]])
    );
}

#[test]
fn what_is_synced_in_a_directory_is_lost_with_the_directory() {
    let disk = FaultyDisk::new(1);
    disk.create_dir_all(Path::new("d/e")).unwrap();
    create(&disk, "d/e/a");
    disk.sync_dir(Path::new("d/e")).unwrap();
    assert_eq!(
        paths_left(&disk, CrashMode::Subset),
        sets([&[], &["d/e/a"]])
    );
    let image = disk.image(1);
    image.crash(CrashMode::LoseAll);
    assert!(
        image.shared.machine().inodes.is_empty(),
        "its space is free"
    );
    disk.sync_dir(Path::new("d")).unwrap();
    sync_root(&disk);
    assert_eq!(paths_left(&disk, CrashMode::LoseAll), sets([&["d/e/a"]]));

    disk.rename(Path::new("d"), Path::new("f")).unwrap();
    assert_eq!(
        paths_left(&disk, CrashMode::Subset),
        sets([&["d/e/a"], &["f/e/a"]])
    );
}

#[test]
fn a_rename_is_one_change_also_between_directories() {
    let disk = FaultyDisk::new(1);
    disk.write_file("d/a", *b"new");
    disk.write_file("e/a", *b"old");
    disk.rename(Path::new("d/a"), Path::new("e/a")).unwrap();
    assert_eq!(
        paths_left(&disk, CrashMode::Subset),
        sets([&["d/a", "e/a"], &["e/a"]])
    );
    // Syncing either directory is enough, and never leaves the file without a name.
    disk.sync_dir(Path::new("d")).unwrap();
    assert_eq!(disk.durable_snapshot()["e/a"], b"new");
    assert_eq!(paths_left(&disk, CrashMode::LoseAll), sets([&["e/a"]]));
}

#[test]
fn names_1_a_name_used_again_takes_the_earlier_rename_with_it() {
    let disk = FaultyDisk::new(1);
    disk.write_file("LOG", *b"old");
    disk.rename(Path::new("LOG"), Path::new("LOG.old")).unwrap();
    create(&disk, "LOG");
    for mode in [CrashMode::Prefix, CrashMode::Subset] {
        let expected = sets([&["LOG"], &["LOG.old"], &["LOG", "LOG.old"]]);
        assert_eq!(paths_left(&disk, mode), expected);
        for seed in 0..100 {
            let image = disk.image(seed);
            image.crash(mode);
            let old = image.durable_snapshot();
            let found = old.values().any(|bytes| bytes == b"old");
            assert!(found, "seed {seed}: the old log is gone: {old:?}");
        }
    }
}

#[test]
fn hard_links_share_bytes_and_are_names_like_others() {
    let disk = FaultyDisk::new(1);
    disk.write_file("a", *b"1");
    disk.hard_link(Path::new("a"), Path::new("b")).unwrap();
    open(&disk, "b", OpenMode::Write).write_at(b"2", 0).unwrap();
    assert_eq!(disk.read_file("a").unwrap(), b"2");
    open(&disk, "a", OpenMode::Write).sync().unwrap();
    assert_eq!(
        paths_left(&disk, CrashMode::Subset),
        sets([&["a"], &["a", "b"]])
    );
    sync_root(&disk);
    disk.remove_file(Path::new("a")).unwrap();
    sync_root(&disk);
    disk.crash(CrashMode::LoseAll);
    assert_eq!(disk.durable_snapshot()["b"], b"2");
}

#[test]
fn after_the_planned_crash_every_call_fails_until_the_restart() {
    let disk = FaultyDisk::new(1);
    disk.write_file("a", *b"old");
    let file = open(&disk, "a", OpenMode::Write);
    let before = disk.operations();
    disk.set_plan(FaultPlan::crash_at(2));
    file.write_at(b"new", 0).unwrap();
    assert!(!disk.is_crashed());
    let error = file.sync().unwrap_err();
    assert!(is_crash(&error) && disk.is_crashed(), "{error}");
    for error in [
        file.len().unwrap_err(),
        file.read_at(&mut [0; 1], 0).unwrap_err(),
        disk.lock(Path::new("LOCK")).unwrap_err(),
        disk.read_dir(Path::new("")).unwrap_err(),
    ] {
        assert!(is_crash(&error), "{error}");
    }
    assert_eq!(disk.operations() - before, 2, "later ones do not count");

    assert!(
        disk.image(7).is_crashed(),
        "a copy of a dead machine is dead"
    );
    disk.crash(CrashMode::LoseAll);
    assert!(!disk.is_crashed());
    assert!(is_crash(&file.len().unwrap_err()), "opened before");
    assert!(is_crash(&file.write_at(b"x", 0).unwrap_err()));
    let mut buf = [0; 3];
    open(&disk, "a", OpenMode::Read)
        .read_at(&mut buf, 0)
        .unwrap();
    assert_eq!(&buf, b"old");
}

#[test]
fn a_direct_write_cut_by_the_crash_may_be_torn_and_a_finished_one_not() {
    let disk = FaultyDisk::new(1);
    disk.write_file("a", vec![1; 2 * DIRECT_ALIGNMENT]);
    let file = open(&disk, "a", OpenMode::DirectSync);
    disk.set_plan(FaultPlan::crash_at(2));
    let block = Block([2; DIRECT_ALIGNMENT]);
    file.write_at(&block.0, 0).unwrap();
    file.write_at(&block.0, DIRECT_ALIGNMENT as u64)
        .unwrap_err();
    let mut counts = BTreeSet::new();
    for seed in 0..300 {
        let image = disk.image(seed);
        image.crash(CrashMode::Subset);
        let bytes = image.read_file("a").unwrap();
        assert_eq!(bytes[..DIRECT_ALIGNMENT], block.0);
        let sectors = bytes[DIRECT_ALIGNMENT..].chunks(SECTOR);
        counts.insert(sectors.filter(|sector| sector[0] == 2).count());
    }
    assert!(counts.iter().copied().eq(0..=8), "{counts:?}");
}

#[test]
fn an_image_is_a_copy() {
    let disk = FaultyDisk::new(1);
    disk.write_file("a", *b"1");
    let file = open(&disk, "a", OpenMode::Write);
    file.write_at(b"2", 0).unwrap();
    let image = disk.image(2);
    file.write_at(b"3", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(image.read_file("a").unwrap(), b"2");
    assert_eq!(image.durable_snapshot()["a"], b"1");
    assert_eq!(image.operations(), 0);
    image.write_file("a", *b"4");
    assert_eq!(disk.read_file("a").unwrap(), b"3");
}

/// Bytes: what each sector may hold after a crash, the surest version first.
struct Sectors {
    versions: Vec<Vec<u8>>,
}

impl Sectors {
    const COUNT: usize = 16;

    fn write(&mut self, first: usize, count: usize, letter: u8, durable: bool) {
        for versions in &mut self.versions[first..first + count] {
            if durable {
                versions.clear();
            }
            versions.push(letter);
        }
    }

    fn sync(&mut self) {
        for versions in &mut self.versions {
            versions.drain(..versions.len() - 1);
        }
    }

    /// Checks what a crash left, and goes on from it.
    fn crash(&mut self, bytes: &[u8]) {
        for (versions, sector) in self.versions.iter_mut().zip(bytes.chunks(SECTOR)) {
            let left = sector[0];
            assert!(versions.contains(&left), "{left} is none of {versions:?}");
            assert!(sector.iter().all(|byte| *byte == left), "a mixture");
            *versions = vec![left];
        }
    }
}

#[test]
fn faulty_1_and_3_synced_bytes_survive_and_sectors_are_whole() {
    for seed in 0..300 {
        let random = SeededRandom::new(seed);
        let disk = FaultyDisk::new(seed);
        disk.write_file("a", vec![0; Sectors::COUNT * SECTOR]);
        let mut model = Sectors {
            versions: vec![vec![0]; Sectors::COUNT],
        };
        for _ in 0..5 {
            let file = open(&disk, "a", OpenMode::Write);
            let direct = open(&disk, "a", OpenMode::DirectSync);
            for letter in 1..40 {
                match random.below(10) {
                    0 => {
                        file.sync().unwrap();
                        model.sync();
                    }
                    1 => {
                        let half = random.index(2);
                        let block = Block([letter; DIRECT_ALIGNMENT]);
                        let offset = half * DIRECT_ALIGNMENT;
                        direct.write_at(&block.0, offset as u64).unwrap();
                        model.write(half * 8, 8, letter, true);
                    }
                    _ => {
                        let first = random.index(Sectors::COUNT);
                        let count = random.index(Sectors::COUNT - first) + 1;
                        let bytes = vec![letter; count * SECTOR];
                        file.write_at(&bytes, (first * SECTOR) as u64).unwrap();
                        model.write(first, count, letter, false);
                    }
                }
            }
            disk.crash(*random.pick(&CrashMode::ALL));
            model.crash(&disk.read_file("a").unwrap());
        }
    }
}

/// Names: what each may be bound to after a crash (the contents are the file's identity), the
/// surest first; and the files that must still have some name.
#[derive(Default)]
struct Tree {
    versions: BTreeMap<String, Vec<Option<u64>>>,
    safe: BTreeSet<u64>,
}

impl Tree {
    fn now(&self, name: &str) -> Option<u64> {
        self.versions.get(name).and_then(|v| *v.last().unwrap())
    }

    fn bind(&mut self, name: &str, file: Option<u64>) {
        if let Some(old) = self.now(name) {
            self.safe.remove(&old);
        }
        let versions = self.versions.entry(name.to_owned());
        versions.or_insert_with(|| vec![None]).push(file);
    }

    fn rename(&mut self, from: &str, to: &str) {
        let file = self.now(from).unwrap();
        let safe = self.safe.contains(&file);
        self.bind(to, Some(file));
        self.bind(from, None);
        if safe {
            self.safe.insert(file);
        }
    }

    fn sync(&mut self, dir: &str) {
        for (name, versions) in &mut self.versions {
            if name.starts_with(dir) {
                versions.drain(..versions.len() - 1);
                self.safe.extend(versions[0]);
            }
        }
    }

    fn crash(&mut self, disk: &FaultyDisk) {
        let mut found = BTreeSet::new();
        for (name, versions) in &mut self.versions {
            let bytes = disk.read_file(name);
            let left = bytes.map(|b| u64::from_le_bytes(b.try_into().expect("synced contents")));
            assert!(versions.contains(&left), "{name}: {left:?} of {versions:?}");
            *versions = vec![left];
            found.extend(left);
        }
        assert!(self.safe.is_subset(&found), "{:?} lost a name", self.safe);
        assert_eq!(disk.paths().is_empty(), found.is_empty());
        self.safe = found;
    }
}

#[test]
fn faulty_2_synced_names_survive_and_renames_lose_no_file() {
    const NAMES: [&str; 6] = ["d/a", "d/b", "d/c", "e/a", "e/b", "e/c"];
    for seed in 0..300 {
        let random = SeededRandom::new(seed);
        let disk = FaultyDisk::new(seed);
        for dir in ["d", "e"] {
            disk.create_dir_all(Path::new(dir)).unwrap();
        }
        sync_root(&disk);
        let mut model = Tree::default();
        let mut made = 0_u64;
        for _ in 0..5 {
            for _ in 0..25 {
                let (name, other) = (*random.pick(&NAMES), *random.pick(&NAMES));
                match (random.below(8), model.now(name)) {
                    (0, _) => {
                        let dir = &name[..1];
                        disk.sync_dir(Path::new(dir)).unwrap();
                        model.sync(dir);
                    }
                    (_, None) => {
                        made += 1;
                        let file = open(&disk, name, OpenMode::CreateNew);
                        file.write_at(&made.to_le_bytes(), 0).unwrap();
                        file.sync().unwrap();
                        model.bind(name, Some(made));
                    }
                    (1 | 2, Some(_)) => {
                        disk.remove_file(Path::new(name)).unwrap();
                        model.bind(name, None);
                    }
                    (_, Some(_)) if name != other => {
                        disk.rename(Path::new(name), Path::new(other)).unwrap();
                        model.rename(name, other);
                    }
                    _ => {}
                }
            }
            disk.crash(*random.pick(&CrashMode::ALL));
            model.crash(&disk);
        }
    }
}
