//! Writing a table: entries in order in, one synced file out.
//!
//! *Durability on return*: after [`TableWriter::finish`] the file's bytes are durable; its name is
//! when the caller has synced the directory.
//!
//! *Not here*: which entries go into a table, and when it is long enough.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringwood_env::{Disk, DiskFile, OpenMode};

use super::block::DataBlockBuilder;
use super::codec::Compressor;
use super::filter::{build_filter, filter_hash, filter_len};
use super::format::{
    BlockHandle, BlockKind, Encoding, FOOTER_LEN, Footer, HEADER_LEN, append_block, file_header,
    len_u32,
};
use super::index::{IndexBuilder, separator};
use super::meta::{TableMeta, TableOwner};
use super::properties::TableProperties;
use super::tombstones::encode_tombstones;
use crate::error::{Error, Result};
use crate::files::FileNumber;
use crate::key::InternalKey;
use crate::options::{Compression, KeyspaceOptions};
use crate::range_tombstone::RangeTombstone;

/// Bytes gathered before they are written.
const BUFFER_LEN: usize = 256 << 10;
/// Bytes at which an index partition is full.
const PARTITION_LEN: usize = 4 << 10;
/// Bytes of data at which it is full too, which keeps its offsets within 32 bits.
const PARTITION_DATA_LEN: u64 = 1 << 30;

/// How a table is written.
#[derive(Clone, Debug)]
pub(crate) struct TableOptions {
    pub(crate) owner: TableOwner,
    pub(crate) block_len: usize,
    pub(crate) compression: Compression,
    /// 0: no filter.
    pub(crate) filter_bits_per_key: u8,
    /// Entries between restart points of a data block, at least 1.
    pub(crate) restart_interval: usize,
    /// Ask the system to forget the file's pages once it is synced. For tables that nobody reads
    /// soon; a table fresh from the memtable is better kept.
    pub(crate) drop_pages: bool,
}

impl TableOptions {
    /// What a keyspace's options ask for, in its lowest level or above.
    pub(crate) fn new(owner: TableOwner, options: &KeyspaceOptions, is_bottom: bool) -> Self {
        Self {
            owner,
            block_len: options.block_len,
            compression: if is_bottom {
                options.bottom_compression
            } else {
                options.compression
            },
            filter_bits_per_key: options.filter_bits_per_key,
            restart_interval: 16,
            drop_pages: false,
        }
    }
}

/// A table being written.
pub(crate) struct TableWriter {
    out: Output,
    options: TableOptions,
    compressor: Compressor,
    block: DataBlockBuilder,
    /// End of the last data block, as long as its separator waits for the next key.
    unnamed_block: Option<u64>,
    partition: IndexBuilder,
    full_partitions: Vec<IndexBuilder>,
    /// Payload bytes of all full partitions.
    index_len: usize,
    /// Of each user key, once.
    hashes: Vec<u64>,
    last_user: Vec<u8>,
    last_trailer: u64,
    tombstones: Vec<RangeTombstone>,
    properties: TableProperties,
    separator: Vec<u8>,
}

