//! A namespace, as requests carry it.

mod policy;
mod quota;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use ringwood_types::NamespaceId;

use crate::error::NodeError;

pub use policy::{ConflictPolicy, Mode, Policy, PolicyChange, TTL_SECONDS_MAX};
use quota::{Tally, TokenBucket};

/// A namespace as it was when it was looked up.
#[derive(Clone, Debug)]
pub struct Namespace {
    pub(crate) id: NamespaceId,
    pub(crate) name: String,
    pub(crate) policy: Policy,
    /// One for all policies that the namespace ever has.
    pub(crate) life: Arc<Life>,
    /// One for all policies with the same rate.
    pub(crate) requests: Arc<TokenBucket>,
    /// One for all policies too.
    pub(crate) bytes: Arc<Tally>,
}

/// Whether a namespace is there.
#[derive(Debug, Default)]
pub(crate) struct Life(AtomicU8);

/// A state of [`Life`].
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum State {
    Alive = 0,
    /// It is dropped, or that is on its way to the disk.
    Dropped = 1,
    /// The disk failed before it said whether the drop is on it.
    InDoubt = 2,
}

impl Life {
    pub(crate) fn set(&self, state: State) {
        self.0.store(state as u8, Ordering::Release);
    }

    fn get(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            0 => State::Alive,
            1 => State::Dropped,
            _ => State::InDoubt,
        }
    }
}

impl Namespace {
    pub(crate) fn new(id: NamespaceId, name: String, policy: Policy) -> Self {
        Self {
            id,
            name,
            policy,
            life: Arc::default(),
            requests: Arc::default(),
            bytes: Arc::default(),
        }
    }

    /// The same with another policy.
    pub(crate) fn with_policy(&self, policy: Policy) -> Self {
        let requests = if policy.requests_per_second == self.policy.requests_per_second {
            Arc::clone(&self.requests)
        } else {
            Arc::default() // debts are of the old rate
        };
        Self {
            policy,
            requests,
            ..self.clone()
        }
    }

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

    /// Fails once the namespace is dropped, or may be.
    pub(crate) fn check_alive(&self) -> Result<(), NodeError> {
        let name = || self.name.clone();
        match self.life.get() {
            State::Alive => Ok(()),
            State::Dropped => Err(NodeError::NoSuchNamespace { name: name() }),
            State::InDoubt => Err(NodeError::NamespaceInDoubt { name: name() }),
        }
    }
}
