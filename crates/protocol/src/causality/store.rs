//! Rule 4, store, and rule 17, the answer: what becomes of a version that arrives, whether for the first
//! time, late or again.

use alloc::vec::Vec;

use ringwood_types::{Clock, Dot, Hlc, Object, Sibling, Version};

use super::plant::Plant;
use super::{Answer, Clocks, Conflict};

/// How a version comes to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From its coordinator, as a hint or as a repair: dots of closed incarnations are refused.
    Message,
    /// In an exchange or a full compare (rules 8 and 9), or as a hint to a minter whose gap is open
    /// (rule 22).
    Exchange,
}

/// What becomes of a version where the last write wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lww {
    /// It is to be written, in place of what is held.
    pub is_written: bool,
    /// Its dot is new: to be added to the clock in the same record.
    pub is_new: bool,
    /// What is answered once that is durable; `None` where it is refused.
    pub answer: Option<Answer>,
}

/// What becomes of an object that arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// What the key holds now, if that changed; an empty object for nothing.
    pub object: Option<Object>,
    /// To be added to the clock, in the record that writes the object.
    pub dots: Vec<Dot>,
    /// Not taken: their incarnations are closed.
    pub refused: Vec<Dot>,
}

impl Stored {
    /// What is answered for the version `minted`, once this is durable; `None` where it was refused.
    /// `held` is what was held before, `hybrid` this replica's hybrid time.
    #[must_use]
    pub fn answer(&self, held: &Object, minted: Version, hybrid: Hlc) -> Option<Answer> {
        if self.refused.contains(&minted.dot) {
            return None;
        }
        let now = self.object.as_ref().unwrap_or(held);
        let is_held = now.get(minted.dot).is_some();
        Some(if is_held {
            Answer::Held
        } else {
            Answer::Older(hybrid)
        })
    }
}

impl Clocks {
    /// Stores a version where the last write wins. `held` is what the key has, `hybrid` this replica's
    /// hybrid time: never below the time of anything that it has seen.
    #[must_use]
    pub fn store_lww(
        &self,
        held: Option<Version>,
        incoming: Version,
        hybrid: Hlc,
        way: Way,
    ) -> Lww {
        let is_seen = self.seen.covers(incoming.dot) && !self.planted.has(Plant::SeenStoredAgain);
        let is_refused = !is_seen && way == Way::Message && self.closed.refuses(incoming.dot);
        let is_later = held.is_none_or(|held| incoming > held);
        let later = held.filter(|held| *held > incoming);
        let is_written = is_later && !is_seen && !is_refused;
        let is_held =
            is_written || held == Some(incoming) || is_seen && self.planted.has(Plant::SkipIsHeld);
        let answer = if is_held {
            Answer::Held
        } else {
            Answer::Older(later.map_or(hybrid, |later| later.time))
        };
        Lww {
            is_written,
            is_new: !is_seen && !is_refused,
            answer: (!is_refused).then_some(answer),
        }
    }

    /// Stores an object that arrived: all that its sender held of the key (rule 2).
    #[must_use]
    pub fn store(&self, held: &Object, incoming: &Object, conflict: Conflict, way: Way) -> Stored {
        let mut stored = Stored::default();
        for arrived in incoming.siblings() {
            let dot = arrived.dot();
            let again = self.planted.has(Plant::SeenStoredAgain);
            if self.seen.covers(dot) && !again {
                continue; // here already, or obsolete
            }
            if way == Way::Message && self.closed.refuses(dot) {
                stored.refused.push(dot);
                continue;
            }
            stored.dots.push(dot);
            if self.planted.has(Plant::ContextsSeen) {
                stored.dots.extend(range(arrived));
            }
            let now = stored.object.as_ref().unwrap_or(held).siblings();
            if now.iter().any(|one| replaces(one, arrived, conflict)) {
                continue;
            }
            let object = stored.object.get_or_insert_with(|| held.clone());
            object.retain(|one| !replaces(arrived, one, conflict));
            object.insert(arrived.clone());
        }
        stored
    }
}

/// Whether `one` replaces `other`, a version of the same key.
fn replaces(one: &Sibling, other: &Sibling, conflict: Conflict) -> bool {
    match conflict {
        Conflict::Siblings => one.past.covers(other.dot()),
        Conflict::LastWriteWins => one.version > other.version,
    }
}

fn range(sibling: &Sibling) -> Vec<Dot> {
    let up_to = |last: Dot| (1..=last.counter).map(move |counter| Dot { counter, ..last });
    sibling.past.vector().iter().flat_map(up_to).collect()
}

/// Everything of an object, as a clock.
pub(super) fn dots(object: &Object) -> Clock {
    object.siblings().iter().map(Sibling::dot).collect()
}
