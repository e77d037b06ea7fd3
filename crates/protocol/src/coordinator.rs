//! One request, over the replicas of its partition: a value that the task of the request owns, drives
//! and drops.
//!
//! [`replicas`] says who they are, [`quorum`] how many answers are enough, [`Failure`] why one does not
//! come. [`write`](mod@write) is the machine of a write.

mod failure;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
pub mod quorum;
pub mod replicas;
pub mod write;

pub use failure::{Failure, Health};
pub use quorum::{Impossible, Level, ReadQuorum, WriteQuorum};
pub use replicas::{Members, NoReplicaSet, Nodes, Part, REPLICAS_MAX, Replica, ReplicaSet, Stage};
pub use write::Write;
