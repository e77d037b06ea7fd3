//! One request, over the replicas of its partition.
//!
//! [`replicas`] says who they are, and [`quorum`] how many answers are enough.

pub mod quorum;
pub mod replicas;

pub use quorum::{Impossible, Level, ReadQuorum, WriteQuorum};
pub use replicas::{Members, NoReplicaSet, Nodes, Part, REPLICAS_MAX, Replica, ReplicaSet, Stage};
