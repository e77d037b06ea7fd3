//! The block of range tombstones.
//!
//! # Format
//! ```text
//! range tombstones  one after another, sorted: start length u32 | end length u32
//!                   | sequence number u64 | start | end (excluded)
//! ```

use super::format::{Malformed, len_u32, u32_at, u64_at};
use crate::key::SeqNo;
use crate::range_tombstone::RangeTombstone;

const FIXED_LEN: usize = 16;

pub(super) fn encode_tombstones(tombstones: &[RangeTombstone]) -> Vec<u8> {
    let mut out = Vec::new();
    for tombstone in tombstones {
        out.extend_from_slice(&len_u32(tombstone.start.len()).to_le_bytes());
        out.extend_from_slice(&len_u32(tombstone.end.len()).to_le_bytes());
        out.extend_from_slice(&tombstone.seq.get().to_le_bytes());
        out.extend_from_slice(&tombstone.start);
        out.extend_from_slice(&tombstone.end);
    }
    out
}

pub(super) fn parse_tombstones(mut payload: &[u8]) -> Result<Vec<RangeTombstone>, Malformed> {
    let mut tombstones = Vec::new();
    while !payload.is_empty() {
        let (fixed, rest) = payload.split_at_checked(FIXED_LEN).ok_or(Malformed)?;
        let (start, rest) = rest
            .split_at_checked(u32_at(fixed, 0) as usize)
            .ok_or(Malformed)?;
        let (end, rest) = rest
            .split_at_checked(u32_at(fixed, 4) as usize)
            .ok_or(Malformed)?;
        let seq = u64_at(fixed, 8);
        if start >= end || seq > SeqNo::MAX.get() {
            return Err(Malformed);
        }
        tombstones.push(RangeTombstone {
            start: start.to_vec(),
            end: end.to_vec(),
            seq: SeqNo::new(seq),
        });
        payload = rest;
    }
    Ok(tombstones)
}
