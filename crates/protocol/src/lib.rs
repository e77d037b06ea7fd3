//! What nodes agree on and how, as plain state machines: no I/O, no clock, no threads.
//!
//! How to read it: [`time`] is what a deadline is counted in; [`consensus`] is a small Raft, on which
//! the metadata of a cluster will stand; [`topology`] is that metadata, and [`replicas`] what it says of
//! one partition; [`membership`] is how each node finds out how all others are; [`causality`]
//! says which writes replace which; [`coordinator`] is a client's request, over the replicas of its
//! partition.
//!
//! Every machine is a struct with three methods: `handle(now, input)`, then `poll_effect()` until it
//! gives nothing more, and `next_deadline()`. Time, randomness (a seed) and ids come in; completions
//! come back as inputs. That the world stays out is held by the compiler: the crate has no `std`, so
//! there is nothing here to ask for a time, a socket or a map in random order.
#![no_std]

extern crate alloc;

pub mod causality;
pub mod consensus;
pub mod coordinator;
pub mod membership;
mod random;
pub mod replicas;
pub mod time;
pub mod topology;

pub use time::Time;
