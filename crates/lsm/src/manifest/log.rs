//! The manifest on disk: an append-only file of edits, replaced by a checkpoint when it grows long.
//!
//! # Invariants
//! - `manifest-1`: the edits of one [`Manifest::append`] are recovered all together or not at all.
//! - `manifest-2`: what [`Manifest::open`] returns is durable, also where the process before ended
//!   between writing and syncing: files it no longer names may be removed at once.
//! - `manifest-3`: opening changes nothing. Damage that was passed by is healed by the checkpoint that
//!   the next append makes, so a file with a torn tail is never appended to.
//!
//! # Durability on return
//! [`Manifest::create`] and [`Manifest::append`] return when the change is durable. See
//! [`Manifest::append`] on failures.
//!
//! # Not here
//! The bytes of records (`frame.rs`), of edits (`edit.rs`) and of `CURRENT` (`current.rs`).

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringwood_env::{DirEntry, Disk, DiskFile, OpenMode};

use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::files::{CURRENT, FileKind, FileNumber, FileNumbers, manifest_path};
use crate::manifest::edit::Edit;
use crate::manifest::frame::{self, Damage, Header, Records};
use crate::manifest::state::State;
use crate::manifest::{FORMAT_VERSION, current};

/// Edits behind a checkpoint that are worth a new one, in bytes; more where the checkpoint is long.
const CHECKPOINT_AFTER: u64 = 1 << 20;
const CHECKPOINT_RATIO: u64 = 4;
/// No manifest of a store that was used is this short, and none that was only just made is longer.
const UNUSED_LEN: u64 = 256;

/// The manifest in force, open for changes.
#[derive(Debug)]
pub(crate) struct Manifest {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    numbers: Arc<FileNumbers>,
    state: State,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    position: Position,
    /// Bytes up to the end of the checkpoint that the file begins with.
    checkpoint_end: u64,
    /// One that failed is tried again when the file has grown to this.
    no_checkpoint_before: u64,
    /// What was found damaged when the file was opened: it is not appended to.
    damage: Vec<Corruption>,
    /// To be made before all others.
    owed: Vec<Edit>,
    failed: Option<Arc<Error>>,
}

/// Where the next record goes.
#[derive(Clone, Copy, Debug)]
struct Position {
    end: u64,
    index: u64,
    chain: u32,
}

impl Manifest {
    /// Makes a store in `directory`, which exists and holds none.
    ///
    /// # Errors
    /// [`Error::Io`]; there may be a store or none, but not half of one.
    pub(crate) fn create(disk: Arc<dyn Disk>, directory: &Path, identity: u128) -> Result<Self> {
        let names = list(&*disk, directory)?;
        let numbers = Arc::new(FileNumbers::starting_at(behind_all(&names)));
        let mut state = State::default();
        state
            .apply(&Edit::Identity(identity))
            .expect("an identity contradicts nothing");
        Self::begin(disk, directory, numbers, state)
    }

