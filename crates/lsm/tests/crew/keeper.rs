//! A keeper: what an operator does to a store while others work.

use std::path::Path;
use std::thread;
use std::time::Duration;

use ringwood_env::SeededRandom;
use ringwood_lsm::{Db, Durability, KeyspaceOptions, Options};

use super::reader::batches_in;
use super::site::Site;

/// Goes on until the site is done; copies go below `directory`.
pub fn keep(site: &Site, random: &SeededRandom, directory: &Path) {
    let mut copies = 0;
    while !site.is_done() {
        thread::sleep(Duration::from_millis(random.below(60)));
        match random.below(8) {
            0 | 1 => site.db.flush().unwrap(),
            2 => {
                let spaces: Vec<_> = site.spaces().collect();
                random.pick(&spaces).compact().unwrap();
            }
            3 => verify(&site.db),
            4 => site.db.sync().unwrap(),
            5 => come_and_go(&site.db),
            6 => {
                copies += 1;
                copy(site, &directory.join(format!("copy-{copies}")));
            }
            _ => drop(site.db.statistics()),
        }
        site.note("chores");
    }
}

/// A keyspace of its own, which leaves nothing.
fn come_and_go(db: &Db) {
    const NAME: &str = "passing";
    let space = db
        .create_keyspace(NAME, KeyspaceOptions::default())
        .unwrap();
    let value = [7; 1000];
    for n in 0..100_u32 {
        let key = n.to_be_bytes();
        assert!(space.get(&key).unwrap().is_none(), "of a dropped keyspace");
        space.put(&key, &value, Durability::Buffered).unwrap();
    }
    db.drop_keyspace(NAME).unwrap();
}

fn verify(db: &Db) {
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// T2, of a copy.
fn copy(site: &Site, path: &Path) {
    let writers = 0..site.writers();
    let acknowledged: Vec<_> = writers.clone().map(|one| site.acknowledged(one)).collect();
    site.db.checkpoint(path).unwrap();
    let begun: Vec<_> = writers.clone().map(|one| site.begun(one)).collect();
    let copy = Db::open(Options {
        create: false,
        memory_budget: 1 << 20,
        threads: 0,
        ..Options::new(path)
    });
    let copy = copy.unwrap();
    verify(&copy);
    let space = |name: &str| copy.keyspace(name).unwrap();
    let (journal, mirror) = (space(site.journal.name()), space(site.mirror.name()));
    let snapshot = copy.snapshot();
    for writer in writers {
        let copied = batches_in(&journal, &mirror, writer, &snapshot);
        let (least, most) = (acknowledged[writer], begun[writer]);
        assert!(
            (least..=most).contains(&copied),
            "T2: a copy has {copied} batches, not {least} to {most}"
        );
    }
    drop((journal, mirror, snapshot));
    copy.close().unwrap();
    std::fs::remove_dir_all(path).unwrap();
}
