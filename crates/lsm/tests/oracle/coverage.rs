//! Proof that rare states were reached.

use std::collections::BTreeMap;
use std::fmt;

/// States that are rare, and that thousands of schedules come by.
pub const REACHED_IN_LONG_RUNS: &[&str] = &[
    "background work failed",
    "calls failed with EACCES",
    "calls failed with EIO",
    "calls failed with EMFILE",
    "calls failed with I/O errors",
    "calls of the disk",
    "checkpoints opened",
    "clocks set back",
    "closed in order",
    "compactions",
    "crashes in a compaction",
    "crashes in a flush",
    "crashes in recovery",
    "damage healed",
    "disks that refuse direct writes",
    "flushes",
    "jobs in the middle of a job",
    "keyspace changes of unknown outcome that happened",
    "lives with a bad sector",
    "logs replayed",
    "opened",
    "opened after a clean close",
    "opened from a manifest written anew",
    "processes restarted after a failed sync",
    "processes restarted after a failed sync of the log",
    "reads in memory that were answered",
    "reads in memory that would have waited",
    "reads of a bad sector",
    "recovered more than what was durable",
    "restarts soon after a log segment was recycled",
    "restarts with buffered writes at risk",
    "restarts with open snapshots",
    "restarts with three levels or more",
    "restarts with two levels or more",
    "snapshots taken in the middle of a job",
    "stalls",
    "stores that refused writes",
    "syncs in the middle of a job",
    "times an expiry filter was asked",
    "told that a key has expired",
    "torn tails recovered",
    "writes in the middle of a job",
    "writes of unknown outcome",
    "writes refused",
    "writes resumed on a disk that was full",
    "writes stalled",
];

/// How often each state was reached.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    pub fn note(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub fn note_if(&mut self, reached: bool, what: &'static str) {
        self.add(what, u64::from(reached));
    }

    pub fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    pub fn merge(&mut self, other: &Self) {
        for (&what, &count) in &other.0 {
            self.add(what, count);
        }
    }

    /// What a long run must have reached, and this one did not.
    pub fn missing(&self) -> Vec<&'static str> {
        let is_missing = |what: &&str| self.of(what) == 0;
        REACHED_IN_LONG_RUNS
            .iter()
            .copied()
            .filter(is_missing)
            .collect()
    }

    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:>10}  {what}")?;
        }
        Ok(())
    }
}