    /// Opens the store in `directory`; [`Manifest::state`] then says what it consists of.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none; [`Error::Corruption`] where its files are damaged or
    /// only part of them is there; [`Error::UnsupportedFormat`]; [`Error::Io`].
    pub(crate) fn open(disk: Arc<dyn Disk>, directory: &Path) -> Result<Self> {
        let names = list(&*disk, directory)?;
        let InForce {
            path,
            bytes,
            replayed,
        } = InForce::read(&*disk, directory, &names)?;
        let file = disk
            .open(&path, OpenMode::Write)
            .map_err(|error| Error::io("open", &path, error))?;
        // INVARIANT manifest-2: what was read may so far only be in the system's memory. Where the
        // sync of the last record failed, the system even believes that it is on disk: only bytes
        // written again are. The records before were durable before the last was written.
        if let Some(last) = replayed.appended {
            file.write_at(&bytes[last.clone()], last.start as u64)
                .map_err(|error| Error::io("write", &path, error))?;
        }
        file.sync()
            .map_err(|error| Error::io("sync", &path, error))?;
        disk.sync_dir(directory)
            .map_err(|error| Error::io("sync", directory, error))?;
        let next = replayed.state.next_file.max(behind_all(&names));
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            numbers: Arc::new(FileNumbers::starting_at(next)),
            state: replayed.state,
            file,
            path,
            position: replayed.position,
            checkpoint_end: replayed.checkpoint_end,
            no_checkpoint_before: 0,
            damage: replayed.damage,
            owed: Vec::new(),
            failed: None,
        })
    }

    /// Reads what [`Manifest::open`] would, and changes nothing.
    ///
    /// # Errors
    /// As [`Manifest::open`].
    pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> Result<Reading> {
        let names = list(disk, directory)?;
        let InForce { path, replayed, .. } = InForce::read(disk, directory, &names)?;
        Ok(Reading {
            path,
            len: replayed.position.end,
            state: replayed.state,
            damage: replayed.damage,
        })
    }

    /// Reads the manifest at `path`, in force or not, as far as it can be: the state it had come to,
    /// and what is wrong with the rest.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::UnsupportedFormat`].
    pub(crate) fn salvage(disk: &dyn Disk, path: &Path) -> Result<(State, Option<Corruption>)> {
        let Some(bytes) = read_file(disk, path)? else {
            let missing = Corruption::new(path, 0, CorruptionKind::MissingFile);
            return Ok((State::default(), Some(missing)));
        };
        let mut state = State::default();
        match replay_into(&mut state, path, &bytes) {
            Ok(_) => Ok((state, None)),
            Err(Error::Corruption(damage)) => Ok((state, Some(damage))),
            Err(error) => Err(error),
        }
    }

    /// Makes a store in `directory`, which holds the tables and logs of `state`; a manifest that was
    /// in force there is not any more.
    ///
    /// # Errors
    /// As [`Manifest::create`].
    pub(crate) fn create_with(disk: Arc<dyn Disk>, directory: &Path, state: State) -> Result<Self> {
        let numbers = Arc::new(FileNumbers::starting_at(state.next_file));
        Self::begin(disk, directory, numbers, state)
    }

    /// What the store consists of.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The store's one source of file numbers.
    pub(crate) fn numbers(&self) -> &Arc<FileNumbers> {
        &self.numbers
    }

    /// Damage that opening passed by without losing anything: a copy of a record, or a tail that was
    /// being written when the machine stopped. The next append heals it.
    pub(crate) fn damage(&self) -> &[Corruption] {
        &self.damage
    }

    /// Has `edits` made together with the next that are appended, before them. For what must be known
    /// before anything else is, and has no room yet.
    pub(crate) fn owe(&mut self, edits: Vec<Edit>) {
        self.owed.extend(edits);
    }

    /// Makes all of `edits`, or none, and returns when they are durable.
    ///
    /// # Errors
    /// [`Error::Io`]. Nothing was changed, and trying again may help, unless
    /// [`Manifest::has_failed`]: then the edits may or may not be there after the next open, so that
    /// files named by either outcome must stay, and every further append is [`Error::Failed`].
    ///
    /// # Panics
    /// When an edit contradicts the state: that is a mistake of the caller, and nothing was written.
    pub(crate) fn append(&mut self, edits: &[Edit]) -> Result<()> {
        if let Some(cause) = &self.failed {
            let cause = Arc::clone(cause);
            return Err(Error::Failed { cause });
        }
        let mut state = self.state.clone();
        for edit in self.owed.iter().chain(edits) {
            if let Err(invalid) = state.apply(edit) {
                panic!("{invalid}: {edit:?}");
            }
        }
        if self.wants_checkpoint() {
            match self.checkpoint(state.clone()) {
                Err(error) if self.may_go_on_without(&error) => self.put_checkpoint_off(&error),
                done => return done,
            }
        }
        let next_file = Edit::NextFile(self.numbers.next());
        state
            .apply(&next_file)
            .expect("a number contradicts nothing");
        let mut payload = Vec::new();
        for edit in self.owed.iter().chain(edits).chain([&next_file]) {
            edit.encode_to(&mut payload);
        }
        self.write(&payload)?;
        self.owed.clear();
        self.state = state;
        Ok(())
    }

    /// Ends all changes: whoever comes later with one hears [`Error::Closed`].
    pub(crate) fn close(&mut self) {
        self.failed.get_or_insert_with(|| Arc::new(Error::Closed));
    }

    /// Whether an append failed in such a way that its outcome is known only after the next open.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    fn wants_checkpoint(&self) -> bool {
        let appended = self.position.end - self.checkpoint_end;
        let enough = CHECKPOINT_AFTER.max(CHECKPOINT_RATIO * self.checkpoint_end);
        let due = appended > enough && self.position.end >= self.no_checkpoint_before;
        !self.damage.is_empty() || due
    }

    /// Whether the file in force will do for longer. What makes room on a full disk is a small record, and
    /// must not wait for a large one; but behind damage nothing is appended.
    fn may_go_on_without(&self, error: &Error) -> bool {
        self.failed.is_none() && self.damage.is_empty() && matches!(error, Error::Io { .. })
    }

    fn put_checkpoint_off(&mut self, error: &Error) {
        self.no_checkpoint_before = self.position.end + CHECKPOINT_AFTER;
        tracing::warn!(%error, "the manifest could not be written anew; the old one goes on");
    }

    fn write(&mut self, payload: &[u8]) -> Result<()> {
        let Position { end, index, chain } = self.position;
        let mut record = Vec::new();
        let chain = frame::encode_record(&mut record, index, chain, payload);
        if let Err(error) = self.file.write_at(&record, end) {
            let error = Error::io("write", &self.path, error);
            // The record may be there in part, or as a whole copy: it must not come back.
            let undone = self.file.set_len(end).and_then(|()| self.file.sync());
            return Err(match undone {
                Ok(()) => error,
                Err(_) => self.fail(error),
            });
        }
        if let Err(error) = self.file.sync() {
            let error = Error::io("sync", &self.path, error);
            return Err(self.fail(error));
        }
        self.position = Position {
            end: end + record.len() as u64,
            index: index + 1,
            chain,
        };
        Ok(())
    }

    fn fail(&mut self, error: Error) -> Error {
        self.failed = Some(Arc::new(error.clone()));
        error
    }

    /// Goes over to a new file that begins with `state`.
    fn checkpoint(&mut self, state: State) -> Result<()> {
        let disk = Arc::clone(&self.disk);
        let numbers = Arc::clone(&self.numbers);
        let fresh = Fresh::write(&*disk, &self.directory, &numbers, state)?;
        let ready = current::prepare(&*disk, &self.directory, fresh.number);
        if let Err(error) = ready {
            // Nothing has changed yet: a full disk, say. The file that is in force goes on.
            let _ = self.disk.remove_file(&fresh.path);
            return Err(error);
        }
        if let Err(error) = current::switch(&*disk, &self.directory) {
            return Err(self.fail(error));
        }
        remove_others(&*disk, &self.directory, fresh.number);
        *self = fresh.into_manifest(disk, &self.directory, numbers);
        Ok(())
    }

    fn begin(
        disk: Arc<dyn Disk>,
        directory: &Path,
        numbers: Arc<FileNumbers>,
        state: State,
    ) -> Result<Self> {
        let fresh = Fresh::write(&*disk, directory, &numbers, state)?;
        current::prepare(&*disk, directory, fresh.number)?;
        current::switch(&*disk, directory)?;
        remove_others(&*disk, directory, fresh.number);
        Ok(fresh.into_manifest(disk, directory, numbers))
    }
}

