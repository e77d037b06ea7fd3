//! Rules 1, 2, 3 and 6: who may mint, under which dot and time, and what a new version replaces.
//!
//! *Not here*: that the counter is durable before the version leaves (rule 1).

use ringwood_types::{Dot, Hlc, Object, Past, Sibling};

use super::plant::Plant;
use super::{Clocks, Conflict};

/// Most versions of a key that concurrent writes may pile up.
pub const SIBLINGS_MAX: usize = 256;

/// What a node is to a partition, in the epoch that it has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An owner that answers for all that it has acknowledged.
    Whole,
    /// An owner whose data is not complete yet.
    Rebuilding,
    /// It will be an owner.
    Pending,
    /// No replica: it may hold hints.
    Guest,
}

/// Why a version is not minted. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMinted {
    /// This node is not the one to do it.
    Role(Role),
    /// Its time would be later than the coordinator allows.
    AboveLimit,
    /// The context names a write that was never made.
    ForgedContext,
    /// The context names more versions than one is written with.
    ContextTooLong,
    /// The key has too many versions that do not know of each other; read it and write with its context.
    TooManySiblings,
}

impl Role {
    /// Whether it mints. Where the last write wins, only with a hybrid time past all that was purged.
    ///
    /// # Errors
    /// [`NotMinted::Role`].
    pub const fn may_mint(self, conflict: Conflict) -> Result<(), NotMinted> {
        match (self, conflict) {
            (Self::Whole, _) | (Self::Rebuilding | Self::Guest, Conflict::Siblings) => Ok(()),
            _ => Err(NotMinted::Role(self)),
        }
    }
}

/// The time of a new version: later than all this node has seen (`hybrid`) and than `above`, and not
/// later than `limit` (rule 17). `wall` is what its clock shows.
///
/// # Errors
/// [`NotMinted::AboveLimit`].
pub fn time(wall: Hlc, hybrid: Hlc, above: Hlc, limit: Hlc) -> Result<Hlc, NotMinted> {
    let past = hybrid.max(above).to_bits().saturating_add(1);
    let time = wall.max(Hlc::from_bits(past));
    if time <= above || time <= hybrid || time > limit {
        return Err(NotMinted::AboveLimit);
    }
    Ok(time)
}

impl Clocks {
    /// What a new version replaces, where siblings stay: exactly what its client has read. A delete
    /// without a context takes that of its minter. `last` is the last counter minted here.
    ///
    /// # Errors
    /// [`NotMinted`].
    pub fn past(
        &self,
        context: Option<Past>,
        held: &Object,
        is_delete: bool,
        last: u64,
    ) -> Result<Past, NotMinted> {
        let past = match context {
            None if is_delete => held.context(),
            given => given.unwrap_or_default(),
        };
        let ahead = |dot: Dot| dot.incarnation == self.incarnation && dot.counter > last;
        if past
            .vector()
            .iter()
            .chain(past.singles().iter().copied())
            .any(ahead)
        {
            return Err(NotMinted::ForgedContext);
        }
        if past.len() > Past::DOTS_MAX {
            return Err(NotMinted::ContextTooLong);
        }
        let stay = held.siblings().iter();
        if stay.filter(|one| !past.covers(one.dot())).count() >= SIBLINGS_MAX {
            return Err(NotMinted::TooManySiblings);
        }
        Ok(past)
    }

    /// What the minter holds with `minted`, and sends: the whole object (rule 2).
    #[must_use]
    pub fn minted(&self, held: &Object, minted: Sibling) -> Object {
        let mut object = held.clone();
        object.retain(|one| !minted.past.covers(one.dot()));
        object.insert(minted);
        object
    }

    /// What is sent of an object whose newest version is `dot`.
    #[must_use]
    pub fn message(&self, object: &Object, dot: Dot) -> Object {
        let mut sent = object.clone();
        if self.planted.has(Plant::VersionAlone) {
            sent.retain(|one| one.dot() == dot);
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringwood_types::{Clock, Incarnation};

    #[test]
    fn a_time_lies_between_what_it_is_told() {
        let at = Hlc::from_bits;
        assert_eq!(time(at(9), at(3), at(4), at(9)), Ok(at(9)));
        assert_eq!(time(at(1), at(3), at(7), at(9)), Ok(at(8)));
        assert_eq!(time(at(1), at(7), at(3), at(8)), Ok(at(8)));
        assert_eq!(time(at(1), at(8), at(3), at(8)), Err(NotMinted::AboveLimit));
        let end = at(u64::MAX);
        assert_eq!(time(at(1), at(1), end, end), Err(NotMinted::AboveLimit));
        assert_eq!(time(at(1), end, at(1), end), Err(NotMinted::AboveLimit));
    }

    #[test]
    fn guests_and_those_who_lag_do_not_mint_where_the_last_write_wins() {
        let may = |role: Role, conflict| role.may_mint(conflict).is_ok();
        for role in [Role::Rebuilding, Role::Guest] {
            assert!(may(role, Conflict::Siblings) && !may(role, Conflict::LastWriteWins));
        }
        assert!(!may(Role::Pending, Conflict::Siblings));
        assert!(may(Role::Whole, Conflict::LastWriteWins));
    }

    #[test]
    fn contexts_that_were_never_given_out_are_refused() {
        let me = Incarnation::new(1);
        let clocks = Clocks::new(me, Clock::new(), Clock::new());
        let of = |incarnation, counter| {
            let mut past = Past::new();
            past.add_all_to(Dot {
                incarnation,
                counter,
            });
            past
        };
        let past = |context| clocks.past(Some(context), &Object::new(), false, 4);
        assert_eq!(past(of(me, 4)), Ok(of(me, 4)));
        assert_eq!(past(of(me, 5)), Err(NotMinted::ForgedContext));
        let mut long = Past::new();
        for other in 2..1027 {
            long.merge(&of(Incarnation::new(other), 1));
        }
        assert_eq!(past(long), Err(NotMinted::ContextTooLong));
    }
}
