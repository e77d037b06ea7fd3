//! What is done to the group: clients, an operator, and faults.

use std::time::Duration;

use ringwood_protocol::consensus::{
    Change, Index, Input, ProposalId, ReadId, Role, Status, Stored,
};
use ringwood_types::NodeId;

use super::chance::mix;
use super::events::Event;
use super::member::{PAUSE_MAX, Read, SnapshotState};
use super::{NodeDefect, World};

/// Members at most, and nodes that ever were one.
const MEMBERS_MAX: usize = 5;
const NODES_MAX: u64 = 12;

impl World {
    fn up(&self) -> Vec<NodeId> {
        let up = self
            .members
            .values()
            .filter(|member| member.is_up(self.now));
        up.map(|member| member.id).collect()
    }

    fn status(&self, id: NodeId) -> Option<Status> {
        self.members[&id].group.as_ref().map(|group| group.status())
    }

    /// Whoever believes that it leads, stale ones too.
    fn leaders(&self) -> Vec<(Status, NodeId)> {
        let all = self
            .up()
            .into_iter()
            .filter_map(|id| Some((self.status(id)?, id)));
        all.filter(|(status, _)| status.role == Role::Leader)
            .collect()
    }

    fn leader(&self) -> Option<(Status, NodeId)> {
        self.leaders()
            .into_iter()
            .max_by_key(|(status, _)| status.term)
    }

    pub fn client(&mut self) {
        let gap = self
            .chance
            .between(Duration::from_millis(5), Duration::from_millis(60));
        self.after(gap, Event::Client);
        let up = self.up();
        if up.is_empty() {
            return;
        }
        let id = *self.chance.pick(&up);
        if self.chance.permille(300) {
            self.client_reads(id);
        } else {
            let leaders = self.leaders();
            let any = leaders
                .iter()
                .map(|(_, id)| *id)
                .max_by_key(|id| mix(self.now.micros() ^ id.get()));
            if let Some(leader) = any {
                self.propose_data(leader);
            }
        }
        if self.chance.permille(200) {
            self.compact(id);
        }
    }

    fn client_reads(&mut self, id: NodeId) {
        let read = ReadId {
            incarnation: self.members[&id].life,
            number: self.next_read,
        };
        self.next_read += 1;
        let local = self.plan.defect == Some(NodeDefect::LocalReads);
        let at = self
            .status(id)
            .filter(|_| local)
            .map(|status| status.commit);
        let floor = self.history.acknowledged();
        self.members
            .get_mut(&id)
            .unwrap()
            .reads
            .insert(read, Read { floor, at });
        if local {
            self.answer_reads(id);
        } else {
            self.input(id, Input::Read { id: read });
        }
    }

    fn compact(&mut self, id: NodeId) {
        let member = &self.members[&id];
        if member.applied.beyond(member.durable.snapshot.index) < 20 {
            return;
        }
        let digest = member.digest;
        let (index, state) = (member.applied, SnapshotState { digest }.encode());
        self.input(id, Input::Compact { index, state });
    }

    pub fn operator(&mut self) {
        let gap = self
            .chance
            .between(Duration::from_millis(500), Duration::from_secs(4));
        self.after(gap, Event::Operator);
        if self.healed {
            return;
        }
        let Some((status, leader)) = self.leader() else {
            return;
        };
        let (voters, learners) = (status.members.voters(), status.members.learners());
        match self.chance.range(0, 8) {
            0 => {
                let to = *self.chance.pick(voters);
                self.count("transfers asked");
                self.input(leader, Input::Transfer { to });
            }
            1 | 2 if voters.len() + learners.len() < MEMBERS_MAX => {
                let node = self.spare(&status);
                if let Some(node) = node {
                    self.change(leader, Change::AddLearner(node));
                }
            }
            3 | 4 if !learners.is_empty() => {
                let joins = *self.chance.pick(learners);
                if voters.len() >= 3 && self.chance.permille(400) {
                    let leaves = *self.chance.pick(voters);
                    self.count("replacements asked");
                    self.change(leader, Change::Replace { joins, leaves });
                } else if voters.len() < MEMBERS_MAX {
                    self.change(leader, Change::Promote(joins));
                }
            }
            5 if voters.len() > 1 => {
                let node = *self.chance.pick(voters);
                self.change(leader, Change::Remove(node));
            }
            6 if voters.len() > 1 => {
                let node = *self.chance.pick(voters);
                self.change(leader, Change::Demote(node));
            }
            7 if learners.len() > 1 => {
                let node = *self.chance.pick(learners);
                self.change(leader, Change::Remove(node));
            }
            _ => {}
        }
    }

