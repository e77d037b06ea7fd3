//! One request, over the replicas of its partition: a value that the task of the request owns, drives
//! and drops.
//!
//! [`replicas`] says who they are, [`Standing`] how they are, [`quorum`] how many answers are enough,
//! [`Failure`] why one does not come. [`write`](mod@write) and [`read`] are the machines, [`batch`] goes over
//! many writes.

pub mod batch;
mod failure;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
pub mod quorum;
pub mod read;
mod standing;
pub mod write;

use crate::replicas;

pub use batch::Batch;
pub use failure::Failure;
pub use quorum::{Impossible, Level, ReadQuorum, WriteQuorum};
pub use read::Read;
pub use replicas::{Members, NoReplicaSet, Nodes, Part, REPLICAS_MAX, Replica, ReplicaSet, Stage};
pub use standing::{Attempt, Health, Standing};
pub use write::Write;
