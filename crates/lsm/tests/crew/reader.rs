//! A reader: which batches does a moment hold?

use std::ops::Bound;
use std::thread;
use std::time::Duration;

use ringwood_env::SeededRandom;
use ringwood_lsm::{Keyspace, ReadOptions, Snapshot};

use super::site::Site;
use super::writer::{COUNT, ENTRY, FLOOR, keys_of, own_key};
use crate::oracle::world::walk;

/// Reads until the site is done.
pub fn read(site: &Site, random: &SeededRandom) {
    let mut seen = vec![0; site.writers()];
    while !site.is_done() {
        let writer = random.index(site.writers());
        let acknowledged = site.acknowledged(writer);
        let shown = match random.below(3) {
            0 => batches_at(&site.journal, writer, None, random.chance(0.5)),
            1 => number_at(&site.journal, &own_key(writer, COUNT), None),
            _ => read_snapshot(site, random, writer),
        };
        let begun = site.begun(writer);
        assert!(
            (acknowledged.max(seen[writer])..=begun).contains(&shown),
            "T2: {shown} batches, of {begun} begun and {acknowledged} acknowledged; {seen:?}"
        );
        seen[writer] = shown;
        site.note("moments read");
        // The cores are for the writers.
        thread::sleep(Duration::from_micros(random.below(500)));
    }
}

/// A moment in every way it can be read, and again a little later.
fn read_snapshot(site: &Site, random: &SeededRandom, writer: usize) -> u64 {
    let snapshot = site.db.snapshot();
    let shown = batches_in(&site.journal, &site.mirror, writer, &snapshot);
    for other in 0..site.writers() {
        batches_in(&site.journal, &site.mirror, other, &snapshot);
    }
    if random.chance(0.1) {
        thread::sleep(Duration::from_millis(5));
    }
    let again = batches_in(&site.journal, &site.mirror, writer, &snapshot);
    assert_eq!(again, shown, "T3: a snapshot changed");
    shown
}

/// How many batches of a writer's a snapshot holds.
pub fn batches_in(
    journal: &Keyspace,
    mirror: &Keyspace,
    writer: usize,
    snapshot: &Snapshot,
) -> u64 {
    let snapshot = Some(snapshot);
    let forward = batches_at(journal, writer, snapshot, true);
    let backward = batches_at(journal, writer, snapshot, false);
    let counted = number_at(journal, &own_key(writer, COUNT), snapshot);
    let mirrored = number_at(mirror, &own_key(writer, b""), snapshot);
    let shown = [forward, backward, counted, mirrored];
    assert_eq!(shown, [forward; 4], "T2: a moment shows half a batch");
    forward
}

/// As the journal's entries have it, which stand without a gap.
fn batches_at(
    journal: &Keyspace,
    writer: usize,
    snapshot: Option<&Snapshot>,
    forward: bool,
) -> u64 {
    let [start, end] = keys_of(writer);
    let bounds = (Bound::Included(&start[..]), Bound::Excluded(&end[..]));
    let options = ReadOptions {
        snapshot,
        ..ReadOptions::default()
    };
    let (mut count, mut floor, mut entries) = (0, 0, Vec::new());
    for (key, value, _) in walk(journal, bounds, &options, forward).unwrap() {
        let number = number(&value);
        match &key[1..] {
            COUNT => count = number,
            FLOOR => floor = number,
            key => {
                assert_eq!(key, [ENTRY, &value[..]].concat());
                entries.push(number);
            }
        }
    }
    assert!(
        entries.iter().copied().eq(floor + 1..=count),
        "T2: {count} batches, {floor} taken off, and there are {entries:?}"
    );
    count
}

fn number_at(space: &Keyspace, key: &[u8], snapshot: Option<&Snapshot>) -> u64 {
    let options = ReadOptions {
        snapshot,
        ..ReadOptions::default()
    };
    let found = space.get_with(key, &options).unwrap();
    found.map_or(0, |found| number(&found.value))
}

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value.try_into().expect("a number has eight bytes"))
}
