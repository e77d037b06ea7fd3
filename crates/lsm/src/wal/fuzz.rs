//! Arbitrary bytes as a log segment, for the fuzzer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ringwood_env::DiskFile;

use super::format::{
    FIRST_FRAME, FRAME_HEADER_LEN, FrameHeader, LogPosition, PAGE_LEN, SegmentHeader, checksum,
    payload_hash, to_usize,
};
use super::reader::replay_file;
use super::segment_reader::LiveSegment;
use crate::batch::BatchReader;
use crate::files::FileNumber;
use crate::key::SeqNo;

const LOG: FileNumber = FileNumber::new(3);
const SALT: u32 = 4;

/// Replays bytes as the frames of one segment. Whatever they are, the answer is groups with
/// contiguous numbers, or an error; never a panic.
///
/// No fuzzer guesses a checksum, so every frame that begins with an odd byte gets the right ones.
pub(crate) fn fuzz_log_segment(bytes: &[u8]) {
    let file = Arc::new(Bytes(segment_of(bytes)));
    let segment = LiveSegment {
        number: LOG,
        path: PathBuf::from("000003.log"),
        end: None,
    };
    let mut next_seq = None;
    let result = replay_file(file, &segment, &mut |frame| {
        let first = frame.first_seq.get();
        assert!(next_seq.is_none_or(|seq| seq == first), "a gap");
        next_seq = Some(first + u64::from(frame.count));
        BatchReader::new(frame.payload).for_each(drop);
        Ok(())
    });
    if let (Ok(recovered), Some(next_seq)) = (result, next_seq) {
        assert_eq!(recovered.next_seq.map(SeqNo::get), Some(next_seq));
    }
}

/// Reads bytes as a segment's first page, as they are and with the checksum they should have.
///
/// # Panics
/// Where a header that was read is not written as it was.
pub(crate) fn fuzz_log_header(bytes: &[u8]) {
    let mut page = [0; PAGE_LEN];
    let len = bytes.len().min(PAGE_LEN);
    page[..len].copy_from_slice(&bytes[..len]);
    let _ = SegmentHeader::decode(&page);
    let sum = checksum(0, &page[..36]);
    page[36..40].copy_from_slice(&sum.to_le_bytes());
    if let Ok(header) = SegmentHeader::decode(&page) {
        let mut again = [0; PAGE_LEN];
        let encoded = header.encode();
        again[..encoded.len()].copy_from_slice(&encoded);
        assert_eq!(SegmentHeader::decode(&again), Ok(header));
    }
}

fn segment_of(frames: &[u8]) -> Vec<u8> {
    let len = (PAGE_LEN + frames.len()).next_multiple_of(PAGE_LEN);
    let header = SegmentHeader {
        number: LOG,
        len: len as u64,
        salt: SALT,
    };
    let mut bytes = header.encode().to_vec();
    bytes.resize(PAGE_LEN, 0);
    bytes.extend_from_slice(frames);
    bytes.resize(len, 0);
    let mut offset = FIRST_FRAME;
    while let Some(next) = give_checksums(&mut bytes, offset) {
        offset = next;
    }
    bytes
}

/// Makes what stands at `offset` a frame; returns where the next one stands.
fn give_checksums(bytes: &mut [u8], offset: u64) -> Option<u64> {
    let frame = bytes.get_mut(to_usize(offset)..)?;
    let (head, rest) = frame.split_first_chunk_mut::<FRAME_HEADER_LEN>()?;
    if head[0].is_multiple_of(2) {
        return None;
    }
    let field = |at: usize| u64::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let payload_len = to_usize(field(24)).min(rest.len());
    let header = FrameHeader {
        payload_checksum: checksum(SALT, &rest[..payload_len]),
        payload_hash: payload_hash(SALT, &rest[..payload_len]),
        payload_len: u32::try_from(payload_len).expect("at most 65535"),
        log: LOG,
        first_seq: SeqNo::new(field(16)),
        count: u32::from(head[28]),
        time_ms: field(32),
        durable: LogPosition {
            log: FileNumber::new(u64::from(head[40] % 5)),
            offset: field(48),
        },
        page_aligned: head[56] & 1 != 0,
        end: head[56] & 2 != 0,
    };
    *head = header.encode(SALT);
    Some(header.next_offset(offset))
}

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl DiskFile for Bytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(to_usize(offset)..).unwrap_or_default();
        let len = buf.len().min(rest.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame the way `give_checksums` takes it, from few bytes.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let payload = prop::collection::vec(any::<u8>(), 0..40);
        (0..4_u8, 0..4_u8, 0..5_u8, 0..3_u8, 0..4_u8, payload).prop_map(
            |(seq, count, durable, page, flags, payload)| {
                let mut bytes = vec![0; FRAME_HEADER_LEN];
                bytes[0] = 1;
                bytes[16] = seq;
                bytes[24] = u8::try_from(payload.len()).unwrap();
                bytes[28] = count;
                bytes[40] = durable;
                bytes[49] = page * 16;
                bytes[56] = flags;
                bytes.extend(payload);
                bytes.resize(bytes.len().next_multiple_of(8), 0);
                bytes
            },
        )
    }

    proptest! {
        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
            fuzz_log_segment(&bytes);
            fuzz_log_header(&bytes);
        }

        #[test]
        fn frames_in_any_order_never_panic(frames in prop::collection::vec(frame(), 0..20)) {
            fuzz_log_segment(&frames.concat());
        }
    }
}
