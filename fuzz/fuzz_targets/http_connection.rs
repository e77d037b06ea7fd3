//! Arbitrary bytes as what a client sends: answers, and never one that tells of a mistake of ours.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use ringwood_env::SeededRandom;
use ringwood_env::faulty::FaultyDisk;
use ringwood_node::{Node, NodeConfig};
use ringwood_server::fuzz::Connections;
use ringwood_types::PartitionCount;

/// A store is thrown away after so many, and what it holds in memory with it.
const CONNECTIONS_PER_STORE: u32 = 20_000;

thread_local! {
    static SERVER: RefCell<(u32, Option<Connections>)> = const { RefCell::new((0, None)) };
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    SERVER.with_borrow_mut(|(served, server)| {
        if *served % CONNECTIONS_PER_STORE == 0 {
            *server = None;
        }
        *served = served.wrapping_add(1);
        server.get_or_insert_with(start).converse(bytes);
    });
});

fn start() -> Connections {
    let mut config = NodeConfig::new("store");
    config.engine.disk = Arc::new(FaultyDisk::new(1));
    config.engine.random = Arc::new(SeededRandom::new(7));
    config.engine.memory_budget = 16 << 20;
    config.engine.log_segment_len = 4 << 20;
    config.partitions = PartitionCount::new(16);
    Connections::new(Node::open(config).expect("nothing goes wrong on this disk"))
}
