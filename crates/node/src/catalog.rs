//! The namespaces of a node.
//!
//! Requests look them up in a map that is never changed but replaced, so they take no lock.
//!
//! # Invariants
//! - `catalog-1`: an id is never used again: the next one is stored in the batch that uses one.
//! - `catalog-2`: a namespace leaves the catalog and its keys leave the store in one batch, and no
//!   write to it is queued behind that batch: writers look whether it is dropped under their
//!   partition's lock, and a drop holds the locks of all.
//! - `catalog-3`: a namespace whose drop failed is alive again if nothing was written. If that is
//!   unknown, nobody reads or writes it before the node comes up again and the log tells.
//!
//! # Format
//! Keyspace `system`:
//! ```text
//! "namespace/" id u32 big-endian → JSON {"name", "policy"}
//! "next-namespace"               → id u32 little-endian
//! ```

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use ringwood_lsm::{Batch, Db, Durability, Keyspace, ReadOptions};
use ringwood_types::NamespaceId;
use serde::{Deserialize, Serialize};

use crate::error::{NodeError, OpenError};
use crate::namespace::{Namespace, Policy, PolicyChange};
use crate::store::PartitionStore;

/// The namespace that is there from the start.
pub const DEFAULT_NAMESPACE: &str = "default";
const DEFAULT_ID: NamespaceId = NamespaceId::new(1);

const PREFIX: &[u8] = b"namespace/";
const PREFIX_END: &[u8] = b"namespace0";
const NEXT_ID: &[u8] = b"next-namespace";

#[derive(Serialize, Deserialize)]
struct Stored {
    name: String,
    policy: Policy,
}

type Names = BTreeMap<String, Arc<Namespace>>;

/// All namespaces.
#[derive(Debug)]
pub(crate) struct Catalog {
    names: ArcSwap<Names>,
    /// The next id to issue; locked by whoever changes the catalog.
    next: Mutex<NamespaceId>,
}

impl Catalog {
    /// Adds what a new store's catalog begins with.
    pub(crate) fn store_first(system: &Keyspace, batch: &mut Batch) -> ringwood_lsm::Result<()> {
        let next = DEFAULT_ID.next().expect("the first has a next");
        put_next(system, batch, next)?;
        put_namespace(
            system,
            batch,
            DEFAULT_ID,
            DEFAULT_NAMESPACE,
            &Policy::default(),
        )
    }

    pub(crate) fn load(system: &Keyspace) -> Result<Self, OpenError> {
        let stored = system.get(NEXT_ID)?;
        let next = stored
            .and_then(|bytes| Some(u32::from_le_bytes(bytes[..].try_into().ok()?)))
            .ok_or_else(|| damaged(NEXT_ID))?;
        let mut names = Names::new();
        let range = (Bound::Included(PREFIX), Bound::Excluded(PREFIX_END));
        let mut iter = system.range(range, &ReadOptions::default())?;
        iter.seek_to_first()?;
        while iter.valid() {
            let namespace =
                read_namespace(iter.key(), iter.value()).ok_or_else(|| damaged(iter.key()))?;
            names.insert(namespace.name.clone(), Arc::new(namespace));
            iter.next()?;
        }
        Ok(Self {
            names: ArcSwap::from_pointee(names),
            next: Mutex::new(NamespaceId::new(next)),
        })
    }

    pub(crate) fn find(&self, name: &str) -> Result<Arc<Namespace>, NodeError> {
        let names = self.names.load();
        names.get(name).cloned().ok_or_else(|| no_such(name))
    }

    pub(crate) fn find_id(&self, id: NamespaceId) -> Result<Arc<Namespace>, NodeError> {
        let names = self.names.load();
        let found = names.values().find(|one| one.id() == id).cloned();
        found.ok_or_else(|| no_such(&format!("number {id}")))
    }

    pub(crate) fn list(&self) -> Vec<Arc<Namespace>> {
        self.names.load().values().cloned().collect()
    }

    /// Up to `limit` namespaces by name, behind `last`; and whether there are more.
    pub(crate) fn page(&self, last: Option<&str>, limit: usize) -> (Vec<Arc<Namespace>>, bool) {
        let names = self.names.load();
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = names.range::<str, _>((start, Bound::Unbounded));
        let page = behind.by_ref().take(limit);
        let page = page.map(|(_, namespace)| Arc::clone(namespace)).collect();
        (page, behind.next().is_some())
    }

