//! What a node is asked, and what it answers.

use std::sync::Arc;

use bytes::Bytes;
use ringwood_env::UnixMillis;
use ringwood_lsm::Durability;
use ringwood_types::{ContextToken, Version};

use crate::error::NodeError;
use crate::namespace::Namespace;
use crate::store::{Entry, Written};

/// A request to [`Node::step`](crate::Node::step).
#[derive(Clone, Debug)]
pub enum Request {
    /// A key's value. Answered by [`KeyReply::Entry`] or [`KeyReply::Missing`].
    Get {
        /// Where; see [`Node::namespace`](crate::Node::namespace).
        namespace: Arc<Namespace>,
        /// The key.
        key: Bytes,
    },
    /// As [`Request::Get`], by someone who only wants to know about the value.
    Head {
        /// Where.
        namespace: Arc<Namespace>,
        /// The key.
        key: Bytes,
    },
    /// Sets a key. Answered by [`KeyReply::Stored`].
    Put {
        /// Where.
        namespace: Arc<Namespace>,
        /// What.
        put: Put,
        /// When it is acknowledged. `None`: as the namespace says.
        durability: Option<Durability>,
    },
    /// Removes a key, whether it is there or not. Answered by [`KeyReply::Deleted`].
    Delete {
        /// Where.
        namespace: Arc<Namespace>,
        /// The key.
        key: Bytes,
        /// The causal context of the value to remove, as it was read.
        context: Option<String>,
        /// When it is acknowledged. `None`: as the namespace says.
        durability: Option<Durability>,
    },
    /// A page of a range. Answered by [`Reply::Page`].
    Scan {
        /// Where.
        namespace: Arc<Namespace>,
        /// Which range.
        scan: Scan,
    },
    /// Several items, each with a result of its own. Answered by [`Reply::Batch`].
    ///
    /// Items take effect in their order. Writes to one partition that are taken at all are applied
    /// together or not at all; those to different partitions may be cut apart.
    Batch {
        /// Where.
        namespace: Arc<Namespace>,
        /// The items.
        items: Vec<BatchItem>,
        /// When the writes are acknowledged. `None`: as the namespace says.
        durability: Option<Durability>,
    },
}

impl Request {
    /// Which namespace it is about.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        match self {
            Self::Get { namespace, .. }
            | Self::Head { namespace, .. }
            | Self::Put { namespace, .. }
            | Self::Delete { namespace, .. }
            | Self::Scan { namespace, .. }
            | Self::Batch { namespace, .. } => namespace,
        }
    }

    /// What it counts against its namespace's rate.
    pub(crate) fn cost(&self) -> u64 {
        match self {
            Self::Batch { items, .. } => items.len().max(1) as u64,
            _ => 1,
        }
    }
}

/// What to set a key to.
#[derive(Clone, Debug, Default)]
pub struct Put {
    /// The key.
    pub key: Bytes,
    /// The bytes.
    pub value: Bytes,
    /// What the bytes are, as in HTTP.
    pub content_type: Option<String>,
    /// How long the value lives.
    pub ttl: Ttl,
    /// The causal context of what is replaced, as it was read. It must fit the key; as this
    /// namespace keeps one version, it changes nothing else.
    pub context: Option<String>,
}

/// How long a value lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// As the namespace says.
    #[default]
    Default,
    /// For ever.
    Never,
    /// So many seconds, from 1 to [`TTL_SECONDS_MAX`](crate::TTL_SECONDS_MAX).
    Seconds(i64),
}

/// One item of a [`Request::Batch`].
#[derive(Clone, Debug)]
pub enum BatchItem {
    /// As [`Request::Get`].
    Get {
        /// The key.
        key: Bytes,
    },
    /// As [`Request::Put`].
    Put(Put),
    /// As [`Request::Delete`].
    Delete {
        /// The key.
        key: Bytes,
        /// As in [`Request::Delete`].
        context: Option<String>,
    },
}

/// Which part of a namespace to list. Keys are in byte order.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// First key; `None`: from the beginning.
    pub start: Option<Bytes>,
    /// The key before which the range ends; `None`: to the end.
    pub end: Option<Bytes>,
    /// Only keys that begin like this.
    pub prefix: Option<Bytes>,
    /// Most entries in the page.
    pub limit: usize,
    /// From the end to the start.
    pub reverse: bool,
    /// Leave the values out.
    pub keys_only: bool,
    /// The page ends when its keys and values are longer than this, or than the node's limit, in bytes.
    pub len_max: Option<usize>,
    /// Where the page before ended: go on behind it. The range must be the same.
    pub cursor: Option<String>,
}

/// What a node answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// About one key.
    Key(KeyReply),
    /// Part of a range.
    Page(Page),
    /// About each item of a batch, in their order.
    Batch(Vec<Result<KeyReply, NodeError>>),
}

/// What a node answers about one key.
#[derive(Clone, Debug)]
pub enum KeyReply {
    /// It has this value.
    Entry(Entry),
    /// It has no value.
    Missing,
    /// It was set.
    Stored {
        /// Which write it is.
        version: Version,
        /// The causal context to send with what replaces it.
        context: ContextToken,
        /// When the value expires.
        deadline: Option<UnixMillis>,
    },
    /// It has no value any more.
    Deleted {
        /// Which write that was.
        version: Version,
    },
}

impl KeyReply {
    /// What a write is answered with.
    pub(crate) fn of_write(namespace: &Namespace, written: &Written) -> Self {
        match *written {
            Written::Put {
                version,
                partition,
                deadline,
            } => Self::Stored {
                version,
                context: ContextToken::new(namespace.id(), partition, version.dot),
                deadline,
            },
            Written::Deleted { version } => Self::Deleted { version },
        }
    }
}

/// A page of a range.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What was found, in order.
    pub entries: Vec<PageEntry>,
    /// Where to go on; `None`: this was the last page.
    pub cursor: Option<String>,
}

/// A page of the namespaces.
#[derive(Clone, Debug)]
pub struct NamespacePage {
    /// In the order of their names.
    pub namespaces: Vec<Arc<Namespace>>,
    /// Where to go on; `None`: this was the last page.
    pub cursor: Option<String>,
}

/// A key of a page.
#[derive(Clone, Debug)]
pub struct PageEntry {
    /// The key.
    pub key: Bytes,
    /// Its value; `None` where only keys were asked for.
    pub entry: Option<Entry>,
}
