//! An oracle: a store on a faulty disk, driven at random from a seed, beside a model that knows what
//! it must hold.
//!
//! What it holds the store to:
//! - E1: a write acknowledged as durable survives, and everything before it.
//! - E2: what a restart leaves is what some prefix of the writes made, batches whole, over all
//!   keyspaces; opening again changes nothing.
//! - E4: after an I/O error the store goes on correctly or refuses writes; a refused write never
//!   appears; when room returns, so do writes.
//! - E5: gets, iterators and snapshots show what the model does, at every moment.
//! - E6: sequence numbers are never issued twice.
//! - E7: a key that was called expired does not come back, though the clock is set back and the power fails.

pub mod coverage;
pub mod draw;
pub mod habits;
pub mod interlude;
pub mod model;
pub mod schedule;
pub mod steps;
pub mod world;
