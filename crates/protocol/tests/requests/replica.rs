//! A replica in memory, of one key in a last-write-wins namespace: rules 1, 4, 8, 9 and 17 of CAUSALITY.

use std::collections::{BTreeMap, BTreeSet};

use ringwood_protocol::coordinator::Failure;
use ringwood_protocol::coordinator::write::Answer;
use ringwood_types::{Dot, Hlc, Incarnation, Version};

/// A shortcut of what a replica answers, by its row in CAUSALITY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaDefect {
    /// Row 29: whose dot is covered is held.
    SkipIsHeld,
    /// Row 30: it is `older` only where something later is still there.
    GoneIsHeld,
    /// Row 31: tombstones are nothing to lose to.
    DeadIsNothing,
    /// Row 38: minted again with the same dot.
    SameDot,
}

/// A version that lies at a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    pub version: Version,
    pub write: usize,
    pub tombstone: bool,
}

#[derive(Clone, Debug, Hash)]
pub struct Replica {
    pub up: bool,
    /// What its wall clock is off, in milliseconds.
    pub skew_ms: i64,
    /// The epoch it has applied.
    pub epoch: u64,
    pub hybrid: Hlc,
    pub kept: Option<Kept>,
    pub seen: BTreeSet<Dot>,
    pub purged: BTreeSet<Dot>,
    incarnation: u64,
    counter: u64,
    dots: BTreeMap<usize, Dot>,
    defect: Option<ReplicaDefect>,
}

impl Replica {
    pub fn new(incarnation: u64, skew_ms: i64, defect: Option<ReplicaDefect>) -> Self {
        Self {
            up: true,
            skew_ms,
            epoch: 1,
            hybrid: Hlc::ZERO,
            kept: None,
            seen: BTreeSet::new(),
            purged: BTreeSet::new(),
            incarnation,
            counter: 0,
            dots: BTreeMap::new(),
            defect,
        }
    }

    /// Its disk is lost; it goes on as a new incarnation, in the epoch that says so.
    pub fn wipe(&mut self, incarnation: u64, epoch: u64) {
        let (skew_ms, defect) = (self.skew_ms, self.defect);
        *self = Self::new(incarnation, skew_ms, defect);
        self.epoch = epoch;
    }

    pub fn wall_ms(&self, now: u64) -> u64 {
        (1_000_000 + now / 1000).saturating_add_signed(self.skew_ms)
    }

    pub fn time(&self, now: u64) -> Hlc {
        self.hybrid.max(Hlc::at(self.wall_ms(now)))
    }

    pub fn mint(
        &mut self,
        now: u64,
        (above, limit): (Hlc, Hlc),
        write: usize,
        tombstone: bool,
    ) -> Result<Version, Failure> {
        let next = |time: Hlc| Hlc::from_bits(time.to_bits() + 1);
        let time = self.time(now).max(next(self.hybrid)).max(next(above));
        if time > limit {
            return Err(Failure::AboveLimit(time));
        }
        if time.millis() > self.wall_ms(now) + 2_000 {
            return Err(Failure::Refused);
        }
        self.counter += 1;
        let new = Dot {
            incarnation: Incarnation::new(self.incarnation),
            counter: self.counter,
        };
        let first = *self.dots.entry(write).or_insert(new);
        let dot = match self.defect {
            Some(ReplicaDefect::SameDot) => first,
            _ => new,
        };
        let version = Version { time, dot };
        self.hybrid = time;
        self.seen.insert(dot);
        self.kept = Some(Kept {
            version,
            write,
            tombstone,
        });
        Ok(version)
    }

    pub fn store(&mut self, new: Kept) -> Answer {
        let version = new.version;
        self.hybrid = self.hybrid.max(version.time);
        let covered = !self.seen.insert(version.dot);
        if !covered && self.kept.is_none_or(|kept| kept.version < version) {
            self.kept = Some(new);
        }
        match self.kept {
            Some(kept) if kept.version == version => Answer::Held,
            _ if covered && self.defect == Some(ReplicaDefect::SkipIsHeld) => Answer::Held,
            Some(kept) if kept.version > version => match self.defect {
                Some(ReplicaDefect::DeadIsNothing) if kept.tombstone => Answer::Held,
                _ => Answer::Older(kept.version.time),
            },
            _ if self.defect == Some(ReplicaDefect::GoneIsHeld) => Answer::Held,
            _ => Answer::Older(self.hybrid),
        }
    }

    /// Rule 8, or rule 9 where the fence says so. Both have applied the same epoch.
    pub fn pull(&mut self, from: &Self, whole: bool) {
        let fenced = !from.purged.is_subset(&self.seen);
        if (whole || fenced)
            && let Some(kept) = self.kept
            && from.seen.contains(&kept.version.dot)
            && from.kept != Some(kept)
        {
            self.kept = None;
        }
        if let Some(kept) = from.kept {
            self.store(kept);
        }
        self.seen.extend(&from.seen);
        self.hybrid = self.hybrid.max(from.hybrid);
        if whole || fenced {
            self.purged.extend(&from.purged);
        }
    }
}
