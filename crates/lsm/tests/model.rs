//! The store against a sorted map, with nothing going wrong but restarts.
//!
//! The long run: `RINGWOOD_MODEL_STEPS=1000000 cargo test -p ringwood-lsm --test model --
//! --nocapture`.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod oracle;

use oracle::coverage::Coverage;
use oracle::schedule;

#[test]
fn a_store_shows_what_a_sorted_map_does() {
    let steps: u64 = std::env::var("RINGWOOD_MODEL_STEPS")
        .map_or(50_000, |text| text.parse().expect("a number"));
    let runs = 25;
    let mut coverage = Coverage::default();
    for seed in 0..runs {
        // Few keys collide often; many fill several levels.
        let keys_max = [30, 300, 3000][usize::try_from(seed % 3).unwrap()];
        let outcome = schedule::without_faults(seed, keys_max, steps / runs);
        coverage.merge(&outcome.coverage);
        assert!(
            outcome.violation.is_none(),
            "{}",
            outcome.violation.unwrap()
        );
    }
    println!("{steps} steps:\n{coverage}");
    for reached in [
        "compactions",
        "restarts with three levels or more",
        "opened after a clean close",
    ] {
        assert!(coverage.of(reached) > 0, "{reached}: never reached");
    }
}
