//! What a user sees of a sorted source of changes at one moment.
//!
//! *Invariants*
//! - `visible-1`: of each user key exactly the newest change at or before the moment counts. It is
//!   shown unless it is a delete, is expired, or a newer range delete of that time covers it. Nothing
//!   older ever shows in its place.
//! - `visible-2`: going forward, the source stands on the entry that is shown; going backward, it
//!   stands before every change of the key that is shown, as only then the newest is known.
//!
//! Long runs of what is not shown are cut short: many changes of one key by a new search, keys under
//! a range delete by [`Cursor::skip_older`].

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use ringwood_env::UnixMillis;

use crate::bytes::{compare, equal};
use crate::clock::Deadlines;
use crate::cursor::{Cursor, ReadTier};
use crate::error::{Corruption, CorruptionKind, Result};
use crate::key::{InternalKey, Kind, SeqNo, split_deadline};
use crate::range_tombstone::{RangeTombstoneCursor, RangeTombstones};
use crate::slice::Slice;

/// Entries passed one by one before something faster is tried: about what a search costs.
const PATIENCE: u32 = 16;
const DEADLINE_LEN: usize = 8;

/// What part of a source is seen, and as of when.
pub(crate) struct View {
    /// The newest change that counts.
    pub(crate) at: SeqNo,
    pub(crate) lower: Bound<Vec<u8>>,
    pub(crate) upper: Bound<Vec<u8>>,
    /// Range deletes of every source.
    pub(crate) tombstones: Vec<Arc<RangeTombstones>>,
    /// Asked for the time once, and only if something may be expired.
    pub(crate) deadlines: Arc<dyn Deadlines>,
    pub(crate) tier: ReadTier,
}

/// The user keys of a source that a [`View`] shows.
pub(crate) struct VisibleCursor<C> {
    entries: C,
    judge: Judge,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    place: Place,
    /// `Backward`: the key shown. Otherwise scratch.
    key: Vec<u8>,
    /// `Backward`: the value shown, as stored.
    value: Slice,
    /// Of the entry shown.
    deadline: Option<UnixMillis>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing is shown.
    Nowhere,
    Forward,
    Backward,
}

impl<C: Cursor> VisibleCursor<C> {
    pub(crate) fn new(entries: C, view: View) -> Self {
        Self {
            entries,
            judge: Judge::new(&view),
            lower: view.lower,
            upper: view.upper,
            place: Place::Nowhere,
            key: Vec::new(),
            value: Slice::empty(),
            deadline: None,
        }
    }

    /// Whether a key is shown.
    #[inline]
    pub(crate) fn valid(&self) -> bool {
        self.place != Place::Nowhere
    }

    pub(crate) fn seek_to_first(&mut self) -> Result<()> {
        self.place = Place::Nowhere;
        match &self.lower {
            Bound::Included(lower) => self.entries.seek(self.judge.newest_of(lower))?,
            Bound::Excluded(lower) => self.entries.seek(InternalKey::after_all(lower))?,
            Bound::Unbounded => self.entries.seek_to_first()?,
        }
        self.find_forward(false)
    }

    pub(crate) fn seek_to_last(&mut self) -> Result<()> {
        self.place = Place::Nowhere;
        match &self.upper {
            Bound::Included(upper) => self.entries.seek_back(InternalKey::after_all(upper))?,
            Bound::Excluded(upper) => self.entries.seek_back(before_all(upper))?,
            Bound::Unbounded => self.entries.seek_to_last()?,
        }
        self.find_backward()
    }

    /// Goes to the first key at or behind `target`.
    pub(crate) fn seek(&mut self, target: &[u8]) -> Result<()> {
        if is_below(&self.lower, target) {
            return self.seek_to_first();
        }
        self.place = Place::Nowhere;
        self.entries.seek(self.judge.newest_of(target))?;
        self.find_forward(false)
    }

    /// Goes to the last key at or before `target`.
    pub(crate) fn seek_back(&mut self, target: &[u8]) -> Result<()> {
        if is_above(&self.upper, target) {
            return self.seek_to_last();
        }
        self.place = Place::Nowhere;
        self.entries.seek_back(InternalKey::after_all(target))?;
        self.find_backward()
    }

