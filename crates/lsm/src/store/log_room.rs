//! The room that the log takes: which segments there are, when the next is made, and when old ones go.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use ringwood_env::Clock;

use super::Store;
use crate::commit::Token;
use crate::error::{Error, Result};
use crate::files::{self, FileNumber};
use crate::keyspaces::OpenKeyspace;
use crate::locks::lock;
use crate::manifest::Edit;
use crate::wal::{FIRST_LEN, Preparation, Segment, SegmentPool};

/// Bytes that the next open replays at most after a close in order: a few milliseconds.
const REPLAYED_LEN_MAX: usize = 1 << 20;
/// A close in order leaves segments of about this length at most, where little is in them.
const LOG_LEN_CLOSED_MAX: u64 = 4 << 20;
/// More segments than this are too many where little is in them.
const LOGS_MANY: usize = 16;
/// At rest a segment that is more than this many times as long as what needs it is left.
const LONG_AT_REST: u64 = 4;

impl Store {
    /// Whether a memtable holds what only the log has besides.
    pub(super) fn has_unflushed(&self) -> bool {
        let keyspaces = self.keyspaces.all();
        keyspaces.values().any(|keyspace| {
            let view = keyspace.view();
            view.memtables().any(|memtable| !memtable.table.is_empty())
        })
    }

    /// Writes out what the next open would replay for long, or what keeps many segments. Nobody writes
    /// any more, and no job runs: the closer holds the token, as it were.
    pub(super) fn flush_before_close(&self) {
        let roomy = self.live_log_len() > LOG_LEN_CLOSED_MAX;
        if self.unflushed_len() < REPLAYED_LEN_MAX && !self.has_many_logs() && !roomy {
            return;
        }
        for keyspace in self.keyspaces.all().values() {
            if !keyspace.view().active.table.is_empty() {
                keyspace.seal(&self.new_memtable());
            }
            if let Err(error) = self.flush_keyspace(keyspace) {
                tracing::warn!(%error, "memtables could not be written out; the log keeps them");
                return;
            }
        }
    }

    /// Bytes that only the log and memtables have.
    pub(super) fn unflushed_len(&self) -> usize {
        let keyspaces = self.keyspaces.all();
        let views = keyspaces.values().map(|keyspace| keyspace.view_owned());
        views
            .map(|view| {
                let filled = view.memtables().map(|memtable| memtable.table.filled());
                filled.sum::<usize>()
            })
            .sum()
    }

    /// Bytes of all segments that are listed.
    fn live_log_len(&self) -> u64 {
        let logs = self.manifest().state().logs.clone();
        let segments = lock(&self.segments);
        logs.iter().map(|log| segments.len_of(*log)).sum()
    }

    /// Whether opening the store again and again has left many segments with little in them, or on a full
    /// disk more than deletes may take.
    fn has_many_logs(&self) -> bool {
        let is_many = self.manifest().state().logs.len() > LOGS_MANY;
        is_many || self.space.is_short() && self.live_log_len() > self.share.kept_for_deletes()
    }

    /// Writes out what was replayed, where many segments hold it: a store that is opened often, and
    /// never closed, must not grow by it. Waits for it where it is little.
    pub(crate) fn flush_many_logs(&self) {
        if !self.has_many_logs() {
            return;
        }
        let Some(token) = self.commit.take_token() else {
            return;
        };
        let little = self.unflushed_len() < REPLAYED_LEN_MAX;
        for (keyspace, _) in self.seal_all(&token) {
            let flushed = if little {
                self.flush_keyspace(&keyspace)
            } else {
                Ok(())
            };
            if let Err(error) = flushed {
                tracing::warn!(%error, "memtables could not be written out; it is tried again");
            }
        }
    }

    /// Appends edits to the manifest, and frees the logs that it does not list afterwards.
    pub(super) fn release_logs(&self, edits: &[Edit]) -> Result<()> {
        let mut manifest = self.manifest();
        let before: Vec<_> = manifest.state().logs.iter().copied().collect();
        manifest.append(edits)?;
        let min_log = manifest.state().min_log;
        drop(manifest);
        self.free_logs(before.into_iter().filter(|log| *log < min_log), min_log);
        Ok(())
    }

