//! This node's keys in its engine, and the versions that its writes have.
//!
//! How to read it: `partition_store` is the one module that knows how keys lie in the engine, an
//! [`Entry`] is a value as it was found there, and `mint` gives writes their versions.

mod arrival;
mod entry;
mod mint;
mod partition_store;
mod seen;

pub(crate) use arrival::{Arrival, Arrived, NotTaken};
pub use entry::Entry;
pub(crate) use mint::{Mint, take_time_back};
pub(crate) use partition_store::{
    Change, PREFIX_LEN, PartitionStore, StoredKey, Write, Written, split,
};
