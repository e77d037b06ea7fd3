//! What a request asks of the allocator: the same number of times on every machine.

#[path = "../examples/bare/constant.rs"]
mod constant;
#[path = "../examples/count/load.rs"]
mod load;
#[path = "../examples/count/stream.rs"]
mod stream;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::load::{Bench, Load};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: u32 = 512;

/// How often one request of many allocates, all threads together.
fn allocations(mut bench: Bench) -> f64 {
    bench.run(REQUESTS); // buffers have their lengths now
    let region = Region::new(ALLOCATOR);
    bench.run(REQUESTS);
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / f64::from(REQUESTS)
}

// One test: others would allocate at the same time.
#[test]
fn requests_allocate_little_more_than_constant_answers_do() {
    for (load, more) in [(Load::Get, 3.5), (Load::GetCached, 3.5), (Load::Put, 11.0)] {
        let ringwood = allocations(Bench::of_node(load));
        let bare = allocations(Bench::of_constants(load));
        assert!(
            ringwood <= bare + more,
            "{load:?}: {ringwood} allocations, a constant answer {bare}"
        );
    }
}
