//! A table that exists, and its file's end.

use std::mem;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwapOption, Guard};

use crate::files::FileNumber;
use crate::sstable::{TableMeta, TableReader};

/// A table that some version names.
///
/// Versions share tables; a table's file may go when the manifest no longer names it and the last
/// version that does is dropped.
#[derive(Debug)]
pub(crate) struct Table {
    meta: Arc<TableMeta>,
    /// `None`: not open. Opened and closed by [`TableCache`](crate::tables::TableCache).
    reader: ArcSwapOption<TableReader>,
    /// Whether the reader was asked for since the cache last looked.
    used: AtomicBool,
    obsolete: AtomicBool,
    obsolete_files: Arc<ObsoleteFiles>,
}

impl Table {
    pub(crate) fn new(meta: Arc<TableMeta>, obsolete_files: Arc<ObsoleteFiles>) -> Arc<Self> {
        Arc::new(Self {
            meta,
            reader: ArcSwapOption::empty(),
            used: AtomicBool::new(false),
            obsolete: AtomicBool::new(false),
            obsolete_files,
        })
    }

    /// The reader, if the table is open. Its count is not touched: many read the same table at once.
    #[inline]
    pub(crate) fn reader(&self) -> Guard<Option<Arc<TableReader>>> {
        let reader = self.reader.load();
        // Written only when it changes: the line stays shared between cores.
        if reader.is_some() && !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        reader
    }

    /// Opens the table with `reader`, unless it is open: then its present reader is returned.
    pub(crate) fn set_reader(&self, reader: &Arc<TableReader>) -> Option<Arc<TableReader>> {
        let none: Option<Arc<TableReader>> = None;
        let before = self
            .reader
            .compare_and_swap(&none, Some(Arc::clone(reader)));
        before.clone()
    }

    /// Closes the table, unless it was used since the last time this was asked; says whether it did.
    /// Who reads it at the moment goes on.
    pub(crate) fn close_if_unused(&self) -> bool {
        let unused = !self.used.swap(false, Ordering::Relaxed);
        if unused {
            self.reader.store(None);
        }
        unused
    }

    /// What the manifest knows of it.
    pub(crate) fn meta(&self) -> &Arc<TableMeta> {
        &self.meta
    }

    /// Says that the manifest durably no longer names the table: its file goes with the last user.
    pub(crate) fn mark_obsolete(&self) {
        self.obsolete.store(true, Ordering::Release);
    }
}

impl Deref for Table {
    type Target = TableMeta;

    fn deref(&self) -> &TableMeta {
        &self.meta
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if *self.obsolete.get_mut() {
            self.obsolete_files.push(self.meta.number);
        }
    }
}

/// Files of tables that nobody uses any more, waiting for a background job to remove them.
#[derive(Debug, Default)]
pub(crate) struct ObsoleteFiles(Mutex<Vec<FileNumber>>);

impl ObsoleteFiles {
    /// Takes all that wait.
    pub(crate) fn take(&self) -> Vec<FileNumber> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a table that was never, or is no longer, part of a version.
    pub(crate) fn is_empty(&self) -> bool {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.is_empty()
    }

    pub(crate) fn push(&self, number: FileNumber) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::testing::meta;

    #[test]
    fn a_file_goes_with_the_last_user_of_an_obsolete_table() {
        let files = Arc::new(ObsoleteFiles::default());
        let table = |number| {
            let meta = meta(number, [b"a", b"b"], [1, 2]);
            Table::new(Arc::new(meta), Arc::clone(&files))
        };
        let (kept, removed) = (table(1), table(2));
        let reader = Arc::clone(&removed);
        removed.mark_obsolete();
        drop(removed);
        assert!(files.take().is_empty(), "a reader has it");
        drop(reader);
        drop(kept);
        assert_eq!(files.take(), [FileNumber::new(2)]);
        assert!(files.take().is_empty());
    }
}
