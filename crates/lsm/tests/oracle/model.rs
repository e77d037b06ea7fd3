//! What a store must hold: a sorted map for each keyspace, and the writes that a crash may take.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use ringwood_lsm::{Batch, Db, Durability, Error, Result, SeqNo};

/// A value that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Arc<[u8]>,
    pub deadline: Option<u64>,
    /// `None`: nobody was told.
    pub seq: Option<u64>,
}

impl Entry {
    pub fn is_visible(&self, now: u64) -> bool {
        self.deadline.is_none_or(|deadline| deadline > now)
    }
}

pub type Map = BTreeMap<Vec<u8>, Entry>;

/// Every keyspace's content at one moment, expired entries included.
#[derive(Clone, Debug, Default)]
pub struct State {
    maps: BTreeMap<u32, Map>,
}

impl State {
    /// Looks a key up; the clock shows `now`.
    pub fn get(&self, space: u32, key: &[u8], now: u64) -> Option<&Entry> {
        let entry = self.maps.get(&space)?.get(key)?;
        entry.is_visible(now).then_some(entry)
    }

    /// What a scan of `bounds` shows, in order.
    pub fn range(
        &self,
        space: u32,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        now: u64,
    ) -> impl DoubleEndedIterator<Item = (&Vec<u8>, &Entry)> {
        static EMPTY: Map = Map::new();
        let map = self.maps.get(&space).unwrap_or(&EMPTY);
        map.range::<[u8], _>(bounds)
            .filter(move |(_, entry)| entry.is_visible(now))
    }

    /// The latest deadline up to `now` of the keys in `spaces` that pass `is_of`: whoever looks at those
    /// keys is told that it has passed.
    pub fn passed(&self, spaces: &[u32], is_of: impl Fn(&[u8]) -> bool, now: u64) -> Option<u64> {
        let maps = spaces.iter().filter_map(|space| self.maps.get(space));
        let entries = maps.flatten().filter(|(key, _)| is_of(key));
        entries
            .filter_map(|(_, entry)| entry.deadline)
            .filter(|deadline| *deadline <= now)
            .max()
    }

    pub fn map(&self, space: u32) -> Map {
        self.maps.get(&space).cloned().unwrap_or_default()
    }

    pub fn apply(&mut self, write: &Write) {
        for (change, offset) in write.changes.iter().zip(0..) {
            let map = self.maps.entry(change.space).or_default();
            match &change.kind {
                ChangeKind::Put { value, deadline } => {
                    let entry = Entry {
                        value: Arc::clone(value),
                        deadline: *deadline,
                        seq: write.first_seq.map(|first| first + offset),
                    };
                    map.insert(change.key.clone(), entry);
                }
                ChangeKind::Delete => {
                    map.remove(&change.key);
                }
                ChangeKind::DeleteRange { end } => {
                    let bounds = (Bound::Included(&change.key[..]), Bound::Excluded(&end[..]));
                    if change.key < *end {
                        let gone: Vec<_> = map
                            .range::<[u8], _>(bounds)
                            .map(|(key, _)| key.clone())
                            .collect();
                        gone.iter().for_each(|key| drop(map.remove(key)));
                    }
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Change {
    pub space: u32,
    pub key: Vec<u8>,
    pub kind: ChangeKind,
}

#[derive(Clone, Debug)]
pub enum ChangeKind {
    Put {
        value: Arc<[u8]>,
        deadline: Option<u64>,
    },
    Delete,
    DeleteRange {
        end: Vec<u8>,
    },
}

/// A batch that was handed to the store.
#[derive(Clone, Debug)]
pub struct Write {
    pub changes: Vec<Change>,
    pub durability: Durability,
    /// Known once it was acknowledged.
    pub first_seq: Option<u64>,
}

impl Write {
    /// As `db`, which is open, is to be told.
    pub fn batch(&self, db: &Db) -> Batch {
        let spaces = db
            .keyspaces()
            .into_iter()
            .filter_map(|name| db.keyspace(&name).ok());
        let ids: BTreeMap<_, _> = spaces
            .map(|space| (space.id().number(), space.id()))
            .collect();
        let mut batch = Batch::new();
        for Change { space, key, kind } in &self.changes {
            let pushed = match kind {
                ChangeKind::Put {
                    value,
                    deadline: None,
                } => batch.put(ids[space], key, value),
                ChangeKind::Put {
                    value,
                    deadline: Some(deadline),
                } => batch.put_expiring(ids[space], key, value, *deadline),
                ChangeKind::Delete => batch.delete(ids[space], key),
                ChangeKind::DeleteRange { end } => batch.delete_range(ids[space], key, end),
            };
            pushed.expect("keys and values are short");
        }
        batch
    }
}

/// What a restart may leave of the writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Everything acknowledged.
    Process,
    /// Everything acknowledged as durable, and everything before it.
    Power,
}

/// All writes in the order of submission, by what became of them.
#[derive(Default)]
pub struct History {
    /// What every crash leaves.
    durable: State,
    /// Acknowledged since, in order.
    buffered: Vec<Write>,
    /// What readers see: `durable` and then `buffered`.
    pub visible: State,
    /// Failed with an unknown outcome, behind all others.
    unknown: Vec<Write>,
    /// The largest sequence number seen.
    pub last_seq: u64,
}

impl History {
    /// Notes what a write was told. `Err`: what it was told breaks a promise.
    pub fn note(&mut self, mut write: Write, told: Result<SeqNo>) -> Result<(), String> {
        match told {
            Ok(last) => {
                let first = last.get() + 1 - write.changes.len() as u64;
                if !self.unknown.is_empty() {
                    return Err("a write went through after one of unknown outcome".to_owned());
                }
                if first <= self.last_seq {
                    return Err(format!("E6: {first} was issued before {}", self.last_seq));
                }
                self.last_seq = last.get();
                write.first_seq = Some(first);
                self.visible.apply(&write);
                let durability = write.durability;
                self.buffered.push(write);
                if durability == Durability::Synced {
                    self.all_durable();
                }
            }
            Err(Error::OutcomeUnknown { .. }) => self.unknown.push(write),
            Err(_) => {} // refused: it must never appear
        }
        Ok(())
    }

    /// Notes that everything acknowledged is durable.
    pub fn all_durable(&mut self) {
        for write in self.buffered.drain(..) {
            self.durable.apply(&write);
        }
    }

    /// Every state that `restart` may leave, the oldest first, with the number of writes in it.
    pub fn outcomes(&self, restart: Restart) -> impl Iterator<Item = (usize, State)> {
        let sure = match restart {
            Restart::Process => self.buffered.len(),
            Restart::Power => 0,
        };
        let mut state = self.durable.clone();
        let mut writes = self.buffered.iter().chain(&self.unknown);
        writes
            .by_ref()
            .take(sure)
            .for_each(|write| state.apply(write));
        let mut next = Some((sure, state));
        std::iter::from_fn(move || {
            let (count, state) = next.take()?;
            if let Some(write) = writes.next() {
                let mut after = state.clone();
                after.apply(write);
                next = Some((count + 1, after));
            }
            Some((count, state))
        })
    }

    /// Goes on from the outcome with the first `count` writes behind the durable ones. What a store
    /// was opened with is durable, however the one before ended.
    pub fn settle(&mut self, count: usize, state: State) {
        self.buffered.append(&mut self.unknown);
        self.buffered.truncate(count);
        self.all_durable();
        self.visible = state;
    }

    /// Acknowledged writes that the next crash may take.
    pub fn at_risk(&self) -> usize {
        self.buffered.len()
    }
}
