//! Pasts: the versions of one key that a version replaces, or that a reader has seen.
//!
//! An owner's dots of a key reach everybody in order, so a vector says all of them. A guest mints while no
//! owner can be reached, and what it holds may be dropped: of its dots each one is named on its own.
//!
//! # Invariants
//! - `past-1`: a past is a set of dots: [`Past::merge`] is its union, and equal sets are equal values.
//!
//! # Format
//! ```text
//! entries varint | entries × dot | singles varint | singles × dot         dot: incarnation u64 | counter varint
//! ```
//! Both ascend. The vector has one entry for an incarnation; it covers no single.

use alloc::vec::Vec;

use crate::bytes::{Reader, Writer};
use crate::dot::{Dot, Incarnation};
use crate::version::VersionVector;

const DOT_LEN_MIN: usize = 8 + 1;
const DOT_LEN_MAX: usize = 8 + 10;

/// A set of dots of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Past {
    vector: VersionVector,
    /// Sorted; the vector covers none of them.
    singles: Vec<Dot>,
}

impl Past {
    /// Most dots that a past is written with: entries and singles. Beyond it a write is refused.
    pub const DOTS_MAX: usize = 1024;
    /// Longest encoding of a past of that size.
    pub const LEN_MAX: usize = Self::DOTS_MAX * DOT_LEN_MAX + 2 * 2;

    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            vector: VersionVector::new(),
            singles: Vec::new(),
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many dots it takes to write it down.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vector.iter().len() + self.singles.len()
    }

    /// For each incarnation, up to where all of the key is in it.
    #[must_use]
    pub const fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// The dots that are named on their own, sorted.
    #[must_use]
    pub fn singles(&self) -> &[Dot] {
        &self.singles
    }

    /// Whether `dot`, of this key, is in it.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        self.vector.covers(dot) || self.singles.binary_search(&dot).is_ok()
    }

    /// Adds `dot` and all of the key that its minter, an owner, minted before it.
    pub fn add_all_to(&mut self, dot: Dot) {
        self.vector.add(dot);
        self.drop_covered();
    }

    /// Adds `dot` alone.
    pub fn add_single(&mut self, dot: Dot) {
        if dot.counter == 0 || self.vector.covers(dot) {
            return;
        }
        if let Err(at) = self.singles.binary_search(&dot) {
            self.singles.insert(at, dot);
        }
    }

    /// Adds every dot of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.vector.merge(&other.vector);
        self.singles.extend_from_slice(&other.singles);
        self.singles.sort_unstable();
        self.singles.dedup();
        self.drop_covered();
    }

    /// Appends the encoding.
    pub fn write(&self, to: &mut Writer) {
        to.varint(self.vector.iter().len() as u64);
        self.vector.iter().for_each(|dot| write_dot(dot, to));
        to.varint(self.singles.len() as u64);
        self.singles.iter().for_each(|&dot| write_dot(dot, to));
    }

    /// Takes a past off the front; `None` where there is none.
    #[must_use]
    pub fn read(from: &mut Reader<'_>) -> Option<Self> {
        let entries = read_dots(from)?;
        let one_each = |two: &[Dot]| two[0].incarnation != two[1].incarnation;
        let vector = VersionVector::from_iter(entries.iter().copied());
        let singles = read_dots(from)?;
        let covered = singles.iter().any(|&dot| vector.covers(dot));
        (entries.windows(2).all(one_each) && !covered).then_some(Self { vector, singles })
    }

    fn drop_covered(&mut self) {
        let vector = &self.vector;
        self.singles.retain(|&dot| !vector.covers(dot));
    }
}

impl From<VersionVector> for Past {
    fn from(vector: VersionVector) -> Self {
        Self {
            vector,
            singles: Vec::new(),
        }
    }
}

fn write_dot(dot: Dot, to: &mut Writer) {
    to.u64(dot.incarnation.get());
    to.varint(dot.counter);
}

