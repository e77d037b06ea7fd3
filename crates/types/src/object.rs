//! Objects: what a key holds, its concurrent versions and its tombstones.
//!
//! Where the last write wins there is one version, and its past is empty: its time replaces everything
//! earlier. Elsewhere each version says what it replaces, and those that do not know of each other stay.
//!
//! # Invariants
//! - `object-1`: the siblings of an object are sorted by dot, and no two have the same.
//!
//! # Format
//! The stored form, a [`record`] of kind 3, and the form in which objects travel:
//! ```text
//! format u8 = 1 | kind u8 = 3 | flags u8 = 0 | siblings varint | siblings × sibling
//! sibling: flags u8 | incarnation u64 | counter u64 | hybrid time u64 | deadline u64? | past
//!          | content type length u8 | content type | value length u32 | value             (little-endian)
//! ```
//! | flag of a sibling | meaning |
//! |---|---|
//! | 1 | a tombstone: no content type, no value and no deadline |
//! | 2 | minted by a guest |
//! | 4 | it has a deadline, in milliseconds since the Unix epoch |

use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use crate::bytes::{Reader, Writer};
use crate::dot::{Dot, Incarnation};
use crate::hlc::Hlc;
use crate::past::Past;
use crate::record::{self, Record, RecordError, RecordHead};
use crate::version::Version;

const TOMBSTONE: u8 = 1;
const GUEST: u8 = 2;
const DEADLINE: u8 = 4;

/// Fewest bytes of a sibling: flags, version, an empty past and two lengths.
const SIBLING_LEN_MIN: usize = 1 + 24 + 2 + 1 + 4;

/// What a version says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It has a value.
    Live,
    /// It was deleted.
    Tombstone,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sibling {
    /// Which write made it, and when.
    pub version: Version,
    /// What it says of the key.
    pub kind: Kind,
    /// Whether a node minted it that was no replica (rule 3 of CAUSALITY): its dot says nothing of others.
    pub is_guest: bool,
    /// What the user said the bytes are; empty for nothing. At most [`Record::CONTENT_TYPE_LEN_MAX`] bytes.
    pub content_type: String,
    /// The user's bytes.
    pub value: Bytes,
    /// From when on it counts as a tombstone, in milliseconds since the Unix epoch.
    pub deadline: Option<u64>,
    /// What it replaces. Transitive: what those replaced is in it too.
    pub past: Past,
}

/// What a key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Object {
    siblings: Vec<Sibling>,
}

impl Sibling {
    /// A tombstone.
    #[must_use]
    pub const fn tombstone(version: Version, past: Past) -> Self {
        Self {
            version,
            kind: Kind::Tombstone,
            is_guest: false,
            content_type: String::new(),
            value: Bytes::new(),
            deadline: None,
            past,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn dot(&self) -> Dot {
        self.version.dot
    }

    /// Whether there is nothing to show at `now_ms`: it is a tombstone, or past its deadline.
    #[must_use]
    pub fn is_dead(&self, now_ms: u64) -> bool {
        self.kind == Kind::Tombstone || self.deadline.is_some_and(|deadline| deadline <= now_ms)
    }

    fn write(&self, to: &mut Writer) {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        to.u8(flag(self.kind == Kind::Tombstone, TOMBSTONE)
            | flag(self.is_guest, GUEST)
            | flag(self.deadline.is_some(), DEADLINE));
        to.u64(self.version.dot.incarnation.get());
        to.u64(self.version.dot.counter);
        to.u64(self.version.time.to_bits());
        if let Some(deadline) = self.deadline {
            to.u64(deadline);
        }
        self.past.write(to);
        let len = u8::try_from(self.content_type.len()).expect("content types were checked");
        to.u8(len);
        to.put(self.content_type.as_bytes());
        to.bytes(&self.value);
    }

    fn read(from: &mut Reader<'_>, of: &Bytes) -> Option<Self> {
        let flags = from.u8()?;
        if flags & !(TOMBSTONE | GUEST | DEADLINE) != 0 {
            return None;
        }
        let dot = Dot {
            incarnation: Incarnation::new(from.u64()?),
            counter: from.u64()?,
        };
        let time = Hlc::from_bits(from.u64()?);
        let deadline = match flags & DEADLINE {
            0 => None,
            _ => Some(from.u64()?),
        };
        let past = Past::read(from)?;
        let content_type_len = usize::from(from.u8()?);
        let content_type = str::from_utf8(from.take(content_type_len)?).ok()?;
        let value = from.bytes()?;
        let is_tombstone = flags & TOMBSTONE != 0;
        let is_bare = content_type.is_empty() && value.is_empty() && deadline.is_none();
        (!is_tombstone || is_bare).then(|| Self {
            version: Version { time, dot },
            kind: if is_tombstone {
                Kind::Tombstone
            } else {
                Kind::Live
            },
            is_guest: flags & GUEST != 0,
            content_type: content_type.into(),
            value: of.slice_ref(value),
            deadline,
            past,
        })
    }
}

impl Object {
    /// Of a key that nothing is known of.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            siblings: Vec::new(),
        }
    }

