//! What the metadata group decides: who the nodes are, and which of them hold what.
//!
//! Read in this order: [`placement`] computes which node should hold which partition.

pub mod placement;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
