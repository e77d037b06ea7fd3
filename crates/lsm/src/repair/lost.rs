//! `lost/`: where the originals of damaged files are kept, for whoever wants to look at them.
//!
//! Tables never change, so a second name does. A log would be recycled and a manifest removed: these
//! are copied.

use std::io;
use std::path::{Path, PathBuf};

use ringwood_env::{Disk, OpenMode};

use crate::error::{Error, Result};
use crate::files::CURRENT;

const DIRECTORY: &str = "lost";
/// Bytes copied at once, and lost at once where the disk does not give them back.
const PIECE_LEN: usize = 4 << 10;

/// A file to be set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Aside {
    pub(super) path: PathBuf,
    /// Give it a second name; else its bytes are copied.
    pub(super) link: bool,
}

/// Keeps all of `files` in `lost/`, durably; those that are missing are passed over. Returns their names.
pub(super) fn keep(disk: &dyn Disk, directory: &Path, files: &[Aside]) -> Result<Vec<PathBuf>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let lost = directory.join(DIRECTORY);
    disk.create_dir_all(&lost)
        .map_err(|error| Error::io("create", &lost, error))?;
    sync_dir(disk, directory)?;
    let mut kept = Vec::new();
    for file in files {
        kept.extend(keep_one(disk, &lost, file)?);
    }
    sync_dir(disk, &lost)?;
    Ok(kept)
}

/// Removes what is kept in `lost/` from its old place.
pub(super) fn remove_originals(disk: &dyn Disk, directory: &Path, files: &[Aside]) -> Result<()> {
    // The manifest in force has taken the place of the others itself.
    let is_replaced = |file: &&Aside| file.path.ends_with(CURRENT);
    for Aside { path, .. } in files.iter().filter(|file| !is_replaced(file)) {
        match disk.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", path, error));
            }
            _ => {}
        }
    }
    sync_dir(disk, directory)
}

fn keep_one(disk: &dyn Disk, lost: &Path, file: &Aside) -> Result<Option<PathBuf>> {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let names = (0..).map(|n| match n {
        0 => lost.join(&*name),
        n => lost.join(format!("{name}.{n}")),
    });
    for to in names {
        let kept = if file.link {
            disk.hard_link(&file.path, &to)
        } else {
            copy(disk, &file.path, &to)
        };
        match kept {
            Ok(()) => return Ok(Some(to)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Of an earlier repair.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("keep a copy of", &file.path, error)),
        }
    }
    Ok(None)
}

/// Copies what can be read, durably; zeros stand for what cannot.
fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let source = disk.open(from, OpenMode::Read)?;
    let target = disk.open(to, OpenMode::CreateNew)?;
    let len = source.len()?;
    let mut piece = vec![0; PIECE_LEN];
    let mut at = 0;
    while at < len {
        piece.fill(0);
        let read = source.read_at(&mut piece, at).unwrap_or(PIECE_LEN);
        let rest = usize::try_from(len - at).unwrap_or(PIECE_LEN);
        target.write_at(&piece[..read.max(1).min(rest)], at)?;
        at += PIECE_LEN as u64;
    }
    target.sync()
}

fn sync_dir(disk: &dyn Disk, directory: &Path) -> Result<()> {
    disk.sync_dir(directory)
        .map_err(|error| Error::io("sync", directory, error))
}
