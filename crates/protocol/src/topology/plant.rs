//! Defects planted on purpose, which show that the tests of the topology find what they are there for.
//!
//! Without the feature `plant` the question is a constant, and nothing of it is in the program.

/// A defect of the topology.
#[cfg_attr(not(feature = "plant"), allow(unreachable_pub))] // the tests' way in is closed then
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plant {
    /// Placement does not look at zones.
    ZonesIgnored,
    /// Placement leaves loads as they come.
    Unbalanced,
    /// A wiped disk keeps its incarnation.
    IncarnationKept,
    /// A lost replica is rebuilt from one other, whatever the quorum.
    RebuiltFromOne,
    /// A joiner streams from a source that is rebuilding itself.
    StreamedFromRebuilding,
    /// Sessions count that began before their source knew the epoch.
    SessionBeforeEpoch,
    /// A newcomer is read though other replicas may have purged what it holds.
    ServeFenceIgnored,
    /// The old set is left behind without asking it.
    UseNewAtOnce,
    /// A move is undone in one commit though the new set has been read.
    AbortAtOnce,
    /// Answers that settle an incarnation are gathered before all know that it is closed.
    SettledBeforeClose,
    /// A closed incarnation is settled without those that are rebuilding or joining.
    SettledWithoutPending,
    /// A repeated command is applied again.
    AppliedTwice,
    /// The id of a dropped namespace is issued again.
    NamespaceIdReused,
    /// A plan is applied though the ring has changed.
    StalePlanApplied,
}

/// A topology's defect, if it has one.
#[derive(Clone, Copy, Debug, Default)]
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
