//! `import tree` and `export tree`: a file for each key.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use clap::Args;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::client::{Client, ClientError, PutOptions, Range};
use crate::outcome::{Outcome, unreadable};
use crate::output::{Format, printable};

use super::journal::{Journal, Position, Stamp};
use super::pages::Pages;
use super::patience::{Patience, PatienceArgs};
use super::pump::pump;
use super::summary::Summary;

/// No server takes longer values, so longer files are not even read.
const VALUE_LEN_MAX: u64 = 16 << 20;
/// Items of a page; the server ends it earlier if it grows long.
const PAGE: usize = 500;

/// Import every file below a directory.
///
/// The key is the prefix, then the file's path below the directory, byte for byte; the content type is
/// what the name's ending says. Symbolic links are not followed, and named at the end, as is every
/// file that is too long.
#[derive(Args, Debug)]
pub(crate) struct ImportTree {
    /// The directory.
    directory: PathBuf,
    /// What every key begins with.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Requests at once.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Remember here what was acknowledged; the next run leaves it out.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Read all back at the end, and compare.
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    patience: PatienceArgs,
}

/// Export keys as files below a directory.
#[derive(Args, Debug)]
pub(crate) struct ExportTree {
    /// The directory; it is made if it is not there.
    directory: PathBuf,
    /// Only keys that begin like this; a file's path is what follows.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Remember here how far it came; the next run goes on from there.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    patience: PatienceArgs,
}

/// A file to be imported, or what cannot be.
enum Found {
    File {
        path: PathBuf,
        key: Vec<u8>,
        stamp: Stamp,
    },
    Other {
        name: String,
        why: &'static str,
    },
}

/// What became of a file.
enum Done {
    Stored {
        key: Vec<u8>,
        stamp: Stamp,
        hash: String,
    },
    Before,
    Same,
    Skipped {
        name: String,
        why: String,
    },
    /// The server stays away, or something else that the next file would meet too.
    Failed(ClientError),
}

