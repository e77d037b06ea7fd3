//! Entry points for fuzzers: whatever the bytes, tables and blocks may only answer or refuse.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringwood_env::faulty::FaultyDisk;
use ringwood_env::{Disk, DiskFile};

use super::block::{Block, BlockCursor, DataBlock};
use super::file::TableFile;
use super::filter::{Filter, filter_hash};
use super::format::{BLOCK_HEADER_LEN, BlockHandle, BlockHeader, FOOTER_LEN, append_block};
use super::index::IndexBlock;
use super::meta::TableOwner;
use super::payload::Payload;
use super::properties::TableProperties;
use super::reader::TableReader;
use super::salvage::salvage_file;
use super::tombstones::parse_tombstones;
use super::writer::{TableOptions, TableWriter};
use crate::batch::KeyspaceNumber;
use crate::cache::BlockCache;
use crate::cursor::{BlockRead, Cursor, ReadTier};
use crate::error::Result;
use crate::files::FileNumber;
use crate::key::{InternalKey, Kind, SeqNo};
use crate::options::Compression;
use crate::range_tombstone::RangeTombstone;

/// The number that tables given to [`table`] bear.
pub(crate) const NUMBER: FileNumber = FileNumber::new(1);

/// Whose those tables are.
pub(super) fn owner() -> TableOwner {
    TableOwner {
        id: KeyspaceNumber(3),
        name: "fuzz".into(),
    }
}

/// Reads `bytes` as the file of table 1, in every way there is. True: without any error.
pub(crate) fn table(bytes: &[u8]) -> bool {
    let file = |bytes: &[u8]| TableFile {
        file: Arc::new(Bytes(bytes.to_vec())),
        path: PathBuf::from("fuzz.sst"),
        number: NUMBER,
        len: bytes.len() as u64,
    };
    let salvaged = salvage_file(&file(bytes), &mut |_, _| Ok(()));
    let sound = TableReader::from_file(file(bytes), BlockCache::new(1 << 20))
        .and_then(|table| read_all(&table));
    salvaged.is_ok_and(|salvaged| salvaged.lost.is_empty()) && sound.is_ok()
}

fn read_all(table: &Arc<TableReader>) -> Result<()> {
    let mut keys = Vec::new();
    let mut cursor = table.cursor(BlockRead::default());
    cursor.seek_to_first()?;
    while cursor.valid() {
        keys.push(cursor.key().to_vec());
        let _ = cursor.pin_value();
        cursor.next()?;
    }
    cursor.seek_to_last()?;
    while cursor.valid() {
        cursor.prev()?;
    }
    let memory = BlockRead {
        tier: ReadTier::Memory,
        ..BlockRead::default()
    };
    for key in keys.iter().filter_map(|key| InternalKey::decode(key)) {
        let hash = filter_hash(key.user);
        let _ = table.get(key.user, hash, SeqNo::MAX, memory);
        table.get(key.user, hash, key.seq(), BlockRead::default())?;
        cursor.seek(key)?;
        cursor.seek_back(key)?;
    }
    table.verify()
}

/// Reads `bytes` as the payload of a block of every kind.
pub(crate) fn payload(bytes: &[u8]) {
    let _ = Filter::parse(bytes).map(|filter| filter.may_contain(0x1234_5678_9abc_def0));
    let _ = TableProperties::parse(bytes, 0);
    let _ = parse_tombstones(bytes);
    let target = InternalKey::seek_to(bytes.get(..9).unwrap_or(bytes), SeqNo::new(9));
    if let Ok(index) = IndexBlock::parse(Payload::from(bytes.to_vec())) {
        let _ = index.search(target);
        for i in 0..index.len() {
            let _ = (index.handle(i), index.separator(i));
        }
    }
    if let Ok(block) = DataBlock::parse(Payload::from(bytes.to_vec())) {
        let _ = block.get(target, filter_hash(target.user));
        let mut cursor = BlockCursor::default();
        cursor.set_block(Arc::new(Block::Data(block)));
        let _ = cursor.seek(target);
        let mut moved = cursor.seek_to_first();
        while moved.is_ok() && cursor.valid() {
            moved = cursor.next();
        }
        moved = cursor.seek_to_last();
        while moved.is_ok() && cursor.valid() {
            moved = cursor.prev();
        }
    }
}

