//! Tables that are open: no more than fit into the limits of memory and file descriptors. Their
//! filters take most of that memory.
//!
//! A table keeps its reader itself, so that finding it costs one load and no lock. This cache only
//! knows which tables have one, and closes those that were not used for a while (a clock sweep).

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use arc_swap::Guard;
use ringwood_env::Disk;

use crate::budget::{Consumer, MemoryBudget, Reservation};
use crate::cache::BlockCache;
use crate::cursor::{BlockRead, ReadTier};
use crate::error::{Error, Result};
use crate::files::{FileNumber, table_path};
use crate::iter::Run;
use crate::locks::lock;
use crate::manifest::Table;
use crate::sstable::{Block, TableCursor, TableMeta, TableReader};

/// Opens tables when they are first read, and closes the least used when too many are open.
pub(crate) struct TableCache {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    blocks: Arc<BlockCache<Block>>,
    limits: Limits,
    opened: Mutex<Opened>,
}

/// A reader that stays open for as long as this is held. For the length of a read: a thread that
/// keeps many of them pays for more.
pub(crate) struct OpenTable(Guard<Option<Arc<TableReader>>>);

impl Deref for OpenTable {
    type Target = Arc<TableReader>;

    #[inline]
    fn deref(&self) -> &Arc<TableReader> {
        self.0.as_ref().expect("made of one that is there")
    }
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    tables: usize,
    bytes: usize,
}

struct Opened {
    /// In the order the clock hand visits them. A table that is gone counts until its turn.
    ring: VecDeque<(Weak<Table>, usize)>,
    memory: Reservation,
}

impl TableCache {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        directory: &Path,
        blocks: Arc<BlockCache<Block>>,
        budget: &Arc<MemoryBudget>,
        open_max: usize,
    ) -> Arc<Self> {
        let memory = budget.reserve(Consumer::OpenTables, 0);
        Arc::new(Self {
            disk,
            directory: directory.to_owned(),
            blocks,
            limits: Limits {
                tables: open_max,
                bytes: budget.total() / 2,
            },
            opened: Mutex::new(Opened {
                ring: VecDeque::new(),
                memory,
            }),
        })
    }

    /// The reader of `table`, opened where it is not.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] where it is not open and `tier` is memory; as [`TableReader::open`]: the
    /// other tables stay readable.
    #[inline]
    pub(crate) fn reader(&self, table: &Arc<Table>, tier: ReadTier) -> Result<OpenTable> {
        let reader = table.reader();
        match tier {
            _ if reader.is_some() => Ok(OpenTable(reader)),
            ReadTier::Memory => Err(Error::WouldBlock),
            ReadTier::Disk => Ok(OpenTable(Guard::from_inner(Some(self.open(table)?)))),
        }
    }

    /// Drops the cached blocks of a table whose file goes.
    pub(crate) fn forget(&self, number: FileNumber) {
        self.blocks.remove_file(number);
    }

    /// Gives back what tables took that no version names any more.
    pub(crate) fn forget_dead(&self) {
        let mut opened = lock(&self.opened);
        let Opened { ring, memory } = &mut *opened;
        ring.retain(|(table, bytes)| {
            let alive = table.strong_count() > 0;
            if !alive {
                memory.shrink(*bytes);
            }
            alive
        });
    }

    /// Closes half of the open tables, those first that were not used lately; whether there were any. They
    /// are opened again when they are read.
    pub(crate) fn close_some(&self) -> bool {
        let mut opened = lock(&self.opened);
        let tables = opened.ring.len();
        // Twice round at most: the first time takes the marks of use away.
        for _ in 0..2 * tables {
            if opened.ring.len() <= tables / 2 {
                break;
            }
            opened.close_one();
        }
        opened.ring.len() < tables
    }

    /// How many tables are open at most.
    pub(crate) fn open_max(&self) -> usize {
        self.limits.tables
    }

    /// How many tables are open, about.
    pub(crate) fn open_count(&self) -> usize {
        lock(&self.opened).ring.len()
    }

    #[cold]
    fn open(&self, table: &Arc<Table>) -> Result<Arc<TableReader>> {
        let path = table_path(&self.directory, table.number);
        let blocks = Arc::clone(&self.blocks);
        let reader = TableReader::open(&*self.disk, &path, table.number, blocks)?;
        // Two threads may open one table at once; the second then uses what the first left.
        if let Some(first) = table.set_reader(&reader) {
            return Ok(first);
        }
        let memory = reader.memory_used();
        let mut opened = lock(&self.opened);
        opened.ring.push_back((Arc::downgrade(table), memory));
        opened.memory.grow(memory);
        opened.close_beyond(self.limits);
        Ok(reader)
    }
}

impl Opened {
    /// Closes tables, those first that were not used since the hand last came by.
    fn close_beyond(&mut self, limits: Limits) {
        // The newest stays, however large: somebody is about to read it.
        while self.ring.len() > 1
            && (self.ring.len() > limits.tables || self.memory.bytes() > limits.bytes)
        {
            self.close_one();
        }
    }

    /// Closes the table at the hand, or passes it by once if it was used.
    fn close_one(&mut self) {
        let Some((table, memory)) = self.ring.pop_front() else {
            return;
        };
        match table.upgrade() {
            Some(table) if !table.close_if_unused() => {
                self.ring.push_back((Arc::downgrade(&table), memory));
            }
            _ => self.memory.shrink(memory),
        }
    }
}

impl fmt::Debug for TableCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableCache")
            .field("open", &self.open_count())
            .finish_non_exhaustive()
    }
}

/// Tables of a level as a source of entries.
#[derive(Debug)]
pub(crate) struct TableRun {
    tables: Vec<Arc<Table>>,
    cache: Arc<TableCache>,
    read: BlockRead,
}

impl TableRun {
    /// `tables` are in key order and do not overlap.
    pub(crate) fn new(tables: &[Arc<Table>], cache: Arc<TableCache>, read: BlockRead) -> Self {
        Self {
            tables: tables.to_vec(),
            cache,
            read,
        }
    }
}

impl Run for TableRun {
    type Table = Arc<Table>;
    type Cursor = TableCursor;

    fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    fn meta(table: &Arc<Table>) -> &TableMeta {
        table.meta()
    }

    fn open(&self, table: &Arc<Table>) -> Result<TableCursor> {
        Ok(self.cache.reader(table, self.read.tier)?.cursor(self.read))
    }
}
