//! How the bytes that expire spread over their deadlines: what share of a table has expired at a given time
//! can be told without opening it, and one far deadline hides nothing.
//!
//! Deadlines fall into *buckets* by how far they lie behind the making of the table, four to each doubling:
//! a bucket's bytes count as expired with its last deadline, so at most a quarter late of their time to live.
//! The number of buckets does not grow with the table.

use ringwood_env::UnixMillis;

/// Least difference that is told apart: about a second.
const FINEST_LOG2: u32 = 10;
/// Buckets to each doubling, as a power of two.
const BUCKETS_LOG2: u32 = 2;

/// One bucket that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiring {
    /// The greatest deadline among them.
    pub(crate) deadline: UnixMillis,
    /// Bytes of keys and values before compression.
    pub(crate) len: u64,
}

/// Bytes by deadline, ascending. Empty for tables in which nothing expires, and for those of earlier builds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spread(Vec<Expiring>);

impl Spread {
    /// As it was stored; `None` where it is not in order.
    pub(crate) fn from_buckets(buckets: Vec<Expiring>) -> Option<Self> {
        let in_order = buckets.is_sorted_by(|a, b| a.deadline < b.deadline);
        in_order.then_some(Self(buckets))
    }

    pub(crate) fn buckets(&self) -> &[Expiring] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts an entry of a table that was made at `made`.
    pub(super) fn add(&mut self, deadline: UnixMillis, len: u64, made: UnixMillis) {
        let wanted = bucket(deadline, made);
        let at = self
            .0
            .partition_point(|one| bucket(one.deadline, made) < wanted);
        match self.0.get_mut(at) {
            Some(one) if bucket(one.deadline, made) == wanted => {
                one.deadline = one.deadline.max(deadline);
                one.len = one.len.saturating_add(len);
            }
            _ => self.0.insert(at, Expiring { deadline, len }),
        }
    }

    /// Whether anything may have its deadline behind `after`, up to `until`. Where nothing is known it may.
    pub(crate) fn may_expire_within(&self, after: UnixMillis, until: UnixMillis) -> bool {
        let at = self.0.partition_point(|one| one.deadline <= after);
        let starts = at
            .checked_sub(1)
            .map_or(0, |before| self.0[before].deadline);
        self.is_empty() || (at < self.0.len() && starts < until)
    }

    /// Bytes of which it is certain that their deadline lies before `now`.
    pub(crate) fn expired_len(&self, now: UnixMillis) -> u64 {
        let expired = self.0.iter().take_while(|one| one.deadline < now);
        expired.fold(0, |sum, one| sum.saturating_add(one.len))
    }
}

/// Which bucket a deadline falls into.
fn bucket(deadline: UnixMillis, made: UnixMillis) -> u64 {
    let behind = deadline.saturating_sub(made);
    let Some(log2) = behind.checked_ilog2().filter(|log2| *log2 >= FINEST_LOG2) else {
        return 0;
    };
    let part = (behind >> (log2 - BUCKETS_LOG2)) & ((1 << BUCKETS_LOG2) - 1);
    (u64::from(log2 - FINEST_LOG2) << BUCKETS_LOG2) + part + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MADE: u64 = 1_700_000_000_000;
    const HOUR: u64 = 3_600_000;

    #[test]
    fn one_far_deadline_hides_nothing() {
        let mut spread = Spread::default();
        for entry in 0..900 {
            spread.add(MADE + HOUR + entry, 100, MADE);
        }
        spread.add(u64::MAX, 10_000, MADE);
        assert!(spread.may_expire_within(MADE + HOUR, MADE + HOUR + 1));
        let rest = MADE + HOUR + 899;
        assert!(spread.may_expire_within(rest - 1, rest));
        assert!(
            spread.may_expire_within(rest, rest + 1),
            "before the far one it may"
        );
        assert!(!spread.may_expire_within(u64::MAX, u64::MAX));
        assert_eq!(spread.expired_len(MADE + HOUR), 0);
        assert_eq!(spread.expired_len(MADE + HOUR + 900), 90_000);
        assert_eq!(
            spread.expired_len(u64::MAX),
            90_000,
            "not before it is past"
        );
    }

    proptest! {
        #[test]
        fn what_counts_as_expired_has_and_what_has_for_long_counts(
            entries in prop::collection::vec((0..1_u64 << 48, 1..1000_u64), 0..200),
            shifts in prop::collection::vec(0..48_u32, 200),
            later in 0..1_u64 << 48,
        ) {
            let mut spread = Spread::default();
            let deadlines: Vec<_> = entries.iter().zip(shifts).map(|((behind, len), shift)| {
                (MADE - 5 * HOUR + (behind >> shift), *len)
            }).collect();
            for (deadline, len) in &deadlines {
                spread.add(*deadline, *len, MADE);
            }
            prop_assert!(spread.buckets().len() <= 200);
            prop_assert_eq!(Spread::from_buckets(spread.buckets().to_vec()), Some(spread.clone()));
            let before = |now| -> u64 {
                deadlines.iter().filter(|(deadline, _)| *deadline < now).map(|(_, len)| len).sum()
            };
            let now = MADE + later;
            let expired = spread.expired_len(now);
            prop_assert!(expired <= before(now));
            prop_assert!(expired >= before(MADE + (later - later / 4).saturating_sub(1024)));
            prop_assert_eq!(spread.expired_len(u64::MAX), before(u64::MAX));
        }
    }
}
