//! What fuzz targets call: the parsers of files, which are no part of the interface.

use std::path::Path;

/// Reads arbitrary bytes as a manifest: an error or a state that can be written and read again.
pub fn manifest(bytes: &[u8]) {
    crate::manifest::fuzz_decode(Path::new("MANIFEST-000001"), bytes);
}

/// Replays arbitrary bytes as the frames of a log segment: an error, or groups without a gap.
pub fn log_segment(bytes: &[u8]) {
    crate::wal::fuzz::fuzz_log_segment(bytes);
}

/// Reads arbitrary bytes as a table: an error or any answers.
pub fn table(bytes: &[u8]) {
    crate::sstable::fuzz::table(bytes);
}

/// Reads arbitrary bytes as the payload of a table's block, of every kind.
pub fn table_block(bytes: &[u8]) {
    crate::sstable::fuzz::payload(bytes);
}

/// Edits a small table as `edits` say, makes its checksums match again, and reads it: an error or any
/// answers.
pub fn table_edited(edits: &[u8]) {
    let sound = crate::sstable::fuzz::small_table(crate::Compression::Lz4);
    crate::sstable::fuzz::edited_table(&sound, edits);
}
