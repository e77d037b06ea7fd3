//! Ringwood's storage engine: a log-structured merge tree over plain bytes, usable alone as an
//! embedded library.
//!
//! How to read it: [`key`] and [`batch`] say what is stored; [`commit`] is the one place that orders
//! writes (append, sync, apply, publish) and [`read`] the one that looks a key up. Below them stand
//! the log ([`wal`]), the [`memtable`], the tables ([`sstable`]) with their [`cache`], and the
//! [`manifest`] that says which tables exist. [`compaction`] keeps levels in shape, [`iter`] merges
//! sources into one order. [`db`] holds it all together and is where to start as a user.
//!
//! The engine has no threads of its own underneath: background work is a [`Job`] that
//! somebody takes and runs, be it the small pool of `Db::open` or a simulator.
#![allow(rustdoc::private_intra_doc_links)]

mod batch;
mod bytes;
mod cursor;
mod error;
mod key;
mod options;
mod slice;

mod background;
mod budget;
mod cache;
mod checkpoint;
mod clock;
mod commit;
mod compaction;
mod db;
mod expiry;
mod files;
mod flush;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod install;
mod iter;
mod jobs;
mod key_locks;
mod keyspaces;
mod locks;
mod manifest;
mod memtable;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
mod pool;
mod pressure;
mod range_tombstone;
mod rate;
mod read;
mod recovery;
mod repair;
mod reset_clock;
mod schedule;
mod snapshot;
mod space;
mod sstable;
mod statistics;
mod store;
mod survey;
mod sync;
mod tables;
mod ticket;
mod verify;
mod view;
mod wal;

pub use batch::{Batch, KeyspaceId};
pub use cursor::ReadTier;
pub use db::{Db, Keyspace, Update};
pub use error::{Corruption, CorruptionKind, Error, Result, TargetProblem};
pub use files::is_store_file;
pub use iter::{Entries, Iter};
pub use jobs::Job;
pub use key::{Kind, MAX_KEY_LEN, MAX_VALUE_LEN, SeqNo};
pub use options::{Compression, Durability, ExpiryFilter, KeyspaceOptions, Options};
pub use read::{Found, ReadOptions};
pub use recovery::{OpenReport, TornLog};
pub use repair::{KeyRange, Loss, RepairReport, repair};
pub use reset_clock::{ClockReset, USUALLY_AHEAD, reset_clock};
pub use slice::Slice;
pub use snapshot::Snapshot;
pub use statistics::{
    CheckpointProgress, KeyspaceStatistics, LATENCY_BOUNDS_US, Latency, LevelStatistics, Statistics,
};
pub use ticket::Ticket;
pub use verify::{VerifyReport, verify};
