//! Nodes: who joins, who goes, and how; and what is set for all of them.

use alloc::string::String;

use ringwood_types::{Epoch, NodeId};

use super::super::command::{NewNode, NodeChange, Refused};
use super::super::model::{Node, NodeState, Settings};
use super::{Change, Changed, Topology, stays};

/// Highest weight of a node.
const WEIGHT_MAX: u32 = 1_000_000;
/// Longest address and zone.
const TEXT_LEN_MAX: usize = 255;

impl Topology {
    pub(super) fn add_node(&mut self, new: &NewNode) -> Change {
        if let Some(known) = self.nodes.get(&new.id) {
            return match known.state {
                NodeState::Removed => Err(Refused::NodeRemoved { node: new.id }),
                _ => Ok(Changed::Nothing),
            };
        }
        check_node(
            &new.name,
            &new.peer_address,
            &new.client_address,
            &new.zone,
            new.weight,
        )?;
        let members = || self.members();
        if let Some(other) = members().find(|node| node.name == new.name) {
            return Err(Refused::NameTaken {
                by: other.id,
                same_address: other.peer_address == new.peer_address,
            });
        }
        if let Some(other) = members().find(|node| node.peer_address == new.peer_address) {
            return Err(Refused::AddressTaken { by: other.id });
        }
        self.insert_node(new.clone(), self.next_epoch());
        Ok(Changed::Layout)
    }

    pub(super) fn insert_node(&mut self, new: NewNode, since: Epoch) {
        let node = Node {
            id: new.id,
            name: new.name,
            peer_address: new.peer_address,
            client_address: new.client_address,
            zone: new.zone,
            weight: new.weight,
            state: NodeState::Joined,
            since,
            start: new.start,
            guest: self.issue(),
        };
        self.nodes.insert(node.id, node);
    }

    pub(super) fn set_node(&mut self, id: NodeId, change: &NodeChange) -> Change {
        let mut node = self.member(id)?.clone();
        let set = |field: &mut String, value: &Option<String>| {
            if let Some(value) = value {
                field.clone_from(value);
            }
        };
        set(&mut node.peer_address, &change.peer_address);
        set(&mut node.client_address, &change.client_address);
        set(&mut node.zone, &change.zone);
        node.weight = change.weight.unwrap_or(node.weight);
        check_node(
            &node.name,
            &node.peer_address,
            &node.client_address,
            &node.zone,
            node.weight,
        )?;
        let same_address = |other: &&Node| other.peer_address == node.peer_address;
        let mut others = self.members().filter(|other| other.id != id);
        if let Some(other) = others.find(same_address) {
            return Err(Refused::AddressTaken { by: other.id });
        }
        let before = self.member(id)?;
        let changed = if *before == node {
            Changed::Nothing
        } else if (&before.zone, before.weight) == (&node.zone, node.weight) {
            Changed::Something
        } else {
            Changed::Layout
        };
        drop(others);
        self.nodes.insert(id, node);
        Ok(changed)
    }

    pub(super) fn leave(&mut self, id: NodeId, fewer: bool) -> Change {
        match self.member(id)?.state {
            NodeState::Leaving => return Ok(Changed::Nothing),
            NodeState::PermanentlyFailed => return Err(Refused::NodeFailed { node: id }),
            NodeState::Removing => return Err(Refused::NodeGoes { node: id }),
            NodeState::Joined | NodeState::Removed => {}
        }
        self.check_left(id, fewer)?;
        self.set_state(id, NodeState::Leaving);
        self.let_go(id);
        Ok(Changed::Layout)
    }

    pub(super) fn stay(&mut self, id: NodeId) -> Change {
        match self.member(id)?.state {
            NodeState::Leaving => {
                self.set_state(id, NodeState::Joined);
                Ok(Changed::Layout)
            }
            NodeState::PermanentlyFailed => Err(Refused::NodeFailed { node: id }),
            NodeState::Removing => Err(Refused::NodeGoes { node: id }),
            NodeState::Joined | NodeState::Removed => Ok(Changed::Nothing),
        }
    }

    pub(super) fn mark_failed(&mut self, id: NodeId, by_operator: bool) -> Change {
        let state = self.member(id)?.state;
        if !state.lives() {
            return Ok(Changed::Nothing);
        }
        if self.members().filter(|node| node.state.lives()).count() == 1 {
            return Err(Refused::LastNode);
        }
        let failed = self
            .members()
            .filter(|node| !node.state.lives() && self.holds(node.id));
        let failed = u32::try_from(failed.count()).unwrap_or(u32::MAX);
        if !by_operator && failed >= self.settings.failures_at_once_max {
            return Err(Refused::TooManyFailures { failed });
        }
        // Who was to go anyway goes without being waited for.
        let next = match state {
            NodeState::Leaving => NodeState::Removing,
            _ => NodeState::PermanentlyFailed,
        };
        self.set_state(id, next);
        self.end_cleanups_of(id);
        self.let_go(id);
        Ok(Changed::Layout)
    }

    pub(super) fn returned(&mut self, id: NodeId) -> Change {
        match self.member(id)?.state {
            NodeState::PermanentlyFailed => {
                self.set_state(id, NodeState::Joined);
                Ok(Changed::Layout)
            }
            NodeState::Removing => Err(Refused::NodeGoes { node: id }),
            _ => Ok(Changed::Nothing),
        }
    }

