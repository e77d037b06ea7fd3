//! What a store consists of: the sum of all edits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::batch::KeyspaceNumber;
use crate::files::FileNumber;
use crate::key::SeqNo;
use crate::manifest::edit::Edit;
use crate::options::KeyspaceOptions;
use crate::sstable::TableMeta;

/// What a store consists of. Cheap to clone but for the tables of keyspaces that change afterwards.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) identity: u128,
    pub(crate) keyspaces: BTreeMap<KeyspaceNumber, Arc<KeyspaceState>>,
    /// The id the next keyspace takes; ids are never used again.
    pub(crate) next_keyspace: KeyspaceNumber,
    /// Log segments that recovery reads, none below `min_log`.
    pub(crate) logs: BTreeSet<FileNumber>,
    /// Logs below this one are obsolete.
    pub(crate) min_log: FileNumber,
    /// Where earlier recoveries ended, while logs they speak of may still be there; oldest first.
    seals: Vec<Seal>,
    /// File numbers below this one were issued.
    pub(crate) next_file: FileNumber,
    /// A bound that every sequence number of the tables obeys.
    pub(crate) last_seq: SeqNo,
    /// The latest wall clock seen, in milliseconds.
    pub(crate) clock_high: u64,
}

/// One keyspace and its tables.
#[derive(Clone, Debug)]
pub(crate) struct KeyspaceState {
    pub(crate) name: String,
    /// As persisted: without an expiry filter.
    pub(crate) options: KeyspaceOptions,
    /// Every change up to this one is in tables.
    pub(crate) flushed: SeqNo,
    /// Every table with its level.
    pub(crate) tables: BTreeMap<FileNumber, (u8, Arc<TableMeta>)>,
}

/// See [`Edit::SealLogs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seal {
    last: FileNumber,
    end: u64,
    next: FileNumber,
}

/// How much of a log segment counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogPart {
    /// Everything that can be read.
    Whole,
    /// The bytes before this offset, all of which must be readable.
    Until(u64),
    /// Nothing: its changes are in tables, or an earlier recovery ended before it.
    Nothing,
}

/// An edit that contradicts the state it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidEdit {
    #[error("the keyspace is not there")]
    UnknownKeyspace,
    #[error("the keyspace's id or name was used before")]
    KeyspaceTwice,
    #[error("the table is there already")]
    TableTwice,
    #[error("the table to remove is not at that level")]
    UnknownTable,
    #[error("the log is listed already or obsolete")]
    LogTwice,
    #[error("a seal does not lie between its neighbours")]
    Seal,
}

impl State {
    /// Makes one change. After an error the state is as it was.
    pub(crate) fn apply(&mut self, edit: &Edit) -> Result<(), InvalidEdit> {
        match edit {
            Edit::Identity(identity) => self.identity = *identity,
            Edit::CreateKeyspace { id, name, options } => {
                self.create_keyspace(*id, name, options)?;
            }
            Edit::DropKeyspace { id } => {
                let dropped = self.keyspaces.remove(id);
                dropped.ok_or(InvalidEdit::UnknownKeyspace)?;
            }
            Edit::NextKeyspace(id) => self.next_keyspace = self.next_keyspace.max(*id),
            Edit::AddTable {
                keyspace,
                level,
                meta,
            } => self.add_table(*keyspace, *level, meta)?,
            Edit::RemoveTable {
                keyspace,
                level,
                number,
            } => self.remove_table(*keyspace, *level, *number)?,
            Edit::AddLog { number } => {
                if *number < self.min_log || !self.logs.insert(*number) {
                    return Err(InvalidEdit::LogTwice);
                }
                self.issued(*number);
            }
            Edit::MinLog { number } => {
                self.min_log = self.min_log.max(*number);
                self.logs = self.logs.split_off(&self.min_log);
                self.seals.retain(|seal| seal.next > self.min_log);
            }
            Edit::SealLogs { last, end, next } => self.seal(Seal {
                last: *last,
                end: *end,
                next: *next,
            })?,
            Edit::NextFile(number) => self.next_file = self.next_file.max(*number),
            Edit::LastSeq(seq) => self.last_seq = self.last_seq.max(*seq),
            Edit::ClockHigh(ms) => self.clock_high = self.clock_high.max(*ms),
            Edit::Flushed { keyspace, upto } => {
                let keyspace = self.keyspaces.get_mut(keyspace);
                let keyspace = Arc::make_mut(keyspace.ok_or(InvalidEdit::UnknownKeyspace)?);
                keyspace.flushed = keyspace.flushed.max(*upto);
            }
        }
        Ok(())
    }

