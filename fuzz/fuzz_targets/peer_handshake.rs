//! Arbitrary messages for both sides of a handshake, which never stands without the secret.
#![no_main]

use ringwood_types::{ClusterId, NodeId};
use ringwood_wire::handshake::{Challenge, Handshake, Identity, Local, Message, Progress, Secret};
use ringwood_wire::{Kind, Versions};

libfuzzer_sys::fuzz_target!(|input: (bool, Vec<(u8, Vec<u8>)>)| {
    let (dials, messages) = input;
    let local = Local {
        identity: Identity {
            cluster: Some(ClusterId::new(1)),
            node: Some(NodeId::new(1)),
            name: "n1".to_owned(),
            generation: 1,
        },
        versions: Versions::OURS,
        secret: Secret::new(b"correct horse battery staple").ok(),
    };
    let challenge = Challenge([1; 32]);
    let mut side = if dials {
        Handshake::dial(local, None, challenge).0
    } else {
        Handshake::accept(local, challenge)
    };
    for (kind, payload) in messages {
        let kind = Kind::ALL[usize::from(kind) % Kind::ALL.len()];
        if let Some(message) = Message::read(kind, &payload) {
            assert_eq!((message.kind(), message.payload()), (kind, payload.clone()));
        }
        match side.handle(kind, &payload) {
            Ok(Progress::Send(message)) => {
                assert!(Message::read(message.kind(), &message.payload()).is_some())
            }
            Ok(stands) => panic!("without the secret: {stands:?}"),
            Err(failure) => assert!(!failure.to_string().is_empty()),
        }
    }
});
