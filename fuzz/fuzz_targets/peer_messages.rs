//! Arbitrary bytes as what nodes say to each other: refused, or read and written as they were; and a
//! failure detector that hears all of it.
#![no_main]

use ringwood_protocol::membership::{Detector, Input, Message, Standing, Tuning};
use ringwood_protocol::{Time, consensus};
use ringwood_types::NodeId;
use ringwood_wire::Encoded;

libfuzzer_sys::fuzz_target!(|messages: Vec<(u8, u16, Vec<u8>)>| {
    let mut detector = Detector::new(NodeId::new(1), 1, Tuning::default(), 1, Time::ZERO);
    let standing = |node| Standing {
        node: NodeId::new(node),
        has_failed: false,
    };
    detector.handle(Time::ZERO, Input::Members((1..=4).map(standing).collect()));
    let mut now = Time::ZERO;
    for (from, later, bytes) in messages {
        if let Ok(message) = consensus::Message::decode(&bytes) {
            assert_eq!(message.to_vec(), bytes);
        }
        let Ok(message) = Message::decode(&bytes) else {
            continue;
        };
        assert_eq!(message.to_vec(), bytes);
        now = Time::from_micros(now.micros() + u64::from(later) * 1000);
        let from = NodeId::new(u64::from(from % 6));
        detector.handle(now, Input::Received { from, message });
        while detector.poll_effect().is_some() {}
    }
});