/// A manifest that holds a checkpoint, is durable, and is not yet in force.
struct Fresh {
    number: FileNumber,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    position: Position,
    state: State,
}

impl Fresh {
    fn write(
        disk: &dyn Disk,
        directory: &Path,
        numbers: &FileNumbers,
        mut state: State,
    ) -> Result<Self> {
        let number = numbers.issue();
        state.next_file = state.next_file.max(numbers.next());
        let (bytes, chain) = encode_checkpoint(number, &state);
        let path = manifest_path(directory, number);
        let file = disk
            .open(&path, OpenMode::CreateNew)
            .map_err(|error| Error::io("create", &path, error))?;
        let written = file.write_at(&bytes, 0).and_then(|()| file.sync());
        if let Err(error) = written {
            // Best effort: it is not in force, and the next checkpoint removes what was left.
            let _ = disk.remove_file(&path);
            return Err(Error::io("write", &path, error));
        }
        // ORDER: the file's name is durable before CURRENT names it.
        disk.sync_dir(directory)
            .map_err(|error| Error::io("sync", directory, error))?;
        let position = Position {
            end: bytes.len() as u64,
            index: 1,
            chain,
        };
        Ok(Self {
            number,
            path,
            file,
            position,
            state,
        })
    }

    fn into_manifest(
        self,
        disk: Arc<dyn Disk>,
        directory: &Path,
        numbers: Arc<FileNumbers>,
    ) -> Manifest {
        Manifest {
            disk,
            directory: directory.to_owned(),
            numbers,
            state: self.state,
            file: self.file,
            path: self.path,
            position: self.position,
            checkpoint_end: self.position.end,
            no_checkpoint_before: 0,
            damage: Vec::new(),
            owed: Vec::new(),
            failed: None,
        }
    }
}

