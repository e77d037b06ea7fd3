//! Arbitrary bytes as a command of the metadata group, and as its state.
#![no_main]

use ringwood_protocol::topology::placement::Goal;
use ringwood_protocol::topology::{Plan, Request, Topology, View};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = Request::from_bytes(bytes) {
        assert_eq!(request.to_bytes(), bytes);
    }
    if let Ok(topology) = Topology::from_snapshot(bytes) {
        assert_eq!(topology.to_snapshot(), bytes);
        let _ = View::new(&topology);
        let _ = Plan::new(&topology, Goal::Balance, &[]);
        let _ = topology.due(1);
    }
});
