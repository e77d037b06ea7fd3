//! The primitives of code whose interleavings are checked: the standard ones, or those of a model
//! checker.
//!
//! Built with `RUSTFLAGS='--cfg shuttle'`, every operation on them is a place where the checker may
//! switch to another thread. Only such modules import from here.

#[cfg(not(shuttle))]
pub(crate) use std::{
    hint,
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread, thread_local,
};

#[cfg(shuttle)]
pub(crate) use shuttle::{
    hint,
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread, thread_local,
};