impl TableWriter {
    /// Starts a table in a new file. `created_at_ms`: milliseconds since the epoch.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        path: &Path,
        number: FileNumber,
        options: TableOptions,
        created_at_ms: u64,
    ) -> Result<Self> {
        assert!(options.restart_interval > 0, "a block needs restart points");
        let file = disk
            .open(path, OpenMode::CreateNew)
            .map_err(|error| Error::io("create", path, error))?;
        let mut out = Output {
            file,
            path: path.to_owned(),
            number,
            buffer: Vec::with_capacity(BUFFER_LEN + options.block_len),
            written: 0,
        };
        out.buffer.extend_from_slice(&file_header(number));
        let properties = no_entries(number, &options, created_at_ms);
        Ok(Self {
            out,
            compressor: Compressor::new(options.compression),
            block: DataBlockBuilder::new(options.restart_interval),
            unnamed_block: None,
            partition: IndexBuilder::new(HEADER_LEN as u64),
            full_partitions: Vec::new(),
            index_len: 0,
            hashes: Vec::new(),
            last_user: Vec::new(),
            last_trailer: 0,
            tombstones: Vec::new(),
            properties,
            options,
            separator: Vec::new(),
        })
    }

    /// Adds an entry behind all others.
    ///
    /// # Panics
    /// When it is not behind the last one, or a range delete, or expires without a deadline.
    pub(crate) fn add(&mut self, key: InternalKey<'_>, value: &[u8]) -> Result<()> {
        let is_first = self.properties.meta.entries == 0;
        let is_new_user = is_first || self.last_user != key.user;
        if !is_first {
            assert!(self.last_key() < key, "entries come in order");
            self.cut_block_before(key, value.len())?;
        }
        self.properties
            .count(key, value)
            .expect("no range delete, and a deadline before an expiring value");
        let hash = if is_new_user {
            let hash = filter_hash(key.user);
            self.hashes.push(hash);
            self.last_user.clear();
            self.last_user.extend_from_slice(key.user);
            hash
        } else {
            *self.hashes.last().expect("the user key came before")
        };
        self.last_trailer = key.trailer();
        self.block.add(key, value, hash);
        Ok(())
    }

    /// Adds a range delete, in any order. Empty ranges vanish.
    pub(crate) fn add_range_tombstone(&mut self, tombstone: &RangeTombstone) {
        if tombstone.start < tombstone.end {
            self.tombstones.push(tombstone.clone());
        }
    }

    /// Entries so far, range deletes included.
    pub(crate) fn entries(&self) -> u64 {
        self.properties.meta.entries + self.tombstones.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries() == 0
    }

    /// About how long the file would be if it were finished now.
    pub(crate) fn estimated_len(&self) -> u64 {
        let filter = filter_len(self.hashes.len(), self.options.filter_bits_per_key);
        let (partition, _) = self.partition.lens();
        let rest = self.block.len() + self.index_len + partition + filter + FOOTER_LEN;
        self.out.offset() + rest as u64
    }

    /// Completes and syncs the file.
    ///
    /// # Panics
    /// When there are no entries: there is no table without bounds.
    pub(crate) fn finish(mut self) -> Result<TableMeta> {
        assert!(!self.is_empty(), "a table has entries");
        self.finish_block()?;
        if let Some(end) = self.unnamed_block.take() {
            self.partition.add(&self.last_user, 0, end);
            self.close_partition();
        }
        self.properties.data_len = self.out.offset() - HEADER_LEN as u64;
        let (partitions, top_index) = self.write_partitions()?;
        let filter = self.write_filter()?;
        let tombstones = self.write_tombstones()?;
        let top_index = self.write_block(BlockKind::Index, &top_index)?;
        let last = (self.properties.meta.entries > 0)
            .then(|| last_key(&self.last_user, self.last_trailer));
        self.properties.finish(last, &self.tombstones);
        let encoded = self.properties.encode();
        let properties = self.out.append(
            BlockKind::Properties,
            Encoding::Raw,
            encoded.len(),
            &encoded,
        )?;
        let footer = Footer {
            partitions,
            filter,
            tombstones,
            top_index,
            properties,
        };
        self.out
            .buffer
            .extend_from_slice(&footer.encode(self.out.number));
        self.out.finish(self.options.drop_pages)?;
        self.properties.meta.len = self.out.written;
        Ok(self.properties.meta)
    }

    fn last_key(&self) -> InternalKey<'_> {
        last_key(&self.last_user, self.last_trailer)
    }

    /// Closes the block where the entry that comes makes it too long, and names the last block now
    /// that the key behind it is known.
    fn cut_block_before(&mut self, next: InternalKey<'_>, value_len: usize) -> Result<()> {
        let (len, limit) = (self.block.len(), self.options.block_len);
        let entry_len = next.user.len() + value_len;
        let would_overflow =
            len + entry_len > limit && (len >= limit - limit / 8 || entry_len >= limit);
        if !self.block.is_empty() && (len >= limit || would_overflow) {
            self.finish_block()?;
        }
        if let Some(end) = self.unnamed_block.take() {
            let mut user = std::mem::take(&mut self.separator);
            let trailer = separator(self.last_key(), next, &mut user);
            self.partition.add(&user, trailer, end);
            self.separator = user;
            let (len, named) = self.partition.lens();
            if len >= PARTITION_LEN || named >= PARTITION_DATA_LEN {
                self.close_partition();
            }
        }
        Ok(())
    }

    fn finish_block(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let raw = self.block.finish();
        let (encoding, stored) = self.compressor.compress(raw);
        let handle = self
            .out
            .append(BlockKind::Data, encoding, raw.len(), stored)?;
        self.block.clear();
        self.properties.data_blocks += 1;
        self.unnamed_block = Some(handle.end());
        Ok(())
    }

    fn close_partition(&mut self) {
        let next = IndexBuilder::new(self.out.offset());
        let full = std::mem::replace(&mut self.partition, next);
        self.index_len += full.lens().0;
        self.full_partitions.push(full);
    }

    fn write_block(&mut self, kind: BlockKind, raw: &[u8]) -> Result<BlockHandle> {
        let (encoding, stored) = self.compressor.compress(raw);
        self.out.append(kind, encoding, raw.len(), stored)
    }

    /// Writes all partitions; returns where they are and the payload of the top index.
    fn write_partitions(&mut self) -> Result<(BlockHandle, Vec<u8>)> {
        let start = self.out.offset();
        let mut top = IndexBuilder::new(start);
        for partition in std::mem::take(&mut self.full_partitions) {
            let handle = self.write_block(BlockKind::Index, &partition.finish())?;
            let (user, trailer) = partition.last();
            top.add(user, trailer, handle.end());
            self.properties.index_partitions += 1;
        }
        let len = usize::try_from(self.out.offset() - start).expect("it was in memory");
        Ok((
            BlockHandle {
                offset: start,
                len: len_u32(len),
            },
            top.finish(),
        ))
    }

    fn write_filter(&mut self) -> Result<BlockHandle> {
        let bits_per_key = self.options.filter_bits_per_key;
        if bits_per_key == 0 || self.hashes.is_empty() {
            return Ok(self.out.nothing());
        }
        self.properties.filter_keys = self.hashes.len() as u64;
        let filter = build_filter(&self.hashes, bits_per_key);
        self.out
            .append(BlockKind::Filter, Encoding::Raw, filter.len(), &filter)
    }

    fn write_tombstones(&mut self) -> Result<BlockHandle> {
        if self.tombstones.is_empty() {
            return Ok(self.out.nothing());
        }
        self.tombstones.sort_unstable();
        self.tombstones.dedup();
        let encoded = encode_tombstones(&self.tombstones);
        self.write_block(BlockKind::RangeTombstones, &encoded)
    }
}

