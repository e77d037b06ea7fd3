//! What happens to replicas beside requests: repair, purges, news of epochs, going down and coming back.

use super::check::Purged;
use super::{World, index};

impl World {
    pub(super) fn learn(&mut self, node: u64, epoch: u64) {
        let replica = &mut self.replicas[index(node)];
        if epoch <= replica.epoch {
            return;
        }
        let left = self.ring.is_member(replica.epoch, node) && !self.ring.is_member(epoch, node);
        match left {
            true => replica.wipe(0, epoch),
            false => replica.epoch = epoch,
        }
    }

    pub(super) fn live(&mut self) {
        let node = self.chance.range(1, 5);
        match self.chance.range(0, 12) {
            0..5 => {
                let from = self.chance.range(1, 5);
                self.exchange(node, from);
            }
            5..8 => self.purge(node),
            8..10 => self.learn(node, self.ring.latest()),
            10 => {
                // One at a time.
                let down = self.replicas.iter().position(|replica| !replica.up);
                let node = down.unwrap_or(index(node));
                self.replicas[node].up ^= true;
            }
            _ => self
                .replicas
                .iter_mut()
                .for_each(|replica| replica.up = true),
        }
    }

    pub(super) fn exchange(&mut self, node: u64, from: u64) {
        let epoch = self.replicas[index(node)]
            .epoch
            .max(self.replicas[index(from)].epoch);
        let both = [node, from];
        let up = both.iter().all(|&node| self.replicas[index(node)].up);
        if node == from || !up || !both.iter().all(|&node| self.ring.is_member(epoch, node)) {
            return;
        }
        both.iter().for_each(|&node| self.learn(node, epoch));
        let from = self.replicas[index(from)].clone();
        self.replicas[index(node)].pull(&from, false);
    }

    fn purge(&mut self, node: u64) {
        let replica = &self.replicas[index(node)];
        let Some(kept) = replica.kept.filter(|kept| kept.tombstone && replica.up) else {
            return;
        };
        let live = replica.epoch..=self.ring.latest();
        let owners = live.flat_map(|epoch| self.ring.at(epoch).nodes().to_vec());
        let mut owners = owners.map(|node| &self.replicas[index(node.get())].seen);
        let below: Vec<_> = self
            .minted
            .iter()
            .filter(|one| one.version <= kept.version)
            .collect();
        if owners.all(|seen| below.iter().all(|one| seen.contains(&one.version.dot))) {
            let replica = &mut self.replicas[index(node)];
            replica.purged.insert(kept.version.dot);
            replica.kept = None;
            self.purged.push(Purged(kept));
            self.report.purged += 1;
        }
    }
}
