//! Checks writes before anything is done about them.

use ringwood_env::UnixMillis;
use ringwood_lsm::ReadTier;
use ringwood_types::{Record, context};

use crate::error::NodeError;
use crate::limits::check_key;
use crate::namespace::{Namespace, Policy, TTL_SECONDS_MAX};
use crate::node::Shared;
use crate::request::{Put, Ttl};
use crate::store::{Change, Write};

impl Shared {
    /// Counts what a request costs against its namespace's rate, where it has one.
    pub(crate) fn admit(&self, namespace: &Namespace, cost: u64) -> Result<(), NodeError> {
        let Some(limit) = namespace.policy().requests_per_second else {
            return Ok(());
        };
        // The time of requests stands still while the wall clock is set back.
        let now = self.clock.monotonic();
        let taken = namespace.requests.take(limit, cost, now);
        taken.map_err(|retry_after| {
            self.counters.requests_limited.add(1);
            NodeError::RateLimited {
                name: namespace.name().into(),
                limit,
                retry_after,
            }
        })
    }

    /// What makes a key's value shorter is taken from a full namespace too: it is how one gets room.
    fn check_room(
        &self,
        namespace: &Namespace,
        put: &Put,
        tier: ReadTier,
    ) -> Result<(), NodeError> {
        let Some(limit) = namespace.policy().bytes_max else {
            return Ok(());
        };
        let bytes = namespace.bytes.bytes();
        if bytes < limit || self.is_shorter(namespace, put, tier)? {
            return Ok(());
        }
        self.counters.puts_over_quota.add(1);
        Err(NodeError::QuotaExceeded {
            name: namespace.name().into(),
            bytes,
            limit,
        })
    }

    /// Whether a put takes less room than what it replaces.
    fn is_shorter(
        &self,
        namespace: &Namespace,
        put: &Put,
        tier: ReadTier,
    ) -> Result<bool, NodeError> {
        let len = |value: &[u8], kind: Option<&str>| value.len() + kind.map_or(0, str::len);
        let stored = self.store.get(namespace, &put.key, tier)?;
        Ok(stored.is_some_and(|stored| {
            len(&put.value, put.content_type.as_deref())
                < len(stored.value(), stored.content_type())
        }))
    }

    /// Checks a put. Where the namespace is full, that reads the key: `tier` may not suffice for it.
    pub(crate) fn check_put<'a>(
        &self,
        namespace: &Namespace,
        put: &'a Put,
        now: UnixMillis,
        tier: ReadTier,
    ) -> Result<Write<'a>, NodeError> {
        check_key(&put.key)?;
        let policy = namespace.policy();
        let of_namespace = policy
            .value_len_max
            .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let limit = of_namespace
            .unwrap_or(usize::MAX)
            .min(self.limits.value_len_max);
        if put.value.len() > limit {
            return Err(NodeError::ValueTooLarge {
                len: put.value.len(),
                limit,
            });
        }
        let content_type = put.content_type.as_deref().unwrap_or_default();
        check_content_type(content_type)?;
        let deadline = deadline(put.ttl, policy, now)?;
        let partition = self.store.partition(namespace, &put.key);
        if let Some(token) = &put.context {
            context::decode(token, namespace.id(), partition)?;
        }
        self.check_room(namespace, put, tier)?;
        Ok(Write {
            partition,
            key: &put.key,
            change: Change::Put {
                value: &put.value,
                content_type,
                deadline,
            },
        })
    }

    pub(crate) fn check_delete<'a>(
        &self,
        namespace: &Namespace,
        key: &'a [u8],
        context: Option<&str>,
    ) -> Result<Write<'a>, NodeError> {
        check_key(key)?;
        let partition = self.store.partition(namespace, key);
        if let Some(token) = context {
            context::decode(token, namespace.id(), partition)?;
        }
        Ok(Write {
            partition,
            key,
            change: Change::Delete,
        })
    }
}

/// Checks what a user, or another node, says that bytes are.
pub(crate) fn check_content_type(content_type: &str) -> Result<(), NodeError> {
    let limit = Record::CONTENT_TYPE_LEN_MAX;
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if content_type.len() <= limit && content_type.bytes().all(printable) {
        Ok(())
    } else {
        Err(NodeError::InvalidContentType { limit })
    }
}

fn deadline(ttl: Ttl, policy: &Policy, now: UnixMillis) -> Result<Option<UnixMillis>, NodeError> {
    let seconds = match ttl {
        Ttl::Never => None,
        Ttl::Default => policy.default_ttl,
        Ttl::Seconds(seconds @ 1..=TTL_SECONDS_MAX) => Some(seconds.unsigned_abs()),
        Ttl::Seconds(seconds) => {
            return Err(NodeError::InvalidTtl {
                seconds,
                limit: TTL_SECONDS_MAX,
            });
        }
    };
    Ok(seconds.map(|seconds| now.saturating_add(seconds.saturating_mul(1000))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_live_are_checked_at_their_limits() {
        let policy = Policy {
            default_ttl: Some(7),
            ..Policy::default()
        };
        let deadline = |ttl| deadline(ttl, &policy, 1000);
        assert_eq!(deadline(Ttl::Default).unwrap(), Some(8000));
        assert_eq!(deadline(Ttl::Never).unwrap(), None);
        assert_eq!(deadline(Ttl::Seconds(1)).unwrap(), Some(2000));
        let longest = deadline(Ttl::Seconds(TTL_SECONDS_MAX)).unwrap();
        assert_eq!(longest, Some(1000 + 3_155_760_000_000));
        for seconds in [0, -1, i64::MIN, TTL_SECONDS_MAX + 1, i64::MAX] {
            assert!(matches!(
                deadline(Ttl::Seconds(seconds)),
                Err(NodeError::InvalidTtl { .. })
            ));
        }
    }

    #[test]
    fn content_types_are_short_printable_text() {
        check_content_type("").unwrap();
        check_content_type("text/plain; charset=utf-8").unwrap();
        check_content_type(&"x".repeat(255)).unwrap();
        for bad in ["a\nb", "ä", "\u{7f}", &"x".repeat(256)] {
            assert!(check_content_type(bad).is_err());
        }
    }
}
