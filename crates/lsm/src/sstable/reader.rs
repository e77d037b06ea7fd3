//! Reading a table: opening, point reads, and the blocks behind both.
//!
//! What a reader holds while it is open: properties, range tombstones, the top index and, from the
//! first point read on, the filter. Index partitions and data blocks come through the block cache.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use ringwood_env::Disk;

use super::block::{Block, DataBlock};
use super::file::TableFile;
use super::filter::Filter;
use super::format::{BlockHandle, BlockKind, FOOTER_LEN, Footer, HEADER_LEN};
use super::index::IndexBlock;
use super::payload::Payload;
use super::properties::TableProperties;
use super::tombstones::parse_tombstones;
use crate::cache::{BlockCache, CacheKey, Priority};
use crate::cursor::{BlockRead, ReadTier};
use crate::error::{CorruptionKind, Error, Result};
use crate::files::FileNumber;
use crate::key::{InternalKey, Kind, SeqNo};
use crate::range_tombstone::{RangeTombstones, Readers};
use crate::slice::Slice;

/// Bytes read from the end of the file at once when it is opened: most often all that opening needs.
const TAIL_LEN: u64 = 16 << 10;

/// An open table.
pub(crate) struct TableReader {
    pub(super) file: TableFile,
    cache: Arc<BlockCache<Block>>,
    pub(super) footer: Footer,
    pub(super) top: IndexBlock,
    properties: TableProperties,
    range_tombstones: Arc<RangeTombstones>,
    /// Read when first asked for: compactions never do.
    filter: OnceLock<Filter>,
}

impl std::fmt::Debug for TableReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableReader")
            .field("number", &self.file.number)
            .finish_non_exhaustive()
    }
}

