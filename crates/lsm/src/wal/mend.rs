//! Finding the one byte of a frame that is not what was written.
//!
//! A CRC is linear: how the checksum of bytes with one change differs from the checksum of those that
//! were written depends on the change and on how many bytes follow, and on nothing else. So the
//! difference is walked back from the end, a byte a step, and at each asked whether a change there
//! explains it. That takes as long as the bytes are many, not as many times 255.
//!
//! What explains a difference need not be what happened: of bytes that were never written whole, some
//! change has the right checksum by chance. A second hash of the payload, which knows nothing of the
//! first, decides (`wal-7`).

use super::format::{FRAME_HEADER_LEN, FrameHeader, checksum, payload_hash};
use crate::files::FileNumber;

/// CRC32C with its bits reversed, as it is computed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What a byte that leaves a checksum does to it.
const STEPS: [u32; 256] = {
    let mut steps = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut step = byte;
        let mut bit = 0;
        while bit < 8 {
            step = (step >> 1) ^ (POLYNOMIAL & (step & 1).wrapping_neg());
            bit += 1;
        }
        steps[byte as usize] = step;
        byte += 1;
    }
    steps
};

/// Which byte's step has this highest byte: exactly one.
const BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut byte = 0_u8;
    loop {
        bytes[(STEPS[byte as usize] >> 24) as usize] = byte;
        if byte == u8::MAX {
            break bytes;
        }
        byte += 1;
    }
};

/// A byte, and in which bits it is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    at: usize,
    bits: u8,
}

/// Every change of one of `len` bytes after which their checksum differs by `difference`, which is not 0.
fn explain(difference: u32, len: usize) -> impl Iterator<Item = Change> {
    let mut difference = difference;
    (0..len).rev().filter_map(move |at| {
        let [.., highest] = difference.to_le_bytes();
        let bits = BYTES[usize::from(highest)];
        let before = difference ^ STEPS[usize::from(bits)];
        difference = before << 8 | u32::from(bits);
        (before == 0).then_some(Change { at, bits })
    })
}

/// A header that one byte keeps from being whole.
pub(super) struct MendedHeader {
    pub(super) header: FrameHeader,
    pub(super) bytes: [u8; FRAME_HEADER_LEN],
    /// The byte.
    pub(super) at: usize,
}

/// Every header of a frame of segment `log` that these bytes are but for one.
pub(super) fn headers(
    bytes: [u8; FRAME_HEADER_LEN],
    log: FileNumber,
    salt: u32,
) -> impl Iterator<Item = MendedHeader> {
    let (stored, checked) = bytes
        .split_first_chunk()
        .expect("it begins with its checksum");
    let difference = u32::from_le_bytes(*stored) ^ checksum(salt, checked);
    let checked_at = stored.len();
    let of_checksum = difference.to_le_bytes().into_iter().enumerate();
    let of_checksum = of_checksum.map(|(at, bits)| Change { at, bits });
    let of_checked = explain(difference, checked.len()).map(move |change| Change {
        at: checked_at + change.at,
        ..change
    });
    of_checksum.chain(of_checked).filter_map(move |change| {
        let mut mended = bytes;
        mended[change.at] ^= change.bits;
        let header = FrameHeader::decode(&mended, log, salt)?;
        Some(MendedHeader {
            header,
            bytes: mended,
            at: change.at,
        })
    })
}

/// Makes of a payload what `header` says of it, where it is that but for one byte; returns which.
pub(super) fn payload(payload: &mut [u8], header: &FrameHeader, salt: u32) -> Option<usize> {
    let difference = header.payload_checksum ^ checksum(salt, payload);
    // The checksum is right and the hash is not: no single byte does that.
    if difference == 0 {
        return None;
    }
    explain(difference, payload.len()).find_map(|change| {
        payload[change.at] ^= change.bits;
        if payload_hash(salt, payload) == header.payload_hash {
            return Some(change.at);
        }
        payload[change.at] ^= change.bits;
        None
    })
}

#[cfg(test)]
mod tests {
    use ringwood_env::SeededRandom;

    use super::*;
    use crate::key::SeqNo;
    use crate::wal::format::LogPosition;

    const LOG: FileNumber = FileNumber::new(0x1234);
    const SALT: u32 = 0x9e37_79b9;

