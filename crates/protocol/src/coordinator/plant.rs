//! Defects planted on purpose, which show that the tests of coordinators find what they are there for.
//! Those with a row are the refuted shortcuts of CAUSALITY, by the row of its table.
//!
//! Without the feature `plant` the question is a constant, and nothing of it is in the program.

/// A defect of a coordinator.
#[cfg_attr(not(feature = "plant"), allow(unreachable_pub))] // the tests' way in is closed then
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plant {
    /// Rows 26 and 28: `older` is as good as `held`, whatever the minter has.
    OlderIgnored,
    /// Row 27: acknowledged when durable, minted again behind the client's back.
    MintedAgainBehind,
    /// Row 32: rebuilding replicas vouch.
    RebuildingVouches,
    /// Row 33: pending replicas vouch.
    PendingVouches,
    /// Row 34: answers for an earlier minting acknowledge the write.
    AnyMintingAcknowledged,
    /// Row 35: the next owner is asked without a limit to be above.
    NotAboveTheLimit,
    /// Row 36: answers for a minting count for the next.
    AnswersCarried,
    /// Row 37: the second minting is not checked.
    SecondUnchecked,
    /// Row 40: a rebuilding replica mints.
    RebuildingMints,
    /// Row 42: second mintings anywhere.
    SecondMintingAnywhere,
    /// A write whose outcome is unknown is minted again.
    MintedAfterUnknown,
    /// Durable in the old set is enough during a move.
    OldSetOnly,
    /// A hint counts for a strict level.
    HintCounts,
    /// What nobody answered is said not to be applied.
    SilenceIsNo,
    /// A read counts replicas that are being rebuilt.
    RebuildingRead,
    /// A read is content with its first answer.
    FirstAnswerOnly,
    /// A digest counts as an answer, whatever it says.
    DigestsNotCompared,
    /// What a replica has seen and does not hold any more may still be returned.
    AbsenceIgnored,
    /// A monotonic read replies before what it found is durable.
    RepairNotAwaited,
}

/// A coordinator's defect, if it has one.
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
