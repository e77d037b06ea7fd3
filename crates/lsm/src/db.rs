//! The store: what a user of the engine holds.

use std::future::Future;
use std::ops::Bound;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ringwood_env::UnixMillis;

use crate::batch::{Batch, KeyspaceId};
use crate::cursor::ReadTier;
use crate::error::{Error, Result};
use crate::iter::Iter;
use crate::jobs::Job;
use crate::key::SeqNo;
use crate::options::{Durability, KeyspaceOptions, Options};
use crate::slice::Slice;

/// An open store. Cheap to clone; the last clone to go closes it.
#[derive(Clone, Debug)]
pub struct Db {}

/// One keyspace of an open store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keyspace {}

/// The state of a store at one moment, for as long as this value lives.
#[derive(Clone, Debug)]
pub struct Snapshot {}

/// A submitted write, on its way to the disk.
///
/// Wait for it, await it (it needs no particular runtime), or drop it: the write happens all the same.
#[derive(Debug)]
#[must_use = "the write is not acknowledged before its ticket completes"]
pub struct Ticket {}

/// How a read is done.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions<'a> {
    /// The state to read; `None`: the latest.
    pub snapshot: Option<&'a Snapshot>,
    /// Whether the read may wait for the disk.
    pub tier: ReadTier,
    /// Keep what is read in the cache. Off for exports and the like, which pass once.
    pub fill_cache: bool,
}

impl Default for ReadOptions<'_> {
    fn default() -> Self {
        Self {
            snapshot: None,
            tier: ReadTier::Disk,
            fill_cache: true,
        }
    }
}

/// A value as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The value's bytes, not copied.
    pub value: Slice,
    /// When it expires, if ever.
    pub deadline: Option<UnixMillis>,
    /// The change that set it.
    pub seq: SeqNo,
}

/// What a read-modify-write makes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Leave it.
    Keep,
    /// Set this value.
    Put(Vec<u8>),
    /// Set this value until the deadline.
    PutExpiring(Vec<u8>, UnixMillis),
    /// Remove the key.
    Delete,
}

impl Db {
    /// Opens the store, recovering what a crash left, and starts its threads.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::NotFound`], [`Error::UnsupportedFormat`], [`Error::Corruption`],
    /// [`Error::InvalidOption`], [`Error::Io`].
    pub fn open(options: Options) -> Result<Self> {
        todo!("{options:?}")
    }

    /// Makes a keyspace, durable on return.
    ///
    /// # Errors
    /// [`Error::KeyspaceExists`], [`Error::InvalidOption`], or as a write.
    pub fn create_keyspace(&self, name: &str, options: KeyspaceOptions) -> Result<Keyspace> {
        todo!("{name} {options:?}")
    }

    /// The keyspace of this name.
    ///
    /// # Errors
    /// [`Error::NoSuchKeyspace`].
    pub fn keyspace(&self, name: &str) -> Result<Keyspace> {
        todo!("{name}")
    }

    /// Names of all keyspaces, sorted.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<String> {
        todo!()
    }

    /// Drops a keyspace and everything in it, durable on return.
    ///
    /// # Errors
    /// [`Error::NoSuchKeyspace`], or as a write.
    pub fn drop_keyspace(&self, name: &str) -> Result<()> {
        todo!("{name}")
    }

    /// Applies a batch, all of it or nothing, and waits until it is as durable as asked.
    ///
    /// # Errors
    /// [`Error::Stalled`], [`Error::DiskFull`], [`Error::Failed`], [`Error::BatchTooLarge`]: not applied;
    /// [`Error::OutcomeUnknown`]: may be there after the next open, or not.
    pub fn write(&self, batch: &Batch, durability: Durability) -> Result<SeqNo> {
        self.submit(batch, durability)?.wait()
    }

    /// Queues a batch and returns at once.
    ///
    /// # Errors
    /// As [`Db::write`], for what is known before the log is written.
    pub fn submit(&self, batch: &Batch, durability: Durability) -> Result<Ticket> {
        todo!("{batch:?} {durability:?}")
    }

    /// How long a polite writer waits before its next write, while background work is behind.
    #[must_use]
    pub fn write_delay(&self) -> Option<Duration> {
        todo!()
    }

    /// Makes every buffered write durable.
    ///
    /// # Errors
    /// As a synced write.
    pub fn sync(&self) -> Result<()> {
        todo!()
    }

    /// The state of now, kept readable until it is dropped.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }

    /// Writes out every memtable and waits for it.
    ///
    /// # Errors
    /// As background work: [`Error::Io`], [`Error::DiskFull`], [`Error::Failed`].
    pub fn flush(&self) -> Result<()> {
        todo!()
    }

    /// The next piece of background work, if there is any. For stores opened with 0 threads.
    #[must_use]
    pub fn next_job(&self) -> Option<Job> {
        todo!()
    }

    /// Does a piece of background work.
    ///
    /// # Errors
    /// As [`Db::flush`]; the work is offered again.
    pub fn run(&self, job: Job) -> Result<()> {
        todo!("{job:?}")
    }

    /// Makes a copy that can be opened as a store of its own, in a new directory of the same file
    /// system: tables are linked, so it costs little space. Holds every write acknowledged before.
    ///
    /// # Errors
    /// [`Error::Io`], `AlreadyExists` among them.
    pub fn checkpoint(&self, directory: &Path) -> Result<()> {
        todo!("{directory:?}")
    }

    /// Why the store takes no more writes, if it does not.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        todo!()
    }

    /// Waits for running work, syncs, and marks the log as closed cleanly.
    ///
    /// # Errors
    /// As a synced write.
    pub fn close(self) -> Result<()> {
        todo!()
    }
}

