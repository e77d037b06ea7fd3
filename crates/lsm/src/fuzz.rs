//! What fuzz targets call: the parsers of files, which are no part of the interface.

use std::path::Path;

/// Reads arbitrary bytes as a manifest: an error or a state that can be written and read again.
pub fn manifest(bytes: &[u8]) {
    crate::manifest::fuzz_decode(Path::new("MANIFEST-000001"), bytes);
}
