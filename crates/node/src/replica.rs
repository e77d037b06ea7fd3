//! This node as one of the replicas of a partition: what coordinators ask of it.
//!
//! How to read it: `message` is what is asked and answered, `serve` is how, `encode` is how it travels.

mod encode;
mod message;
mod serve;

pub use message::{Found, Payload, PeerReply, PeerRequest, ReplicaRequest};
pub use serve::{Deferred, Serving};