    /// Whether the log keeps room for a rate at which it does not grow any more.
    pub(crate) fn log_rests(&self) -> bool {
        lock(&self.segments).rests(self.clock.monotonic())
    }

    /// Gives back the room that only a higher rate of writes needed.
    pub(crate) fn trim_log(&self) -> Result<()> {
        let unwanted = lock(&self.segments).give_back();
        self.discard_logs(unwanted);
        let segment = {
            let mut segments = lock(&self.segments);
            if segments.is_preparing() || !self.has_long_segment(&segments) {
                return Ok(());
            }
            segments.begin(self.numbers.issue(), 0)
        };
        self.finish_preparation(segment)?;
        let token = self.commit.take_token().ok_or(Error::Closed)?;
        self.check_writable()?;
        self.leave_segment(0)?;
        self.seal_all(&token);
        if self.has_unflushed() {
            return Ok(()); // freed when that is written out
        }
        self.release_logs(&[Edit::MinLog {
            number: self.first_needed_log(&[]),
        }])
    }

    /// Whether there is something that [`make_room`](Self::make_room) would give up.
    pub(crate) fn has_room_to_give(&self) -> bool {
        let gives = {
            let segments = lock(&self.segments);
            segments.has_obsolete() || self.has_long_segment(&segments)
        };
        gives || self.has_unsealed()
    }

    /// Whether the present segment, or on a full disk the spare behind it, is longer than what is to come
    /// needs. Both are listed: they go once the log goes on behind them, and for that memtables are written
    /// out. A spare alone is not worth that where there is room.
    fn has_long_segment(&self, segments: &SegmentPool) -> bool {
        let len = segments.len_of(self.current_log());
        let is_long = len > FIRST_LEN && len > LONG_AT_REST * self.unflushed_len() as u64;
        is_long || self.space.is_short() && segments.has_spare(FIRST_LEN + 1)
    }

    /// INVARIANT space-2: gives up what is kept for speed, and has all that is in memory written out, so
    /// that the log can go.
    pub(crate) fn make_room(&self) -> Result<()> {
        {
            let token = self.commit.take_token().ok_or(Error::Closed)?;
            self.check_writable()?;
            for keyspace in self.keyspaces.all().values() {
                if is_sealed_for_room(keyspace) {
                    self.seal_memtable(keyspace, &token);
                }
            }
        }
        match self.trim_log() {
            // Then there is not even room for a short segment in the place of a long one, until the
            // memtables are written out.
            Err(error) if error.is_disk_full() => Ok(()),
            trimmed => trimmed,
        }
    }

    /// Whether an active memtable has changes that could be written out next.
    fn has_unsealed(&self) -> bool {
        let keyspaces = self.keyspaces.all();
        keyspaces
            .values()
            .any(|keyspace| is_sealed_for_room(keyspace))
    }

    /// Removes log segments that nobody keeps.
    pub(crate) fn discard_logs(&self, logs: Vec<FileNumber>) {
        for number in logs {
            self.discard_file(&files::log_path(&self.options.path, number));
        }
    }

    /// A fresh segment of at least `len` bytes: the spare, or one made now, while the writer waits.
    fn next_segment(&self, len: u64) -> Result<Segment> {
        loop {
            let mut segments = lock(&self.segments);
            if segments.has_spare(len)
                && let Some(segment) = segments.take_spare()
            {
                return Ok(segment);
            }
            drop(segments);
            self.counters.log_waits.add(1);
            self.prepare_spare(len)?;
        }
    }

    /// Continues the log in another segment, of at least `len` bytes. With the token only.
    pub(super) fn leave_segment(&self, len: u64) -> Result<()> {
        let segment = self.next_segment(len)?;
        let mut log = self.log();
        let previous = log.has_begun().then(|| log.number());
        log.rotate(segment)?;
        self.current_log
            .store(log.number().get(), Ordering::Release);
        drop(log);
        lock(&self.segments).begun(previous, self.clock.monotonic());
        self.spare_due.store(false, Ordering::Relaxed);
        self.log_grew.store(true, Ordering::Relaxed);
        match previous {
            Some(_) => Ok(()),
            None => self.release_replayed_logs(),
        }
    }

