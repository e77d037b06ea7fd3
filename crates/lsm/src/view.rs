//! What a reader of one keyspace looks into: memtables and tables, replaced as a whole.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::budget::MemoryBudget;
use crate::files::FileNumber;
use crate::manifest::Version;
use crate::memtable::Memtable;

/// A memtable with the oldest log that its contents need.
pub(crate) struct LoggedMemtable {
    pub(crate) table: Arc<Memtable>,
    /// Number of the log that holds the oldest change; 0 while empty.
    first_log: AtomicU64,
}

impl LoggedMemtable {
    pub(crate) fn new(budget: &Arc<MemoryBudget>) -> Arc<Self> {
        Arc::new(Self {
            table: Memtable::reserving(budget),
            first_log: AtomicU64::new(0),
        })
    }

    /// Notes that the next change stands in `log`. Called before it is inserted, in log order.
    pub(crate) fn note_log(&self, log: FileNumber) {
        if self.first_log.load(Ordering::Relaxed) == 0 {
            self.first_log.store(log.get(), Ordering::Release);
        }
    }

    /// The oldest log that is needed until this memtable is written out.
    pub(crate) fn first_log(&self) -> Option<FileNumber> {
        match self.first_log.load(Ordering::Acquire) {
            0 => None,
            number => Some(FileNumber::new(number)),
        }
    }
}

impl fmt::Debug for LoggedMemtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoggedMemtable")
            .field("first_log", &self.first_log)
            .finish_non_exhaustive()
    }
}

/// Everything a reader looks into, from newest to oldest. Immutable but for the active memtable.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Takes writes.
    pub(crate) active: Arc<LoggedMemtable>,
    /// Full, on their way to a table; newest first.
    pub(crate) sealed: Vec<Arc<LoggedMemtable>>,
    /// The tables.
    pub(crate) version: Arc<Version>,
}

impl View {
    /// All memtables, newest first.
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Arc<LoggedMemtable>> {
        std::iter::once(&self.active).chain(&self.sealed)
    }
}
