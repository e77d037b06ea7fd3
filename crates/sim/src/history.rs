//! What clients asked, and what they were told.

use std::collections::BTreeMap;

use ringwood_types::Version;

use crate::queue::Moment;

/// Names a request of a client for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpId(pub(crate) u64);

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Put,
    Delete,
    Get,
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing, so far or for ever.
    Nothing,
    Applied(Version),
    NotApplied,
    Unknown,
    /// Unknown, because others wrote the key all the time.
    Contended,
    /// What it read: the version of a value or of a delete.
    Read(Option<Version>),
    Refused,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) id: OpId,
    pub(crate) key: u64,
    pub(crate) kind: Kind,
    pub(crate) began: Moment,
    pub(crate) ended: Option<Moment>,
    pub(crate) told: Told,
}

/// All of them.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) ops: Vec<Op>,
    /// Which write each version names. One write may have several: it was minted again.
    pub(crate) minted: BTreeMap<Version, OpId>,
}

impl History {
    pub(crate) fn begin(&mut self, key: u64, kind: Kind, now: Moment) -> OpId {
        let id = OpId(self.ops.len() as u64);
        self.ops.push(Op {
            id,
            key,
            kind,
            began: now,
            ended: None,
            told: Told::Nothing,
        });
        id
    }

    /// Notes an answer; whether it is the first.
    pub(crate) fn end(&mut self, id: OpId, told: Told, now: Moment) -> bool {
        let op = &mut self.ops[usize::try_from(id.0).expect("an index")];
        let first = op.ended.is_none();
        if first {
            op.ended = Some(now);
            op.told = told;
        }
        first
    }

    pub(crate) fn op(&self, id: OpId) -> &Op {
        &self.ops[usize::try_from(id.0).expect("an index")]
    }
}
