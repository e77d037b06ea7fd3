//! Why a node did not do what was asked, and what the caller may do about it.

use std::path::PathBuf;
use std::time::Duration;

use ringwood_lsm as lsm;
use ringwood_types::{ContextError, PartitionCount, PartitionId, RecordError};

use crate::cursor::CursorError;

/// What became of a write that was answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did not happen and never will.
    NotApplied,
    /// It happened; something after it failed.
    Applied,
    /// It may have happened, or may show after a restart.
    Unknown,
}

/// Why a request was not done.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A key of no bytes. Nothing was done; give the key a name.
    #[error("the key is empty")]
    EmptyKey,

    /// The key is too long. Nothing was done.
    #[error("key of {len} bytes; the limit is {limit}")]
    KeyTooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },

    /// The value is too long. Nothing was done; the limit is the namespace's or the node's.
    #[error("value of {len} bytes; the limit is {limit}")]
    ValueTooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },

    /// The content type is too long, or not printable ASCII. Nothing was done.
    #[error("a content type is at most {limit} bytes of printable ASCII")]
    InvalidContentType {
        /// The limit in bytes.
        limit: usize,
    },

    /// The time to live is not one. Nothing was done.
    #[error("a time to live of {seconds} s; it must be from 1 to {limit} s")]
    InvalidTtl {
        /// What was asked for.
        seconds: i64,
        /// The longest.
        limit: i64,
    },

    /// The causal context was not given out for this key. Nothing was done; read the key again.
    #[error(transparent)]
    InvalidContext(#[from] ContextError),

    /// No such namespace, or it was dropped. Nothing was done.
    #[error("there is no namespace {name:?}")]
    NoSuchNamespace {
        /// Its name.
        name: String,
    },

    /// The disk failed while the namespace was dropped. Nothing was done; whether it is gone shows
    /// when the store is opened again.
    #[error(
        "the disk failed while namespace {name:?} was dropped; open the store again to see whether it is gone"
    )]
    NamespaceInDoubt {
        /// Its name.
        name: String,
    },

    /// A namespace of that name exists. Nothing was done.
    #[error("namespace {name:?} exists already")]
    NamespaceExists {
        /// Its name.
        name: String,
    },

    /// The name does not fit. Nothing was done.
    #[error(
        "{name:?} is no name for a namespace: 1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit"
    )]
    InvalidNamespaceName {
        /// What was asked for.
        name: String,
    },

    /// The default namespace stays. Nothing was done.
    #[error("the default namespace cannot be dropped")]
    DefaultNamespace,

    /// Every id that a namespace can have was used up. Nothing was done.
    #[error("no namespace can be created any more: all 4 billion ids were used")]
    NamespacesExhausted,

    /// The node has as many namespaces as it may. Nothing was done; drop one, or have the limit raised.
    #[error("the node has {count} namespaces; it may have {limit}")]
    TooManyNamespaces {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },

    /// The policy asks for what this node cannot keep. Nothing was done.
    #[error("policy {field}: {why}")]
    UnsupportedPolicy {
        /// The policy's field.
        field: &'static str,
        /// Why not, and what works.
        why: &'static str,
    },

    /// The range ends before it starts. Nothing was done.
    #[error("the range's start lies behind its end")]
    InvertedRange,

    /// Too many or too few results asked for. Nothing was done.
    #[error("a page of {limit} entries; it must be from 1 to {limit_max}")]
    InvalidLimit {
        /// What was asked for.
        limit: usize,
        /// The most.
        limit_max: usize,
    },

    /// The cursor is not one of this scan. Nothing was done; begin the scan anew.
    #[error(transparent)]
    InvalidCursor(#[from] CursorError),

    /// Too many items in one batch. Nothing was done; send fewer at a time.
    #[error("batch of {items} items; the limit is {limit}")]
    BatchTooLarge {
        /// How many came.
        items: usize,
        /// The limit.
        limit: usize,
    },

    /// The batch's writes to one partition are too long to be applied together. Nothing was done;
    /// send fewer at a time.
    #[error("the batch writes {len} bytes to the partition of this key; the limit is {limit}")]
    BatchTooLong {
        /// Their length in bytes, with what the log adds.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },

    /// This item of a batch was not looked at. Nothing was done; send it again as it is.
    #[error("the item was not processed; send it again")]
    Unprocessed,

    /// The namespace is over its rate. Nothing was done; send it again after the time.
    #[error("namespace {name:?} may make {limit} requests a second")]
    RateLimited {
        /// The namespace.
        name: String,
        /// Its rate.
        limit: u64,
        /// When the next request may pass.
        retry_after: Duration,
    },

    /// The namespace has as many bytes as it may. Nothing was done; reads and deletes go on, and puts
    /// once enough was deleted and cleaned up.
    #[error("namespace {name:?} holds about {bytes} bytes; it may hold {limit}")]
    QuotaExceeded {
        /// The namespace.
        name: String,
        /// What it holds, roughly.
        bytes: u64,
        /// What it may hold.
        limit: u64,
    },

    /// A stored record cannot be read. Other keys can; `verify` says more.
    #[error("a record of partition {partition} is damaged: {cause}")]
    DamagedRecord {
        /// Where it lies.
        partition: PartitionId,
        /// What is wrong with it.
        cause: RecordError,
    },

    /// The engine did not do it; see there for each cause.
    #[error(transparent)]
    Engine(#[from] lsm::Error),
}

impl NodeError {
    /// What became of a write that was answered with this.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            // Had a record of it been begun, this would be OutcomeUnknown.
            Self::Engine(error) if error.is_disk_full() => Outcome::NotApplied,
            Self::Engine(lsm::Error::OutcomeUnknown { .. } | lsm::Error::Io { .. }) => {
                Outcome::Unknown
            }
            _ => Outcome::NotApplied,
        }
    }

    /// How long to wait before the same request, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether the same request may succeed later, with nothing else changed.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unprocessed | Self::RateLimited { .. } => true,
            Self::Engine(lsm::Error::Stalled | lsm::Error::Blocked { .. }) => true,
            Self::Engine(error) => error.is_disk_full(),
            _ => false,
        }
    }
}

/// Why a node does not come up. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The engine does not open the directory.
    #[error(transparent)]
    Engine(#[from] lsm::Error),

    /// The directory holds a store that no node made.
    #[error("{} holds a store of something else, not of a Ringwood node", path.display())]
    NotANode {
        /// The directory.
        path: PathBuf,
    },

    /// The directory belongs to a newer version.
    #[error(
        "{} was written by a newer version (node format {found}, this build reads {supported})",
        path.display()
    )]
    UnsupportedFormat {
        /// The directory.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest that is read.
        supported: u32,
    },

    /// The cluster was made with another number of partitions; it cannot be changed.
    #[error(
        "this store has {stored} partitions, fixed when it was made; the configuration asks for {asked}"
    )]
    PartitionsMismatch {
        /// What the store has.
        stored: PartitionCount,
        /// What the configuration asks for.
        asked: PartitionCount,
    },

    /// What the node wrote about itself cannot be read.
    #[error("the node's own record {record:?} is damaged")]
    DamagedSystemRecord {
        /// Its key in the system keyspace.
        record: String,
    },

    /// An option's value cannot work.
    #[error("option {option}: {why}")]
    InvalidOption {
        /// Its name.
        option: &'static str,
        /// What is wrong and what would do.
        why: &'static str,
    },
}
