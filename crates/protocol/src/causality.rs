//! Which writes replace which, what a replica has seen of them, and when a delete may be forgotten:
//! rules 1 to 16 and 22 of CAUSALITY, as functions over what a replica holds.
//!
//! [`Clocks`] is what a replica keeps beside the data of a partition, and every rule is a method of it or
//! stands beside: [`mint`] 1 to 3 and 6, [`store`] 4, 14 and 17's answer, [`purge`] 7, 15 and 16,
//! [`exchange`] 8, 9 and 11, [`settle`] 14, [`start`] 22. What is to be written comes out; whoever calls
//! changes data and clocks in one record of its log, under the partition's lock.
//!
//! # Invariants
//! - `causality-1`: what was acknowledged is held, or something that its writer had read it for.
//! - `causality-2`: what was replaced or deleted never comes back, at whatever time which message arrives.
//! - `causality-3`: replicas that have met hold the same.
//! - `causality-4`: every tombstone is purged in the end.
//!
//! *Not here*: where objects lie, who is a replica, when what is sent to whom.

pub mod exchange;
pub mod mint;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
pub mod purge;
pub mod settle;
pub mod start;
pub mod store;

use ringwood_types::{Clock, Dot, Incarnation};

#[cfg(feature = "plant")]
use self::plant::Plant;
use self::plant::Planted;

pub use crate::coordinator::write::{Answer, Conflict};
pub use exchange::{Path, Session};
pub use purge::Views;
pub use settle::Closed;
pub use start::Start;
pub use store::{Lww, Stored, Way};

/// What a replica knows of the writes of a partition, beside the data.
#[derive(Clone, Debug)]
pub struct Clocks {
    incarnation: Incarnation,
    seen: Clock,
    purged: Clock,
    closed: Closed,
    planted: Planted,
}

impl Clocks {
    /// Of a replica that mints as `incarnation`, with its clocks as they were stored.
    #[must_use]
    pub fn new(incarnation: Incarnation, seen: Clock, purged: Clock) -> Self {
        Self {
            incarnation,
            seen,
            purged,
            closed: Closed::default(),
            planted: Planted::default(),
        }
    }

    /// With a defect, for the tests of the tests.
    #[cfg(feature = "plant")]
    #[must_use]
    pub fn with_plant(mut self, plant: Plant) -> Self {
        self.planted = Planted(Some(plant));
        self
    }

    /// Under which it mints.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Every dot that is held here, or is obsolete here.
    #[must_use]
    pub const fn seen(&self) -> &Clock {
        &self.seen
    }

    /// Covers every tombstone that was purged here, or that a source of a full compare had purged.
    #[must_use]
    pub const fn purged(&self) -> &Clock {
        &self.purged
    }

    /// The incarnations that are closed in the epoch that is applied here.
    pub const fn closed_mut(&mut self) -> &mut Closed {
        &mut self.closed
    }

    /// Takes note of dots that were stored, in the record that stores them.
    pub fn add(&mut self, dots: &[Dot]) {
        for &dot in dots {
            self.seen.add(dot);
        }
    }
}
