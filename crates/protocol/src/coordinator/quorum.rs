//! How many answers are enough: pure arithmetic over a [`ReplicaSet`].
//!
//! # Invariants
//! - `quorum-1`: with R + W > N, a write that is durable meets every set of R answers of every read
//!   set, of its own stage and of the one before and behind it.
//! - `quorum-2`: rebuilding replicas count for no read, pending ones for no read before their set is
//!   read; both count for what is durable.

use core::fmt;

use super::replicas::{Members, ReplicaSet};

/// How many replicas have to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// One.
    One,
    /// More than half of them.
    Quorum,
    /// All of them.
    All,
    /// So many, whatever their number.
    Exactly(u8),
}

impl Level {
    /// Of a set of `replicas`.
    ///
    /// # Errors
    /// [`Impossible`]: none at all, or more than there are.
    pub fn of(self, replicas: usize) -> Result<usize, Impossible> {
        match self {
            Self::One => Ok(1),
            Self::Quorum => Ok(replicas / 2 + 1),
            Self::All => Ok(replicas),
            Self::Exactly(0) => Err(Impossible::None),
            Self::Exactly(asked) if usize::from(asked) > replicas => {
                Err(Impossible::MoreThanReplicas {
                    asked: asked.into(),
                    replicas,
                })
            }
            Self::Exactly(asked) => Ok(asked.into()),
        }
    }
}

/// No number of answers could be enough. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Impossible {
    /// No replica was asked for; the least is one.
    None,
    /// There are not that many.
    MoreThanReplicas {
        /// Asked for.
        asked: usize,
        /// How many there are.
        replicas: usize,
    },
    /// There are, but some of them are being rebuilt and may not be read.
    MoreThanReadable {
        /// Needed.
        needed: usize,
        /// May be read.
        readable: usize,
    },
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("zero replicas asked for; the least is one"),
            Self::MoreThanReplicas { asked, replicas } => {
                write!(f, "{asked} replicas asked for, of {replicas}")
            }
            Self::MoreThanReadable { needed, readable } => write!(
                f,
                "{needed} replicas needed to read from, and only {readable} are whole; \
                 the others are being rebuilt"
            ),
        }
    }
}

impl core::error::Error for Impossible {}

/// What a write needs (rules 5 and 17).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WriteQuorum {
    /// Durable, of the replicas before a move.
    old: usize,
    /// Durable, of the replicas behind a move.
    new: usize,
    /// Of the read set, those that must hold it: none where the order is not checked.
    held: usize,
}

impl WriteQuorum {
    /// For `durable` copies; with `order`, that many of the read set vouch that nothing later was there.
    ///
    /// # Errors
    /// [`Impossible`].
    pub fn of(
        replicas: &ReplicaSet,
        durable: Level,
        order: Option<Level>,
    ) -> Result<Self, Impossible> {
        Ok(Self {
            old: durable.of(replicas.old().len())?,
            new: durable.of(replicas.new_set().len())?,
            held: order.map_or(Ok(0), |order| of_readable(replicas, order))?,
        })
    }

    /// What a repair needs, so that every later read at `level` meets it.
    ///
    /// # Errors
    /// [`Impossible`].
    pub fn met_by(replicas: &ReplicaSet, level: Level) -> Result<Self, Impossible> {
        let rest = |count: usize| level.of(count).map(|read| count - read + 1);
        Ok(Self {
            old: rest(replicas.old().len())?,
            new: rest(replicas.new_set().len())?,
            held: 0,
        })
    }

    /// The most copies it asks for of one set.
    #[must_use]
    pub const fn copies(&self) -> usize {
        if self.old > self.new {
            self.old
        } else {
            self.new
        }
    }

    /// How many of the read set must hold it.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Whether these copies are enough, in both sets.
    #[must_use]
    pub fn is_durable(&self, replicas: &ReplicaSet, copies: Members) -> bool {
        copies.and(replicas.old()).len() >= self.old
            && copies.and(replicas.new_set()).len() >= self.new
    }

    /// Whether enough of the read set hold it.
    #[must_use]
    pub fn is_ordered(&self, replicas: &ReplicaSet, held: Members) -> bool {
        held.and(replicas.readable()).len() >= self.held
    }
}

/// What a read needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReadQuorum {
    answers: usize,
}

impl ReadQuorum {
    /// For a read at `level`.
    ///
    /// # Errors
    /// [`Impossible`].
    pub fn of(replicas: &ReplicaSet, level: Level) -> Result<Self, Impossible> {
        let answers = of_readable(replicas, level)?;
        Ok(Self { answers })
    }

    /// How many answers of the read set it takes.
    #[must_use]
    pub const fn answers(&self) -> usize {
        self.answers
    }

    /// Whether these are enough.
    #[must_use]
    pub fn is_met(&self, replicas: &ReplicaSet, answered: Members) -> bool {
        answered.and(replicas.readable()).len() >= self.answers
    }
}

