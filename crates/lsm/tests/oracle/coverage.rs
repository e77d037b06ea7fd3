//! Proof that rare states were reached.

use std::collections::BTreeMap;
use std::fmt;

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