    pub(super) fn remove(&mut self, id: NodeId, fewer: bool) -> Change {
        match self.member(id)?.state {
            NodeState::Removing => return Ok(Changed::Nothing),
            NodeState::PermanentlyFailed => {}
            _ => return Err(Refused::NodeLives { node: id }),
        }
        self.check_left(id, fewer)?;
        // INVARIANT topology-21: nobody goes who holds what nobody else does.
        for (partition, at) in self.partition_ids().zip(&self.partitions) {
            let elsewhere = at.members().any(|one| one.node != id && !one.rebuilding);
            if at.replica(id).is_some() && !elsewhere && !at.loss_accepted {
                return Err(Refused::LastCopy { partition });
            }
        }
        self.set_state(id, NodeState::Removing);
        self.let_go(id);
        Ok(Changed::Layout)
    }

    pub(super) fn replace(&mut self, old: NodeId, new: NodeId) -> Change {
        let state = self.member(old)?.state;
        let successor = self.member(new)?.state;
        if !successor.lives() {
            return Err(Refused::NodeFailed { node: new });
        }
        if !stays(successor) || old == new {
            return Err(Refused::NodeGoes { node: new });
        }
        let next = if state.lives() {
            NodeState::Leaving
        } else {
            NodeState::Removing
        };
        for partition in self.partition_ids() {
            let mut nodes = self.partitions[partition.index()].intended();
            if nodes.contains(&old) && !nodes.contains(&new) {
                let place = nodes.iter_mut().find(|node| **node == old);
                *place.expect("it is in there") = new;
                self.want(partition, nodes);
            }
        }
        self.set_state(old, next);
        self.let_go(old);
        Ok(Changed::Layout)
    }

    pub(super) fn set_settings(&mut self, before: &Settings, after: &Settings) -> Change {
        if self.settings == *after {
            return Ok(Changed::Nothing);
        }
        if self.settings != *before {
            return Err(Refused::SettingsChanged);
        }
        if !after.are_sound() {
            return Err(Refused::InvalidSettings);
        }
        let replicas = self.settings.replicas != after.replicas;
        self.settings = *after;
        Ok(if replicas {
            Changed::Layout
        } else {
            Changed::Something
        })
    }

    /// A node that was not removed.
    pub(super) fn member(&self, id: NodeId) -> Result<&Node, Refused> {
        match self.nodes.get(&id) {
            None => Err(Refused::UnknownNode { node: id }),
            Some(node) if node.state == NodeState::Removed => {
                Err(Refused::NodeRemoved { node: id })
            }
            Some(node) => Ok(node),
        }
    }

    fn members(&self) -> impl Iterator<Item = &Node> {
        let member = |node: &&Node| node.state != NodeState::Removed;
        self.nodes.values().filter(member)
    }

    pub(super) fn set_state(&mut self, id: NodeId, state: NodeState) {
        let since = self.next_epoch();
        if let Some(node) = self.nodes.get_mut(&id) {
            (node.state, node.since) = (state, since);
        }
    }

    /// Whether those that stay are enough when `id` does not.
    fn check_left(&self, id: NodeId, fewer: bool) -> Result<(), Refused> {
        let others = self.members().filter(|node| node.id != id);
        let left = others.filter(|node| stays(node.state)).count();
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let replicas = self.settings.replicas;
        match left {
            0 => Err(Refused::LastNode),
            left if left < u32::from(replicas) && !fewer => {
                Err(Refused::TooFewNodes { left, replicas })
            }
            _ => Ok(()),
        }
    }

    /// Whether anything of a partition is, comes to or goes from the node.
    pub(super) fn holds(&self, id: NodeId) -> bool {
        self.partitions.iter().any(|partition| {
            let left = partition.transition.as_ref().and_then(|moves| moves.left);
            let mut all = partition.members().chain(&left);
            all.any(|replica| replica.node == id)
        })
    }

    /// Removes a node that is to go, if it holds nothing any more.
    pub(super) fn let_go(&mut self, id: NodeId) {
        let state = self.nodes.get(&id).map(|node| node.state);
        if matches!(state, Some(NodeState::Leaving | NodeState::Removing)) && !self.holds(id) {
            self.set_state(id, NodeState::Removed);
        }
    }
}

fn check_node(
    name: &str,
    peer_address: &str,
    client_address: &str,
    zone: &str,
    weight: u32,
) -> Result<(), Refused> {
    let addresses = [peer_address, client_address];
    let sound = is_name(name)
        && addresses
            .iter()
            .all(|text| (1..=TEXT_LEN_MAX).contains(&text.len()))
        && zone.len() <= TEXT_LEN_MAX
        && (1..=WEIGHT_MAX).contains(&weight);
    sound.then_some(()).ok_or(Refused::InvalidNode)
}

/// Names of nodes and namespaces: 1 to 63 of `a`–`z`, `0`–`9`, `.`, `_` and `-`, beginning with a letter or a
/// digit.
pub(super) fn is_name(name: &str) -> bool {
    let head = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let tail = |byte: u8| head(byte) || b"._-".contains(&byte);
    (1..=63).contains(&name.len())
        && name.bytes().next().is_some_and(head)
        && name.bytes().all(tail)
}
