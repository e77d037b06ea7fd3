//! Rule 14: the dots of an incarnation that is gone, so that those that nobody has do not hold up purging
//! for ever. The metadata group decides when; here is what a replica does.

use alloc::vec::Vec;

use ringwood_types::{Clock, Dot, Incarnation};

use super::Clocks;

/// Incarnations whose dots are refused, but by rules 8 and 9: closed by rule 14, or by a start (rule 22).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Sorted; up to which counter.
    up_to: Vec<(Incarnation, u64)>,
}

impl Closed {
    /// Closes `incarnation`, a guest that goes on minting up to a counter.
    pub fn close(&mut self, incarnation: Incarnation, up_to: Option<u64>) {
        let up_to = up_to.unwrap_or(u64::MAX);
        match self.up_to.binary_search_by_key(&incarnation, |one| one.0) {
            Ok(at) => self.up_to[at].1 = self.up_to[at].1.max(up_to),
            Err(at) => self.up_to.insert(at, (incarnation, up_to)),
        }
    }

    /// Whether `dot`, if it is new here, is refused.
    #[must_use]
    pub fn refuses(&self, dot: Dot) -> bool {
        let at = self
            .up_to
            .binary_search_by_key(&dot.incarnation, |one| one.0);
        at.is_ok_and(|at| dot.counter <= self.up_to[at].1)
    }
}

impl Clocks {
    /// What this replica answers when it is asked for a closed incarnation: after a sync, from all that it
    /// holds.
    #[must_use]
    pub fn seen_of(&self, incarnation: Incarnation) -> Clock {
        self.seen.of(incarnation)
    }

    /// `incarnation` is settled, and `with` are those that took part: they have seen all of it. Newcomers
    /// learn it from them. Whether this replica took part.
    pub fn settle(
        &mut self,
        incarnation: Incarnation,
        up_to: Option<u64>,
        with: &[Incarnation],
    ) -> bool {
        let took_part = with.contains(&self.incarnation);
        if took_part {
            self.seen.add_up_to(incarnation, up_to.unwrap_or(u64::MAX));
        }
        took_part
    }
}
