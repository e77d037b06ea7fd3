//! Changes to what the store consists of: keyspaces and tables come and go here, and nowhere else.
//!
//! Each change is one record of the manifest, and then one swap of a view; whoever holds the manifest
//! does both, so views follow each other in the manifest's order. Readers never wait for either.
//!
//! # Invariants
//! - install-1: files are durable, and their names, before the manifest names them.
//! - install-2: a view shows a change only after the manifest has it.
//! - install-3: a log goes only after everything in it is in tables that the manifest names.
//! - install-4: when it is unknown whether the manifest has a change, files of both outcomes stay.
//! - install-5: the log is durable up to the last change of a table before the table is named: after a
//!   power cut nothing is kept of which something older, in another keyspace, is lost.

use std::sync::Arc;

use ringwood_env::{Clock, Disk};

use crate::batch::KeyspaceNumber;
use crate::error::{Error, Result};
use crate::files::{self, FileNumber};
use crate::key::SeqNo;
use crate::keyspaces::OpenKeyspace;
use crate::locks::lock;
use crate::manifest::{Edit, Manifest, Table, Version};
use crate::options::KeyspaceOptions;
use crate::plant::{Plant, is_planted};
use crate::sstable::TableMeta;
use crate::store::Store;
use crate::view::{LoggedMemtable, View};

impl Store {
    /// Makes a keyspace, durable on return.
    pub(crate) fn create_keyspace(
        &self,
        name: &str,
        options: KeyspaceOptions,
    ) -> Result<Arc<OpenKeyspace>> {
        self.check_writable()?;
        let mut manifest = self.manifest();
        if self.keyspaces.by_name(name).is_some() {
            return Err(Error::KeyspaceExists {
                name: name.to_owned(),
            });
        }
        let id = manifest.state().next_keyspace;
        manifest.append(&[Edit::CreateKeyspace {
            id,
            name: name.to_owned(),
            options: options.clone(),
        }])?;
        let version = Arc::new(Version::default());
        let keyspace = OpenKeyspace::new(
            id,
            name.to_owned(),
            KeyspaceOptions {
                table_len: self.share.table_len(options.table_len),
                ..options
            },
            SeqNo::ZERO,
            self.new_memtable(),
            version,
        );
        self.keyspaces.add(&keyspace);
        Ok(keyspace)
    }

