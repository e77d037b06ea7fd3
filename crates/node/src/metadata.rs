//! This node as a member of the group that decides what the cluster is.
//!
//! How to read it: `log` is where the group's log lies in the engine.

mod log;

pub use log::MetadataLog;
