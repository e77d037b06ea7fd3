//! What has become true, and what must stay so: the checks of `raft-1`, `raft-2` and `raft-6`.

use std::collections::{BTreeMap, BTreeSet};

use ringwood_protocol::consensus::{Entry, Index, Outcome, Payload, Term};
use ringwood_types::NodeId;

use super::chance::mix;

pub struct History {
    /// What stands at each index, from 0 on: its term, and a hash of it.
    chosen: Vec<(Term, u64)>,
    /// Of everything up to each index.
    digests: Vec<u64>,
    leaders: BTreeMap<Term, NodeId>,
    /// Where each proposal was applied.
    landed: BTreeMap<u64, Index>,
    refused: BTreeSet<u64>,
    /// The highest index that a client was told of.
    acknowledged: Index,
}

impl History {
    /// Every group of these worlds begins behind a snapshot at index 1.
    pub fn new() -> Self {
        Self {
            chosen: vec![(Term::ZERO, 0), (Term::new(1), 0)],
            digests: vec![0, 0],
            leaders: BTreeMap::new(),
            landed: BTreeMap::new(),
            refused: BTreeSet::new(),
            acknowledged: Index::ZERO,
        }
    }

    /// Entries committed, and terms that had a leader.
    pub fn size(&self) -> (u64, u64) {
        (self.chosen.len() as u64 - 1, self.leaders.len() as u64)
    }

    pub fn last(&self) -> Index {
        Index::new(self.chosen.len() as u64 - 1)
    }

    pub fn acknowledged(&self) -> Index {
        self.acknowledged
    }

    pub fn leads(&mut self, term: Term, node: NodeId) -> Result<(), String> {
        let first = *self.leaders.entry(term).or_insert(node);
        if first == node {
            return Ok(());
        }
        Err(format!("raft-1: {first} and {node} lead {term:?}"))
    }

    pub fn check_snapshot(&self, node: NodeId, index: Index, digest: u64) -> Result<(), String> {
        let known = self.digests.get(usize::try_from(index.get()).unwrap());
        if known == Some(&digest) {
            return Ok(());
        }
        Err(format!(
            "{node} installs a snapshot of {index:?} that is not history"
        ))
    }

    /// `node`, whose state is `before`, applies `entry`. Gives the digest of its state behind it.
    pub fn applied(
        &mut self,
        node: NodeId,
        before: (Index, u64),
        entry: &Entry,
    ) -> Result<u64, String> {
        let (index, hash) = (entry.index, hash_of(entry));
        if index != before.0.next() {
            return Err(format!("{node} applies {index:?} behind {:?}", before.0));
        }
        let at = usize::try_from(index.get()).unwrap();
        match self.chosen.get(at) {
            Some(chosen) if *chosen != (entry.term, hash) => {
                return Err(format!("raft-2: {node} applies another entry at {index:?}"));
            }
            Some(_) => {}
            None => self.choose(entry, hash)?,
        }
        let digest = mix(before.1 ^ hash);
        if digest != self.digests[at] {
            return Err(format!("{node}: its state differs at {index:?}"));
        }
        Ok(digest)
    }

    fn choose(&mut self, entry: &Entry, hash: u64) -> Result<(), String> {
        let digest = mix(self.digests.last().unwrap() ^ hash);
        self.chosen.push((entry.term, hash));
        self.digests.push(digest);
        let Payload::Data(data) = &entry.payload else {
            return Ok(());
        };
        let proposal = u64::from_le_bytes(data[..].try_into().unwrap());
        if self.refused.contains(&proposal) {
            return Err(format!(
                "raft-6: proposal {proposal} was called not applied"
            ));
        }
        match self.landed.insert(proposal, entry.index) {
            None => Ok(()),
            Some(first) => Err(format!(
                "raft-6: proposal {proposal} stands at {first:?} and at {:?}",
                entry.index
            )),
        }
    }

    pub fn resolved(&mut self, proposal: u64, outcome: Outcome) -> Result<(), String> {
        let landed = self.landed.get(&proposal).copied();
        match outcome {
            Outcome::Applied(index) => {
                self.acknowledged = self.acknowledged.max(index);
                // Changes are proposals too, of which history knows no number.
                if landed.is_some_and(|landed| landed != index) {
                    return Err(format!("raft-6: proposal {proposal} stands at {landed:?}"));
                }
            }
            Outcome::NotApplied => {
                self.refused.insert(proposal);
                if landed.is_some() {
                    return Err(format!(
                        "raft-6: proposal {proposal} was applied, and refused"
                    ));
                }
            }
            Outcome::Unknown => {}
        }
        Ok(())
    }
}

fn hash_of(entry: &Entry) -> u64 {
    let words = |words: &mut dyn Iterator<Item = u64>| words.fold(1, |hash, word| mix(hash ^ word));
    match &entry.payload {
        Payload::Empty => 1,
        Payload::Data(data) => words(&mut data.iter().copied().map(u64::from)) ^ 2,
        Payload::Change(members) => {
            let sets = [members.voters(), members.learners(), members.outgoing()];
            words(&mut sets.into_iter().flat_map(|set| {
                [set.len() as u64]
                    .into_iter()
                    .chain(set.iter().map(|node| node.get()))
            })) ^ 3
        }
    }
}
