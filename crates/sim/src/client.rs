//! What clients do: one request after the other, of a few keys, to any node.

use ringwood_env::SeededRandom;

use crate::history::Kind;
use crate::queue::{MILLI, Moment};

/// How long a client waits for its answer before it gives up.
pub(crate) const PATIENCE: Moment = 3000 * MILLI;

/// The next request of a client: after a while, which key, and what.
pub(crate) fn next(random: &SeededRandom, keys: u64) -> (Moment, u64, Kind) {
    let wait = match random.chance(0.8) {
        true => random.below(20 * MILLI),
        false => random.below(1000 * MILLI),
    };
    let kind = match random.below(10) {
        0..=4 => Kind::Put,
        5 => Kind::Delete,
        _ => Kind::Get,
    };
    (wait, random.below(keys), kind)
}
