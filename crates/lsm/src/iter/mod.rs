//! Cursors over many sources.
mod level;
mod merge;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use level::{LevelCursor, Run};
pub(crate) use merge::MergeCursor;
