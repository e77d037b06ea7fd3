//! The ring: which partition a key belongs to.
//!
//! The hash space is cut into 2^k equal slices, numbered in order; a key's partition is the top k
//! bits of XXH3-64, seeded by the cluster, over the *routed part* of the key.
//!
//! # Invariants
//! - `ring-1`: keys with the same routed part have the same partition.
//! - `ring-2`: a key whose first bytes are a prefix that determines a group belongs to that group.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::id::PartitionId;

/// How many partitions a cluster has: a power of two from 1 to 65,536, fixed when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PartitionCount {
    log2: u8,
}

impl PartitionCount {
    /// 256: for up to some tens of nodes.
    pub const DEFAULT: Self = Self { log2: 8 };

    /// `n` partitions; `None` where `n` is not a power of two up to 65,536.
    #[must_use]
    pub fn new(n: u32) -> Option<Self> {
        let log2 = u8::try_from(n.checked_ilog2()?).ok()?;
        (n.is_power_of_two() && log2 <= 16).then_some(Self { log2 })
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        1 << self.log2
    }

    /// All partitions in order.
    pub fn iter(self) -> impl Iterator<Item = PartitionId> {
        let last = u16::try_from(self.get() - 1).expect("at most 65,536 partitions");
        (0..=last).map(PartitionId::new)
    }
}

impl Default for PartitionCount {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for PartitionCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Maps keys to partitions.
///
/// ```
/// use ringwood_types::{PartitionCount, Ring, Routing};
///
/// let ring = Ring::new(PartitionCount::DEFAULT, 42);
/// let partition = |key: &str| ring.partition(key.as_bytes(), Routing::Before(b'/'));
/// assert_eq!(partition("user7/name"), partition("user7/mail"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    partitions: PartitionCount,
    seed: u64,
}

impl Ring {
    /// The ring of a cluster with this many partitions and this seed.
    #[must_use]
    pub const fn new(partitions: PartitionCount, seed: u64) -> Self {
        Self { partitions, seed }
    }

    /// How many partitions there are.
    #[must_use]
    pub const fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    /// What hashes are seeded with.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The partition that `key` belongs to under `routing`.
    #[must_use]
    pub fn partition(&self, key: &[u8], routing: Routing) -> PartitionId {
        self.partition_of_group(routing.group(key))
    }

    /// The partition of all keys whose routed part is `group`.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // at most the top 16 bits are left
    pub fn partition_of_group(&self, group: &[u8]) -> PartitionId {
        let hash = xxh3_64_with_seed(group, self.seed);
        // In two steps, for with one partition a shift by 64 would overflow.
        PartitionId::new((hash >> 1 >> (63 - self.partitions.log2)) as u16)
    }
}

/// Which part of a key is hashed, so that keys which belong together live together, in order.
/// Fixed when a namespace is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Routing {
    /// All of it: the most even spread.
    #[default]
    WholeKey,
    /// What stands in the first `{…}`; where there is none, or nothing in it, all of it.
    Braces,
    /// What precedes the first such byte; where there is none, or nothing before it, all of it.
    Before(u8),
}

impl Routing {
    /// The part of `key` that is hashed.
    #[must_use]
    pub fn group(self, key: &[u8]) -> &[u8] {
        self.group_of_prefix(key).unwrap_or(key)
    }

    /// The group of every key that begins with `prefix`, where that is certain.
    #[must_use]
    pub fn group_of_prefix(self, prefix: &[u8]) -> Option<&[u8]> {
        let group = match self {
            Self::WholeKey => return None,
            Self::Braces => {
                let open = position(prefix, b'{')?;
                let behind = &prefix[open + 1..];
                &behind[..position(behind, b'}')?]
            }
            Self::Before(separator) => &prefix[..position(prefix, separator)?],
        };
        (!group.is_empty()).then_some(group)
    }
}

fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|&byte| byte == wanted)
}

/// `whole-key`, `braces`, `before:/`, or `before:0x1f` for a byte that does not print.
impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WholeKey => f.write_str("whole-key"),
            Self::Braces => f.write_str("braces"),
            Self::Before(byte) if byte.is_ascii_graphic() => {
                write!(f, "before:{}", char::from(*byte))
            }
            Self::Before(byte) => write!(f, "before:{byte:#04x}"),
        }
    }
}

/// A routing was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRouting(String);

impl fmt::Display for UnknownRouting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        write!(
            f,
            "routing {text:?} is none of whole-key, braces, before:<byte>"
        )
    }
}

impl core::error::Error for UnknownRouting {}

