//! Arbitrary bytes as a stream between nodes, in chunks of arbitrary lengths: frames that are written
//! as they were read, until an error that stays.
#![no_main]

use ringwood_wire::frame::{Decoder, Frame};
use ringwood_wire::{Kind, Versions};

const PAYLOAD_LEN_MAX: usize = 4096;

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (chunk_len, stream) = (usize::from(input.0) + 1, input.1);
    let mut decoder = Decoder::new(PAYLOAD_LEN_MAX);
    let (mut written, mut failed) = (Vec::new(), None);
    for mut chunk in stream.chunks(chunk_len) {
        while !chunk.is_empty() {
            match decoder.feed(&mut chunk) {
                Ok(None) => {}
                Ok(Some(frame)) => take(&frame, &mut written),
                Err(error) => {
                    assert_eq!(*failed.get_or_insert(error), error);
                    break;
                }
            }
        }
    }
    assert!(stream.starts_with(&written));
});

fn take(frame: &Frame, written: &mut Vec<u8>) {
    assert!(frame.payload.len() <= PAYLOAD_LEN_MAX);
    if let Ok(kind) = Kind::of(&frame.head, Versions::OURS.newest()) {
        assert_eq!(
            kind.head(frame.head.request, frame.head.is_answer),
            frame.head
        );
    }
    frame.write(written);
}
