//! Where the log of the metadata group lies in the engine.
//!
//! # Invariants
//! - `metalog-1`: what [`MetadataLog::open`] gives back is what the batches made of it that are in the
//!   engine's log: each whole or not at all, in the order in which they were added.
//!
//! # Format
//! Keyspace `system`, values as `ringwood_protocol::consensus` encodes them:
//! ```text
//! "metadata/hard"                      → HardState
//! "metadata/snapshot"                  → Snapshot
//! "metadata/log/" index u64 big-endian → Entry
//! ```

use std::collections::BTreeMap;
use std::ops::Bound;

use ringwood_lsm::{Batch, Keyspace, ReadOptions};
use ringwood_protocol::consensus::{Entry, HardState, Index, Persist, Snapshot, Stored, Term};
use ringwood_wire::Encoded;

use crate::error::OpenError;

const HARD: &[u8] = b"metadata/hard";
const SNAPSHOT: &[u8] = b"metadata/snapshot";
const LOG: &[u8] = b"metadata/log/";
const LOG_END: &[u8] = b"metadata/log0";

/// The log's place, and what stands in it once everything that was added is written.
#[derive(Debug)]
pub struct MetadataLog {
    system: Keyspace,
    terms: BTreeMap<Index, Term>,
}

impl MetadataLog {
    /// Reads the log; `None` where this node never was a member of a group.
    ///
    /// # Errors
    /// [`OpenError::DamagedSystemRecord`], or as reads do.
    pub fn open(system: Keyspace) -> Result<(Self, Option<Stored>), OpenError> {
        let hard = read::<HardState>(&system, HARD)?;
        let snapshot = read::<Snapshot>(&system, SNAPSHOT)?;
        let entries = read_entries(&system)?;
        let stored = match (hard, snapshot) {
            (Some(hard), Some(snapshot)) => Some(Stored {
                hard,
                snapshot,
                entries,
            }),
            (None, None) if entries.is_empty() => None,
            (None, _) => return Err(damaged(HARD)),
            (_, None) => return Err(damaged(SNAPSHOT)),
        };
        let entries = stored.iter().flat_map(|stored| &stored.entries);
        let terms = entries.map(|entry| (entry.index, entry.term)).collect();
        Ok((Self { system, terms }, stored))
    }

    /// Adds what a new member begins with.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn add_first(&mut self, stored: &Stored, batch: &mut Batch) -> ringwood_lsm::Result<()> {
        self.terms.clear();
        batch.delete_range(self.system.id(), LOG, LOG_END)?;
        self.put(batch, HARD, &stored.hard)?;
        self.put(batch, SNAPSHOT, &stored.snapshot)?;
        self.put_entries(batch, &stored.entries)
    }

    /// Adds a batch of the group. The engine must get it behind all earlier ones.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn add(&mut self, persist: &Persist, batch: &mut Batch) -> ringwood_lsm::Result<()> {
        if let Some(hard) = &persist.hard {
            self.put(batch, HARD, hard)?;
        }
        if let Some(snapshot) = &persist.snapshot {
            self.put(batch, SNAPSHOT, snapshot)?;
            let goes_on = self.terms.get(&snapshot.index) == Some(&snapshot.term);
            let behind = self.terms.split_off(&snapshot.index.next());
            self.terms = if goes_on { behind } else { BTreeMap::new() };
            let end = match goes_on {
                true => entry_key(snapshot.index.next()).to_vec(),
                false => LOG_END.to_vec(),
            };
            batch.delete_range(self.system.id(), LOG, &end)?;
        }
        if let Some(first) = persist.entries.first() {
            if !self.terms.split_off(&first.index).is_empty() {
                batch.delete_range(self.system.id(), &entry_key(first.index), LOG_END)?;
            }
            self.put_entries(batch, &persist.entries)?;
        }
        Ok(())
    }

    fn put_entries(&mut self, batch: &mut Batch, entries: &[Entry]) -> ringwood_lsm::Result<()> {
        for entry in entries {
            self.put(batch, &entry_key(entry.index), entry)?;
            self.terms.insert(entry.index, entry.term);
        }
        Ok(())
    }

    fn put(&self, batch: &mut Batch, key: &[u8], value: &impl Encoded) -> ringwood_lsm::Result<()> {
        batch.put(self.system.id(), key, &value.to_vec())
    }
}

fn read_entries(system: &Keyspace) -> Result<Vec<Entry>, OpenError> {
    let range = (Bound::Included(LOG), Bound::Excluded(LOG_END));
    let mut iter = system.range(range, &ReadOptions::default())?;
    let mut entries = Vec::new();
    iter.seek_to_first()?;
    while iter.valid() {
        let entry = Entry::decode(iter.value()).ok();
        let entry = entry.filter(|entry| entry_key(entry.index) == iter.key());
        entries.push(entry.ok_or_else(|| damaged(iter.key()))?);
        iter.next()?;
    }
    Ok(entries)
}

fn read<T: Encoded>(system: &Keyspace, key: &[u8]) -> Result<Option<T>, OpenError> {
    let Some(stored) = system.get(key)? else {
        return Ok(None);
    };
    T::decode(&stored).map(Some).map_err(|_| damaged(key))
}

fn damaged(key: &[u8]) -> OpenError {
    OpenError::DamagedSystemRecord {
        record: key.escape_ascii().to_string(),
    }
}

