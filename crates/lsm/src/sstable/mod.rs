//! Sorted string tables: immutable files of entries in order.
//!
//! [`mod@format`] frames and checks every block; [`block`], [`index`], [`filter`], [`properties`] and
//! [`tombstones`] say what is in them. [`writer`] puts them together, [`reader`] and [`cursor`] find
//! entries, [`verify`] walks everything, and [`mod@salvage`] saves what a damaged file still has.
//!
//! *Invariants*
//! - `table-1`: entries are in the order of their internal keys, none twice.
//! - `table-2`: a separator is at or behind every key of its block and before every key of the
//!   next, so a point read needs one data block.
//! - `table-3`: the filter and the hash indexes know every user key.
//! - `table-4`: blocks lie side by side from the header to the footer.

mod block;
mod codec;
mod cursor;
mod file;
mod filter;
mod format;
mod index;
mod meta;
mod payload;
mod properties;
mod reader;
mod salvage;
mod spread;
mod tombstones;
mod verify;
mod writer;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
#[cfg(not(shuttle))]
mod tests;

pub(crate) use block::Block;
pub(crate) use cursor::TableCursor;
pub(crate) use filter::filter_hash;
pub(crate) use format::BlockKind;
pub(crate) use meta::{TableMeta, TableOwner};
pub(crate) use reader::TableReader;
pub(crate) use salvage::{LostBytes, Salvaged, salvage};
pub(crate) use spread::{Expiring, Spread};
pub(crate) use writer::{TableOptions, TableWriter};
