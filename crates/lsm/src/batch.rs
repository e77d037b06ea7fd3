//! Several changes that become visible, durable and recovered together.
//!
//! # Format
//! A batch is kept as the bytes its log record holds: entries one after another, each
//! ```text
//! kind u8 | keyspace u32 | key length u32 | value length u32 | key | value      (little-endian)
//! ```
//! `value` is empty for a delete, the range's excluded end for a range delete, and begins with its
//! deadline for an expiring put. Entry `i` takes the batch's first sequence number plus `i`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::key::{Kind, MAX_KEY_LEN, MAX_VALUE_LEN};

const HEADER_LEN: usize = 13;
/// What a batch that removes may set and still be taken on a full disk.
const MARK_LEN_MAX: usize = 256;

/// Names a keyspace in files. Never used again after a drop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyspaceNumber(pub(crate) u32);

/// Names a store from when it is opened until it is closed, among all that this process ever opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StoreTag(u64);

impl StoreTag {
    /// One that no other store of the process has or had.
    pub(crate) fn unused() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Names a keyspace of an open store. Another store, and the same store opened again, do not take it
/// for one of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId {
    store: StoreTag,
    number: KeyspaceNumber,
}

impl KeyspaceId {
    pub(crate) fn new(store: StoreTag, number: KeyspaceNumber) -> Self {
        Self { store, number }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(number: u32) -> Self {
        Self::new(StoreTag(u64::MAX), KeyspaceNumber(number))
    }

    pub(crate) fn is_of(self, store: StoreTag) -> bool {
        self.store == store
    }

    pub(crate) fn name_in_files(self) -> KeyspaceNumber {
        self.number
    }

    /// How files name it: the same for as long as the keyspace lives, and in copies of the store.
    #[must_use]
    pub fn number(self) -> u32 {
        self.number.0
    }
}

/// Changes to any keyspaces of one store that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    count: u32,
    /// Bytes of keys and values that are set.
    put_len: usize,
    has_deletes: bool,
    touched: Touched,
}

/// Each keyspace that a batch changes, once. Nearly always there is one.
#[derive(Clone, Debug, Default)]
struct Touched {
    first: Option<KeyspaceId>,
    others: Vec<KeyspaceId>,
}

impl Touched {
    fn contains(&self, keyspace: KeyspaceId) -> bool {
        self.first == Some(keyspace) || self.others.contains(&keyspace)
    }

    fn add(&mut self, keyspace: KeyspaceId) -> Result<()> {
        match self.first {
            None => self.first = Some(keyspace),
            Some(first) if first.store != keyspace.store => {
                return Err(Error::OfAnotherStore { what: "keyspace" });
            }
            Some(_) if self.contains(keyspace) => {}
            Some(_) => self.others.push(keyspace),
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.first = None;
        self.others.clear();
    }
}

impl Batch {
    /// A batch without changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// [`Error::KeyTooLarge`], [`Error::ValueTooLarge`]; [`Error::OfAnotherStore`] where an earlier change
    /// is of another store's; the batch is unchanged.
    pub fn put(&mut self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_parts(keyspace, key, &[value], None)
    }

    /// Sets `key` to `value` until `deadline_ms` (milliseconds since the Unix epoch).
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn put_expiring(
        &mut self,
        keyspace: KeyspaceId,
        key: &[u8],
        value: &[u8],
        deadline_ms: u64,
    ) -> Result<()> {
        self.put_parts(keyspace, key, &[value], Some(deadline_ms))
    }

    /// Sets `key` to `parts`, one behind the other, until `deadline_ms` where there is one: they need
    /// not be joined, and so copied, before.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn put_parts(
        &mut self,
        keyspace: KeyspaceId,
        key: &[u8],
        parts: &[&[u8]],
        deadline_ms: Option<u64>,
    ) -> Result<()> {
        match deadline_ms {
            Some(deadline_ms) => {
                let prefix = deadline_ms.to_le_bytes();
                self.push(Kind::PutExpiring, keyspace, key, &prefix, parts)
            }
            None => self.push(Kind::Put, keyspace, key, &[], parts),
        }
    }

    /// Removes `key`.
    ///
    /// # Errors
    /// [`Error::KeyTooLarge`]; the batch is unchanged.
    pub fn delete(&mut self, keyspace: KeyspaceId, key: &[u8]) -> Result<()> {
        self.push(Kind::Delete, keyspace, key, &[], &[])
    }

