//! Cursors over many sources: [`merge`] makes several one, [`level`] makes tables a level, and
//! [`visible`] turns changes into what a user sees.

mod level;
mod merge;
#[cfg(test)]
pub(crate) mod testing;
mod visible;

use std::fmt;

use ringwood_env::UnixMillis;

pub(crate) use level::{LevelCursor, Run};
pub(crate) use merge::MergeCursor;
pub(crate) use visible::{View, VisibleCursor};

use crate::error::Result;
use crate::slice::Slice;

/// The keys of a range at one moment, in order, in both directions.
///
/// A new iterator stands nowhere: seek first. It sees the state of the moment it was made (or of its
/// snapshot), whatever is written meanwhile, and keeps that state's memory and files for as long as it
/// lives. After a failed move it stands nowhere; seeking again is allowed.
///
/// ```no_run
/// # fn example(keyspace: &ringwood_lsm::Keyspace) -> ringwood_lsm::Result<()> {
/// use std::ops::Bound;
///
/// let mut users = keyspace.range(
///     (Bound::Included(b"user/"), Bound::Excluded(b"user0")),
///     &ringwood_lsm::ReadOptions::default(),
/// )?;
/// users.seek_to_first()?;
/// while users.valid() {
///     println!("{:?} = {:?}", users.key(), users.value());
///     users.next()?;
/// }
/// // The same as an `Iterator`:
/// for entry in users.entries().take(100) {
///     let (key, value) = entry?;
///     println!("{key:?} = {value:?}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct Iter {
    /// Dropped before what it reads from.
    cursor: VisibleCursor<MergeCursor>,
    _pins: Box<dyn Send>,
}

impl Iter {
    /// What `view` shows of `sources`; `pins` keeps their files and snapshot from going away.
    pub(crate) fn new(sources: MergeCursor, view: View, pins: Box<dyn Send>) -> Self {
        Self {
            cursor: VisibleCursor::new(sources, view),
            _pins: pins,
        }
    }

    /// Whether the iterator stands on a key.
    #[inline]
    #[must_use]
    pub fn valid(&self) -> bool {
        self.cursor.valid()
    }

    /// Goes to the first key of the range.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption), [`Error::Io`](crate::Error::Io), and
    /// [`Error::WouldBlock`](crate::Error::WouldBlock) for an iterator limited to memory.
    pub fn seek_to_first(&mut self) -> Result<()> {
        self.cursor.seek_to_first()
    }

    /// Goes to the last key of the range.
    ///
    /// # Errors
    /// As [`Iter::seek_to_first`].
    pub fn seek_to_last(&mut self) -> Result<()> {
        self.cursor.seek_to_last()
    }

    /// Goes to the range's first key at or behind `key`.
    ///
    /// # Errors
    /// As [`Iter::seek_to_first`].
    pub fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.cursor.seek(key)
    }

    /// Goes to the range's last key at or before `key`.
    ///
    /// # Errors
    /// As [`Iter::seek_to_first`].
    pub fn seek_back(&mut self, key: &[u8]) -> Result<()> {
        self.cursor.seek_back(key)
    }

    /// Goes one key on; does nothing where it stands nowhere.
    ///
    /// # Errors
    /// As [`Iter::seek_to_first`].
    #[allow(clippy::should_implement_trait)] // it moves, and may fail; `entries` gives an `Iterator`
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        self.cursor.next()
    }

    /// Goes one key back; does nothing where it stands nowhere.
    ///
    /// # Errors
    /// As [`Iter::seek_to_first`].
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        self.cursor.prev()
    }

    /// The key.
    ///
    /// # Panics
    /// Where the iterator stands nowhere, as do [`Iter::value`] and [`Iter::pin_value`].
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.cursor.key()
    }

    /// The value, until the next move.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.cursor.value()
    }

    /// The value, for as long as it is held; not copied.
    #[must_use]
    pub fn pin_value(&self) -> Slice {
        self.cursor.pin_value()
    }

    /// When the value expires, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<UnixMillis> {
        self.cursor.deadline()
    }

    /// The entries from where the iterator stands to the end of the range; all of them, if it stands
    /// nowhere.
    #[must_use]
    pub fn entries(self) -> Entries {
        Entries::new(self, Way::On)
    }

    /// The entries from where the iterator stands back to the beginning of the range; all of them, if
    /// it stands nowhere.
    #[must_use]
    pub fn entries_back(self) -> Entries {
        Entries::new(self, Way::Back)
    }
}

