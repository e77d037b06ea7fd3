//! Whole clusters in one thread: real nodes on simulated networks, disks and clocks, all from one seed.
//!
//! How to read it: a [`Mix`] is drawn from a seed and says how bad the world is. A [`World`] holds the
//! members, the messages under way and the clients, and lets time pass from event to event: first with
//! faults, then without, and then everything must be well again. `history` remembers what clients asked and
//! were told, and `checks` says what of it must not be.
//!
//! Nothing here reads a clock, draws from anywhere but the seed, or starts a thread: a seed that fails,
//! fails again.

mod checks;
mod client;
mod cluster;
mod history;
mod member;
mod mix;
#[cfg(feature = "plant")]
pub mod plant;
mod queue;
mod world;

pub use checks::Violation;
pub use mix::Mix;
pub use world::{Report, World};

/// Lives through a seed.
///
/// # Errors
/// What must not be.
pub fn run(seed: u64) -> Result<Report, Violation> {
    World::new(Mix::draw(seed)).live()
}

/// Lives through a seed with a defect.
///
/// # Errors
/// What must not be, and was noticed.
#[cfg(feature = "plant")]
pub fn run_planted(seed: u64, plant: plant::Plant) -> Result<Report, Violation> {
    let mut mix = Mix::draw(seed);
    mix.plant = Some(plant);
    World::new(mix).live()
}
