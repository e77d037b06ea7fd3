//! The replicas of a request, as they stand when it begins.

use ringwood_types::NodeId;

use super::replicas::{Members, ReplicaSet};

/// What is known of a node's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It answers.
    Healthy,
    /// It has not been heard for a while: asked last.
    Suspicious,
    /// It is down: not asked at all.
    Down,
}

/// The replicas of a request, and what is known of their health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    pub(super) replicas: ReplicaSet,
    pub(super) healthy: Members,
    pub(super) reachable: Members,
}

impl Standing {
    /// As of now.
    #[must_use]
    pub fn new(replicas: ReplicaSet, health: impl Fn(NodeId) -> Health) -> Self {
        let those = |wanted: &dyn Fn(Health) -> bool| {
            let all = replicas.nodes().iter().enumerate();
            all.filter(|&(_, &node)| wanted(health(node)))
                .map(|(place, _)| place)
                .collect()
        };
        Self {
            replicas,
            healthy: those(&|health| health == Health::Healthy),
            reachable: those(&|health| health != Health::Down),
        }
    }
}

/// Numbers what one request asks for, so that answers are counted for what they answer; goes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);
