//! What has expired, and that it stays so for whoever was told.
//!
//! A clock may be set back while the machine is down. The time of the last write is in the log, but the
//! time at which a *reader* was told that a key is gone would be nowhere, and the key would be back. So
//! the manifest has a bound below which the store's clock never starts again, and no deadline beyond it
//! is called past before a higher bound is on the disk. The new one lies [`AHEAD_MS`] ahead, so that this
//! happens once in that time at most, and only while values with a deadline are found expired.
//!
//! The price: a store that is open again within [`AHEAD_MS`] has a clock that is ahead by what is left of it.
//!
//! # Invariants
//! - expiry-1: a deadline that a reader was told has passed, has passed after every later open.
//!
//! Where the disk has no room for the bound, the answer is given all the same: a full disk must not keep
//! anybody from reading.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ringwood_env::{Clock, UnixMillis};

use crate::clock::{Deadlines, ForwardClock};
use crate::cursor::ReadTier;
use crate::error::{Error, Result};
use crate::locks::lock;
use crate::manifest::{Edit, Manifest};
use crate::plant::{Plant, is_planted};

/// How far ahead of the clock a new bound lies.
pub(crate) const AHEAD_MS: u64 = 1000;

/// Knows the time, and what was told of it.
#[derive(Debug)]
pub(crate) struct Expiry {
    clock: Arc<ForwardClock>,
    manifest: Arc<Mutex<Manifest>>,
    /// On the disk: no later clock shows less.
    noted: AtomicU64,
}

impl Expiry {
    pub(crate) fn new(clock: Arc<ForwardClock>, manifest: Arc<Mutex<Manifest>>) -> Self {
        let noted = AtomicU64::new(lock(&manifest).state().clock_high);
        Self {
            clock,
            manifest,
            noted,
        }
    }

    fn is_noted(&self, deadline: UnixMillis) -> bool {
        deadline <= self.noted.load(Ordering::Relaxed) || is_planted(Plant::ExpiryNotNoted)
    }

    #[cold]
    fn note(&self, deadline: UnixMillis) -> Result<()> {
        let mut manifest = lock(&self.manifest);
        if self.is_noted(deadline) {
            return Ok(()); // while we waited
        }
        let bound = self.clock.wall().max(deadline).saturating_add(AHEAD_MS);
        match manifest.append(&[Edit::ClockHigh(bound)]) {
            Err(error) if error.is_disk_full() && !manifest.has_failed() => {
                tracing::warn!(%error, "that values have expired could not be noted");
            }
            noted => noted?,
        }
        self.noted.store(bound, Ordering::Relaxed);
        Ok(())
    }
}

impl Deadlines for Expiry {
    fn now(&self) -> UnixMillis {
        self.clock.wall()
    }

    fn tell_passed(&self, deadline: UnixMillis, tier: ReadTier) -> Result<()> {
        match tier {
            // INVARIANT expiry-1.
            _ if self.is_noted(deadline) => Ok(()),
            ReadTier::Memory => Err(Error::WouldBlock),
            ReadTier::Disk => self.note(deadline),
        }
    }
}
