//! Sorted string tables: immutable files of entries in order.

mod meta;

pub(crate) use meta::TableMeta;