fn last_key(user: &[u8], trailer: u64) -> InternalKey<'_> {
    InternalKey::from_parts(user, trailer).expect("it was a key when it was added")
}

fn no_entries(number: FileNumber, options: &TableOptions, created_at_ms: u64) -> TableProperties {
    TableProperties {
        meta: TableMeta::empty(number, created_at_ms),
        owner: options.owner.clone(),
        data_blocks: 0,
        data_len: 0,
        index_partitions: 0,
        block_len: options.block_len as u64,
        restart_interval: options.restart_interval as u64,
        filter_bits_per_key: u64::from(options.filter_bits_per_key),
        filter_keys: 0,
    }
}

/// The file, written in large pieces.
struct Output {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    number: FileNumber,
    buffer: Vec<u8>,
    written: u64,
}

impl Output {
    /// Where the next block goes.
    fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// The handle of a block that is not there.
    fn nothing(&self) -> BlockHandle {
        BlockHandle {
            offset: self.offset(),
            len: 0,
        }
    }

    fn append(
        &mut self,
        kind: BlockKind,
        encoding: Encoding,
        raw_len: usize,
        stored: &[u8],
    ) -> Result<BlockHandle> {
        let offset = self.offset();
        append_block(
            &mut self.buffer,
            self.number,
            offset,
            kind,
            encoding,
            raw_len,
            stored,
        );
        let len = usize::try_from(self.offset() - offset).expect("it is in memory");
        if self.buffer.len() >= BUFFER_LEN {
            self.flush()?;
        }
        Ok(BlockHandle {
            offset,
            len: len_u32(len),
        })
    }

    fn flush(&mut self) -> Result<()> {
        let len = self.buffer.len();
        self.file
            .write_at(&self.buffer, self.written)
            .map_err(|error| self.failed("write", error))?;
        self.written += len as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(&mut self, drop_pages: bool) -> Result<()> {
        self.flush()?;
        self.file
            .sync()
            .map_err(|error| self.failed("sync", error))?;
        if drop_pages {
            self.file.will_not_need(0, self.written);
        }
        Ok(())
    }

    fn failed(&self, operation: &'static str, error: io::Error) -> Error {
        Error::io(operation, &self.path, error)
    }
}
