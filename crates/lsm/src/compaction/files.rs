//! Output tables as files of the store.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ringwood_env::{Disk, UnixMillis};

use super::output::{NewTable, NewTables};
use crate::error::Result;
use crate::files::{FileNumber, table_path};
use crate::key::InternalKey;
use crate::range_tombstone::RangeTombstone;
use crate::sstable::{TableMeta, TableOptions, TableWriter};

/// Makes table files, each under the next number.
pub(crate) struct TableFiles<N> {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    options: TableOptions,
    created_at: UnixMillis,
    next_number: N,
    made: Vec<FileNumber>,
}

impl<N: FnMut() -> FileNumber> TableFiles<N> {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        options: TableOptions,
        created_at: UnixMillis,
        next_number: N,
    ) -> Self {
        Self {
            disk,
            directory,
            options,
            created_at,
            next_number,
            made: Vec::new(),
        }
    }
}

impl<N: FnMut() -> FileNumber> NewTables for TableFiles<N> {
    type Table = TableWriter;

    fn create(&mut self) -> Result<TableWriter> {
        let number = (self.next_number)();
        let path = table_path(&self.directory, number);
        self.made.push(number);
        let disk = Arc::clone(&self.disk);
        TableWriter::create(disk, &path, number, self.options.clone(), self.created_at)
    }

    fn abandon(&mut self) {
        for number in self.made.drain(..) {
            let path = table_path(&self.directory, number);
            match self.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    // No manifest names it, so the next open removes it.
                    tracing::warn!(path = %path.display(), %error, "cannot remove an abandoned table");
                }
                _ => {}
            }
        }
    }
}

impl NewTable for TableWriter {
    fn add(&mut self, key: InternalKey<'_>, value: &[u8]) -> Result<()> {
        Self::add(self, key, value)
    }

    fn add_range_tombstone(&mut self, tombstone: &RangeTombstone) -> Result<()> {
        Self::add_range_tombstone(self, tombstone);
        Ok(())
    }

    fn estimated_len(&self) -> u64 {
        Self::estimated_len(self)
    }

    fn finish(self) -> Result<TableMeta> {
        Self::finish(self)
    }
}

#[cfg(test)]
mod tests {
    use ringwood_env::FaultyDisk;
    use ringwood_env::faulty::{Class, Failure, Fault, FaultPlan};

    use super::*;
    use crate::batch::KeyspaceNumber;
    use crate::compaction::job::Compacted;
    use crate::compaction::output::Cuts;
    use crate::compaction::testing::{NOT_CANCELLED, Shelf, no_limit};
    use crate::flush::Flush;
    use crate::key::{Kind, SeqNo};
    use crate::memtable::Memtable;
    use crate::options::KeyspaceOptions;
    use crate::sstable::TableOwner;

    /// A hundred puts, a delete, and a range delete that reaches beyond them all.
    fn memtable() -> Arc<Memtable> {
        let memtable = Memtable::new();
        for n in 1..=100 {
            let user = format!("key {n:03}");
            memtable.insert(
                InternalKey::new(user.as_bytes(), SeqNo::new(n), Kind::Put),
                &[7; 100],
            );
        }
        memtable.insert(
            InternalKey::new(b"key 050", SeqNo::new(101), Kind::Delete),
            b"",
        );
        memtable.insert(
            InternalKey::new(b"key 090", SeqNo::new(102), Kind::RangeDelete),
            b"z",
        );
        memtable
    }

    fn flush(tables: impl NewTables) -> Result<Option<Compacted>> {
        let flush = Flush {
            memtables: &[memtable()],
            snapshots: vec![SeqNo::new(102)],
            expiry_filter: None,
            now: 0,
            cuts: Cuts::at(
                u64::MAX,
                ["key 030", "key 060"].map(|key| key.as_bytes().to_vec()),
            ),
            tables,
            rate: &no_limit(),
            cancelled: &NOT_CANCELLED,
        };
        flush.run()
    }

    fn table_files(disk: &Arc<FaultyDisk>) -> TableFiles<impl FnMut() -> FileNumber> {
        let directory = PathBuf::from("/store");
        disk.create_dir_all(&directory).unwrap();
        let owner = TableOwner {
            id: KeyspaceNumber(0),
            name: "data".into(),
        };
        let options = TableOptions::new(owner, &KeyspaceOptions::default(), false);
        let mut last = 0;
        let next_number = move || {
            last += 1;
            FileNumber::new(last)
        };
        TableFiles::new(
            Arc::clone(disk) as Arc<dyn Disk>,
            directory,
            options,
            5,
            next_number,
        )
    }

    #[test]
    fn files_are_as_the_compaction_says() {
        let disk = Arc::new(FaultyDisk::new(1));
        let made = flush(table_files(&disk)).unwrap().unwrap().tables;
        let modelled = flush(Shelf::default().maker()).unwrap().unwrap().tables;
        assert_eq!(made.len(), 3);
        for (file, model) in made.iter().zip(&modelled) {
            assert_eq!(
                (&file.smallest, &file.largest),
                (&model.smallest, &model.largest)
            );
            assert_eq!(
                (file.first_seq, file.last_seq),
                (model.first_seq, model.last_seq)
            );
            assert_eq!((file.entries, file.deletes), (model.entries, model.deletes));
            assert_eq!(file.range_deletes, model.range_deletes);
            let path = table_path(std::path::Path::new("/store"), file.number);
            assert_eq!(disk.file_len(&path).unwrap(), file.len);
        }
    }

    // job-1
    #[test]
    fn no_file_is_left_when_any_operation_fails() {
        let fails_at = |n| {
            let disk = Arc::new(FaultyDisk::new(1));
            let files = table_files(&disk);
            disk.set_plan(FaultPlan::fail(Failure::once(Class::Any, n, Fault::Io)));
            let failed = flush(files).is_err();
            let left = disk
                .paths()
                .iter()
                .filter(|path| path.ends_with(".sst"))
                .count();
            assert_eq!(left, if failed { 0 } else { 3 }, "operation {n} failed");
            failed
        };
        let failed = (1..).take_while(|&n| fails_at(n)).count();
        assert!(failed >= 3 * 3, "create, write and sync of three files");
    }
}
