//! One Ringwood node: namespaces and partitions over the storage engine.
//!
//! How to read it: [`Node::open`] (in `node`) brings a node up; [`Node::step`] (in `step`) takes a
//! [`Request`] and says how its answer comes: at once from memory, when a write is durable
//! (`persisting`), or from a thread that may wait for the disk. `batch` and `scan` do what is more than
//! one key; a scan is a `merge` of partitions within its `bounds`, `parked` between two pages of its
//! `cursor`. Below, `catalog` holds the namespaces and their [`Policy`], `partition_store` is the one
//! module that knows how keys lie in the engine, and `mint` gives writes their versions; `quota` counts
//! what a namespace takes.
//!
//! Time is an argument: read [`Node::now`] once per request, or batch of requests.

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;

mod step;
mod user_key;

mod batch;
mod check;
mod persisting;
mod scan;

mod node;

mod catalog;
mod identity;
mod merge;
mod parked;

mod bounds;
mod cursor;
mod mint;
mod partition_store;

mod config;
mod entry;
mod error;
mod limits;
mod namespace;
mod policy;
mod quota;
mod request;
mod reset_clock;
mod rest;
mod statistics;

pub use catalog::DEFAULT_NAMESPACE;
pub use config::NodeConfig;
pub use cursor::CursorError;
pub use entry::Entry;
pub use error::{NodeError, OpenError, Outcome};
pub use identity::Identity;
pub use limits::KEY_LEN_MAX;
pub use namespace::Namespace;
pub use node::Node;
pub use persisting::Persisting;
pub use policy::{ConflictPolicy, Mode, Policy, PolicyChange, TTL_SECONDS_MAX};
pub use request::{
    BatchItem, KeyReply, NamespacePage, Page, PageEntry, Put, Reply, Request, Scan, Ttl,
};
pub use reset_clock::reset_clock;
pub use ringwood_lsm::Durability;
pub use ringwood_types::Routing;
pub use statistics::NodeStatistics;
pub use step::{Blocking, Step};
pub use user_key::{UserKey, UserKeys};
