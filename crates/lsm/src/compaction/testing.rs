//! Tables in memory for compactions to make.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ringwood_env::clock::ManualClock;

use super::output::{NewTable, NewTables};
use crate::error::Result;
use crate::files::FileNumber;
use crate::iter::testing::{Entry, TestTable, entry_len, planted_failure};
use crate::key::InternalKey;
use crate::range_tombstone::RangeTombstone;
use crate::rate::RateLimiter;
use crate::sstable::TableMeta;

pub(crate) static NOT_CANCELLED: AtomicBool = AtomicBool::new(false);

pub(crate) fn no_limit() -> RateLimiter {
    RateLimiter::new(None, Arc::<ManualClock>::default(), |_| {})
}

/// Tables in memory, under their numbers.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    tables: Rc<RefCell<BTreeMap<FileNumber, Arc<TestTable>>>>,
    last_number: Rc<Cell<u64>>,
    finishes_until_failure: Rc<Cell<Option<u32>>>,
}

impl Shelf {
    pub(crate) fn get(&self, meta: &TableMeta) -> Arc<TestTable> {
        Arc::clone(&self.tables.borrow()[&meta.number])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.borrow().is_empty()
    }

    /// The `n`th table from now (from 0) will fail to finish.
    pub(crate) fn fail_at_finish(&self, n: u32) {
        self.finishes_until_failure.set(Some(n));
    }

    /// Makes tables that stand on the shelf once they are finished.
    pub(crate) fn maker(&self) -> Maker {
        Maker {
            shelf: self.clone(),
            made: Vec::new(),
        }
    }
}

pub(crate) struct Maker {
    shelf: Shelf,
    made: Vec<FileNumber>,
}

pub(crate) struct Draft {
    shelf: Shelf,
    number: FileNumber,
    entries: Vec<Entry>,
    ranges: Vec<RangeTombstone>,
    len: u64,
}

impl NewTables for Maker {
    type Table = Draft;

    fn create(&mut self) -> Result<Draft> {
        let number = self.shelf.last_number.get() + 1;
        self.shelf.last_number.set(number);
        self.made.push(FileNumber::new(number));
        Ok(Draft {
            shelf: self.shelf.clone(),
            number: FileNumber::new(number),
            entries: Vec::new(),
            ranges: Vec::new(),
            len: 0,
        })
    }

    fn abandon(&mut self) {
        let mut tables = self.shelf.tables.borrow_mut();
        self.made.drain(..).for_each(|number| {
            tables.remove(&number);
        });
    }
}

impl NewTable for Draft {
    fn add(&mut self, key: InternalKey<'_>, value: &[u8]) -> Result<()> {
        let entry = Entry {
            user: key.user.to_vec(),
            seq: key.seq(),
            kind: key.kind(),
            value: value.to_vec(),
        };
        assert!(self.entries.last().is_none_or(|last| *last < entry));
        self.len += entry_len(&entry);
        self.entries.push(entry);
        Ok(())
    }

    fn add_range_tombstone(&mut self, tombstone: &RangeTombstone) -> Result<()> {
        self.ranges.push(tombstone.clone());
        Ok(())
    }

    fn estimated_len(&self) -> u64 {
        self.len
    }

    fn finish(self) -> Result<TableMeta> {
        if let Some(n) = self.shelf.finishes_until_failure.get() {
            self.shelf.finishes_until_failure.set(n.checked_sub(1));
            if n == 0 {
                return Err(planted_failure());
            }
        }
        let ranges = self.ranges.into_iter().collect();
        let table = TestTable::new(self.number, self.entries, ranges);
        let meta = table.meta.clone();
        self.shelf
            .tables
            .borrow_mut()
            .insert(self.number, Arc::new(table));
        Ok(meta)
    }
}
