//! The epochs of one partition: at rest, one replica's place taken by another, or a disk lost.

use ringwood_protocol::coordinator::{Part, Replica, ReplicaSet, Stage};
use ringwood_types::{Epoch, NodeId};

use super::replica;

/// What happens to the replicas 1, 2, 3 meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// 4 takes the place of 1.
    Move,
    /// The disk of 3 is lost.
    Wipe,
}

/// Committed replica sets; that of epoch `e` at `e - 1`.
#[derive(Clone, Debug)]
pub struct Ring {
    pub sets: Vec<ReplicaSet>,
    change: Change,
    /// Whom the joiner, or the wiped one, has compared with.
    compared: Vec<u64>,
}

fn set(epoch: u64, stage: Stage, replicas: &[Replica]) -> ReplicaSet {
    ReplicaSet::new(Epoch::new(epoch), stage, replicas).unwrap()
}

fn whole(node: u64) -> Replica {
    Replica::whole(NodeId::new(node))
}

fn moving(epoch: u64, stage: Stage) -> ReplicaSet {
    let part = |node, part| Replica {
        part,
        ..whole(node)
    };
    let (leaves, joins) = (part(1, Part::Leaves), part(4, Part::Joins));
    set(epoch, stage, &[leaves, whole(2), whole(3), joins])
}

impl Ring {
    pub fn new(change: Change) -> Self {
        Self {
            sets: vec![set(1, Stage::Settled, &[whole(1), whole(2), whole(3)])],
            change,
            compared: Vec::new(),
        }
    }

    pub fn latest(&self) -> u64 {
        self.sets.len() as u64
    }

    pub fn at(&self, epoch: u64) -> &ReplicaSet {
        &self.sets[usize::try_from(epoch - 1).unwrap()]
    }

    pub fn is_member(&self, epoch: u64, node: u64) -> bool {
        self.at(epoch).contains(NodeId::new(node))
    }

    /// The next step of the change, if its time has come (rules 11 and 13). Says whose disk is lost.
    pub fn step(&mut self, replicas: &mut [replica::Replica]) -> Option<u64> {
        let next = self.latest() + 1;
        match (self.change, next) {
            (Change::Move, 2) => self.sets.push(moving(2, Stage::WriteBoth)),
            (Change::Move, 3) if self.compare(replicas, 4, &[1]) && fence(replicas, 4, &[2, 3]) => {
                self.sets.push(moving(3, Stage::ReadNew));
            }
            (Change::Move, 4) => {
                let applied = [1, 2, 3].iter().filter(|&&n| replicas[n].epoch >= 3);
                if applied.count() >= 2 {
                    let settled = [whole(4), whole(2), whole(3)];
                    self.sets.push(set(4, Stage::Settled, &settled));
                }
            }
            (Change::Wipe, 2) => {
                let lost = Replica {
                    rebuilding: true,
                    ..whole(3)
                };
                let rebuilding = [whole(1), whole(2), lost];
                self.sets.push(set(2, Stage::Settled, &rebuilding));
                return Some(3);
            }
            (Change::Wipe, 3)
                if self.compare(replicas, 3, &[1, 2]) && fence(replicas, 3, &[1, 2]) =>
            {
                let settled = [whole(1), whole(2), whole(3)];
                self.sets.push(set(3, Stage::Settled, &settled));
            }
            _ => {}
        }
        None
    }

    /// One more full compare; whether there have been enough.
    fn compare(
        &mut self,
        replicas: &mut [replica::Replica],
        newcomer: usize,
        with: &[u64],
    ) -> bool {
        let left = with.iter().find(|node| !self.compared.contains(node));
        let Some(&source) = left else { return true };
        let from = replicas[usize::try_from(source).unwrap()].clone();
        if from.up && from.epoch >= 2 && replicas[newcomer].epoch == from.epoch {
            replicas[newcomer].pull(&from, true);
            self.compared.push(source);
        }
        false
    }
}

/// Rule 11b.
fn fence(replicas: &[replica::Replica], newcomer: usize, others: &[usize]) -> bool {
    others.iter().all(|&other| {
        let other = &replicas[other];
        other.epoch >= 2 && other.purged.is_subset(&replicas[newcomer].seen)
    })
}
