//! What a namespace promises: the policy it is created with, and what of it one node can keep.

use ringwood_lsm::Durability;
use ringwood_types::Routing;
use serde::{Deserialize, Serialize};

use crate::error::NodeError;

use super::quota::REQUESTS_PER_SECOND_MAX;

/// Longest time to live: 100 years of 365.25 days.
pub const TTL_SECONDS_MAX: i64 = 3_155_760_000;

/// How the replicas of a namespace agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// Any replica takes writes; they meet later.
    #[default]
    Eventual,
    /// A leader orders writes.
    Strong,
}

/// What becomes of concurrent writes to one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConflictPolicy {
    /// The later one stays.
    #[default]
    Lww,
    /// All stay until a client resolves them.
    Siblings,
    /// A counter that grows.
    GCounter,
    /// A counter that grows and shrinks.
    PnCounter,
    /// A set that grows.
    GSet,
    /// A set whose elements can be removed.
    OrSet,
    /// A register, last write wins.
    LwwRegister,
}

/// The policy of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// How replicas agree. Fixed when the namespace is created.
    pub mode: Mode,
    /// How many replicas there are.
    pub replicas: u8,
    /// What becomes of concurrent writes. Fixed when the namespace is created.
    pub conflicts: ConflictPolicy,
    /// Which part of a key is hashed. Fixed when the namespace is created.
    #[serde(with = "routing_name")]
    pub routing: Routing,
    /// Time to live, in seconds, of what is put without one. `None`: for ever.
    pub default_ttl: Option<u64>,
    /// When a write is acknowledged, where the request does not say.
    #[serde(with = "DurabilityName")]
    pub durability: Durability,
    /// Longest value in bytes. `None`: the node's limit.
    pub value_len_max: Option<u64>,
    /// Requests a second that are answered, items of batches each for itself; one second's worth may
    /// come at once. `None`: any number.
    pub requests_per_second: Option<u64>,
    /// Bytes in the engine, roughly, from which on puts are refused. `None`: any number.
    pub bytes_max: Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Eventual,
            replicas: 1,
            conflicts: ConflictPolicy::Lww,
            routing: Routing::WholeKey,
            default_ttl: None,
            durability: Durability::Synced,
            value_len_max: None,
            requests_per_second: None,
            bytes_max: None,
        }
    }
}

/// What to change of a policy; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyChange {
    /// See [`Policy::default_ttl`]; `Some(None)` (JSON `null`): for ever.
    #[serde(deserialize_with = "some")]
    pub default_ttl: Option<Option<u64>>,
    /// See [`Policy::durability`].
    #[serde(deserialize_with = "some_durability")]
    pub durability: Option<Durability>,
    /// See [`Policy::value_len_max`]; `Some(None)` (JSON `null`): the node's limit.
    #[serde(deserialize_with = "some")]
    pub value_len_max: Option<Option<u64>>,
    /// See [`Policy::requests_per_second`]; `Some(None)` (JSON `null`): any number.
    #[serde(deserialize_with = "some")]
    pub requests_per_second: Option<Option<u64>>,
    /// See [`Policy::bytes_max`]; `Some(None)` (JSON `null`): any number.
    #[serde(deserialize_with = "some")]
    pub bytes_max: Option<Option<u64>>,
}

impl Policy {
    /// Checks that this node can keep the policy: an honest refusal now beats a broken promise later.
    pub(crate) fn check(&self) -> Result<(), NodeError> {
        let refuse = |field, why| Err(NodeError::UnsupportedPolicy { field, why });
        if self.mode == Mode::Strong {
            return refuse(
                "mode",
                "strong namespaces need a replication group, which this version does not have; eventual works",
            );
        }
        if self.replicas != 1 {
            return refuse(
                "replicas",
                "this version keeps each key on one node; 1 works",
            );
        }
        if self.conflicts != ConflictPolicy::Lww {
            return refuse(
                "conflicts",
                "with one replica writes are in one order and never conflict; lww works",
            );
        }
        if self
            .default_ttl
            .is_some_and(|seconds| !(1..=TTL_SECONDS_MAX.unsigned_abs()).contains(&seconds))
        {
            return refuse(
                "default_ttl",
                "must be from 1 second to 100 years (3155760000), or absent for ever",
            );
        }
        if self.value_len_max == Some(0) {
            return refuse(
                "value_len_max",
                "must be at least 1, or absent for the node's limit",
            );
        }
        if self
            .requests_per_second
            .is_some_and(|rate| !(1..=REQUESTS_PER_SECOND_MAX).contains(&rate))
        {
            return refuse(
                "requests_per_second",
                "must be from 1 to 1000000000, or absent for any number",
            );
        }
        if self.bytes_max == Some(0) {
            return refuse("bytes_max", "must be at least 1, or absent for any number");
        }
        Ok(())
    }