    pub(crate) fn create(
        &self,
        store: &PartitionStore,
        name: &str,
        policy: Policy,
        count_max: usize,
    ) -> Result<Arc<Namespace>, NodeError> {
        check_name(name)?;
        policy.check()?;
        let mut next = self.lock();
        let names = self.names.load();
        if names.contains_key(name) {
            return Err(NodeError::NamespaceExists { name: name.into() });
        }
        if names.len() >= count_max {
            return Err(NodeError::TooManyNamespaces {
                count: names.len(),
                limit: count_max,
            });
        }
        let id = *next;
        let following = id.next().ok_or(NodeError::NamespacesExhausted)?;
        let mut batch = Batch::new();
        put_next(store.system(), &mut batch, following)?;
        put_namespace(store.system(), &mut batch, id, name, &policy)?;
        write(store.db(), &batch)?;
        *next = following;
        let namespace = Arc::new(Namespace::new(id, name.into(), policy));
        self.replace(|names| {
            names.insert(name.into(), Arc::clone(&namespace));
        });
        tracing::info!(namespace = name, %id, "namespace created");
        Ok(namespace)
    }

    pub(crate) fn update(
        &self,
        store: &PartitionStore,
        name: &str,
        change: &PolicyChange,
    ) -> Result<Arc<Namespace>, NodeError> {
        let _changing = self.lock();
        let old = self.find(name)?;
        old.check_alive()?;
        let policy = old.policy.changed(change);
        policy.check()?;
        let mut batch = Batch::new();
        put_namespace(store.system(), &mut batch, old.id, name, &policy)?;
        write(store.db(), &batch)?;
        let new = Arc::new(old.with_policy(policy));
        self.replace(|names| {
            names.insert(name.into(), Arc::clone(&new));
        });
        tracing::info!(namespace = name, "policy changed");
        Ok(new)
    }

    pub(crate) fn drop(&self, store: &PartitionStore, name: &str) -> Result<(), NodeError> {
        if name == DEFAULT_NAMESPACE {
            return Err(NodeError::DefaultNamespace);
        }
        let _changing = self.lock();
        let namespace = self.find(name)?;
        namespace.check_alive()?;
        let mut batch = Batch::new();
        batch.delete(store.system().id(), &key_of(namespace.id))?;
        store.drop_namespace(&namespace, &mut batch)?;
        self.replace(|names| {
            names.remove(name);
        });
        tracing::info!(namespace = name, id = %namespace.id, "namespace dropped");
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, NamespaceId> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, change: impl FnOnce(&mut Names)) {
        let mut names = Names::clone(&self.names.load());
        change(&mut names);
        self.names.store(Arc::new(names));
    }
}

fn write(db: &Db, batch: &Batch) -> Result<(), NodeError> {
    db.write(batch, Durability::Synced)?;
    Ok(())
}

fn put_next(system: &Keyspace, batch: &mut Batch, next: NamespaceId) -> ringwood_lsm::Result<()> {
    batch.put(system.id(), NEXT_ID, &next.get().to_le_bytes())
}

fn put_namespace(
    system: &Keyspace,
    batch: &mut Batch,
    id: NamespaceId,
    name: &str,
    policy: &Policy,
) -> ringwood_lsm::Result<()> {
    let stored = Stored {
        name: name.into(),
        policy: policy.clone(),
    };
    let json = serde_json::to_vec(&stored).expect("a policy is JSON");
    batch.put(system.id(), &key_of(id), &json)
}

fn key_of(id: NamespaceId) -> [u8; PREFIX.len() + 4] {
    let mut key = [0; PREFIX.len() + 4];
    key[..PREFIX.len()].copy_from_slice(PREFIX);
    key[PREFIX.len()..].copy_from_slice(&id.get().to_be_bytes());
    key
}

fn read_namespace(key: &[u8], value: &[u8]) -> Option<Namespace> {
    let id = key.strip_prefix(PREFIX)?.try_into().ok()?;
    let Stored { name, policy } = serde_json::from_slice(value).ok()?;
    let id = NamespaceId::new(u32::from_be_bytes(id));
    Some(Namespace::new(id, name, policy))
}

fn check_name(name: &str) -> Result<(), NodeError> {
    let head = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let tail = |byte: u8| head(byte) || b"._-".contains(&byte);
    let fits = (1..=63).contains(&name.len())
        && name.bytes().next().is_some_and(head)
        && name.bytes().all(tail);
    if fits {
        Ok(())
    } else {
        Err(NodeError::InvalidNamespaceName { name: name.into() })
    }
}

fn no_such(name: &str) -> NodeError {
    NodeError::NoSuchNamespace { name: name.into() }
}

fn damaged(key: &[u8]) -> OpenError {
    OpenError::DamagedSystemRecord {
        record: key.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_at_their_limits() {
        for good in ["a", "0", "a.b_c-d", &"x".repeat(63), "9lives"] {
            check_name(good).unwrap();
        }
        for bad in [
            "",
            "-a",
            ".a",
            "_",
            "A",
            "a b",
            "a/b",
            "ä",
            "a\0",
            &"x".repeat(64),
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_of_namespaces_lie_in_the_catalogs_range() {
        for id in [NamespaceId::new(0), NamespaceId::MAX] {
            let key = key_of(id);
            assert!(key[..] > *PREFIX && key[..] < *PREFIX_END);
        }
    }
}
