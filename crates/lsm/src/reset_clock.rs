//! Takes a store's time back to what the machine's clock says: the way back once a wrong clock was
//! believed.
//!
//! The bound below which the store's clock never starts stands in the manifest, and every frame of the
//! log has a time besides. So the log is written out to tables first, by the machine's clock, and then
//! a manifest is put in force that has the new bound and no log. One that ends half-way is done again.

use std::sync::Arc;
use std::time::Duration;

use ringwood_env::{Clock, Disk, UnixMillis};

use crate::error::Result;
use crate::manifest::{Edit, Manifest};
use crate::options::Options;
use crate::pool::Pool;
use crate::recovery::{self, TimeSource};

/// So far ahead of the machine's clock a store's time may come by itself, over restarts one upon the other:
/// each begins with a bound that lies some seconds ahead. It is left to catch up.
pub const USUALLY_AHEAD: Duration = Duration::from_mins(1);

/// What [`reset_clock`] did. Times are milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClockReset {
    /// The store's time before.
    pub before: UnixMillis,
    /// What the machine's clock says; the store's time, if that was ahead.
    pub now: UnixMillis,
    /// Whether the store's time was further ahead than [`USUALLY_AHEAD`], and was taken back.
    pub taken_back: bool,
}

/// Takes the time of a store back to what `options.clock` says, where it is ahead of that by more than
/// [`USUALLY_AHEAD`]. No process may have it open. Durable on return.
///
/// What had expired only by the false time lives again, unless a compaction has removed it: that cannot
/// be undone. This breaks, on purpose, the promise that what a reader was told has expired is gone for
/// good. Deadlines stay as they are: what was given an hour to live while the clock was years ahead
/// expires in years.
///
/// # Errors
/// [`Error::NotFound`](crate::Error::NotFound), [`Error::Locked`](crate::Error::Locked), or as
/// [`Db::open`](crate::Db::open) and background work, say on a full disk: the store's time is as it was,
/// nothing is lost, and it can be done again.
pub fn reset_clock(options: &Options) -> Result<ClockReset> {
    let options = Options {
        create: false,
        threads: 0,
        ..options.clone()
    };
    let (store, _lock, report) = recovery::open(options, false, TimeSource::Machine)?;
    let pool = Pool::start(&store, 0);
    let (before, now) = (report.known_time, store.clock.wall());
    let is_ahead = Duration::from_millis(before.saturating_sub(now)) > USUALLY_AHEAD;
    if is_ahead {
        store.flush_all()?;
    }
    pool.stop();
    store.close()?;
    if is_ahead {
        let disk = Arc::clone(&store.disk) as Arc<dyn Disk>;
        let directory = &store.options.path;
        let manifest = Manifest::open(Arc::clone(&disk), directory)?;
        let mut state = manifest.state().clone();
        state.clock_high = now;
        let next = manifest.numbers().next();
        // Nothing of the log is left that is not in tables.
        for edit in [
            Edit::LastSeq(store.commit.published()),
            Edit::NextFile(next),
            Edit::MinLog { number: next },
        ] {
            state.apply(&edit).expect("a bound contradicts nothing");
        }
        Manifest::create_with(disk, directory, state)?;
    }
    Ok(ClockReset {
        before,
        now,
        taken_back: is_ahead,
    })
}
