//! What part of a namespace a scan covers, and which partitions may have keys in it.

use bytes::Bytes;
use ringwood_types::PartitionId;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::NodeError;
use crate::limits::check_key;
use crate::namespace::Namespace;
use crate::request::Scan;
use crate::store::PartitionStore;

/// Keys from `lower` up to `upper` (excluded).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) lower: Vec<u8>,
    pub(crate) upper: Option<Vec<u8>>,
    /// Every key in the range begins like this.
    common: Vec<u8>,
    pub(crate) reverse: bool,
}

impl Bounds {
    pub(crate) fn of(scan: &Scan) -> Result<Self, NodeError> {
        let given = [&scan.start, &scan.end, &scan.prefix];
        for key in given.into_iter().flatten().filter(|key| !key.is_empty()) {
            check_key(key)?;
        }
        let bytes = |key: &Option<Bytes>| key.as_deref().unwrap_or_default().to_vec();
        let (start, prefix) = (bytes(&scan.start), bytes(&scan.prefix));
        let end = scan.end.as_ref().map(|end| end.to_vec());
        if end.as_ref().is_some_and(|end| start > *end) {
            return Err(NodeError::InvertedRange);
        }
        let behind_prefix = successor(&prefix);
        let upper = match (end, behind_prefix) {
            (Some(end), Some(behind)) => Some(end.min(behind)),
            (end, behind) => end.or(behind),
        };
        let shared_by_bounds = upper.as_ref().map_or(0, |upper| {
            start.iter().zip(upper).take_while(|(a, b)| a == b).count()
        });
        let common = if shared_by_bounds > prefix.len() {
            start[..shared_by_bounds].to_vec()
        } else {
            prefix.clone()
        };
        Ok(Self {
            lower: start.max(prefix),
            upper,
            common,
            reverse: scan.reverse,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.upper
            .as_ref()
            .is_some_and(|upper| self.lower >= *upper)
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        *key >= self.lower[..] && self.upper.as_ref().is_none_or(|upper| *key < upper[..])
    }

    /// Tells scans of different ranges apart.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut bytes = vec![u8::from(self.reverse), u8::from(self.upper.is_some())];
        bytes.extend_from_slice(&(self.lower.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.lower);
        bytes.extend_from_slice(self.upper.as_deref().unwrap_or_default());
        xxh3_64(&bytes)
    }

    /// Partitions that may have keys in the range, in the direction of the scan.
    pub(crate) fn partitions(
        &self,
        store: &PartitionStore,
        namespace: &Namespace,
    ) -> Vec<PartitionId> {
        match namespace.policy().routing.group_of_prefix(&self.common) {
            Some(group) => vec![store.ring().partition_of_group(group)],
            None => {
                let mut all: Vec<PartitionId> = store.ring().partitions().iter().collect();
                if self.reverse {
                    all.reverse();
                }
                all
            }
        }
    }
}

/// The first key behind all that begin with `prefix`; `None`: there is none.
pub(crate) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut successor = prefix[..=last].to_vec();
    successor[last] += 1;
    Some(successor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(
            prop_oneof![Just(0), Just(b'a'), Just(b'/'), Just(255)],
            0..4,
        )
    }

    fn maybe(keys: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Option<Bytes>> {
        proptest::option::of(keys.prop_map(Bytes::from))
    }

    proptest! {
        #[test]
        fn bounds_hold_what_start_end_and_prefix_say(
            start in maybe(keys()), end in maybe(keys()), prefix in maybe(keys()), key in keys(),
        ) {
            let inverted = start.clone().unwrap_or_default() > end.clone().unwrap_or_else(|| start.clone().unwrap_or_default());
            let scan = Scan { start, end, prefix, limit: 1, ..Scan::default() };
            let bounds = match Bounds::of(&scan) {
                Err(NodeError::InvertedRange) => {
                    prop_assert!(inverted);
                    return Ok(());
                }
                bounds => bounds.unwrap(),
            };
            prop_assert!(!inverted);
            let wanted = scan.start.is_none_or(|start| key >= start)
                && scan.end.is_none_or(|end| key < end)
                && scan.prefix.is_none_or(|prefix| key.starts_with(&prefix));
            prop_assert_eq!(bounds.contains(&key), wanted);
            if wanted {
                prop_assert!(!bounds.is_empty());
                prop_assert!(key.starts_with(&bounds.common));
            }
        }

        #[test]
        fn the_successor_is_the_first_key_behind_a_prefix(prefix in keys(), key in keys()) {
            let behind = successor(&prefix).is_some_and(|successor| key >= successor);
            prop_assert_eq!(behind, key > prefix && !key.starts_with(&prefix));
        }
    }

    #[test]
    fn ranges_have_fingerprints_of_their_own() {
        let scan = |start: &'static str, end: Option<&'static str>, reverse| Scan {
            start: Some(start.into()),
            end: end.map(Bytes::from),
            reverse,
            ..Scan::default()
        };
        let mut prints: Vec<u64> = [
            scan("a", None, false),
            scan("a", None, true),
            scan("a", Some("ab"), false),
            scan("", None, false),
            scan("aab", Some("b"), false),
            scan("aa", Some("bb"), false),
        ]
        .iter()
        .map(|scan| Bounds::of(scan).unwrap().fingerprint())
        .collect();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), 6);
    }
}
