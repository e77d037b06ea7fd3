//! Who a node is: written once when its store is made, checked whenever it comes up.
//!
//! # Format
//! Keyspace `system`, key `identity`: JSON, with a format version of its own.

use std::path::Path;

use ringwood_env::Random;
use ringwood_lsm::{Batch, Keyspace};
use ringwood_types::{Incarnation, NodeId, PartitionCount, Ring};
use serde::{Deserialize, Serialize};

use crate::config::{Fixed, NodeConfig};
use crate::cursor::Secret;
use crate::error::OpenError;

const KEY: &[u8] = b"identity";
const FORMAT: u32 = 1;

/// Who a node is, and what its cluster fixed when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// The stint of its disk, under which it mints versions.
    pub incarnation: Incarnation,
    /// Where keys belong.
    pub ring: Ring,
    /// Signs cursors.
    pub(crate) secret: Secret,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    node: u64,
    incarnation: u64,
    partitions: u32,
    seed: u64,
    secret: [u8; 32],
}

/// Read before the rest, whose shape depends on it.
#[derive(Deserialize)]
struct StoredFormat {
    format: u32,
}

impl Identity {
    /// What signs cursors.
    #[must_use]
    pub const fn cursor_secret(&self) -> &[u8; 32] {
        &self.secret.0
    }

    /// Draws a new one.
    pub(crate) fn draw(config: &NodeConfig) -> Self {
        let random: &dyn Random = &*config.engine.random;
        let mut secret = [0; 32];
        for part in secret.chunks_exact_mut(8) {
            part.copy_from_slice(&random.next_u64().to_le_bytes());
        }
        let own = Self {
            node: NodeId::new(random.next_u64()),
            incarnation: Incarnation::new(random.next_u64()),
            ring: Ring::new(config.partitions.unwrap_or_default(), random.next_u64()),
            secret: Secret(secret),
        };
        match config.joins {
            Some(Fixed { ring, secret }) => Self {
                ring,
                secret,
                ..own
            },
            None => own,
        }
    }

    /// The stored one, if any.
    pub(crate) fn load(system: &Keyspace, path: &Path) -> Result<Option<Self>, OpenError> {
        let Some(stored) = system.get(KEY)? else {
            return Ok(None);
        };
        let damaged = || OpenError::DamagedSystemRecord {
            record: KEY.escape_ascii().to_string(),
        };
        let format = serde_json::from_slice::<StoredFormat>(&stored)
            .map_err(|_| damaged())?
            .format;
        if format != FORMAT {
            return Err(OpenError::UnsupportedFormat {
                path: path.to_owned(),
                found: format,
                supported: FORMAT,
            });
        }
        let stored: Stored = serde_json::from_slice(&stored).map_err(|_| damaged())?;
        let partitions = PartitionCount::new(stored.partitions).ok_or_else(damaged)?;
        Ok(Some(Self {
            node: NodeId::new(stored.node),
            incarnation: Incarnation::new(stored.incarnation),
            ring: Ring::new(partitions, stored.seed),
            secret: Secret(stored.secret),
        }))
    }

    /// Adds it to what a new store is made with.
    pub(crate) fn store(&self, system: &Keyspace, batch: &mut Batch) -> ringwood_lsm::Result<()> {
        let stored = Stored {
            format: FORMAT,
            node: self.node.get(),
            incarnation: self.incarnation.get(),
            partitions: self.ring.partitions().get(),
            seed: self.ring.seed(),
            secret: self.secret.0,
        };
        let json = serde_json::to_vec(&stored).expect("numbers are JSON");
        batch.put(system.id(), KEY, &json)
    }

    /// Refuses a configuration that is not this node's.
    pub(crate) fn check(&self, config: &NodeConfig) -> Result<(), OpenError> {
        let stored = self.ring.partitions();
        match config.partitions {
            Some(asked) if asked != stored => Err(OpenError::PartitionsMismatch { stored, asked }),
            _ => Ok(()),
        }
    }
}
