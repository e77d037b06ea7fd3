//! The tree of names: what programs see, what a crash is sure to leave, and the changes between.
//!
//! A directory is a number; names are bound under it. So a renamed directory keeps what is in it,
//! and what is durable in a directory whose own name is not is lost with it.
//!
//! *Invariants*
//! - `names-1`: a change is durable only together with all earlier changes to the names it
//!   touches, as any journal orders them. So a rename binds either name or both, never none,
//!   also when the old name was used again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::plan::CrashMode;
use crate::random::SeededRandom;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InodeId(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DirId(u64);

/// The directory all paths start from; always there.
const ROOT: DirId = DirId(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(InodeId),
    Dir(DirId),
}

/// A name in a directory.
pub(super) type Key = (DirId, String);
type Bindings = BTreeMap<Key, Node>;

/// Bindings that change together.
#[derive(Clone, Debug)]
struct Change(Vec<(Key, Option<Node>)>);

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    cached: Bindings,
    durable: Bindings,
    pending: Vec<Change>,
    /// Directories made so far; numbers are not used twice.
    made: u64,
}

impl Names {
    /// The directory and last name of a path; whether that name is bound remains open.
    pub(super) fn locate(&self, path: &str) -> io::Result<Key> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((self.dir(parent)?, name.to_owned()))
    }

    pub(super) fn dir(&self, path: &str) -> io::Result<DirId> {
        let mut dir = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            dir = match self.get(&(dir, name.to_owned())) {
                Some(Node::Dir(next)) => next,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(dir)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Node> {
        self.cached.get(key).copied()
    }

    pub(super) fn file(&self, path: &str) -> io::Result<InodeId> {
        match self.get(&self.locate(path)?) {
            Some(Node::File(inode)) => Ok(inode),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What is in a directory, by name.
    pub(super) fn list(&self, dir: DirId) -> impl Iterator<Item = (&str, Node)> {
        children(&self.cached, dir)
    }

    pub(super) fn is_empty_dir(&self, dir: DirId) -> bool {
        self.list(dir).next().is_none()
    }

    pub(super) fn bind(&mut self, key: Key, inode: InodeId) {
        self.change(vec![(key, Some(Node::File(inode)))]);
    }

    pub(super) fn unbind(&mut self, key: Key) {
        self.change(vec![(key, None)]);
    }

    pub(super) fn rename(&mut self, from: Key, to: Key) -> io::Result<()> {
        let node = self.get(&from).ok_or(io::ErrorKind::NotFound)?;
        let replaced = self.get(&to);
        if replaced == Some(node) {
            return Ok(()); // two names of one file: POSIX leaves both
        }
        // In the order in which Linux checks.
        match (node, replaced) {
            (Node::Dir(dir), _) if self.is_within(to.0, dir) => Err(io::ErrorKind::InvalidInput),
            (_, Some(Node::Dir(old))) if self.is_within(from.0, old) => {
                Err(io::ErrorKind::DirectoryNotEmpty)
            }
            (Node::Dir(_), Some(Node::File(_))) => Err(io::ErrorKind::NotADirectory),
            (Node::File(_), Some(Node::Dir(_))) => Err(io::ErrorKind::IsADirectory),
            (_, Some(Node::Dir(old))) if !self.is_empty_dir(old) => {
                Err(io::ErrorKind::DirectoryNotEmpty)
            }
            _ => Ok(()),
        }?;
        self.change(vec![(from, None), (to, Some(node))]);
        Ok(())
    }

    pub(super) fn create_dir_all(&mut self, path: &str) -> io::Result<()> {
        let mut dir = ROOT;
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let key = (dir, name.to_owned());
            dir = match self.get(&key) {
                Some(Node::Dir(next)) => next,
                Some(Node::File(_)) if names.peek().is_none() => {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    self.made += 1;
                    let next = DirId(self.made);
                    self.change(vec![(key, Some(Node::Dir(next)))]);
                    next
                }
            };
        }
        Ok(())
    }

    /// Makes what changed in `dir` durable.
    pub(super) fn sync(&mut self, dir: DirId) {
        self.settle(|change| change.touches(dir));
    }

    /// Makes the binding of one path durable, and those of the directories on the way.
    pub(super) fn sync_path(&mut self, path: &str) {
        let ends = path.match_indices('/').map(|(end, _)| end);
        let prefixes = ends.chain([path.len()]).map(|end| &path[..end]);
        let keys: Vec<Key> = prefixes
            .filter_map(|prefix| self.locate(prefix).ok())
            .collect();
        self.settle(|change| change.0.iter().any(|(key, _)| keys.contains(key)));
    }

    /// What a failed sync does: some of the changes in `dir` reach the disk, none is pending.
    pub(super) fn fail_sync(&mut self, dir: DirId, random: &SeededRandom) {
        self.settle(|change| change.touches(dir) && random.chance(0.5));
        self.pending.retain(|change| !change.touches(dir));
    }

    pub(super) fn crash(&mut self, mode: CrashMode, random: &SeededRandom) {
        match mode {
            CrashMode::LoseAll => {}
            CrashMode::Prefix => {
                let lost = random.index(self.pending.len() + 1);
                let mut seen = 0; // they are asked for from the newest on
                self.settle(|_| {
                    seen += 1;
                    seen > lost
                });
            }
            CrashMode::Subset => {
                let keep = *random.pick(&[0.0, 0.1, 0.5, 0.9, 1.0]);
                self.settle(|_| random.chance(keep));
            }
        }
        self.pending.clear();
        self.durable = reachable(&self.durable);
        self.cached = self.durable.clone();
    }

    /// Files with a name, now or after some crash.
    pub(super) fn files_alive(&self) -> BTreeSet<InodeId> {
        let pending = self.pending.iter().flat_map(|change| &change.0);
        let pending = pending.filter_map(|(_, node)| node.as_ref());
        let bound = self.cached.values().chain(self.durable.values());
        files_of(bound.chain(pending))
    }

    /// Files that programs can name.
    pub(super) fn files_named(&self) -> BTreeSet<InodeId> {
        files_of(self.cached.values())
    }

    /// Paths of all files that programs can name.
    pub(super) fn paths(&self) -> Vec<(String, InodeId)> {
        paths(&self.cached)
    }

    /// Paths of all files that every crash leaves.
    pub(super) fn durable_paths(&self) -> Vec<(String, InodeId)> {
        paths(&self.durable)
    }

    fn change(&mut self, bindings: Vec<(Key, Option<Node>)>) {
        let change = Change(bindings);
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    /// Whether `dir` is `ancestor` or lies below it.
    fn is_within(&self, dir: DirId, ancestor: DirId) -> bool {
        dir == ancestor
            || self.list(ancestor).any(|(_, node)| match node {
                Node::Dir(child) => self.is_within(dir, child),
                Node::File(_) => false,
            })
    }

    /// Makes durable the pending changes that are `wanted` (asked from the newest to the oldest)
    /// and those they need; the others stay pending.
    fn settle(&mut self, mut wanted: impl FnMut(&Change) -> bool) {
        let mut needed: BTreeSet<Key> = BTreeSet::new();
        let mut kept = vec![false; self.pending.len()];
        for (kept, change) in kept.iter_mut().zip(&self.pending).rev() {
            let keys = || change.0.iter().map(|(key, _)| key);
            // INVARIANT names-1
            *kept = wanted(change) || keys().any(|key| needed.contains(key));
            if *kept {
                needed.extend(keys().cloned());
            }
        }
        let mut kept = kept.into_iter();
        self.pending.retain(|change| {
            let kept = kept.next().expect("one answer for each change");
            if kept {
                change.apply(&mut self.durable);
            }
            !kept
        });
    }
}

impl Change {
    fn apply(&self, to: &mut Bindings) {
        for (key, node) in &self.0 {
            match node {
                Some(node) => to.insert(key.clone(), *node),
                None => to.remove(key),
            };
        }
    }

    fn touches(&self, dir: DirId) -> bool {
        self.0.iter().any(|((parent, _), _)| *parent == dir)
    }
}

fn children(bindings: &Bindings, dir: DirId) -> impl Iterator<Item = (&str, Node)> {
    bindings
        .range((dir, String::new())..(DirId(dir.0 + 1), String::new()))
        .map(|((_, name), node)| (name.as_str(), *node))
}

fn files_of<'a>(nodes: impl Iterator<Item = &'a Node>) -> BTreeSet<InodeId> {
    nodes
        .filter_map(|node| match node {
            Node::File(inode) => Some(*inode),
            Node::Dir(_) => None,
        })
        .collect()
}

/// The directories that have a path, each with it.
fn directories(bindings: &Bindings) -> BTreeMap<DirId, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![(ROOT, String::new())];
    while let Some((dir, path)) = open.pop() {
        for (name, node) in children(bindings, dir) {
            if let Node::Dir(child) = node
                && !found.contains_key(&child)
            {
                open.push((child, format!("{path}{name}/")));
            }
        }
        found.insert(dir, path);
    }
    found
}

/// Without what is bound in directories that have no path.
fn reachable(bindings: &Bindings) -> Bindings {
    let directories = directories(bindings);
    bindings
        .iter()
        .filter(|((dir, _), _)| directories.contains_key(dir))
        .map(|(key, node)| (key.clone(), *node))
        .collect()
}

fn paths(bindings: &Bindings) -> Vec<(String, InodeId)> {
    let directories = directories(bindings);
    let mut paths: Vec<_> = bindings
        .iter()
        .filter_map(|((dir, name), node)| match node {
            Node::File(inode) => Some((format!("{}{name}", directories.get(dir)?), *inode)),
            Node::Dir(_) => None,
        })
        .collect();
    paths.sort();
    paths
}
