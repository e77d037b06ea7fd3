//! Rules 8, 9 and 11: how replicas tell each other what they hold, and what absence says.
//!
//! A key may be applied as soon as all that the source sent of it is there: that is a message, or the audit
//! of one leaf. The clocks are merged at the end, when every key of the partition was; a session that
//! breaks off before merges none.

use ringwood_types::{Clock, Epoch, Hlc, Incarnation, Object};

use super::plant::Plant;
use super::store::{Stored, Way, dots};
use super::{Clocks, Conflict};

/// What a source sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// What the destination has not seen (rule 8).
    Fast,
    /// All that it holds: what it does not hold and has seen is gone (rule 9).
    Full,
}

/// What goes from a source to a destination beside the objects, as of one snapshot of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What is sent.
    pub path: Path,
    /// The stint that asked; for another one the session is void.
    pub destination: Incarnation,
    /// What the source had seen.
    pub seen: Clock,
    /// What it had purged.
    pub purged: Clock,
    /// Its hybrid time: to be merged with the clock, or a later version gets an earlier time.
    pub hybrid: Hlc,
}

/// What of `object` a source sends to someone who has seen `seen`; `None` for nothing.
#[must_use]
pub fn sent(object: &Object, path: Path, seen: &Clock) -> Option<Object> {
    let mut sent = object.clone();
    if path == Path::Fast {
        sent.retain(|sibling| !seen.covers(sibling.dot()));
    }
    (!sent.is_empty()).then_some(sent)
}

/// Rule 11b, the serve fence: every other replica of the read set has applied the epoch of the newcomer,
/// and the newcomer has seen all that it purged. `others` are (epoch applied, purged).
#[must_use]
pub fn may_serve<'a>(
    newcomer: &Clocks,
    since: Epoch,
    others: impl IntoIterator<Item = (Epoch, &'a Clock)>,
) -> bool {
    let mut others = others.into_iter();
    others.all(|(applied, purged)| applied >= since && newcomer.seen.contains(purged))
}

impl Clocks {
    /// The purge fence: how this destination pulls from a source that has purged `purged`. Both have
    /// applied the higher of their epochs.
    #[must_use]
    pub fn path(&self, purged: &Clock) -> Path {
        if self.seen.contains(purged) || self.planted.has(Plant::NoFence) {
            Path::Fast
        } else {
            Path::Full
        }
    }

    /// What this source says to `destination`.
    #[must_use]
    pub fn session(&self, path: Path, destination: Incarnation, hybrid: Hlc) -> Session {
        Session {
            path,
            destination,
            seen: self.seen.clone(),
            purged: self.purged.clone(),
            hybrid,
        }
    }

    /// Applies all that the source sent of a key; an empty object for nothing. With a full compare every
    /// key that is held here is to be asked for.
    #[must_use]
    pub fn receive(
        &self,
        session: &Session,
        held: &Object,
        received: &Object,
        conflict: Conflict,
    ) -> Stored {
        if session.destination != self.incarnation || self.planted.has(Plant::DataNotStored) {
            return Stored::default();
        }
        let mut left = held.clone();
        let there = dots(received);
        let removes = session.path == Path::Full && !self.planted.has(Plant::AbsenceIgnored);
        let gone = removes
            && left.retain(|one| !session.seen.covers(one.dot()) || there.covers(one.dot()));
        let mut stored = self.store(&left, received, conflict, Way::Exchange);
        if gone && stored.object.is_none() {
            stored.object = Some(left);
        }
        stored
    }

    /// Merges the clocks of a session whose every key was received. False: it was for another stint.
    pub fn finish(&mut self, session: &Session) -> bool {
        if session.destination != self.incarnation {
            return false;
        }
        self.seen.merge(&session.seen);
        if session.path == Path::Full {
            self.purged.merge(&session.purged);
        }
        true
    }
}
