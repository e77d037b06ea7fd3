//! What the metadata group decides: who the nodes are, which of them hold what, and which namespaces
//! there are.
//!
//! Read in this order: [`placement`] computes which node should hold which partition; `model` is what
//! is known, [`command`] how it changes, and [`Topology`] the state machine that
//! the entries of the group's log are applied to; [`Plan`] says what would move, and [`View`] is what
//! the data path sees.
//!
//! # Invariants
//! Numbered as in the design.
//! - `topology-3`: epochs never go back; a partition's is that of its last change, and replicas fence by
//!   it.
//! - `topology-4`: a partition has one transition at most; what was done for another one, or for an
//!   earlier stint of its joiner, has no effect.
//! - `topology-6`: a partition's replicas are on distinct nodes; what is short of the replicas or zones
//!   that it should have is reported.
//! - `topology-20`: nodes go from state to state along legal edges only, and only by committed commands.
//! - `topology-21`: no command takes away the last whole replica of a partition; a disk may, and a person
//!   may say that it has.
//! - `topology-26`: an incarnation is one stint of one disk as a replica of one partition; none is issued
//!   twice, and a disk that has lost anything gets another one.
//!
//! *Not here*: agreement on the order of commands ([`consensus`](crate::consensus)), who is healthy, and
//! who proposes what when.

pub mod command;
mod encode;
mod memory;
mod model;
pub mod placement;
mod plan;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
mod state;
mod view;

pub use command::{
    Applied, Command, CommandId, NewNode, NodeChange, Outcome, Refused, Request, Wanted, Witness,
};
pub use encode::Unreadable;
pub use memory::REMEMBERED_MAX;
pub use model::{
    Gone, GoneStage, Namespace, Node, NodeState, Partition, REPLICAS_MAX, Replica, Settings, Stage,
    Transition, majority,
};
pub use plan::{Load, Move, Plan, Why};
pub use state::{DEFAULT_NAMESPACE, Origin, Topology, Violation};
pub use view::{View, ViewNode};
