//! What a table says of itself.
//!
//! # Format
//! ```text
//! properties  one after another: tag u8 | length u32 | bytes
//! ```
//! Numbers are u64. A tag this build does not know is passed over, so that later builds may add some.

use super::format::{Malformed, len_u32};
use super::meta::{TableMeta, TableOwner};
use super::spread::{Expiring, Spread};
use crate::batch::KeyspaceNumber;
use crate::files::FileNumber;
use crate::key::{InternalKey, Kind, SeqNo, split_deadline};
use crate::range_tombstone::RangeTombstone;

/// The properties block of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableProperties {
    pub(crate) meta: TableMeta,
    pub(crate) owner: TableOwner,
    pub(crate) data_blocks: u64,
    /// Bytes of data blocks as stored, headers included.
    pub(crate) data_len: u64,
    pub(crate) index_partitions: u64,
    /// What the table was written with.
    pub(crate) block_len: u64,
    pub(crate) restart_interval: u64,
    pub(crate) filter_bits_per_key: u64,
    /// User keys in the filter.
    pub(crate) filter_keys: u64,
}

/// Numbers have the tags from 1 on, in the order of [`TableProperties::numbers`]: add at its end.
const NUMBERS: usize = 17;
const TAG_KEYSPACE_NAME: u8 = 0x43;
const TAG_SMALLEST: u8 = 0x40;
const TAG_LARGEST: u8 = 0x41;
const TAG_DEADLINES: u8 = 0x42;
const TAG_SPREAD: u8 = 0x44;

impl TableProperties {
    /// Counts the next entry in order.
    ///
    /// # Errors
    /// [`Malformed`] where no table may hold it: a range delete, or an expiring value without deadline.
    pub(super) fn count(&mut self, key: InternalKey<'_>, value: &[u8]) -> Result<(), Malformed> {
        let meta = &mut self.meta;
        match key.kind() {
            Kind::Put => {}
            Kind::Delete => meta.deletes += 1,
            Kind::PutExpiring => {
                let (deadline, _) = split_deadline(value).ok_or(Malformed)?;
                let (min, max) = meta.deadlines.unwrap_or((deadline, deadline));
                meta.deadlines = Some((min.min(deadline), max.max(deadline)));
                let len = (key.user.len() + value.len()) as u64;
                meta.spread.add(deadline, len, meta.created_at_ms);
            }
            Kind::RangeDelete => return Err(Malformed),
        }
        if meta.entries == 0 {
            meta.smallest = key.to_vec();
        }
        meta.entries += 1;
        meta.raw_key_len += key.user.len() as u64;
        meta.raw_value_len += value.len() as u64;
        meta.first_seq = meta.first_seq.min(key.seq());
        meta.last_seq = meta.last_seq.max(key.seq());
        Ok(())
    }

    /// Ends the counting: `last` is the last entry's key, and range deletes widen the bounds.
    pub(super) fn finish(&mut self, last: Option<InternalKey<'_>>, tombstones: &[RangeTombstone]) {
        let meta = &mut self.meta;
        meta.largest = last.map_or(Vec::new(), InternalKey::to_vec);
        meta.range_deletes = tombstones.len() as u64;
        for tombstone in tombstones {
            let start = InternalKey::new(&tombstone.start, tombstone.seq, Kind::RangeDelete);
            let end = InternalKey::new(&tombstone.end, SeqNo::MAX, Kind::RangeDelete);
            if meta.smallest.is_empty() || start < meta.smallest() {
                meta.smallest = start.to_vec();
            }
            if meta.largest.is_empty() || end > meta.largest() {
                meta.largest = end.to_vec();
            }
            meta.first_seq = meta.first_seq.min(tombstone.seq);
            meta.last_seq = meta.last_seq.max(tombstone.seq);
        }
    }

    /// The same table before its first entry was counted.
    pub(super) fn emptied(&self) -> Self {
        Self {
            meta: TableMeta {
                len: self.meta.len,
                ..TableMeta::empty(self.meta.number, self.meta.created_at_ms)
            },
            data_blocks: 0,
            data_len: 0,
            index_partitions: 0,
            filter_keys: 0,
            ..self.clone()
        }
    }

    fn numbers(&self) -> [u64; NUMBERS] {
        let meta = &self.meta;
        [
            meta.number.get(),
            meta.first_seq.get(),
            meta.last_seq.get(),
            meta.entries,
            meta.deletes,
            meta.range_deletes,
            meta.raw_key_len,
            meta.raw_value_len,
            meta.created_at_ms,
            self.data_blocks,
            self.data_len,
            self.index_partitions,
            self.block_len,
            self.restart_interval,
            self.filter_bits_per_key,
            self.filter_keys,
            self.owner.id.0.into(),
        ]
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (tag, number) in (1..).zip(self.numbers()) {
            append_record(&mut out, tag, &number.to_le_bytes());
        }
        append_record(&mut out, TAG_KEYSPACE_NAME, self.owner.name.as_bytes());
        append_record(&mut out, TAG_SMALLEST, &self.meta.smallest);
        append_record(&mut out, TAG_LARGEST, &self.meta.largest);
        if let Some((min, max)) = self.meta.deadlines {
            append_record(
                &mut out,
                TAG_DEADLINES,
                &[min.to_le_bytes(), max.to_le_bytes()].concat(),
            );
        }
        if !self.meta.spread.is_empty() {
            let buckets = self.meta.spread.buckets().iter();
            let bytes: Vec<u8> = buckets
                .flat_map(|one| [one.deadline.to_le_bytes(), one.len.to_le_bytes()].concat())
                .collect();
            append_record(&mut out, TAG_SPREAD, &bytes);
        }
        out
    }

