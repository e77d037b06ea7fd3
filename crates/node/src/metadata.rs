//! This node as a member of the group that decides what the cluster is.
//!
//! How to read it: `log` is where the group's log lies in the engine; [`Metadata`] (in `member`) puts the
//! consensus of `ringwood_protocol`, that log and the topology together.

mod log;
mod member;

pub use log::MetadataLog;
pub use member::{Decided, Effect, Input, Metadata};
