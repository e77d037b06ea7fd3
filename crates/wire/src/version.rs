//! Versions of the protocol between nodes, and how two nodes settle on one.

use core::fmt;

use ringwood_types::bytes::{Reader, Writer};

use crate::encoded::Encoded;

/// Which versions of the protocol a node speaks: all from the oldest to the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Versions {
    oldest: u16,
    newest: u16,
}

impl Versions {
    /// Those that this build speaks. A build speaks the newest of the release before it, so that a
    /// cluster is upgraded node by node.
    pub const OURS: Self = Self {
        oldest: 1,
        newest: 1,
    };

    /// From `oldest` to `newest`; `None` where that is no range.
    #[must_use]
    pub const fn new(oldest: u16, newest: u16) -> Option<Self> {
        if oldest == 0 || oldest > newest {
            return None;
        }
        Some(Self { oldest, newest })
    }

    /// The oldest.
    #[must_use]
    pub const fn oldest(self) -> u16 {
        self.oldest
    }

    /// The newest.
    #[must_use]
    pub const fn newest(self) -> u16 {
        self.newest
    }

    /// The newest that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.oldest == self.newest {
            return write!(f, "{}", self.newest);
        }
        write!(f, "{} to {}", self.oldest, self.newest)
    }
}

impl Encoded for Versions {
    fn write(&self, to: &mut Writer) {
        to.u16(self.oldest);
        to.u16(self.newest);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Self::new(from.u16()?, from.u16()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_settle_on_the_newest_that_both_speak() {
        let of = |oldest, newest| Versions::new(oldest, newest).unwrap();
        for (one, other, common) in [
            (of(1, 1), of(1, 1), Some(1)),
            (of(1, 3), of(2, 5), Some(3)),
            (of(2, 2), of(1, 9), Some(2)),
            (of(1, 2), of(3, 4), None),
        ] {
            assert_eq!(one.common(other), common);
            assert_eq!(other.common(one), common);
        }
    }

    #[test]
    fn only_ranges_are_read() {
        assert_eq!(Versions::new(0, 1), None);
        assert_eq!(Versions::new(2, 1), None);
        let bytes = Versions::OURS.to_vec();
        assert_eq!(Versions::decode(&bytes), Ok(Versions::OURS));
        assert!(Versions::decode(&[2, 0, 1, 0]).is_err());
    }
}