impl TableReader {
    /// Opens a table, which takes one or two reads. It fails where range tombstones cannot be read:
    /// without them, answers would be wrong.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        number: FileNumber,
        cache: Arc<BlockCache<Block>>,
    ) -> Result<Arc<Self>> {
        Self::from_file(TableFile::open(disk, path, number)?, cache)
    }

    pub(super) fn from_file(file: TableFile, cache: Arc<BlockCache<Block>>) -> Result<Arc<Self>> {
        if file.len < (HEADER_LEN + FOOTER_LEN) as u64 {
            return Err(file.corrupt(0, CorruptionKind::Truncated));
        }
        let tail = Tail::read(&file)?;
        let footer = file.footer(&tail.bytes)?;
        let properties = tail.block(&file, footer.properties, BlockKind::Properties)?;
        let properties = TableProperties::parse(properties.bytes(), file.len)
            .map_err(|_| file.malformed(footer.properties.offset))?;
        if properties.meta.number != file.number {
            return Err(file.malformed(footer.properties.offset));
        }
        let top = tail.block(&file, footer.top_index, BlockKind::Index)?;
        let top = IndexBlock::parse(top).map_err(|_| file.malformed(footer.top_index.offset))?;
        if top.base() != footer.partitions.offset || top.end() != footer.partitions.end() {
            return Err(file.malformed(footer.top_index.offset));
        }
        let mut range_tombstones = RangeTombstones::empty();
        if !footer.tombstones.is_empty() {
            let payload = tail.block(&file, footer.tombstones, BlockKind::RangeTombstones)?;
            let parsed = parse_tombstones(payload.bytes())
                .map_err(|_| file.malformed(footer.tombstones.offset))?;
            range_tombstones = Arc::new(RangeTombstones::from_tombstones(
                parsed,
                Readers::Everywhere,
            ));
        }
        Ok(Arc::new(Self {
            file,
            cache,
            footer,
            top,
            properties,
            range_tombstones,
            filter: OnceLock::new(),
        }))
    }

    /// The newest change to `user` at or before `at`; range tombstones are not looked at. `hash` is
    /// [`filter_hash`](super::filter_hash) of `user`.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] where the answer is not in memory and `read.tier` is.
    pub(crate) fn get(
        &self,
        user: &[u8],
        hash: u64,
        at: SeqNo,
        read: BlockRead,
    ) -> Result<Option<(SeqNo, Kind, Slice)>> {
        if !self.may_contain(hash, read.tier)? {
            return Ok(None);
        }
        let target = InternalKey::seek_to(user, at);
        let Some(handle) = self.locate(target, read)? else {
            return Ok(None);
        };
        let block = self.data_block(handle, read)?;
        let found = self
            .data(&block, handle)?
            .get(target, hash)
            .map_err(|_| self.file.malformed(handle.offset))?;
        let Some(found) = found else {
            return Ok(None);
        };
        let key = InternalKey::from_parts(user, found.trailer)
            .ok_or_else(|| self.file.malformed(handle.offset))?;
        let (seq, kind) = (key.seq(), key.kind());
        Ok(Some((seq, kind, pin(block, found.value))))
    }

    /// Whether a key with this hash may be in the table. False is certain.
    ///
    /// # Errors
    /// As [`TableReader::get`].
    #[inline]
    pub(crate) fn may_contain(&self, hash: u64, tier: ReadTier) -> Result<bool> {
        if self.footer.filter.is_empty() {
            return Ok(self.top.len() > 0);
        }
        let filter = match self.filter.get() {
            Some(filter) => filter,
            None => self.load_filter(tier)?,
        };
        Ok(filter.may_contain(hash))
    }

    /// Asks the disk for the data block that a [`TableReader::get`] of `user` will want, so that the
    /// reads of several keys overlap. A hint: what fails here will show in the read.
    pub(crate) fn prefetch(&self, user: &[u8], hash: u64) {
        let read = BlockRead::default();
        if !self.may_contain(hash, read.tier).is_ok_and(|may| may) {
            return;
        }
        let target = InternalKey::seek_to(user, SeqNo::MAX);
        if let Ok(Some(handle)) = self.locate(target, read)
            && self.cached(handle).is_none()
        {
            self.file
                .file
                .will_need(handle.offset, u64::from(handle.len));
        }
    }

    pub(crate) fn range_tombstones(&self) -> &Arc<RangeTombstones> {
        &self.range_tombstones
    }

    pub(crate) fn properties(&self) -> &TableProperties {
        &self.properties
    }

    /// Bytes of memory held while the table is open, with its filter even before that is read:
    /// what to charge the budget with.
    pub(crate) fn memory_used(&self) -> usize {
        let meta = &self.properties.meta;
        size_of::<Self>()
            + self.top.memory_used()
            + self.footer.filter.len as usize
            + self.range_tombstones.memory_used()
            + meta.smallest.len()
            + meta.largest.len()
    }

    /// Where the data block begins that `user` would be in, or the data ends.
    ///
    /// # Errors
    /// [`Error::Corruption`], [`Error::Io`].
    pub(crate) fn offset_of(&self, user: &[u8]) -> Result<u64> {
        let target = InternalKey::seek_to(user, SeqNo::MAX);
        let block = self.locate(target, BlockRead::default())?;
        Ok(block.map_or(self.footer.partitions.offset, |block| block.offset))
    }

    /// The data block that would hold the first entry at or behind `target`, if one would.
    fn locate(&self, target: InternalKey<'_>, read: BlockRead) -> Result<Option<BlockHandle>> {
        let number = self.top.search(target);
        if number == self.top.len() {
            return Ok(None);
        }
        let block = self.partition(number, read)?;
        let partition = self.index(&block, number)?;
        let entry = partition.search(target);
        Ok((entry < partition.len()).then(|| partition.handle(entry)))
    }

    /// Index partition `number`, from the cache or the disk.
    pub(super) fn partition(&self, number: usize, read: BlockRead) -> Result<Arc<Block>> {
        let handle = self.top.handle(number);
        if let Some(block) = self.cache.get(self.cache_key(handle)) {
            return Ok(block);
        }
        if read.tier == ReadTier::Memory {
            return Err(Error::WouldBlock);
        }
        let block = Arc::new(Block::Index(self.read_partition(handle)?));
        // A compaction passes once, and its tables are gone afterwards.
        if read.fill_cache {
            self.cache.insert(
                self.cache_key(handle),
                Arc::clone(&block),
                block.memory_used(),
                Priority::Metadata,
            );
        }
        Ok(block)
    }

    /// An index partition, from the disk.
    pub(super) fn read_partition(&self, handle: BlockHandle) -> Result<IndexBlock> {
        let payload = self.file.block(handle, BlockKind::Index)?;
        let partition =
            IndexBlock::parse(payload).map_err(|_| self.file.malformed(handle.offset))?;
        if partition.len() == 0
            || partition.base() < HEADER_LEN as u64
            || partition.end() > self.footer.partitions.offset
        {
            return Err(self.file.malformed(handle.offset));
        }
        Ok(partition)
    }

    fn data_block(&self, handle: BlockHandle, read: BlockRead) -> Result<Arc<Block>> {
        if let Some(block) = self.cached(handle) {
            return Ok(block);
        }
        if read.tier == ReadTier::Memory {
            return Err(Error::WouldBlock);
        }
        let payload = self.file.block(handle, BlockKind::Data)?;
        self.keep(handle, payload, read, Priority::Data)
    }

    pub(super) fn cached(&self, handle: BlockHandle) -> Option<Arc<Block>> {
        self.cache.get(self.cache_key(handle))
    }

    /// Makes a data block of its payload, and gives it to the cache where `read` says so.
    pub(super) fn keep(
        &self,
        handle: BlockHandle,
        payload: Payload,
        read: BlockRead,
        priority: Priority,
    ) -> Result<Arc<Block>> {
        let block = DataBlock::parse(payload).map_err(|_| self.file.malformed(handle.offset))?;
        let block = Arc::new(Block::Data(block));
        if read.fill_cache {
            self.cache.insert(
                self.cache_key(handle),
                Arc::clone(&block),
                block.memory_used(),
                priority,
            );
        }
        Ok(block)
    }

    /// `block` as the data block at `handle`, which only damaged handles can keep it from being.
    fn data<'b>(&self, block: &'b Block, handle: BlockHandle) -> Result<&'b DataBlock> {
        block
            .data()
            .ok_or_else(|| self.file.malformed(handle.offset))
    }

    /// `block` as the index partition `number`.
    pub(super) fn index<'b>(&self, block: &'b Block, number: usize) -> Result<&'b IndexBlock> {
        block
            .index()
            .ok_or_else(|| self.file.malformed(self.top.handle(number).offset))
    }

    fn cache_key(&self, handle: BlockHandle) -> CacheKey {
        CacheKey {
            file: self.file.number,
            offset: handle.offset,
        }
    }

    #[cold]
    fn load_filter(&self, tier: ReadTier) -> Result<&Filter> {
        if tier == ReadTier::Memory {
            return Err(Error::WouldBlock);
        }
        let filter = self.read_filter()?;
        Ok(self.filter.get_or_init(|| filter))
    }

    /// The filter, from the disk.
    pub(super) fn read_filter(&self) -> Result<Filter> {
        let payload = self.file.block(self.footer.filter, BlockKind::Filter)?;
        Filter::parse(payload.bytes()).map_err(|_| self.file.malformed(self.footer.filter.offset))
    }
}

/// Part of a data block, kept alive.
pub(super) fn pin(block: Arc<Block>, part: Range<usize>) -> Slice {
    Slice::of(block, |block| {
        block.data().map_or(&[][..], |data| &data.bytes()[part])
    })
}

/// The end of a file.
struct Tail {
    offset: u64,
    bytes: Vec<u8>,
}

impl Tail {
    fn read(file: &TableFile) -> Result<Self> {
        let len = file.len.min(TAIL_LEN);
        let offset = file.len - len;
        let bytes = file.read(offset, usize::try_from(len).expect("at most 16 KiB"))?;
        Ok(Self { offset, bytes })
    }

    /// The block at `handle`, from these bytes if they have all of it.
    fn block(&self, file: &TableFile, handle: BlockHandle, kind: BlockKind) -> Result<Payload> {
        let start = handle
            .offset
            .checked_sub(self.offset)
            .and_then(|start| usize::try_from(start).ok());
        let here = start.and_then(|start| self.bytes.get(start..)?.get(..handle.len as usize));
        match here {
            Some(block) => file.unpack(block.into(), handle.offset, kind),
            None => file.block(handle, kind),
        }
    }
}