impl FromStr for Routing {
    type Err = UnknownRouting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let separator = |spec: &str| match (spec.as_bytes(), spec.strip_prefix("0x")) {
            (&[byte], _) => Some(byte),
            (_, Some(digits)) if digits.len() == 2 => u8::from_str_radix(digits, 16).ok(),
            _ => None,
        };
        match text {
            "whole-key" => Some(Self::WholeKey),
            "braces" => Some(Self::Braces),
            _ => text
                .strip_prefix("before:")
                .and_then(separator)
                .map(Self::Before),
        }
        .ok_or_else(|| UnknownRouting(text.to_owned()))
    }
}

impl From<Routing> for String {
    fn from(routing: Routing) -> Self {
        format!("{routing}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn counts_are_powers_of_two_up_to_65536() {
        for n in [0, 3, 255, 257, 65_535, 65_537, 131_072, u32::MAX] {
            assert_eq!(PartitionCount::new(n), None, "{n}");
        }
        for n in [1, 2, 256, 4096, 65_536] {
            let count = PartitionCount::new(n).unwrap();
            assert_eq!(count.get(), n);
            assert_eq!(count.iter().count(), n as usize);
            let last = count.iter().last().unwrap();
            assert_eq!(u32::from(last.get()), n - 1);
        }
        assert_eq!(PartitionCount::DEFAULT.get(), 256);
    }

    #[test]
    fn the_routed_part_is_what_is_hashed() {
        let group = |routing: Routing, key: &'static str| routing.group(key.as_bytes());
        assert_eq!(group(Routing::WholeKey, "a{b}c"), b"a{b}c");
        assert_eq!(group(Routing::Braces, "a{b}c{d}"), b"b");
        assert_eq!(group(Routing::Braces, "a{}c{d}"), b"a{}c{d}");
        assert_eq!(group(Routing::Braces, "a}b{c"), b"a}b{c");
        assert_eq!(group(Routing::Braces, "a}b{{c}}"), b"{c");
        assert_eq!(group(Routing::Before(b'/'), "user/1/x"), b"user");
        assert_eq!(group(Routing::Before(b'/'), "/1/x"), b"/1/x");
        assert_eq!(group(Routing::Before(b'/'), "user"), b"user");
    }

    #[test]
    fn the_spread_is_even() {
        let ring = Ring::new(PartitionCount::DEFAULT, 1);
        let mut keys_in = [0u32; 256];
        for n in 0..256_000u32 {
            keys_in[ring.partition(&n.to_le_bytes(), Routing::WholeKey).index()] += 1;
        }
        // Mean 1000, standard deviation 32.
        assert!(keys_in.iter().all(|count| (800..1200).contains(count)));
    }

    #[test]
    fn partitions_are_fixed_for_ever() {
        let ring = Ring::new(PartitionCount::DEFAULT, 42);
        let partition = |key: &[u8]| ring.partition(key, Routing::WholeKey).get();
        assert_eq!(
            [partition(b"a"), partition(b"key"), partition(b"")],
            [76, 103, 176]
        );
    }

    fn routings() -> impl Strategy<Value = Routing> {
        prop_oneof![
            Just(Routing::WholeKey),
            Just(Routing::Braces),
            any::<u8>().prop_map(Routing::Before),
        ]
    }

    proptest! {
        #[test]
        fn names_of_routings_are_read_back(routing in routings()) {
            prop_assert_eq!(String::from(routing).parse(), Ok(routing));
        }

        #[test]
        fn ring_2_a_prefix_with_a_group_decides(
            routing in prop_oneof![Just(Routing::Braces), Just(Routing::Before(b'/'))],
            prefix in "[a/{}]{0,6}",
            rest in "[a/{}]{0,6}",
            seed: u64,
        ) {
            let ring = Ring::new(PartitionCount::DEFAULT, seed);
            let key: Vec<u8> = [prefix.as_bytes(), rest.as_bytes()].concat();
            if let Some(group) = routing.group_of_prefix(prefix.as_bytes()) {
                prop_assert_eq!(group, routing.group(&key));
                prop_assert_eq!(ring.partition_of_group(group), ring.partition(&key, routing));
            }
        }

        #[test]
        fn a_finer_ring_splits_partitions_and_mixes_none(key: Vec<u8>, seed: u64, log2 in 0u32..16) {
            let coarse = Ring::new(PartitionCount::new(1 << log2).unwrap(), seed);
            let fine = Ring::new(PartitionCount::new(2 << log2).unwrap(), seed);
            let routing = Routing::WholeKey;
            prop_assert_eq!(coarse.partition(&key, routing).get(), fine.partition(&key, routing).get() / 2);
        }
    }
}
