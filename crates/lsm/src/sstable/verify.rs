//! Walking everything a table holds, to find damage before a reader does.

use std::sync::Arc;

use super::block::{Block, BlockCursor, DataBlock};
use super::filter::{Filter, filter_hash};
use super::format::{BlockHandle, BlockKind, HEADER_LEN};
use super::index::IndexBlock;
use super::properties::TableProperties;
use super::reader::TableReader;
use super::tombstones::parse_tombstones;
use crate::error::{CorruptionKind, Result};
use crate::key::InternalKey;
use crate::range_tombstone::RangeTombstone;

impl TableReader {
    /// Reads every block from the disk and checks: each checksum, the order of entries, that index,
    /// hash indexes and filter lead to each of them, that no byte of the file is without a block, and that the
    /// properties say what is there.
    ///
    /// # Errors
    /// The first damage found, or the system's when it could not read.
    pub(crate) fn verify(&self) -> Result<()> {
        self.file.header()?;
        let filter = if self.footer.filter.is_empty() {
            None
        } else {
            Some(self.read_filter()?)
        };
        let mut walk = Walk {
            table: self,
            filter,
            cursor: BlockCursor::default(),
            last: None,
            seen: self.properties().emptied(),
        };
        let mut data_end = HEADER_LEN as u64;
        for number in 0..self.top.len() {
            data_end = walk.partition(number, data_end)?;
        }
        if data_end != self.footer.partitions.offset {
            return Err(self.file.malformed(data_end));
        }
        let tombstones = self.read_tombstones()?;
        let Walk { mut seen, last, .. } = walk;
        let last = last
            .as_ref()
            .and_then(|(user, trailer)| InternalKey::from_parts(user, *trailer));
        seen.finish(last, &tombstones);
        seen.data_len = data_end - HEADER_LEN as u64;
        if self.properties().meta.spread.is_empty() {
            seen.meta.spread = crate::sstable::Spread::default(); // a table of an earlier build
        }
        if seen == *self.properties() {
            Ok(())
        } else {
            Err(self.file.malformed(self.footer.properties.offset))
        }
    }

    fn read_tombstones(&self) -> Result<Vec<RangeTombstone>> {
        let at = self.footer.tombstones;
        if at.is_empty() {
            return Ok(Vec::new());
        }
        let payload = self.file.block(at, BlockKind::RangeTombstones)?;
        parse_tombstones(payload.bytes()).map_err(|_| self.file.malformed(at.offset))
    }
}

struct Walk<'t> {
    table: &'t TableReader,
    filter: Option<Filter>,
    cursor: BlockCursor,
    /// User key and trailer of the last entry.
    last: Option<(Vec<u8>, u64)>,
    seen: TableProperties,
}

impl Walk<'_> {
    /// Checks a partition and its blocks, the first of which begins at `start`; returns where the last ends.
    fn partition(&mut self, number: usize, start: u64) -> Result<u64> {
        let at = self.table.top.handle(number);
        let partition = self.table.read_partition(at)?;
        if partition.base() != start {
            return Err(self.table.file.malformed(at.offset));
        }
        for entry in 0..partition.len() {
            self.block(&partition, entry)?;
        }
        if partition.separator(partition.len() - 1) != self.table.top.separator(number) {
            return Err(self.table.file.malformed(at.offset));
        }
        self.seen.index_partitions += 1;
        Ok(partition.end())
    }

    fn block(&mut self, partition: &IndexBlock, entry: usize) -> Result<()> {
        let handle = partition.handle(entry);
        let payload = self.table.file.block(handle, BlockKind::Data)?;
        let block =
            DataBlock::parse(payload).map_err(|_| self.table.file.malformed(handle.offset))?;
        let block = Arc::new(Block::Data(block));
        let mut cursor = std::mem::take(&mut self.cursor);
        cursor.set_block(Arc::clone(&block));
        let mut moved = cursor.seek_to_first();
        while moved.is_ok() && cursor.valid() {
            self.entry(&cursor, &block, handle, partition, entry)?;
            moved = cursor.next();
        }
        moved.map_err(|_| self.table.file.malformed(handle.offset))?;
        self.cursor = cursor;
        self.seen.data_blocks += 1;
        Ok(())
    }

    fn entry(
        &mut self,
        cursor: &BlockCursor,
        block: &Block,
        handle: BlockHandle,
        partition: &IndexBlock,
        entry: usize,
    ) -> Result<()> {
        let key = cursor.key();
        let (user, trailer) = (key.user, key.trailer());
        let is_in_order = self.last.as_ref().is_none_or(|(last, last_trailer)| {
            (&last[..], u64::MAX - last_trailer) < (user, u64::MAX - trailer)
        });
        if !is_in_order {
            return Err(self
                .table
                .file
                .corrupt(handle.offset, CorruptionKind::Order));
        }
        if partition.search(key) != entry {
            return Err(self.table.file.malformed(handle.offset));
        }
        let hash = filter_hash(user);
        let found = block
            .data()
            .and_then(|data| data.get(key, hash).ok().flatten());
        if found.is_none_or(|found| found.trailer != trailer || found.value != cursor.value_range())
        {
            return Err(self.table.file.malformed(handle.offset));
        }
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.may_contain(hash))
        {
            return Err(self.table.file.malformed(self.table.footer.filter.offset));
        }
        let is_new_user = self.last.as_ref().is_none_or(|(last, _)| last != user);
        self.seen.filter_keys += u64::from(is_new_user && self.filter.is_some());
        self.seen
            .count(key, cursor.value())
            .map_err(|_| self.table.file.malformed(handle.offset))?;
        let (last, last_trailer) = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(user);
        *last_trailer = trailer;
        Ok(())
    }
}