    /// Its versions, sorted by dot.
    #[must_use]
    pub fn siblings(&self) -> &[Sibling] {
        &self.siblings
    }

    /// Whether nothing is known of its key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.siblings.is_empty()
    }

    /// The version of this name.
    #[must_use]
    pub fn get(&self, dot: Dot) -> Option<&Sibling> {
        let at = self.find(dot).ok()?;
        Some(&self.siblings[at])
    }

    /// Puts a version in, in place of one of the same name.
    pub fn insert(&mut self, sibling: Sibling) {
        match self.find(sibling.dot()) {
            Ok(at) => self.siblings[at] = sibling,
            Err(at) => self.siblings.insert(at, sibling),
        }
    }

    /// Takes out those that `keep` is false for; whether there were any.
    pub fn retain(&mut self, keep: impl FnMut(&Sibling) -> bool) -> bool {
        let before = self.siblings.len();
        self.siblings.retain(keep);
        self.siblings.len() < before
    }

    /// The one that wins where the last write does.
    #[must_use]
    pub fn latest(&self) -> Option<&Sibling> {
        self.siblings.iter().max_by_key(|sibling| sibling.version)
    }

    /// What someone has read who has read all of it (rule 2 of CAUSALITY).
    #[must_use]
    pub fn context(&self) -> Past {
        let mut context = Past::new();
        for sibling in &self.siblings {
            context.merge(&sibling.past);
            if sibling.is_guest {
                context.add_single(sibling.dot());
            } else {
                context.add_all_to(sibling.dot());
            }
        }
        context
    }

    /// The stored form, which is also the one that travels.
    ///
    /// # Panics
    /// With a content type or a value that is too long: to be refused when the request is checked.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.put(&[record::FORMAT, record::KIND_OBJECT, 0]);
        writer.varint(self.siblings.len() as u64);
        self.siblings
            .iter()
            .for_each(|sibling| sibling.write(&mut writer));
        writer.into_vec()
    }

    /// Reads any stored record. `deadline` is that of the engine's entry, and the deadline of a record of
    /// one version; siblings have their own. Values share the memory of `stored`.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(stored: &Bytes, deadline: Option<u64>) -> Result<Self, RecordError> {
        if let [record::FORMAT, record::KIND_OBJECT, flags, content @ ..] = &stored[..] {
            return match flags {
                0 => Self::read(Reader(content), stored).ok_or(RecordError::Object),
                _ => Err(RecordError::Flags(*flags)),
            };
        }
        let head = RecordHead::decode(stored)?;
        let is_tombstone = head.is_tombstone();
        let content_type = str::from_utf8(&stored[head.content_type()]);
        let sibling = Sibling {
            version: head.version,
            kind: if is_tombstone {
                Kind::Tombstone
            } else {
                Kind::Live
            },
            is_guest: false,
            content_type: content_type.map_err(|_| RecordError::ContentType)?.into(),
            value: stored.slice(head.value_start()..),
            deadline: deadline.filter(|_| !is_tombstone),
            past: Past::new(),
        };
        Ok(sibling.into())
    }

    fn read(mut from: Reader<'_>, of: &Bytes) -> Option<Self> {
        let count = from.short_count(SIBLING_LEN_MIN)?;
        // A sibling takes more here than there, where it has no value.
        const { assert!(mem::size_of::<Sibling>() < 8 * SIBLING_LEN_MIN) };
        let mut siblings: Vec<Sibling> = Vec::with_capacity(count);
        for _ in 0..count {
            let sibling = Sibling::read(&mut from, of)?;
            if siblings
                .last()
                .is_some_and(|last| last.dot() >= sibling.dot())
            {
                return None;
            }
            siblings.push(sibling);
        }
        from.is_empty().then_some(Self { siblings })
    }

    fn find(&self, dot: Dot) -> Result<usize, usize> {
        self.siblings.binary_search_by_key(&dot, Sibling::dot)
    }
}

impl From<Sibling> for Object {
    fn from(sibling: Sibling) -> Self {
        Self {
            siblings: [sibling].into(),
        }
    }
}

impl FromIterator<Sibling> for Object {
    fn from_iter<I: IntoIterator<Item = Sibling>>(siblings: I) -> Self {
        let mut object = Self::new();
        siblings
            .into_iter()
            .for_each(|sibling| object.insert(sibling));
        object
    }
}

