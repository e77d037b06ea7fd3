//! The engines behind one small interface, tuned alike.
//!
//! All: LZ4 on every level, Bloom filters of 10 bits, 4 KiB blocks, 64 MiB memtables, two background
//! threads, the same bytes for caches and memtables together, the system's allocator.

use std::fmt;
use std::path::Path;

use anyhow::{Result, anyhow};
use clap::ValueEnum;

const MIB: usize = 1 << 20;
/// Memtables: one that fills and up to three that are written out.
const MEMTABLE_LEN: usize = 64 * MIB;
const MEMTABLES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum EngineName {
    Ringwood,
    Rocksdb,
    Fjall,
}

impl EngineName {
    pub const ALL: [Self; 3] = [Self::Ringwood, Self::Rocksdb, Self::Fjall];

    /// Opens a database with `cache_len` bytes for blocks.
    pub fn open(self, directory: &Path, cache_len: usize) -> Result<Box<dyn Engine>> {
        Ok(match self {
            Self::Ringwood => Box::new(Ringwood::open(directory, cache_len)?),
            Self::Rocksdb => Box::new(Rocks::open(directory, cache_len)?),
            Self::Fjall => Box::new(Fjall::open(directory, cache_len)?),
        })
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ringwood => "ringwood",
            Self::Rocksdb => "rocksdb",
            Self::Fjall => "fjall",
        })
    }
}

pub trait Engine: Send + Sync {
    /// `durable`: on the disk before it returns. Otherwise the system has it.
    fn put(&self, key: &[u8], value: &[u8], durable: bool) -> Result<()>;

    /// Whether the key is there; its value is looked at.
    fn get(&self, key: &[u8]) -> Result<bool>;

    /// Reads up to `limit` entries from `start` on; returns how many, and looks at each value.
    fn scan(&self, start: &[u8], limit: usize) -> Result<usize>;

    /// Waits until nothing waits to be written out or compacted.
    fn settle(&self) -> Result<()>;
}

/// Touches what was read, as every user does: nobody wins by not looking.
fn look(value: &[u8]) -> bool {
    std::hint::black_box(value.iter().step_by(64).fold(0u8, |sum, byte| sum ^ byte));
    true
}

struct Ringwood {
    db: ringwood_lsm::Db,
    keyspace: ringwood_lsm::Keyspace,
}

impl Ringwood {
    fn open(directory: &Path, cache_len: usize) -> Result<Self> {
        use ringwood_lsm::{Db, KeyspaceOptions, Options};
        let db = Db::open(Options {
            memory_budget: cache_len + MEMTABLES * MEMTABLE_LEN,
            memtable_len: Some(MEMTABLE_LEN),
            threads: 2,
            ..Options::new(directory)
        })?;
        let keyspace = match db.keyspace("bench") {
            Ok(keyspace) => keyspace,
            Err(_) => db.create_keyspace("bench", KeyspaceOptions::default())?,
        };
        Ok(Self { db, keyspace })
    }
}

