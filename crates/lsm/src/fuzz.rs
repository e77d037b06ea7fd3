//! What fuzz targets call: the parsers of files, which are no part of the interface.

use std::path::Path;
use std::sync::OnceLock;

/// Reads arbitrary bytes as a manifest: an error or a state that can be written and read again.
pub fn manifest(bytes: &[u8]) {
    crate::manifest::fuzz::file(Path::new("MANIFEST-000001"), bytes);
}

/// As [`manifest`], of whole records (each a length of two bytes and its edits), so that what lies
/// behind the checksums is tried too.
pub fn manifest_records(bytes: &[u8]) {
    crate::manifest::fuzz::records(Path::new("MANIFEST-000001"), bytes);
}

/// Reads arbitrary bytes as `CURRENT`: an error, or the one way to write what it says.
pub fn current(bytes: &[u8]) {
    crate::manifest::fuzz::current(Path::new("CURRENT"), bytes);
}

/// Replays arbitrary bytes as the frames of a log segment: an error, or groups without a gap.
pub fn log_segment(bytes: &[u8]) {
    crate::wal::fuzz::fuzz_log_segment(bytes);
}

/// Reads arbitrary bytes as the first page of a log segment: an error, or what gives them back.
pub fn log_header(bytes: &[u8]) {
    crate::wal::fuzz::fuzz_log_header(bytes);
}

/// Reads arbitrary bytes as a batch: an error, or changes that make the same batch again.
pub fn batch(bytes: &[u8]) {
    crate::batch::fuzz_read(bytes);
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
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    let sound = SOUND.get_or_init(|| crate::sstable::fuzz::small_table(crate::Compression::Lz4));
    crate::sstable::fuzz::edited_table(sound, edits);
}
