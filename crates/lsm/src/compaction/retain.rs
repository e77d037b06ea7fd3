//! Which entries a flush or compaction keeps.
//!
//! Snapshots cut the order of changes into *stripes*: stripe 0 holds what the oldest snapshot sees,
//! the last one what no snapshot sees. Two changes in one stripe are seen by the same readers.
//!
//! *Invariants*
//! - `retain-1`: no reader at a snapshot, or at anything newer than the newest one, sees a difference.
//! - `retain-2`: of a user key the newest change of each stripe counts; what it hides within the stripe
//!   goes, be it hidden by a change of the key or by a range delete.
//! - `retain-3`: a delete or range delete goes when it is in stripe 0 (so everything it hides within
//!   the inputs goes as well) and nothing older lies below.
//! - `retain-4`: what has expired is turned into a delete at the same sequence number: it reveals
//!   nothing older, and a clock set back does not bring it back. The delete carries the deadline
//!   as long as there is an [`ExpiryFilter`], which is asked before it goes.

use std::cmp::Ordering;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ringwood_env::UnixMillis;

use crate::error::{Corruption, CorruptionKind, Result};
use crate::key::{InternalKey, Kind, SeqNo, split_deadline};
use crate::options::ExpiryFilter;
use crate::plant::{Plant, is_planted};
use crate::range_tombstone::{RangeTombstone, RangeTombstoneCursor, RangeTombstones, Readers};

/// What must be kept, and for whom.
pub(crate) struct Retention<'a> {
    /// Ascending: every open snapshot, and the newest change that was published when the list was
    /// made, as a reader may come who sees that and nothing newer.
    pub(crate) snapshots: Vec<SeqNo>,
    /// Whether any table that is older than the inputs and not one of them may hold a change to a
    /// user key from the first to the second (both included).
    pub(crate) older_below: &'a dyn Fn(&[u8], &[u8]) -> bool,
    pub(crate) expiry_filter: Option<Arc<dyn ExpiryFilter>>,
    /// What is past its deadline at this time has expired.
    pub(crate) now: UnixMillis,
}

impl Retention<'_> {
    /// The stripe of a change: how many snapshots do not see it.
    #[inline]
    fn stripe(&self, seq: SeqNo) -> usize {
        self.snapshots.partition_point(|&snapshot| snapshot < seq)
    }

    /// The newest sequence number in a stripe.
    #[inline]
    fn newest_in(&self, stripe: usize) -> SeqNo {
        self.snapshots.get(stripe).copied().unwrap_or(SeqNo::MAX)
    }

    /// The range deletes that are kept of `tombstones`.
    pub(crate) fn kept_ranges(&self, tombstones: &RangeTombstones) -> RangeTombstones {
        let mut kept = Vec::new();
        for fragment in tombstones.iter() {
            let mut last_stripe = None;
            for &seq in fragment.seqs {
                let stripe = self.stripe(seq);
                let is_hidden = last_stripe.replace(stripe) == Some(stripe);
                let hides_something =
                    || stripe > 0 || (self.older_below)(fragment.start, fragment.end);
                if !is_hidden && hides_something() {
                    kept.push(RangeTombstone {
                        start: fragment.start.to_vec(),
                        end: fragment.end.to_vec(),
                        seq,
                    });
                }
            }
        }
        RangeTombstones::from_tombstones(kept, Readers::At(&self.snapshots))
    }
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Keep,
    /// Kept as a delete, with the deadline that made it one if somebody may still ask.
    KeepAsDelete(Option<UnixMillis>),
    Drop(DropReason),
}

/// Why an entry is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// A newer change to the key hides it from every reader.
    Shadowed,
    /// A newer range delete does.
    Covered,
    /// A delete with nothing left to hide.
    Tombstone,
    /// Expired, with nothing left to hide.
    Expired,
}

/// How many entries were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) shadowed: u64,
    pub(crate) covered: u64,
    pub(crate) tombstones: u64,
    pub(crate) expired: u64,
}

impl Dropped {
    pub(crate) fn count(&mut self, reason: DropReason) {
        *match reason {
            DropReason::Shadowed => &mut self.shadowed,
            DropReason::Covered => &mut self.covered,
            DropReason::Tombstone => &mut self.tombstones,
            DropReason::Expired => &mut self.expired,
        } += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.shadowed + self.covered + self.tombstones + self.expired
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            shadowed,
            covered,
            tombstones,
            expired,
        } = self;
        write!(
            f,
            "{shadowed} shadowed, {covered} covered, {tombstones} tombstones, {expired} expired"
        )
    }
}

