//! A writer: random batches on keys of its own, and a model of them.
//!
//! Each batch has the writer's next number. It goes in three places, so that a reader can tell which
//! batches a moment holds: the journal's `count`, an entry of its own in the journal, and the
//! mirror. Old entries are taken off by range deletes, and the journal's `floor` says how far.

use std::ops::Bound;
use std::thread;
use std::time::{Duration, Instant};

use ringwood_env::SeededRandom;
use ringwood_lsm::{Durability, Error, Keyspace, ReadOptions, SeqNo, Ticket};

use super::check::{compare_range, timed};
use super::site::Site;
use crate::oracle::draw::{self, Data};
use crate::oracle::model::{Change, ChangeKind, State, Write};

/// Journal entries that are kept, at least.
const KEPT: u64 = 40;

pub struct Writer {
    pub id: usize,
    /// What is there of its keys.
    pub state: State,
    /// Batches written so far.
    pub written: u64,
    floor: u64,
    last_seq: u64,
    random: SeededRandom,
    data: Data,
}

/// The keys that are a writer's.
pub fn keys_of(writer: usize) -> [Vec<u8>; 2] {
    let first = u8::try_from(writer).expect("a few writers");
    [vec![first], vec![first + 1]]
}

pub fn own_key(writer: usize, rest: &[u8]) -> Vec<u8> {
    let [mut key, _] = keys_of(writer);
    key.extend_from_slice(rest);
    key
}

pub const COUNT: &[u8] = b"count";
pub const FLOOR: &[u8] = b"floor";
pub const ENTRY: &[u8] = b"number ";

fn entry_key(writer: usize, number: u64) -> Vec<u8> {
    own_key(writer, &[ENTRY, &number.to_be_bytes()].concat())
}

impl Writer {
    pub fn new(id: usize, random: &SeededRandom) -> Self {
        let random = random.fork();
        let keys_max = *random.pick(&[30, 300, 3000]);
        Self {
            id,
            state: State::default(),
            written: 0,
            floor: 0,
            last_seq: 0,
            data: Data::new(&random, keys_max),
            random,
        }
    }

    /// Works until `end`, and checks what it is shown.
    pub fn work(&mut self, site: &Site, end: Instant) {
        while Instant::now() < end {
            match self.random.below(10) {
                0..7 => self.write(site),
                7..9 => self.get(site),
                _ => self.walk(site),
            }
        }
    }

    /// Writes a batch, or some without waiting in between.
    fn write(&mut self, site: &Site) {
        let count = draw::skewed(&self.random, 4);
        let writes: Vec<_> = (1..=count)
            .map(|ahead| self.draw_write(site, self.written + ahead))
            .collect();
        if let [write] = &writes[..] {
            site.begin(self.id, self.written + 1);
            let told = site.db.write(&write.batch(&site.db), write.durability);
            self.acknowledged(site, write.clone(), told.unwrap());
            return;
        }
        let numbers = self.written + 1..;
        let tickets: Vec<_> = numbers
            .zip(&writes)
            .map(|(number, write)| {
                site.begin(self.id, number);
                submit(site, write)
            })
            .collect();
        for (write, ticket) in writes.into_iter().zip(tickets) {
            self.acknowledged(site, write, ticket.wait().unwrap());
        }
    }

    fn acknowledged(&mut self, site: &Site, mut write: Write, last: SeqNo) {
        let first = last.get() + 1 - write.changes.len() as u64;
        assert!(first > self.last_seq, "a writer's batches keep their order");
        self.last_seq = last.get();
        write.first_seq = Some(first);
        self.state.apply(&write);
        self.written += 1;
        site.acknowledge(self.id, self.written);
        site.note("batches written");
    }

    fn draw_write(&mut self, site: &Site, number: u64) -> Write {
        let count = draw::skewed(&self.random, 8);
        let mut changes: Vec<_> = (0..count).map(|_| self.draw_change(site)).collect();
        changes.extend(self.journal(site, number));
        let durability = if self.random.chance(0.05) {
            Durability::Synced
        } else {
            Durability::Buffered
        };
        Write {
            changes,
            durability,
            first_seq: None,
        }
    }

    fn draw_change(&mut self, site: &Site) -> Change {
        let space = self.random.pick(&site.data).id().number();
        let mut change = self.data.change(&self.random, space, site.db.now());
        change.key = own_key(self.id, &change.key);
        if let ChangeKind::DeleteRange { end } = &mut change.kind {
            *end = own_key(self.id, end);
        }
        change
    }

    /// What says that batch `number` is there.
    fn journal(&mut self, site: &Site, number: u64) -> Vec<Change> {
        let (journal, mirror) = (site.journal.id().number(), site.mirror.id().number());
        let id = self.id;
        let mut changes = vec![
            put(journal, entry_key(id, number), number),
            put(journal, own_key(id, COUNT), number),
            put(mirror, own_key(id, b""), number),
        ];
        if number - self.floor > 2 * KEPT {
            let floor = number - KEPT;
            changes.push(Change {
                space: journal,
                key: entry_key(id, self.floor),
                kind: ChangeKind::DeleteRange {
                    end: entry_key(id, floor + 1),
                },
            });
            changes.push(put(journal, own_key(id, FLOOR), floor));
            self.floor = floor;
        }
        changes
    }

    /// T1, of one key.
    fn get(&mut self, site: &Site) {
        let space = self.random.pick(&site.data);
        let key = own_key(self.id, &self.data.key(&self.random));
        let read = || space.get_with(&key, &ReadOptions::default()).unwrap();
        let (found, before, after) = timed(&site.db, read);
        let expected = self.state.get(space.id().number(), &key, before);
        let shown = found.map(|found| (found.value, found.deadline, Some(found.seq.get())));
        let agrees = match (&shown, expected) {
            (None, None) => true,
            (None, Some(entry)) => !entry.is_visible(after),
            (Some(_), None) => false,
            (Some((value, deadline, seq)), Some(entry)) => {
                value[..] == entry.value[..] && (*deadline, *seq) == (entry.deadline, entry.seq)
            }
        };
        let key = key.escape_ascii();
        assert!(agrees, "T1: {key} is {shown:?}, not {expected:?}");
        site.note("keys compared");
    }

    /// T1, of all keys in one keyspace, which goes on changing around them.
    fn walk(&self, site: &Site) {
        let spaces: Vec<&Keyspace> = site.spaces().collect();
        let space = *self.random.pick(&spaces);
        let [start, end] = keys_of(self.id);
        let bounds = (Bound::Included(&start[..]), Bound::Excluded(&end[..]));
        compare_range(&site.db, space, bounds, None, &[&self.state]);
        site.note("ranges compared");
    }
}

fn put(space: u32, key: Vec<u8>, number: u64) -> Change {
    let kind = ChangeKind::Put {
        value: number.to_be_bytes().into(),
        deadline: None,
    };
    Change { space, key, kind }
}

fn submit(site: &Site, write: &Write) -> Ticket {
    loop {
        match site.db.submit(&write.batch(&site.db), write.durability) {
            Err(Error::Stalled) => {
                let delay = site.db.write_delay();
                thread::sleep(delay.unwrap_or(Duration::from_millis(1)));
            }
            told => return told.unwrap(),
        }
    }
}