impl Record<'_> {
    /// The stored form of the only version of a key where the last write wins. The deadline is the engine's.
    ///
    /// # Panics
    /// As [`Record::head`].
    #[must_use]
    pub fn of(sibling: &Sibling) -> Vec<u8> {
        match sibling.kind {
            Kind::Tombstone => Self::tombstone(sibling.version).into(),
            Kind::Live => Record {
                version: sibling.version,
                content_type: &sibling.content_type,
                value: &sibling.value,
            }
            .to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::past::tests::{dots, pasts};
    use proptest::prelude::*;
    use std::vec;

    fn siblings() -> impl Strategy<Value = Sibling> {
        let dot = (0u64..6, 1u64..9);
        let user = ("[a-z/]{0,9}", any::<Vec<u8>>(), any::<Option<u64>>());
        (dot, any::<u64>(), any::<bool>(), user, pasts()).prop_map(
            |(dot, time, is_tombstone, (content_type, value, deadline), past)| {
                let version = Version {
                    time: Hlc::from_bits(time),
                    dot: Dot {
                        incarnation: Incarnation::new(dot.0),
                        counter: dot.1,
                    },
                };
                let tombstone = Sibling {
                    is_guest: dot.0 >= 4,
                    ..Sibling::tombstone(version, past)
                };
                if is_tombstone {
                    return tombstone;
                }
                Sibling {
                    kind: Kind::Live,
                    content_type,
                    value: value.into(),
                    deadline,
                    ..tombstone
                }
            },
        )
    }

    fn objects() -> impl Strategy<Value = Object> {
        proptest::collection::vec(siblings(), 0..5).prop_map(Object::from_iter)
    }

    proptest! {
        #[test]
        fn an_object_is_read_back(object in objects()) {
            let stored = Bytes::from(object.to_vec());
            prop_assert_eq!(Object::decode(&stored, Some(7)), Ok(object.clone()));
            for cut in 0..stored.len() {
                prop_assert!(Object::decode(&stored.slice(..cut), None).is_err());
            }
            prop_assert!(object.siblings().is_sorted_by_key(Sibling::dot));
        }

        #[test]
        fn a_context_is_all_of_its_object(object in objects()) {
            let context = object.context();
            for dot in dots() {
                let known = object.siblings().iter().any(|sibling| {
                    let own = sibling.dot();
                    let spans = !sibling.is_guest && own.incarnation == dot.incarnation && own.counter > dot.counter;
                    own == dot || spans || sibling.past.covers(dot)
                });
                prop_assert_eq!(context.covers(dot), known);
            }
        }

        #[test]
        fn a_record_of_one_version_is_an_object(sibling in siblings()) {
            let sibling = Sibling { past: Past::new(), is_guest: false, ..sibling };
            let stored = Bytes::from(Record::of(&sibling));
            prop_assert_eq!(RecordHead::decode(&stored).unwrap().version, sibling.version);
            prop_assert_eq!(Object::decode(&stored, sibling.deadline), Ok(sibling.into()));
        }

        #[test]
        fn any_bytes_are_an_object_or_refused(object in objects(), at: prop::sample::Index, with: u8, noise: Vec<u8>) {
            let _ = Object::decode(&Bytes::from(noise), None);
            let mut changed = object.to_vec();
            let at = at.index(changed.len());
            changed[at] = with;
            let changed = Bytes::from(changed);
            if let Ok(read) = Object::decode(&changed, None)
                && changed[1] == record::KIND_OBJECT
            {
                prop_assert_eq!(read.to_vec(), &changed[..]); // it has one encoding
            }
        }
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        let of = |bytes: &[u8]| Object::decode(&Bytes::copy_from_slice(bytes), None);
        assert_eq!(of(&[1, 3, 0, 0]), Ok(Object::new()));
        assert_eq!(of(&[1, 3, 1, 0]), Err(RecordError::Flags(1)));
        assert_eq!(of(&[1, 3, 0, 0, 0]), Err(RecordError::Object));
        assert_eq!(of(&[1, 3, 0, 200, 1]), Err(RecordError::Object));
        assert_eq!(of(&[1, 4, 0, 0]), Err(RecordError::Kind(4)));
        assert_eq!(of(&[2, 3, 0, 0]), Err(RecordError::Format(2)));
        let mut sibling = vec![1, 3, 0, 1, TOMBSTONE];
        sibling.extend_from_slice(&[0; 24]);
        sibling.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, b'v']);
        assert_eq!(of(&sibling), Err(RecordError::Object));
        sibling[4] = 8;
        assert_eq!(of(&sibling), Err(RecordError::Object));
        sibling[4] = 0;
        assert!(of(&sibling).is_ok());
    }

    #[test]
    fn values_share_the_memory_they_came_in() {
        let mut sibling = Sibling::tombstone(
            Version {
                time: Hlc::at(1),
                dot: Dot {
                    incarnation: Incarnation::new(1),
                    counter: 1,
                },
            },
            Past::new(),
        );
        sibling.kind = Kind::Live;
        sibling.value = Bytes::from(vec![7; 100]);
        let stored = Bytes::from(Object::from(sibling).to_vec());
        let read = Object::decode(&stored, None).unwrap();
        let value = &read.siblings()[0].value;
        assert!(stored.as_ptr_range().contains(&value.as_ptr()));
    }
}
