//! Worlds find what is planted, within a stated number of seeds.
#![allow(clippy::unwrap_used)]

use ringwood_protocol::coordinator::plant::Plant as Coordinator;
use ringwood_sim::plant::Plant;
use ringwood_sim::run_planted;

/// A defect, and how many seeds it may take. Of the coordinators' two need more luck than that (one is found by
/// the 1,208th seed, the other not by 1,500): the smaller worlds of `ringwood_protocol` are for them.
const PLANTS: [(Plant, u64); 7] = [
    (Plant::AnswerBeforeSync, 20),
    (Plant::Coordinator(Coordinator::OlderIgnored), 20),
    (Plant::Coordinator(Coordinator::MintedAgainBehind), 20),
    (
        Plant::Coordinator(Coordinator::AnyMintingAcknowledged),
        1000,
    ),
    (Plant::Coordinator(Coordinator::AnswersCarried), 20),
    (Plant::Coordinator(Coordinator::SilenceIsNo), 20),
    (Plant::Coordinator(Coordinator::FirstAnswerOnly), 20),
];

#[test]
fn every_planted_defect_is_found() {
    let mut alive = Vec::new();
    for (plant, budget) in PLANTS {
        match (0..budget).find_map(|seed| run_planted(seed, plant).err()) {
            Some(found) => println!("{plant:?}: {found}"),
            None => alive.push((plant, budget)),
        }
    }
    assert!(
        alive.is_empty(),
        "these live through their seeds: {alive:?}"
    );
}
