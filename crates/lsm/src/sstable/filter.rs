//! A blocked Bloom filter: all bits of a key lie in one cache line, so a probe costs one miss.
//!
//! # Format
//! ```text
//! filter   lines (64 bytes each) | probes u8
//! ```
//! The upper half of a key's hash chooses the line; multiples of the lower half by the golden ratio
//! choose its bits, nine upper bits each (as in RocksDB's `FastLocalBloom`).

use xxhash_rust::xxh3::xxh3_64;

use super::format::Malformed;
use crate::plant::{Plant, is_planted};

const LINE_LEN: usize = 64;
const PROBES_MAX: u8 = 16;

/// The hash of a user key that filters and hash indexes work with.
#[inline]
pub(crate) fn filter_hash(user: &[u8]) -> u64 {
    xxh3_64(user)
}

/// The filter of a table, as it is probed.
pub(super) struct Filter {
    lines: Box<[Line]>,
    probes: u8,
}

/// A cache line of bits.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u8; LINE_LEN]);

impl Filter {
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let (&probes, lines) = payload.split_last().ok_or(Malformed)?;
        let (lines, rest) = lines.as_chunks::<LINE_LEN>();
        if lines.is_empty() || !rest.is_empty() || !(1..=PROBES_MAX).contains(&probes) {
            return Err(Malformed);
        }
        let lines = lines.iter().map(|line| Line(*line)).collect();
        Ok(Self { lines, probes })
    }

    /// False: no key with this hash is in the table.
    #[inline]
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        let line = &self.lines[line_of(hash, self.lines.len())].0;
        bits(hash, self.probes).all(|bit| line[bit / 8] & 1 << (bit % 8) != 0)
    }
}

/// The payload of a filter over keys with these hashes.
pub(super) fn build_filter(hashes: &[u64], bits_per_key: u8) -> Vec<u8> {
    let probes = probes_for(bits_per_key);
    let mut payload = vec![0; filter_len(hashes.len(), bits_per_key)];
    let (lines, _) = payload.as_chunks_mut::<LINE_LEN>();
    for &hash in hashes {
        let line = &mut lines[line_of(hash, lines.len())];
        for bit in bits(hash, probes) {
            line[bit / 8] |= 1 << (bit % 8);
        }
    }
    if is_planted(Plant::FilterWithoutLastWord)
        && let [.., last] = lines
    {
        last[LINE_LEN - 8..].fill(0);
    }
    *payload
        .last_mut()
        .expect("it ends with the number of probes") = probes;
    payload
}

/// Length of the payload of a filter over `keys` keys.
pub(super) fn filter_len(keys: usize, bits_per_key: u8) -> usize {
    let lines = (keys * usize::from(bits_per_key))
        .div_ceil(8 * LINE_LEN)
        .max(1);
    lines * LINE_LEN + 1
}

/// The number of bits per key with the fewest false positives. Fewer than for an ordinary Bloom
/// filter, as some lines are fuller than others.
fn probes_for(bits_per_key: u8) -> u8 {
    const FIRST_WITH_MORE: [u8; 12] = [3, 4, 6, 7, 9, 11, 12, 15, 17, 19, 23, 26];
    let more = FIRST_WITH_MORE
        .iter()
        .filter(|&&bits| bits_per_key >= bits)
        .count();
    u8::try_from(1 + more).expect("the list is short")
}

#[inline]
fn line_of(hash: u64, lines: usize) -> usize {
    // A filter of 2^32 lines would take 256 GiB, so the product fits, and is less than `lines`.
    (((hash >> 32) * lines as u64) >> 32) as usize
}

#[inline]
fn bits(hash: u64, probes: u8) -> impl Iterator<Item = usize> {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
    let mut h = hash as u32;
    (0..probes).map(move |_| {
        let bit = h >> (32 - 9);
        h = h.wrapping_mul(0x9e37_79b9);
        bit as usize
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(range: std::ops::Range<u32>) -> Vec<u64> {
        range.map(|n| filter_hash(&n.to_le_bytes())).collect()
    }

    #[test]
    fn keeps_every_key_and_few_others() {
        for (bits_per_key, one_in) in [(5, 8), (10, 80), (16, 600)] {
            for keys in [1, 10, 1000, 20_000] {
                let present = hashes(0..keys);
                let filter = Filter::parse(&build_filter(&present, bits_per_key)).unwrap();
                assert!(present.iter().all(|&hash| filter.may_contain(hash)));
                let absent = hashes(1 << 20..(1 << 20) + 20_000);
                let wrong = absent
                    .iter()
                    .filter(|&&hash| filter.may_contain(hash))
                    .count();
                assert!(
                    wrong <= absent.len() / one_in,
                    "{wrong} at {bits_per_key} bits, {keys} keys"
                );
            }
        }
    }

    #[test]
    fn a_filter_of_odd_shape_is_refused() {
        let sound = build_filter(&hashes(0..9), 10);
        assert!(Filter::parse(&sound).is_ok());
        assert!(Filter::parse(&sound[1..]).is_err());
        assert!(Filter::parse(&[]).is_err());
        assert!(Filter::parse(&[1]).is_err());
        for probes in [0, PROBES_MAX + 1, 255] {
            let mut odd = sound.clone();
            *odd.last_mut().unwrap() = probes;
            assert!(Filter::parse(&odd).is_err());
        }
    }
}
