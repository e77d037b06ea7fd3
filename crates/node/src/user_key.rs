//! What users call the keys of a store that no node has open, for tools that find keys in its files.

use std::collections::BTreeMap;

use ringwood_lsm::{Db, Options};
use ringwood_types::{NamespaceId, PartitionId};

use crate::catalog::Catalog;
use crate::error::OpenError;
use crate::node::{DATA, SYSTEM};
use crate::store::split;

/// A key, as users know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserKey {
    /// The namespace's name, or its id where the catalog has none.
    pub namespace: String,
    /// The partition that the key is in.
    pub partition: PartitionId,
    /// The key.
    pub key: Vec<u8>,
}

/// Names of namespaces, to name keys with.
#[derive(Clone, Debug, Default)]
pub struct UserKeys {
    names: BTreeMap<NamespaceId, String>,
}

impl UserKeys {
    /// Reads the catalog of a store that no process has open. Without one, [`UserKeys::default`] names
    /// namespaces by their ids.
    ///
    /// # Errors
    /// [`OpenError`]; a store of something else has no catalog.
    pub fn read(options: Options) -> Result<Self, OpenError> {
        let db = Db::open(Options {
            create: false,
            threads: 0,
            ..options
        })?;
        let catalog = Catalog::load(&db.keyspace(SYSTEM)?)?;
        let name = |namespace: &crate::Namespace| (namespace.id(), namespace.name().to_owned());
        let names = catalog.list().iter().map(|one| name(one)).collect();
        db.close()?;
        Ok(Self { names })
    }

    /// Whose key this is; `None`: no user's.
    #[must_use]
    pub fn name(&self, keyspace: &str, stored_key: &[u8]) -> Option<UserKey> {
        if keyspace != DATA {
            return None;
        }
        let (namespace, partition, key) = split(stored_key)?;
        let by_id = || format!("#{namespace}");
        Some(UserKey {
            namespace: self.names.get(&namespace).cloned().unwrap_or_else(by_id),
            partition,
            key: key.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_keys_are_taken_apart() {
        let names = BTreeMap::from([(NamespaceId::new(1), "default".to_owned())]);
        let keys = UserKeys { names };
        let name = |stored: &[u8]| keys.name(DATA, stored);
        let expected = |namespace: &str, partition, key: &[u8]| UserKey {
            namespace: namespace.into(),
            partition: PartitionId::new(partition),
            key: key.into(),
        };
        let found = name(b"\0\0\0\x01\x01\x02photos/1").unwrap();
        assert_eq!(found, expected("default", 258, b"photos/1"));
        assert_eq!(name(b"\0\0\0\x09\0\0").unwrap(), expected("#9", 0, b""));
        assert_eq!(name(b"\0\0\0\x01\0"), None, "too short");
        assert_eq!(keys.name(SYSTEM, b"identity"), None);
    }
}
