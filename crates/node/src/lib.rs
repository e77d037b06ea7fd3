//! One Ringwood node: namespaces and partitions over the storage engine.
//!
//! How to read it: [`Node::open`] (in `node`) brings a node up; [`Node::step`] (in `step`) takes a
//! [`Request`] and says how its answer comes: at once from memory, with a write's durability, or
//! from a thread that may wait for the disk. Below, `catalog` holds the namespaces and their
//! [`Policy`], `partition_store` is the one module that knows how keys lie in the engine, `mint`
//! gives writes their versions, `scan` merges partitions into one order and `parked` keeps such a
//! merge warm for the next page of its `cursor`.
//!
//! Time is an argument: read [`Node::now`] once per request, or batch of requests.

mod batch;
mod catalog;
mod config;
mod cursor;
mod entry;
mod error;
mod identity;
mod mint;
mod node;
mod parked;
mod partition_store;
mod policy;
mod request;
mod scan;
mod statistics;
mod step;

pub use catalog::{DEFAULT_NAMESPACE, Namespace};
pub use config::NodeConfig;
pub use cursor::CursorError;
pub use entry::Entry;
pub use error::{NodeError, OpenError, Outcome};
pub use identity::Identity;
pub use node::Node;
pub use policy::{ConflictPolicy, Mode, Policy, PolicyChange};
pub use request::{
    BatchItem, KeyReply, Page, PageEntry, Put, Reply, Request, Scan, TTL_SECONDS_MAX, Ttl,
};
pub use ringwood_lsm::Durability;
pub use ringwood_types::Routing;
pub use statistics::NodeStatistics;
pub use step::{Blocking, Persisting, Step};

/// Longest key in bytes.
pub const KEY_LEN_MAX: usize = 64 << 10;

const _: () = assert!(KEY_LEN_MAX + partition_store::PREFIX_LEN <= ringwood_lsm::MAX_KEY_LEN);