    fn header_of(payload: &[u8]) -> FrameHeader {
        FrameHeader {
            payload_checksum: checksum(SALT, payload),
            payload_hash: payload_hash(SALT, payload),
            payload_len: u32::try_from(payload.len()).unwrap(),
            log: LOG,
            first_seq: SeqNo::new(77),
            count: 3,
            time_ms: 1_700_000_000_000,
            durable: LogPosition::start_of(FileNumber::new(9)),
            page_aligned: true,
            end: false,
        }
    }

    fn random_bytes(random: &SeededRandom, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        random.fill(&mut bytes);
        bytes
    }

    #[test]
    fn any_byte_of_a_header_is_found() {
        let header = header_of(b"payload");
        let whole = header.encode(SALT);
        for at in 0..whole.len() {
            for bits in 1..=u8::MAX {
                let mut changed = whole;
                changed[at] ^= bits;
                assert_eq!(FrameHeader::decode(&changed, LOG, SALT), None);
                let found: Vec<_> = headers(changed, LOG, SALT).collect();
                let [found] = &found[..] else {
                    panic!("byte {at} ^ {bits:#x}: {} explanations", found.len());
                };
                assert_eq!(
                    (found.at, found.bytes, found.header),
                    (at, whole, header),
                    "byte {at} ^ {bits:#x}"
                );
            }
        }
    }

    #[test]
    fn any_byte_of_a_payload_is_found() {
        let random = SeededRandom::new(1);
        let short = (1..40).chain([511, 512, 513, 4096]);
        for len in short.chain([70_000]) {
            let whole = random_bytes(&random, len);
            let header = header_of(&whole);
            let places = (0..len).step_by((len / 300).max(1)).chain([len - 1]);
            for at in places {
                let bits = u8::try_from(1 + random.below(255)).unwrap();
                let mut changed = whole.clone();
                changed[at] ^= bits;
                let found = payload(&mut changed, &header, SALT);
                assert_eq!(found, Some(at), "byte {at} of {len} ^ {bits:#x}");
                assert_eq!(changed, whole);
            }
        }
    }

    /// Attacks wal-7: bytes that differ in more are left alone, though one change in 2^24 bytes explains
    /// their checksum by chance.
    #[test]
    fn two_bytes_are_never_taken_for_one() {
        let random = SeededRandom::new(2);
        for round in 0..40_000 {
            let len = 2 + random.index(if round % 100 == 0 { 60_000 } else { 600 });
            let whole = random_bytes(&random, len);
            let header = header_of(&whole);
            let mut changed = whole.clone();
            let (one, other) = (random.index(len), random.index(len));
            if one == other {
                continue;
            }
            for at in [one, other] {
                changed[at] ^= u8::try_from(1 + random.below(255)).unwrap();
            }
            let before = changed.clone();
            assert_eq!(payload(&mut changed, &header, SALT), None, "round {round}");
            assert_eq!(changed, before);

            let mut bytes = header.encode(SALT);
            for at in [one % bytes.len(), (one + 1 + other % 63) % bytes.len()] {
                bytes[at] ^= u8::try_from(1 + random.below(255)).unwrap();
            }
            let whole_by_chance = headers(bytes, LOG, SALT)
                .filter(|found| checksum(SALT, &whole) == found.header.payload_checksum)
                .filter(|found| payload_hash(SALT, &whole) == found.header.payload_hash);
            assert_eq!(whole_by_chance.count(), 0, "round {round}");
        }
    }

    /// Where only the checksum decided, chance would find a byte: this is what the hash is for.
    #[test]
    fn chance_explains_checksums_of_long_payloads() {
        let random = SeededRandom::new(3);
        let len = 16 << 20;
        let by_chance: usize = (0..16)
            .map(|_| explain(1 + u32::try_from(random.below(1 << 31)).unwrap(), len).count())
            .sum();
        assert!((4..64).contains(&by_chance), "{by_chance} explanations");
    }

    #[test]
    fn a_frame_without_a_hash_is_not_mended() {
        let whole = b"written by an earlier build".to_vec();
        let header = FrameHeader {
            payload_hash: 0,
            ..header_of(&whole)
        };
        let mut changed = whole;
        changed[3] ^= 1;
        assert_eq!(payload(&mut changed, &header, SALT), None);
    }
}