impl ImportTree {
    /// Imports all, then compares all if that is asked for.
    ///
    /// # Errors
    /// When the server stays away, or the directory cannot be read.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        fs::read_dir(&self.directory).map_err(|error| unreadable(&self.directory, error))?;
        let patience = Patience::new(&self.patience);
        let mut journal = Journal::open(
            self.journal.as_deref(),
            self.prefix.as_bytes(),
            &self.directory,
        )?;
        let known = Journal::open(
            self.journal.as_deref(),
            self.prefix.as_bytes(),
            &self.directory,
        )?;
        let mut summary = Summary::start(format, "files");
        let store = |found| store(client, &patience, &known, found);
        let stored = pump(
            self.concurrency,
            |out| self.walk(out),
            store,
            |done| account(done, &mut summary, &mut journal),
            || patience.stop(),
        );
        // Also when it failed: what was acknowledged is not sent again.
        journal.flush()?;
        stored?;
        if self.verify {
            pump(
                self.concurrency,
                |out| self.walk(out),
                |found| compare(client, &patience, found),
                |done| account(done, &mut summary, &mut journal),
                || patience.stop(),
            )?;
        }
        summary.finish(format, patience.retries())
    }

    fn walk(&self, out: &SyncSender<Found>) -> Result<()> {
        for entry in WalkDir::new(&self.directory)
            .min_depth(1)
            .sort_by_file_name()
        {
            let found = match entry {
                Err(error) => {
                    let name = error
                        .path()
                        .unwrap_or(&self.directory)
                        .display()
                        .to_string();
                    Found::Other {
                        name,
                        why: "cannot be read",
                    }
                }
                Ok(entry) if entry.file_type().is_dir() => continue,
                Ok(entry) => self.look_at(&entry),
            };
            // Nobody listens any more: the import has failed, and says so itself.
            if out.send(found).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn look_at(&self, entry: &walkdir::DirEntry) -> Found {
        let path = entry.path().to_owned();
        let other = |why| Found::Other {
            name: entry.path().display().to_string(),
            why,
        };
        if entry.file_type().is_symlink() {
            return other("is a symbolic link");
        }
        if !entry.file_type().is_file() {
            return other("is no regular file");
        }
        let (Ok(metadata), Ok(below)) = (entry.metadata(), path.strip_prefix(&self.directory))
        else {
            return other("cannot be read");
        };
        let key = [self.prefix.as_bytes(), below.as_os_str().as_bytes()].concat();
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let stamp = Stamp {
            len: metadata.len(),
            modified_ns: modified.unwrap_or_default().as_nanos(),
        };
        Found::File { path, key, stamp }
    }
}

fn store(client: &Client, patience: &Patience, known: &Journal, found: Found) -> Done {
    let (path, key, stamp) = match found {
        Found::Other { name, why } => {
            return Done::Skipped {
                name,
                why: why.to_owned(),
            };
        }
        Found::File { path, key, stamp } => (path, key, stamp),
    };
    if known.has(&key, stamp) {
        return Done::Before;
    }
    let name = || path.display().to_string();
    let value = match read(&path) {
        Ok(value) => value,
        Err(why) => return Done::Skipped { name: name(), why },
    };
    let options = PutOptions {
        content_type: mime_guess::from_path(&path).first_raw().map(str::to_owned),
        ..PutOptions::default()
    };
    match patience.insist(|| client.put(&key, &value, &options)) {
        Ok(_) => Done::Stored {
            key,
            stamp,
            hash: hash(&value),
        },
        Err(error) => refused(error, name()),
    }
}

/// What a failure means: the file's own fault, or everybody's.
fn refused(error: ClientError, name: String) -> Done {
    match &error {
        ClientError::Refused(problem) if matches!(problem.status, 400 | 413 | 414 | 431) => {
            Done::Skipped {
                name,
                why: error.to_string(),
            }
        }
        _ => Done::Failed(error),
    }
}

fn compare(client: &Client, patience: &Patience, found: Found) -> Done {
    let Found::File { path, key, .. } = found else {
        return Done::Before;
    };
    let name = || path.display().to_string();
    // Whatever cannot be read was told of when it should have been stored.
    let Ok(value) = read(&path) else {
        return Done::Before;
    };
    match patience.insist(|| client.get(&key)) {
        Ok(stored) if hash(&stored.bytes) == hash(&value) => Done::Same,
        Ok(_) => Done::Skipped {
            name: name(),
            why: "what is stored differs from the file".into(),
        },
        Err(ClientError::Refused(problem)) if problem.status == 404 => Done::Skipped {
            name: name(),
            why: "is not stored".into(),
        },
        Err(error) => refused(error, name()),
    }
}

fn account(done: Option<Done>, summary: &mut Summary, journal: &mut Journal) -> Result<()> {
    match done {
        None => journal.flush()?,
        Some(Done::Stored { key, stamp, hash }) => {
            journal.add(&key, stamp, &hash)?;
            summary.add(stamp.len);
        }
        Some(Done::Before) => summary.done_before += 1,
        Some(Done::Same) => summary.verify(),
        Some(Done::Skipped { name, why }) => summary.skip(name, why),
        Some(Done::Failed(error)) => return Err(error.into()),
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let mut value = Vec::new();
    File::open(path)
        .and_then(|file| file.take(VALUE_LEN_MAX + 1).read_to_end(&mut value))
        .map_err(cannot)?;
    if value.len() as u64 > VALUE_LEN_MAX {
        return Err(format!(
            "is longer than {VALUE_LEN_MAX} bytes, which no server takes"
        ));
    }
    Ok(value)
}

fn hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

impl ExportTree {
    /// Writes all, in key order.
    ///
    /// # Errors
    /// When the server stays away, or the directory cannot be written.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        let cannot_write = || format!("cannot write below {}", self.directory.display());
        fs::create_dir_all(&self.directory).with_context(cannot_write)?;
        let patience = Patience::new(&self.patience);
        let what = format!(
            "export tree of {:?} to {}",
            self.prefix,
            self.directory.display()
        );
        let (position, mut place) = Position::open(self.journal.as_deref(), what)?;
        let mut summary = Summary::start(format, "files");
        summary.done_before = place.items;
        let prefix = Some(self.prefix.clone().into_bytes()).filter(|prefix| !prefix.is_empty());
        let range = Range {
            prefix,
            page: PAGE,
            ..Range::default()
        };
        let mut pages = Pages::new(client, &patience, range, place.last_key.clone());
        while let Some(items) = pages.next()? {
            for item in &items {
                let (Some(key), Some(value)) = (item.key_bytes(), item.value_bytes()) else {
                    anyhow::bail!("the server sent an item that has no key or no value");
                };
                match self.write(&key, &value).with_context(cannot_write)? {
                    None => summary.add(value.len() as u64),
                    Some(why) => summary.skip(printable(&key), why.to_owned()),
                }
                place.items += 1;
                place.last_key = Some(key);
            }
            position.save(&place)?;
        }
        position.finish()?;
        summary.finish(format, patience.retries())
    }

    /// Writes one file; or says why its key is no path.
    fn write(&self, key: &[u8], value: &[u8]) -> std::io::Result<Option<&'static str>> {
        let below = Path::new(std::ffi::OsStr::from_bytes(
            &key[self.prefix.len().min(key.len())..],
        ));
        if !is_plain(below) {
            return Ok(Some("the key is no path below a directory"));
        }
        let path = self.directory.join(below);
        let parent = path.parent().unwrap_or(&self.directory);
        if leaves_through_link(&self.directory, below) {
            return Ok(Some("its path leads through a symbolic link"));
        }
        // A key that is also the directory of others, or the other way round.
        if path.is_dir()
            || fs::create_dir_all(parent).is_err_and(|_| has_file_above(&self.directory, below))
        {
            return Ok(Some("a file and a directory would have the same name"));
        }
        fs::create_dir_all(parent)?;
        // Whole or not at all, also if the program is stopped in between.
        let next = parent.join(format!(".ringwood-export-{}", std::process::id()));
        fs::write(&next, value)?;
        fs::rename(&next, &path)?;
        Ok(None)
    }
}

