//! Gives writes their versions: a dot and a hybrid time, neither ever given twice, whatever crashes.
//!
//! Counters and times are handed out from memory, below marks that are on disk. A write that reaches
//! a mark carries the next one in its own log record.
//!
//! # Invariants
//! - `mint-1`: a version is only visible once the marks above its counter and time are durable. A
//!   write that moves a mark is therefore synced, whatever it asked for; those behind it in the log
//!   become visible after it.
//! - `mint-2`: within a partition, counters and times grow in the order of the log: versions are
//!   given out and submitted under the partition's lock. So of two writes to a key the later version
//!   is the one that stays.
//!
//! After a crash counters go on from their mark. The dots between name no write; as their minter
//! knows that, it may count them as seen.
//!
//! # Format
//! Keyspace `system`, numbers of the values little-endian:
//! ```text
//! "dots/" partition u16 big-endian → counter mark u64
//! "time"                           → hybrid time mark, milliseconds u64
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringwood_env::UnixMillis;
use ringwood_lsm::{Batch, Db, Durability, Keyspace, Ticket};
use ringwood_types::{Dot, Hlc, HybridClock, Incarnation, PartitionCount, PartitionId, Version};

use crate::error::OpenError;

const DOTS: &[u8] = b"dots/";
const TIME: &[u8] = b"time";

/// Counters reserved at once: a mark is moved once in so many writes to a partition.
const COUNTERS_RESERVED: u64 = 1 << 16;
/// How far ahead the mark of times is set. After a crash times begin there, so it is kept well
/// below what people notice.
const TIME_RESERVED_MS: u64 = 10_000;

/// The source of versions of one incarnation.
#[derive(Debug)]
pub(crate) struct Mint {
    incarnation: Incarnation,
    system: Keyspace,
    hybrid: HybridClock,
    /// The time mark, in milliseconds, and whoever is moving it.
    time_mark: AtomicU64,
    moving_time: Mutex<()>,
    counters: Box<[Mutex<Counter>]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    last: u64,
    mark: u64,
}

impl Mint {
    /// Goes on where the store left off.
    pub(crate) fn open(
        system: Keyspace,
        incarnation: Incarnation,
        partitions: PartitionCount,
        skew_max: Duration,
    ) -> Result<Self, OpenError> {
        let time_mark = match system.get(TIME)? {
            Some(stored) => read_mark(TIME, &stored)?,
            None => 0,
        };
        let counters = partitions
            .iter()
            .map(|partition| {
                let key = dots_key(partition);
                let mark = match system.get(&key)? {
                    Some(stored) => read_mark(&key, &stored)?,
                    None => 0,
                };
                Ok(Mutex::new(Counter { last: mark, mark }))
            })
            .collect::<Result<_, OpenError>>()?;
        Ok(Self {
            incarnation,
            system,
            hybrid: HybridClock::starting_after(
                Hlc::at(time_mark),
                u64::try_from(skew_max.as_millis()).unwrap_or(u64::MAX),
            ),
            time_mark: AtomicU64::new(time_mark),
            moving_time: Mutex::new(()),
            counters,
        })
    }

    /// Locks partitions for writing. They must be sorted, without repetition.
    pub(crate) fn lock(&self, partitions: &[PartitionId]) -> Minting<'_> {
        debug_assert!(partitions.is_sorted_by(|a, b| a < b), "or threads deadlock");
        let lock = |&partition: &PartitionId| {
            let shared = self.counters[partition.index()]
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let taken = *shared;
            Locked {
                partition,
                shared,
                taken,
            }
        };
        Minting {
            mint: self,
            locked: partitions.iter().map(lock).collect(),
            time_needed: 0,
        }
    }

    /// The lock is held until the batch is queued, so that marks only grow in the log.
    fn move_time_mark(
        &self,
        time_needed: u64,
        batch: &mut Batch,
    ) -> ringwood_lsm::Result<Option<(u64, MutexGuard<'_, ()>)>> {
        let below_mark = || time_needed < self.time_mark.load(Ordering::Acquire);
        if below_mark() {
            return Ok(None);
        }
        let guard = self
            .moving_time
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if below_mark() {
            return Ok(None);
        }
        let mark = time_needed + TIME_RESERVED_MS;
        batch.put(self.system.id(), TIME, &mark.to_le_bytes())?;
        Ok(Some((mark, guard)))
    }
}

/// Partitions locked for writing, until the write is in the queue of the log.
pub(crate) struct Minting<'a> {
    mint: &'a Mint,
    locked: Vec<Locked<'a>>,
    /// Milliseconds that the time mark must be above.
    time_needed: u64,
}

struct Locked<'a> {
    partition: PartitionId,
    shared: MutexGuard<'a, Counter>,
    /// What `shared` becomes if the write is taken.
    taken: Counter,
}

impl Minting<'_> {
    /// The next version in a partition that is locked.
    pub(crate) fn version(&mut self, partition: PartitionId, now: UnixMillis) -> Version {
        let index = self
            .locked
            .binary_search_by_key(&partition, |locked| locked.partition)
            .expect("the partition is locked");
        let counter = &mut self.locked[index].taken;
        counter.last += 1;
        let time = self.mint.hybrid.tick(now);
        self.time_needed = self.time_needed.max(time.millis());
        Version {
            time,
            dot: Dot {
                incarnation: self.mint.incarnation,
                counter: counter.last,
            },
        }
    }

    /// Queues the write, together with the marks that its versions need.
    /// The locks are held until this value goes.
    pub(crate) fn submit(
        &mut self,
        db: &Db,
        batch: &mut Batch,
        durability: Durability,
    ) -> ringwood_lsm::Result<Ticket> {
        let moves_dots = self.move_dot_marks(batch)?;
        let mint = self.mint;
        let moving_time = mint.move_time_mark(self.time_needed, batch)?;
        // INVARIANT mint-1.
        let durability = if moves_dots || moving_time.is_some() {
            Durability::Synced
        } else {
            durability
        };
        let ticket = db.submit(batch, durability)?;
        for locked in &mut self.locked {
            *locked.shared = locked.taken;
        }
        if let Some((mark, _guard)) = moving_time {
            mint.time_mark.store(mark, Ordering::Release);
        }
        Ok(ticket)
    }

    fn move_dot_marks(&mut self, batch: &mut Batch) -> ringwood_lsm::Result<bool> {
        let mut moved = false;
        for Locked {
            partition, taken, ..
        } in &mut self.locked
        {
            if taken.last > taken.mark {
                taken.mark = taken.last + COUNTERS_RESERVED;
                let mark = taken.mark.to_le_bytes();
                batch.put(self.mint.system.id(), &dots_key(*partition), &mark)?;
                moved = true;
            }
        }
        Ok(moved)
    }
}

fn dots_key(partition: PartitionId) -> [u8; DOTS.len() + 2] {
    let mut key = [0; DOTS.len() + 2];
    key[..DOTS.len()].copy_from_slice(DOTS);
    key[DOTS.len()..].copy_from_slice(&partition.get().to_be_bytes());
    key
}

fn read_mark(key: &[u8], stored: &[u8]) -> Result<u64, OpenError> {
    let bytes = stored
        .try_into()
        .map_err(|_| OpenError::DamagedSystemRecord {
            record: key.escape_ascii().to_string(),
        })?;
    Ok(u64::from_le_bytes(bytes))
}
