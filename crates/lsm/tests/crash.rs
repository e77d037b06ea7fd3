//! The crash oracle: random work on a disk that fails, and what is there afterwards.
//!
//! The long run: `RINGWOOD_CRASH_SCHEDULES=20000 cargo test -p ringwood-lsm --test crash --
//! --nocapture`. One schedule: `RINGWOOD_CRASH_SEED=17`.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod oracle;

use oracle::coverage::Coverage;
use oracle::schedule::Schedule;

/// From so many schedules on, every rare state must have been reached.
const LONG_RUN: u64 = 5000;

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

#[test]
fn random_schedules_keep_every_promise() {
    if let Some(seed) = from_env("RINGWOOD_CRASH_SEED") {
        let outcome = Schedule::new(seed).run();
        assert!(
            outcome.violation.is_none(),
            "{}",
            outcome.violation.unwrap()
        );
        return;
    }
    let count = from_env("RINGWOOD_CRASH_SCHEDULES").unwrap_or(300);
    let first = from_env("RINGWOOD_CRASH_FIRST").unwrap_or(0);
    let mut coverage = Coverage::default();
    let mut violations = Vec::new();
    for seed in first..first + count {
        let outcome = Schedule::new(seed).run();
        coverage.merge(&outcome.coverage);
        coverage.add("calls of the disk", outcome.operations);
        if let Some(violation) = outcome.violation {
            println!("{violation}");
            violations.push(seed);
            assert!(violations.len() < 10, "seeds {violations:?}");
        }
    }
    println!("{count} schedules from seed {first}:\n{coverage}");
    assert!(violations.is_empty(), "seeds {violations:?}");
    if count >= LONG_RUN {
        assert_eq!(coverage.missing(), [""; 0], "never reached");
    }
}

#[test]
fn every_call_of_a_short_run_may_be_the_last() {
    let seeds = from_env("RINGWOOD_CRASH_EXHAUSTIVE").unwrap_or(3);
    let mut schedules = 0;
    for seed in 0..seeds {
        for n in 1.. {
            let schedule = Schedule {
                crash_at: Some(n),
                ..Schedule::new(seed)
            };
            let outcome = schedule.run();
            assert!(
                outcome.violation.is_none(),
                "{}",
                outcome.violation.unwrap()
            );
            schedules += 1;
            if outcome.coverage.of("crashes at a planned call") == 0 {
                break; // it ended before
            }
        }
    }
    println!("{schedules} schedules over {seeds} runs");
}
