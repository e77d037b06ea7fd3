//! How nodes speak to each other.
//!
//! How to read it: [`encoded`] is how a message is written and read.
//!
//! Nothing here does I/O, reads a clock or draws a random number; everything that parses bytes is
//! total: any input gives a value or an error, within limits that were known before.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod encoded;

pub use encoded::{Encoded, Malformed};
pub use ringwood_types::bytes::{Reader, Writer};
