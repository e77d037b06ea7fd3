//! The nouns of Ringwood: ids, the ring, versions, hybrid time and the stored record.
//!
//! Read in this order: [`id`] names things; [`ring`] says which partition a key belongs to;
//! [`dot`] and [`version`] say which write is meant and what it replaces, [`clock`] which writes were
//! seen, [`past`] which of one key; [`hlc`] is the time that last-write-wins compares; [`object`] is what a
//! key holds, and [`record`] how it lies in the store; [`context`] is how versions travel through a client and
//! back; [`bytes`] is what all that is encoded, is encoded with.
//!
//! Nothing here does I/O, reads a clock or draws a random number; everything that parses bytes is
//! total: any input gives a value or an error.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bytes;
pub mod clock;
pub mod context;
pub mod dot;
pub mod hlc;
pub mod id;
pub mod object;
pub mod past;
pub mod record;
pub mod ring;
pub mod version;

pub use bytes::hexadecimal;
pub use clock::Clock;
pub use context::{Context, ContextError, ContextToken};
pub use dot::{Dot, Incarnation};
pub use hlc::{Hlc, HybridClock, SkewTooLarge};
pub use id::{ClusterId, Epoch, NamespaceId, NodeId, PartitionId};
pub use object::{Kind, Object, Sibling};
pub use past::Past;
pub use record::{Record, RecordError, RecordHead};
pub use ring::{PartitionCount, Ring, Routing};
pub use version::{Version, VersionVector};
