//! Bytes that keep alive what they are part of, so that a read returns them without a copy.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of a cached block, a memtable or a buffer, kept alive for as long as this value lives.
///
/// Cloning is cheap and copies no bytes. Holding many for long keeps memory beyond the budget.
#[derive(Clone)]
pub struct Slice {
    bytes: NonNull<[u8]>,
    _owner: Option<Arc<dyn Send + Sync>>,
}

impl Slice {
    /// The bytes that `part` selects from `owner`.
    pub(crate) fn of<T, F>(owner: Arc<T>, part: F) -> Self
    where
        T: Send + Sync + 'static,
        F: for<'a> FnOnce(&'a T) -> &'a [u8],
    {
        let bytes = NonNull::from(part(&owner));
        Self {
            bytes,
            _owner: Some(owner),
        }
    }

    /// No bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            bytes: NonNull::slice_from_raw_parts(NonNull::dangling(), 0),
            _owner: None,
        }
    }

    /// These bytes without their first `n`.
    ///
    /// # Panics
    /// When there are fewer than `n`.
    #[must_use]
    pub fn skip(self, n: usize) -> Self {
        let bytes = NonNull::from(&self[n..]);
        Self {
            bytes,
            _owner: self._owner,
        }
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `bytes` was borrowed from a `T` behind the `Arc` in `_owner` (or is empty, and
        // dangling is then allowed). The `Arc` keeps `T` in place, and nobody has `&mut T` while we
        // hold it. `part` may only have returned memory that lives as long as a shared borrow of `T`
        // does; nothing tells `T` when such a borrow ends, so a safe `T` cannot free or change it
        // before it is dropped.
        unsafe { self.bytes.as_ref() }
    }
}

// SAFETY: the bytes are only ever read, and their owner is `Send + Sync`.
unsafe impl Send for Slice {}
// SAFETY: as above.
unsafe impl Sync for Slice {}

impl From<Vec<u8>> for Slice {
    fn from(bytes: Vec<u8>) -> Self {
        Self::of(Arc::new(bytes), |bytes| bytes)
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.escape_ascii())
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Slice {
    fn eq(&self, other: &T) -> bool {
        self[..] == *other.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlives_its_owner_handle_and_moves_between_threads() {
        let owner = Arc::new(b"hello world".to_vec());
        let slice = Slice::of(Arc::clone(&owner), |bytes| &bytes[6..]);
        drop(owner);
        let copy = slice.clone();
        let other = std::thread::spawn(move || copy.to_vec());
        assert_eq!(slice, b"world");
        assert_eq!(slice.skip(2), b"rld");
        assert_eq!(other.join().unwrap(), b"world");
        assert!(Slice::empty().is_empty());
    }
}
