//! What a replica has seen of writes that others minted, and what is under way to its log.
//!
//! The clock stands in the log with what it speaks of. It lists what is known to be there and nothing
//! else, so what is under way together may be missing in the last one written: a replica that comes up
//! may have seen more than it knows, and never less.
//!
//! # Invariants
//! - `seen-1` (12): a dot is in the clock only if it stands in the log, or what beat it does.
//! - `seen-2`: what arrives waits for a later write of its key that is under way, which the engine does not
//!   show yet: of two writes of a key the one that wins stays, also where the other one fails.
//!
//! # Format
//! Keyspace `system`:
//! ```text
//! "seen/" partition u16 big-endian → clock, as ringwood_types::clock encodes it
//! ```

use ringwood_lsm::{Batch, Keyspace, Ticket};
use ringwood_types::bytes::{Reader, Writer};
use ringwood_types::{Clock, Dot, Incarnation, PartitionId, Version};

use crate::error::OpenError;

const SEEN: &[u8] = b"seen/";

/// What was seen of a partition. Behind its lock.
#[derive(Debug, Default)]
pub(super) struct Seen {
    clock: Clock,
    under_way: Vec<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    stored_key: Box<[u8]>,
    version: Version,
    ticket: Ticket,
    /// Whether others minted it.
    arrived: bool,
}

/// Whether a write was seen before.
#[derive(Debug)]
pub(super) enum Sight {
    /// No.
    New,
    /// It is on its way to the log.
    UnderWay(Ticket),
    /// It, or what beat it, is in the log.
    Seen,
}

impl Seen {
    pub(super) fn open(system: &Keyspace, partition: PartitionId) -> Result<Self, OpenError> {
        let key = key_of(partition);
        let Some(stored) = system.get(&key)? else {
            return Ok(Self::default());
        };
        let mut reader = Reader(&stored);
        let clock = Clock::read(&mut reader).filter(|_| reader.is_empty());
        let clock = clock.ok_or_else(|| OpenError::DamagedSystemRecord {
            record: key.escape_ascii().to_string(),
        })?;
        Ok(Self {
            clock,
            under_way: Vec::new(),
        })
    }

    /// Takes note of what has become of what was under way. What failed was not seen.
    pub(super) fn settle(&mut self) {
        let Self { clock, under_way } = self;
        under_way.retain(|one| {
            let is_done = one.ticket.is_done();
            // INVARIANT seen-1
            if is_done && one.arrived && one.ticket.clone().wait().is_ok() {
                clock.add(one.version.dot);
            }
            !is_done
        });
    }

    pub(super) fn sight(&self, dot: Dot) -> Sight {
        if self.clock.covers(dot) {
            return Sight::Seen;
        }
        let mut under_way = self.under_way.iter();
        match under_way.find(|one| one.version.dot == dot) {
            Some(one) => Sight::UnderWay(one.ticket.clone()),
            None => Sight::New,
        }
    }

    /// The first write of a key that is under way and wins over `version`.
    pub(super) fn above(&self, stored_key: &[u8], version: Version) -> Option<Ticket> {
        let mut under_way = self.under_way.iter();
        let first =
            under_way.find(|one| *one.stored_key == *stored_key && one.version > version)?;
        Some(first.ticket.clone())
    }

    /// Adds to `batch`, which has `dot` or goes behind what beat it, that it was seen.
    pub(super) fn note(
        &self,
        system: &Keyspace,
        partition: PartitionId,
        dot: Dot,
        batch: &mut Batch,
    ) -> ringwood_lsm::Result<()> {
        let mut clock = self.clock.clone();
        clock.add(dot);
        put(&clock, system, partition, batch)
    }

    /// Adds to `batch` what was seen.
    pub(super) fn write(
        &self,
        system: &Keyspace,
        partition: PartitionId,
        batch: &mut Batch,
    ) -> ringwood_lsm::Result<()> {
        put(&self.clock, system, partition, batch)
    }

    /// What was minted here up to now is among what was seen; it was before, as its minter.
    pub(super) fn end_stint(&mut self, incarnation: Incarnation, last: u64) {
        self.clock.add_up_to(incarnation, last);
    }

    /// The greatest counter of `incarnation` that was seen.
    pub(super) fn last(&self, incarnation: Incarnation) -> u64 {
        self.clock.last(incarnation)
    }

    /// Takes note that `version` is under way with `ticket`.
    pub(super) fn queue(
        &mut self,
        stored_key: &[u8],
        version: Version,
        arrived: bool,
        ticket: &Ticket,
    ) {
        self.under_way.push(UnderWay {
            stored_key: stored_key.into(),
            version,
            ticket: ticket.clone(),
            arrived,
        });
    }
}

fn put(
    clock: &Clock,
    system: &Keyspace,
    partition: PartitionId,
    batch: &mut Batch,
) -> ringwood_lsm::Result<()> {
    let mut writer = Writer::new();
    clock.write(&mut writer);
    batch.put(system.id(), &key_of(partition), &writer.into_vec())
}

fn key_of(partition: PartitionId) -> [u8; SEEN.len() + 2] {
    let mut key = [0; SEEN.len() + 2];
    key[..SEEN.len()].copy_from_slice(SEEN);
    key[SEEN.len()..].copy_from_slice(&partition.get().to_be_bytes());
    key
}
