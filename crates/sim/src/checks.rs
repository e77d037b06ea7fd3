//! What must not be, by the numbers of the design.

use std::fmt;

use ringwood_types::Version;

use crate::history::{History, Kind, Op, Told};
use crate::queue::Moment;

/// What must not be, and was.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Of which seed.
    pub seed: u64,
    /// The number of the invariant.
    pub invariant: u8,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            invariant,
            what,
        } = self;
        write!(f, "seed {seed}, invariant {invariant}: {what}")
    }
}

impl std::error::Error for Violation {}

/// Looks at everything that clients were told.
pub(crate) fn check(history: &History) -> Result<(), (u8, String)> {
    let reads = history.ops.iter().filter(|op| op.kind == Kind::Get);
    for read in reads {
        if let Told::Read(version) = read.told {
            check_read(history, read, version)?;
        }
    }
    Ok(())
}

/// A strict read returns what was acknowledged before it began, or what may stand above that.
fn check_read(history: &History, read: &Op, found: Option<Version>) -> Result<(), (u8, String)> {
    let source = match found {
        None => None,
        Some(version) => match history.minted.get(&version) {
            Some(&id) => Some(history.op(id)),
            None => return Err((7, format!("{read:?} found {version}, which nobody minted"))),
        },
    };
    if let Some(source) = source {
        if source.key != read.key {
            return Err((1, format!("{read:?} found another key's {source:?}")));
        }
        if source.told == Told::NotApplied {
            return Err((18, format!("{read:?} found {source:?}")));
        }
    }
    for write in acknowledged_before(history, read.key, read.began) {
        let Told::Applied(version) = write.told else {
            unreachable!("it was acknowledged")
        };
        if found < Some(version) {
            return Err((1, format!("{read:?} found {source:?} and not {write:?}")));
        }
        let ended = source.and_then(|source| acknowledged(source).then_some(source.ended?));
        if source.is_some_and(|source| source.id != write.id)
            && ended.is_some_and(|ended| ended < write.began)
        {
            return Err((28, format!("{read:?} found {source:?} and not {write:?}")));
        }
    }
    Ok(())
}

fn acknowledged(op: &Op) -> bool {
    matches!(op.told, Told::Applied(_))
}

fn acknowledged_before(history: &History, key: u64, moment: Moment) -> impl Iterator<Item = &Op> {
    let of_key = history.ops.iter().filter(move |op| op.key == key);
    of_key.filter(move |op| acknowledged(op) && op.ended.is_some_and(|ended| ended < moment))
}