    /// Removes every key from `start` up to `end` (excluded), also those put earlier in this batch.
    /// An empty range changes nothing.
    ///
    /// # Errors
    /// [`Error::InvertedRange`], [`Error::KeyTooLarge`]; the batch is unchanged.
    pub fn delete_range(&mut self, keyspace: KeyspaceId, start: &[u8], end: &[u8]) -> Result<()> {
        if start > end {
            return Err(Error::InvertedRange);
        }
        if end.len() > MAX_KEY_LEN {
            return Err(Error::KeyTooLarge {
                len: end.len(),
                limit: MAX_KEY_LEN,
            });
        }
        if start == end {
            return Ok(());
        }
        self.push(Kind::RangeDelete, keyspace, start, &[], &[end])
    }

    /// Number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes the batch takes in the log.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all changes and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.put_len = 0;
        self.has_deletes = false;
        self.touched.clear();
    }

    /// Each keyspace that is changed, once.
    pub(crate) fn keyspaces(&self) -> impl Iterator<Item = KeyspaceId> {
        let Touched { first, others } = &self.touched;
        first.iter().chain(others).copied()
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the batch makes room rather than takes it: it removes, and sets no more than a mark
    /// that its owner keeps beside.
    pub(crate) fn makes_room(&self) -> bool {
        self.put_len == 0 || self.has_deletes && self.put_len <= MARK_LEN_MAX
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    fn push(
        &mut self,
        kind: Kind,
        keyspace: KeyspaceId,
        key: &[u8],
        prefix: &[u8],
        parts: &[&[u8]],
    ) -> Result<()> {
        let value_len = parts.iter().map(|part| part.len()).sum();
        if key.len() > MAX_KEY_LEN {
            return Err(Error::KeyTooLarge {
                len: key.len(),
                limit: MAX_KEY_LEN,
            });
        }
        if value_len > MAX_VALUE_LEN {
            return Err(Error::ValueTooLarge {
                len: value_len,
                limit: MAX_VALUE_LEN,
            });
        }
        self.touched.add(keyspace)?;
        let mut header = [0; HEADER_LEN];
        header[0] = kind as u8;
        header[1..5].copy_from_slice(&keyspace.number.0.to_le_bytes());
        header[5..9].copy_from_slice(&len_u32(key.len()).to_le_bytes());
        header[9..].copy_from_slice(&len_u32(prefix.len() + value_len).to_le_bytes());
        self.bytes
            .reserve(HEADER_LEN + key.len() + prefix.len() + value_len);
        for part in [&header[..], key, prefix].iter().chain(parts) {
            self.bytes.extend_from_slice(part);
        }
        self.count += 1;
        match kind {
            Kind::Put | Kind::PutExpiring => self.put_len += key.len() + value_len,
            Kind::Delete | Kind::RangeDelete => self.has_deletes = true,
        }
        Ok(())
    }
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("lengths are limited far below 4 GiB")
}

/// One change of an encoded batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchEntry<'a> {
    pub(crate) kind: Kind,
    pub(crate) keyspace: KeyspaceNumber,
    pub(crate) key: &'a [u8],
    /// As stored: an expiring one begins with its deadline.
    pub(crate) value: &'a [u8],
}

/// Reads the entries of encoded batches that stand one after another; an `Err` ends it.
#[derive(Clone, Debug)]
pub(crate) struct BatchReader<'a> {
    rest: &'a [u8],
}

/// Bytes that are no batch. Whoever knows the file turns it into a [`Corruption`](crate::Corruption).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedBatch;

impl<'a> BatchReader<'a> {
    pub(crate) fn new(encoded: &'a [u8]) -> Self {
        Self { rest: encoded }
    }

    fn read_entry(&mut self) -> Option<BatchEntry<'a>> {
        let (header, rest) = self.rest.split_first_chunk::<HEADER_LEN>()?;
        let field = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let kind = Kind::from_u8(header[0])?;
        let (key, rest) = rest.split_at_checked(field(5) as usize)?;
        let (value, rest) = rest.split_at_checked(field(9) as usize)?;
        if key.len() > MAX_KEY_LEN || (kind == Kind::PutExpiring && value.len() < 8) {
            return None;
        }
        self.rest = rest;
        Some(BatchEntry {
            kind,
            keyspace: KeyspaceNumber(field(1)),
            key,
            value,
        })
    }
}