    /// Drops a keyspace, durable on return. Its files go when the last reader does.
    pub(crate) fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.check_writable()?;
        let mut manifest = self.manifest();
        let missing = || Error::NoSuchKeyspace {
            name: name.to_owned(),
        };
        let keyspace = self.keyspaces.by_name(name).ok_or_else(missing)?;
        manifest.append(&[Edit::DropKeyspace { id: keyspace.id }])?;
        keyspace.mark_dropped();
        self.keyspaces.remove(keyspace.id);
        for (_, table) in keyspace.view().version.tables() {
            table.mark_obsolete();
        }
        keyspace.change_view(|_| View {
            active: self.new_memtable(),
            sealed: Vec::new(),
            version: Arc::default(),
        });
        drop(manifest);
        self.update_pressure();
        self.jobs.wake();
        Ok(())
    }

    /// Puts the tables made of `memtables` in their place, and frees the logs that held them.
    pub(crate) fn install_flush(
        &self,
        keyspace: &OpenKeyspace,
        memtables: &[Arc<LoggedMemtable>],
        made: Vec<TableMeta>,
    ) -> Result<()> {
        // INVARIANT install-5.
        if !is_planted(Plant::FlushBeforeLogSync) {
            self.sync_log()?;
        }
        let last_seq = memtables
            .iter()
            .filter_map(|memtable| memtable.table.last_seq())
            .max();
        let mut manifest = self.manifest();
        if keyspace.is_dropped() {
            drop(manifest);
            self.remove_tables(made.iter().map(|meta| meta.number));
            return Ok(());
        }
        let added = self.tables_at(0, made);
        let mut edits = add_edits(keyspace.id, &added);
        if let Some(upto) = last_seq {
            edits.extend([
                Edit::LastSeq(upto),
                Edit::Flushed {
                    keyspace: keyspace.id,
                    upto,
                },
            ]);
        }
        edits.push(Edit::ClockHigh(self.clock.wall()));
        edits.push(Edit::MinLog {
            number: self.first_needed_log(memtables),
        });
        let logs_before: Vec<_> = manifest.state().logs.iter().copied().collect();
        self.append_or_remove(&mut manifest, &edits, &added)?;
        keyspace.change_view(|view| View {
            active: Arc::clone(&view.active),
            sealed: without(&view.sealed, memtables),
            version: Arc::new(view.version.with(&added, &[])),
        });
        let min_log = manifest.state().min_log;
        drop(manifest);
        self.free_logs(
            logs_before.into_iter().filter(|log| *log < min_log),
            min_log,
        );
        self.update_pressure();
        Ok(())
    }

    /// Puts the tables that a compaction made at `level` in the place of its inputs.
    pub(crate) fn install_compaction(
        &self,
        keyspace: &OpenKeyspace,
        inputs: &[(usize, Arc<Table>)],
        level: usize,
        made: Vec<TableMeta>,
    ) -> Result<()> {
        let added = self.tables_at(level, made);
        self.replace_tables(keyspace, inputs, &added)?;
        for (_, table) in inputs {
            table.mark_obsolete();
        }
        Ok(())
    }

    /// Moves tables to another level as they are.
    pub(crate) fn install_move(
        &self,
        keyspace: &OpenKeyspace,
        inputs: &[(usize, Arc<Table>)],
        level: usize,
    ) -> Result<()> {
        let moved: Vec<_> = inputs
            .iter()
            .map(|(_, table)| (level, Arc::clone(table)))
            .collect();
        self.replace_tables(keyspace, inputs, &moved)
    }

    fn replace_tables(
        &self,
        keyspace: &OpenKeyspace,
        removed: &[(usize, Arc<Table>)],
        added: &[(usize, Arc<Table>)],
    ) -> Result<()> {
        let mut manifest = self.manifest();
        let is_new = |(_, table): &&(usize, Arc<Table>)| {
            !removed
                .iter()
                .any(|(_, removed)| Arc::ptr_eq(removed, table))
        };
        let new: Vec<_> = added.iter().filter(is_new).cloned().collect();
        if keyspace.is_dropped() {
            drop(manifest);
            self.remove_tables(new.iter().map(|(_, table)| table.number));
            return Ok(());
        }
        let gone: Vec<_> = removed
            .iter()
            .map(|(level, table)| (*level, table.number))
            .collect();
        let mut edits: Vec<_> = gone
            .iter()
            .map(|(level, number)| Edit::RemoveTable {
                keyspace: keyspace.id,
                level: level_byte(*level),
                number: *number,
            })
            .collect();
        edits.extend(add_edits(keyspace.id, added));
        edits.push(Edit::ClockHigh(self.clock.wall()));
        self.append_or_remove(&mut manifest, &edits, &new)?;
        keyspace.change_view(|view| View {
            active: Arc::clone(&view.active),
            sealed: view.sealed.clone(),
            version: Arc::new(view.version.with(added, &gone)),
        });
        drop(manifest);
        self.update_pressure();
        Ok(())
    }

    /// INVARIANT install-1, install-4.
    fn append_or_remove(
        &self,
        manifest: &mut Manifest,
        edits: &[Edit],
        new: &[(usize, Arc<Table>)],
    ) -> Result<()> {
        let directory = &self.options.path;
        let named = if new.is_empty() {
            Ok(())
        } else {
            self.disk.sync_dir(directory)
        };
        let appended = named
            .map_err(|error| Error::io("sync", directory, error))
            .and_then(|()| manifest.append(edits));
        if let Err(error) = &appended {
            if manifest.has_failed() {
                self.commit.fail(error.clone());
            } else {
                self.remove_tables(new.iter().map(|(_, table)| table.number));
            }
        }
        appended
    }

    fn tables_at(&self, level: usize, made: Vec<TableMeta>) -> Vec<(usize, Arc<Table>)> {
        made.into_iter()
            .map(|meta| {
                (
                    level,
                    Table::new(Arc::new(meta), Arc::clone(&self.obsolete)),
                )
            })
            .collect()
    }

    /// Keeps obsolete log segments for another use, or deletes them. INVARIANT install-3: the
    /// manifest, durably, does not list them any more.
    pub(crate) fn free_logs(&self, logs: impl Iterator<Item = FileNumber>, min_log: FileNumber) {
        self.log().release_below(min_log);
        for number in logs {
            let kept = {
                let mut segments = lock(&self.segments);
                let len = segments.len_of(number);
                segments.retire(number, len)
            };
            if !kept {
                self.discard_file(&files::log_path(&self.options.path, number));
            }
        }
        let unwanted = {
            let mut segments = lock(&self.segments);
            match self.space.is_short() {
                true => segments.give_back(),
                false => segments.misfits(),
            }
        };
        self.discard_logs(unwanted);
    }

    /// Deletes tables that no manifest names.
    pub(crate) fn remove_tables(&self, tables: impl Iterator<Item = FileNumber>) {
        self.tables.forget_dead();
        for number in tables {
            self.tables.forget(number);
            self.discard_file(&files::table_path(&self.options.path, number));
        }
    }
}

fn add_edits(keyspace: KeyspaceNumber, added: &[(usize, Arc<Table>)]) -> Vec<Edit> {
    added
        .iter()
        .map(|(level, table)| Edit::AddTable {
            keyspace,
            level: level_byte(*level),
            meta: Arc::clone(table.meta()),
        })
        .collect()
}

fn level_byte(level: usize) -> u8 {
    u8::try_from(level).expect("there are seven levels")
}

fn without(all: &[Arc<LoggedMemtable>], gone: &[Arc<LoggedMemtable>]) -> Vec<Arc<LoggedMemtable>> {
    let stays =
        |memtable: &&Arc<LoggedMemtable>| !gone.iter().any(|gone| Arc::ptr_eq(gone, memtable));
    all.iter().filter(stays).cloned().collect()
}
