//! Rule 22, an unclean start: what a log that may have lost its end leaves open, until its minter has asked
//! everybody and gives its word that nobody has it.
//!
//! One commit of the metadata has closed the old incarnation and given the node a new one. Durable with
//! the log.

use alloc::vec::Vec;

use ringwood_types::{Dot, Incarnation};

use super::{Clocks, Way};

/// What is open after an unclean start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    old: Incarnation,
    /// The other replicas that are still to be pulled from.
    owe: Vec<Incarnation>,
}

impl Start {
    /// After a start that closed `old`; `others` are the other current and pending replicas.
    #[must_use]
    pub fn new(old: Incarnation, others: &[Incarnation]) -> Self {
        Self {
            old,
            owe: others.into(),
        }
    }

    /// Whom it is still to pull from. A buffered namespace answers no strict read before, and is no source
    /// that counts.
    #[must_use]
    pub fn owes(&self) -> &[Incarnation] {
        &self.owe
    }

    /// How a hint of `dot` is taken here: its minter takes it as long as its gap is open.
    #[must_use]
    pub fn way_of_hint(&self, dot: Dot) -> Way {
        if dot.incarnation == self.old {
            Way::Exchange
        } else {
            Way::Message
        }
    }

    /// A pull from `source` is complete.
    pub fn pulled(&mut self, source: Incarnation) {
        self.owe.retain(|&one| one != source);
    }

    /// An epoch has brought a new incarnation of any replica, or another set of them: all are asked again.
    pub fn changed(&mut self, others: &[Incarnation]) {
        self.owe = others.into();
    }

    /// Gives the word, if everybody was asked and no living node holds a hint of the gap: `clocks` have
    /// seen all of the old incarnation. To be synced before anyone sees it. Whether that is done.
    pub fn give_word(&self, clocks: &mut Clocks, is_hinted: bool) -> bool {
        let may = self.owe.is_empty() && !is_hinted;
        if may {
            clocks.seen.add_up_to(self.old, u64::MAX);
        }
        may
    }
}

impl Clocks {
    /// The start of a synced namespace, where nothing leaves before it is synced and `mark` lies above
    /// every counter given out: what the log does not have names nothing (rule 1, strict).
    pub fn start_synced(&mut self, mark: u64) {
        self.seen.add_up_to(self.incarnation, mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringwood_types::Clock;

    #[test]
    fn the_word_is_given_when_everybody_was_asked_in_one_epoch() {
        let [old, new, a, b] = [1, 2, 3, 4].map(Incarnation::new);
        let mut clocks = Clocks::new(new, Clock::new(), Clock::new());
        let mut start = Start::new(old, &[a, b]);
        let hint = Dot {
            incarnation: old,
            counter: 9,
        };
        assert_eq!(start.way_of_hint(hint), Way::Exchange);
        start.pulled(a);
        assert!(!start.give_word(&mut clocks, false));
        start.changed(&[a, b]);
        start.pulled(b);
        assert_eq!(start.owes(), &[a]);
        start.pulled(a);
        assert!(!start.give_word(&mut clocks, true), "a hint may bring more");
        assert!(start.give_word(&mut clocks, false));
        assert!(clocks.seen().covers(hint));
        clocks.start_synced(5);
        assert_eq!(clocks.seen().base(new), 5);
    }
}
