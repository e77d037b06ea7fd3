//! The store: what a user of the engine holds.

use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use ringwood_env::{Clock, DiskLock, UnixMillis};

use crate::batch::{Batch, KeyspaceId};
use crate::checkpoint;
use crate::cursor::ReadTier;
use crate::error::{Error, Result};
use crate::iter::Iter;
use crate::jobs::Job;
use crate::key::SeqNo;
use crate::key_locks::KeyLocks;
use crate::keyspaces::OpenKeyspace;
use crate::locks::lock;
use crate::options::{Durability, KeyspaceOptions, Options};
use crate::pool::Pool;
use crate::read::{Found, ReadOptions};
use crate::recovery::{self, OpenReport, TimeSource};
use crate::slice::Slice;
use crate::snapshot::Snapshot;
use crate::statistics::{CheckpointProgress, Statistics};
use crate::store::Store;
use crate::ticket::Ticket;
use crate::verify::VerifyReport;

/// An open store. Cheap to clone; it closes when the last clone and the last [`Keyspace`] are gone.
///
/// ```
/// use ringwood_lsm::{Batch, Db, Durability, KeyspaceOptions, Options};
///
/// # fn main() -> ringwood_lsm::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// let db = Db::open(Options::new(directory.path()))?;
/// let users = db.create_keyspace("users", KeyspaceOptions::default())?;
/// users.put(b"ada", b"mathematician", Durability::Synced)?;
///
/// let mut batch = Batch::new();
/// batch.put(users.id(), b"grace", b"admiral")?;
/// batch.delete(users.id(), b"ada")?;
/// db.write(&batch, Durability::Synced)?;
///
/// assert_eq!(users.get(b"grace")?.unwrap(), b"admiral");
/// assert!(users.get(b"ada")?.is_none());
/// # db.close()
/// # }
/// ```
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

/// One keyspace of an open store. Cheap to clone.
#[derive(Clone)]
pub struct Keyspace {
    inner: Arc<Inner>,
    keyspace: Arc<OpenKeyspace>,
}

struct Inner {
    store: Arc<Store>,
    report: OpenReport,
    key_locks: KeyLocks,
    /// `None` once closed.
    running: Mutex<Option<Running>>,
}