impl fmt::Debug for Iter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.valid().then(|| self.key().escape_ascii().to_string());
        f.debug_struct("Iter")
            .field("key", &key)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    On,
    Back,
}

/// Keys and values in order, as an [`Iterator`]; ends after the first error.
#[derive(Debug)]
pub struct Entries {
    iter: Iter,
    way: Way,
    /// Made before the next entry is taken; `None`: at the end.
    next_move: Option<Move>,
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Stay,
    ToEdge,
    Step,
}

impl Entries {
    fn new(iter: Iter, way: Way) -> Self {
        let first = if iter.valid() {
            Move::Stay
        } else {
            Move::ToEdge
        };
        Self {
            iter,
            way,
            next_move: Some(first),
        }
    }

    fn make(&mut self, step: Move) -> Result<()> {
        match (step, self.way) {
            (Move::Stay, _) => Ok(()),
            (Move::ToEdge, Way::On) => self.iter.seek_to_first(),
            (Move::ToEdge, Way::Back) => self.iter.seek_to_last(),
            (Move::Step, Way::On) => self.iter.next(),
            (Move::Step, Way::Back) => self.iter.prev(),
        }
    }
}

impl Iterator for Entries {
    type Item = Result<(Vec<u8>, Slice)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.next_move.take()?;
        if let Err(error) = self.make(step) {
            return Some(Err(error));
        }
        if !self.iter.valid() {
            return None;
        }
        self.next_move = Some(Move::Step);
        Some(Ok((self.iter.key().to_vec(), self.iter.pin_value())))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;
    use std::sync::Arc;

    use ringwood_env::SystemClock;

    use super::testing::{Entry, VecCursor};
    use super::*;
    use crate::key::{Kind, SeqNo};

    fn iter(fail_at: Option<u32>) -> Iter {
        let entry = |n: u64| Entry {
            user: n.to_string().into_bytes(),
            seq: SeqNo::new(n),
            kind: Kind::Put,
            value: vec![b'v'; 1],
        };
        let mut source = VecCursor::new((1..=5).map(entry).collect());
        if let Some(n) = fail_at {
            source.fail_at_move(n);
        }
        let view = View {
            at: SeqNo::MAX,
            lower: Bound::Unbounded,
            upper: Bound::Excluded(b"5".to_vec()),
            tombstones: Vec::new(),
            deadlines: Arc::new(SystemClock),
            tier: crate::cursor::ReadTier::Disk,
        };
        Iter::new(MergeCursor::new(vec![Box::new(source)]), view, Box::new(()))
    }

    fn keys(entries: Entries) -> String {
        entries
            .map(|entry| String::from_utf8(entry.unwrap().0).unwrap())
            .collect()
    }

    #[test]
    fn entries_go_from_where_it_stands_or_through_all() {
        assert_eq!(keys(iter(None).entries()), "1234");
        assert_eq!(keys(iter(None).entries_back()), "4321");
        let at_three = || {
            let mut iter = iter(None);
            iter.seek(b"3").unwrap();
            iter
        };
        assert_eq!(keys(at_three().entries()), "34");
        assert_eq!(keys(at_three().entries_back()), "321");
    }

    #[test]
    fn entries_end_after_an_error() {
        let mut entries = iter(Some(2)).entries();
        let ok: Vec<_> = entries.by_ref().map(|entry| entry.is_ok()).collect();
        assert_eq!(ok, [true, true, false]);
        assert!(entries.next().is_none());
    }
}
