//! A cursor over a table's entries, reading ahead where it is moved in order.

use std::sync::Arc;

use super::block::{Block, BlockCursor};
use super::format::{BlockHandle, BlockKind, HEADER_LEN, Malformed};
use super::reader::{TableReader, pin};
use crate::cache::Priority;
use crate::cursor::{BlockRead, Cursor, ReadTier};
use crate::error::{Error, Result};
use crate::key::InternalKey;
use crate::slice::Slice;

/// Blocks read one after another before reading ahead begins.
const IN_ORDER_MIN: u32 = 2;
const READ_AHEAD_MIN: usize = 16 << 10;
const READ_AHEAD_MAX: usize = 256 << 10;

impl TableReader {
    /// A cursor over the entries, standing on none.
    pub(crate) fn cursor(self: &Arc<Self>, read: BlockRead) -> TableCursor {
        TableCursor::new(Arc::clone(self), read)
    }
}

/// See [`Cursor`].
pub(crate) struct TableCursor {
    table: Arc<TableReader>,
    read: BlockRead,
    /// The partition that names the current block, and its number in the top index.
    partition: Option<(usize, Arc<Block>)>,
    /// The current block's number in the partition.
    entry: usize,
    block: BlockCursor,
    /// Where the current block lies, for errors and for what comes next.
    handle: BlockHandle,
    ahead: ReadAhead,
}

impl TableCursor {
    pub(super) fn new(table: Arc<TableReader>, read: BlockRead) -> Self {
        Self {
            table,
            read,
            partition: None,
            entry: 0,
            block: BlockCursor::default(),
            handle: BlockHandle::default(),
            ahead: ReadAhead::default(),
        }
    }

    /// Makes partition `number` the current one; returns how many blocks it names, at least one.
    fn load_partition(&mut self, number: usize) -> Result<usize> {
        let block = match self.partition.take() {
            Some((current, block)) if current == number => block,
            _ => self.table.partition(number, self.read)?,
        };
        let len = self.table.index(&block, number)?.len();
        self.partition = Some((number, block));
        Ok(len)
    }

    /// Makes block `entry` of the current partition the current block.
    fn load_block(&mut self, entry: usize) -> Result<()> {
        let Some((number, partition)) = &self.partition else {
            return Ok(());
        };
        let handle = self.table.index(partition, *number)?.handle(entry);
        if handle == self.handle && self.block.block().is_some() {
            self.entry = entry;
            return Ok(());
        }
        self.block.invalidate();
        let block = self.ahead.block(&self.table, handle, self.read)?;
        if block.data().is_none() {
            return Err(self.table.file.malformed(handle.offset));
        }
        self.block.set_block(block);
        self.handle = handle;
        self.entry = entry;
        Ok(())
    }

    /// Goes to the next block that has entries, onto its first.
    fn next_block(&mut self) -> Result<()> {
        while !self.block.valid() {
            let Some((number, partition)) = &self.partition else {
                return Ok(());
            };
            let (number, len) = (*number, self.table.index(partition, *number)?.len());
            if self.entry + 1 < len {
                self.load_block(self.entry + 1)?;
            } else if number + 1 < self.table.top.len() {
                self.load_partition(number + 1)?;
                self.load_block(0)?;
            } else {
                return Ok(());
            }
            let moved = self.block.seek_to_first();
            self.check(moved)?;
        }
        Ok(())
    }

    /// Goes to the block before that has entries, onto its last.
    fn prev_block(&mut self) -> Result<()> {
        while !self.block.valid() {
            let Some((number, _)) = &self.partition else {
                return Ok(());
            };
            let number = *number;
            if self.entry > 0 {
                self.load_block(self.entry - 1)?;
            } else if number > 0 {
                let len = self.load_partition(number - 1)?;
                self.load_block(len - 1)?;
            } else {
                return Ok(());
            }
            let moved = self.block.seek_to_last();
            self.check(moved)?;
        }
        Ok(())
    }

    /// Goes to the block that would hold the first entry at or behind `target`. False: all are before.
    fn seek_block(&mut self, target: InternalKey<'_>) -> Result<bool> {
        let number = self.table.top.search(target);
        if number == self.table.top.len() {
            return Ok(false);
        }
        let len = self.load_partition(number)?;
        let Some((_, partition)) = &self.partition else {
            return Ok(false);
        };
        let entry = self.table.index(partition, number)?.search(target);
        if entry == len {
            return Err(self
                .table
                .file
                .malformed(self.table.top.handle(number).offset));
        }
        self.load_block(entry)?;
        Ok(true)
    }

    fn check(&mut self, moved: Result<(), Malformed>) -> Result<()> {
        moved.map_err(|Malformed| {
            self.block.invalidate();
            self.table.file.malformed(self.handle.offset)
        })
    }
}

impl Cursor for TableCursor {
    #[inline]
    fn valid(&self) -> bool {
        self.block.valid()
    }

