//! How one run is spent: each seed has a mix of its own, so that some do often what others never do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringwood_env::SeededRandom;
use ringwood_lsm::{ExpiryFilter, ReadTier};

use super::steps::ALPHABET;

/// What a run likes.
#[derive(Debug)]
pub struct Habits {
    /// How often each letter of the alphabet is drawn, beside the others.
    weights: [u64; ALPHABET.len()],
    /// How much longer a life is than usual.
    pub endurance: u64,
    /// How likely a write is durable on return.
    pub synced: f64,
    /// How likely something is done in the middle of a job.
    pub interludes: f64,
    /// How likely a read may not wait.
    in_memory: f64,
    /// Keyspaces that are made if there are less.
    pub spaces_min: usize,
    pub refuses_direct: bool,
    filter: Option<Arc<Hesitant>>,
}

impl Habits {
    pub fn new(random: &SeededRandom) -> Self {
        // The first letter is a write: without any there is nothing to lose.
        let like = |at: usize| match at {
            0 => *random.pick(&[1, 1, 2]),
            _ => *random.pick(&[0, 1, 1, 1, 4]),
        };
        let weights = std::array::from_fn(|at| ALPHABET[at].0 * like(at));
        Self {
            weights,
            endurance: *random.pick(&[1, 1, 1, 1, 6]),
            synced: *random.pick(&[0.0, 0.02, 0.3, 0.3, 0.8]),
            interludes: *random.pick(&[0.0, 0.2, 0.8]),
            in_memory: *random.pick(&[0.0, 0.2, 0.8]),
            spaces_min: *random.pick(&[1, 1, 2, 3]),
            refuses_direct: random.chance(0.25),
            filter: random.chance(0.5).then(|| Hesitant::new(random)),
        }
    }

    /// The next thing to do, by its place in the alphabet.
    pub fn letter(&self, random: &SeededRandom) -> usize {
        let mut left = random.below(self.weights.iter().sum());
        let is_drawn = |weight: &u64| {
            let drawn = left < *weight;
            left = left.saturating_sub(*weight);
            drawn
        };
        let drawn = self.weights.iter().position(is_drawn);
        drawn.expect("it is below their sum")
    }

    pub fn tier(&self, random: &SeededRandom) -> ReadTier {
        if random.chance(self.in_memory) {
            ReadTier::Memory
        } else {
            ReadTier::Disk
        }
    }

    /// For the keyspaces that will be made.
    pub fn expiry_filters(&self) -> BTreeMap<String, Arc<dyn ExpiryFilter>> {
        let Some(filter) = &self.filter else {
            return BTreeMap::new();
        };
        let names = (1..200).map(|n| format!("space-{n}"));
        names
            .map(|name| (name, Arc::clone(filter) as Arc<dyn ExpiryFilter>))
            .collect()
    }

    /// Since this was asked last.
    pub fn times_filter_was_asked(&self) -> u64 {
        let filter = self.filter.as_ref();
        filter.map_or(0, |filter| filter.asked.swap(0, Ordering::Relaxed))
    }
}

/// Lets one of so many expired keys be forgotten.
#[derive(Debug)]
struct Hesitant {
    one_of: u64,
    asked: AtomicU64,
}

impl Hesitant {
    fn new(random: &SeededRandom) -> Arc<Self> {
        Arc::new(Self {
            one_of: *random.pick(&[1, 2, 1 << 40]),
            asked: AtomicU64::new(0),
        })
    }
}

impl ExpiryFilter for Hesitant {
    fn may_forget(&self, _key: &[u8], deadline: u64) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        deadline.is_multiple_of(self.one_of)
    }
}
