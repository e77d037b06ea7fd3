//! Agreement on one order of commands among a few nodes: a small Raft (Ongaro and Ousterhout, 2014),
//! with pre-vote, check-quorum, learners, joint changes, snapshots, transfer and read-index.
//!
//! A [`Group`] is one member. It is driven through [`Input`]s and [`Effect`]s; [`seam`] says what
//! each means, and `encode` how messages stand in bytes. Inside, `log` holds entries, `membership` who
//! counts, and `group` is the machine, with a file for elections, replication, snapshots, reads and
//! changes each.
//!
//! # Order
//! 1. A [`Persist`] is one atomic batch; batches become durable in the order they are emitted, and
//!    [`Input::Persisted`] covers all up to its number.
//! 2. Whatever promises something (a vote, an answer to an append, the request for a vote) rides in
//!    [`Persist::then_send`].
//! 3. No message of a term leaves before that term is durable.
//! 4. A leader's own copy, and a candidate's own vote, count only at [`Input::Persisted`].
//! 5. [`Effect::Apply`] holds only what is committed *and* durable here; whoever applies it writes
//!    state and applied index in one batch.
//!
//! # Invariants
//! - `raft-1`: a term has at most one leader.
//! - `raft-2`: what is committed at an index is the same entry everywhere, for ever.
//! - `raft-3`: a leader commits an entry of its own term by counting copies, and earlier ones only
//!   through it.
//! - `raft-4`: members change by one voter at a time or jointly, one change after the other, and the
//!   first of a term only behind a commit of that term.
//! - `raft-5`: a read shows everything that was committed before it was asked; no clock vouches for it.
//! - `raft-6`: a proposal is applied at most once; its outcome is said truly, or to be unknown.
//!
//! *Not here*: sockets, the log's place on a disk, retries (a proposal that is refused was
//! not appended; who repeats one of unknown outcome needs an id inside it), rest for idle groups.

mod encode;
mod entry;
mod group;
mod index;
mod log;
mod membership;
mod message;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
pub mod seam;

pub use entry::{Entry, Payload, Snapshot};
pub use group::Group;
pub use index::{Index, Term};
pub use membership::{Change, Members};
pub use message::{Body, Message, ReadId, Round};
pub use seam::{
    DamagedLog, Effect, HardState, Input, Outcome, Persist, ProposalId, Role, Status, Stored,
    Tuning,
};