    /// Edits that make this state out of an empty one.
    pub(crate) fn to_edits(&self) -> Vec<Edit> {
        let mut edits = vec![Edit::Identity(self.identity)];
        for (id, keyspace) in &self.keyspaces {
            edits.push(Edit::CreateKeyspace {
                id: *id,
                name: keyspace.name.clone(),
                options: keyspace.options.clone(),
            });
            edits.push(Edit::Flushed {
                keyspace: *id,
                upto: keyspace.flushed,
            });
            edits.extend(
                keyspace
                    .tables
                    .values()
                    .map(|(level, meta)| Edit::AddTable {
                        keyspace: *id,
                        level: *level,
                        meta: Arc::clone(meta),
                    }),
            );
        }
        edits.push(Edit::NextKeyspace(self.next_keyspace));
        edits.push(Edit::MinLog {
            number: self.min_log,
        });
        edits.extend(self.logs.iter().map(|log| Edit::AddLog { number: *log }));
        edits.extend(self.seals.iter().map(|seal| Edit::SealLogs {
            last: seal.last,
            end: seal.end,
            next: seal.next,
        }));
        edits.extend([
            Edit::NextFile(self.next_file),
            Edit::LastSeq(self.last_seq),
            Edit::ClockHigh(self.clock_high),
        ]);
        edits
    }

    /// The same store when everything in its logs is in tables.
    pub(crate) fn without_logs(&self) -> Self {
        let state = self.clone();
        Self {
            logs: BTreeSet::new(),
            seals: Vec::new(),
            min_log: self.next_file,
            ..state
        }
    }

    /// How much of a log segment counts.
    pub(crate) fn log_part(&self, number: FileNumber) -> LogPart {
        if number < self.min_log {
            return LogPart::Nothing;
        }
        // Seals are disjoint and ascending: the first that speaks of the log decides.
        match self.seals.iter().find(|seal| number < seal.next) {
            Some(seal) if number == seal.last => LogPart::Until(seal.end),
            Some(seal) if number > seal.last => LogPart::Nothing,
            _ => LogPart::Whole,
        }
    }

    fn create_keyspace(
        &mut self,
        id: KeyspaceNumber,
        name: &str,
        options: &KeyspaceOptions,
    ) -> Result<(), InvalidEdit> {
        let name_is_taken = self.keyspaces.values().any(|other| other.name == name);
        let following = id.0.checked_add(1).map(KeyspaceNumber);
        let Some(following) = following.filter(|_| id >= self.next_keyspace && !name_is_taken)
        else {
            return Err(InvalidEdit::KeyspaceTwice);
        };
        self.next_keyspace = following;
        let keyspace = KeyspaceState {
            name: name.to_owned(),
            options: KeyspaceOptions {
                expiry_filter: None,
                ..options.clone()
            },
            flushed: SeqNo::ZERO,
            tables: BTreeMap::new(),
        };
        self.keyspaces.insert(id, Arc::new(keyspace));
        Ok(())
    }

    fn keyspace_mut(&mut self, id: KeyspaceNumber) -> Result<&mut KeyspaceState, InvalidEdit> {
        let keyspace = self.keyspaces.get_mut(&id);
        keyspace
            .map(Arc::make_mut)
            .ok_or(InvalidEdit::UnknownKeyspace)
    }

    fn add_table(
        &mut self,
        keyspace: KeyspaceNumber,
        level: u8,
        meta: &Arc<TableMeta>,
    ) -> Result<(), InvalidEdit> {
        let tables = &mut self.keyspace_mut(keyspace)?.tables;
        if tables.contains_key(&meta.number) {
            return Err(InvalidEdit::TableTwice);
        }
        tables.insert(meta.number, (level, Arc::clone(meta)));
        self.issued(meta.number);
        self.last_seq = self.last_seq.max(meta.last_seq);
        Ok(())
    }

    fn remove_table(
        &mut self,
        keyspace: KeyspaceNumber,
        level: u8,
        number: FileNumber,
    ) -> Result<(), InvalidEdit> {
        let tables = &mut self.keyspace_mut(keyspace)?.tables;
        match tables.get(&number) {
            Some((at, _)) if *at == level => {
                tables.remove(&number);
                Ok(())
            }
            _ => Err(InvalidEdit::UnknownTable),
        }
    }

    fn seal(&mut self, seal: Seal) -> Result<(), InvalidEdit> {
        // Nothing was written since the former seal: the same end, and a later log goes on from it.
        if let Some(former) = self.seals.last_mut()
            && (former.last, former.end) == (seal.last, seal.end)
            && former.next < seal.next
        {
            former.next = seal.next;
            return Ok(());
        }
        let after_the_former = self
            .seals
            .last()
            .is_none_or(|former| former.next <= seal.last);
        if seal.last >= seal.next || !after_the_former {
            return Err(InvalidEdit::Seal);
        }
        if seal.next > self.min_log {
            self.seals.push(seal);
        }
        Ok(())
    }

