//! One order over all partitions.
//!
//! How to read it: `bounds` says which keys a scan wants, a [`Merge`] finds them in their order, and
//! is `parked` between two pages.

mod bounds;
mod merge;
mod parked;

pub(crate) use bounds::Bounds;
pub(crate) use merge::Merge;
pub(crate) use parked::Parked;
