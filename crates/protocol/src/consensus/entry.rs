//! What stands in the log, and what may stand in its place.

use alloc::sync::Arc;

use super::index::{Index, Term};
use super::membership::Members;

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing: a new leader's first entry.
    Empty,
    /// A command, as it was proposed.
    Data(Arc<[u8]>),
    /// From here on these are the members.
    Change(Members),
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Where it stands.
    pub index: Index,
    /// The term of the leader that wrote it.
    pub term: Term,
    /// What it holds.
    pub payload: Payload,
}

/// The state behind an index, in place of the entries up to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The last entry in it.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// The members behind it.
    pub members: Members,
    /// The state, in the caller's encoding.
    pub state: Arc<[u8]>,
}
