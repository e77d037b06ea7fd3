//! The state behind a faulty disk: one machine with a power switch.
//!
//! Every call passes [`Machine::perform`], the one place that counts, judges, acts and records.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::inode::Inode;
use super::names::{InodeId, Names};
use super::plan::{
    CrashMode, Delay, Fault, FaultPlan, Operation, Progress, SECTOR, TraceEntry, Verdict,
};
use crate::random::SeededRandom;

/// Calls the trace remembers.
const TRACE_LEN: usize = 256;

/// Where misdirected reads and writes land: multiples of this.
const MISDIRECTION: usize = 4096;

/// A file may not grow beyond this; a corrupt length must not exhaust the tester's memory.
const FILE_LEN_MAX: u64 = 1 << 30;

/// The error of every call while the power is off, and of files opened before it was.
#[derive(Debug)]
struct PowerCut;

impl fmt::Display for PowerCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the machine crashed")
    }
}

impl Error for PowerCut {}

pub(super) fn power_cut() -> io::Error {
    io::Error::other(PowerCut)
}

/// Whether an error says that the faulty disk's machine crashed.
#[must_use]
pub fn is_crash(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<PowerCut>())
}

/// One call, as the plan and the trace see it.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    pub(super) path: &'a str,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// An open file, as its holder names it.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) inode: InodeId,
    /// As it was opened.
    pub(super) path: String,
    pub(super) direct: bool,
    /// The boot it belongs to.
    pub(super) boot: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    /// During the call in which it fails: what reaches the cache may still reach the disk.
    Failing,
    Off,
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) random: SeededRandom,
    pub(super) progress: Progress,
    pub(super) names: Names,
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    pub(super) locks: BTreeSet<InodeId>,
    pub(super) capacity: Option<u64>,
    pub(super) refuses_direct: bool,
    pub(super) operations: u64,
    pub(super) trace: VecDeque<TraceEntry>,
    pub(super) boot: u64,
    /// How many handles of this boot hold each file.
    holders: BTreeMap<InodeId, u32>,
    files_made: u64,
    power: Power,
}