impl Keyspace {
    /// What batches call it.
    #[must_use]
    pub fn id(&self) -> KeyspaceId {
        todo!()
    }

    /// The newest value of `key`.
    ///
    /// # Errors
    /// [`Error::Corruption`], [`Error::Io`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Slice>> {
        Ok(self
            .get_with(key, &ReadOptions::default())?
            .map(|found| found.value))
    }

    /// The value of `key`, read as `options` say.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] in [`ReadTier::Memory`]; [`Error::Corruption`], [`Error::Io`].
    pub fn get_with(&self, key: &[u8], options: &ReadOptions<'_>) -> Result<Option<Found>> {
        todo!("{key:?} {options:?}")
    }

    /// The values of many keys at one moment, in their order.
    ///
    /// # Errors
    /// As [`Keyspace::get_with`], for each key by itself.
    pub fn multi_get(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions<'_>,
    ) -> Vec<Result<Option<Found>>> {
        todo!("{keys:?} {options:?}")
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Result<SeqNo> {
        todo!("{key:?} {value:?} {durability:?}")
    }

    /// Removes `key`.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn delete(&self, key: &[u8], durability: Durability) -> Result<SeqNo> {
        todo!("{key:?} {durability:?}")
    }

    /// Removes every key from `start` up to `end` (excluded).
    ///
    /// # Errors
    /// As [`Db::write`]; [`Error::InvertedRange`].
    pub fn delete_range(&self, start: &[u8], end: &[u8], durability: Durability) -> Result<SeqNo> {
        todo!("{start:?} {end:?} {durability:?}")
    }

    /// Reads `key`, lets `change` decide, and writes the result, with no other update of the same
    /// key in between (plain writes do not take part). `None`: nothing was changed.
    ///
    /// # Errors
    /// As [`Keyspace::get`] and [`Db::write`].
    pub fn update(
        &self,
        key: &[u8],
        durability: Durability,
        change: impl FnOnce(Option<&Found>) -> Update,
    ) -> Result<Option<SeqNo>> {
        let _ = (key, durability, change(None));
        todo!()
    }

    /// The keys of a range, in order, in both directions.
    ///
    /// # Errors
    /// [`Error::InvertedRange`], [`Error::Corruption`], [`Error::Io`].
    pub fn range(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        options: &ReadOptions<'_>,
    ) -> Result<Iter> {
        todo!("{range:?} {options:?}")
    }
}

impl Ticket {
    /// Waits until the write is as durable as asked, and visible.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn wait(self) -> Result<SeqNo> {
        todo!()
    }

    /// Calls `done` when the write is as durable as asked, on the thread that wrote the log: keep it short.
    pub fn on_complete(self, done: impl FnOnce(Result<SeqNo>) + Send + 'static) {
        let _ = done;
        todo!()
    }
}

impl Future for Ticket {
    type Output = Result<SeqNo>;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

#[allow(unused)]
fn assert_shareable() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Db>();
    check::<Keyspace>();
    check::<Snapshot>();
    check::<Ticket>();
    let _: Option<(Arc<()>, Error)> = None;
}
