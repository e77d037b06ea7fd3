//! Many items at once: one write for each partition, atomic there, and an outcome for every item.
//!
//! Items of one partition are minted in one record and stored in one, in the order in which they were
//! given: a replica has all of them or none. A replica *holds* a group if it holds every item that no
//! later one of the group replaces; else it is older than the latest of what is in their way, and the
//! whole group is minted again above that ([`Answer::of_all`]).
//!
//! [`Batch`] says which groups to begin, a few at a time, and gathers what became of them.
//!
//! *Not here*: reads of a batch, which need nothing of each other.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use ringwood_types::{Hlc, PartitionId};

use super::write::{Answer, Outcome};

/// The items of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Where they belong.
    pub partition: PartitionId,
    /// Their places in the batch, in its order.
    pub items: Vec<usize>,
}

/// The groups of a batch, and what has become of them.
#[derive(Clone, Debug)]
pub struct Batch {
    groups: Vec<Group>,
    outcomes: Vec<Option<Outcome>>,
    begun: usize,
    ended: usize,
    at_once_max: usize,
}

impl Batch {
    /// Of items that belong to these partitions, each its own; at most `at_once_max` groups (at least
    /// one) are under way at a time.
    #[must_use]
    pub fn new(partitions: impl IntoIterator<Item = PartitionId>, at_once_max: usize) -> Self {
        let mut by_partition = BTreeMap::<_, Vec<_>>::new();
        for (item, partition) in partitions.into_iter().enumerate() {
            by_partition.entry(partition).or_default().push(item);
        }
        let group = |(partition, items)| Group { partition, items };
        let groups: Vec<_> = by_partition.into_iter().map(group).collect();
        Self {
            outcomes: groups.iter().map(|_| None).collect(),
            groups,
            begun: 0,
            ended: 0,
            at_once_max: at_once_max.max(1),
        }
    }

    /// All its groups.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// A group to begin now, by its place among all; `None` while enough are under way, or all have begun.
    pub fn begin_next(&mut self) -> Option<usize> {
        let under_way = self.begun - self.ended;
        let may = self.begun < self.groups.len() && under_way < self.at_once_max;
        may.then(|| {
            self.begun += 1;
            self.begun - 1
        })
    }

    /// What became of a group that had begun. Said once: a repetition changes nothing.
    pub fn ended(&mut self, group: usize, outcome: Outcome) {
        if group < self.begun
            && let slot @ None = &mut self.outcomes[group]
        {
            *slot = Some(outcome);
            self.ended += 1;
        }
    }

    /// Whether all groups have ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended == self.groups.len()
    }

    /// What became of every item, in their order; `None` for those whose group has not ended.
    #[must_use]
    pub fn results(&self) -> Vec<Option<Outcome>> {
        let count = self.groups.iter().map(|group| group.items.len()).sum();
        let mut results = Vec::new();
        results.resize(count, None);
        for (group, &outcome) in self.groups.iter().zip(&self.outcomes) {
            for &item in &group.items {
                results[item] = outcome;
            }
        }
        results
    }

    /// Items that certainly were not done, in their order: they may be sent again as they are.
    #[must_use]
    pub fn unprocessed(&self) -> Vec<usize> {
        let not_done =
            |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::NotApplied { .. }));
        let results = self.results();
        (0..results.len())
            .filter(|&item| not_done(&results[item]))
            .collect()
    }
}

impl Answer {
    /// A replica's answer for a group, from those for its items: of each key, the last item's.
    #[must_use]
    pub fn of_all(answers: impl IntoIterator<Item = Self>) -> Self {
        let latest = answers.into_iter().filter_map(|answer| match answer {
            Self::Held => None,
            Self::Older(time) => Some(time),
        });
        latest
            .max()
            .map_or(Self::Held, |time: Hlc| Self::Older(time))
    }
}

#[cfg(test)]
mod tests {
    use super::super::write::{Copies, Why};
    use super::*;
    use alloc::vec;

    fn batch(partitions: &[u16], at_once_max: usize) -> Batch {
        Batch::new(partitions.iter().map(|&n| PartitionId::new(n)), at_once_max)
    }

    const NOT: Outcome = Outcome::NotApplied {
        why: Why::NobodyMints,
    };

    fn unknown() -> Outcome {
        let why = Why::Deadline;
        let copies = Copies::default();
        Outcome::Unknown { why, copies }
    }

    #[test]
    fn items_of_one_partition_stay_together_and_in_order() {
        let batch = batch(&[7, 3, 7, 3, 1], 9);
        let items: Vec<_> = batch
            .groups()
            .iter()
            .map(|group| group.items.clone())
            .collect();
        assert_eq!(items, [vec![4], vec![1, 3], vec![0, 2]]);
    }

    #[test]
    fn few_groups_are_under_way_and_each_item_has_its_outcome() {
        let mut batch = batch(&[7, 3, 7, 3, 1], 2);
        assert_eq!(batch.begin_next(), Some(0));
        assert_eq!(batch.begin_next(), Some(1));
        assert_eq!(batch.begin_next(), None);
        batch.ended(1, NOT);
        // Once is enough, and nothing is said of what has not begun.
        batch.ended(1, unknown());
        batch.ended(2, NOT);
        assert_eq!(batch.begin_next(), Some(2));
        assert_eq!(batch.begin_next(), None);
        batch.ended(0, unknown());
        assert!(!batch.is_over());
        assert_eq!(batch.results()[0], None);
        batch.ended(2, NOT);
        assert!(batch.is_over());
        let results: Vec<_> = batch.results().into_iter().map(Option::unwrap).collect();
        assert_eq!(results, [NOT, NOT, NOT, NOT, unknown()]);
        assert_eq!(batch.unprocessed(), [0, 1, 2, 3]);
    }

    #[test]
    fn an_empty_batch_is_over() {
        let mut batch = batch(&[], 0);
        assert!(batch.is_over() && batch.results().is_empty());
        assert_eq!(batch.begin_next(), None);
    }

    #[test]
    fn a_group_is_held_if_all_of_it_is_and_older_than_the_latest_in_its_way() {
        let older = |millis| Answer::Older(Hlc::at(millis));
        assert_eq!(Answer::of_all([]), Answer::Held);
        assert_eq!(Answer::of_all([Answer::Held; 3]), Answer::Held);
        let mixed = [Answer::Held, older(4), older(9), older(2)];
        assert_eq!(Answer::of_all(mixed), older(9));
    }
}