    fn seek_to_first(&mut self) -> Result<()> {
        self.block.invalidate();
        if self.table.top.len() == 0 {
            return Ok(());
        }
        self.load_partition(0)?;
        self.load_block(0)?;
        let moved = self.block.seek_to_first();
        self.check(moved)?;
        self.next_block()
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.block.invalidate();
        let Some(last) = self.table.top.len().checked_sub(1) else {
            return Ok(());
        };
        let len = self.load_partition(last)?;
        self.load_block(len - 1)?;
        let moved = self.block.seek_to_last();
        self.check(moved)?;
        self.prev_block()
    }

    fn seek(&mut self, target: InternalKey<'_>) -> Result<()> {
        self.block.invalidate();
        if !self.seek_block(target)? {
            return Ok(());
        }
        let moved = self.block.seek(target);
        self.check(moved)?;
        // Nothing at or behind the target where it lies between the block's last key and its separator.
        self.next_block()
    }

    fn seek_back(&mut self, target: InternalKey<'_>) -> Result<()> {
        self.block.invalidate();
        if !self.seek_block(target)? {
            return self.seek_to_last();
        }
        let moved = self.block.seek_back(target);
        self.check(moved)?;
        self.prev_block()
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        let moved = self.block.next();
        if moved.is_ok() && self.block.valid() {
            return Ok(());
        }
        self.check(moved)?;
        self.next_block()
    }

    fn prev(&mut self) -> Result<()> {
        let moved = self.block.prev();
        self.check(moved)?;
        self.prev_block()
    }

    #[inline]
    fn key(&self) -> InternalKey<'_> {
        self.block.key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        assert!(self.valid(), "the cursor stands on no entry");
        self.block.value()
    }

    fn pin_value(&self) -> Slice {
        assert!(self.valid(), "the cursor stands on no entry");
        match self.block.block() {
            Some(block) => pin(Arc::clone(block), self.block.value_range()),
            None => Slice::empty(),
        }
    }
}

/// Bytes around the current block that were read with it.
#[derive(Default)]
struct ReadAhead {
    bytes: Vec<u8>,
    offset: u64,
    last: BlockHandle,
    in_order: u32,
    window: usize,
}

impl ReadAhead {
    /// The data block at `handle`: from the cache, from what was read ahead, or from the disk.
    fn block(
        &mut self,
        table: &TableReader,
        handle: BlockHandle,
        read: BlockRead,
    ) -> Result<Arc<Block>> {
        let is_forward = handle.offset == self.last.end();
        if is_forward || handle.end() == self.last.offset {
            self.in_order += 1;
        } else {
            self.in_order = 0;
            self.window = 0;
        }
        self.last = handle;
        if let Some(block) = table.cached(handle) {
            return Ok(block);
        }
        if read.tier == ReadTier::Memory {
            return Err(Error::WouldBlock);
        }
        if self.part(handle).is_none() && (read.read_ahead > 0 || self.in_order >= IN_ORDER_MIN) {
            self.fill(table, handle, read, is_forward)?;
        }
        let payload = match self.part(handle) {
            Some(block) => table
                .file
                .unpack(block.into(), handle.offset, BlockKind::Data)?,
            None => table.file.block(handle, BlockKind::Data)?,
        };
        let priority = if self.in_order < IN_ORDER_MIN {
            Priority::Data
        } else {
            Priority::Scan
        };
        table.keep(handle, payload, read, priority)
    }

    fn part(&self, handle: BlockHandle) -> Option<&[u8]> {
        let start = usize::try_from(handle.offset.checked_sub(self.offset)?).ok()?;
        self.bytes.get(start..)?.get(..handle.len as usize)
    }

    /// Reads the block and its neighbours on the side the cursor moves to; the further, the longer
    /// the cursor keeps its direction.
    fn fill(
        &mut self,
        table: &TableReader,
        handle: BlockHandle,
        read: BlockRead,
        is_forward: bool,
    ) -> Result<()> {
        self.window = match read.read_ahead {
            0 => (2 * self.window).clamp(READ_AHEAD_MIN, READ_AHEAD_MAX),
            fixed => fixed,
        };
        let window = (self.window as u64).max(u64::from(handle.len));
        let data_end = table.footer.partitions.offset;
        let backward = !is_forward && self.in_order > 0;
        let (start, end) = if backward {
            (
                handle.end().saturating_sub(window).max(HEADER_LEN as u64),
                handle.end(),
            )
        } else {
            (
                handle.offset,
                handle
                    .offset
                    .saturating_add(window)
                    .min(data_end)
                    .max(handle.end()),
            )
        };
        self.offset = start;
        let len = usize::try_from(end - start).map_err(|_| table.file.malformed(start))?;
        table.file.read_into(&mut self.bytes, start, len)?;
        if !backward && self.window >= READ_AHEAD_MAX {
            let next = window.min(data_end.saturating_sub(end));
            if next > 0 {
                table.file.file.will_need(end, next);
            }
        }
        Ok(())
    }
}
