//! Copies of a store: tables are linked, or copied where they cannot be, and the manifest is written anew.
//!
//! # Invariants
//! - checkpoint-1: the copy is one moment: it holds every change up to it and none behind, in all
//!   keyspaces. Memtables of later changes are not written out before the tables are noted.
//! - checkpoint-2: nothing that happens to the copy stops the store: its calls go past the store's latch.
//! - checkpoint-3: a copy that was not made leaves nothing behind.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringwood_env::{Disk, LatchedDisk, OpenMode};

use crate::error::{Error, Result, TargetProblem};
use crate::files::{self, FileNumber};
use crate::locks::lock;
use crate::manifest::{Manifest, State};
use crate::rate::Urgency;
use crate::recovery;
use crate::statistics::CheckpointProgress;
use crate::store::Store;
use crate::view::View;

/// Copied at once.
const CHUNK_LEN: usize = 1 << 20;

/// Makes a checkpoint of `store` in `directory`, and tells `progress` how far it is.
///
/// What is in memory is written out first, so that the copy needs no log; writes go on meanwhile.
///
/// *Durability on return*: the copy is a store of its own, on the disk.
pub(crate) fn make(
    store: &Store,
    directory: &Path,
    mut progress: impl FnMut(CheckpointProgress),
) -> Result<()> {
    let target = Target::check(store, directory)?;
    let mut note = |now: CheckpointProgress| {
        *lock(&store.checkpoint_progress) = Some(now);
        progress(now);
    };
    let moment = {
        let _calls = store.commit.hold_calls();
        capture(store)
    };
    store.commit.make_calls();
    let made = moment.and_then(|moment| target.fill(store, &moment, &mut note));
    *lock(&store.checkpoint_progress) = None;
    made.map_err(|cause| Error::CheckpointNotMade {
        path: directory.to_owned(),
        cause: Arc::new(cause),
    })
}

/// What a store consists of at one moment.
struct Moment {
    state: State,
    /// Keep the tables' files.
    _views: Vec<Arc<View>>,
}

/// INVARIANT checkpoint-1.
fn capture(store: &Store) -> Result<Moment> {
    let _one = lock(&store.checkpointing);
    let (sealed, held) = {
        let token = store.commit.take_token().ok_or(Error::Closed)?;
        store.check_writable()?;
        // ORDER: held before the token goes: what is sealed later is of later changes.
        let held = store.jobs.hold_flushes_behind(store.commit.published());
        (store.seal_all(&token), held)
    };
    store.wait_for_flush(&sealed)?;
    let manifest = store.manifest();
    let keyspaces = store.keyspaces.all();
    let moment = Moment {
        state: manifest.state().without_logs(),
        _views: keyspaces.values().map(|one| one.view_owned()).collect(),
    };
    drop(manifest);
    drop(held);
    Ok(moment)
}

/// Where the copy goes.
struct Target {
    /// INVARIANT checkpoint-2: with a latch of its own.
    disk: Arc<LatchedDisk>,
    directory: PathBuf,
    existed: bool,
}

