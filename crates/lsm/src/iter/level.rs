//! A sorted run of tables as one cursor, which opens only the tables it touches.

use crate::cursor::Cursor;
use crate::error::Result;
use crate::key::{InternalKey, SeqNo};
use crate::slice::Slice;
use crate::sstable::TableMeta;

/// Tables in key order that do not overlap: a level, a sublevel of L0, or a part of one. A bounded
/// scan passes only the tables its bounds overlap, and so never opens the one behind.
pub(crate) trait Run: Send {
    /// A table, open or not.
    type Table;
    /// A cursor over one table.
    type Cursor: Cursor;

    fn tables(&self) -> &[Self::Table];

    fn meta(table: &Self::Table) -> &TableMeta;

    fn open(&self, table: &Self::Table) -> Result<Self::Cursor>;
}

/// The entries of a run.
pub(crate) struct LevelCursor<R: Run> {
    run: R,
    /// Which table `table` is.
    index: usize,
    /// `None`: not valid.
    table: Option<R::Cursor>,
}

impl<R: Run> LevelCursor<R> {
    pub(crate) fn new(run: R) -> Self {
        Self {
            run,
            index: 0,
            table: None,
        }
    }

    fn meta(&self, index: usize) -> &TableMeta {
        R::meta(&self.run.tables()[index])
    }

    /// Opens table `index`, unless it is open, and goes to a place in it.
    fn enter(
        &mut self,
        index: usize,
        place: impl FnOnce(&mut R::Cursor) -> Result<()>,
    ) -> Result<()> {
        let open = self.table.take().filter(|_| self.index == index);
        let mut table = match open {
            Some(table) => table,
            None => self.run.open(&self.run.tables()[index])?,
        };
        place(&mut table)?;
        self.index = index;
        self.table = Some(table);
        Ok(())
    }

    /// Moves within the open table.
    #[inline]
    fn step(&mut self, step: impl FnOnce(&mut R::Cursor) -> Result<()>) -> Result<()> {
        let table = self.table.as_mut().expect("a cursor that moves is valid");
        let moved = step(table);
        if moved.is_err() {
            self.table = None;
        }
        moved
    }

    /// Goes on to the first table from `index` that has entries, since the one before is exhausted.
    fn enter_first_from(&mut self, index: usize) -> Result<()> {
        match (index..self.run.tables().len()).find(|&index| self.has_entries(index)) {
            Some(index) => self.enter(index, Cursor::seek_to_first),
            None => {
                self.table = None;
                Ok(())
            }
        }
    }

    /// Goes back to the last table before `end` that has entries.
    fn enter_last_before(&mut self, end: usize) -> Result<()> {
        match (0..end).rev().find(|&index| self.has_entries(index)) {
            Some(index) => self.enter(index, Cursor::seek_to_last),
            None => {
                self.table = None;
                Ok(())
            }
        }
    }

    #[inline]
    fn settle_forward(&mut self) -> Result<()> {
        match &self.table {
            Some(table) if !table.valid() => self.enter_first_from(self.index + 1),
            _ => Ok(()),
        }
    }

    #[inline]
    fn settle_backward(&mut self) -> Result<()> {
        match &self.table {
            Some(table) if !table.valid() => self.enter_last_before(self.index),
            _ => Ok(()),
        }
    }

    #[inline]
    fn entry(&self) -> &R::Cursor {
        self.table
            .as_ref()
            .expect("a cursor asked for its entry is valid")
    }

    /// A table may hold nothing but range deletes.
    fn has_entries(&self, index: usize) -> bool {
        self.meta(index).entries > 0
    }
}

impl<R: Run> Cursor for LevelCursor<R> {
    #[inline]
    fn valid(&self) -> bool {
        self.table.as_ref().is_some_and(Cursor::valid)
    }

    fn seek_to_first(&mut self) -> Result<()> {
        self.enter_first_from(0)
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.enter_last_before(self.run.tables().len())
    }

    fn seek(&mut self, target: InternalKey<'_>) -> Result<()> {
        let tables = self.run.tables();
        let reaching = tables.partition_point(|table| R::meta(table).largest() < target);
        if reaching == tables.len() || R::meta(&tables[reaching]).smallest() >= target {
            return self.enter_first_from(reaching);
        }
        self.enter(reaching, |table| table.seek(target))?;
        self.settle_forward()
    }

    fn seek_back(&mut self, target: InternalKey<'_>) -> Result<()> {
        let tables = self.run.tables();
        let beginning = tables.partition_point(|table| R::meta(table).smallest() <= target);
        if beginning == 0 || R::meta(&tables[beginning - 1]).largest() <= target {
            return self.enter_last_before(beginning);
        }
        self.enter(beginning - 1, |table| table.seek_back(target))?;
        self.settle_backward()
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        self.step(Cursor::next)?;
        self.settle_forward()
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        self.step(Cursor::prev)?;
        self.settle_backward()
    }

