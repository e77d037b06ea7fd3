//! One commit group's bytes, gathered where a direct write can take them from.
//!
//! Room for the header stands before the payload, and memory begins on a page: the group is
//! written as it lies, without another copy.

use std::sync::Arc;

use super::format::{FRAME_HEADER_LEN, FrameHeader, PAGE_LEN};
use crate::batch::BatchReader;
use crate::budget::{Consumer, MemoryBudget, Reservation, allocated_len};

/// Memory that [`Frame::clear`] keeps for the next group.
const KEPT_LEN: usize = 1 << 20;
const INITIAL_LEN: usize = 64 << 10;

/// A commit group that is being gathered.
#[derive(Debug)]
pub(crate) struct Frame {
    memory: PageAligned,
    /// Bytes in use: the header's room and the payload.
    len: usize,
    count: u32,
    /// `None`: it does not live long enough to count.
    reserved: Option<Reservation>,
}

impl Frame {
    pub(crate) fn new() -> Self {
        Self {
            memory: PageAligned::new(INITIAL_LEN),
            len: FRAME_HEADER_LEN,
            count: 0,
            reserved: None,
        }
    }

    /// A group whose memory is part of `budget`.
    pub(crate) fn within(budget: &Arc<MemoryBudget>) -> Self {
        let mut frame = Self::new();
        let bytes = frame.memory.allocated();
        frame.reserved = Some(budget.reserve(Consumer::LogBuffers, bytes));
        frame
    }

    /// Adds an encoded batch of `count` entries.
    pub(crate) fn push(&mut self, batch: &[u8], count: u32) {
        self.reserve(self.len + batch.len());
        self.memory.bytes_mut()[self.len..self.len + batch.len()].copy_from_slice(batch);
        self.len += batch.len();
        self.count += count;
    }

    /// Bytes of all batches.
    pub(crate) fn payload_len(&self) -> usize {
        self.len - FRAME_HEADER_LEN
    }

    /// Entries of all batches.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Forgets the batches and gives back memory that only a large group needed.
    pub(crate) fn clear(&mut self) {
        self.len = FRAME_HEADER_LEN;
        self.count = 0;
        if self.memory.len() > KEPT_LEN {
            self.replace_memory(PageAligned::new(KEPT_LEN));
        }
    }

    /// The entries, in order.
    pub(crate) fn batches(&self) -> BatchReader<'_> {
        BatchReader::new(self.payload())
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.memory.bytes()[FRAME_HEADER_LEN..self.len]
    }

    /// The frame as it goes to the disk: header, payload, and zeros up to `padded_len`. Begins on a
    /// page of memory.
    pub(crate) fn sealed(&mut self, header: &FrameHeader, salt: u32, padded_len: usize) -> &[u8] {
        assert!(self.len <= padded_len, "padding does not cut a frame");
        self.reserve(padded_len);
        let bytes = self.memory.bytes_mut();
        bytes[..FRAME_HEADER_LEN].copy_from_slice(&header.encode(salt));
        bytes[self.len..padded_len].fill(0);
        &bytes[..padded_len]
    }

    fn reserve(&mut self, len: usize) {
        if len > self.memory.len() {
            let mut larger = PageAligned::new(len.max(2 * self.memory.len()));
            larger.bytes_mut()[..self.len].copy_from_slice(&self.memory.bytes()[..self.len]);
            self.replace_memory(larger);
        }
    }

    fn replace_memory(&mut self, memory: PageAligned) {
        self.memory = memory;
        if let Some(reserved) = &mut self.reserved {
            reserved.set(self.memory.allocated());
        }
    }
}

/// Zeroed memory that begins on a page: an allocation one page longer than needed, of which the
/// bytes before the first page boundary are not used.
#[derive(Debug)]
struct PageAligned {
    memory: Box<[u8]>,
    start: usize,
}

impl PageAligned {
    fn new(len: usize) -> Self {
        let memory = vec![0; len + PAGE_LEN].into_boxed_slice();
        let start = memory.as_ptr().align_offset(PAGE_LEN);
        assert!(start < PAGE_LEN, "a page boundary lies within every page");
        Self { memory, start }
    }

    fn len(&self) -> usize {
        self.memory.len() - PAGE_LEN
    }

    fn allocated(&self) -> usize {
        allocated_len(self.memory.len())
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.len()]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len();
        &mut self.memory[self.start..][..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, KeyspaceId};
    use crate::files::FileNumber;
    use crate::key::SeqNo;
    use crate::wal::format::LogPosition;

    fn header() -> FrameHeader {
        FrameHeader {
            payload_checksum: 0,
            payload_hash: 0,
            payload_len: 0,
            log: FileNumber::new(1),
            first_seq: SeqNo::new(1),
            count: 0,
            time_ms: 0,
            durable: LogPosition::start_of(FileNumber::new(1)),
            page_aligned: false,
            end: false,
        }
    }

    #[test]
    fn batches_keep_their_order_through_growth() {
        let mut frame = Frame::new();
        let value = vec![7; 50_000];
        for i in 0..100_u32 {
            let mut batch = Batch::new();
            batch
                .put(KeyspaceId::for_tests(0), &i.to_be_bytes(), &value)
                .unwrap();
            frame.push(batch.encoded(), batch.count());
        }
        assert_eq!(frame.count(), 100);
        for (i, entry) in frame.batches().enumerate() {
            let entry = entry.unwrap();
            assert_eq!(entry.key, u32::try_from(i).unwrap().to_be_bytes());
            assert_eq!(entry.value, value);
        }
    }

    #[test]
    fn sealed_bytes_begin_on_a_page_and_end_in_zeros() {
        let mut frame = Frame::new();
        frame.push(&[9; 200_000], 1);
        frame.clear();
        assert!(frame.is_empty());
        frame.push(&[1; 10], 1);
        let bytes = frame.sealed(&header(), 0, PAGE_LEN);
        assert_eq!(bytes.as_ptr().align_offset(PAGE_LEN), 0);
        assert_eq!(bytes[FRAME_HEADER_LEN..][..10], [1; 10]);
        assert!(bytes[FRAME_HEADER_LEN + 10..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_large_group_gives_its_memory_back() {
        let cache = crate::cache::BlockCache::<()>::new(0);
        let budget = MemoryBudget::new(64 << 20, cache);
        let reserved = || budget.usage()[Consumer::LogBuffers as usize].1;
        let mut frame = Frame::within(&budget);
        assert!(reserved() >= INITIAL_LEN);
        frame.push(&vec![0; 8 << 20], 1);
        assert!(reserved() > 8 << 20);
        frame.clear();
        assert_eq!(frame.memory.len(), KEPT_LEN);
        assert_eq!(reserved(), frame.memory.allocated());
        drop(frame);
        assert_eq!(reserved(), 0);
    }
}
