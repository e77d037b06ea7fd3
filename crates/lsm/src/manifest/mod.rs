//! Which tables and logs exist: the one truth about a store's files.
//!
//! An [`Edit`] is one change to that truth and [`State`] what a sequence of them adds up to.
//! [`Manifest`] keeps them on disk. A [`Version`] is the immutable picture of one keyspace's tables
//! that readers hold; a [`Table`] knows its bounds and opens its file when first needed.

mod current;
mod edit;
mod frame;
mod log;
mod run;
mod state;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod version;

pub(crate) use edit::Edit;
#[cfg(fuzzing)]
pub(crate) use log::fuzz;
pub(crate) use log::{Manifest, Reading, behind_all};
pub(crate) use state::{KeyspaceState, LogPart, State};
pub(crate) use table::{ObsoleteFiles, Table};
pub(crate) use version::{Version, end_of};

/// Levels of a keyspace: L0, where flushes go, to L6, the lowest.
pub(crate) const LEVELS: usize = 7;
/// The lowest level.
pub(crate) const BOTTOM: usize = LEVELS - 1;

/// Format of the manifest, and with it of the whole directory.
pub(crate) const FORMAT_VERSION: u32 = 1;