/// Decides on entries, which must come in order.
pub(crate) struct Sieve<'a> {
    retention: &'a Retention<'a>,
    cover: RangeTombstoneCursor,
    /// The user key of the last entry; `None` before the first.
    user: Option<Vec<u8>>,
    /// Its sequence number, and the stripe of that.
    seq: SeqNo,
    stripe: usize,
}

impl<'a> Sieve<'a> {
    /// `tombstones` are the range deletes of all inputs.
    pub(crate) fn new(retention: &'a Retention<'a>, tombstones: Arc<RangeTombstones>) -> Self {
        debug_assert!(retention.snapshots.is_sorted());
        Self {
            retention,
            cover: RangeTombstoneCursor::new(tombstones),
            user: None,
            seq: SeqNo::MAX,
            stripe: 0,
        }
    }

    /// Takes the next entry; whether its user key is another than the last one's.
    #[inline]
    pub(crate) fn take<'v>(
        &mut self,
        key: InternalKey<'_>,
        stored: impl FnOnce() -> &'v [u8],
    ) -> Result<(bool, Fate)> {
        let stripe = self.retention.stripe(key.seq());
        let is_new_key = self.enter(key)?;
        if !is_new_key && stripe == self.stripe {
            return Ok((false, Fate::Drop(DropReason::Shadowed)));
        }
        self.stripe = stripe;
        let newest = self.retention.newest_in(stripe);
        if self.cover.newest_covering(key.user, newest) > Some(key.seq()) {
            return Ok((is_new_key, Fate::Drop(DropReason::Covered)));
        }
        let fate = match key.kind() {
            Kind::Put => Fate::Keep,
            Kind::PutExpiring => {
                let (deadline, _) =
                    split_deadline(stored()).ok_or_else(|| malformed(CorruptionKind::Encoding))?;
                match deadline <= self.retention.now {
                    true => self.fate_of_delete(key.user, Some(deadline), DropReason::Expired),
                    false => Fate::Keep,
                }
            }
            Kind::Delete => {
                let deadline = split_deadline(stored()).map(|(deadline, _)| deadline);
                self.fate_of_delete(key.user, deadline, DropReason::Tombstone)
            }
            Kind::RangeDelete => return Err(malformed(CorruptionKind::Encoding).into()),
        };
        Ok((is_new_key, fate))
    }

    /// Notes the key of an entry; whether its user key is another than before.
    #[inline]
    fn enter(&mut self, key: InternalKey<'_>) -> Result<bool> {
        let last_seq = std::mem::replace(&mut self.seq, key.seq());
        let Some(last) = &mut self.user else {
            self.user = Some(key.user.to_vec());
            return Ok(true);
        };
        match key.user.cmp(last) {
            Ordering::Equal if key.seq() <= last_seq => Ok(false),
            Ordering::Greater => {
                last.clear();
                last.extend_from_slice(key.user);
                Ok(true)
            }
            // To go on would write a table in which keys cannot be found.
            Ordering::Less | Ordering::Equal => Err(malformed(CorruptionKind::Order).into()),
        }
    }

    fn fate_of_delete(
        &self,
        user: &[u8],
        deadline: Option<UnixMillis>,
        reason: DropReason,
    ) -> Fate {
        let filter = self.retention.expiry_filter.as_ref();
        let may_forget = || match (filter, deadline) {
            (Some(filter), Some(deadline)) => filter.may_forget(user, deadline),
            _ => true,
        };
        let nobody_looks_below = self.stripe == 0 || is_planted(Plant::TombstoneForgotten);
        if nobody_looks_below && !(self.retention.older_below)(user, user) && may_forget() {
            return Fate::Drop(reason);
        }
        Fate::KeepAsDelete(deadline.filter(|_| filter.is_some()))
    }
}

/// An entry no writer of ours makes. Sources check what they read; this is the second line, which does
/// not know the file.
fn malformed(kind: CorruptionKind) -> Corruption {
    Corruption::new(Path::new("(an input of a compaction)"), 0, kind)
}
