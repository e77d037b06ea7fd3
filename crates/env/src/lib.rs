//! The seams between Ringwood and the world: disk, clock and randomness.
//!
//! Nothing above this crate names `std::fs`, reads a clock or draws a random number by itself
//! (clippy's `disallowed_methods` checks it). The real implementations are thin; the faulty disk
//! (`feature = "faulty"`) loses, tears, reorders and flips what a real machine may, from a seed.
//!
//! Read in this order: [`disk`] (the contract), [`clock`], [`random`], then [`real`], [`latch`]
//! and `faulty`.

pub mod clock;
pub mod disk;
#[cfg(feature = "faulty")]
pub mod faulty;
pub mod latch;
pub mod random;
pub mod real;

#[cfg(feature = "faulty")]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock, UnixMillis};
pub use disk::{DirEntry, Disk, DiskFile, DiskLock, OpenMode};
#[cfg(feature = "faulty")]
pub use faulty::{CrashMode, FaultPlan, FaultyDisk};
pub use latch::{LatchedDisk, is_too_many_files};
#[cfg(feature = "faulty")]
pub use random::SeededRandom;
pub use random::{Random, SystemRandom};
pub use real::RealDisk;
