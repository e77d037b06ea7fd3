//! Worlds in which everything must be well. `RINGWOOD_SIM_SEEDS` says how many; at length, run
//! `cargo xtask sim`.
#![allow(clippy::unwrap_used)]

use ringwood_sim::run;

fn seeds() -> u64 {
    let seeds = std::env::var("RINGWOOD_SIM_SEEDS");
    seeds.map_or(12, |seeds| seeds.parse().unwrap())
}

#[test]
fn clients_of_any_world_are_told_the_truth() {
    let (mut applied, mut read, mut again, mut crashes) = (0, 0, 0, 0);
    for seed in 0..seeds() {
        let report = run(seed).unwrap_or_else(|violation| panic!("{violation}"));
        applied += report.applied;
        read += report.read;
        again += report.minted_again;
        crashes += report.crashes;
    }
    // What worlds are there for does happen in them.
    assert!(applied > 0 && read > 0 && again > 0 && crashes > 0);
}

#[test]
fn a_seed_is_a_world() {
    for seed in 0..3 {
        assert_eq!(run(seed).unwrap(), run(seed).unwrap());
    }
}
