//! Whole tables against a sorted map, and against damage.

mod damage;
mod model;

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::ProptestConfig;
use ringwood_env::Disk;
use ringwood_env::faulty::FaultyDisk;

use super::*;
use crate::cache::BlockCache;
use crate::files::FileNumber;
use crate::key::{InternalKey, Kind, SeqNo};
use crate::options::Compression;
use crate::range_tombstone::RangeTombstone;

const PATH: &str = "000001.sst";
const NUMBER: FileNumber = fuzz::NUMBER;

/// User key, sequence number, kind, value as stored.
type Entry = (Vec<u8>, u64, Kind, Vec<u8>);

fn options() -> TableOptions {
    TableOptions {
        owner: fuzz::owner(),
        block_len: 4096,
        compression: Compression::Lz4,
        filter_bits_per_key: 10,
        restart_interval: 16,
        drop_pages: false,
    }
}

fn disk() -> Arc<FaultyDisk> {
    Arc::new(FaultyDisk::new(1))
}

fn key(entry: &Entry) -> InternalKey<'_> {
    InternalKey::new(&entry.0, SeqNo::new(entry.1), entry.2)
}

fn tombstone(start: &[u8], end: &[u8], seq: u64) -> RangeTombstone {
    RangeTombstone {
        start: start.to_vec(),
        end: end.to_vec(),
        seq: SeqNo::new(seq),
    }
}

fn write(
    disk: &Arc<FaultyDisk>,
    options: TableOptions,
    entries: &[Entry],
    tombstones: &[RangeTombstone],
) -> TableMeta {
    let disk: Arc<dyn Disk> = disk.clone();
    let mut writer = TableWriter::create(disk, Path::new(PATH), NUMBER, options, 123).unwrap();
    for tombstone in tombstones {
        writer.add_range_tombstone(tombstone);
    }
    for entry in entries {
        writer.add(key(entry), &entry.3).unwrap();
    }
    let estimated = writer.estimated_len();
    let meta = writer.finish().unwrap();
    assert!(
        estimated <= 2 * meta.len + 8192,
        "estimated {estimated}, is {}",
        meta.len
    );
    meta
}

fn open(disk: &FaultyDisk) -> crate::Result<Arc<TableReader>> {
    TableReader::open(disk, Path::new(PATH), NUMBER, BlockCache::new(64 << 20))
}

fn sort(entries: &mut Vec<Entry>) {
    entries.sort_by(|a, b| key(a).cmp(&key(b)));
    entries.dedup_by(|a, b| (&a.0, a.1) == (&b.0, b.1));
}

/// So many cases, or `PROPTEST_CASES` for a longer run.
pub(super) fn cases(count: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() {
        asked
    } else {
        ProptestConfig::with_cases(count)
    }
}
