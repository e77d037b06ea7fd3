//! Defects planted on purpose, which show that the tests of consensus find what they are there for.
//!
//! Without the feature `plant` the question is a constant, and nothing of it is in the program.

/// A defect of the protocol.
#[cfg_attr(not(feature = "plant"), allow(unreachable_pub))] // the tests' way in is closed then
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plant {
    /// Votes are given without comparing logs.
    VoteWithoutComparing,
    /// Reads are answered without a round.
    ReadWithoutRound,
    /// The old voters of a joint change do not count.
    OldQuorumIgnored,
    /// A second change is taken before the first is committed.
    SecondChangeAtOnce,
    /// Entries of earlier terms are committed by counting copies.
    OlderTermCounted,
    /// A change is taken before anything of the leader's term is committed.
    ChangeBeforeCommit,
    /// A leader counts its own copy before it is durable.
    OwnCopyAtOnce,
    /// A candidate counts its own vote before it is durable.
    OwnVoteAtOnce,
    /// What was applied is what is committed, durable here or not.
    ApplyBeforeDurable,
    /// Messages of a term leave before the term is durable.
    TermNotAwaited,
    /// A configuration stays when its entry is cut off.
    ConfigurationKept,
    /// A learner is promoted, however far behind.
    PromotedUnseen,
}

/// A group's defect, if it has one.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Planted(#[cfg(feature = "plant")] pub(crate) Option<Plant>);

impl Planted {
    #[cfg(feature = "plant")]
    pub(crate) fn has(self, defect: Plant) -> bool {
        self.0 == Some(defect)
    }

    #[cfg(not(feature = "plant"))]
    #[inline]
    #[allow(clippy::unused_self)] // as with the feature
    pub(crate) const fn has(self, _defect: Plant) -> bool {
        false
    }
}
