//! Takes a node's time back: the engine's, and that of the versions it mints.

use ringwood_lsm::{ClockReset, Db, Error, Options};

use crate::error::OpenError;
use crate::node::SYSTEM;
use crate::store;

/// Takes the time of a node's directory back to what the machine's clock says, where a wrong clock was
/// believed that was ahead of it. No process may have it open. Durable on return. What it means for keys
/// that expire, see [`ringwood_lsm::reset_clock`].
///
/// Versions that were minted meanwhile stay as they are; later ones have the right time, so to whoever
/// compares times alone they are older.
///
/// # Errors
/// [`OpenError::Engine`]: one that ended half-way, say on a full disk, is done again and goes on from there;
/// nothing is lost. [`OpenError::DamagedSystemRecord`].
pub fn reset_clock(engine: &Options) -> Result<ClockReset, OpenError> {
    let mut reset = ringwood_lsm::reset_clock(engine)?;
    let db = Db::open(Options {
        create: false,
        ..engine.clone()
    })?;
    match db.keyspace(SYSTEM) {
        Ok(system) => {
            // A reset that ended in between leaves the mark.
            if let Some(mark) = store::take_time_back(&db, &system, reset.now)? {
                reset.before = reset.before.max(mark);
                reset.taken_back = true;
            }
        }
        Err(Error::NoSuchKeyspace { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    db.close()?;
    Ok(reset)
}
