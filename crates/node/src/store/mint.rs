//! Gives writes their versions: a dot and a hybrid time, neither ever given twice, whatever crashes.
//!
//! Counters and times are handed out from memory, below marks that are on disk. A write that reaches
//! a mark carries the next one in its own log record. So does every write behind it until the mark is
//! known to be on disk: the first may fail and a later one not.
//!
//! # Invariants
//! - `mint-1`: a version is only visible once the marks above its counter and time are durable. A
//!   write that moves a mark is therefore synced, whatever it asked for; those behind it in the log
//!   become visible after it.
//! - `mint-2`: within a partition, counters and times grow in the order of the log: versions are
//!   given out and submitted under the partition's lock. So of two writes to a key the later version
//!   is the one that stays.
//! - `mint-3`: marks only grow in the log, and memory never takes one for durable whose write has not
//!   succeeded.
//!
//! After a crash counters go on from their mark. The dots between name no write; as their minter
//! knows that, it may count them as seen.
//!
//! # Format
//! Keyspace `system`, numbers of the values little-endian:
//! ```text
//! "dots/" partition u16 big-endian → counter mark u64, [incarnation u64]
//! "time"                           → hybrid time mark, milliseconds u64
//! ```
//! Without an incarnation it is that of the node's identity, with which a store begins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringwood_env::UnixMillis;
use ringwood_lsm::{Batch, Db, Durability, Keyspace, Ticket, USUALLY_AHEAD};
use ringwood_types::{
    Dot, Epoch, Hlc, HybridClock, Incarnation, PartitionCount, PartitionId, SkewTooLarge, Version,
};

use super::seen::{Seen, Sight};
use crate::error::OpenError;

const DOTS: &[u8] = b"dots/";
const TIME: &[u8] = b"time";

/// Counters reserved at once: a mark is moved once in so many writes to a partition.
const COUNTERS_RESERVED: u64 = 1 << 16;
/// Most that the mark of times is set ahead. After a crash times begin there; and a time that is further
/// ahead than clocks may differ is refused by all other nodes, so it is half of that where that is less.
const TIME_RESERVED_MS_MAX: u64 = 10_000;

/// The source of versions of a node's incarnations: one for each partition.
#[derive(Debug)]
pub(crate) struct Mint {
    /// What a partition is minted under that has had one stint here.
    first: Incarnation,
    system: Keyspace,
    hybrid: HybridClock,
    time_reserved_ms: u64,
    /// What of `time` is durable, to be read without its lock.
    time_mark: AtomicU64,
    /// The time mark, in milliseconds; locked by whoever is moving it.
    time: Mutex<Mark>,
    counters: Box<[Mutex<Counter>]>,
}

#[derive(Debug)]
struct Counter {
    /// Of this node as a replica of the partition.
    incarnation: Incarnation,
    /// Of the partition, as this node has applied it in this run.
    epoch: Epoch,
    last: u64,
    mark: Mark,
    seen: Seen,
}

/// A mark: as it is on disk, and as it is on its way there.
#[derive(Debug)]
struct Mark {
    durable: u64,
    /// The highest that was queued, whatever became of it.
    queued: u64,
    /// The oldest move whose outcome was not seen yet. Later ones are not waited for: under a steady
    /// stream of writes the last one never settles.
    moving: Option<(u64, Ticket)>,
}

impl Mark {
    fn at(durable: u64) -> Self {
        Self {
            durable,
            queued: durable,
            moving: None,
        }
    }

    /// What is durable, as far as is known by now.
    fn settle(&mut self) -> u64 {
        if let Some((mark, ticket)) = self.moving.take_if(|(_, ticket)| ticket.is_done())
            && ticket.wait().is_ok()
        {
            self.durable = mark;
        }
        self.durable
    }