impl<'a> Iterator for BatchReader<'a> {
    type Item = Result<BatchEntry<'a>, MalformedBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.read_entry().ok_or(MalformedBatch);
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

/// Reads arbitrary bytes as a batch, for the fuzzer.
///
/// # Panics
/// Where what was read makes another batch.
#[cfg(fuzzing)]
pub(crate) fn fuzz_read(bytes: &[u8]) {
    let Ok(entries) = BatchReader::new(bytes).collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let store = StoreTag::unused();
    let id_of = |number| KeyspaceId::new(store, number);
    let mut again = Batch::new();
    for entry in &entries {
        again
            .push(
                entry.kind,
                id_of(entry.keyspace),
                entry.key,
                &[],
                &[entry.value],
            )
            .expect("what was read is within the limits");
    }
    assert_eq!(again.encoded(), bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreTag = StoreTag(7);
    const A: KeyspaceId = KeyspaceId {
        store: STORE,
        number: KeyspaceNumber(1),
    };
    const B: KeyspaceId = KeyspaceId {
        store: STORE,
        number: KeyspaceNumber(2),
    };

    #[test]
    fn entries_are_read_back_in_order() {
        let mut batch = Batch::new();
        batch.put(A, b"k1", b"v1").unwrap();
        batch.delete(B, b"k2").unwrap();
        batch.put_expiring(A, b"k3", b"v3", 7).unwrap();
        batch.delete_range(A, b"a", b"c").unwrap();
        batch.delete_range(A, b"a", b"a").unwrap();
        let entries: Vec<_> = BatchReader::new(batch.encoded())
            .map(Result::unwrap)
            .collect();
        assert_eq!(entries.len(), batch.len());
        let entry = |kind, keyspace: KeyspaceId, key, value| BatchEntry {
            kind,
            keyspace: keyspace.number,
            key,
            value,
        };
        assert_eq!(
            entries,
            [
                entry(Kind::Put, A, b"k1", b"v1"),
                entry(Kind::Delete, B, b"k2", b""),
                entry(Kind::PutExpiring, A, b"k3", b"\x07\0\0\0\0\0\0\0v3"),
                entry(Kind::RangeDelete, A, b"a", b"c"),
            ]
        );
    }

    #[test]
    fn a_batch_is_of_one_store() {
        let mut batch = Batch::new();
        batch.put(A, b"k", b"v").unwrap();
        batch.put(B, b"k", b"v").unwrap();
        batch.put(A, b"l", b"v").unwrap();
        let foreign = KeyspaceId::new(StoreTag(8), KeyspaceNumber(1));
        let refused = batch.delete(foreign, b"k");
        assert!(matches!(refused, Err(Error::OfAnotherStore { .. })));
        assert_eq!(batch.len(), 3);
        assert!(batch.keyspaces().eq([A, B]));
        batch.clear();
        batch.delete(foreign, b"k").unwrap();
        assert!(batch.keyspaces().eq([foreign]));
    }

    #[test]
    fn refused_entries_leave_the_batch_as_it_was() {
        let mut batch = Batch::new();
        assert!(batch.put(A, &vec![0; MAX_KEY_LEN + 1], b"").is_err());
        assert!(batch.put(A, b"", &vec![0; MAX_VALUE_LEN + 1]).is_err());
        assert!(batch.delete_range(A, b"b", b"a").is_err());
        assert!(batch.is_empty() && batch.encoded_len() == 0);
        batch
            .put(A, &vec![0; MAX_KEY_LEN], &vec![0; MAX_VALUE_LEN])
            .unwrap();
        assert_eq!(batch.len(), 1);
    }

    #[test]
    fn every_truncation_is_malformed_or_a_shorter_batch() {
        let mut batch = Batch::new();
        batch.put(A, b"key", b"value").unwrap();
        batch.delete(A, b"other").unwrap();
        let first = HEADER_LEN + 8;
        for cut in 0..batch.encoded_len() {
            let read: Result<Vec<_>, _> = BatchReader::new(&batch.encoded()[..cut]).collect();
            assert_eq!(read.is_ok(), cut == 0 || cut == first, "cut at {cut}");
        }
    }
}
