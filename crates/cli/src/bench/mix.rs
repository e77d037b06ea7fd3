//! What is done how often: the core workloads of YCSB (Cooper et al., 2010).

use clap::ValueEnum;
use serde::Serialize;

use super::keys::{Distribution, Draw};

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mix {
    /// 50 % reads, 50 % updates.
    A,
    /// 95 % reads, 5 % updates.
    B,
    /// Reads.
    C,
    /// 95 % reads of the latest, 5 % inserts.
    D,
    /// 95 % scans, 5 % inserts.
    E,
    /// 50 % reads, 50 % reads with an update after.
    F,
    /// Inserts, before all others.
    #[value(skip)]
    Load,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    Read,
    Update,
    Insert,
    Scan,
    ReadModifyWrite,
}

impl Operation {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::Scan => "scan",
            Self::ReadModifyWrite => "change",
        }
    }
}

impl Mix {
    pub(crate) fn draw(self, draw: &mut Draw) -> Operation {
        use Operation::{Insert, Read, ReadModifyWrite, Scan, Update};
        let (often, percent, seldom) = match self {
            Self::A => (Read, 50, Update),
            Self::B => (Read, 95, Update),
            Self::C => (Read, 100, Read),
            Self::D => (Read, 95, Insert),
            Self::E => (Scan, 95, Insert),
            Self::F => (Read, 50, ReadModifyWrite),
            Self::Load => (Insert, 100, Insert),
        };
        if draw.below(100) < percent {
            often
        } else {
            seldom
        }
    }

    /// What a run of it is called as it goes.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Load => "loading",
            _ => "measuring",
        }
    }

    /// What it does, in words.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::A => "a: half reads, half updates",
            Self::B => "b: 95 % reads, 5 % updates",
            Self::C => "c: reads only",
            Self::D => "d: 95 % reads of the latest, 5 % inserts",
            Self::E => "e: 95 % scans, 5 % inserts",
            Self::F => "f: half reads, half read-change-write",
            Self::Load => "inserts",
        }
    }

    /// As YCSB has it.
    pub(crate) fn distribution(self) -> Distribution {
        match self {
            Self::D => Distribution::Latest,
            _ => Distribution::Zipfian,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_hold_their_shares() {
        let mut draw = Draw(3);
        for (mix, operation, percent) in [
            (Mix::A, Operation::Update, 50),
            (Mix::B, Operation::Update, 5),
            (Mix::C, Operation::Read, 100),
            (Mix::D, Operation::Insert, 5),
            (Mix::E, Operation::Scan, 95),
            (Mix::F, Operation::ReadModifyWrite, 50),
            (Mix::Load, Operation::Insert, 100),
        ] {
            let hits = (0..20_000)
                .filter(|_| mix.draw(&mut draw) == operation)
                .count();
            assert!(hits.abs_diff(percent * 200) <= 400, "{mix:?}: {hits}");
        }
    }
}
