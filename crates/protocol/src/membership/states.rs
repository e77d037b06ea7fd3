//! The five states of a member, and which may follow which.
//!
//! ```text
//!           ┌────────────────────────────┐
//!           ▼                            │
//!        healthy ◀──▶ suspicious ──▶ down        found by each node for itself, reversible
//!           │             │          │ ▲
//! ──────────┼─────────────┼──────────┼─┼───────────────────────────────────────────────
//!           └─────────────┴──▶ permanently failed    committed
//!           any  ──▶  removed
//! ```

use core::fmt;
use core::time::Duration;

use ringwood_types::NodeId;

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing speaks against it.
    Healthy,
    /// It has been silent for a while.
    Suspicious,
    /// It has been silent for so long that nobody waits for it.
    Down,
    /// It was agreed that it does not come back: its data is made anew elsewhere.
    PermanentlyFailed,
    /// It is no member any more. Final: ids are not used again.
    Removed,
}

impl State {
    /// All of them, in the order in which a node fails.
    pub const ALL: [Self; 5] = [
        Self::Healthy,
        Self::Suspicious,
        Self::Down,
        Self::PermanentlyFailed,
        Self::Removed,
    ];

    /// Its name in tables and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Suspicious => "suspicious",
            Self::Down => "down",
            Self::PermanentlyFailed => "permanently_failed",
            Self::Removed => "removed",
        }
    }

    /// Whether a node finds this for itself, without agreement.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Healthy | Self::Suspicious | Self::Down)
    }

    /// Whether a member in this state may be found in that one next.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Healthy, Self::Suspicious)
            | (Self::Suspicious, Self::Healthy | Self::Down)
            | (Self::Down, Self::Healthy)
            // Committed: whatever this node thinks of it. Taken back, it is as it was just before.
            | (Self::PermanentlyFailed, Self::Down) => true,
            (Self::Removed, _) | (Self::PermanentlyFailed, Self::PermanentlyFailed) => false,
            (_, Self::PermanentlyFailed | Self::Removed) => true,
            _ => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a member is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// It belongs to the cluster, and nothing was heard that speaks against it.
    Member,
    /// It answers nobody's probes.
    Silent {
        /// For how long, as far as this node knows.
        silent_for: Duration,
        /// Who was the first that said so to this node.
        reporter: NodeId,
        /// How many say so.
        reporters: usize,
    },
    /// It answered a probe of this node.
    Answered,
    /// It heard that it was called silent, and said that it is not.
    Refuted,
    /// Its process was started again.
    Restarted {
        /// For the how-manieth time.
        generation: u64,
    },
    /// The cluster agreed on it.
    Committed,
    /// The cluster took back that it failed for ever.
    TakenBack,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member => f.write_str("a member of which nothing bad is known"),
            Self::Silent {
                silent_for,
                reporter,
                reporters,
            } => {
                let seconds = silent_for.as_secs_f64();
                write!(f, "silent for {seconds:.1} s, says node {reporter}")?;
                match reporters {
                    0 | 1 => Ok(()),
                    2 => f.write_str(" and another"),
                    more => write!(f, " and {} others", more - 1),
                }
            }
            Self::Answered => f.write_str("it answered a probe"),
            Self::Refuted => f.write_str("it said itself that it is there"),
            Self::Restarted { generation } => {
                write!(f, "it was started again (start {generation})")
            }
            Self::Committed => f.write_str("the cluster agreed on it"),
            Self::TakenBack => f.write_str("the cluster took its failure back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    #[test]
    fn member_1_the_edges_are_these() {
        let edges: Vec<_> = State::ALL
            .into_iter()
            .flat_map(|from| State::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from.may_become(*to))
            .map(|(from, to)| [from.name(), to.name()])
            .collect();
        assert_eq!(
            edges,
            [
                ["healthy", "suspicious"],
                ["healthy", "permanently_failed"],
                ["healthy", "removed"],
                ["suspicious", "healthy"],
                ["suspicious", "down"],
                ["suspicious", "permanently_failed"],
                ["suspicious", "removed"],
                ["down", "healthy"],
                ["down", "permanently_failed"],
                ["down", "removed"],
                ["permanently_failed", "down"],
                ["permanently_failed", "removed"],
            ]
        );
        let local = State::ALL.map(State::is_local);
        assert_eq!(local, [true, true, true, false, false]);
    }

    #[test]
    fn reasons_are_words() {
        let why = |reporters| Why::Silent {
            silent_for: Duration::from_millis(5250),
            reporter: NodeId::new(2),
            reporters,
        };
        assert_eq!(
            why(1).to_string(),
            "silent for 5.2 s, says node 0000000000000002"
        );
        assert_eq!(
            why(3).to_string(),
            "silent for 5.2 s, says node 0000000000000002 and 2 others"
        );
    }
}
