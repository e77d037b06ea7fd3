//! A value as a node found it.

use std::fmt;

use ringwood_env::UnixMillis;
use ringwood_lsm::Slice;
use ringwood_types::{ContextToken, NamespaceId, PartitionId, RecordError, RecordHead, Version};

/// A key's value with what is known about it. Its bytes are pinned where the engine has them, not
/// copied; see [`Slice`].
#[derive(Clone)]
pub struct Entry {
    stored: Slice,
    head: RecordHead,
    namespace: NamespaceId,
    partition: PartitionId,
    deadline: Option<UnixMillis>,
}

impl Entry {
    /// `None`: what is stored is a tombstone.
    pub(crate) fn decode(
        (namespace, partition): (NamespaceId, PartitionId),
        stored: Slice,
        deadline: Option<UnixMillis>,
    ) -> Result<Option<Self>, RecordError> {
        let head = RecordHead::decode(&stored)?;
        Ok((!head.is_tombstone()).then_some(Self {
            stored,
            head,
            namespace,
            partition,
            deadline,
        }))
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.stored[self.head.value_start()..]
    }

    /// The value, to be kept without a copy.
    #[must_use]
    pub fn into_value(self) -> Slice {
        self.stored.skip(self.head.value_start())
    }

    /// What the writer said the bytes are.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        let bytes = &self.stored[self.head.content_type()];
        let text = std::str::from_utf8(bytes).expect("checked when the head was read");
        (!text.is_empty()).then_some(text)
    }

    /// Which write made it; its time is when that was.
    #[must_use]
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// When it expires, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<UnixMillis> {
        self.deadline
    }

    /// The causal context to send with what replaces it.
    #[must_use]
    pub fn context(&self) -> ContextToken {
        ContextToken::new(self.namespace, self.partition, self.version().dot)
    }
}

/// Without the value, which may be long and is nobody's business in a log.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("version", &self.version())
            .field("len", &self.value().len())
            .field("content_type", &self.content_type())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
