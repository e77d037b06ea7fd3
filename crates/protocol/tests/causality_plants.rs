//! Tests of the tests: every shortcut planted in the rules of causality is found.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod replicas;

use replicas::run;
use ringwood_protocol::causality::Conflict::{self, LastWriteWins, Siblings};
use ringwood_protocol::causality::plant::Plant;

fn must_find(conflict: Conflict, name: &str, budget: u64, dress: replicas::Dress) {
    let found = (0..budget).find_map(|seed| Some((seed, run(seed, conflict, dress).err()?)));
    let (seed, why) = found.unwrap_or_else(|| panic!("{name}: not found in {budget} seeds"));
    println!("{name}: found after {} of {budget}: {why}", seed + 1);
}

macro_rules! must_find {
    ($($plant:ident in $conflict:ident within $budget:literal,)*) => {
        $(must_find($conflict, stringify!($plant), $budget, |clocks| {
            clocks.with_plant(Plant::$plant)
        });)*
    };
}

#[test]
fn every_shortcut_is_found() {
    must_find! {
        PurgedByDotAlone in Siblings within 10000,
        PurgedAtOnce in Siblings within 100,
        PurgedAtOnce in LastWriteWins within 100,
        ContextsSeen in Siblings within 500,
        VersionAlone in Siblings within 500,
        NoFence in Siblings within 10000,
        AbsenceIgnored in Siblings within 10000,
        NoHorizon in LastWriteWins within 10000,
        SeenStoredAgain in Siblings within 100,
        SkipIsHeld in LastWriteWins within 100,
        DataNotStored in Siblings within 100,
    }
}
