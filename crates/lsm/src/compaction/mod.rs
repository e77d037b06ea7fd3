//! Keeps levels in shape: [`job`] rewrites tables, [`retain`] says which entries are kept, and
//! [`output`] where the new tables, which are [`files`], end.

pub(crate) mod files;
pub(crate) mod job;
pub(crate) mod output;
pub(crate) mod retain;
#[cfg(test)]
pub(crate) mod testing;
