//! A position in a data block.

use std::ops::Range;
use std::sync::Arc;

use super::{Block, DataBlock};
use crate::key::InternalKey;
use crate::sstable::format::Malformed;

/// A position in a data block.
#[derive(Default)]
pub(in crate::sstable) struct BlockCursor {
    block: Option<Arc<Block>>,
    user: Vec<u8>,
    trailer: u64,
    value: Range<usize>,
    /// Offset of the current entry; behind the last where there is none.
    at: usize,
    valid: bool,
    behind: Interval,
}

/// The entries between a restart point and the current entry, for moves backward.
#[derive(Default)]
struct Interval {
    users: Vec<u8>,
    entries: Vec<IntervalEntry>,
}

struct IntervalEntry {
    at: usize,
    user: Range<usize>,
    trailer: u64,
    value: Range<usize>,
}

impl Interval {
    fn clear(&mut self) {
        self.users.clear();
        self.entries.clear();
    }
}

impl BlockCursor {
    /// Takes another block, standing on none of its entries. `block` is a data block.
    pub(in crate::sstable) fn set_block(&mut self, block: Arc<Block>) {
        debug_assert!(block.data().is_some());
        self.block = Some(block);
        self.invalidate();
    }

    pub(in crate::sstable) fn invalidate(&mut self) {
        self.valid = false;
        self.behind.clear();
    }

    #[inline]
    pub(in crate::sstable) fn valid(&self) -> bool {
        self.valid
    }

    pub(in crate::sstable) fn block(&self) -> Option<&Arc<Block>> {
        self.block.as_ref()
    }

    #[inline]
    pub(in crate::sstable) fn key(&self) -> InternalKey<'_> {
        assert!(self.valid, "the cursor stands on no entry");
        InternalKey::from_parts(&self.user, self.trailer).expect("checked when the entry was read")
    }

    pub(in crate::sstable) fn value_range(&self) -> Range<usize> {
        self.value.clone()
    }

    #[inline]
    pub(in crate::sstable) fn value(&self) -> &[u8] {
        match self.block.as_deref().and_then(Block::data) {
            Some(block) => &block.bytes()[self.value.clone()],
            None => &[],
        }
    }

    pub(in crate::sstable) fn seek_to_first(&mut self) -> Result<(), Malformed> {
        self.behind.clear();
        self.user.clear();
        self.load(0)
    }

    pub(in crate::sstable) fn seek_to_last(&mut self) -> Result<(), Malformed> {
        self.behind.clear();
        self.at = self.data()?.entries_len;
        self.load_before()
    }

    pub(in crate::sstable) fn seek(&mut self, target: InternalKey<'_>) -> Result<(), Malformed> {
        let start = self.data()?.interval_of(target)?;
        self.behind.clear();
        self.user.clear();
        self.load(start)?;
        while self.valid && self.key() < target {
            self.load(self.value.end)?;
        }
        Ok(())
    }

    /// Goes to the last entry at or before `target`.
    pub(in crate::sstable) fn seek_back(
        &mut self,
        target: InternalKey<'_>,
    ) -> Result<(), Malformed> {
        self.seek(target)?;
        if !self.valid {
            self.seek_to_last()
        } else if self.key() > target {
            self.load_before()
        } else {
            Ok(())
        }
    }

    #[inline]
    pub(in crate::sstable) fn next(&mut self) -> Result<(), Malformed> {
        assert!(self.valid, "the cursor stands on no entry");
        if !self.behind.entries.is_empty() {
            self.behind.clear();
        }
        self.load(self.value.end)
    }

    pub(in crate::sstable) fn prev(&mut self) -> Result<(), Malformed> {
        assert!(self.valid, "the cursor stands on no entry");
        self.load_before()
    }

    fn data(&self) -> Result<&DataBlock, Malformed> {
        self.block.as_deref().and_then(Block::data).ok_or(Malformed)
    }

    /// Goes to the entry at offset `at`, of which `user` holds the key before.
    #[inline]
    fn load(&mut self, at: usize) -> Result<(), Malformed> {
        self.valid = false;
        self.at = at;
        let Some(Block::Data(block)) = self.block.as_deref() else {
            return Err(Malformed);
        };
        if at == block.entries_len {
            return Ok(());
        }
        let entry = block.entry(at)?;
        if entry.shared > self.user.len() || InternalKey::from_parts(&[], entry.trailer).is_none() {
            return Err(Malformed);
        }
        self.user.truncate(entry.shared);
        self.user.extend_from_slice(&block.bytes()[entry.suffix]);
        self.trailer = entry.trailer;
        self.value = entry.value;
        self.valid = true;
        Ok(())
    }

    /// Goes to the entry before offset `at`, reading its whole interval at once so that further
    /// moves backward need not begin at the restart point each time.
    fn load_before(&mut self) -> Result<(), Malformed> {
        self.valid = false;
        if self.behind.entries.is_empty() && self.at > 0 {
            self.read_interval()?;
        }
        if let Some(entry) = self.behind.entries.pop() {
            self.user.clear();
            self.user
                .extend_from_slice(&self.behind.users[entry.user.clone()]);
            self.behind.users.truncate(entry.user.start);
            self.trailer = entry.trailer;
            self.value = entry.value;
            self.at = entry.at;
            self.valid = true;
        }
        Ok(())
    }

    fn read_interval(&mut self) -> Result<(), Malformed> {
        let end = self.at;
        let start = self.data()?.restart_before(end)?;
        self.behind.clear();
        self.user.clear();
        self.load(start)?;
        while self.valid && self.at < end {
            let from = self.behind.users.len();
            self.behind.users.extend_from_slice(&self.user);
            self.behind.entries.push(IntervalEntry {
                at: self.at,
                user: from..self.behind.users.len(),
                trailer: self.trailer,
                value: self.value.clone(),
            });
            self.load(self.value.end)?;
        }
        // Restart points and entries that do not meet would send a walk backward round in circles.
        let meets = self.at == end && !self.behind.entries.is_empty();
        self.valid = false;
        if meets { Ok(()) } else { Err(Malformed) }
    }
}
