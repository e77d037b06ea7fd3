//! A cursor over a memtable, which it keeps alive.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::Memtable;
use super::skiplist::{Entry, Position};
use crate::bytes::equal;
use crate::cursor::Cursor;
use crate::error::Result;
use crate::key::{InternalKey, Kind, SeqNo};
use crate::slice::Slice;

/// Walks the point entries of a memtable, including those that are inserted ahead of it meanwhile.
pub(crate) struct MemtableCursor {
    memtable: Arc<Memtable>,
    /// Always one of `memtable`'s list.
    position: Option<Position>,
}

impl MemtableCursor {
    pub(super) fn new(memtable: Arc<Memtable>) -> Self {
        Self {
            memtable,
            position: None,
        }
    }

    fn entry(&self) -> Entry<'_> {
        let position = self.position.expect("the cursor stands on an entry");
        // SAFETY: `position` is only ever set to one of this list's.
        unsafe { position.entry(&self.memtable.list) }
    }
}

/// See [`Memtable::get`].
pub(super) fn get(
    memtable: &Arc<Memtable>,
    user: &[u8],
    at: SeqNo,
) -> Option<(SeqNo, Kind, Slice)> {
    let entry = memtable.list.at_or_behind(InternalKey::seek_to(user, at))?;
    let key = entry.key();
    if !equal(key.user, user) {
        return None;
    }
    // SAFETY: the entry was just found in this list.
    let value = unsafe { pin_value(memtable, entry.position()) };
    Some((key.seq(), key.kind(), value))
}

/// # Safety
/// `position` is one of `memtable`'s list.
unsafe fn pin_value(memtable: &Arc<Memtable>, position: Position) -> Slice {
    Slice::of(Arc::clone(memtable), |memtable| {
        // SAFETY: as the caller says; the clone is of the same memtable.
        unsafe { position.entry(&memtable.list) }.value()
    })
}

impl Cursor for MemtableCursor {
    fn valid(&self) -> bool {
        self.position.is_some()
    }

    fn seek_to_first(&mut self) -> Result<()> {
        self.position = self.memtable.list.first().map(Entry::position);
        Ok(())
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.position = self.memtable.list.last().map(Entry::position);
        Ok(())
    }

    fn seek(&mut self, target: InternalKey<'_>) -> Result<()> {
        let found = self.memtable.list.at_or_behind(target);
        self.position = found.map(Entry::position);
        Ok(())
    }

    fn seek_back(&mut self, target: InternalKey<'_>) -> Result<()> {
        let found = self.memtable.list.at_or_before(target);
        self.position = found.map(Entry::position);
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        let next = self.memtable.list.after(self.entry());
        self.position = next.map(Entry::position);
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        let previous = self.memtable.list.before(self.entry());
        self.position = previous.map(Entry::position);
        Ok(())
    }

    fn key(&self) -> InternalKey<'_> {
        self.entry().key()
    }

    fn value(&self) -> &[u8] {
        self.entry().value()
    }

    fn pin_value(&self) -> Slice {
        // SAFETY: the entry is of this list.
        unsafe { pin_value(&self.memtable, self.entry().position()) }
    }
}
