//! Versions and what they replace.
//!
//! # Invariants
//! - `version-1`: merging vectors is associative, commutative and idempotent.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use crate::bytes::hexadecimal;
use crate::dot::{Dot, Incarnation};
use crate::hlc::Hlc;

/// Names a write and says when it happened. Ordered as last-write-wins orders: by time, ties by
/// incarnation and counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// When.
    pub time: Hlc,
    /// Which.
    pub dot: Dot,
}

impl Version {
    /// Bytes of its text.
    pub const TEXT_LEN: usize = 33;

    /// As [`Display`](fmt::Display) writes it: time and incarnation, in hexadecimal.
    #[must_use]
    pub fn to_text(self) -> [u8; Self::TEXT_LEN] {
        let mut text = [b'-'; Self::TEXT_LEN];
        text[..16].copy_from_slice(&hexadecimal(self.time.to_bits()));
        text[17..].copy_from_slice(&hexadecimal(self.dot.incarnation.get()));
        text
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_text();
        f.pad(str::from_utf8(&text).expect("digits are ASCII"))
    }
}

/// A set of dots of one partition: for each incarnation, all from 1 up to a counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VersionVector {
    /// Sorted by incarnation; counters are at least 1.
    entries: Vec<(Incarnation, u64)>,
}

impl VersionVector {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// The largest counter of `incarnation` in the set; 0 for none.
    #[must_use]
    pub fn counter(&self, incarnation: Incarnation) -> u64 {
        self.find(incarnation)
            .map_or(0, |index| self.entries[index].1)
    }

    /// Whether `dot` is in the set.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        dot.counter <= self.counter(dot.incarnation)
    }

    /// Adds `dot` and all earlier ones of its incarnation.
    pub fn add(&mut self, dot: Dot) {
        if dot.counter == 0 {
            return;
        }
        match self.find(dot.incarnation) {
            Ok(index) => self.entries[index].1 = self.entries[index].1.max(dot.counter),
            Err(index) => self.entries.insert(index, (dot.incarnation, dot.counter)),
        }
    }

    /// Adds every dot of `other`.
    pub fn merge(&mut self, other: &Self) {
        for dot in other.iter() {
            self.add(dot);
        }
    }

    /// The last dot of each incarnation, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Dot> + '_ {
        self.entries.iter().map(|&(incarnation, counter)| Dot {
            incarnation,
            counter,
        })
    }

    /// Whether every dot of `other` is in this set.
    #[must_use]
    pub fn descends(&self, other: &Self) -> bool {
        other.iter().all(|dot| self.covers(dot))
    }

    fn find(&self, incarnation: Incarnation) -> Result<usize, usize> {
        self.entries
            .binary_search_by_key(&incarnation, |entry| entry.0)
    }
}

/// By inclusion; `None` for concurrent vectors.
impl PartialOrd for VersionVector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.descends(other), other.descends(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

impl FromIterator<Dot> for VersionVector {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut vector = Self::new();
        dots.into_iter().for_each(|dot| vector.add(dot));
        vector
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn vectors() -> impl Strategy<Value = VersionVector> {
        let dots = (0u64..6, 0u64..9).prop_map(|(incarnation, counter)| Dot {
            incarnation: Incarnation::new(incarnation),
            counter,
        });
        proptest::collection::vec(dots, 0..8).prop_map(VersionVector::from_iter)
    }

    fn merged(a: &VersionVector, b: &VersionVector) -> VersionVector {
        let mut sum = a.clone();
        sum.merge(b);
        sum
    }

    proptest! {
        #[test]
        fn version_1_merge_is_a_join(a in vectors(), b in vectors(), c in vectors()) {
            prop_assert_eq!(merged(&a, &a), a.clone());
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert!(merged(&a, &b) >= a && merged(&a, &b) >= b);
        }

        #[test]
        fn order_is_inclusion(a in vectors(), b in vectors()) {
            let incarnations = (0..6).map(Incarnation::new);
            let includes = incarnations.clone().all(|i| a.counter(i) >= b.counter(i));
            prop_assert_eq!(a.descends(&b), includes);
            prop_assert_eq!(a == b, a.partial_cmp(&b) == Some(Ordering::Equal));
            for dot in a.iter() {
                prop_assert!(a.covers(dot));
                let next = Dot { counter: dot.counter + 1, ..dot };
                prop_assert!(!a.covers(next));
            }
        }
    }

    #[test]
    fn a_version_reads_as_its_time_and_its_incarnation() {
        let version = Version {
            time: Hlc::from_bits(0x01a2_1e75_06fd_0001),
            dot: Dot {
                incarnation: Incarnation::new(0x9f1e),
                counter: 7,
            },
        };
        let text = std::format!("{}-{}", version.time, version.dot.incarnation);
        assert_eq!(std::format!("{version}"), text);
        assert_eq!(text, "01a21e7506fd0001-0000000000009f1e");
    }

    #[test]
    fn last_write_wins_compares_time_first() {
        let version = |time, incarnation| Version {
            time: Hlc::at(time),
            dot: Dot {
                incarnation: Incarnation::new(incarnation),
                counter: 1,
            },
        };
        assert!(version(2, 1) > version(1, 9));
        assert!(version(2, 2) > version(2, 1));
    }
}