/// What ends when a store is closed, in this order.
struct Running {
    pool: Pool,
    _lock: Box<dyn DiskLock>,
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
    /// [`Error::InvalidOption`], [`Error::Io`]. Nothing was changed.
    pub fn open(options: Options) -> Result<Self> {
        let threads = options.threads;
        let (store, lock, report) = recovery::open(options, threads > 0, TimeSource::Store)?;
        let pool = Pool::start(&store, threads);
        let running = Mutex::new(Some(Running { pool, _lock: lock }));
        let inner = Inner {
            store,
            report,
            key_locks: KeyLocks::default(),
            running,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What opening it found.
    #[must_use]
    pub fn open_report(&self) -> &OpenReport {
        &self.inner.report
    }

    /// Makes a keyspace, durable on return.
    ///
    /// # Errors
    /// [`Error::KeyspaceExists`], [`Error::InvalidOption`], or as a write.
    pub fn create_keyspace(&self, name: &str, options: KeyspaceOptions) -> Result<Keyspace> {
        options.validate()?;
        let keyspace = self.inner.store.create_keyspace(name, options)?;
        Ok(self.handle(keyspace))
    }

    /// The keyspace of this name.
    ///
    /// # Errors
    /// [`Error::NoSuchKeyspace`].
    pub fn keyspace(&self, name: &str) -> Result<Keyspace> {
        let keyspace = self.inner.store.keyspaces.by_name(name);
        let missing = || Error::NoSuchKeyspace {
            name: name.to_owned(),
        };
        keyspace
            .map(|keyspace| self.handle(keyspace))
            .ok_or_else(missing)
    }

    /// Names of all keyspaces, sorted.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<String> {
        let all = self.inner.store.keyspaces.all();
        let mut names: Vec<_> = all.values().map(|keyspace| keyspace.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Drops a keyspace and everything in it, durable on return.
    ///
    /// # Errors
    /// [`Error::NoSuchKeyspace`], or as a write.
    pub fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.inner.store.drop_keyspace(name)
    }

    /// Applies a batch, all of it or nothing, and waits until it is as durable as asked. While
    /// background work is behind, the caller is kept waiting.
    ///
    /// # Errors
    /// [`Error::DiskFull`], [`Error::Failed`], [`Error::BatchTooLarge`], [`Error::Closed`],
    /// [`Error::NoSuchKeyspace`], [`Error::OfAnotherStore`], and with 0 threads [`Error::Stalled`]: not
    /// applied. [`Error::OutcomeUnknown`]: may be there after the next
    /// open, or not.
    pub fn write(&self, batch: &Batch, durability: Durability) -> Result<SeqNo> {
        self.inner.store.write(batch, durability)
    }

    /// Queues a batch and returns at once; the ticket completes when it is as durable as asked.
    ///
    /// # Errors
    /// As [`Db::write`], for what is known before the log is written; [`Error::Stalled`] while
    /// background work is too far behind.
    pub fn submit(&self, batch: &Batch, durability: Durability) -> Result<Ticket> {
        self.inner.store.submit(batch, durability)
    }

    /// How long a writer who uses [`Db::submit`] waits before its next write, while background work
    /// is behind. [`Db::write`] waits by itself.
    #[must_use]
    pub fn write_delay(&self) -> Option<Duration> {
        self.inner.store.pressure.delay(&*self.inner.store.clock)
    }

    /// Most bytes a second that flushes and compactions write together, from now on.
    pub fn set_background_rate(&self, bytes_per_second: Option<u64>) {
        self.inner.store.rate.set_rate(bytes_per_second);
    }

    /// Makes every buffered write durable.
    ///
    /// # Errors
    /// As a synced write.
    pub fn sync(&self) -> Result<()> {
        self.inner.store.sync()
    }

    /// The state of now, kept readable until it is dropped.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.inner
            .store
            .snapshots
            .take(|| self.inner.store.commit.published())
    }

    /// Writes out every memtable and waits for it.
    ///
    /// # Errors
    /// As background work: [`Error::Io`], [`Error::DiskFull`], [`Error::Failed`].
    pub fn flush(&self) -> Result<()> {
        self.inner.store.flush_all()
    }

    /// The next piece of background work, if there is any. For stores opened with 0 threads.
    #[must_use]
    pub fn next_job(&self) -> Option<Job> {
        self.inner.store.next_job()
    }

    /// Does a piece of background work.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`], [`Error::Failed`], [`Error::Corruption`]. Nothing was lost,
    /// and the work is offered again.
    pub fn run(&self, job: Job) -> Result<()> {
        self.inner.store.run_job(job)
    }

    /// Makes a copy that can be opened as a store of its own, in a directory that is empty or not there
    /// yet. On the same file system tables are linked, which costs little time and space; elsewhere they
    /// are copied, at the rate of background work. Holds every write acknowledged before, and is one
    /// moment; writes go on meanwhile. Durable on return.
    ///
    /// # Errors
    /// [`Error::CheckpointTarget`]: nothing was made. [`Error::CheckpointNotMade`]: what there was of it
    /// was removed. In both the store goes on as before.
    pub fn checkpoint(&self, directory: &Path) -> Result<()> {
        self.checkpoint_with(directory, |_| ())
    }

    /// As [`Db::checkpoint`], and tells `progress` how far it is, on this thread.
    ///
    /// # Errors
    /// As [`Db::checkpoint`].
    pub fn checkpoint_with(
        &self,
        directory: &Path,
        progress: impl FnMut(CheckpointProgress),
    ) -> Result<()> {
        checkpoint::make(&self.inner.store, directory, progress)
    }

    /// How far the checkpoint is that is being made, if one is.
    #[must_use]
    pub fn checkpoint_progress(&self) -> Option<CheckpointProgress> {
        *lock(&self.inner.store.checkpoint_progress)
    }

    /// Reads and checks everything the store has on the disk, while it is in use.
    ///
    /// # Errors
    /// [`Error::Io`] where not even the directory can be read. Damage is no error: it is in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.inner.store.verify()
    }

    /// What the store holds and does.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.inner.store.statistics()
    }

    /// Why the store takes no more writes, if it does not.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.inner.store.check_writable().err()
    }

    /// Whether only reads and deletes go on for want of room on the disk.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.inner.store.space.is_short()
    }

    /// The store's idea of now, in milliseconds since the Unix epoch: the wall clock, but that it never
    /// goes back; over a restart, not behind anything durable or called expired before. Deadlines are
    /// compared with it.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.inner.store.clock.wall()
    }

    /// Whether a value with this deadline has expired at `now`, which is [`Db::now`] or before. Once this
    /// was said, it is so for good: gone over a restart, too.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Failed`], where it has expired and that cannot be noted.
    pub fn has_expired(&self, deadline: UnixMillis, now: UnixMillis) -> Result<bool> {
        self.inner.store.has_expired(deadline, now, ReadTier::Disk)
    }

    /// Waits for running work, syncs, and marks the log as closed in order. Other handles to the store
    /// stay readable; their writes fail with [`Error::Closed`].
    ///
    /// # Errors
    /// As a synced write.
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }

    fn handle(&self, keyspace: Arc<OpenKeyspace>) -> Keyspace {
        Keyspace {
            inner: Arc::clone(&self.inner),
            keyspace,
        }
    }
}

impl Keyspace {
    /// What batches call it.
    #[must_use]
    pub fn id(&self) -> KeyspaceId {
        KeyspaceId::new(self.inner.store.tag, self.keyspace.id)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.keyspace.name
    }

    /// The newest value of `key`.
    ///
    /// # Errors
    /// [`Error::Corruption`], [`Error::Io`]; [`Error::NoSuchKeyspace`] once it was dropped;
    /// [`Error::Failed`] where it has expired, and the store cannot note that any more.
    pub fn get(&self, key: &[u8]) -> Result<Option<Slice>> {
        Ok(self
            .get_with(key, &ReadOptions::default())?
            .map(|found| found.value))
    }

