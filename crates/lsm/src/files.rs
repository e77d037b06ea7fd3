//! Names of a store's files, and what they say.
//!
//! ```text
//! LOCK              held while a process has the store open
//! CURRENT           format version and the name of the manifest in force
//! MANIFEST-000001   which tables and logs exist
//! 000002.log        a segment of the write-ahead log
//! 000003.sst        a table
//! ```
//! Numbers are issued by one counter and never used again, so a name says which file is newer.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names a file of a store; issued once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileNumber(u64);

impl FileNumber {
    pub(crate) const fn new(n: u64) -> Self {
        Self(n)
    }

    /// As a number.
    #[must_use]
    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

/// Issues the numbers of a store's files.
///
/// The manifest notes with each of its records how far it has come, so that a number the manifest
/// speaks of is never issued again; opening a store also passes by every name in the directory.
#[derive(Debug)]
pub(crate) struct FileNumbers(AtomicU64);

impl FileNumbers {
    pub(crate) const fn starting_at(next: FileNumber) -> Self {
        Self(AtomicU64::new(next.0))
    }

    /// A number that was never issued before.
    pub(crate) fn issue(&self) -> FileNumber {
        FileNumber(self.0.fetch_add(1, Ordering::Relaxed))
    }

    /// The number that is issued next; all below it were.
    pub(crate) fn next(&self) -> FileNumber {
        FileNumber(self.0.load(Ordering::Relaxed))
    }
}

/// What a file of a store's directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Lock,
    Current,
    Manifest(FileNumber),
    Log(FileNumber),
    Table(FileNumber),
    /// Being written under this name; renamed when whole. Left over after a crash.
    Temporary,
}

impl FileKind {
    /// What a name stands for; `None`: not ours, to be left alone.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let number = |digits: &str| {
            let all_digits = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
            all_digits
                .then(|| digits.parse().ok().map(FileNumber))
                .flatten()
        };
        match name {
            "LOCK" => Some(Self::Lock),
            "CURRENT" => Some(Self::Current),
            _ if name.ends_with(".tmp") => Some(Self::Temporary),
            _ => {
                if let Some(digits) = name.strip_prefix("MANIFEST-") {
                    number(digits).map(Self::Manifest)
                } else if let Some(digits) = name.strip_suffix(".log") {
                    number(digits).map(Self::Log)
                } else {
                    name.strip_suffix(".sst").and_then(number).map(Self::Table)
                }
            }
        }
    }
}

/// Whether a file of this name shows that its directory holds a store, or one that was begun.
#[must_use]
pub fn is_store_file(name: &str) -> bool {
    use FileKind::{Current, Log, Manifest, Table};
    matches!(
        FileKind::parse(name),
        Some(Current | Manifest(_) | Log(_) | Table(_))
    )
}

pub(crate) const LOCK: &str = "LOCK";
pub(crate) const CURRENT: &str = "CURRENT";

pub(crate) fn manifest_path(directory: &Path, number: FileNumber) -> PathBuf {
    directory.join(format!("MANIFEST-{number}"))
}

pub(crate) fn log_path(directory: &Path, number: FileNumber) -> PathBuf {
    directory.join(format!("{number}.log"))
}

pub(crate) fn table_path(directory: &Path, number: FileNumber) -> PathBuf {
    directory.join(format!("{number}.sst"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_foreign_names_are_not_ours() {
        let parse = |path: PathBuf| FileKind::parse(path.to_str().unwrap());
        let number = FileNumber::new(1_234_567);
        let here = Path::new("");
        assert_eq!(
            parse(manifest_path(here, number)),
            Some(FileKind::Manifest(number))
        );
        assert_eq!(parse(log_path(here, number)), Some(FileKind::Log(number)));
        assert_eq!(
            parse(table_path(here, number)),
            Some(FileKind::Table(number))
        );
        assert_eq!(FileKind::parse("CURRENT"), Some(FileKind::Current));
        assert_eq!(FileKind::parse("CURRENT.tmp"), Some(FileKind::Temporary));
        for foreign in [
            "notes.txt",
            "12.sst",
            "-00012.log",
            "MANIFEST-",
            "+00001.sst",
            "99999999999999999999.log",
        ] {
            assert_eq!(FileKind::parse(foreign), None, "{foreign}");
        }
    }
}
