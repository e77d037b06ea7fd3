//! Which commands have been applied lately, and what became of them.
//!
//! A command that comes again gets the answer that it got, also where that was a refusal: what was
//! refused never takes effect later. Of each proposer whose commands are forgotten, the highest number
//! is kept: at or below it nobody can tell, and nothing is applied.

use alloc::collections::{BTreeMap, VecDeque};

use ringwood_types::NodeId;

use super::command::{CommandId, Outcome, Refused};

/// Commands that are remembered.
pub const REMEMBERED_MAX: usize = 1024;

/// Outcomes by command, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) outcomes: VecDeque<(CommandId, Outcome)>,
    pub(super) forgotten: BTreeMap<NodeId, u64>,
}

impl Memory {
    /// What is answered to a command that was here before; `None` for a new one.
    pub(super) fn recall(&self, id: CommandId) -> Option<Outcome> {
        let known = self.outcomes.iter().rev().find(|(known, _)| *known == id);
        if let Some((_, outcome)) = known {
            return Some(*outcome);
        }
        let above = *self.forgotten.get(&id.proposer)?;
        (id.number <= above).then_some(Err(Refused::Forgotten { above }))
    }

    pub(super) fn remember(&mut self, id: CommandId, outcome: Outcome) {
        self.outcomes.push_back((id, outcome));
        if self.outcomes.len() > REMEMBERED_MAX
            && let Some((id, _)) = self.outcomes.pop_front()
        {
            let highest = self.forgotten.entry(id.proposer).or_default();
            *highest = id.number.max(*highest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::command::Applied;
    use ringwood_types::Epoch;

    #[test]
    fn what_is_forgotten_is_refused_and_no_longer_applied() {
        let mut memory = Memory::default();
        let id = |proposer, number| CommandId {
            proposer: NodeId::new(proposer),
            number,
        };
        let outcome = |number| {
            Ok(Applied {
                epoch: Epoch::new(number),
                namespace: None,
            })
        };
        memory.remember(id(1, 7), Err(Refused::LastNode));
        memory.remember(id(2, 5), outcome(5));
        assert_eq!(memory.recall(id(1, 7)), Some(Err(Refused::LastNode)));
        assert_eq!(memory.recall(id(1, 6)), None);
        for number in 0..REMEMBERED_MAX as u64 {
            memory.remember(id(3, number), outcome(number));
        }
        assert_eq!(
            memory.recall(id(1, 7)),
            Some(Err(Refused::Forgotten { above: 7 }))
        );
        assert_eq!(
            memory.recall(id(1, 6)),
            Some(Err(Refused::Forgotten { above: 7 }))
        );
        assert_eq!(memory.recall(id(1, 8)), None);
        assert_eq!(memory.recall(id(3, 0)), Some(outcome(0)));
        assert_eq!(memory.outcomes.len(), REMEMBERED_MAX);
    }
}