    /// Takes note that `mark` was queued with the write of `ticket`.
    fn queue(&mut self, mark: u64, ticket: &Ticket) {
        self.queued = mark;
        self.moving.get_or_insert_with(|| (mark, ticket.clone()));
    }
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
                let (mark, incarnation) = match system.get(&key)? {
                    Some(stored) => read_dots(&key, &stored, incarnation)?,
                    None => (0, incarnation),
                };
                Ok(Mutex::new(Counter {
                    incarnation,
                    epoch: Epoch::default(),
                    last: mark,
                    mark: Mark::at(mark),
                    seen: Seen::open(&system, partition)?,
                }))
            })
            .collect::<Result<_, OpenError>>()?;
        let skew_max_ms = u64::try_from(skew_max.as_millis()).unwrap_or(u64::MAX);
        Ok(Self {
            first: incarnation,
            system,
            hybrid: HybridClock::starting_after(Hlc::at(time_mark), skew_max_ms),
            time_reserved_ms: (skew_max_ms / 2).clamp(1, TIME_RESERVED_MS_MAX),
            time_mark: AtomicU64::new(time_mark),
            time: Mutex::new(Mark::at(time_mark)),
            counters,
        })
    }

    /// The latest time that this node knows of.
    pub(crate) fn time(&self, now: UnixMillis) -> Hlc {
        self.hybrid.last().max(Hlc::at(now))
    }

    /// Locks partitions for writing. They must be sorted, without repetition.
    pub(crate) fn lock(&self, partitions: &[PartitionId]) -> Minting<'_> {
        debug_assert!(partitions.is_sorted_by(|a, b| a < b), "or threads deadlock");
        let lock = |&partition: &PartitionId| {
            let shared = self.counters[partition.index()]
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let last = shared.last;
            Locked {
                partition,
                shared,
                last,
                moved: None,
            }
        };
        Minting {
            mint: self,
            locked: partitions.iter().map(lock).collect(),
            time_needed: 0,
        }
    }

    /// The partition is in `epoch` from now on, and this node a replica of it under `incarnation`, if it is
    /// one: nothing more is minted or stored for an earlier epoch. Where another stint begins it is durable
    /// on return.
    ///
    /// # Errors
    /// As a synced write; then the partition is where it was.
    pub(crate) fn enter(
        &self,
        db: &Db,
        partition: PartitionId,
        epoch: Epoch,
        incarnation: Option<Incarnation>,
    ) -> ringwood_lsm::Result<()> {
        let mut shared = self.counters[partition.index()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(incarnation) = incarnation.filter(|one| *one != shared.incarnation) {
            self.begin_stint(db, partition, &mut shared, incarnation)?;
        }
        shared.epoch = epoch;
        Ok(())
    }

    fn begin_stint(
        &self,
        db: &Db,
        partition: PartitionId,
        shared: &mut Counter,
        incarnation: Incarnation,
    ) -> ringwood_lsm::Result<()> {
        let (ended, last) = (shared.incarnation, shared.last);
        // What the earlier stint has named was seen here, and nobody names more of it.
        shared.seen.end_stint(ended, last);
        let mut batch = Batch::new();
        // Nothing, but for a caller whose view is behind, which names an ended stint: no dot is given twice.
        let last = shared.seen.last(incarnation);
        self.put_dots(&mut batch, partition, last, incarnation)?;
        shared.seen.write(&self.system, partition, &mut batch)?;
        db.write(&batch, Durability::Synced)?;
        shared.incarnation = incarnation;
        shared.last = last;
        shared.mark = Mark::at(last);
        Ok(())
    }

    fn put_dots(
        &self,
        batch: &mut Batch,
        partition: PartitionId,
        mark: u64,
        incarnation: Incarnation,
    ) -> ringwood_lsm::Result<()> {
        let mut value = mark.to_le_bytes().to_vec();
        if incarnation != self.first {
            value.extend_from_slice(&incarnation.get().to_le_bytes());
        }
        batch.put(self.system.id(), &dots_key(partition), &value)
    }

    /// The lock is held until the batch is queued, so that marks only grow in the log.
    fn move_time_mark(
        &self,
        time_needed: u64,
        batch: &mut Batch,
    ) -> ringwood_lsm::Result<Option<(u64, MutexGuard<'_, Mark>)>> {
        if time_needed < self.time_mark.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        let durable = time.settle();
        self.time_mark.store(durable, Ordering::Release);
        if time_needed < durable {
            return Ok(None);
        }
        // INVARIANT mint-3: a writer to another partition may have queued a later time already.
        let mark = time.queued.max(time_needed + self.time_reserved_ms);
        batch.put(self.system.id(), TIME, &mark.to_le_bytes())?;
        Ok(Some((mark, time)))
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
    /// The last counter, if the write is taken.
    last: u64,
    /// The mark that the write carries.
    moved: Option<u64>,
}

impl<'a> Minting<'a> {
    fn locked(&mut self, partition: PartitionId) -> &mut Locked<'a> {
        let index = self
            .locked
            .binary_search_by_key(&partition, |locked| locked.partition)
            .expect("the partition is locked");
        &mut self.locked[index]
    }

    /// The next version in a partition that is locked.
    pub(crate) fn version(&mut self, partition: PartitionId, now: UnixMillis) -> Version {
        let time = self.mint.hybrid.tick(now);
        self.time_needed = self.time_needed.max(time.millis());
        let locked = self.locked(partition);
        locked.last += 1;
        let dot = Dot {
            incarnation: locked.shared.incarnation,
            counter: locked.last,
        };
        Version { time, dot }
    }

    /// Takes note of a time that another node gave out: all later versions are above it, also after
    /// a restart, once the write that is submitted next is durable.
    pub(super) fn observe(&mut self, time: Hlc, now: UnixMillis) -> Result<(), SkewTooLarge> {
        self.mint.hybrid.observe(time, now)?;
        self.time_needed = self.time_needed.max(time.millis());
        Ok(())
    }

    /// The latest time that this node knows of.
    pub(super) fn time(&self) -> Hlc {
        self.mint.hybrid.last()
    }

    /// Whether a write was seen before: by arrival, or as the one who minted it. What lies below the mark
    /// at a start was, for nobody else can name it.
    pub(super) fn sight(&mut self, partition: PartitionId, dot: Dot) -> Sight {
        let locked = self.locked(partition);
        locked.shared.seen.settle();
        let is_ours = dot.incarnation == locked.shared.incarnation;
        match is_ours && dot.counter <= locked.last {
            true => Sight::Seen,
            false => locked.shared.seen.sight(dot),
        }
    }

    /// The epoch of a partition that is locked: it stands still while the lock is held.
    pub(super) fn epoch(&mut self, partition: PartitionId) -> Epoch {
        self.locked(partition).shared.epoch
    }

    /// What was seen of a partition that is locked.
    pub(super) fn seen(&mut self, partition: PartitionId) -> &mut Seen {
        &mut self.locked(partition).shared.seen
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
            locked.shared.last = locked.last;
            if let Some(mark) = locked.moved {
                locked.shared.mark.queue(mark, &ticket);
            }
        }
        if let Some((mark, mut time)) = moving_time {
            time.queue(mark, &ticket);
        }
        Ok(ticket)
    }

    fn move_dot_marks(&mut self, batch: &mut Batch) -> ringwood_lsm::Result<bool> {
        let mut moved = false;
        for locked in &mut self.locked {
            if locked.last > locked.shared.mark.settle() {
                let mark = locked.last + COUNTERS_RESERVED;
                let incarnation = locked.shared.incarnation;
                self.mint
                    .put_dots(batch, locked.partition, mark, incarnation)?;
                locked.moved = Some(mark);
                moved = true;
            }
        }
        Ok(moved)
    }
}