    /// Gives up the logs that were there when the store was opened and that nothing needs. Opening does so
    /// where it has room to begin a log.
    fn release_replayed_logs(&self) -> Result<()> {
        let number = self.first_needed_log(&[]);
        match self.release_logs(&[Edit::MinLog { number }]) {
            Err(error) if error.is_disk_full() && !self.manifest().has_failed() => Ok(()),
            released => released,
        }
    }

    /// Whether the next segment should be made now.
    pub(crate) fn wants_spare(&self) -> bool {
        self.spare_due.load(Ordering::Relaxed) && lock(&self.segments).wants_spare()
    }

    /// Makes the next segment, of at least `len` bytes, unless there is one or somebody is at it: then
    /// waits for that. One at a time: the log goes up in the order of their numbers.
    pub(crate) fn prepare_spare(&self, len: u64) -> Result<()> {
        let preparation = {
            let mut segments = lock(&self.segments);
            while segments.is_preparing() {
                let waited = self.segment_prepared.wait(segments);
                segments = waited.unwrap_or_else(PoisonError::into_inner);
            }
            if segments.has_spare(len) {
                return Ok(());
            }
            segments.begin(self.numbers.issue(), len)
        };
        self.finish_preparation(preparation)
    }

    fn finish_preparation(&self, preparation: Preparation) -> Result<()> {
        let prepared = self.prepare_segment(preparation);
        let mut segments = lock(&self.segments);
        let result = match prepared {
            Ok(segment) => {
                segments.put_spare(segment);
                Ok(())
            }
            Err(error) => {
                segments.gave_up();
                Err(error)
            }
        };
        drop(segments);
        self.segment_prepared.notify_all();
        result
    }

    /// Makes a segment and lists it in the manifest.
    fn prepare_segment(&self, preparation: Preparation) -> Result<Segment> {
        let number = preparation.number();
        let segment = preparation.run().inspect_err(|_| {
            // What a full disk cut short takes the room that a flush needs.
            let path = files::log_path(&self.options.path, number);
            self.discard_file(&path.with_extension("log.tmp"));
        })?;
        // ORDER: listed before it is written, so that recovery knows when it is missing.
        let mut manifest = self.manifest();
        let listed = manifest.append(&[Edit::AddLog { number }]);
        let is_unknown = manifest.has_failed();
        drop(manifest);
        if let Err(error) = listed {
            if is_unknown {
                self.commit.fail(error.clone());
            } else if !lock(&self.segments).retire(number, segment.len()) {
                self.discard_file(&files::log_path(&self.options.path, number));
            }
            return Err(error);
        }
        Ok(segment)
    }

    /// Seals the memtables that hold the oldest part of a log that has grown too long.
    pub(super) fn bound_log(&self, token: &Token<'_>) {
        let oldest = self.manifest().state().logs.first().copied();
        let len_max = match self.space.is_short() {
            // Each delete that comes now takes log, of the room that is kept free.
            true => self.share.kept_for_deletes(),
            false => self.share.log_len_max(&self.options),
        };
        if self.live_log_len() <= len_max {
            return;
        }
        let needed = self.first_needed_log(&[]);
        debug_assert!(
            oldest.is_none_or(|oldest| oldest <= needed),
            "needed logs are listed"
        );
        for keyspace in self.keyspaces.all().values() {
            if keyspace.view().active.first_log() == Some(needed) {
                self.seal_memtable(keyspace, token);
            }
        }
    }
}

/// Whether sealing its memtable makes room. Not while one waits: where there is not even room to write that
/// out, more of them would only end all writing, deletes too.
fn is_sealed_for_room(keyspace: &OpenKeyspace) -> bool {
    let view = keyspace.view();
    view.sealed.is_empty() && !view.active.table.is_empty()
}