impl Machine {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: SeededRandom::new(seed),
            progress: Progress::default(),
            names: Names::default(),
            inodes: BTreeMap::new(),
            locks: BTreeSet::new(),
            capacity: None,
            refuses_direct: false,
            operations: 0,
            trace: VecDeque::new(),
            boot: 0,
            holders: BTreeMap::new(),
            files_made: 0,
            power: Power::On,
        }
    }

    /// Another machine with the same contents, pending changes and power; nobody has opened
    /// anything on it, and nothing is planned to go wrong.
    pub(super) fn image(&self, seed: u64) -> Self {
        Self {
            names: self.names.clone(),
            inodes: self.inodes.clone(),
            capacity: self.capacity,
            refuses_direct: self.refuses_direct,
            files_made: self.files_made,
            power: self.power,
            ..Self::new(seed)
        }
    }

    /// Runs one call: `act` where it may proceed, `fail` for what a failing one leaves behind.
    /// Returns how long it took.
    pub(super) fn perform<T>(
        &mut self,
        call: Call<'_>,
        act: impl FnOnce(&mut Self) -> io::Result<T>,
        fail: impl FnOnce(&mut Self),
    ) -> (io::Result<T>, Duration) {
        if self.power == Power::Off {
            return (Err(power_cut()), Duration::ZERO);
        }
        self.operations += 1;
        let result = match self.progress.judge(call.operation, call.path) {
            Verdict::Proceed => act(self),
            Verdict::Fail(fault) => {
                fail(self);
                Err(fault.into())
            }
            Verdict::CutPower => {
                self.power = Power::Failing;
                // A sync cut short promised nothing: what it had to save stays pending.
                if !matches!(call.operation, Operation::Sync | Operation::SyncDir) {
                    let _ = act(self);
                }
                self.power = Power::Off;
                Err(power_cut())
            }
        };
        self.record(call, result.as_ref().err());
        (result, self.delay(call))
    }

    fn record(&mut self, call: Call<'_>, error: Option<&io::Error>) {
        if self.trace.len() == TRACE_LEN {
            self.trace.pop_front();
        }
        self.trace.push_back(TraceEntry {
            index: self.operations,
            operation: call.operation,
            path: call.path.to_owned(),
            offset: call.offset,
            len: call.len,
            outcome: error.map_or(Ok(()), |error| Err(error.kind())),
        });
    }

    fn delay(&self, call: Call<'_>) -> Duration {
        let is_meant =
            |delay: &&Delay| delay.on.contains(call.operation) && call.path.ends_with(delay.suffix);
        let delays = self.progress.plan().delays.iter().filter(is_meant);
        delays
            .filter(|delay| self.random.chance(delay.chance))
            .map(|delay| delay.by)
            .sum()
    }

    pub(super) fn set_plan(&mut self, plan: FaultPlan) {
        self.progress = Progress::new(plan);
    }

    pub(super) fn is_crashed(&self) -> bool {
        self.power == Power::Off
    }

    pub(super) fn crash(&mut self, mode: CrashMode) {
        self.names.crash(mode, &self.random);
        self.holders.clear();
        self.locks.clear();
        self.boot += 1;
        self.power = Power::On;
        self.progress.forget_crash();
        self.free_dead_files();
        for inode in self.inodes.values_mut() {
            inode.crash(mode, &self.random);
        }
    }

    /// The file of a handle, refused where the handle is of a boot gone by.
    pub(super) fn held(&mut self, handle: &Handle) -> io::Result<&mut Inode> {
        if handle.boot != self.boot {
            return Err(power_cut());
        }
        Ok(self.inode(handle.inode))
    }

    pub(super) fn inode(&mut self, id: InodeId) -> &mut Inode {
        self.inodes
            .get_mut(&id)
            .expect("a file with a name or a holder has an inode")
    }

    pub(super) fn hold(&mut self, inode: InodeId, path: &str, direct: bool) -> Handle {
        *self.holders.entry(inode).or_default() += 1;
        Handle {
            inode,
            path: path.to_owned(),
            direct,
            boot: self.boot,
        }
    }

    pub(super) fn release(&mut self, handle: &Handle) {
        if handle.boot != self.boot {
            return;
        }
        if let Some(count) = self.holders.get_mut(&handle.inode) {
            *count -= 1;
            if *count == 0 {
                self.holders.remove(&handle.inode);
                self.free_dead_files();
            }
        }
    }

    pub(super) fn add_inode(&mut self, inode: Inode) -> InodeId {
        self.files_made += 1;
        let id = InodeId(self.files_made);
        self.inodes.insert(id, inode);
        id
    }

    /// Forgets files that no program and no crash can reach.
    pub(super) fn free_dead_files(&mut self) {
        let alive = self.names.files_alive();
        let holders = &self.holders;
        self.inodes
            .retain(|id, _| alive.contains(id) || holders.contains_key(id));
    }

    /// Bytes that may still be written. A file counts until its last name and holder are gone, a
    /// hole in it as if it were written.
    pub(super) fn space(&self) -> u64 {
        let Some(capacity) = self.capacity else {
            return u64::MAX;
        };
        let mut counted = self.names.files_named();
        counted.extend(self.holders.keys());
        let used: usize = counted.iter().map(|id| self.inodes[id].len()).sum();
        capacity.saturating_sub(used as u64)
    }

    pub(super) fn read(
        &mut self,
        handle: &Handle,
        buf: &mut [u8],
        offset: u64,
    ) -> io::Result<usize> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let available = self.held(handle)?.bytes().len().saturating_sub(offset);
        let count = available.min(buf.len());
        if !self
            .progress
            .is_readable(&handle.path, offset as u64, count)
        {
            return Err(Fault::Io.into());
        }
        if count == 0 {
            return Ok(0);
        }
        let chance = self.progress.plan().misdirected_reads;
        let (id, at) = self.misdirect(chance, handle.inode, offset, count);
        buf[..count].copy_from_slice(&self.inode(id).bytes()[at..at + count]);
        if self.random.chance(self.progress.plan().flipped_reads) {
            buf[self.random.index(count)] ^= 1 << self.random.below(8);
        }
        Ok(count)
    }

    pub(super) fn write(&mut self, handle: &Handle, bytes: &[u8], offset: u64) -> io::Result<()> {
        let len = self.held(handle)?.len();
        let at = checked_len(offset)?;
        let end = checked_len(offset.saturating_add(bytes.len() as u64))?;
        if end.saturating_sub(len) as u64 > self.space() {
            self.write_part(handle, bytes, offset);
            return Err(Fault::NoSpace.into());
        }
        let durable = handle.direct
            && self.power == Power::On
            && !self.progress.ignores_sync_of(&handle.path);
        let chance = self.progress.plan().misdirected_writes;
        let target = self.misdirect(chance, handle.inode, at, bytes.len());
        if target != (handle.inode, at) && end > len {
            self.inode(handle.inode).set_len(end);
        }
        let inode = self.inode(target.0);
        if durable {
            inode.write_durably(target.1, bytes);
        } else {
            inode.write(target.1, bytes);
        }
        Ok(())
    }

    /// What a failed write leaves: its first sectors, or none, as far as there is space.
    pub(super) fn write_part(&mut self, handle: &Handle, bytes: &[u8], offset: u64) {
        let (Ok(at), Ok(inode)) = (checked_len(offset), self.held(handle)) else {
            return;
        };
        let len = inode.len();
        let sectors = self.random.index(bytes.len() / SECTOR + 1);
        let part = &bytes[..sectors * SECTOR];
        if !part.is_empty() && (at + part.len()).saturating_sub(len) as u64 <= self.space() {
            self.inode(handle.inode).write(at, part);
        }
    }

    pub(super) fn set_len(&mut self, handle: &Handle, len: u64) -> io::Result<()> {
        let len = checked_len(len)?;
        let old = self.held(handle)?.len();
        if len.saturating_sub(old) as u64 > self.space() {
            return Err(Fault::NoSpace.into());
        }
        self.inode(handle.inode).set_len(len);
        Ok(())
    }

    /// Where an access goes: nearly always where it should.
    fn misdirect(&self, chance: f64, id: InodeId, at: usize, len: usize) -> (InodeId, usize) {
        if !self.random.chance(chance) {
            return (id, at);
        }
        let candidates: Vec<(&InodeId, &Inode)> = self
            .inodes
            .iter()
            .filter(|(_, inode)| inode.len() >= len)
            .collect();
        if candidates.is_empty() {
            return (id, at);
        }
        let (other, inode) = *self.random.pick(&candidates);
        let slots = (inode.len() - len) / MISDIRECTION + 1;
        (*other, self.random.index(slots) * MISDIRECTION)
    }
}

fn checked_len(len: u64) -> io::Result<usize> {
    usize::try_from(len)
        .ok()
        .filter(|_| len <= FILE_LEN_MAX)
        .ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}
