use ringwood_env::faulty::{Class, Delay, Operation};
use ringwood_env::{Disk, FaultPlan, FaultyDisk};

use super::*;

#[test]
fn one_segment_is_prepared_at_a_time() {
    let disk = FaultyDisk::new(0);
    let db = Db::open(Options {
        memory_budget: 1 << 20,
        log_segment_len: 16 << 10,
        threads: 0,
        disk: Arc::new(disk.clone()),
        ..Options::new("store")
    });
    let db = db.unwrap();
    assert_eq!(db.statistics().log_segments, 1);
    // Slow enough for all to come while the first is at it.
    let slow = Delay {
        on: Class::Only(Operation::Sync),
        suffix: "",
        chance: 1.0,
        by: Duration::from_millis(30),
    };
    disk.set_plan(FaultPlan {
        delays: vec![slow],
        ..FaultPlan::default()
    });
    disk.on_delay(std::thread::sleep);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| db.inner.store.prepare_spare(0).unwrap());
        }
    });
    let made = db.statistics().log_segments;
    assert_eq!(made, 2, "the others waited for the one in the making");
}

#[test]
fn the_picture_counts_what_is_in_memory_and_what_the_log_takes() {
    let disk = FaultyDisk::new(0);
    let db = Db::open(Options {
        threads: 0,
        disk: Arc::new(disk.clone()),
        ..Options::new("store")
    });
    let db = db.unwrap();
    let keys = db.create_keyspace("keys", Default::default()).unwrap();
    for key in [b"a", b"b", b"b"] {
        keys.put(key, b"x", Durability::Synced).unwrap();
    }
    let picture = db.statistics();
    let part = |name| picture.keyspaces.iter().find(|part| part.name == name);
    assert_eq!(part("keys").unwrap().memtable_entries, 3);
    let files = disk.read_dir(std::path::Path::new("store")).unwrap();
    let logs = files
        .iter()
        .map(|file| std::path::Path::new("store").join(&file.name))
        .filter(|path| path.extension().is_some_and(|end| end == "log"));
    let taken: u64 = logs.map(|path| disk.file_len(&path).unwrap()).sum();
    assert_eq!(picture.log_disk_bytes, taken);
}