    /// Goes one key on; does nothing where none is shown.
    pub(crate) fn next(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Nowhere => Ok(()),
            Place::Forward => {
                self.key.clear();
                self.key.extend_from_slice(self.entries.key().user);
                self.entries.next()?;
                self.find_forward(true)
            }
            Place::Backward => {
                self.entries.seek(InternalKey::after_all(&self.key))?;
                self.find_forward(false)
            }
        }
    }

    /// Goes one key back; does nothing where none is shown.
    pub(crate) fn prev(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Nowhere => Ok(()),
            Place::Forward => {
                self.key.clear();
                self.key.extend_from_slice(self.entries.key().user);
                self.entries.seek_back(before_all(&self.key))?;
                self.find_backward()
            }
            Place::Backward => self.find_backward(),
        }
    }

    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        match self.place {
            Place::Backward => &self.key,
            _ => self.entries.key().user,
        }
    }

    /// The value without its deadline.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        let stored = match self.place {
            Place::Backward => &self.value,
            _ => self.entries.value(),
        };
        &stored[self.prefix_len()..]
    }

    pub(crate) fn pin_value(&self) -> Slice {
        let stored = match self.place {
            Place::Backward => self.value.clone(),
            _ => self.entries.pin_value(),
        };
        stored.skip(self.prefix_len())
    }

    /// When the value expires, if ever.
    pub(crate) fn deadline(&self) -> Option<UnixMillis> {
        self.deadline
    }

    fn prefix_len(&self) -> usize {
        self.deadline.map_or(0, |_| DEADLINE_LEN)
    }

    /// Goes on from where the source stands to the first entry that is shown. `passing`: the changes
    /// of `self.key` are done with.
    fn find_forward(&mut self, mut passing: bool) -> Result<()> {
        let mut passed = 0;
        while self.entries.valid() {
            let key = self.entries.key();
            if is_above(&self.upper, key.user) {
                break;
            }
            passed += 1;
            if key.seq() > self.judge.at {
                self.pass_newer(passed)?;
                continue;
            }
            if passing && equal(key.user, &self.key) {
                self.pass_changes(passed)?;
                continue;
            }
            match self.judge.verdict(key, || self.entries.value())? {
                Verdict::Shown { deadline } => {
                    self.deadline = deadline;
                    self.place = Place::Forward;
                    break;
                }
                Verdict::Gone => {
                    passing = true;
                    self.key.clear();
                    self.key.extend_from_slice(key.user);
                    self.entries.next()?;
                }
                // Whatever else the key has at this moment is older, hence covered too.
                Verdict::Covered(cover) if passed % PATIENCE == 1 => {
                    let end = self.judge.cover_end(key.user);
                    self.entries.next()?;
                    if self.entries.valid() {
                        self.entries.skip_older(cover, before_all(end))?;
                    }
                }
                Verdict::Covered(_) => self.entries.next()?,
            }
        }
        Ok(())
    }

    /// Passes over a change newer than the moment.
    fn pass_newer(&mut self, passed: u32) -> Result<()> {
        if !passed.is_multiple_of(PATIENCE) {
            return self.entries.next();
        }
        let user = self.entries.key().user.to_vec();
        self.entries.seek(self.judge.newest_of(&user))
    }

    /// Passes over a change of `self.key`.
    fn pass_changes(&mut self, passed: u32) -> Result<()> {
        if !passed.is_multiple_of(PATIENCE) {
            return self.entries.next();
        }
        self.entries.seek(InternalKey::after_all(&self.key))
    }
}

/// The parts that go back.
impl<C: Cursor> VisibleCursor<C> {
    /// Goes back from where the source stands to the last key that is shown.
    fn find_backward(&mut self) -> Result<()> {
        let mut keys = 0;
        while self.entries.valid() {
            let user = self.entries.key().user;
            if is_below(&self.lower, user) {
                break;
            }
            self.key.clear();
            self.key.extend_from_slice(user);
            keys += 1;
            let Some(change) = self.pass_key_back()? else {
                continue;
            };
            let key = InternalKey::new(&self.key, change.seq, change.kind);
            match self.judge.verdict(key, || &change.value)? {
                Verdict::Shown { deadline } => {
                    self.deadline = deadline;
                    self.value = change.value;
                    self.place = Place::Backward;
                    break;
                }
                Verdict::Covered(cover) if keys % PATIENCE == 1 && self.entries.valid() => {
                    let start = self.judge.cover_start(&self.key);
                    self.entries.skip_older_back(cover, before_all(start))?;
                }
                Verdict::Covered(_) | Verdict::Gone => {}
            }
        }
        Ok(())
    }

    /// Goes back over every change of `self.key` and returns the newest at or before the moment.
    fn pass_key_back(&mut self) -> Result<Option<Change>> {
        let mut newest = None;
        for _ in 0..PATIENCE {
            match self.change_of_key() {
                None => return Ok(newest),
                Some(change) if change.seq <= self.judge.at => newest = Some(change),
                Some(_) => {}
            }
            self.entries.prev()?;
        }
        self.entries.seek(self.judge.newest_of(&self.key))?;
        let newest = self.change_of_key();
        self.entries.seek_back(before_all(&self.key))?;
        Ok(newest)
    }

