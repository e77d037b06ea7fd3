//! Random and exhaustive histories of three replicas, over the real rules of causality.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod replicas;

use replicas::{NODES, World, run};
use ringwood_protocol::causality::Conflict;

#[test]
fn causality_1_to_4_random_histories_where_siblings_stay() {
    for seed in 0..3000 {
        let result = run(seed, Conflict::Siblings, |clocks| clocks);
        assert_eq!(result, Ok(()), "seed {seed}");
    }
}

#[test]
fn causality_1_to_4_random_histories_where_the_last_write_wins() {
    for seed in 0..3000 {
        let result = run(seed, Conflict::LastWriteWins, |clocks| clocks);
        assert_eq!(result, Ok(()), "seed {seed}");
    }
}

/// Every history of so many steps over one key, with at most three writes; everybody gossips before a purge.
fn every(world: &World, depth: usize, count: &mut u64) {
    *count += 1;
    world.check().unwrap();
    world.clone().heal().unwrap();
    if depth == 0 {
        return;
    }
    let mut go = |step: &dyn Fn(&mut World)| {
        let mut next = world.clone();
        step(&mut next);
        every(&next, depth - 1, count);
    };
    for at in 0..2 {
        if world.ops() < 3 {
            go(&|next| next.write(at, 0, false, None, 0));
            go(&|next| next.write(at, 0, false, Some(at), 0));
            go(&|next| next.write(at, 0, true, Some(at), 0));
        }
        go(&|next| next.pull(at, 1 - at, false));
    }
    for at in 0..NODES {
        for op in 0..world.ops() {
            go(&|next| next.deliver(op, at).unwrap());
        }
        if world.ops() > 1 {
            go(&|next| {
                (0..NODES).for_each(|from| next.gossip(from, at));
                next.purge(at);
            });
        }
    }
}

#[test]
fn every_short_history() {
    for conflict in [Conflict::Siblings, Conflict::LastWriteWins] {
        let mut count = 0;
        every(&World::new(conflict, |clocks| clocks), 4, &mut count);
        println!("{conflict:?}: {count} histories");
    }
}