impl Target {
    /// Refuses a place where no copy can be. Nothing is made.
    fn check(store: &Store, directory: &Path) -> Result<Self> {
        let disk = &store.options.disk;
        let refuse = |problem| {
            Err(Error::CheckpointTarget {
                path: directory.to_owned(),
                problem,
            })
        };
        let existed = match disk.read_dir(directory) {
            Ok(entries) if entries.is_empty() => true,
            Ok(_) => return refuse(TargetProblem::NotEmpty),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => false,
                io::ErrorKind::NotADirectory => return refuse(TargetProblem::NotADirectory),
                _ => return refuse(TargetProblem::Refused(Arc::new(error))),
            },
        };
        let (above, name) = if existed {
            (directory, Path::new(""))
        } else {
            match (directory.parent(), directory.file_name()) {
                (Some(parent), Some(name)) if parent.as_os_str().is_empty() => {
                    (Path::new("."), Path::new(name))
                }
                (Some(parent), Some(name)) => (parent, Path::new(name)),
                _ => return refuse(TargetProblem::NoParent),
            }
        };
        // Links are followed: what counts is where the copy would lie.
        let resolved = match disk.resolve(above) {
            Ok(above) => above.join(name),
            Err(_) => return refuse(TargetProblem::NoParent),
        };
        let own = (disk.resolve(&store.options.path))
            .map_err(|error| Error::io("resolve", &store.options.path, error))?;
        if resolved.starts_with(own) {
            return refuse(TargetProblem::InsideTheStore);
        }
        Ok(Self {
            disk: Arc::new(LatchedDisk::new(Arc::clone(disk))),
            directory: directory.to_owned(),
            existed,
        })
    }

    /// Puts everything there. INVARIANT checkpoint-3.
    fn fill(
        &self,
        store: &Store,
        moment: &Moment,
        progress: &mut dyn FnMut(CheckpointProgress),
    ) -> Result<()> {
        if !self.existed {
            self.disk
                .create_dir_all(&self.directory)
                .map_err(|error| Error::io("create", &self.directory, error))?;
        }
        let filled = self.put_tables(store, moment, progress).and_then(|()| {
            // ORDER: the names are durable before a manifest speaks of them.
            self.disk
                .sync_dir(&self.directory)
                .map_err(|error| Error::io("sync", &self.directory, error))?;
            self.sync_names()?;
            let disk = Arc::clone(&self.disk) as Arc<dyn Disk>;
            Manifest::create_with(disk, &self.directory, moment.state.clone()).map(drop)
        });
        if filled.is_err() {
            self.remove(&*store.options.disk);
        }
        filled
    }

    /// Makes the directory's name durable, and those above it, which may be as new.
    fn sync_names(&self) -> Result<()> {
        let names = self.directory.ancestors();
        for path in names.filter(|path| !path.as_os_str().is_empty()) {
            match recovery::sync_name(&*self.disk, path) {
                // Somebody else's directory: not one that was made for this.
                Err(Error::Io { source, .. })
                    if source.kind() == io::ErrorKind::PermissionDenied =>
                {
                    return Ok(());
                }
                synced => synced?,
            }
        }
        Ok(())
    }

    fn put_tables(
        &self,
        store: &Store,
        moment: &Moment,
        progress: &mut dyn FnMut(CheckpointProgress),
    ) -> Result<()> {
        let tables: Vec<_> = (moment.state.keyspaces.values())
            .flat_map(|keyspace| keyspace.tables.keys().copied())
            .collect();
        let mut lens = Vec::with_capacity(tables.len());
        for number in &tables {
            let path = files::table_path(&store.options.path, *number);
            let len = store.options.disk.file_len(&path);
            lens.push(len.map_err(|error| Error::io("look at", &path, error))?);
        }
        let mut now = CheckpointProgress {
            tables: tables.len() as u64,
            bytes: lens.iter().sum(),
            ..CheckpointProgress::default()
        };
        progress(now);
        for (number, len) in tables.into_iter().zip(lens) {
            if self.put_table(store, number, &mut |bytes| {
                let now = CheckpointProgress {
                    bytes_done: now.bytes_done + bytes,
                    bytes_copied: now.bytes_copied + bytes,
                    ..now
                };
                progress(now);
            })? {
                now.bytes_copied += len;
            }
            now.tables_done += 1;
            now.bytes_done += len;
            progress(now);
        }
        Ok(())
    }

    /// Links a table, or copies it where that cannot be; whether it was copied.
    fn put_table(
        &self,
        store: &Store,
        number: FileNumber,
        copied: &mut dyn FnMut(u64),
    ) -> Result<bool> {
        let from = files::table_path(&store.options.path, number);
        let to = files::table_path(&self.directory, number);
        match self.disk.hard_link(&from, &to) {
            Ok(()) => Ok(false),
            Err(error) if may_be_copied(error.kind()) => {
                self.copy(store, &from, &to, copied)?;
                Ok(true)
            }
            Err(error) => Err(Error::io("link", &to, error)),
        }
    }

    fn copy(
        &self,
        store: &Store,
        from: &Path,
        to: &Path,
        copied: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let source = (store.options.disk.open(from, OpenMode::Read))
            .map_err(|error| Error::io("open", from, error))?;
        let file = (self.disk.open(to, OpenMode::CreateNew))
            .map_err(|error| Error::io("create", to, error))?;
        let mut chunk = vec![0; CHUNK_LEN];
        let mut at = 0;
        loop {
            let len =
                (source.read_at(&mut chunk, at)).map_err(|error| Error::io("read", from, error))?;
            if len == 0 {
                break;
            }
            store
                .rate
                .take(len as u64, Urgency::Compaction, &store.jobs.stopping);
            if store.jobs.stopping.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            file.write_at(&chunk[..len], at)
                .map_err(|error| Error::io("write", to, error))?;
            at += len as u64;
            copied(at);
        }
        file.sync().map_err(|error| Error::io("sync", to, error))
    }

    /// Takes away what was put there. Best effort: what stays is no store.
    fn remove(&self, disk: &dyn Disk) {
        for entry in disk.read_dir(&self.directory).unwrap_or_default() {
            let _ = disk.remove_file(&self.directory.join(entry.name));
        }
        if !self.existed {
            let _ = disk.remove_dir(&self.directory);
        }
    }
}

/// Whether a link was refused for what links are, and not for what the place is.
fn may_be_copied(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::CrossesDevices | Kind::TooManyLinks | Kind::PermissionDenied | Kind::Unsupported
    )
}
