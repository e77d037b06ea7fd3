//! What is new, to be said a bounded number of times: fewest times said first, newest first among those.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Reverse;

use ringwood_types::NodeId;

/// Which rumor: of whom, and by whom it is called silent; by nobody: that it lives. What it says is
/// looked up when it is said, so that it is never older than what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Topic {
    pub(super) node: NodeId,
    pub(super) reporter: Option<NodeId>,
}

/// How often it was said, and its number among all that came.
type Rank = (u32, Reverse<u64>);

#[derive(Debug, Default)]
pub(super) struct Rumors {
    ranks: BTreeMap<Topic, Rank>,
    order: BTreeSet<(Rank, Topic)>,
    next: u64,
}

impl Rumors {
    pub(super) fn is_empty(&self) -> bool {
        self.ranks.is_empty()
    }

    /// It is new, or new again.
    pub(super) fn add(&mut self, topic: Topic) {
        self.remove(topic);
        self.insert(topic, (0, Reverse(self.next)));
        self.next += 1;
    }

    /// What was said of a node is void.
    pub(super) fn forget(&mut self, node: NodeId) {
        let first = Topic {
            node,
            reporter: None,
        };
        let of_node = self.ranks.range(first..).map(|(topic, _)| *topic);
        let of_node: Vec<_> = of_node.take_while(|topic| topic.node == node).collect();
        of_node.into_iter().for_each(|topic| self.remove(topic));
    }

    /// Takes what is due as long as `say` has room for it, and drops what has been said `limit` times.
    pub(super) fn say(&mut self, limit: u32, mut say: impl FnMut(Topic) -> bool) {
        let mut said = Vec::new();
        for (rank, topic) in &self.order {
            if !say(*topic) {
                break;
            }
            said.push((*rank, *topic));
        }
        for ((times, number), topic) in said {
            self.remove(topic);
            if times + 1 < limit {
                self.insert(topic, (times + 1, number));
            }
        }
    }

    fn insert(&mut self, topic: Topic, rank: Rank) {
        self.ranks.insert(topic, rank);
        self.order.insert((rank, topic));
    }

    fn remove(&mut self, topic: Topic) {
        if let Some(rank) = self.ranks.remove(&topic) {
            self.order.remove(&(rank, topic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(node: u64, reporter: Option<u64>) -> Topic {
        Topic {
            node: NodeId::new(node),
            reporter: reporter.map(NodeId::new),
        }
    }

    fn said(rumors: &mut Rumors, limit: u32, room: usize) -> Vec<u64> {
        let mut said = Vec::new();
        rumors.say(limit, |topic| {
            let fits = said.len() < room;
            if fits {
                said.push(topic.node.get());
            }
            fits
        });
        said
    }

    #[test]
    fn member_4_each_is_said_so_often_the_newest_and_least_said_first() {
        let mut rumors = Rumors::default();
        (1..=3).for_each(|node| rumors.add(topic(node, None)));
        assert_eq!(said(&mut rumors, 2, 2), [3, 2]);
        assert_eq!(said(&mut rumors, 2, 2), [1, 3]);
        rumors.add(topic(2, None));
        assert_eq!(said(&mut rumors, 2, 9), [2, 1]);
        assert_eq!(said(&mut rumors, 2, 9), [2]);
        assert!(rumors.is_empty());
    }

    #[test]
    fn what_is_void_is_not_said() {
        let mut rumors = Rumors::default();
        rumors.add(topic(1, None));
        rumors.add(topic(1, Some(5)));
        rumors.add(topic(2, Some(1)));
        rumors.forget(NodeId::new(1));
        assert_eq!(said(&mut rumors, 9, 9), [2]);
        rumors.forget(NodeId::new(2));
        assert!(rumors.is_empty() && rumors.order.is_empty());
    }
}