/// A level's number, by the size of the read set: with replicas being rebuilt, the others must do.
fn of_readable(replicas: &ReplicaSet, level: Level) -> Result<usize, Impossible> {
    let needed = level.of(replicas.read_set().len())?;
    match replicas.readable().len() {
        readable if readable < needed => Err(Impossible::MoreThanReadable { needed, readable }),
        _ => Ok(needed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::replicas::{Part, Replica, Stage};
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use ringwood_types::{Epoch, NodeId};

    const PARTS: [Part; 3] = [Part::Stays, Part::Leaves, Part::Joins];

    fn replica(node: usize, part: Part, rebuilding: bool) -> Replica {
        let node = NodeId::new(node as u64);
        Replica {
            node,
            part,
            rebuilding,
        }
    }

    fn stays(node: usize) -> Replica {
        replica(node, Part::Stays, false)
    }

    /// Every way to be up to five replicas of a partition, at rest and in a move in which one leaves,
    /// one joins, or both; whoever is rebuilding.
    fn tables() -> Vec<(Stage, Vec<Replica>)> {
        let mut tables = Vec::new();
        for count in 1..=5_usize {
            let moves = (0..3_usize.pow(u32::try_from(count).unwrap())).map(|number| {
                let digit = |place: usize| number / 3_usize.pow(u32::try_from(place).unwrap()) % 3;
                (0..count).map(|place| PARTS[digit(place)]).collect()
            });
            let few = |parts: &Vec<Part>| {
                let count = |part| parts.iter().filter(|&&one| one == part).count();
                count(Part::Leaves) <= 1 && count(Part::Joins) <= 1
            };
            for parts in moves.filter(few) {
                for rebuilding in 0..1_u32 << count {
                    let of = |(place, &part)| replica(place, part, rebuilding & (1 << place) != 0);
                    let replicas: Vec<_> = parts.iter().enumerate().map(of).collect();
                    for stage in [Stage::Settled, Stage::WriteBoth, Stage::ReadNew] {
                        if ReplicaSet::new(Epoch::new(1), stage, &replicas).is_ok() {
                            tables.push((stage, replicas.clone()));
                        }
                    }
                }
            }
        }
        tables
    }

    fn levels(count: usize) -> Vec<Level> {
        let exact = (1..=u8::try_from(count).unwrap()).map(Level::Exactly);
        exact
            .chain([Level::One, Level::Quorum, Level::All])
            .collect()
    }

    /// Every subset of answers, against the words of the rules.
    #[test]
    fn quorum_2_counts_are_as_the_rules_say() {
        let mut checked = 0_u64;
        for (stage, table) in tables() {
            let set = ReplicaSet::new(Epoch::new(1), stage, &table).unwrap();
            let in_old = |replica: &Replica| replica.part != Part::Joins;
            let in_new = |replica: &Replica| replica.part != Part::Leaves;
            let read = |replica: &Replica| match stage {
                Stage::ReadNew => in_new(replica),
                _ => in_old(replica),
            };
            let number = |level: Level, all: usize| match level {
                Level::One => 1,
                Level::Quorum => all / 2 + 1,
                Level::All => all,
                Level::Exactly(number) => usize::from(number),
            };
            let size = |of: &dyn Fn(&Replica) -> bool| table.iter().filter(|r| of(r)).count();
            for level in levels(table.len()) {
                let [old, new] = [number(level, size(&in_old)), number(level, size(&in_new))];
                let reads = number(level, size(&read));
                let whole = size(&|replica| read(replica) && !replica.rebuilding);
                let write = WriteQuorum::of(&set, level, None);
                let ordered = WriteQuorum::of(&set, level, Some(level));
                let reader = ReadQuorum::of(&set, level);
                assert_eq!(write.is_ok(), old <= size(&in_old) && new <= size(&in_new));
                assert_eq!(reader.is_ok(), reads <= whole);
                assert_eq!(ordered.is_ok(), write.is_ok() && reader.is_ok());
                for bits in 0..1_usize << table.len() {
                    let answers: Members =
                        (0..table.len()).filter(|p| bits & (1 << p) != 0).collect();
                    let count = |of: &dyn Fn(&Replica) -> bool| {
                        let some = table
                            .iter()
                            .enumerate()
                            .filter(|(p, _)| answers.contains(*p));
                        some.filter(|(_, replica)| of(replica)).count()
                    };
                    let vouching = count(&|replica| read(replica) && !replica.rebuilding);
                    if let Ok(write) = write {
                        let enough = count(&in_old) >= old && count(&in_new) >= new;
                        assert_eq!(write.is_durable(&set, answers), enough);
                    }
                    if let (Ok(reader), Ok(ordered)) = (reader, ordered) {
                        assert_eq!(reader.is_met(&set, answers), vouching >= reads);
                        assert_eq!(ordered.is_ordered(&set, answers), vouching >= reads);
                    }
                    checked += 1;
                }
            }
        }
        assert!(checked > 100_000, "{checked}");
    }

    /// The stages of a move of up to five replicas, in the order in which they are committed.
    fn history(replicas: &[Replica]) -> Vec<ReplicaSet> {
        let settled = |gone: Part| {
            let left = replicas.iter().filter(|replica| replica.part != gone);
            let left: Vec<_> = left
                .map(|one| Replica {
                    part: Part::Stays,
                    ..*one
                })
                .collect();
            ReplicaSet::new(Epoch::new(1), Stage::Settled, &left).unwrap()
        };
        let moving = |stage| ReplicaSet::new(Epoch::new(1), stage, replicas).unwrap();
        vec![
            settled(Part::Joins),
            moving(Stage::WriteBoth),
            moving(Stage::ReadNew),
            settled(Part::Leaves),
        ]
    }

    fn subsets(set: &ReplicaSet) -> impl Iterator<Item = Members> {
        let count = set.all().len();
        let of = move |bits: usize| (0..count).filter(|p| bits & (1 << p) != 0).collect();
        (0..1_usize << count).map(of)
    }

    #[test]
    fn quorum_1_durable_writes_meet_reads_across_stages() {
        let met = |write: (&ReplicaSet, Members), read: (&ReplicaSet, Members)| {
            let read = read.0.of(read.1);
            let write = write.0.of(write.1);
            read.as_slice()
                .iter()
                .any(|node| write.as_slice().contains(node))
        };
        let mut pairs = 0_u64;
        for (_, table) in tables()
            .into_iter()
            .filter(|(stage, _)| *stage == Stage::ReadNew)
        {
            let history = history(&table);
            for (at, write_set) in history.iter().enumerate() {
                for read_set in &history[at.saturating_sub(1)..(at + 2).min(history.len())] {
                    for w in levels(table.len()) {
                        for r in levels(table.len()) {
                            let Ok(write) = WriteQuorum::of(write_set, w, None) else {
                                continue;
                            };
                            let Ok(read) = ReadQuorum::of(read_set, r) else {
                                continue;
                            };
                            // The set that both know of.
                            let size = read_set.read_set().len();
                            let enough = r.of(size).unwrap() + w.of(size).unwrap_or(0) > size;
                            if !enough {
                                continue;
                            }
                            // The smallest ones are enough.
                            for copies in subsets(write_set) {
                                let smallest = write.is_durable(write_set, copies)
                                    && copies.iter().all(|one| {
                                        let fewer = copies.without([one].into_iter().collect());
                                        !write.is_durable(write_set, fewer)
                                    });
                                if !smallest {
                                    continue;
                                }
                                for answers in subsets(read_set) {
                                    if answers.len() == read.answers()
                                        && read.is_met(read_set, answers)
                                    {
                                        pairs += 1;
                                        assert!(
                                            met((write_set, copies), (read_set, answers)),
                                            "{write_set:?} {copies:?} {read_set:?} {answers:?}"
                                        );
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        assert!(pairs > 100_000, "{pairs}");
    }

    /// A read that repairs before it answers is met by every later one.
    #[test]
    fn a_repair_that_is_durable_meets_every_later_read() {
        for (stage, table) in tables() {
            let set = ReplicaSet::new(Epoch::new(1), stage, &table).unwrap();
            for level in levels(table.len()) {
                let (Ok(read), Ok(repair)) = (
                    ReadQuorum::of(&set, level),
                    WriteQuorum::met_by(&set, level),
                ) else {
                    continue;
                };
                for copies in subsets(&set).filter(|&copies| repair.is_durable(&set, copies)) {
                    for answers in subsets(&set).filter(|&one| read.is_met(&set, one)) {
                        assert!(!copies.and(answers).is_empty());
                    }
                }
            }
        }
    }

    #[test]
    fn refusals_say_what_there_is() {
        let table = [stays(1), stays(2), replica(3, Part::Stays, true)];
        let set = ReplicaSet::new(Epoch::new(1), Stage::Settled, &table).unwrap();
        let of = |level| ReadQuorum::of(&set, level).map(|quorum| quorum.answers());
        assert_eq!(of(Level::Quorum), Ok(2));
        let (needed, readable) = (3, 2);
        let all = Impossible::MoreThanReadable { needed, readable };
        assert_eq!(of(Level::All), Err(all));
        let (asked, replicas) = (4, 3);
        let four = Impossible::MoreThanReplicas { asked, replicas };
        assert_eq!(of(Level::Exactly(4)), Err(four));
        assert_eq!(of(Level::Exactly(0)), Err(Impossible::None));
        assert_eq!(
            alloc::format!("{four}; {all}"),
            "4 replicas asked for, of 3; 3 replicas needed to read from, and only 2 are whole; the \
             others are being rebuilt"
        );
    }
}
