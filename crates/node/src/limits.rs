//! What requests are held to.

use crate::config::NodeConfig;
use crate::error::NodeError;
use crate::store::PREFIX_LEN;

/// Longest key in bytes.
pub const KEY_LEN_MAX: usize = 64 << 10;

const _: () = assert!(KEY_LEN_MAX + PREFIX_LEN <= ringwood_lsm::MAX_KEY_LEN);

/// Limits that are configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) value_len_max: usize,
    pub(crate) batch_items_max: usize,
    /// Most bytes that the writes of a batch take in the log.
    pub(crate) batch_len_max: usize,
    pub(crate) namespaces_max: usize,
    pub(crate) page_entries_max: usize,
    pub(crate) page_len_max: usize,
}

impl Limits {
    pub(crate) fn of(config: &NodeConfig) -> Self {
        Self {
            value_len_max: config.value_len_max,
            batch_items_max: config.batch_items_max,
            batch_len_max: config.batch_len_max(),
            namespaces_max: config.namespaces_max,
            page_entries_max: config.page_entries_max,
            page_len_max: config.page_len_max,
        }
    }
}

pub(crate) fn check_key(key: &[u8]) -> Result<(), NodeError> {
    match key.len() {
        0 => Err(NodeError::EmptyKey),
        1..=KEY_LEN_MAX => Ok(()),
        len => Err(NodeError::KeyTooLarge {
            len,
            limit: KEY_LEN_MAX,
        }),
    }
}

impl Limits {
    /// Checks how many entries a page may have.
    pub(crate) fn check_page(&self, limit: usize) -> Result<(), NodeError> {
        let limit_max = self.page_entries_max;
        match (1..=limit_max).contains(&limit) {
            true => Ok(()),
            false => Err(NodeError::InvalidLimit { limit, limit_max }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked_at_their_limits() {
        assert!(matches!(check_key(b""), Err(NodeError::EmptyKey)));
        check_key(b"k").unwrap();
        check_key(&vec![0; KEY_LEN_MAX]).unwrap();
        assert!(check_key(&vec![0; KEY_LEN_MAX + 1]).is_err());
    }
}
