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