    /// Notes that a file number is in use.
    fn issued(&mut self, number: FileNumber) {
        let following = FileNumber::new(number.get().saturating_add(1));
        self.next_file = self.next_file.max(following);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::testing::meta;

    const A: KeyspaceNumber = KeyspaceNumber(0);
    const B: KeyspaceNumber = KeyspaceNumber(1);

    fn create(id: KeyspaceNumber, name: &str) -> Edit {
        Edit::CreateKeyspace {
            id,
            name: name.to_owned(),
            options: KeyspaceOptions::default(),
        }
    }

    fn add(keyspace: KeyspaceNumber, level: u8, number: u64) -> Edit {
        let meta = Arc::new(meta(number, [b"a", b"b"], [1, 9]));
        Edit::AddTable {
            keyspace,
            level,
            meta,
        }
    }

    fn remove(keyspace: KeyspaceNumber, level: u8, number: u64) -> Edit {
        let number = FileNumber::new(number);
        Edit::RemoveTable {
            keyspace,
            level,
            number,
        }
    }

    fn seal(last: u64, end: u64, next: u64) -> Edit {
        Edit::SealLogs {
            last: FileNumber::new(last),
            end,
            next: FileNumber::new(next),
        }
    }

    fn log(number: u64) -> Edit {
        let number = FileNumber::new(number);
        Edit::AddLog { number }
    }

    fn min_log(number: u64) -> Edit {
        let number = FileNumber::new(number);
        Edit::MinLog { number }
    }

    fn state(edits: &[Edit]) -> State {
        let mut state = State::default();
        for edit in edits {
            state.apply(edit).unwrap();
        }
        state
    }

    #[test]
    fn edits_that_contradict_the_state_change_nothing() {
        let mut state = state(&[create(A, "a"), add(A, 0, 7), log(8), min_log(8)]);
        let before = format!("{state:?}");
        for (edit, error) in [
            (create(A, "again"), InvalidEdit::KeyspaceTwice),
            (create(B, "a"), InvalidEdit::KeyspaceTwice),
            (Edit::DropKeyspace { id: B }, InvalidEdit::UnknownKeyspace),
            (add(B, 0, 9), InvalidEdit::UnknownKeyspace),
            (add(A, 1, 7), InvalidEdit::TableTwice),
            (remove(A, 1, 7), InvalidEdit::UnknownTable),
            (remove(A, 0, 6), InvalidEdit::UnknownTable),
            (log(8), InvalidEdit::LogTwice),
            (log(7), InvalidEdit::LogTwice),
            (seal(9, 0, 9), InvalidEdit::Seal),
        ] {
            assert_eq!(state.apply(&edit), Err(error), "{edit:?}");
        }
        assert_eq!(format!("{state:?}"), before);
    }

    #[test]
    fn a_dropped_keyspace_takes_its_tables_along_and_its_id_is_not_used_again() {
        let edits = [create(A, "a"), add(A, 0, 7), Edit::DropKeyspace { id: A }];
        let state = state(&edits);
        assert!(state.keyspaces.is_empty());
        assert_eq!(state.next_keyspace, B);
        let mut copy = self::state(&state.to_edits());
        assert_eq!(copy.apply(&create(A, "a")), Err(InvalidEdit::KeyspaceTwice));
    }

    #[test]
    fn a_state_is_made_again_from_its_edits() {
        let state = state(&[
            Edit::Identity(5),
            create(A, "a"),
            create(B, "b"),
            add(A, 0, 7),
            add(B, 6, 8),
            remove(A, 0, 7),
            add(A, 3, 7),
            log(9),
            log(12),
            seal(9, 100, 11),
            Edit::ClockHigh(77),
            Edit::LastSeq(SeqNo::new(3)),
        ]);
        assert_eq!(state.last_seq, SeqNo::new(9), "the tables' numbers count");
        assert_eq!(state.next_file, FileNumber::new(13));
        let copy = self::state(&state.to_edits());
        assert_eq!(format!("{copy:?}"), format!("{state:?}"));
    }

    #[test]
    fn every_seal_holds_until_its_logs_are_obsolete() {
        let part = |state: &State, n| state.log_part(FileNumber::new(n));
        let mut state = state(&[log(4), log(5), seal(5, 100, 8), log(8), seal(8, 50, 12)]);
        for (n, expected) in [
            (4, LogPart::Whole),
            (5, LogPart::Until(100)),
            (6, LogPart::Nothing),
            (7, LogPart::Nothing),
            (8, LogPart::Until(50)),
            (9, LogPart::Nothing),
            (12, LogPart::Whole),
        ] {
            assert_eq!(part(&state, n), expected, "log {n}");
        }
        state.apply(&min_log(6)).unwrap();
        assert_eq!(part(&state, 5), LogPart::Nothing);
        assert_eq!(part(&state, 7), LogPart::Nothing);
        state.apply(&min_log(12)).unwrap();
        assert!(state.seals.is_empty() && state.logs.is_empty());
        assert_eq!(part(&state, 12), LogPart::Whole);
    }
}