    /// The entry on which the source stands, if it is of `self.key`.
    fn change_of_key(&self) -> Option<Change> {
        if !self.entries.valid() {
            return None;
        }
        let key = self.entries.key();
        equal(key.user, &self.key).then(|| Change {
            seq: key.seq(),
            kind: key.kind(),
            value: self.entries.pin_value(),
        })
    }
}

/// A change kept while the source moves on.
struct Change {
    seq: SeqNo,
    kind: Kind,
    value: Slice,
}

/// Decides what is shown.
struct Judge {
    at: SeqNo,
    /// Only sets that are not empty.
    tombstones: Vec<RangeTombstoneCursor>,
    /// Which of them gave the last [`Verdict::Covered`].
    covering: usize,
    deadlines: Arc<dyn Deadlines>,
    tier: ReadTier,
    now: Option<UnixMillis>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Shown {
        deadline: Option<UnixMillis>,
    },
    /// Deleted or expired.
    Gone,
    /// Under a newer range delete, of this sequence number.
    Covered(SeqNo),
}

impl Judge {
    fn new(view: &View) -> Self {
        let filled = view.tombstones.iter().filter(|set| !set.is_empty());
        Self {
            at: view.at,
            tombstones: filled
                .map(|set| RangeTombstoneCursor::new(Arc::clone(set)))
                .collect(),
            covering: 0,
            deadlines: Arc::clone(&view.deadlines),
            tier: view.tier,
            now: None,
        }
    }

    /// Where the newest change to `user` that counts stands.
    fn newest_of<'k>(&self, user: &'k [u8]) -> InternalKey<'k> {
        InternalKey::seek_to(user, self.at)
    }

    /// On the newest change of a key that counts; asks for its stored value only if needed.
    #[inline]
    fn verdict<'v>(
        &mut self,
        key: InternalKey<'_>,
        stored: impl FnOnce() -> &'v [u8],
    ) -> Result<Verdict> {
        if !self.tombstones.is_empty()
            && let Some(cover) = self.cover(key)
        {
            return Ok(Verdict::Covered(cover));
        }
        match key.kind() {
            Kind::Put => Ok(Verdict::Shown { deadline: None }),
            Kind::PutExpiring => self.verdict_on_expiring(stored()),
            Kind::Delete | Kind::RangeDelete => Ok(Verdict::Gone),
        }
    }

    fn verdict_on_expiring(&mut self, stored: &[u8]) -> Result<Verdict> {
        let (deadline, _) = split_deadline(stored).ok_or_else(|| {
            Corruption::new(Path::new("(unknown table)"), 0, CorruptionKind::Encoding)
        })?;
        let now = *self.now.get_or_insert_with(|| self.deadlines.now());
        if deadline <= now {
            self.deadlines.tell_passed(deadline, self.tier)?;
            return Ok(Verdict::Gone);
        }
        Ok(Verdict::Shown {
            deadline: Some(deadline),
        })
    }

    /// The newest range delete that counts, if it is newer than `key`.
    fn cover(&mut self, key: InternalKey<'_>) -> Option<SeqNo> {
        let mut newest = None;
        for (index, set) in self.tombstones.iter_mut().enumerate() {
            let cover = set.newest_covering(key.user, self.at);
            if cover > newest {
                newest = cover;
                self.covering = index;
            }
        }
        newest.filter(|&cover| cover > key.seq())
    }

    /// Excluded end of the fragment that covers `user`, after [`Verdict::Covered`] on it.
    fn cover_end(&mut self, user: &[u8]) -> &[u8] {
        let fragment = self.tombstones[self.covering].fragment_at(user);
        fragment.expect("the verdict was that it is covered").end
    }

    fn cover_start(&mut self, user: &[u8]) -> &[u8] {
        let fragment = self.tombstones[self.covering].fragment_at(user);
        fragment.expect("the verdict was that it is covered").start
    }
}

/// Where a search that wants no change of `user` or any later key ends, or one that wants all begins.
fn before_all(user: &[u8]) -> InternalKey<'_> {
    InternalKey::seek_to(user, SeqNo::MAX)
}

#[inline]
fn is_above(upper: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match upper {
        Bound::Included(upper) => compare(key, upper).is_gt(),
        Bound::Excluded(upper) => compare(key, upper).is_ge(),
        Bound::Unbounded => false,
    }
}

#[inline]
fn is_below(lower: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match lower {
        Bound::Included(lower) => compare(key, lower).is_lt(),
        Bound::Excluded(lower) => compare(key, lower).is_le(),
        Bound::Unbounded => false,
    }
}

#[cfg(test)]
mod tests;
