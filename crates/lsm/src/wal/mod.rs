//! The write-ahead log: every change is in it, in order, before it is in memory.
//!
//! [`writer`] appends commit groups to *segments*, [`reader`] replays them after a restart and says
//! what was lost, frame by frame as [`segment_reader`] finds them and [`mend`] puts them right, [`recover`](mod@recover) makes durable
//! what was replayed, [`segment`] makes segments and recycles them, [`frame`] gathers a group where it can be written from without a copy, and
//! [`format`](mod@format) is what stands on the disk.
//!
//! # Invariants
//! 1. `wal-1` A frame is accepted only in the segment it was written for: its checksum is salted with
//!    the segment's secret and it names the segment, whose number is never used again. So the
//!    remains of a recycled file, whatever their bytes, are no frames.
//! 2. `wal-2` What is replayed is a prefix of what was written: sequence numbers are contiguous from
//!    frame to frame, across segments too, and nothing behind a hole is accepted.
//! 3. `wal-3` A hole is forgiven (a *torn tail*) only while nothing says that the missing bytes were
//!    durable. Every frame says up to where the log was durable when it was composed; a hole below
//!    such a watermark is corruption, and an error.
//! 4. `wal-4` A page that holds synced bytes is never written again with others: a synced frame is
//!    padded to the page's end. So no torn write can reach what was acknowledged.
//! 5. `wal-5` Direct and cached writes do not meet: the log is written past the cache only when no
//!    byte of it waits in the cache.
//! 6. `wal-6` What recovery builds upon, it has either found below a watermark or written again and
//!    synced: that it can be read, and synced, does not say that it is on the disk.
//!
//! 7. `wal-7` A frame in which one byte is not what was written is read as what it was, if its checksum
//!    tells the byte and a hash that is independent of it agrees. A crash leaves such a frame too: then
//!    it is a write that nobody was told of, and whole. Otherwise a torn write and damage of the last
//!    frame could not be told apart.
//!
//! # Not here
//! Which segments are live, and when one is obsolete: the manifest. Who is in a group, who waits and
//! who is woken: [`commit`](crate::commit).

pub(crate) mod format;
pub(crate) mod frame;
mod mend;
pub(crate) mod reader;
mod recover;
pub(crate) mod salvage;
pub(crate) mod segment;
mod segment_reader;
pub(crate) mod writer;

#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

pub(crate) use format::payload_len_max;
pub(crate) use frame::Frame;
pub(crate) use reader::{Recovered, TornTail, holds_frames, read_log};
pub(crate) use recover::recover;
pub(crate) use salvage::salvage;
pub(crate) use segment::{FIRST_LEN, Preparation, Segment, SegmentPool, segment_len_for};
pub(crate) use segment_reader::LiveSegment;
pub(crate) use writer::LogWriter;
