//! Compression of block payloads.

use std::cell::RefCell;

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use super::format::{COMPRESSED_RAW_LEN_MAX, Encoding, Malformed};
use crate::options::Compression;

/// Compresses one payload after another with one set of buffers.
pub(super) struct Compressor {
    method: Method,
    compressed: Vec<u8>,
}

enum Method {
    None,
    Lz4(CompressTable),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Compressor {
    pub(super) fn new(compression: Compression) -> Self {
        let method = match compression {
            Compression::None => Method::None,
            Compression::Lz4 => Method::Lz4(CompressTable::default()),
            Compression::Zstd(level) => Method::Zstd(
                zstd::bulk::Compressor::new(i32::from(level))
                    .expect("levels are checked with the options"),
            ),
        };
        Self {
            method,
            compressed: Vec::new(),
        }
    }

    /// How to store `raw`: compressed, or as it is where that saves less than an eighth, so that a
    /// read does not pay for nothing.
    pub(super) fn compress<'a>(&'a mut self, raw: &'a [u8]) -> (Encoding, &'a [u8]) {
        if raw.len() > COMPRESSED_RAW_LEN_MAX {
            return (Encoding::Raw, raw);
        }
        let out = &mut self.compressed;
        let (encoding, len) = match &mut self.method {
            Method::None => return (Encoding::Raw, raw),
            Method::Lz4(table) => {
                let bound = get_maximum_output_size(raw.len());
                if out.len() < bound {
                    out.resize(bound, 0);
                }
                (
                    Encoding::Lz4,
                    compress_into_with_table(raw, out, table).ok(),
                )
            }
            Method::Zstd(compressor) => {
                let bound = zstd::zstd_safe::compress_bound(raw.len());
                if out.len() < bound {
                    out.resize(bound, 0);
                }
                (
                    Encoding::Zstd,
                    compressor.compress_to_buffer(raw, &mut out[..]).ok(),
                )
            }
        };
        match len {
            Some(len) if len < raw.len() - raw.len() / 8 => (encoding, &out[..len]),
            _ => (Encoding::Raw, raw),
        }
    }
}

/// Decompresses `stored` to exactly `raw_len` bytes, which the caller has limited.
pub(super) fn decompress(
    encoding: Encoding,
    stored: &[u8],
    raw_len: usize,
) -> Result<Vec<u8>, Malformed> {
    thread_local! {
        static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    let mut raw = vec![0; raw_len];
    let len = match encoding {
        Encoding::Raw => return Ok(stored.to_vec()),
        Encoding::Lz4 => decompress_into(stored, &mut raw).map_err(|_| Malformed)?,
        Encoding::Zstd => ZSTD.with_borrow_mut(|slot| {
            let decompressor = match slot {
                Some(decompressor) => decompressor,
                None => slot.insert(zstd::bulk::Decompressor::new().map_err(|_| Malformed)?),
            };
            decompressor
                .decompress_to_buffer(stored, &mut raw[..])
                .map_err(|_| Malformed)
        })?,
    };
    if len == raw_len {
        Ok(raw)
    } else {
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compresses_well_is_compressed_and_the_rest_kept_raw() {
        let repetitive = vec![7; 100_000];
        let noise: Vec<u8> = (0..5000u64)
            .flat_map(|n| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()).to_le_bytes())
            .collect();
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd(3)] {
            let mut compressor = Compressor::new(compression);
            for raw in [&repetitive[..], b"", b"x", &noise] {
                let (encoding, stored) = compressor.compress(raw);
                let pays = compression != Compression::None && raw.len() == repetitive.len();
                assert_eq!(encoding != Encoding::Raw, pays);
                assert_eq!(decompress(encoding, stored, raw.len()).unwrap(), raw);
                if pays {
                    assert!(decompress(encoding, stored, raw.len() + 1).is_err());
                    assert!(decompress(encoding, stored, raw.len() - 1).is_err());
                    assert!(decompress(encoding, &stored[1..], raw.len()).is_err());
                }
            }
        }
    }
}
