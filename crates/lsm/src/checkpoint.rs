//! Copies of a store that cost little: tables are linked, and only the manifest is written anew.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ringwood_env::Disk;

use crate::error::{Error, Result};
use crate::files;
use crate::manifest::Manifest;
use crate::recovery;
use crate::store::Store;

/// Makes a checkpoint of `store` in `directory`, which is new or empty and on the same file system.
///
/// What is in memory is written out first, so that the copy needs no log.
///
/// *Durability on return*: the copy is a store of its own, on the disk.
pub(crate) fn make(store: &Store, directory: &Path) -> Result<()> {
    let disk = &store.disk;
    match disk.read_dir(directory) {
        Ok(entries) if !entries.is_empty() => {
            let exists = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(Error::io("make a checkpoint in", directory, exists));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("list", directory, error));
        }
        _ => recovery::create_directory(&**disk, directory)?,
    }
    // ORDER: no write is taken until what is written out is captured: the copy is one moment, of which
    // no keyspace is ahead.
    let token = store.commit.take_token().ok_or(Error::Closed)?;
    store.flush_with(&token)?;
    // The manifest is held, so no table goes while it is linked; those that readers hold stay anyway.
    let manifest = store.manifest();
    let state = manifest.state().without_logs();
    for number in state
        .keyspaces
        .values()
        .flat_map(|keyspace| keyspace.tables.keys())
    {
        let from = files::table_path(&store.options.path, *number);
        let to = files::table_path(directory, *number);
        disk.hard_link(&from, &to)
            .map_err(|error| Error::io("link", &from, error))?;
    }
    // ORDER: the names are durable before a manifest speaks of them.
    disk.sync_dir(directory)
        .map_err(|error| Error::io("sync", directory, error))?;
    recovery::sync_name(&**disk, directory)?;
    drop(manifest);
    drop(token);
    Manifest::create_with(Arc::clone(disk) as Arc<dyn Disk>, directory, state)?;
    Ok(())
}