    /// A node that is no member and never was: a removed one must not come back with its old log.
    fn spare(&mut self, status: &Status) -> Option<NodeId> {
        let empty = self.members.values().find(|member| {
            !status.members.contains(member.id) && member.durable == Stored::default()
        });
        match empty.map(|member| member.id) {
            Some(id) => Some(id),
            None if self.next_node < NODES_MAX => Some(self.add_member(Stored::default())),
            None => None,
        }
    }

    fn change(&mut self, leader: NodeId, change: Change) {
        let id = ProposalId(self.next_proposal);
        self.next_proposal += 1;
        self.input(leader, Input::Change { id, change });
    }

    pub fn fault(&mut self) {
        if self.healed {
            return;
        }
        let gap = self
            .chance
            .between(Duration::from_millis(200), Duration::from_secs(5));
        self.after(gap, Event::Fault);
        let up = self.up();
        match self.chance.range(0, 7) {
            0 | 1 if !up.is_empty() => {
                let id = *self.chance.pick(&up);
                self.crash(id, Duration::from_secs(5));
            }
            2 => {
                self.count("power cuts");
                for id in up {
                    self.crash(id, Duration::from_secs(1));
                }
            }
            3 => self.cut_in_two(),
            4 | 5 => self.cut.clear(),
            6 if !up.is_empty() => {
                let id = *self.chance.pick(&up);
                let pause = self.chance.between(Duration::from_millis(100), PAUSE_MAX);
                self.count("pauses");
                self.members.get_mut(&id).unwrap().paused_until = self.now.after(pause);
            }
            _ => {}
        }
    }

    fn cut_in_two(&mut self) {
        self.count("partitions");
        let sides = self.chance.next();
        let one_way = self.chance.permille(300);
        let side = |node: &NodeId| sides >> node.get() & 1 == 1;
        let nodes: Vec<_> = self.members.keys().copied().collect();
        for from in &nodes {
            for to in &nodes {
                if side(from) != side(to) && !(one_way && side(from)) {
                    self.cut.insert((*from, *to));
                }
            }
        }
    }

    pub fn crash(&mut self, id: NodeId, back_max: Duration) {
        self.count("crashes");
        let (kept, defect) = (self.chance.next(), self.plan.defect);
        let lost = self.members.get_mut(&id).unwrap().crash(kept, defect);
        *self.report.counts.entry("batches lost").or_default() += lost;
        let back = self.chance.between(Duration::from_millis(1), back_max);
        self.after(back, Event::Restart { node: id });
    }

    pub fn heal(&mut self) {
        self.healed = true;
        self.cut.clear();
        self.faults.delay_max = Duration::from_millis(5);
        let nodes: Vec<_> = self.members.keys().copied().collect();
        for id in nodes {
            let member = self.members.get_mut(&id).unwrap();
            member.paused_until = self.now;
            if member.group.is_none() {
                self.start(id);
            }
        }
    }

    pub fn check_converged(&mut self, goal: Index) {
        let Some((status, _)) = self.leader() else {
            return self.fail("no leader after healing".to_owned());
        };
        let last = self.history.last();
        if goal == Index::ZERO || last.beyond(goal) < 10 {
            return self.fail(format!("no progress after healing: {goal:?} of {last:?}"));
        }
        for id in status.members.all() {
            let applied = self.members[&id].applied;
            if applied < goal {
                self.fail(format!(
                    "member {id} stands at {applied:?} of {goal:?} after healing"
                ));
            }
        }
    }
}