fn read_dots(from: &mut Reader<'_>) -> Option<Vec<Dot>> {
    let count = from.short_count(DOT_LEN_MIN)?;
    let mut dots: Vec<Dot> = Vec::with_capacity(count);
    for _ in 0..count {
        let dot = Dot {
            incarnation: Incarnation::new(from.u64()?),
            counter: from.varint()?,
        };
        if dot.counter == 0 || dots.last().is_some_and(|last| *last >= dot) {
            return None;
        }
        dots.push(dot);
    }
    Some(dots)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::clock::Clock;
    use proptest::prelude::*;

    /// Owners are 0 to 3, guests 4 and 5.
    pub(crate) fn pasts() -> impl Strategy<Value = Past> {
        let dots = (0u64..6, 0u64..9).prop_map(|(incarnation, counter)| Dot {
            incarnation: Incarnation::new(incarnation),
            counter,
        });
        proptest::collection::vec(dots, 0..10).prop_map(|dots| {
            let mut past = Past::new();
            for dot in dots {
                if dot.incarnation.get() < 4 {
                    past.add_all_to(dot);
                } else {
                    past.add_single(dot);
                }
            }
            past
        })
    }

    pub(crate) fn dots() -> impl Iterator<Item = Dot> {
        (0..6).flat_map(|incarnation| {
            (1..10).map(move |counter| Dot {
                incarnation: Incarnation::new(incarnation),
                counter,
            })
        })
    }

    fn encoded(past: &Past) -> Vec<u8> {
        let mut writer = Writer::new();
        past.write(&mut writer);
        writer.into_vec()
    }

    proptest! {
        #[test]
        fn past_1_a_past_is_a_set(a in pasts(), b in pasts()) {
            let mut merged = a.clone();
            merged.merge(&b);
            for dot in dots() {
                prop_assert_eq!(merged.covers(dot), a.covers(dot) || b.covers(dot));
            }
            let mut turned = b.clone();
            turned.merge(&a);
            prop_assert_eq!(&turned, &merged);
            prop_assert_eq!(a == b, dots().all(|dot| a.covers(dot) == b.covers(dot)));
            prop_assert_eq!(a.is_empty(), !dots().any(|dot| a.covers(dot)));
        }

        #[test]
        fn a_clock_covers_a_past_with_every_dot_of_it(past in pasts(), extra: Vec<bool>) {
            let range: Clock = dots().filter(|&dot| past.covers(dot)).collect();
            prop_assert!(range.covers_past(&past));
            let some: Clock = dots().zip(extra.iter().chain(core::iter::repeat(&true)))
                .filter_map(|(dot, take)| take.then_some(dot)).collect();
            prop_assert_eq!(some.covers_past(&past), some.contains(&range));
        }

        #[test]
        fn a_past_is_read_back_and_has_one_encoding(past in pasts(), noise: Vec<u8>) {
            let bytes = encoded(&past);
            let mut reader = Reader(&bytes);
            prop_assert_eq!(Past::read(&mut reader), Some(past));
            prop_assert!(reader.is_empty());
            for cut in 0..bytes.len() {
                prop_assert_eq!(Past::read(&mut Reader(&bytes[..cut])), None);
            }
            let mut reader = Reader(&noise);
            if let Some(past) = Past::read(&mut reader) {
                prop_assert_eq!(encoded(&past), &noise[..noise.len() - reader.0.len()]);
            }
        }

        #[test]
        fn likely_bytes_are_a_past_or_refused(
            counts in (0u8..4, 0u8..4), dots in prop::collection::vec((0u64..3, 0u8..3), 0..8),
        ) {
            let mut writer = Writer::new();
            let (entries, singles) = dots.split_at(dots.len().min(usize::from(counts.0)));
            for (count, dots) in [(counts.0, entries), (counts.1, singles)] {
                writer.u8(count);
                for &(incarnation, counter) in dots {
                    writer.u64(incarnation);
                    writer.u8(counter);
                }
            }
            let bytes = writer.into_vec();
            let mut reader = Reader(&bytes);
            if let Some(past) = Past::read(&mut reader) {
                prop_assert_eq!(encoded(&past), &bytes[..bytes.len() - reader.0.len()]);
            }
        }
    }

    #[test]
    fn the_longest_past_has_its_length() {
        let mut past = Past::new();
        for incarnation in 0..Past::DOTS_MAX as u64 {
            past.add_all_to(Dot {
                incarnation: Incarnation::new(incarnation),
                counter: u64::MAX,
            });
        }
        assert_eq!(past.len(), Past::DOTS_MAX);
        assert!(encoded(&past).len() <= Past::LEN_MAX);
        assert!(encoded(&past).len() >= Past::LEN_MAX - 4);
    }
}
