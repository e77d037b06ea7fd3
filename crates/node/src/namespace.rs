//! A namespace, as requests carry it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringwood_types::NamespaceId;

use crate::error::NodeError;
use crate::policy::Policy;

/// A namespace as it was when it was looked up.
#[derive(Clone, Debug)]
pub struct Namespace {
    pub(crate) id: NamespaceId,
    pub(crate) name: String,
    pub(crate) policy: Policy,
    pub(crate) dropped: Arc<AtomicBool>,
}

impl Namespace {
    /// Its id, never used again.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Fails once the namespace is dropped.
    pub(crate) fn check_alive(&self) -> Result<(), NodeError> {
        if self.dropped.load(Ordering::Acquire) {
            return Err(NodeError::NoSuchNamespace {
                name: self.name.clone(),
            });
        }
        Ok(())
    }
}
