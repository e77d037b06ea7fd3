//! What must hold in the small world.

use ringwood_protocol::coordinator::write::Outcome;
use ringwood_types::NodeId;

use super::replica::Kept;
use super::{World, index};

/// A tombstone that has been purged somewhere: the reason why nothing is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purged(pub(super) Kept);

impl World {
    pub(super) fn violated(&mut self, why: String) {
        self.report.violation.get_or_insert(why);
    }

    /// `write-3`, and rule 3.
    pub(super) fn check_mint(&mut self, write: usize, guest_for: Option<NodeId>) {
        let running = &self.writes[&write];
        if running.reply.is_some() || running.abandoned {
            self.violated(format!("w{write} is minted though its client was answered"));
        }
        if guest_for.is_some() {
            self.violated(format!("w{write} is minted by a guest"));
        }
    }

    /// `write-5`, and that whoever is named has it.
    pub(super) fn check_reply(&mut self, write: usize, outcome: &Outcome) {
        if self.writes[&write].reply.is_some() {
            self.violated(format!("w{write} is answered twice"));
        }
        if let Outcome::Applied { version, copies } = outcome {
            for node in copies.nodes.as_slice() {
                let seen = &self.replicas[index(node.get())].seen;
                let left = !self.ring.is_member(self.ring.latest(), node.get());
                if !seen.contains(&version.dot) && self.wiped != Some(node.get()) && !left {
                    self.violated(format!("w{write}: n{} does not have it", node.get()));
                }
            }
        }
    }

    /// Invariant 28, and durability: what every strict read of every live epoch may show.
    pub(super) fn check_reads(&mut self) {
        for epoch in 1..=self.ring.latest() {
            let readers = self.ring.at(epoch).readers();
            let serving = readers.as_slice().iter().map(|node| index(node.get()));
            let serving = serving.filter(|&node| self.replicas[node].epoch <= epoch);
            let serving: Vec<_> = serving.collect();
            for (at, &one) in serving.iter().enumerate() {
                for &other in &serving[at + 1..] {
                    let shown = [one, other].map(|node| self.replicas[node].kept);
                    let shown = shown.into_iter().flatten().max_by_key(|kept| kept.version);
                    let at = format!("n{one}, n{other} in e{epoch}");
                    self.check_shown(shown, self.acknowledged, &at);
                }
            }
        }
    }

    /// What a read shows that began when these were acknowledged.
    pub(super) fn check_shown(&mut self, shown: Option<Kept>, acknowledged: u64, at: &str) {
        let acknowledged = self.writes.iter().filter_map(|(&write, running)| {
            let counted = acknowledged & 1 << write != 0;
            match running.reply {
                Some(Outcome::Applied { version, .. }) if counted => {
                    Some((write, running.before, version))
                }
                _ => None,
            }
        });
        let mut wrong = None;
        for (write, before, version) in acknowledged {
            let earlier = |kept: &Kept| before & 1 << kept.write != 0 && kept.write != write;
            let excuse = match shown {
                Some(kept) if kept.version >= version => Some(kept),
                Some(_) => None,
                None => {
                    let gone = self.purged.iter().map(|purged| purged.0);
                    gone.filter(|kept| kept.version >= version)
                        .max_by_key(|kept| kept.version)
                }
            };
            match excuse {
                None => wrong = Some(format!("{at}: acknowledged w{write} is lost: {shown:?}")),
                Some(kept) if earlier(&kept) => {
                    let other = kept.write;
                    wrong = Some(format!(
                        "{at}: w{other}, acknowledged before w{write} began, wins over it"
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(wrong) = wrong {
            self.violated(wrong);
        }
    }

    /// `write-4`, `write-5`; and where the last owners meet, they agree.
    pub(super) fn check_end(&mut self) {
        if self.report.violation.is_some() {
            return;
        }
        let mut wrong = Vec::new();
        for (number, read) in self.reads.iter().enumerate() {
            if !read.replied || !read.read.is_over() {
                wrong.push(format!("r{number} never ends"));
            }
        }
        for (write, running) in &self.writes {
            let minted = self.minted.iter().any(|kept| kept.write == *write);
            if minted && matches!(running.reply, Some(Outcome::NotApplied { .. })) {
                wrong.push(format!(
                    "w{write} was said not to be applied, and was minted"
                ));
            }
            if running.reply.is_none() && !running.abandoned {
                wrong.push(format!("w{write} was never answered"));
            }
            if !running.write.is_over() {
                wrong.push(format!("w{write} never ends"));
            }
        }
        if let Some(why) = wrong.into_iter().next() {
            return self.violated(why);
        }
        self.report.moved += u64::from(self.ring.latest() == 4);
        self.report.rebuilt += u64::from(self.wiped.is_some() && self.ring.latest() == 3);
        self.heal();
        self.check_reads();
        let latest = self.ring.latest();
        let owners = self.ring.at(latest).nodes().to_vec();
        // A tombstone may have been purged here and not there.
        let kept = owners
            .iter()
            .map(|node| self.replicas[index(node.get())].kept);
        let kept: Vec<_> = kept
            .map(|kept| kept.filter(|kept| !kept.tombstone))
            .collect();
        if kept.windows(2).any(|pair| pair[0] != pair[1]) {
            self.violated(format!("healed replicas differ: {kept:?}"));
        }
    }

    fn heal(&mut self) {
        self.replicas
            .iter_mut()
            .for_each(|replica| replica.up = true);
        let latest = self.ring.latest();
        (1..=4).for_each(|node| self.learn(node, latest));
        for _ in 0..2 {
            for node in 1..=4 {
                for from in 1..=4 {
                    self.exchange(node, from);
                }
            }
        }
    }
}
