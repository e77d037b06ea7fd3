//! The calls of [`Disk`] and [`DiskFile`] on a faulty disk.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::inode::Inode;
use super::machine::{Call, Handle, Machine, power_cut};
use super::names::{InodeId, Key, Node};
use super::plan::{Operation, plain};
use super::{FaultyDisk, Shared};
use crate::disk::{DIRECT_ALIGNMENT, DirEntry, Disk, DiskFile, DiskLock, OpenMode};

impl Shared {
    /// Runs one call on the machine, and takes the time it takes without holding it up.
    fn perform<T>(
        &self,
        call: Call<'_>,
        act: impl FnOnce(&mut Machine) -> io::Result<T>,
        fail: impl FnOnce(&mut Machine),
    ) -> io::Result<T> {
        let (result, delay) = self.machine().perform(call, act, fail);
        if !delay.is_zero() {
            self.wait(delay);
        }
        result
    }
}

impl FaultyDisk {
    fn call<T>(
        &self,
        operation: Operation,
        path: &str,
        act: impl FnOnce(&mut Machine) -> io::Result<T>,
    ) -> io::Result<T> {
        let call = Call {
            operation,
            path,
            offset: 0,
            len: 0,
        };
        self.shared.perform(call, act, |_| {})
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let path = &plain(path);
        let operation = match mode {
            OpenMode::CreateNew => Operation::Create,
            OpenMode::Read | OpenMode::Write | OpenMode::DirectSync => Operation::Open,
        };
        let handle = self.call(operation, path, |machine| {
            if mode == OpenMode::DirectSync && machine.refuses_direct {
                return Err(io::ErrorKind::Unsupported.into());
            }
            let inode = match mode {
                OpenMode::CreateNew => {
                    let key = vacant(machine, path)?;
                    create(machine, key)
                }
                OpenMode::Read | OpenMode::Write | OpenMode::DirectSync => {
                    machine.names.file(path)?
                }
            };
            Ok(machine.hold(inode, path, mode == OpenMode::DirectSync))
        })?;
        Ok(Arc::new(FaultyFile {
            shared: self.shared.clone(),
            handle,
            writable: mode != OpenMode::Read,
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let path = &plain(path);
        self.call(Operation::CreateDir, path, |machine| {
            machine.names.create_dir_all(path)
        })
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let path = &plain(path);
        self.call(Operation::List, path, |machine| {
            let dir = machine.names.dir(path)?;
            let entries = machine.names.list(dir).map(|(name, node)| DirEntry {
                name: name.to_owned(),
                len: match node {
                    Node::File(inode) => machine.inodes[&inode].len() as u64,
                    Node::Dir(_) => 0,
                },
                is_dir: matches!(node, Node::Dir(_)),
            });
            Ok(entries.collect())
        })
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        let path = &plain(path);
        self.call(Operation::List, path, |machine| {
            let inode = machine.names.file(path)?;
            Ok(machine.inodes[&inode].len() as u64)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (&plain(from), &plain(to));
        self.call(Operation::Rename, from, |machine| {
            let (from, to) = (machine.names.locate(from)?, machine.names.locate(to)?);
            machine.names.rename(from, to)
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (&plain(from), &plain(to));
        self.call(Operation::Link, from, |machine| {
            let linked = machine.names.get(&machine.names.locate(from)?);
            let linked = linked.ok_or(io::ErrorKind::NotFound)?;
            let key = vacant(machine, to)?;
            match linked {
                Node::File(inode) => machine.names.bind(key, inode),
                Node::Dir(_) => return Err(io::ErrorKind::PermissionDenied.into()),
            }
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let path = &plain(path);
        self.call(Operation::Remove, path, |machine| {
            machine.names.file(path)?;
            let key = machine.names.locate(path)?;
            machine.names.unbind(key);
            Ok(())
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let path = &plain(path);
        self.call(Operation::RemoveDir, path, |machine| {
            let dir = machine.names.dir(path)?;
            if !machine.names.is_empty_dir(dir) {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let key = machine.names.locate(path)?;
            machine.names.unbind(key);
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = &plain(path);
        let call = Call {
            operation: Operation::SyncDir,
            path,
            offset: 0,
            len: 0,
        };
        let sync = |machine: &mut Machine| {
            let dir = machine.names.dir(path)?;
            if !machine.progress.plan().ignore_sync_dir {
                machine.names.sync(dir);
                machine.free_dead_files();
            }
            Ok(())
        };
        self.shared.perform(call, sync, |machine| {
            if let Ok(dir) = machine.names.dir(path) {
                machine.names.fail_sync(dir, &machine.random);
                machine.free_dead_files();
            }
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let path = &plain(path);
        let handle = self.call(Operation::Lock, path, |machine| {
            let key = machine.names.locate(path)?;
            let inode = match machine.names.get(&key) {
                Some(Node::File(inode)) => inode,
                Some(Node::Dir(_)) => return Err(io::ErrorKind::IsADirectory.into()),
                None => create(machine, key),
            };
            if !machine.locks.insert(inode) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(machine.hold(inode, path, false))
        })?;
        Ok(Box::new(FaultyLock {
            shared: self.shared.clone(),
            handle,
        }))
    }

    fn available_space(&self, path: &Path) -> io::Result<u64> {
        self.call(Operation::List, &plain(path), |machine| Ok(machine.space()))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let path = plain(path);
        self.call(Operation::List, &path, |machine| {
            machine
                .names
                .dir(&path)
                .map(drop)
                .or_else(|_| machine.names.file(&path).map(drop))
        })?;
        Ok(PathBuf::from(path))
    }
}

/// The place of a new name.
fn vacant(machine: &Machine, path: &str) -> io::Result<Key> {
    let key = machine.names.locate(path)?;
    match machine.names.get(&key) {
        Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        None => Ok(key),
    }
}

fn create(machine: &mut Machine, key: Key) -> InodeId {
    let inode = machine.add_inode(Inode::default());
    machine.names.bind(key, inode);
    inode
}

struct FaultyFile {
    shared: Arc<Shared>,
    handle: Handle,
    writable: bool,
}

impl fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyFile")
            .field(&self.handle.path)
            .finish()
    }
}

impl FaultyFile {
    fn call<T>(
        &self,
        (operation, offset, len): (Operation, u64, u64),
        act: impl FnOnce(&mut Machine) -> io::Result<T>,
        fail: impl FnOnce(&mut Machine),
    ) -> io::Result<T> {
        let path = &self.handle.path;
        // A program of a boot gone by does nothing to this one, not even count.
        self.shared.machine().held(&self.handle)?;
        let call = Call {
            operation,
            path,
            offset,
            len,
        };
        self.shared.perform(call, act, fail)
    }

    /// Direct I/O goes by whole blocks, of the file and of memory.
    fn check_alignment(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let aligned = offset.is_multiple_of(DIRECT_ALIGNMENT as u64)
            && buf.len().is_multiple_of(DIRECT_ALIGNMENT)
            && buf.as_ptr().addr().is_multiple_of(DIRECT_ALIGNMENT);
        if self.handle.direct && !aligned {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(())
    }

    /// As for a file opened to be read only.
    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(rustix::io::Errno::BADF.into())
        }
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check_alignment(buf, offset)?;
        self.call(
            (Operation::Read, offset, buf.len() as u64),
            |machine| machine.read(&self.handle, buf, offset),
            |_| {},
        )
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        self.check_alignment(buf, offset)?;
        self.call(
            (Operation::Write, offset, buf.len() as u64),
            |machine| machine.write(&self.handle, buf, offset),
            |machine| machine.write_part(&self.handle, buf, offset),
        )
    }

    fn sync(&self) -> io::Result<()> {
        self.call(
            (Operation::Sync, 0, 0),
            |machine| {
                if !machine.progress.ignores_sync_of(&self.handle.path) {
                    machine.held(&self.handle)?.sync();
                }
                Ok(())
            },
            |machine| {
                if let Some(inode) = machine.inodes.get_mut(&self.handle.inode) {
                    inode.fail_sync(&machine.random);
                }
            },
        )
    }

    fn len(&self) -> io::Result<u64> {
        let mut machine = self.shared.machine();
        if machine.is_crashed() {
            return Err(power_cut());
        }
        Ok(machine.held(&self.handle)?.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        self.call(
            (Operation::SetLen, 0, len),
            |machine| machine.set_len(&self.handle, len),
            |_| {},
        )
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        self.shared.machine().release(&self.handle);
    }
}

struct FaultyLock {
    shared: Arc<Shared>,
    handle: Handle,
}

impl fmt::Debug for FaultyLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyLock")
            .field(&self.handle.path)
            .finish()
    }
}

impl DiskLock for FaultyLock {}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut machine = self.shared.machine();
        if machine.held(&self.handle).is_ok() {
            machine.locks.remove(&self.handle.inode);
            machine.release(&self.handle);
        }
    }
}