    pub(crate) fn changed(&self, change: &PolicyChange) -> Self {
        let mut policy = self.clone();
        if let Some(default_ttl) = change.default_ttl {
            policy.default_ttl = default_ttl;
        }
        if let Some(durability) = change.durability {
            policy.durability = durability;
        }
        if let Some(value_len_max) = change.value_len_max {
            policy.value_len_max = value_len_max;
        }
        if let Some(requests_per_second) = change.requests_per_second {
            policy.requests_per_second = requests_per_second;
        }
        if let Some(bytes_max) = change.bytes_max {
            policy.bytes_max = bytes_max;
        }
        policy
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Durability", rename_all = "kebab-case")]
enum DurabilityName {
    Synced,
    Buffered,
}

/// A field that is there is `Some`, also when it says `null`.
fn some<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

fn some_durability<'de, D>(deserializer: D) -> Result<Option<Durability>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    DurabilityName::deserialize(deserializer).map(Some)
}

mod routing_name {
    use ringwood_types::Routing;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        routing: &Routing,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(routing)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Routing, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_back_and_defaults_fill_in() {
        let policy = Policy {
            routing: Routing::Before(b'/'),
            default_ttl: Some(60),
            durability: Durability::Buffered,
            ..Policy::default()
        };
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
        assert_eq!(
            serde_json::from_str::<Policy>("{}").unwrap(),
            Policy::default()
        );
        assert!(serde_json::from_str::<Policy>(r#"{"ttl":3}"#).is_err());
    }

    #[test]
    fn what_one_node_cannot_keep_is_refused_by_name() {
        let refused = |policy: Policy| match policy.check() {
            Err(NodeError::UnsupportedPolicy { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        let policy = Policy::default;
        policy().check().unwrap();
        let strong = Policy {
            mode: Mode::Strong,
            ..policy()
        };
        assert_eq!(refused(strong), "mode");
        for replicas in [0, 2, 3] {
            let replicated = Policy {
                replicas,
                ..policy()
            };
            assert_eq!(refused(replicated), "replicas");
        }
        let siblings = Policy {
            conflicts: ConflictPolicy::Siblings,
            ..policy()
        };
        assert_eq!(refused(siblings), "conflicts");
        for ttl in [0, TTL_SECONDS_MAX.unsigned_abs() + 1, u64::MAX] {
            let expiring = Policy {
                default_ttl: Some(ttl),
                ..policy()
            };
            assert_eq!(refused(expiring), "default_ttl");
        }
        for rate in [0, REQUESTS_PER_SECOND_MAX + 1] {
            let limited = Policy {
                requests_per_second: Some(rate),
                ..policy()
            };
            assert_eq!(refused(limited), "requests_per_second");
        }
        let without_room = Policy {
            bytes_max: Some(0),
            ..policy()
        };
        assert_eq!(refused(without_room), "bytes_max");
    }

    #[test]
    fn a_change_tells_null_from_absent() {
        let policy = Policy {
            default_ttl: Some(5),
            value_len_max: Some(9),
            ..Policy::default()
        };
        let change: PolicyChange =
            serde_json::from_str(r#"{"default_ttl":null,"durability":"buffered"}"#).unwrap();
        let changed = policy.changed(&change);
        assert_eq!(changed.default_ttl, None);
        assert_eq!(changed.durability, Durability::Buffered);
        assert_eq!(changed.value_len_max, Some(9));
        assert!(serde_json::from_str::<PolicyChange>(r#"{"mode":"strong"}"#).is_err());
    }
}
