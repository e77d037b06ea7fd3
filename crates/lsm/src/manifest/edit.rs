//! One change to what the store consists of, and its encoding.
//!
//! # Format
//! Edits that happen together stand one after another, each
//! ```text
//! tag u8 | length of the body, varint | body
//! ```
//! Numbers in a body are varints (LEB128), byte strings a varint length and the bytes. An unknown tag
//! is an error: the format version says which tags there are. `docs/format.md` lists the bodies.

use std::sync::Arc;

use crate::batch::KeyspaceNumber;
use crate::files::FileNumber;
use crate::key::{InternalKey, SeqNo};
use crate::manifest::LEVELS;
use crate::options::{Compression, KeyspaceOptions};
use crate::sstable::{Expiring, Spread, TableMeta};

/// One change to what the store consists of.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    /// Names the store; drawn at random when it is made.
    Identity(u128),
    CreateKeyspace {
        id: KeyspaceNumber,
        name: String,
        /// All but the expiry filter, which is code.
        options: KeyspaceOptions,
    },
    /// The keyspace is gone, with its tables.
    DropKeyspace { id: KeyspaceNumber },
    /// Ids below this one were used.
    NextKeyspace(KeyspaceNumber),
    AddTable {
        keyspace: KeyspaceNumber,
        level: u8,
        meta: Arc<TableMeta>,
    },
    RemoveTable {
        keyspace: KeyspaceNumber,
        level: u8,
        number: FileNumber,
    },
    /// A log segment that recovery must read.
    AddLog { number: FileNumber },
    /// Logs below this one hold nothing that is not in tables.
    MinLog { number: FileNumber },
    /// Recovery ended here: of the logs below `next`, those behind `last` count for nothing, and
    /// `last` itself counts up to byte `end`.
    SealLogs {
        last: FileNumber,
        end: u64,
        next: FileNumber,
    },
    /// File numbers below this one were issued.
    NextFile(FileNumber),
    /// Sequence numbers up to this one were used.
    LastSeq(SeqNo),
    /// The latest wall clock seen, in milliseconds: a clock set back never revives what expired.
    ClockHigh(u64),
    /// Every change of the keyspace up to this one is in tables: replay passes over it.
    Flushed {
        keyspace: KeyspaceNumber,
        upto: SeqNo,
    },
}

/// Bytes that are no edits. Whoever knows the file turns it into a [`Corruption`](crate::Corruption).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedEdit;

const IDENTITY: u8 = 1;
const CREATE_KEYSPACE: u8 = 2;
const DROP_KEYSPACE: u8 = 3;
const NEXT_KEYSPACE: u8 = 4;
const ADD_TABLE: u8 = 5;
const REMOVE_TABLE: u8 = 6;
const ADD_LOG: u8 = 7;
const MIN_LOG: u8 = 8;
const SEAL_LOGS: u8 = 9;
const NEXT_FILE: u8 = 10;
const LAST_SEQ: u8 = 11;
const CLOCK_HIGH: u8 = 12;
const FLUSHED: u8 = 13;

impl Edit {
    /// Appends the encoded form.
    pub(crate) fn encode_to(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let tag = self.encode_body(&mut body);
        out.push(tag);
        put_bytes(out, &body);
    }

