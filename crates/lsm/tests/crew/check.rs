//! Comparing what a store shows with models, while the clock goes on.

use std::ops::Bound;

use ringwood_lsm::{Db, Keyspace, ReadOptions, Snapshot};

use super::writer::Writer;
use crate::oracle::model::{Entry, State};
use crate::oracle::world::{ALL, Found, walk};

/// Runs `read`, and says what the store's clock showed before and after.
pub fn timed<T>(db: &Db, read: impl FnOnce() -> T) -> (T, u64, u64) {
    let before = db.now();
    let shown = read();
    (shown, before, db.now())
}

/// T1, T3, T4: compares what was found with entries, in order, that were visible before; those that
/// are not visible `after` may be missing.
pub fn compare<'a>(
    what: &str,
    expected: impl Iterator<Item = (&'a Vec<u8>, &'a Entry)>,
    found: &Found,
    after: u64,
) {
    let mut found = found.iter().peekable();
    for (key, entry) in expected {
        let next = found.next_if(|(found, ..)| found == key);
        if next.is_none() && !entry.is_visible(after) {
            continue;
        }
        let shown = next.map(|(_, value, deadline)| (&value[..], *deadline));
        let key = key.escape_ascii();
        assert!(
            shown == Some((&entry.value[..], entry.deadline)),
            "{what}: {key} is {shown:?}, not {entry:?}"
        );
    }
    let more = found.next();
    assert!(more.is_none(), "{what}: nobody wrote {more:?}");
}

/// What a range of one keyspace shows must be what `states`, of writers in order, have.
pub fn compare_range(
    db: &Db,
    space: &Keyspace,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
    snapshot: Option<&Snapshot>,
    states: &[&State],
) {
    let options = ReadOptions {
        snapshot,
        ..ReadOptions::default()
    };
    for forward in [true, false] {
        let read = || walk(space, bounds, &options, forward).unwrap();
        let (found, before, after) = timed(db, read);
        let expected = states
            .iter()
            .flat_map(|state| state.range(space.id().number(), bounds, before));
        let what = format!("{}, forward {forward}", space.name());
        compare(&what, expected, &found, after);
    }
}

/// T3, T4: the whole store is as the writers have it; nobody writes meanwhile, or `snapshot` is of a
/// moment when nobody did.
pub fn compare_all<'a>(
    db: &Db,
    spaces: impl Iterator<Item = &'a Keyspace>,
    snapshot: Option<&Snapshot>,
    states: &[&State],
) {
    for space in spaces {
        compare_range(db, space, ALL, snapshot, states);
    }
}

/// What the writers have now.
pub fn states(writers: &[Writer]) -> Vec<&State> {
    writers.iter().map(|writer| &writer.state).collect()
}
