//! Memory that is handed out piece by piece, and given back all at once when the arena is dropped.
//!
//! Pieces are cut from the current chunk with one compare-and-swap. Chunks double from 64 KiB to 1 MiB,
//! so that an idle keyspace costs little; a piece that would fill a good part of one gets its own.
//!
//! # Invariants
//! - arena-1: no byte belongs to two pieces.
//! - arena-2: a piece stays in place, writable through its pointer, until the arena is dropped.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// What every piece's address and length is a multiple of.
pub(super) const ALIGN: usize = 8;

const FIRST_CHUNK_LEN: usize = 64 << 10;
const LAST_CHUNK_LEN: usize = 1 << 20;
/// Left free at the end of what we ask for, so that the allocator's own header fits the size class too.
const ALLOCATOR_HEADER_LEN: usize = 32;

/// The beginning of a chunk; its `capacity` bytes follow.
#[repr(C, align(16))]
struct Chunk {
    used: AtomicUsize,
    capacity: usize,
}

pub(super) struct Arena {
    /// Null until the first piece is asked for.
    current: AtomicPtr<Chunk>,
    chunks: Mutex<Chunks>,
    allocated: AtomicUsize,
}

/// Every chunk, to be freed in the end.
#[derive(Default)]
struct Chunks {
    all: Vec<NonNull<Chunk>>,
    /// How many of them have been the current one.
    shared: u32,
}

// SAFETY: chunks are only touched through atomics and, as pieces, by whoever owns the piece.
unsafe impl Send for Arena {}
// SAFETY: as above; `allocate` synchronises through the chunk's `used` and the lock.
unsafe impl Sync for Arena {}

impl Arena {
    pub(super) fn new() -> Self {
        Self {
            current: AtomicPtr::new(std::ptr::null_mut()),
            chunks: Mutex::default(),
            allocated: AtomicUsize::new(0),
        }
    }

    /// A piece of `len` bytes, not initialised.
    pub(super) fn allocate(&self, len: usize) -> NonNull<u8> {
        let len = len.next_multiple_of(ALIGN);
        loop {
            let chunk = self.current.load(Ordering::Acquire);
            // SAFETY: `current` is only ever set to chunks that live as long as the arena.
            let piece = NonNull::new(chunk).and_then(|chunk| unsafe { Chunk::cut(chunk, len) });
            if let Some(piece) = piece.or_else(|| self.grow(chunk, len)) {
                return piece;
            }
        }
    }

    /// Bytes taken from the allocator, used or not.
    pub(super) fn allocated(&self) -> usize {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Bytes of them that no piece was cut from yet, and the next ones will be.
    pub(super) fn unused(&self) -> usize {
        let chunk = NonNull::new(self.current.load(Ordering::Acquire));
        chunk.map_or(0, |chunk| {
            // SAFETY: `current` is only ever set to chunks that live as long as the arena; their
            // headers are initialised, and only ever shared.
            let header = unsafe { chunk.as_ref() };
            header.capacity - header.used.load(Ordering::Relaxed)
        })
    }

    /// Makes a new chunk current if `full` still is; a large piece gets a chunk of its own instead.
    #[cold]
    fn grow(&self, full: *mut Chunk, len: usize) -> Option<NonNull<u8>> {
        let mut chunks = self.chunks.lock().expect("growing does not panic");
        let chunk_len = (FIRST_CHUNK_LEN << chunks.shared.min(8)).min(LAST_CHUNK_LEN);
        if len > chunk_len / 4 {
            let chunk = self.add(&mut chunks, len + size_of::<Chunk>() + ALLOCATOR_HEADER_LEN);
            // SAFETY: it was just made, and is in `chunks`.
            return unsafe { Chunk::cut(chunk, len) };
        }
        if self.current.load(Ordering::Relaxed) == full {
            let chunk = self.add(&mut chunks, chunk_len);
            chunks.shared += 1;
            self.current.store(chunk.as_ptr(), Ordering::Release);
        }
        None
    }

    fn add(&self, chunks: &mut Chunks, len: usize) -> NonNull<Chunk> {
        let chunk = Chunk::allocate(len - ALLOCATOR_HEADER_LEN - size_of::<Chunk>());
        chunks.all.push(chunk);
        self.allocated.fetch_add(len, Ordering::Relaxed);
        chunk
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let chunks = self.chunks.get_mut().expect("growing does not panic");
        for chunk in chunks.all.drain(..) {
            // SAFETY: each is freed once, and `&mut self` says that no piece is in use any more.
            unsafe { Chunk::free(chunk) };
        }
    }
}

impl Chunk {
    fn layout(capacity: usize) -> Layout {
        let header = Layout::new::<Self>();
        Layout::from_size_align(header.size() + capacity, header.align())
            .expect("entries are far shorter than the address space")
    }

