//! How bad a world is: drawn from its seed, so that some have one kind of fault only and some have all.

use ringwood_env::SeededRandom;

use crate::queue::{MILLI, Moment, SECOND};

/// What may happen in a world, and how often.
#[derive(Clone, Debug)]
pub struct Mix {
    /// What all else follows from.
    pub seed: u64,
    /// Nodes.
    pub members: usize,
    /// How long faults go on, in microseconds.
    pub faults_for: Moment,
    /// How long everything has to be well again, in microseconds.
    pub healing_for: Moment,
    /// Clients, each with one request at a time.
    pub clients: usize,
    /// Keys that they share.
    pub keys: u64,
    /// Of a message.
    pub drop: f64,
    /// Of a message that may come twice.
    pub duplicate: f64,
    /// Longest usual delay of a message.
    pub delay_max: Moment,
    /// Chance that a message takes a hundred times as long.
    pub straggle: f64,
    /// Mean time between two crashes of nodes; 0 for none.
    pub crash_every: Moment,
    /// Mean time between two partitions of the network; 0 for none.
    pub cut_every: Moment,
    /// Mean time between two pauses of nodes; 0 for none.
    pub pause_every: Moment,
    /// Most that a node's wall clock differs, either way, in milliseconds.
    pub skew_ms_max: u64,
    /// Longest usual write to a disk.
    pub disk_max: Moment,
    /// Chance that one node's disk is a hundred times slower.
    pub slow_disk: f64,
    /// What is wrong with the nodes.
    #[cfg(feature = "plant")]
    pub plant: Option<crate::plant::Plant>,
}

impl Mix {
    /// The world of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let random = SeededRandom::new(seed ^ 0x006d_6978);
        let often = |random: &SeededRandom, chance: f64, from: Moment, to: Moment| match random
            .chance(chance)
        {
            true => from + random.below(to - from),
            false => 0,
        };
        let rate = |random: &SeededRandom, chance: f64, most: f64| match random.chance(chance) {
            true => most * (1 + random.below(100)) as f64 / 100.0,
            false => 0.0,
        };
        Self {
            seed,
            members: 3 + random.index(4),
            faults_for: 60 * SECOND,
            healing_for: 30 * SECOND,
            clients: 1 + random.index(6),
            keys: 1 + random.below(5),
            drop: rate(&random, 0.5, 0.2),
            duplicate: rate(&random, 0.5, 0.2),
            delay_max: MILLI * (1 + random.below(20)),
            straggle: rate(&random, 0.4, 0.05),
            crash_every: often(&random, 0.6, SECOND, 20 * SECOND),
            cut_every: often(&random, 0.5, SECOND, 20 * SECOND),
            pause_every: often(&random, 0.4, SECOND, 20 * SECOND),
            skew_ms_max: match random.chance(0.5) {
                true => random.below(200),
                false => 0,
            },
            disk_max: MILLI * (1 + random.below(10)),
            slow_disk: rate(&random, 0.3, 0.5),
            #[cfg(feature = "plant")]
            plant: None,
        }
    }
}
