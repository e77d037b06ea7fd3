//! Which life of a node is meant.

/// What a node says of itself goes up: what was said of an earlier life is void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// Which start of its process: goes up with each, 1 at least.
    pub generation: u64,
    /// How often it refuted in this one that it is silent.
    pub refutation: u64,
}

impl Life {
    /// Of a node that was never heard of.
    pub(super) const UNKNOWN: Self = Self {
        generation: 0,
        refutation: 0,
    };

    /// The beginning of a process.
    #[must_use]
    pub const fn of_start(generation: u64) -> Self {
        Self {
            generation,
            refutation: 0,
        }
    }

    /// What refutes everything that is said of this life.
    pub(super) const fn refuted(self) -> Self {
        Self {
            generation: self.generation,
            refutation: self.refutation.saturating_add(1),
        }
    }
}