    fn skip_older(&mut self, seq: SeqNo, target: InternalKey<'_>) -> Result<()> {
        let older = |index: usize| self.meta(index).last_seq < seq;
        if self.key() >= target || !older(self.index) {
            return Ok(());
        }
        let passed_over = |index: &usize| older(*index) && self.meta(*index).largest() < target;
        let tables = self.run.tables().len();
        let stop = (self.index..tables).find(|index| !passed_over(index));
        match stop {
            None => self.enter_first_from(tables),
            Some(index) if !older(index) => self.enter_first_from(index),
            Some(index) => {
                self.enter(index, |table| table.seek(target))?;
                self.settle_forward()
            }
        }
    }

    fn skip_older_back(&mut self, seq: SeqNo, target: InternalKey<'_>) -> Result<()> {
        let older = |index: usize| self.meta(index).last_seq < seq;
        if self.key() <= target || !older(self.index) {
            return Ok(());
        }
        let passed_over = |index: &usize| older(*index) && self.meta(*index).smallest() > target;
        let stop = (0..=self.index).rev().find(|index| !passed_over(index));
        match stop {
            None => self.enter_last_before(0),
            Some(index) if !older(index) => self.enter_last_before(index + 1),
            Some(index) => {
                self.enter(index, |table| table.seek_back(target))?;
                self.settle_backward()
            }
        }
    }

    #[inline]
    fn key(&self) -> InternalKey<'_> {
        self.entry().key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.entry().value()
    }

    fn pin_value(&self) -> Slice {
        self.entry().pin_value()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::iter::testing::{Entry, Step, TestRun, VecCursor, any_entries, check_walk};
    use crate::key::Kind;

    proptest! {
        #[test]
        fn walks_as_one_table(
            entries in any_entries(0..80),
            table_len in 1..12_usize,
            steps in proptest::collection::vec(any::<Step>(), 0..120),
        ) {
            let run = TestRun::cut(&entries, table_len);
            check_walk(LevelCursor::new(run), VecCursor::new(entries), &steps)?;
        }
    }

    /// Ten tables of ten keys, `0000` to `0099`; key `n` was changed at `n + 1`.
    fn ten_tables() -> (TestRun, LevelCursor<TestRun>) {
        let entry = |n: u64| Entry {
            user: format!("{n:04}").into_bytes(),
            seq: SeqNo::new(n + 1),
            kind: Kind::Put,
            value: Vec::new(),
        };
        let run = TestRun::cut(&(0..100).map(entry).collect::<Vec<_>>(), 10);
        (run.clone(), LevelCursor::new(run))
    }

    fn first_of(user: &[u8]) -> InternalKey<'_> {
        InternalKey::seek_to(user, SeqNo::MAX)
    }

    #[test]
    fn only_touched_tables_are_opened() {
        let (run, mut cursor) = ten_tables();
        cursor.seek(first_of(b"0042")).unwrap();
        cursor.next().unwrap();
        cursor.seek(first_of(b"0045")).unwrap();
        assert_eq!((cursor.key().user, run.opened()), (&b"0045"[..], 1));
        cursor.seek(first_of(b"00495")).unwrap();
        assert_eq!((cursor.key().user, run.opened()), (&b"0050"[..], 2));
        cursor.prev().unwrap();
        assert_eq!((cursor.key().user, run.opened()), (&b"0049"[..], 3));
        cursor.seek(first_of(b"1")).unwrap();
        assert!(!cursor.valid());
        assert_eq!(run.opened(), 3);
    }

    #[test]
    fn older_tables_are_passed_over_unopened() {
        let (run, mut cursor) = ten_tables();
        cursor.seek(first_of(b"0015")).unwrap();
        cursor
            .skip_older(SeqNo::new(1000), first_of(b"0075"))
            .unwrap();
        assert_eq!((cursor.key().user, run.opened()), (&b"0075"[..], 2));
        cursor
            .skip_older_back(SeqNo::new(1000), first_of(b"0022"))
            .unwrap();
        assert_eq!((cursor.key().user, run.opened()), (&b"0021"[..], 3));
        cursor.skip_older(SeqNo::new(1000), first_of(b"9")).unwrap();
        assert!(!cursor.valid());
    }

    #[test]
    fn no_entry_as_new_is_passed_over() {
        let (_, mut cursor) = ten_tables();
        cursor.seek(first_of(b"0015")).unwrap();
        cursor
            .skip_older(SeqNo::new(55), first_of(b"0095"))
            .unwrap();
        assert_eq!(
            cursor.key().user,
            b"0050",
            "its table has entries from 51 to 60"
        );
        cursor
            .skip_older(SeqNo::new(55), first_of(b"0095"))
            .unwrap();
        assert_eq!(cursor.key().user, b"0050");
        cursor
            .skip_older(SeqNo::new(1000), first_of(b"0030"))
            .unwrap();
        assert_eq!(cursor.key().user, b"0050", "it never goes back");
    }
}