/// A whole file that says `state`, and the checksum its next record chains to.
fn encode_checkpoint(number: FileNumber, state: &State) -> (Vec<u8>, u32) {
    let header = Header {
        format: FORMAT_VERSION,
        key_id: 0,
        number,
    };
    let (header, chain) = header.encode();
    let mut payload = Vec::new();
    for edit in state.to_edits() {
        edit.encode_to(&mut payload);
    }
    let mut bytes = [header, header].concat();
    let chain = frame::encode_record(&mut bytes, 0, chain, &payload);
    (bytes, chain)
}

/// What the manifest in force says.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) path: PathBuf,
    /// Bytes of it that count.
    pub(crate) len: u64,
    pub(crate) state: State,
    /// As [`Manifest::damage`].
    pub(crate) damage: Vec<Corruption>,
}

/// What a manifest's bytes add up to.
struct Replayed {
    number: FileNumber,
    state: State,
    position: Position,
    checkpoint_end: u64,
    /// The last record, if it is not the checkpoint.
    appended: Option<Range<usize>>,
    damage: Vec<Corruption>,
}

/// The manifest in force, read.
struct InForce {
    path: PathBuf,
    bytes: Vec<u8>,
    replayed: Replayed,
}

impl InForce {
    /// `names` are those of the directory.
    fn read(disk: &dyn Disk, directory: &Path, names: &[DirEntry]) -> Result<Self> {
        let current_path = directory.join(CURRENT);
        let Some(bytes) = read_file(disk, &current_path)? else {
            return Err(without_current(directory, names));
        };
        let current = current::decode(&current_path, &bytes)?;
        let path = manifest_path(directory, current.manifest);
        let Some(bytes) = read_file(disk, &path)? else {
            return Err(Corruption::new(&path, 0, CorruptionKind::MissingFile).into());
        };
        let mut replayed = replay(&path, &bytes)?;
        if replayed.number != current.manifest {
            return Err(Corruption::new(&path, 0, CorruptionKind::Encoding).into());
        }
        if current.damaged {
            let damage = Corruption::new(&current_path, 0, CorruptionKind::Checksum);
            replayed.damage.push(damage);
        }
        Ok(Self {
            path,
            bytes,
            replayed,
        })
    }
}

/// Reads what the bytes of a manifest say. `path` is for the error.
fn replay(path: &Path, bytes: &[u8]) -> Result<Replayed> {
    let mut state = State::default();
    let replayed = replay_into(&mut state, path, bytes)?;
    Ok(Replayed { state, ..replayed })
}