    fn encode_body(&self, body: &mut Vec<u8>) -> u8 {
        match self {
            Self::Identity(identity) => {
                body.extend_from_slice(&identity.to_le_bytes());
                IDENTITY
            }
            Self::CreateKeyspace { id, name, options } => {
                put(body, id.0.into());
                put_bytes(body, name.as_bytes());
                put_options(body, options);
                CREATE_KEYSPACE
            }
            Self::DropKeyspace { id } => {
                put(body, id.0.into());
                DROP_KEYSPACE
            }
            Self::NextKeyspace(id) => {
                put(body, id.0.into());
                NEXT_KEYSPACE
            }
            Self::AddTable {
                keyspace,
                level,
                meta,
            } => {
                put(body, keyspace.0.into());
                body.push(*level);
                put_meta(body, meta);
                ADD_TABLE
            }
            Self::RemoveTable {
                keyspace,
                level,
                number,
            } => {
                put(body, keyspace.0.into());
                body.push(*level);
                put(body, number.get());
                REMOVE_TABLE
            }
            Self::AddLog { number } => {
                put(body, number.get());
                ADD_LOG
            }
            Self::MinLog { number } => {
                put(body, number.get());
                MIN_LOG
            }
            Self::SealLogs { last, end, next } => {
                put(body, last.get());
                put(body, *end);
                put(body, next.get());
                SEAL_LOGS
            }
            Self::NextFile(number) => {
                put(body, number.get());
                NEXT_FILE
            }
            Self::LastSeq(seq) => {
                put(body, seq.get());
                LAST_SEQ
            }
            Self::ClockHigh(ms) => {
                put(body, *ms);
                CLOCK_HIGH
            }
            Self::Flushed { keyspace, upto } => {
                put(body, keyspace.0.into());
                put(body, upto.get());
                FLUSHED
            }
        }
    }

    /// Reads edits that stand one after another.
    pub(crate) fn decode_all(encoded: &[u8]) -> Result<Vec<Self>, MalformedEdit> {
        let mut reader = Reader(encoded);
        let mut edits = Vec::new();
        while !reader.0.is_empty() {
            let tag = reader.byte()?;
            let mut body = Reader(reader.bytes()?);
            edits.push(Self::decode(tag, &mut body)?);
            if !body.0.is_empty() {
                return Err(MalformedEdit);
            }
        }
        Ok(edits)
    }

    fn decode(tag: u8, body: &mut Reader<'_>) -> Result<Self, MalformedEdit> {
        Ok(match tag {
            IDENTITY => {
                let bytes = body.array::<16>()?;
                Self::Identity(u128::from_le_bytes(bytes))
            }
            CREATE_KEYSPACE => Self::CreateKeyspace {
                id: body.keyspace()?,
                name: String::from_utf8(body.bytes()?.to_vec()).map_err(|_| MalformedEdit)?,
                options: body.options()?,
            },
            DROP_KEYSPACE => Self::DropKeyspace {
                id: body.keyspace()?,
            },
            NEXT_KEYSPACE => Self::NextKeyspace(body.keyspace()?),
            ADD_TABLE => Self::AddTable {
                keyspace: body.keyspace()?,
                level: body.level()?,
                meta: Arc::new(body.meta()?),
            },
            REMOVE_TABLE => Self::RemoveTable {
                keyspace: body.keyspace()?,
                level: body.level()?,
                number: body.file()?,
            },
            ADD_LOG => Self::AddLog {
                number: body.file()?,
            },
            MIN_LOG => Self::MinLog {
                number: body.file()?,
            },
            SEAL_LOGS => Self::SealLogs {
                last: body.file()?,
                end: body.number()?,
                next: body.file()?,
            },
            NEXT_FILE => Self::NextFile(body.file()?),
            LAST_SEQ => Self::LastSeq(body.seq()?),
            CLOCK_HIGH => Self::ClockHigh(body.number()?),
            FLUSHED => Self::Flushed {
                keyspace: body.keyspace()?,
                upto: body.seq()?,
            },
            _ => return Err(MalformedEdit),
        })
    }
}

fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push((n & 0x7f) as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_options(out: &mut Vec<u8>, options: &KeyspaceOptions) {
    put(out, options.block_len as u64);
    put_compression(out, options.compression);
    put_compression(out, options.bottom_compression);
    out.push(options.filter_bits_per_key);
    put(out, options.table_len);
    put(out, options.level_ratio.into());
    put(out, options.l0_trigger as u64);
    put(out, options.l0_stop as u64);
}

fn put_compression(out: &mut Vec<u8>, compression: Compression) {
    let (kind, level) = match compression {
        Compression::None => (0, 0),
        Compression::Lz4 => (1, 0),
        Compression::Zstd(level) => (2, level),
    };
    out.extend_from_slice(&[kind, level.to_le_bytes()[0]]);
}

fn put_meta(out: &mut Vec<u8>, meta: &TableMeta) {
    put(out, meta.number.get());
    put(out, meta.len);
    put_bytes(out, &meta.smallest);
    put_bytes(out, &meta.largest);
    put(out, meta.first_seq.get());
    put(out, meta.last_seq.get());
    put(out, meta.entries);
    put(out, meta.deletes);
    put(out, meta.range_deletes);
    match meta.deadlines {
        None => out.push(0),
        Some((least, greatest)) => {
            let buckets = meta.spread.buckets();
            out.push(if buckets.is_empty() { 1 } else { 2 });
            put(out, least);
            put(out, greatest);
            if !buckets.is_empty() {
                put(out, buckets.len() as u64);
            }
            for one in buckets {
                put(out, one.deadline);
                put(out, one.len);
            }
        }
    }
    put(out, meta.raw_key_len);
    put(out, meta.raw_value_len);
    put(out, meta.created_at_ms);
}

/// Takes fields off the front of a body.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], MalformedEdit> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(MalformedEdit)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MalformedEdit> {
        self.take(N)?.try_into().map_err(|_| MalformedEdit)
    }

    fn byte(&mut self) -> Result<u8, MalformedEdit> {
        Ok(self.array::<1>()?[0])
    }

    fn number(&mut self) -> Result<u64, MalformedEdit> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(MalformedEdit);
            }
            n |= bits << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(MalformedEdit)
    }

    /// A number that fits a narrower type.
    fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T, MalformedEdit> {
        T::try_from(self.number()?).map_err(|_| MalformedEdit)
    }

    fn bytes(&mut self) -> Result<&'a [u8], MalformedEdit> {
        let len = self.narrow()?;
        self.take(len)
    }

    fn keyspace(&mut self) -> Result<KeyspaceNumber, MalformedEdit> {
        self.narrow().map(KeyspaceNumber)
    }

    fn file(&mut self) -> Result<FileNumber, MalformedEdit> {
        self.number().map(FileNumber::new)
    }

    fn seq(&mut self) -> Result<SeqNo, MalformedEdit> {
        match self.number()? {
            n if n <= SeqNo::MAX.get() => Ok(SeqNo::new(n)),
            _ => Err(MalformedEdit),
        }
    }

    fn level(&mut self) -> Result<u8, MalformedEdit> {
        match self.byte()? {
            level if usize::from(level) < LEVELS => Ok(level),
            _ => Err(MalformedEdit),
        }
    }

    /// Deadlines, and how bytes spread over them.
    fn deadlines(&mut self) -> Result<(Option<(u64, u64)>, Spread), MalformedEdit> {
        let kind = self.byte()?;
        if kind == 0 {
            return Ok((None, Spread::default()));
        }
        let bounds = Some((self.number()?, self.number()?));
        match kind {
            1 => Ok((bounds, Spread::default())),
            2 => {
                let buckets = (0..self.number()?).map(|_| {
                    Ok(Expiring {
                        deadline: self.number()?,
                        len: self.number()?,
                    })
                });
                let spread = Spread::from_buckets(buckets.collect::<Result<_, _>>()?);
                Ok((bounds, spread.ok_or(MalformedEdit)?))
            }
            _ => Err(MalformedEdit),
        }
    }

    fn options(&mut self) -> Result<KeyspaceOptions, MalformedEdit> {
        let options = KeyspaceOptions {
            block_len: self.narrow()?,
            compression: self.compression()?,
            bottom_compression: self.compression()?,
            filter_bits_per_key: self.byte()?,
            table_len: self.number()?,
            level_ratio: self.narrow()?,
            l0_trigger: self.narrow()?,
            l0_stop: self.narrow()?,
            expiry_filter: None,
        };
        options.validate().map_err(|_| MalformedEdit)?;
        Ok(options)
    }

    fn compression(&mut self) -> Result<Compression, MalformedEdit> {
        let [kind, level] = self.array()?;
        match (kind, i8::from_le_bytes([level])) {
            (0, 0) => Ok(Compression::None),
            (1, 0) => Ok(Compression::Lz4),
            (2, level) => Ok(Compression::Zstd(level)),
            _ => Err(MalformedEdit),
        }
    }

    fn meta(&mut self) -> Result<TableMeta, MalformedEdit> {
        let mut meta = TableMeta {
            number: self.file()?,
            len: self.number()?,
            smallest: self.bytes()?.to_vec(),
            largest: self.bytes()?.to_vec(),
            first_seq: self.seq()?,
            last_seq: self.seq()?,
            entries: self.number()?,
            deletes: self.number()?,
            range_deletes: self.number()?,
            ..TableMeta::empty(FileNumber::new(0), 0)
        };
        (meta.deadlines, meta.spread) = self.deadlines()?;
        let meta = TableMeta {
            raw_key_len: self.number()?,
            raw_value_len: self.number()?,
            created_at_ms: self.number()?,
            ..meta
        };
        // The rest of the engine relies on bounds that can be decoded and are in order.
        let smallest = InternalKey::decode(&meta.smallest).ok_or(MalformedEdit)?;
        let largest = InternalKey::decode(&meta.largest).ok_or(MalformedEdit)?;
        let in_order = smallest <= largest && meta.first_seq <= meta.last_seq;
        in_order.then_some(meta).ok_or(MalformedEdit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::testing::meta;

    fn any_meta() -> impl Strategy<Value = TableMeta> {
        let bound = || prop::collection::vec(any::<u8>(), 0..40);
        (
            [bound(), bound()],
            [0..SeqNo::MAX.get(), 0..SeqNo::MAX.get()],
            any::<[u64; 9]>(),
            any::<Option<(u64, u64)>>(),
        )
            .prop_map(
                |(mut bounds, mut seqs, [a, b, c, d, e, f, g, h, _], deadlines)| {
                    bounds.sort();
                    seqs.sort_unstable();
                    TableMeta {
                        len: b,
                        entries: c,
                        deletes: d,
                        range_deletes: e,
                        deadlines,
                        spread: match deadlines {
                            Some((deadline, len)) if len % 2 == 0 => {
                                Spread::from_buckets(vec![Expiring { deadline, len }]).unwrap()
                            }
                            _ => Spread::default(),
                        },
                        raw_key_len: f,
                        raw_value_len: g,
                        created_at_ms: h,
                        ..meta(a, [&bounds[0], &bounds[1]], seqs)
                    }
                },
            )
    }

    fn any_options() -> impl Strategy<Value = KeyspaceOptions> {
        let compression = || {
            prop_oneof![
                Just(Compression::None),
                Just(Compression::Lz4),
                (1..=19i8).prop_map(Compression::Zstd),
            ]
        };
        (
            (1024..=65536usize, compression(), compression(), 0..=32u8),
            (4096..u64::MAX, 2..=100u32, 1..1000usize, 1..1000usize),
        )
            .prop_map(
                |((block_len, a, b, bits), (table_len, ratio, trigger, more))| KeyspaceOptions {
                    block_len,
                    compression: a,
                    bottom_compression: b,
                    filter_bits_per_key: bits,
                    table_len,
                    level_ratio: ratio,
                    l0_trigger: trigger,
                    l0_stop: trigger + more,
                    expiry_filter: None,
                },
            )
    }

    fn any_edit() -> impl Strategy<Value = Edit> {
        let keyspace = || any::<u32>().prop_map(KeyspaceNumber);
        let file = || any::<u64>().prop_map(FileNumber::new);
        let level = || 0..7u8;
        let seq = || (0..=SeqNo::MAX.get()).prop_map(SeqNo::new);
        prop_oneof![
            any::<u128>().prop_map(Edit::Identity),
            (keyspace(), ".{0,20}", any_options())
                .prop_map(|(id, name, options)| Edit::CreateKeyspace { id, name, options }),
            keyspace().prop_map(|id| Edit::DropKeyspace { id }),
            (keyspace(), seq()).prop_map(|(keyspace, upto)| Edit::Flushed { keyspace, upto }),
            keyspace().prop_map(Edit::NextKeyspace),
            (keyspace(), level(), any_meta()).prop_map(|(keyspace, level, meta)| {
                let meta = Arc::new(meta);
                Edit::AddTable {
                    keyspace,
                    level,
                    meta,
                }
            }),
            (keyspace(), level(), file()).prop_map(|(keyspace, level, number)| {
                Edit::RemoveTable {
                    keyspace,
                    level,
                    number,
                }
            }),
            file().prop_map(|number| Edit::AddLog { number }),
            file().prop_map(|number| Edit::MinLog { number }),
            (file(), any::<u64>(), file()).prop_map(|(last, end, next)| Edit::SealLogs {
                last,
                end,
                next
            }),
            file().prop_map(Edit::NextFile),
            (0..=SeqNo::MAX.get()).prop_map(|n| Edit::LastSeq(SeqNo::new(n))),
            any::<u64>().prop_map(Edit::ClockHigh),
        ]
    }

    fn encode(edits: &[Edit]) -> Vec<u8> {
        let mut out = Vec::new();
        for edit in edits {
            edit.encode_to(&mut out);
        }
        out
    }

    proptest! {
        #[test]
        fn edits_are_read_back(edits in prop::collection::vec(any_edit(), 0..8)) {
            let read = Edit::decode_all(&encode(&edits)).unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{edits:?}"));
        }

        #[test]
        fn a_cut_edit_is_malformed(edit in any_edit(), at in any::<prop::sample::Index>()) {
            let bytes = encode(&[edit]);
            let cut = 1 + at.index(bytes.len() - 1);
            prop_assert_eq!(Edit::decode_all(&bytes[..cut]).err(), Some(MalformedEdit));
        }

        #[test]
        fn any_bytes_are_edits_or_malformed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(edits) = Edit::decode_all(&bytes) {
                prop_assert!(Edit::decode_all(&encode(&edits)).is_ok());
            }
        }
    }

    #[test]
    fn what_the_format_does_not_allow_is_malformed() {
        let table = |meta| {
            encode(&[Edit::AddTable {
                keyspace: KeyspaceNumber(1),
                level: 0,
                meta: Arc::new(meta),
            }])
        };
        let good = meta(1, [b"a", b"b"], [1, 2]);
        assert!(Edit::decode_all(&table(good.clone())).is_ok());
        let inverted = TableMeta {
            smallest: good.largest.clone(),
            largest: good.smallest.clone(),
            ..good.clone()
        };
        let no_key = TableMeta {
            smallest: vec![1, 2],
            ..good
        };
        let too_long_a_varint = [&[MIN_LOG, 11][..], &[0xff; 10], &[1]].concat();
        let body_with_a_rest = vec![MIN_LOG, 2, 1, 1];
        let level_7 = vec![REMOVE_TABLE, 3, 1, 7, 1];
        let unknown_tag = vec![99, 0];
        for bytes in [
            table(inverted),
            table(no_key),
            too_long_a_varint,
            body_with_a_rest,
            level_7,
            unknown_tag,
        ] {
            assert_eq!(
                Edit::decode_all(&bytes).err(),
                Some(MalformedEdit),
                "{bytes:?}"
            );
        }
    }
}
