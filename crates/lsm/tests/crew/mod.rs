//! Threads that work on one store at the same time, and what they hold it to.
//!
//! - T1: a writer, alone with its keys, sees them as its own model has them.
//! - T2: every moment that anybody is shown holds the first so many batches of each writer, whole,
//!   over all keyspaces: none missing that was acknowledged before, none there that was not begun.
//! - T3: a snapshot goes on showing what all models had when it was taken.
//! - T4: what a restart leaves is what was there.

pub mod check;
pub mod keeper;
pub mod reader;
pub mod site;
pub mod writer;
