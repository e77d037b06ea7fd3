//! What has expired, and that it stays so for whoever was told.
//!
//! A clock may be set back while the machine is down. The time of the last write is in the log, but the
//! time at which a *reader* was told that a key is gone would be nowhere, and the key would be back. So
//! the manifest has a bound below which the store's clock never starts again, and no deadline beyond it
//! is called past before a higher bound is on the disk. The new one lies [`AHEAD_MS`] ahead, and is moved on
//! in the background ([`Expiry::note_ahead`]) before the time comes near it, while readers meet values that
//! expire and some may do so soon. So readers find what has just expired noted, and wait for nothing. Only
//! the first one after a while, or after a step of the clock, notes it himself.
//!
//! The price: a store that is open again within [`AHEAD_MS`] has a clock that is ahead by what is left of it.
//!
//! # Invariants
//! - expiry-1: a deadline that a reader was told has passed, has passed after every later open.
//!
//! Where the disk has no room for the bound, the answer is given all the same: a full disk must not keep
//! anybody from reading.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ringwood_env::{Clock, UnixMillis};

use crate::clock::{Deadlines, ForwardClock};
use crate::cursor::ReadTier;
use crate::error::{Error, Result};
use crate::locks::lock;
use crate::manifest::{Edit, Manifest};
use crate::plant::{Plant, is_planted};

/// How far ahead of the clock a new bound lies.
pub(crate) const AHEAD_MS: u64 = 5000;
/// The bound is moved on when it is no further ahead than this: several looks for work before it is needed.
const RENEW_MS: u64 = 3000;

/// Knows the time, and what was told of it.
#[derive(Debug)]
pub(crate) struct Expiry {
    clock: Arc<ForwardClock>,
    manifest: Arc<Mutex<Manifest>>,
    /// On the disk: no later clock shows less.
    noted: AtomicU64,
    /// Whether a reader met a value that expires since the bound was moved on.
    asked: AtomicBool,
}

impl Expiry {
    pub(crate) fn new(clock: Arc<ForwardClock>, manifest: Arc<Mutex<Manifest>>) -> Self {
        let noted = AtomicU64::new(lock(&manifest).state().clock_high);
        Self {
            clock,
            manifest,
            noted,
            asked: AtomicBool::new(false),
        }
    }

    /// Notes that a reader met a value that expires.
    #[inline]
    pub(crate) fn ask(&self) {
        // Written only when it changes: the line stays shared between cores.
        if !self.asked.load(Ordering::Relaxed) {
            self.asked.store(true, Ordering::Relaxed);
        }
    }

    /// The bound, and the time up to which deadlines should be noted, where readers may soon need that.
    pub(crate) fn unnoted(&self) -> Option<(UnixMillis, UnixMillis)> {
        if !self.asked.load(Ordering::Relaxed) {
            return None;
        }
        let (noted, now) = (self.noted.load(Ordering::Relaxed), self.clock.wall());
        (noted < now.saturating_add(RENEW_MS)).then(|| (noted, now.saturating_add(AHEAD_MS)))
    }

    /// Moves the bound on.
    ///
    /// # Errors
    /// As an append to the manifest.
    pub(crate) fn note_ahead(&self) -> Result<()> {
        self.asked.store(false, Ordering::Relaxed);
        self.note(self.clock.wall().saturating_add(RENEW_MS))
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
        let bound = self.clock.wall().saturating_add(AHEAD_MS).max(deadline);
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
        self.ask();
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
