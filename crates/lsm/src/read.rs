//! How a key is looked up: newest source first, until one decides.
//!
//! # Invariants
//! - read-1: the view is loaded BEFORE the moment is. A view loaded later could have lost, to a
//!   compaction, the version that the moment shows; a view loaded earlier holds everything published
//!   by then, and a newer moment shows nothing more in it than a prefix of the order of writes.
//! - read-2: of one key, a newer source holds only newer changes; so the first change found decides,
//!   and a range delete found on the way hides everything in the sources that follow.
//! - read-3: range deletes of a memtable that still takes changes are loaded AFTER the moment is, as they
//!   must hold all up to it; and where others came in between and what the moment shows may have been
//!   let go of (`memtable-3`), both are loaded anew.

use std::iter::{once, repeat};
use std::ops::Bound;
use std::sync::Arc;

use arc_swap::Guard;
use ringwood_env::{Clock, UnixMillis};

use crate::clock::{Deadlines, NothingPasses};
use crate::cursor::{BlockRead, Cursor, ReadTier};
use crate::error::{Error, Result};
use crate::iter::{self, Iter, LevelCursor, MergeCursor};
use crate::key::{Kind, SeqNo, split_deadline};
use crate::keyspaces::OpenKeyspace;
use crate::memtable::Ranges;
use crate::plant::{Pause, Plant, is_planted, pause};
use crate::range_tombstone::RangeTombstones;
use crate::slice::Slice;
use crate::snapshot::Snapshot;
use crate::sstable::filter_hash;
use crate::store::Store;
use crate::tables::TableRun;
use crate::view::View;

/// How a read is done.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions<'a> {
    /// The state to read; `None`: the latest.
    pub snapshot: Option<&'a Snapshot>,
    /// Whether the read may wait for the disk.
    pub tier: ReadTier,
    /// Keep what is read in the cache. Off for exports and the like, which pass once.
    pub fill_cache: bool,
    /// Shows what has expired too, as long as no compaction has dropped it: for owners who remember what
    /// was there, see [`ExpiryFilter`](crate::ExpiryFilter).
    pub show_expired: bool,
}

impl Default for ReadOptions<'_> {
    fn default() -> Self {
        Self {
            snapshot: None,
            tier: ReadTier::Disk,
            fill_cache: true,
            show_expired: false,
        }
    }
}

