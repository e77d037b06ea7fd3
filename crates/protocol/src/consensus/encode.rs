//! How messages of consensus, and what is kept of it, stand in bytes.
//!
//! # Format
//! ```text
//! Message       term varint | body u8 | fields of the body, in the order of its declaration
//! Entry         index varint | term varint | payload u8: 0 empty, 1 bytes, 2 Members
//! Snapshot      index varint | term varint | Members | state bytes
//! Members       three lists of ids, each strictly ascending: voters, learners, outgoing
//! HardState     term varint | flag, [vote u64] | commit varint
//! ```
//! Bodies: 1 `Vote`, 2 `VoteReply`, 3 `Append`, 4 `AppendReply`, 5 `Snapshot`, 6 `TimeoutNow`, 7 `ReadAsk`,
//! 8 `ReadReply`. Indexes, terms and rounds are below 2^63: they count what happens one at a time, and
//! nothing that a peer says makes the next one overflow.

use alloc::sync::Arc;
use alloc::vec::Vec;

use ringwood_types::NodeId;
use ringwood_wire::{Encoded, Kind, Reader, Writer};

use super::entry::{Entry, Payload, Snapshot};
use super::index::{Index, Term};
use super::membership::Members;
use super::message::{Body, Message, ReadId, Round};
use super::seam::HardState;

const NUMBERS_END: u64 = 1 << 63;
/// Of an entry: index, term, payload.
const ENTRY_LEN_MIN: usize = 3;
const NODE_LEN: usize = 8;

/// Numbers that go up by one.
macro_rules! counted {
    ($($name:ident),*) => {$(
        impl Encoded for $name {
            fn write(&self, to: &mut Writer) {
                to.varint(self.get());
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                from.varint().filter(|number| *number < NUMBERS_END).map(Self::new)
            }
        }
    )*};
}

counted!(Index, Term, Round);

impl Message {
    /// The kind of message that it travels as.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.body {
            Body::Snapshot { .. } => Kind::ConsensusSnapshot,
            _ => Kind::Consensus,
        }
    }
}

impl Encoded for Message {
    fn write(&self, to: &mut Writer) {
        self.term.write(to);
        match &self.body {
            Body::Vote {
                pre,
                last_index,
                last_term,
                force,
            } => {
                to.u8(1);
                to.bool(*pre);
                last_index.write(to);
                last_term.write(to);
                to.bool(*force);
            }
            Body::VoteReply { pre, granted } => {
                to.u8(2);
                to.bool(*pre);
                to.bool(*granted);
            }
            Body::Append {
                prev,
                prev_term,
                entries,
                commit,
                round,
            } => {
                to.u8(3);
                prev.write(to);
                prev_term.write(to);
                to.count(entries.len());
                entries.iter().for_each(|entry| entry.write(to));
                commit.write(to);
                round.write(to);
            }
            Body::AppendReply {
                ok,
                index,
                prev,
                round,
            } => {
                to.u8(4);
                to.bool(*ok);
                index.write(to);
                prev.write(to);
                round.write(to);
            }
            Body::Snapshot { snapshot, round } => {
                to.u8(5);
                snapshot.write(to);
                round.write(to);
            }
            Body::TimeoutNow => to.u8(6),
            Body::ReadAsk { id } => {
                to.u8(7);
                id.write(to);
            }
            Body::ReadReply { id, at } => {
                to.u8(8);
                id.write(to);
                at.write(to);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let term = Term::read(from)?;
        let body = match from.u8()? {
            1 => Body::Vote {
                pre: from.bool()?,
                last_index: Index::read(from)?,
                last_term: Term::read(from)?,
                force: from.bool()?,
            },
            2 => Body::VoteReply {
                pre: from.bool()?,
                granted: from.bool()?,
            },
            3 => read_append(from)?,
            4 => Body::AppendReply {
                ok: from.bool()?,
                index: Index::read(from)?,
                prev: Index::read(from)?,
                round: Round::read(from)?,
            },
            5 => Body::Snapshot {
                snapshot: Snapshot::read(from)?,
                round: Round::read(from)?,
            },
            6 => Body::TimeoutNow,
            7 => Body::ReadAsk {
                id: ReadId::read(from)?,
            },
            8 => Body::ReadReply {
                id: ReadId::read(from)?,
                at: Index::read(from)?,
            },
            _ => return None,
        };
        Some(Self { term, body })
    }
}

/// Its entries are a piece of a log, or it is none.
fn read_append(from: &mut Reader<'_>) -> Option<Body> {
    let (prev, prev_term) = (Index::read(from)?, Term::read(from)?);
    let count = from.count(ENTRY_LEN_MIN)?;
    let mut entries = Vec::new();
    let (mut index, mut term) = (prev, prev_term);
    for _ in 0..count {
        let entry = Entry::read(from)?;
        if entry.index != index.next() || entry.term < term {
            return None;
        }
        (index, term) = (entry.index, entry.term);
        entries.push(entry);
    }
    Some(Body::Append {
        prev,
        prev_term,
        entries,
        commit: Index::read(from)?,
        round: Round::read(from)?,
    })
}

impl Encoded for ReadId {
    fn write(&self, to: &mut Writer) {
        to.u64(self.incarnation);
        to.varint(self.number);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            incarnation: from.u64()?,
            number: from.varint()?,
        })
    }
}