    fn allocate(capacity: usize) -> NonNull<Self> {
        let layout = Self::layout(capacity);
        // SAFETY: the layout holds a header at least, so it is not empty.
        let chunk = unsafe { alloc(layout) }.cast::<Self>();
        let Some(chunk) = NonNull::new(chunk) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the memory is ours, aligned, and long enough for the header.
        unsafe {
            chunk.write(Self {
                used: AtomicUsize::new(0),
                capacity,
            });
        }
        chunk
    }

    /// Cuts the next `len` bytes, if there are as many.
    ///
    /// # Safety
    /// `chunk` came from `allocate` and is not freed; `len` is a multiple of [`ALIGN`].
    unsafe fn cut(chunk: NonNull<Self>, len: usize) -> Option<NonNull<u8>> {
        // SAFETY: the header is initialised, and only ever shared.
        let header = unsafe { chunk.as_ref() };
        let mut used = header.used.load(Ordering::Relaxed);
        // A failed cut must not use up the rest, which smaller pieces will fit into.
        while len <= header.capacity - used {
            match header.used.compare_exchange_weak(
                used,
                used + len,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                // SAFETY: arena-1: the exchange gave [used, used + len) to us alone; it ends within
                // the chunk. The offset is taken from `chunk`, whose provenance is all of it.
                Ok(_) => return Some(unsafe { chunk.add(1).cast::<u8>().add(used) }),
                Err(now) => used = now,
            }
        }
        None
    }

    /// # Safety
    /// `chunk` came from `allocate`; nobody uses it or a piece of it from now on.
    unsafe fn free(chunk: NonNull<Self>) {
        // SAFETY: this is the layout it was allocated with.
        unsafe {
            let layout = Self::layout(chunk.as_ref().capacity);
            dealloc(chunk.as_ptr().cast(), layout);
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_overlap_and_keep_what_is_written_arena_1_arena_2() {
        let arena = Arena::new();
        let mut lens = vec![1, 8, 100, 5000, 20_000];
        if !cfg!(miri) {
            lens.extend([70_000, 300_000, 3, 1 << 21]);
        }
        let fill = |thread: u8| {
            let mut pieces = Vec::new();
            for round in 0..if cfg!(miri) { 2 } else { 20 } {
                for &len in &lens {
                    let piece = arena.allocate(len);
                    // SAFETY: the piece is `len` bytes, and ours.
                    unsafe { piece.write_bytes(thread + round, len) };
                    pieces.push((piece, len, thread + round));
                }
            }
            for (piece, len, byte) in pieces {
                assert!(piece.addr().get().is_multiple_of(ALIGN));
                // SAFETY: it was filled above.
                let bytes = unsafe { NonNull::slice_from_raw_parts(piece, len).as_ref() };
                assert!(bytes.iter().all(|&found| found == byte));
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| fill(0));
            scope.spawn(|| fill(100));
        });
    }

    #[test]
    fn takes_little_at_first_and_counts_everything() {
        let arena = Arena::new();
        assert_eq!(arena.allocated(), 0);
        arena.allocate(100);
        assert_eq!(arena.allocated(), FIRST_CHUNK_LEN);
        let taken = FIRST_CHUNK_LEN - arena.unused();
        assert!((100..200).contains(&taken), "a piece and a header");
        arena.allocate(100_000);
        let large = arena.allocated() - FIRST_CHUNK_LEN;
        assert!((100_000..100_100).contains(&large), "a chunk of its own");
        for _ in 0..3000 {
            arena.allocate(1000);
        }
        assert!(arena.allocated() - large >= 3_000_000);
        assert!(arena.allocated() - large < 3_000_000 + 2 * LAST_CHUNK_LEN);
    }
}
