//! The one error of the engine, and what a caller may do about each of its variants.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Result of an engine operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with the place of a checkpoint.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetProblem {
    /// There is something in it.
    #[error("it is not empty")]
    NotEmpty,
    /// It is a file, or lies below one.
    #[error("it is not a directory")]
    NotADirectory,
    /// It lies in the store's own directory, perhaps through a link.
    #[error("it lies inside of the store itself")]
    InsideTheStore,
    /// The directory above it is missing: a mistyped path is not made.
    #[error("the directory above it does not exist; make it first")]
    NoParent,
    /// The system says no.
    #[error(transparent)]
    Refused(Arc<io::Error>),
}

/// Why an operation did not do what was asked.
///
/// Cheap to clone, as one failed log write is told to every writer of its group.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused. State is unchanged; whether trying again helps depends on the cause.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },

    /// Bytes on disk are not what was written. Nothing was changed; other keys stay readable.
    /// `repair` salvages what is intact.
    #[error(transparent)]
    Corruption(#[from] Corruption),

    /// A write or sync failed earlier, so nothing may be believed about unsynced bytes: the engine
    /// takes no more writes until it is opened again. Reads go on.
    #[error(
        "the store takes no writes since an earlier failure ({cause}); open it again once the disk is well"
    )]
    Failed {
        /// The failure that closed the store for writing.
        cause: Arc<Error>,
    },

    /// A write whose log record may or may not have reached the disk when the disk failed: it may be
    /// there after the next open, or not.
    #[error("the outcome of the write is unknown: {cause}")]
    OutcomeUnknown {
        /// What failed.
        cause: Arc<Error>,
    },

    /// No space for new data. The write was not applied; reads and deletes go on, and writes resume by
    /// themselves when space returns.
    #[error("the disk of {} is full but for the room that compactions need; deletes go on, and make room", path.display())]
    DiskFull {
        /// The store's directory.
        path: PathBuf,
    },

    /// Background work is so far behind that writes must wait. Not applied; try again later.
    #[error("writes are held back until background work catches up")]
    Stalled,

    /// Writes wait for background work that fails again and again, say because a table cannot be read. Not
    /// applied; reads go on. Writes go on once the cause is mended: for a damaged table, by
    /// [`repair`](crate::repair()).
    #[error("writes are stopped, as background work they wait for fails: {cause}")]
    Blocked {
        /// How it failed the last time.
        cause: Arc<Error>,
    },

    /// A read limited to memory would have to wait for the disk. Ask again with [`ReadTier::Disk`](crate::ReadTier::Disk).
    #[error("the answer is not in memory")]
    WouldBlock,

    /// Another process has the directory open.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },

    /// There is no store in the directory, and none was to be made.
    #[error("there is no store in {}", path.display())]
    NotFound {
        /// The directory.
        path: PathBuf,
    },

    /// The directory belongs to a version of the format that this build does not read.
    #[error("{} has format {found}, this build reads {supported}", path.display())]
    UnsupportedFormat {
        /// The file that says so.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format read.
        supported: u32,
    },

    /// A keyspace of that name exists.
    #[error("keyspace {name:?} exists already")]
    KeyspaceExists {
        /// Its name.
        name: String,
    },

    /// The keyspace was never created, or was dropped.
    #[error("there is no keyspace {name:?}")]
    NoSuchKeyspace {
        /// Its name.
        name: String,
    },

    /// A handle came from another store, or from before this one was opened: a batch's keyspace, a
    /// snapshot, a job. Nothing was done with it.
    #[error("the {what} belongs to another store, or to an earlier opening of this one")]
    OfAnotherStore {
        /// What it is.
        what: &'static str,
    },

    /// An update was begun inside of another one of the same store, on the same thread. Two threads that
    /// did so could wait for each other for ever. Nothing was changed by the inner one.
    #[error("an update inside of another update")]
    NestedUpdate,

    /// No checkpoint can be made in this place. Nothing was made, and the store goes on.
    #[error("no checkpoint can be made in {}: {problem}", path.display())]
    CheckpointTarget {
        /// The place.
        path: PathBuf,
        /// What is wrong with it.
        problem: TargetProblem,
    },

    /// A checkpoint could not be finished. What was there of it was removed, and the store goes on.
    #[error("the checkpoint in {} was not made: {cause}", path.display())]
    CheckpointNotMade {
        /// Where it was to be.
        path: PathBuf,
        /// What failed.
        cause: Arc<Error>,
    },

    /// The key is longer than [`MAX_KEY_LEN`](crate::MAX_KEY_LEN).
    #[error("key of {len} bytes; the limit is {limit}")]
    KeyTooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },

    /// The value is longer than [`MAX_VALUE_LEN`](crate::MAX_VALUE_LEN).
    #[error("value of {len} bytes; the limit is {limit}")]
    ValueTooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },

    /// The batch is longer than one log record may be.
    #[error("batch of {len} bytes; the limit is {limit}")]
    BatchTooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },

    /// A range whose start lies behind its end.
    #[error("the range's start lies behind its end")]
    InvertedRange,

    /// An option's value cannot work.
    #[error("option {option}: {why}")]
    InvalidOption {
        /// Its name.
        option: &'static str,
        /// What is wrong and what would do.
        why: &'static str,
    },

    /// A thread of the store panicked, which is a defect of ours. What was acknowledged is safe.
    #[error("thread {thread} panicked; please report what it printed")]
    Panicked {
        /// The thread's name.
        thread: String,
    },

    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// Wraps the system's answer with what was tried on which file.
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    /// Whether this is the system saying that no space is left.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::Blocked { cause } => cause.is_disk_full(),
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            }
            _ => false,
        }
    }
}

/// Bytes that are not what was written: which file, where, and in what way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is corrupt at byte {offset}: {kind}", file.display())]
pub struct Corruption {
    /// The file.
    pub file: PathBuf,
    /// Byte offset of the damaged part's beginning.
    pub offset: u64,
    /// What is wrong with it.
    pub kind: CorruptionKind,
}

/// In what way bytes are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CorruptionKind {
    /// The bytes do not match their checksum.
    #[error("the checksum does not match")]
    Checksum,
    /// One byte of a record is not what was written, and it is known what was.
    #[error("one byte is not what was written")]
    ChangedByte,
    /// The file ends inside a record.
    #[error("the file ends too early")]
    Truncated,
    /// The file does not begin or end with its magic number.
    #[error("it is not a file of this kind")]
    Magic,
    /// The bytes match their checksum and cannot be understood all the same.
    #[error("the content cannot be decoded")]
    Encoding,
    /// Entries are not in order.
    #[error("the entries are out of order")]
    Order,
    /// A file that must be there is not.
    #[error("the file is missing")]
    MissingFile,
    /// The disk does not give the bytes back.
    #[error("the disk cannot read it")]
    Unreadable,
    /// A record that was synced, and that later records rely on, is not there.
    #[error("a synced record is missing")]
    MissingRecord,
}

impl Corruption {
    /// Names damage found in `file` at byte `offset`.
    pub(crate) fn new(file: &Path, offset: u64, kind: CorruptionKind) -> Self {
        Self {
            file: file.to_owned(),
            offset,
            kind,
        }
    }
}