    /// Reads the properties of a file of `file_len` bytes.
    pub(super) fn parse(payload: &[u8], file_len: u64) -> Result<Self, Malformed> {
        let records = Records(payload).collect::<Result<Vec<_>, _>>()?;
        let find = |tag| {
            records
                .iter()
                .find(|record| record.0 == tag)
                .map(|record| record.1)
        };
        let number = |tag| {
            find(tag)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u64::from_le_bytes)
                .ok_or(Malformed)
        };
        let seq = |tag| {
            number(tag).and_then(|seq| {
                if seq <= SeqNo::MAX.get() {
                    Ok(SeqNo::new(seq))
                } else {
                    Err(Malformed)
                }
            })
        };
        let bound = |tag| {
            find(tag)
                .filter(|bytes| InternalKey::decode(bytes).is_some())
                .map(<[u8]>::to_vec)
                .ok_or(Malformed)
        };
        let owner = TableOwner {
            id: KeyspaceNumber(number(17)?.try_into().map_err(|_| Malformed)?),
            name: find(TAG_KEYSPACE_NAME)
                .and_then(|bytes| str::from_utf8(bytes).ok())
                .ok_or(Malformed)?
                .into(),
        };
        let deadlines = match find(TAG_DEADLINES) {
            None => None,
            Some(bytes) => match bytes.as_chunks::<8>() {
                ([min, max], []) => Some((u64::from_le_bytes(*min), u64::from_le_bytes(*max))),
                _ => return Err(Malformed),
            },
        };
        let spread = parse_spread(find(TAG_SPREAD).unwrap_or_default()).ok_or(Malformed)?;
        Ok(Self {
            meta: TableMeta {
                number: FileNumber::new(number(1)?),
                len: file_len,
                smallest: bound(TAG_SMALLEST)?,
                largest: bound(TAG_LARGEST)?,
                first_seq: seq(2)?,
                last_seq: seq(3)?,
                entries: number(4)?,
                deletes: number(5)?,
                range_deletes: number(6)?,
                deadlines,
                spread,
                raw_key_len: number(7)?,
                raw_value_len: number(8)?,
                created_at_ms: number(9)?,
            },
            owner,
            data_blocks: number(10)?,
            data_len: number(11)?,
            index_partitions: number(12)?,
            block_len: number(13)?,
            restart_interval: number(14)?,
            filter_bits_per_key: number(15)?,
            filter_keys: number(16)?,
        })
    }
}

fn parse_spread(bytes: &[u8]) -> Option<Spread> {
    let (numbers, []) = bytes.as_chunks::<8>() else {
        return None;
    };
    let numbers: Vec<_> = numbers.iter().map(|one| u64::from_le_bytes(*one)).collect();
    let (pairs, []) = numbers.as_chunks::<2>() else {
        return None;
    };
    let buckets = pairs
        .iter()
        .map(|&[deadline, len]| Expiring { deadline, len });
    Spread::from_buckets(buckets.collect())
}

fn append_record(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&len_u32(bytes.len()).to_le_bytes());
    out.extend_from_slice(bytes);
}

struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(u8, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let record = rest
            .split_first_chunk::<4>()
            .and_then(|(len, rest)| rest.split_at_checked(u32::from_le_bytes(*len) as usize));
        Some(match record {
            Some((bytes, rest)) => {
                self.0 = rest;
                Ok((tag, bytes))
            }
            None => {
                self.0 = &[];
                Err(Malformed)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_back_whole_and_not_in_part() {
        let key = |user: &[u8]| InternalKey::new(user, SeqNo::new(5), Kind::Put).to_vec();
        let properties = TableProperties {
            meta: TableMeta {
                number: FileNumber::new(1),
                len: 999,
                smallest: key(b"a"),
                largest: key(b"z"),
                first_seq: SeqNo::new(2),
                last_seq: SeqNo::new(3),
                entries: 4,
                deletes: 5,
                range_deletes: 6,
                deadlines: Some((7, 8)),
                spread: Spread::from_buckets(vec![
                    Expiring {
                        deadline: 7,
                        len: 1 << 40,
                    },
                    Expiring {
                        deadline: 8,
                        len: 2,
                    },
                ])
                .unwrap(),
                raw_key_len: 9,
                raw_value_len: 10,
                created_at_ms: 11,
            },
            owner: TableOwner {
                id: KeyspaceNumber(19),
                name: "some keyspace".into(),
            },
            data_blocks: 12,
            data_len: 13,
            index_partitions: 14,
            block_len: 15,
            restart_interval: 16,
            filter_bits_per_key: 17,
            filter_keys: 18,
        };
        let mut encoded = properties.encode();
        for cut in 0..encoded.len() {
            // Without its last records the table merely has no deadlines, or is one of an earlier build.
            let spread = 5 + 2 * 16;
            let whole = [spread, spread + 21].contains(&(encoded.len() - cut));
            assert_eq!(
                TableProperties::parse(&encoded[..cut], 999).is_ok(),
                whole,
                "cut at {cut}"
            );
        }
        append_record(&mut encoded, 0x7f, b"from a later build");
        assert_eq!(TableProperties::parse(&encoded, 999), Ok(properties));
    }
}
