//! What replicas hold of a key where the last write wins, as far as a read has to know.

use ringwood_protocol::coordinator::read::Joinable;
use ringwood_types::{RecordError, RecordHead, Version};

use crate::replica::Found;

/// The latest version of a key that was met: a value, a tombstone, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyState {
    latest: Option<(Version, Found)>,
}

impl KeyState {
    /// What one replica holds.
    ///
    /// # Errors
    /// [`RecordError`]: it is no record.
    pub fn new(found: Option<Found>) -> Result<Self, RecordError> {
        let Some(found) = found else {
            return Ok(Self::default());
        };
        let version = RecordHead::decode(&found.record)?.version;
        Ok(Self {
            latest: Some((version, found)),
        })
    }

    /// As it is stored, a tombstone and what has expired too.
    #[must_use]
    pub fn latest(&self) -> Option<(Version, &Found)> {
        let (version, found) = self.latest.as_ref()?;
        Some((*version, found))
    }
}

impl Joinable for KeyState {
    type Digest = Option<Version>;

    fn join(&mut self, other: &Self) {
        if self.digest() < other.digest() {
            self.clone_from(other);
        }
    }

    fn digest(&self) -> Self::Digest {
        self.latest.as_ref().map(|(version, _)| *version)
    }

    fn includes(&self, digest: &Self::Digest) -> bool {
        self.digest() >= *digest
    }

    /// No tombstone is ever purged yet.
    fn in_doubt(&self, _: &Self::Digest) -> bool {
        false
    }
}