fn entry_key(index: Index) -> [u8; LOG.len() + 8] {
    let mut key = [0; LOG.len() + 8];
    key[..LOG.len()].copy_from_slice(LOG);
    key[LOG.len()..].copy_from_slice(&index.get().to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use ringwood_env::FaultyDisk;
    use ringwood_env::faulty::CrashMode;
    use ringwood_lsm::{Db, Durability, KeyspaceOptions, Options};
    use ringwood_protocol::consensus::{Members, Payload};
    use ringwood_types::NodeId;

    use super::*;

    fn open(disk: &FaultyDisk) -> (Db, MetadataLog, Option<Stored>) {
        let db = Db::open(Options {
            disk: Arc::new(disk.clone()),
            threads: 0,
            ..Options::new("/store")
        })
        .unwrap();
        let system = db
            .keyspace("system")
            .or_else(|_| db.create_keyspace("system", KeyspaceOptions::default()))
            .unwrap();
        let (log, stored) = MetadataLog::open(system).unwrap();
        (db, log, stored)
    }

    fn entry(index: u64, term: u64) -> Entry {
        Entry {
            index: Index::new(index),
            term: Term::new(term),
            payload: Payload::Data(Arc::from(index.to_le_bytes())),
        }
    }

    fn first() -> Stored {
        Stored::bootstrapped(NodeId::new(1), Arc::from(*b"state"))
    }

    /// What the seam says that a batch makes of what is stored.
    fn apply(stored: &mut Stored, persist: &Persist) {
        stored.hard = persist.hard.unwrap_or(stored.hard);
        if let Some(snapshot) = &persist.snapshot {
            let goes_on = stored
                .entries
                .iter()
                .any(|entry| (entry.index, entry.term) == (snapshot.index, snapshot.term));
            let behind = |entry: &Entry| goes_on && entry.index > snapshot.index;
            stored.entries.retain(behind);
            stored.snapshot = snapshot.clone();
        }
        if let Some(first) = persist.entries.first() {
            stored.entries.retain(|entry| entry.index < first.index);
            stored.entries.extend(persist.entries.iter().cloned());
        }
    }

    /// A batch that a group could emit behind `stored`.
    fn batch(stored: &Stored, (kind, at, len, term): (u8, u64, u64, u64)) -> Persist {
        let (base, last) = (
            stored.snapshot.index.get(),
            stored.snapshot.index.get() + stored.entries.len() as u64,
        );
        let term = stored.hard.term.get().max(term);
        let mut persist = Persist {
            number: 0,
            hard: (kind % 2 == 0).then(|| HardState {
                term: Term::new(term),
                ..stored.hard
            }),
            entries: Vec::new(),
            snapshot: None,
            sync: true,
            then_send: Vec::new(),
        };
        let cut = base + 1 + at % (last - base + 2);
        if kind >= 3 {
            let known = stored.entries.iter().find(|one| one.index.get() == cut);
            persist.snapshot = Some(Snapshot {
                index: Index::new(cut),
                // Another term than the log's: what lies behind it goes too.
                term: known
                    .filter(|_| kind < 5)
                    .map_or(Term::new(term + 1), |one| one.term),
                members: Members::of_voters([NodeId::new(1)]),
                state: Arc::from(at.to_le_bytes()),
            });
        } else {
            let from = cut.min(last + 1);
            persist.entries = (from..from + len).map(|index| entry(index, term)).collect();
        }
        persist
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn metalog_1_what_was_added_is_read_back_also_after_a_crash(
            steps in prop::collection::vec((0u8..6, 0u64..9, 0u64..4, 1u64..5), 0..24), seed: u64,
        ) {
            let disk = FaultyDisk::new(seed);
            let (db, mut log, none) = open(&disk);
            prop_assert_eq!(none, None);
            let mut model = first();
            let mut batch_of = Batch::new();
            log.add_first(&model, &mut batch_of).unwrap();
            db.write(&batch_of, Durability::Synced).unwrap();
            for (at, &step) in steps.iter().enumerate() {
                let persist = batch(&model, step);
                let mut batch_of = Batch::new();
                log.add(&persist, &mut batch_of).unwrap();
                if !batch_of.is_empty() {
                    db.write(&batch_of, Durability::Synced).unwrap();
                }
                apply(&mut model, &persist);
                if at % 5 == 4 {
                    db.flush().unwrap();
                }
            }
            disk.crash(CrashMode::Prefix);
            drop((log, db));
            let (_db, mut log, stored) = open(&disk.image(seed));
            prop_assert_eq!(stored.as_ref(), Some(&model));
            // It goes on from what it read as from what it wrote.
            let persist = batch(&model, (0, 0, 2, 9));
            log.add(&persist, &mut Batch::new()).unwrap();
            apply(&mut model, &persist);
            let terms = model.entries.iter().map(|entry| (entry.index, entry.term)).collect();
            prop_assert_eq!(log.terms, terms);
        }
    }

    #[test]
    fn damage_is_said_and_names_the_record() {
        let disk = FaultyDisk::new(1);
        let (db, mut log, _) = open(&disk);
        let mut batch = Batch::new();
        log.add_first(&first(), &mut batch).unwrap();
        db.write(&batch, Durability::Synced).unwrap();
        let system = db.keyspace("system").unwrap();
        let misplaced = entry(9, 1).to_vec();
        let damage = |key: &[u8], value: Option<&[u8]>| {
            let whole = system.get(key).unwrap();
            match value {
                Some(value) => system.put(key, value, Durability::Synced).unwrap(),
                None => system.delete(key, Durability::Synced).unwrap(),
            };
            let error = MetadataLog::open(system.clone()).unwrap_err();
            let OpenError::DamagedSystemRecord { record } = error else {
                panic!("{error}");
            };
            assert_eq!(record, key.escape_ascii().to_string());
            match whole {
                Some(whole) => system.put(key, &whole, Durability::Synced).unwrap(),
                None => system.delete(key, Durability::Synced).unwrap(),
            };
        };
        damage(&entry_key(Index::new(2)), Some(&misplaced));
        for record in [SNAPSHOT, HARD] {
            damage(record, Some(b""));
            damage(record, None);
        }
    }
}
