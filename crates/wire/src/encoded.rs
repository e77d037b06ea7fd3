//! What encodes itself: bodies of messages, and what they are made of.
//!
//! A value has one encoding. A type that must be able to change begins its encoding with a format byte
//! of its own; what merely travels inside of a message changes with that message's kind.

use alloc::vec::Vec;
use core::fmt;

use ringwood_types::bytes::{Reader, Writer};
use ringwood_types::{
    ClusterId, Dot, Epoch, Hlc, Incarnation, NamespaceId, NodeId, PartitionId, Version,
};

mod generic;

/// A value that can be written, and read from bytes that nobody vouches for.
///
/// ```
/// use ringwood_types::NodeId;
/// use ringwood_wire::{Encoded, Malformed};
///
/// let bytes = NodeId::new(7).to_vec();
/// assert_eq!(NodeId::decode(&bytes), Ok(NodeId::new(7)));
/// assert_eq!(NodeId::decode(&bytes[..3]), Err(Malformed { at: 0 }));
/// ```
pub trait Encoded: Sized {
    /// Appends the encoding.
    fn write(&self, to: &mut Writer);

    /// Takes one value off the front; `None` where there is none.
    fn read(from: &mut Reader<'_>) -> Option<Self>;

    /// The encoding alone.
    #[must_use]
    fn to_vec(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.into_vec()
    }

    /// The value that all of `bytes` encodes.
    ///
    /// # Errors
    /// [`Malformed`] where they encode none, or something is left over.
    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let value = Self::read(&mut reader).filter(|_| reader.is_empty());
        let at = bytes.len() - reader.0.len();
        value.ok_or(Malformed { at })
    }
}

/// Bytes that are not what they should be. Nothing was done on account of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// How many of them were understood.
    pub at: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed behind byte {}", self.at)
    }
}

impl core::error::Error for Malformed {}

/// Ids and the like: a number that stands alone.
macro_rules! numbers {
    ($($name:ident: $width:ident by $new:ident, $get:ident;)*) => {$(
        impl Encoded for $name {
            fn write(&self, to: &mut Writer) {
                to.$width(self.$get());
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                from.$width().map(Self::$new)
            }
        }
    )*};
}

numbers! {
    ClusterId: u128 by new, get;
    Epoch: varint by new, get;
    Hlc: u64 by from_bits, to_bits;
    Incarnation: u64 by new, get;
    NamespaceId: u32 by new, get;
    NodeId: u64 by new, get;
    PartitionId: u16 by new, get;
}

impl Encoded for Dot {
    fn write(&self, to: &mut Writer) {
        self.incarnation.write(to);
        to.varint(self.counter);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            incarnation: Incarnation::read(from)?,
            counter: from.varint()?,
        })
    }
}

impl Encoded for Version {
    fn write(&self, to: &mut Writer) {
        self.time.write(to);
        self.dot.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            time: Hlc::read(from)?,
            dot: Dot::read(from)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back<T: Encoded + PartialEq + fmt::Debug>(value: &T) {
        let bytes = value.to_vec();
        assert_eq!(T::decode(&bytes).as_ref(), Ok(value));
        for cut in 0..bytes.len() {
            assert!(T::decode(&bytes[..cut]).is_err());
        }
        let more = [&bytes[..], &[0]].concat();
        assert_eq!(T::decode(&more), Err(Malformed { at: bytes.len() }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(node: u64, small: u16, time: u64, counter: u64) {
            there_and_back(&NodeId::new(node));
            there_and_back(&ClusterId::new(u128::from(node) << 64 | u128::from(time)));
            there_and_back(&Epoch::new(counter));
            there_and_back(&PartitionId::new(small));
            there_and_back(&NamespaceId::new(u32::from(small)));
            let dot = Dot { incarnation: Incarnation::new(node), counter };
            there_and_back(&Version { time: Hlc::from_bits(time), dot });
        }

        #[test]
        fn any_bytes_are_a_version_or_refused(bytes: Vec<u8>) {
            if let Ok(version) = Version::decode(&bytes) {
                prop_assert_eq!(version.to_vec(), bytes);
            }
        }
    }
}