impl Encoded for Entry {
    fn write(&self, to: &mut Writer) {
        self.index.write(to);
        self.term.write(to);
        match &self.payload {
            Payload::Empty => to.u8(0),
            Payload::Data(data) => {
                to.u8(1);
                to.bytes(data);
            }
            Payload::Change(members) => {
                to.u8(2);
                members.write(to);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            index: Index::read(from)?,
            term: Term::read(from)?,
            payload: match from.u8()? {
                0 => Payload::Empty,
                1 => Payload::Data(Arc::from(from.bytes()?)),
                2 => Payload::Change(Members::read(from)?),
                _ => return None,
            },
        })
    }
}

impl Encoded for Snapshot {
    fn write(&self, to: &mut Writer) {
        self.index.write(to);
        self.term.write(to);
        self.members.write(to);
        to.bytes(&self.state);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            index: Index::read(from)?,
            term: Term::read(from)?,
            members: Members::read(from)?,
            state: Arc::from(from.bytes()?),
        })
    }
}

impl Encoded for Members {
    fn write(&self, to: &mut Writer) {
        for nodes in [self.voters(), self.learners(), self.outgoing()] {
            to.count(nodes.len());
            nodes.iter().for_each(|node| node.write(to));
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let mut nodes = || {
            let count = from.count(NODE_LEN)?;
            let nodes = (0..count).map(|_| NodeId::read(from));
            let nodes: Vec<NodeId> = nodes.collect::<Option<_>>()?;
            nodes
                .is_sorted_by(|one, other| one < other)
                .then_some(nodes)
        };
        Some(Self::from_parts(nodes()?, nodes()?, nodes()?))
    }
}

impl Encoded for HardState {
    fn write(&self, to: &mut Writer) {
        self.term.write(to);
        to.bool(self.vote.is_some());
        self.vote.iter().for_each(|vote| vote.write(to));
        self.commit.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            term: Term::read(from)?,
            vote: match from.bool()? {
                true => Some(NodeId::read(from)?),
                false => None,
            },
            commit: Index::read(from)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt;
    use proptest::prelude::*;

    fn index() -> impl Strategy<Value = Index> {
        (0..NUMBERS_END, 0..63u32).prop_map(|(number, shift)| Index::new(number >> shift))
    }

    fn term() -> impl Strategy<Value = Term> {
        index().prop_map(|index| Term::new(index.get()))
    }

    fn round() -> impl Strategy<Value = Round> {
        index().prop_map(|index| Round::new(index.get()))
    }

    fn read_id() -> impl Strategy<Value = ReadId> {
        any::<(u64, u64)>().prop_map(|(incarnation, number)| ReadId {
            incarnation,
            number,
        })
    }

    fn members() -> impl Strategy<Value = Members> {
        let nodes = || prop::collection::btree_set(any::<u64>().prop_map(NodeId::new), 0..4);
        (nodes(), nodes(), nodes()).prop_map(|(voters, learners, outgoing)| {
            Members::from_parts(voters, learners, outgoing)
        })
    }

    fn snapshots() -> impl Strategy<Value = Snapshot> {
        (index(), term(), members(), any::<Vec<u8>>()).prop_map(|(index, term, members, state)| {
            Snapshot {
                index,
                term,
                members,
                state: Arc::from(state),
            }
        })
    }

    fn payloads() -> impl Strategy<Value = Payload> {
        prop_oneof![
            Just(Payload::Empty),
            any::<Vec<u8>>().prop_map(|data| Payload::Data(Arc::from(data))),
            members().prop_map(Payload::Change),
        ]
    }

    fn appends() -> impl Strategy<Value = Body> {
        let entries = prop::collection::vec((0..3u64, payloads()), 0..4);
        let first = (0..NUMBERS_END / 2, 0..NUMBERS_END / 2);
        (first, entries, index(), round()).prop_map(
            |((prev, prev_term), entries, commit, round)| {
                let (prev, prev_term) = (Index::new(prev), Term::new(prev_term));
                let (mut index, mut term) = (prev, prev_term);
                let entry = |(further, payload)| {
                    (index, term) = (index.next(), Term::new(term.get() + further));
                    Entry {
                        index,
                        term,
                        payload,
                    }
                };
                let entries = entries.into_iter().map(entry).collect();
                Body::Append {
                    prev,
                    prev_term,
                    entries,
                    commit,
                    round,
                }
            },
        )
    }

    fn bodies() -> impl Strategy<Value = Body> {
        prop_oneof![
            (any::<bool>(), index(), term(), any::<bool>()).prop_map(
                |(pre, last_index, last_term, force)| {
                    Body::Vote {
                        pre,
                        last_index,
                        last_term,
                        force,
                    }
                }
            ),
            any::<(bool, bool)>().prop_map(|(pre, granted)| Body::VoteReply { pre, granted }),
            appends(),
            (any::<bool>(), index(), index(), round()).prop_map(|(ok, index, prev, round)| {
                Body::AppendReply {
                    ok,
                    index,
                    prev,
                    round,
                }
            }),
            (snapshots(), round()).prop_map(|(snapshot, round)| Body::Snapshot { snapshot, round }),
            Just(Body::TimeoutNow),
            read_id().prop_map(|id| Body::ReadAsk { id }),
            (read_id(), index()).prop_map(|(id, at)| Body::ReadReply { id, at }),
        ]
    }

    fn messages() -> impl Strategy<Value = Message> {
        (term(), bodies()).prop_map(|(term, body)| Message { term, body })
    }

    fn there_and_back<T: Encoded + PartialEq + fmt::Debug>(value: &T) {
        let bytes = value.to_vec();
        assert_eq!(T::decode(&bytes).as_ref(), Ok(value));
        for cut in 0..bytes.len() {
            assert!(T::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(T::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(message in messages(), commit in index(), vote: Option<u64>) {
            there_and_back(&message);
            let (term, vote) = (message.term, vote.map(NodeId::new));
            there_and_back(&HardState { term, vote, commit });
            if let Body::Append { entries, .. } = &message.body {
                entries.iter().for_each(there_and_back);
            }
        }

        #[test]
        fn a_changed_message_is_another_one_or_none(message in messages(), at: prop::sample::Index, to: u8) {
            let mut bytes = message.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(changed) = Message::decode(&bytes) {
                prop_assert_eq!(changed.to_vec(), bytes);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in 0..10u8, bytes: Vec<u8>) {
            let bytes = [&[1, body], &bytes[..]].concat();
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.to_vec(), bytes);
            }
        }
    }

    #[test]
    fn what_would_overflow_or_is_no_piece_of_a_log_is_refused() {
        let entry = |index, term| Entry {
            index: Index::new(index),
            term: Term::new(term),
            payload: Payload::Empty,
        };
        let append = |prev, entries| Message {
            term: Term::new(9),
            body: Body::Append {
                prev: Index::new(prev),
                prev_term: Term::new(3),
                entries,
                commit: Index::ZERO,
                round: Round::default(),
            },
        };
        let is_read = |message: Message| Message::decode(&message.to_vec()).is_ok();
        assert!(is_read(append(4, Vec::from([entry(5, 3), entry(6, 4)]))));
        assert!(!is_read(append(4, Vec::from([entry(6, 3)]))));
        assert!(!is_read(append(4, Vec::from([entry(5, 2)]))));
        assert!(!is_read(append(NUMBERS_END, Vec::new())));
        assert!(!is_read(append(
            NUMBERS_END - 1,
            Vec::from([entry(NUMBERS_END, 3)])
        )));
        let unsorted = [&[2, 0, 0, 0][..], &[1; 8], &[1; 8], &[0; 8]].concat();
        assert!(Members::decode(&unsorted).is_err());
    }

    #[test]
    fn snapshots_travel_as_bulk() {
        let kind = |body| {
            Message {
                term: Term::ZERO,
                body,
            }
            .kind()
        };
        assert_eq!(kind(Body::TimeoutNow), Kind::Consensus);
        let (snapshot, round) = (Snapshot::default(), Round::default());
        assert_eq!(
            kind(Body::Snapshot { snapshot, round }),
            Kind::ConsensusSnapshot
        );
    }

    #[test]
    fn the_format_is_this_to_the_byte() {
        let members = Members::from_parts([NodeId::new(1), NodeId::new(2)], [NodeId::new(3)], []);
        let payloads = [
            Payload::Empty,
            Payload::Data(Arc::from(*b"data")),
            Payload::Change(members),
        ];
        let entries = payloads.into_iter().zip(8..).map(|(payload, index)| Entry {
            index: Index::new(index),
            term: Term::new(300),
            payload,
        });
        let body = Body::Append {
            prev: Index::new(7),
            prev_term: Term::new(2),
            entries: entries.collect(),
            commit: Index::new(6),
            round: Round::new(5),
        };
        let bytes = Message {
            term: Term::new(300),
            body,
        }
        .to_vec();
        let hex: alloc::string::String = bytes
            .iter()
            .map(|byte| alloc::format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            concat!(
                "ac020307020300000008ac020009ac020104000000646174610aac02",
                "020200000001000000000000000200000000000000010000000300000000000000000000000605",
            )
        );
    }
}