/// Damages a sound table in `edits` (six bytes each: where, which block, and what to write) and
/// makes every checksum match again, so that what lies behind the checksums is tried too.
pub(crate) fn edited_table(sound: &[u8], edits: &[u8]) {
    let mut bytes = sound.to_vec();
    let blocks = blocks_of(sound);
    let (edits, _) = edits.as_chunks::<6>();
    for [block, at_0, at_1, at_2, value, _] in edits {
        let Some(&handle) = blocks.get(usize::from(*block) % blocks.len().max(1)) else {
            return;
        };
        let payload = handle.len as usize - BLOCK_HEADER_LEN;
        let start = usize::try_from(handle.offset).expect("it is in memory") + BLOCK_HEADER_LEN;
        let at = u32::from_le_bytes([*at_0, *at_1, *at_2, 0]) as usize;
        if payload > 0 {
            bytes[start + at % payload] = *value;
        }
    }
    let mut sealed = bytes[..super::format::HEADER_LEN].to_vec();
    for handle in blocks {
        let start = usize::try_from(handle.offset).expect("it is in memory");
        let block = &bytes[start..start + handle.len as usize];
        let header = block
            .first_chunk()
            .and_then(|header| BlockHeader::parse(header, NUMBER, handle.offset).ok());
        let header = header.expect("headers are not edited");
        append_block(
            &mut sealed,
            NUMBER,
            handle.offset,
            header.kind,
            header.encoding,
            header.raw_len,
            &block[BLOCK_HEADER_LEN..],
        );
    }
    sealed.extend_from_slice(&bytes[sealed.len()..]);
    table(&sealed);
}

/// A sound table with a bit of everything.
pub(crate) fn small_table(compression: Compression) -> Vec<u8> {
    let disk = Arc::new(FaultyDisk::new(0));
    let path = Path::new("fuzz.sst");
    let options = TableOptions {
        owner: owner(),
        block_len: 256,
        compression,
        filter_bits_per_key: 10,
        restart_interval: 4,
        drop_pages: false,
    };
    let shared: Arc<dyn Disk> = disk.clone();
    let table = TableWriter::create(shared, path, NUMBER, options, 0).and_then(|mut writer| {
        for n in 0..40u8 {
            let value = vec![n; 24];
            let kind = [Kind::Put, Kind::PutExpiring, Kind::Delete][usize::from(n % 3)];
            writer.add(
                InternalKey::new(&[b'k', n / 4], SeqNo::new(u64::from(99 - n)), kind),
                &value,
            )?;
        }
        writer.add_range_tombstone(&RangeTombstone {
            start: b"k".to_vec(),
            end: b"l".to_vec(),
            seq: SeqNo::new(7),
        });
        writer.finish()
    });
    table.expect("nothing goes wrong on this disk");
    disk.read_file(path).expect("it was just written")
}

/// Where the blocks of a sound table lie.
fn blocks_of(table: &[u8]) -> Vec<BlockHandle> {
    let mut blocks = Vec::new();
    let mut at = super::format::HEADER_LEN;
    while at + FOOTER_LEN < table.len() {
        let header = table[at..]
            .first_chunk()
            .and_then(|header| BlockHeader::parse(header, NUMBER, at as u64).ok());
        let Some(header) = header else { break };
        let len = header.block_len();
        blocks.push(BlockHandle {
            offset: at as u64,
            len: super::format::len_u32(len),
        });
        at += len;
    }
    blocks
}

/// A file in memory that cannot be written.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl DiskFile for Bytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).map_or(self.0.len(), |offset| offset.min(self.0.len()));
        let len = buf.len().min(self.0.len() - from);
        buf[..len].copy_from_slice(&self.0[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}