impl Engine for Ringwood {
    fn put(&self, key: &[u8], value: &[u8], durable: bool) -> Result<()> {
        use ringwood_lsm::Durability::{Buffered, Synced};
        self.keyspace
            .put(key, value, if durable { Synced } else { Buffered })?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<bool> {
        Ok(self.keyspace.get(key)?.is_some_and(|value| look(&value)))
    }

    fn scan(&self, start: &[u8], limit: usize) -> Result<usize> {
        use std::ops::Bound::{Included, Unbounded};
        let options = ringwood_lsm::ReadOptions::default();
        let mut iter = self
            .keyspace
            .range((Included(start), Unbounded), &options)?;
        iter.seek_to_first()?;
        let mut seen = 0;
        while seen < limit && iter.valid() {
            look(iter.value());
            seen += 1;
            if seen < limit {
                iter.next()?;
            }
        }
        Ok(seen)
    }

    fn settle(&self) -> Result<()> {
        self.db.flush()?;
        loop {
            let before = self.db.statistics();
            std::thread::sleep(std::time::Duration::from_millis(300));
            let after = self.db.statistics();
            let debt: u64 = after.keyspaces.iter().map(|one| one.compaction_debt).sum();
            if before.compactions == after.compactions && debt == 0 {
                return Ok(());
            }
        }
    }
}

struct Rocks {
    db: rocksdb::DB,
}

impl Rocks {
    fn open(directory: &Path, cache_len: usize) -> Result<Self> {
        use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DataBlockIndexType, Options};
        let mut table = BlockBasedOptions::default();
        // Estimated charge 0: the cache sizes its table as it fills.
        table.set_block_cache(&Cache::new_hyper_clock_cache(cache_len, 0));
        table.set_block_size(4096);
        table.set_bloom_filter(10.0, false);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_format_version(6);
        table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_size(MEMTABLE_LEN);
        options.set_max_write_buffer_number(MEMTABLES as i32);
        options.set_max_background_jobs(2);
        options.set_recycle_log_file_num(4);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_max_open_files(4096);
        options.set_target_file_size_base(64 << 20);
        Ok(Self {
            db: rocksdb::DB::open(&options, directory)?,
        })
    }
}

impl Engine for Rocks {
    fn put(&self, key: &[u8], value: &[u8], durable: bool) -> Result<()> {
        let mut options = rocksdb::WriteOptions::default();
        options.set_sync(durable);
        Ok(self.db.put_opt(key, value, &options)?)
    }

    fn get(&self, key: &[u8]) -> Result<bool> {
        Ok(self.db.get_pinned(key)?.is_some_and(|value| look(&value)))
    }

    fn scan(&self, start: &[u8], limit: usize) -> Result<usize> {
        let mut iter = self.db.raw_iterator();
        iter.seek(start);
        let mut seen = 0;
        while seen < limit && iter.valid() {
            look(iter.value().ok_or_else(|| anyhow!("valid without value"))?);
            seen += 1;
            if seen < limit {
                iter.next();
            }
        }
        iter.status()?;
        Ok(seen)
    }

    fn settle(&self) -> Result<()> {
        self.db.flush()?;
        let mut wait = rocksdb::WaitForCompactOptions::default();
        wait.set_flush(true);
        Ok(self.db.wait_for_compact(&wait)?)
    }
}

struct Fjall {
    db: fjall::Database,
    keyspace: fjall::Keyspace,
}

impl Fjall {
    fn open(directory: &Path, cache_len: usize) -> Result<Self> {
        use fjall::config::{BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy};
        use fjall::config::{FilterPolicy, FilterPolicyEntry};
        let db = fjall::Database::builder(directory)
            .cache_size(cache_len as u64)
            .worker_threads(2)
            .open()?;
        let bits = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0));
        let keyspace = db.keyspace("bench", || {
            fjall::KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_LEN as u64)
                .data_block_size_policy(BlockSizePolicy::all(4096))
                .data_block_compression_policy(CompressionPolicy::all(fjall::CompressionType::Lz4))
                .filter_policy(FilterPolicy::all(bits))
        })?;
        Ok(Self { db, keyspace })
    }
}

impl Engine for Fjall {
    fn put(&self, key: &[u8], value: &[u8], durable: bool) -> Result<()> {
        self.keyspace.insert(key, value)?;
        if durable {
            self.db.persist(fjall::PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<bool> {
        Ok(self.keyspace.get(key)?.is_some_and(|value| look(&value)))
    }

    fn scan(&self, start: &[u8], limit: usize) -> Result<usize> {
        let mut seen = 0;
        for entry in self.keyspace.range(start..).take(limit) {
            look(&entry.value()?);
            seen += 1;
        }
        Ok(seen)
    }

    fn settle(&self) -> Result<()> {
        self.keyspace.rotate_memtable_and_wait()?;
        while self.db.outstanding_flushes() > 0 || self.db.active_compactions() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Ok(())
    }
}