/// Sets the mark of times back to `now`, where it is further ahead than it comes by itself: then a wrong
/// clock moved it. Returns where it was. The one exception from `mint-3`; nobody mints meanwhile.
pub(crate) fn take_time_back(
    db: &Db,
    system: &Keyspace,
    now: UnixMillis,
) -> Result<Option<UnixMillis>, OpenError> {
    let Some(stored) = system.get(TIME)? else {
        return Ok(None);
    };
    let mark = read_mark(TIME, &stored)?;
    if Duration::from_millis(mark.saturating_sub(now)) <= USUALLY_AHEAD {
        return Ok(None);
    }
    // With a delete it is taken on a full disk too: the engine's time was taken back by now.
    let mut batch = Batch::new();
    batch.delete(system.id(), TIME)?;
    batch.put(system.id(), TIME, &now.to_le_bytes())?;
    db.write(&batch, Durability::Synced)?;
    Ok(Some(mark))
}

fn dots_key(partition: PartitionId) -> [u8; DOTS.len() + 2] {
    let mut key = [0; DOTS.len() + 2];
    key[..DOTS.len()].copy_from_slice(DOTS);
    key[DOTS.len()..].copy_from_slice(&partition.get().to_be_bytes());
    key
}

fn read_dots(
    key: &[u8],
    stored: &[u8],
    first: Incarnation,
) -> Result<(u64, Incarnation), OpenError> {
    match stored.split_at_checked(8) {
        Some((mark, [])) => Ok((read_mark(key, mark)?, first)),
        Some((mark, incarnation)) => {
            let incarnation = Incarnation::new(read_mark(key, incarnation)?);
            Ok((read_mark(key, mark)?, incarnation))
        }
        None => read_mark(key, stored).map(|mark| (mark, first)),
    }
}

fn read_mark(key: &[u8], stored: &[u8]) -> Result<u64, OpenError> {
    let bytes = stored
        .try_into()
        .map_err(|_| OpenError::DamagedSystemRecord {
            record: key.escape_ascii().to_string(),
        })?;
    Ok(u64::from_le_bytes(bytes))
}
