//! One Ringwood node: namespaces and partitions over the storage engine.
//!
//! How to read it: [`Node::open`] (in `node`) brings a node up; [`Node::step`] (in `step`) takes a
//! [`Request`] and says how its answer comes: at once from memory, when a write is durable
//! (`persisting`), or from a thread that may wait for the disk. `batch` and `page` do what is more than
//! one key. Three rooms lie below: `scan` finds keys in one order over all partitions, `namespace` is
//! what a tenant was promised and what it has taken of it, and `store` is how keys lie in the engine
//! and which versions they have. `catalog` holds the namespaces.
//!
//! Time is an argument: read [`Node::now`] once per request, or batch of requests.

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;

mod step;
mod user_key;

mod batch;
mod check;
mod coordinate;
mod page;
mod persisting;
mod replica;

mod node;

mod catalog;
mod identity;
mod metadata;
mod reset_clock;
mod scan;

mod request;
mod store;

mod config;
mod cursor;
mod error;
mod limits;
mod namespace;
mod rest;
mod statistics;

pub use catalog::DEFAULT_NAMESPACE;
pub use config::{Fixed, NodeConfig};
pub use coordinate::{Coordinate, Effect, KeyState, ReadOf, Tag, WriteOf};
pub use cursor::CursorError;
pub use error::{NodeError, OpenError, Outcome};
pub use identity::Identity;
pub use limits::KEY_LEN_MAX;
pub use metadata::{
    Decided, Effect as MetadataEffect, Input as MetadataInput, Metadata, MetadataLog,
};
pub use namespace::{ConflictPolicy, Mode, Namespace, Policy, PolicyChange, TTL_SECONDS_MAX};
pub use node::Node;
pub use persisting::Persisting;
pub use replica::{Deferred, Found, Payload, PeerReply, PeerRequest, ReplicaRequest, Serving};
pub use request::{
    BatchItem, KeyReply, NamespacePage, Page, PageEntry, Put, Reply, Request, Scan, Ttl,
};
pub use reset_clock::reset_clock;
pub use ringwood_lsm::Durability;
pub use ringwood_types::Routing;
pub use statistics::NodeStatistics;
pub use step::{Blocking, Step};
pub use store::Entry;
pub use user_key::{UserKey, UserKeys};
