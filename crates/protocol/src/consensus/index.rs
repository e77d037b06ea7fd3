//! Places in the log and in time: numbers that must not be mistaken for one another.

/// A place in the log, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(u64);

impl Index {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The `n`th place.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The place behind.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The place before; zero has none and stays.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// `n` places on.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }

    /// How many places lie from `earlier`, excluded, to this one; none where it is not earlier.
    #[must_use]
    pub const fn beyond(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The number of an election. A term has at most one leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u64);

impl Term {
    /// Before the first election.
    pub const ZERO: Self = Self(0);

    /// The `n`th term.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The term behind.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
