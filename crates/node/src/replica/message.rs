//! What a coordinator asks of a replica, and what that answers.

use bytes::Bytes;
use ringwood_env::UnixMillis;
use ringwood_protocol::coordinator::Failure;
use ringwood_protocol::coordinator::write::Answer;
use ringwood_types::{Epoch, Hlc, NamespaceId, Record, Version};

/// What a key is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// This value.
    Put {
        /// The bytes.
        value: Bytes,
        /// What they are; empty for nothing.
        content_type: String,
        /// When they expire.
        deadline: Option<UnixMillis>,
    },
    /// Nothing.
    Delete,
}

impl Payload {
    /// As it is stored under `version`.
    pub(crate) fn record(&self, version: Version) -> Bytes {
        match self {
            Self::Put {
                value,
                content_type,
                ..
            } => {
                let record = Record {
                    version,
                    content_type,
                    value,
                };
                record.to_vec().into()
            }
            Self::Delete => Bytes::copy_from_slice(&Record::tombstone(version)),
        }
    }

    pub(crate) fn deadline(&self) -> Option<UnixMillis> {
        match self {
            Self::Put { deadline, .. } => *deadline,
            Self::Delete => None,
        }
    }
}

/// A question to a replica about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRequest {
    /// As its coordinator knows the partition.
    pub epoch: Epoch,
    /// Where the key is.
    pub namespace: NamespaceId,
    /// The key.
    pub key: Bytes,
    /// What to do.
    pub request: ReplicaRequest,
}

/// What a replica is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaRequest {
    /// Give a write its version and store it. Must not be carried out twice. Answered by
    /// [`PeerReply::Minted`].
    Mint {
        /// The write.
        payload: Payload,
        /// The version is to be later than this,
        above: Hlc,
        /// and not later than this.
        limit: Hlc,
    },
    /// Store what another replica minted. Answered by [`PeerReply::Stored`].
    Store {
        /// As it is stored there.
        record: Bytes,
        /// When it expires.
        deadline: Option<UnixMillis>,
    },
    /// Say what is stored. Answered by [`PeerReply::Found`].
    Read,
}

/// What a replica has of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As it is stored.
    pub record: Bytes,
    /// When it expires.
    pub deadline: Option<UnixMillis>,
}

/// A replica's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerReply {
    /// It is durable here, under this version.
    Minted(Version),
    /// It is durable here, or was; whether it won.
    Stored(Answer),
    /// What is stored, a tombstone and what has expired too.
    Found(Option<Found>),
    /// It was not done, or nobody knows.
    Failed(Failure),
}
