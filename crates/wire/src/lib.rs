//! How nodes speak to each other.
//!
//! How to read it: [`encoded`] is how a message is written and read; [`kind`] is the table of messages,
//! and [`version`] says which of them two nodes can speak; [`frame`] is how they stand in a stream;
//! [`handshake`] is how a connection comes to stand.
//!
//! Nothing here does I/O, reads a clock or draws a random number; everything that parses bytes is
//! total: any input gives a value or an error, within limits that were known before.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod encoded;
pub mod frame;
pub mod handshake;
pub mod kind;
pub mod version;

pub use encoded::{Encoded, Malformed};
pub use kind::Kind;
pub use ringwood_types::bytes::{Reader, Writer};
pub use version::Versions;