    /// The value of `key`, read as `options` say.
    ///
    /// # Errors
    /// As [`Keyspace::get`], and [`Error::WouldBlock`] in [`ReadTier::Memory`].
    pub fn get_with(&self, key: &[u8], options: &ReadOptions<'_>) -> Result<Option<Found>> {
        self.inner.store.get(&self.keyspace, key, options)
    }

    /// The values of many keys at one moment, in their order; their disk reads overlap.
    ///
    /// # Errors
    /// As [`Keyspace::get_with`], for each key by itself.
    pub fn multi_get(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions<'_>,
    ) -> Vec<Result<Option<Found>>> {
        self.inner.store.multi_get(&self.keyspace, keys, options)
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// As [`Db::write`]; [`Error::KeyTooLarge`], [`Error::ValueTooLarge`].
    pub fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Result<SeqNo> {
        self.write_one(durability, |batch, id| batch.put(id, key, value))
    }

    /// Sets `key` to `value` until `deadline`.
    ///
    /// # Errors
    /// As [`Keyspace::put`].
    pub fn put_expiring(
        &self,
        key: &[u8],
        value: &[u8],
        deadline: UnixMillis,
        durability: Durability,
    ) -> Result<SeqNo> {
        self.write_one(durability, |batch, id| {
            batch.put_expiring(id, key, value, deadline)
        })
    }

    /// Removes `key`.
    ///
    /// # Errors
    /// As [`Keyspace::put`].
    pub fn delete(&self, key: &[u8], durability: Durability) -> Result<SeqNo> {
        self.write_one(durability, |batch, id| batch.delete(id, key))
    }

    /// Removes every key from `start` up to `end` (excluded).
    ///
    /// # Errors
    /// As [`Keyspace::put`]; [`Error::InvertedRange`].
    pub fn delete_range(&self, start: &[u8], end: &[u8], durability: Durability) -> Result<SeqNo> {
        self.write_one(durability, |batch, id| batch.delete_range(id, start, end))
    }

    /// Reads `key`, lets `change` decide, and writes the result, with no other update of the same
    /// key in between (plain writes do not take part). `None`: nothing was changed.
    ///
    /// # Errors
    /// As [`Keyspace::get`] and [`Keyspace::put`]; [`Error::NestedUpdate`] inside of `change`.
    pub fn update(
        &self,
        key: &[u8],
        durability: Durability,
        change: impl FnOnce(Option<&Found>) -> Update,
    ) -> Result<Option<SeqNo>> {
        let commit = &self.inner.store.commit;
        // INVARIANT commit-5: what other writers want called may be an update of this very key.
        let updated = {
            let _calls = commit.hold_calls();
            let _locked = self.inner.key_locks.lock(self.keyspace.id, key)?;
            self.update_locked(key, durability, change)
        };
        commit.make_calls();
        updated
    }

    fn update_locked(
        &self,
        key: &[u8],
        durability: Durability,
        change: impl FnOnce(Option<&Found>) -> Update,
    ) -> Result<Option<SeqNo>> {
        let found = self.get_with(key, &ReadOptions::default())?;
        let written = match change(found.as_ref()) {
            Update::Keep => return Ok(None),
            Update::Put(value) => self.put(key, &value, durability),
            Update::PutExpiring(value, deadline) => {
                self.put_expiring(key, &value, deadline, durability)
            }
            Update::Delete => self.delete(key, durability),
        };
        written.map(Some)
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
        self.inner.store.iter(&self.keyspace, range, options)
    }

    /// Bytes that the keys from `start` up to `end` (excluded) take on the disk, roughly: what is
    /// deleted or hidden counts until it is compacted away, what is in memory does not. Reads a few
    /// index blocks.
    ///
    /// # Errors
    /// As [`Keyspace::get`]; [`Error::InvertedRange`].
    pub fn approximate_len(&self, start: &[u8], end: &[u8]) -> Result<u64> {
        if start > end {
            return Err(Error::InvertedRange);
        }
        self.inner.store.approximate_len(&self.keyspace, start, end)
    }

    /// Writes out what is in memory and merges all tables of the keyspace into its lowest level, which
    /// gives back all space that can be. Takes as long as rewriting everything does.
    ///
    /// # Errors
    /// As background work.
    pub fn compact(&self) -> Result<()> {
        self.inner.store.compact_all(&self.keyspace)
    }

    fn write_one(
        &self,
        durability: Durability,
        fill: impl FnOnce(&mut Batch, KeyspaceId) -> Result<()>,
    ) -> Result<SeqNo> {
        self.keyspace.check_alive()?;
        let mut batch = Batch::new();
        fill(&mut batch, self.id())?;
        self.inner.store.write(&batch, durability)
    }
}

impl Inner {
    fn close(&self) -> Result<()> {
        let Some(running) = lock(&self.running).take() else {
            return Ok(());
        };
        // ORDER: no job and no write runs while the log is ended; the directory is unlocked last.
        running.pool.stop();
        self.store.close()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the store was not closed in order; the next open recovers it");
        }
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db")
            .field("path", &self.inner.store.options.path)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyspace")
            .field("name", &self.keyspace.name)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
