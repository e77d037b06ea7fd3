//! What is done to the network and its nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use ringwood_protocol::Time;
use ringwood_types::NodeId;

use super::{Event, World};

const LONGEST: Duration = Duration::from_secs(150);

impl World {
    pub(super) fn fault(&mut self) {
        if self.now >= self.plan.faults_until {
            return;
        }
        let gap = self
            .chance
            .between(Duration::from_secs(1), Duration::from_secs(60));
        self.after(gap, Event::Fault);
        let alive = self.alive();
        if alive.is_empty() {
            return;
        }
        let id = *self.chance.pick(&alive);
        let short = self.chance.permille(500);
        let longest = if short {
            Duration::from_secs(8)
        } else {
            LONGEST
        };
        let wait = self.chance.between(Duration::from_millis(100), longest);
        match self.chance.range(0, 8) {
            0 | 1 => {
                self.kill(id);
                self.after(wait, Event::Restart { node: id });
            }
            2 | 3 => self.pause(id, wait),
            4 => self.cut_in_two(wait),
            5 => self.cut_one_way(id, wait),
            6 => {
                self.touch(id);
                let slow = self.chance.within(Duration::from_millis(1500));
                self.count("slow nodes");
                self.nodes.get_mut(&id).unwrap().slow = slow;
                self.after(wait, Event::Reconnect);
            }
            _ => self.settle_failures(),
        }
    }

    fn cut_in_two(&mut self, wait: Duration) {
        self.count("partitions");
        let (sides, one_way) = (self.chance.next(), self.chance.permille(300));
        let side = |node: &NodeId| sides >> node.get() & 1 == 1;
        let nodes: Vec<_> = self.nodes.keys().copied().collect();
        let pairs = nodes
            .iter()
            .flat_map(|from| nodes.iter().map(|to| (*from, *to)));
        let cut = pairs.filter(|(from, to)| side(from) != side(to) && !(one_way && side(from)));
        let cut: BTreeSet<_> = cut.collect();
        self.set_cut(cut);
        self.after(wait, Event::Reconnect);
    }

    /// It hears nothing, or nobody hears it.
    fn cut_one_way(&mut self, id: NodeId, wait: Duration) {
        self.count("deaf or dumb nodes");
        let is_deaf = self.chance.permille(500);
        let others = self.nodes.keys().filter(|other| **other != id);
        let cut = others.map(|other| if is_deaf { (*other, id) } else { (id, *other) });
        let cut: BTreeSet<_> = cut.collect();
        self.set_cut(cut);
        self.after(wait, Event::Reconnect);
    }

    pub(super) fn reconnect(&mut self) {
        self.set_cut(BTreeSet::new());
        let slow = self
            .nodes
            .iter()
            .filter(|(_, node)| node.slow > Duration::ZERO);
        for id in slow.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.touch(id);
            self.nodes.get_mut(&id).unwrap().slow = Duration::ZERO;
        }
    }

    /// Who failed is removed, or its failure is taken back.
    fn settle_failures(&mut self) {
        let failed = self.standings.iter().filter(|standing| standing.has_failed);
        let Some(node) = failed.map(|standing| standing.node).next() else {
            return;
        };
        if self.standings.len() > 3 && self.chance.permille(500) {
            self.standings.retain(|standing| standing.node != node);
            self.kill(node);
        } else {
            let standing = self
                .standings
                .iter_mut()
                .find(|standing| standing.node == node);
            standing.unwrap().has_failed = false;
        }
        self.after(Duration::from_millis(50), Event::Commit);
    }

    pub fn heal(&mut self) {
        self.plan.commits = false;
        self.reconnect();
        self.standings
            .iter_mut()
            .for_each(|standing| standing.has_failed = false);
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            if self.nodes[&id].paused_until > self.now {
                self.nodes.get_mut(&id).unwrap().paused_until = Time::ZERO;
                self.happen(Event::Resume { node: id });
            }
            self.start(id);
        }
        self.commit();
    }
}
