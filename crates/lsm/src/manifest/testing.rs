//! Tables without files, for tests of what looks only at their bounds and ages.

use std::sync::Arc;

use crate::files::FileNumber;
use crate::key::{InternalKey, Kind, SeqNo};
use crate::manifest::table::{ObsoleteFiles, Table};
use crate::sstable::TableMeta;

/// A description with these bounds and ages and nothing else of interest.
pub(crate) fn meta(number: u64, bounds: [&[u8]; 2], seqs: [u64; 2]) -> TableMeta {
    let [first_seq, last_seq] = seqs.map(SeqNo::new);
    TableMeta {
        number: FileNumber::new(number),
        len: 1000,
        smallest: InternalKey::new(bounds[0], last_seq, Kind::Put).to_vec(),
        largest: InternalKey::new(bounds[1], first_seq, Kind::Put).to_vec(),
        first_seq,
        last_seq,
        entries: 10,
        deletes: 0,
        range_deletes: 0,
        deadlines: None,
        spread: Default::default(),
        raw_key_len: 100,
        raw_value_len: 900,
        created_at_ms: 0,
    }
}

/// A table of numbers as keys.
pub(crate) fn table(number: u64, bounds: [u32; 2], seqs: [u64; 2]) -> Arc<Table> {
    let [from, to] = bounds.map(u32::to_be_bytes);
    of(meta(number, [&from, &to], seqs))
}

pub(crate) fn of(meta: TableMeta) -> Arc<Table> {
    Table::new(Arc::new(meta), Arc::new(ObsoleteFiles::default()))
}