impl ReadOptions<'_> {
    fn block_read(&self) -> BlockRead {
        BlockRead {
            tier: self.tier,
            fill_cache: self.fill_cache,
            ..BlockRead::default()
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

/// What a read shows.
struct Moment {
    /// The newest change that counts.
    at: SeqNo,
    /// The range deletes of the active memtable, true at that moment.
    ranges: Option<Guard<Arc<Ranges>>>,
}

/// A view, held for a moment or for longer.
trait Look {
    fn look(&self) -> &View;
}

impl Look for Guard<Arc<View>> {
    fn look(&self) -> &View {
        self
    }
}

impl Look for Arc<View> {
    fn look(&self) -> &View {
        self
    }
}

/// The newest change of a key, as stored.
type Change = (SeqNo, Kind, Slice);

impl Store {
    /// Looks `key` up.
    pub(crate) fn get(
        &self,
        keyspace: &OpenKeyspace,
        key: &[u8],
        options: &ReadOptions<'_>,
    ) -> Result<Option<Found>> {
        keyspace.check_alive()?;
        self.counters.gets.add(1);
        let (view, moment) = self.view_at(|| keyspace.view(), options)?;
        match self.newest_change(view.look(), key, &moment, options)? {
            Some(change) => self.shown(change, options),
            None => Ok(None),
        }
    }

    /// Looks many keys up at one moment. The disk is told of all of them before the first is waited for.
    pub(crate) fn multi_get(
        &self,
        keyspace: &OpenKeyspace,
        keys: &[&[u8]],
        options: &ReadOptions<'_>,
    ) -> Vec<Result<Option<Found>>> {
        if let Err(error) = keyspace.check_alive() {
            return keys.iter().map(|_| Err(error.clone())).collect();
        }
        self.counters.gets.add(keys.len() as u64);
        let (view, moment) = match self.view_at(|| keyspace.view_owned(), options) {
            Ok(found) => found,
            Err(error) => return keys.iter().map(|_| Err(error.clone())).collect(),
        };
        let memory = ReadOptions {
            tier: ReadTier::Memory,
            ..*options
        };
        let mut found: Vec<_> = keys
            .iter()
            .map(|key| {
                let change = self.newest_change(&view, key, &moment, &memory);
                if matches!(change, Err(Error::WouldBlock)) && options.tier == ReadTier::Disk {
                    self.prefetch(&view, key);
                }
                change
            })
            .collect();
        if options.tier == ReadTier::Disk {
            for (change, key) in found.iter_mut().zip(keys) {
                if matches!(change, Err(Error::WouldBlock)) {
                    *change = self.newest_change(&view, key, &moment, options);
                }
            }
        }
        let shown = |change: Result<Option<Change>>| match change? {
            Some(change) => self.shown(change, options),
            None => Ok(None),
        };
        found.into_iter().map(shown).collect()
    }

    /// An iterator over a range.
    pub(crate) fn iter(
        self: &Arc<Self>,
        keyspace: &OpenKeyspace,
        (lower, upper): (Bound<&[u8]>, Bound<&[u8]>),
        options: &ReadOptions<'_>,
    ) -> Result<Iter> {
        keyspace.check_alive()?;
        check_order(lower, upper)?;
        let (view, moment) = self.view_at(|| keyspace.view_owned(), options)?;
        let block_read = options.block_read();
        let mut sources: Vec<Box<dyn Cursor>> = Vec::new();
        let mut tombstones: Vec<Arc<RangeTombstones>> = Vec::new();
        for memtable in view.memtables() {
            sources.push(Box::new(memtable.table.cursor()));
        }
        tombstones.extend(moment.ranges.iter().map(|ranges| Arc::clone(&ranges.set)));
        let sealed = view
            .sealed
            .iter()
            .filter_map(|sealed| sealed.table.ranges());
        tombstones.extend(sealed.map(|ranges| Arc::clone(&ranges.set)));
        let first = bound_key(lower).unwrap_or_default();
        for run in view.version.runs() {
            let tables = run.overlapping(first, upper);
            if tables.is_empty() {
                continue;
            }
            let run = TableRun::new(tables, Arc::clone(&self.tables), block_read);
            sources.push(Box::new(LevelCursor::new(run)));
        }
        for table in view.version.range_delete_tables(first, upper) {
            tombstones.push(Arc::clone(
                self.tables.reader(table, options.tier)?.range_tombstones(),
            ));
        }
        let seen = iter::View {
            at: moment.at,
            lower: lower.map(<[u8]>::to_vec),
            upper: upper.map(<[u8]>::to_vec),
            tombstones,
            deadlines: match options.show_expired {
                true => Arc::new(NothingPasses) as Arc<dyn Deadlines>,
                false => Arc::clone(&self.expiry) as Arc<dyn Deadlines>,
            },
            tier: options.tier,
        };
        let pins = (view, options.snapshot.cloned());
        Ok(Iter::new(MergeCursor::new(sources), seen, Box::new(pins)))
    }

    /// What a read looks into, and as of when. INVARIANT read-1: in this order.
    #[inline]
    fn view_at<V: Look>(
        &self,
        load: impl Fn() -> V,
        options: &ReadOptions<'_>,
    ) -> Result<(V, Moment)> {
        if is_planted(Plant::MomentBeforeView) {
            let moment = self.moment(load().look(), options)?;
            pause(Pause::Read);
            return Ok((load(), moment));
        }
        let view = load();
        pause(Pause::Read);
        let moment = self.moment(view.look(), options)?;
        Ok((view, moment))
    }

    #[inline]
    fn moment(&self, view: &View, options: &ReadOptions<'_>) -> Result<Moment> {
        let active = &view.active.table;
        match options.snapshot {
            None => loop {
                let at = self.commit.published();
                // INVARIANT read-3. Another turn is taken only when another range delete came.
                let ranges = active.ranges();
                if ranges.as_ref().is_none_or(|ranges| ranges.answers(at)) {
                    return Ok(Moment { at, ranges });
                }
            },
            Some(snapshot) if self.snapshots.holds(snapshot) => Ok(Moment {
                at: snapshot.seq(),
                ranges: active.ranges(),
            }),
            Some(_) => Err(Error::OfAnotherStore { what: "snapshot" }),
        }
    }

    /// The newest change to `key` at or before `at`, unless a newer range delete hides it.
    fn newest_change(
        &self,
        view: &View,
        key: &[u8],
        moment: &Moment,
        options: &ReadOptions<'_>,
    ) -> Result<Option<Change>> {
        let at = moment.at;
        let newest_in = |ranges: &Ranges| ranges.set.newest_covering(key, at);
        for (memtable, is_active) in view.memtables().zip(once(true).chain(repeat(false))) {
            let hidden = match is_active {
                true => moment.ranges.as_ref().and_then(|ranges| newest_in(ranges)),
                false => memtable
                    .table
                    .ranges()
                    .and_then(|ranges| newest_in(&ranges)),
            };
            let change = memtable.table.get(key, at);
            if change.is_some() || hidden.is_some() {
                self.counters.gets_from_memtable.add(1);
                return Ok(unless_hidden(change, hidden));
            }
        }
        self.newest_change_in_tables(view, key, at, options.block_read())
    }

    fn newest_change_in_tables(
        &self,
        view: &View,
        key: &[u8],
        at: SeqNo,
        read: BlockRead,
    ) -> Result<Option<Change>> {
        let hash = filter_hash(key);
        for table in view.version.tables_for(key) {
            let reader = self.tables.reader(table, read.tier)?;
            let hidden = if table.range_deletes > 0 {
                reader.range_tombstones().newest_covering(key, at)
            } else {
                None
            };
            let change = reader.get(key, hash, at, read)?;
            if change.is_some() || hidden.is_some() {
                return Ok(unless_hidden(change, hidden));
            }
        }
        Ok(None)
    }

    /// Asks the disk for the blocks that a read of `key` will want. A hint: failures show when it is read.
    fn prefetch(&self, view: &View, key: &[u8]) {
        let hash = filter_hash(key);
        for table in view.version.tables_for(key) {
            if let Ok(reader) = self.tables.reader(table, ReadTier::Disk) {
                reader.prefetch(key, hash);
            }
        }
    }

    /// What a user sees of a change.
    fn shown(
        &self,
        (seq, kind, stored): Change,
        options: &ReadOptions<'_>,
    ) -> Result<Option<Found>> {
        let (deadline, value) = match kind {
            Kind::Put => (None, stored),
            Kind::PutExpiring => {
                let Some((deadline, value)) = split_deadline(&stored) else {
                    return Ok(None);
                };
                if !options.show_expired {
                    self.expiry.ask();
                    if self.has_expired(deadline, self.clock.wall(), options.tier)? {
                        return Ok(None);
                    }
                }
                let header_len = stored.len() - value.len();
                (Some(deadline), stored.clone().skip(header_len))
            }
            Kind::Delete | Kind::RangeDelete => return Ok(None),
        };
        Ok(Some(Found {
            value,
            deadline,
            seq,
        }))
    }

    /// Whether a value with this deadline is gone at `now`: then for good.
    pub(crate) fn has_expired(
        &self,
        deadline: UnixMillis,
        now: UnixMillis,
        tier: ReadTier,
    ) -> Result<bool> {
        let expired = deadline <= now;
        if expired {
            self.expiry.tell_passed(deadline, tier)?;
        }
        Ok(expired)
    }
}

/// INVARIANT read-2: both are of one source, the newest that knows of the key.
fn unless_hidden(change: Option<Change>, hidden: Option<SeqNo>) -> Option<Change> {
    change.filter(|(seq, ..)| hidden.is_none_or(|hidden| hidden < *seq))
}

fn check_order(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Result<()> {
    match (bound_key(lower), bound_key(upper)) {
        (Some(lower), Some(upper)) if lower > upper => Err(Error::InvertedRange),
        _ => Ok(()),
    }
}

fn bound_key(bound: Bound<&[u8]>) -> Option<&[u8]> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    }
}