/// Whether a key is a path that stays below its directory, spelled in the one way there is.
fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let spelled = path
        .components()
        .collect::<PathBuf>()
        .as_os_str()
        .as_bytes()
        == bytes;
    !bytes.is_empty() && !bytes.contains(&0) && plain && spelled
}

fn leaves_through_link(directory: &Path, below: &Path) -> bool {
    let mut at = directory.to_owned();
    below.components().any(|part| {
        at.push(part);
        at.is_symlink()
    })
}

fn has_file_above(directory: &Path, below: &Path) -> bool {
    below
        .ancestors()
        .skip(1)
        .any(|above| directory.join(above).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_become_files() {
        for good in ["a", "a/b", ".hidden", "a b/ü", "..."] {
            assert!(is_plain(Path::new(good)), "{good}");
        }
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "a/../b",
            "a//b",
            "a/./b",
            "a/",
            "./a",
            "a\0b",
        ] {
            assert!(!is_plain(Path::new(bad)), "{bad:?}");
        }
    }

    #[test]
    fn a_key_never_leads_out_of_the_directory() {
        let outside = tempfile::tempdir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), directory.path().join("link")).unwrap();
        let export = ExportTree {
            directory: directory.path().to_owned(),
            prefix: "p/".into(),
            journal: None,
            patience: crate::transfer::patience::PatienceArgs::default(),
        };
        assert_eq!(export.write(b"p/a/b", b"1").unwrap(), None);
        assert_eq!(fs::read(directory.path().join("a/b")).unwrap(), b"1");
        for refused in [
            &b"p/../x"[..],
            b"p//x",
            b"p/link/x",
            b"p/link",
            b"p/a",
            b"p/a/b/c",
            b"p/",
        ] {
            assert!(
                export.write(refused, b"2").unwrap().is_some(),
                "{refused:?}"
            );
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert_eq!(fs::read(directory.path().join("a/b")).unwrap(), b"1");
    }
}