/// The same, into `state`, which after an error is what was read until then. The result's own state
/// is empty.
fn replay_into(state: &mut State, path: &Path, bytes: &[u8]) -> Result<Replayed> {
    let corruption = |(offset, kind): Damage| Corruption::new(path, offset as u64, kind);
    let (header, mut records) = Records::begin(bytes).map_err(corruption)?;
    if header.format != FORMAT_VERSION {
        return Err(Error::UnsupportedFormat {
            path: path.to_owned(),
            found: header.format,
            supported: FORMAT_VERSION,
        });
    }
    if header.key_id != 0 {
        return Err(corruption((0, CorruptionKind::Encoding)).into());
    }
    let mut checkpoint_end = None;
    let mut appended = None;
    while let Some(record) = records.next().map_err(corruption)? {
        let senseless = || corruption((record.offset, CorruptionKind::Encoding));
        for edit in Edit::decode_all(record.payload).map_err(|_| senseless())? {
            state.apply(&edit).map_err(|_| senseless())?;
        }
        if checkpoint_end.is_some() {
            appended = Some(record.offset..record.end.min(bytes.len()));
        }
        checkpoint_end.get_or_insert(record.end as u64);
    }
    let (end, index, chain) = records.position();
    // CURRENT names a manifest only when its checkpoint is durable.
    let checkpoint_end =
        checkpoint_end.ok_or_else(|| corruption((end, CorruptionKind::Truncated)))?;
    let mut damage: Vec<_> = records.into_damage().into_iter().map(corruption).collect();
    if end < bytes.len() {
        damage.push(corruption((end, CorruptionKind::Truncated)));
    }
    Ok(Replayed {
        number: header.number,
        state: State::default(),
        position: Position {
            end: end as u64,
            index,
            chain,
        },
        checkpoint_end,
        appended,
        damage,
    })
}

/// Why a directory without `CURRENT` cannot be opened.
fn without_current(directory: &Path, names: &[DirEntry]) -> Error {
    let belongs_to_a_store = names
        .iter()
        .any(|entry| match FileKind::parse(&entry.name) {
            Some(FileKind::Log(_) | FileKind::Table(_)) => true,
            // One that is no longer than at its birth was left by a crash before CURRENT was there.
            Some(FileKind::Manifest(_)) => entry.len > UNUSED_LEN,
            _ => false,
        });
    if belongs_to_a_store {
        Corruption::new(&directory.join(CURRENT), 0, CorruptionKind::MissingFile).into()
    } else {
        Error::NotFound {
            path: directory.to_owned(),
        }
    }
}

/// Removes manifests that are not in force. Best effort: they do no harm.
fn remove_others(disk: &dyn Disk, directory: &Path, in_force: FileNumber) {
    for entry in disk.read_dir(directory).unwrap_or_default() {
        if let Some(FileKind::Manifest(number)) = FileKind::parse(&entry.name)
            && number != in_force
        {
            let _ = disk.remove_file(&directory.join(entry.name));
        }
    }
}

/// A file number behind every one in use.
pub(crate) fn behind_all(names: &[DirEntry]) -> FileNumber {
    let numbers = names
        .iter()
        .filter_map(|entry| match FileKind::parse(&entry.name)? {
            FileKind::Manifest(number) | FileKind::Log(number) | FileKind::Table(number) => {
                Some(number.get())
            }
            _ => None,
        });
    FileNumber::new(numbers.max().map_or(1, |number| number.saturating_add(1)))
}

fn list(disk: &dyn Disk, directory: &Path) -> Result<Vec<DirEntry>> {
    disk.read_dir(directory).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Error::NotFound {
                path: directory.to_owned(),
            }
        } else {
            Error::io("list", directory, error)
        }
    })
}

/// A whole file's bytes; `None` where there is none.
fn read_file(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>> {
    let read = || -> io::Result<Vec<u8>> {
        let file = disk.open(path, OpenMode::Read)?;
        let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        let n = file.read_at(&mut bytes, 0)?;
        bytes.truncate(n);
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

#[cfg(test)]
mod tests;
