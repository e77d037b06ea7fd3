//! Keeping levels in shape: which tables are rewritten, and the rewriting.
//!
//! [`shape`] says how large each level should be, how far behind it is and how far writes must be
//! held back for it; [`policy`] picks what to do next ([`l0`] where L0 is concerned). Both are pure:
//! they look at a version and say what they would do, as a [`CompactionPlan`].
//!
//! [`job`] rewrites tables, [`retain`] says which entries are kept, and [`output`] where the new
//! tables end.

pub(crate) mod files;
pub(crate) mod job;
mod l0;
pub(crate) mod output;
mod plan;
mod policy;
pub(crate) mod retain;
mod shape;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use plan::{CompactionKind, CompactionPlan, InProgress, JobId};
pub(crate) use policy::{ManualCompaction, ManualStep, Picker};
pub(crate) use shape::{WritePressure, debt, pressure};
