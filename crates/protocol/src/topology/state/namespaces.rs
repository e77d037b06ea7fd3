//! Namespaces. An id is never issued again: keys of a dropped namespace may still lie under it.

use ringwood_types::NamespaceId;

use super::super::command::Refused;
use super::super::model::Namespace;
use super::super::plant::Plant;
use super::nodes::is_name;
use super::{Change, Changed, Topology};

/// The namespace that is there from the start, and stays.
pub const DEFAULT_NAMESPACE: NamespaceId = NamespaceId::new(1);

impl Topology {
    pub(super) fn create_namespace(&mut self, name: &str, policy: &[u8]) -> Change {
        if !is_name(name) {
            return Err(Refused::InvalidNamespaceName);
        }
        if let Some(other) = self.namespaces.values().find(|one| one.name == name) {
            return Err(Refused::NamespaceExists { id: other.id });
        }
        let id = self.next_namespace.ok_or(Refused::NamespacesExhausted)?;
        self.next_namespace = id.next();
        let namespace = Namespace {
            id,
            name: name.into(),
            policy: policy.into(),
            revision: 1,
        };
        self.namespaces.insert(id, namespace);
        Ok(Changed::Namespace(id))
    }

    pub(super) fn update_namespace(
        &mut self,
        id: NamespaceId,
        revision: u64,
        policy: &[u8],
    ) -> Change {
        let namespace = self.namespaces.get_mut(&id);
        let namespace = namespace.ok_or(Refused::UnknownNamespace { id })?;
        if namespace.revision != revision {
            return Err(Refused::NamespaceChanged { id });
        }
        namespace.policy = policy.into();
        namespace.revision += 1;
        Ok(Changed::Something)
    }

    pub(super) fn drop_namespace(&mut self, id: NamespaceId) -> Change {
        if id == DEFAULT_NAMESPACE {
            return Err(Refused::DefaultNamespace);
        }
        let dropped = self.namespaces.remove(&id);
        dropped.ok_or(Refused::UnknownNamespace { id })?;
        if self.planted.has(Plant::NamespaceIdReused) {
            self.next_namespace = Some(id);
        }
        Ok(Changed::Something)
    }
}
