//! Little-endian fields: taking them off the front of untrusted bytes, and putting them behind one
//! another; and numbers as text.
//!
//! What is written down for other nodes and for later versions is written with these two, so that
//! reading is total: any bytes give a value or `None`, and no length that they claim makes anybody
//! reserve more memory than the bytes themselves take.
//!
//! ```
//! use ringwood_types::bytes::{Reader, Writer};
//!
//! let mut writer = Writer::new();
//! writer.u16(7);
//! writer.bytes(b"key");
//! let written = writer.into_vec();
//!
//! let mut reader = Reader(&written);
//! assert_eq!(reader.u16(), Some(7));
//! assert_eq!(reader.bytes(), Some(&b"key"[..]));
//! assert!(reader.is_empty());
//! ```

use alloc::vec::Vec;

/// What is left to read. Every method gives `None` where too little is left.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// A byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Sixteen bytes.
    pub fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// A number that takes the fewer bytes the smaller it is: seven bits in each, lowest first, bit 7
    /// set on all but the last. It has one encoding.
    pub fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None; // beyond 64 bits
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return (byte != 0 || shift == 0).then_some(number);
            }
        }
        None
    }

    /// A byte that is 0 or 1.
    pub fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// How many items follow, each of at least `len_min` bytes: no more than there is room for.
    pub fn count(&mut self, len_min: usize) -> Option<usize> {
        let count = usize::try_from(self.u32()?).ok()?;
        (count <= self.0.len() / len_min.max(1)).then_some(count)
    }

    /// As [`count`](Self::count), of a number that is a varint.
    pub fn short_count(&mut self, len_min: usize) -> Option<usize> {
        let count = usize::try_from(self.varint()?).ok()?;
        (count <= self.0.len() / len_min.max(1)).then_some(count)
    }

    /// Bytes that say how many they are.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.take(len)
    }

    /// Text that says how long it is.
    pub fn str(&mut self) -> Option<&'a str> {
        str::from_utf8(self.bytes()?).ok()
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What has been written so far.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Bytes as they are, without their number.
    pub fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A byte.
    pub fn u8(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Two bytes.
    pub fn u16(&mut self, number: u16) {
        self.put(&number.to_le_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, number: u32) {
        self.put(&number.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, number: u64) {
        self.put(&number.to_le_bytes());
    }

    /// Sixteen bytes.
    pub fn u128(&mut self, number: u128) {
        self.put(&number.to_le_bytes());
    }

    /// A number that takes the fewer bytes the smaller it is.
    #[allow(clippy::cast_possible_truncation)] // seven bits of it
    pub fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.u8(number as u8 | 0x80);
            number >>= 7;
        }
        self.u8(number as u8);
    }

    /// A byte that is 0 or 1.
    pub fn bool(&mut self, yes: bool) {
        self.u8(u8::from(yes));
    }

    /// How many items follow.
    ///
    /// # Panics
    /// With 2^32 or more: nothing that is sent or stored as one piece is that large.
    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("a piece has fewer than 2^32 items"));
    }

    /// Bytes behind their number.
    ///
    /// # Panics
    /// As [`count`](Self::count).
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.put(bytes);
    }

    /// Text behind its length.
    ///
    /// # Panics
    /// As [`count`](Self::count).
    pub fn str(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

/// A number as sixteen hexadecimal digits, without going through a formatter: every answer has a few.
#[must_use]
pub const fn hexadecimal(number: u64) -> [u8; 16] {
    #[allow(clippy::cast_possible_truncation)] // the halves of it
    let (high, low) = (digits((number >> 32) as u32), digits(number as u32));
    let mut text = [0; 16];
    let mut at = 0;
    while at < 8 {
        (text[at], text[at + 8]) = (high[at], low[at]);
        at += 1;
    }
    text
}

/// Eight digits at once: a byte of the word each.
const fn digits(number: u32) -> [u8; 8] {
    let mut word = number as u64;
    word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    word = (word | word << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // Six more carry into the upper half where the digit is a letter.
    let letters = ((word + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (word + 0x3030_3030_3030_3030 + letters * (b'a' - b'0' - 10) as u64).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;

    proptest! {
        #[test]
        fn digits_are_those_of_the_formatter(number: u64) {
            let expected = format!("{number:016x}");
            prop_assert_eq!(&hexadecimal(number)[..], expected.as_bytes());
        }

        #[test]
        fn fields_are_read_back(
            a: u8, b: u16, c: u32, d: u64, e: u128, yes: bool, bytes: Vec<u8>, text: std::string::String,
        ) {
            let mut writer = Writer::new();
            assert!(writer.is_empty());
            writer.u8(a);
            writer.u16(b);
            writer.u32(c);
            writer.u64(d);
            writer.u128(e);
            writer.bool(yes);
            writer.bytes(&bytes);
            writer.str(&text);
            prop_assert_eq!(writer.len(), 1 + 2 + 4 + 8 + 16 + 1 + 4 + bytes.len() + 4 + text.len());
            let written = writer.into_vec();
            let mut reader = Reader(&written);
            prop_assert_eq!(reader.u8(), Some(a));
            prop_assert_eq!(reader.u16(), Some(b));
            prop_assert_eq!(reader.u32(), Some(c));
            prop_assert_eq!(reader.u64(), Some(d));
            prop_assert_eq!(reader.u128(), Some(e));
            prop_assert_eq!(reader.bool(), Some(yes));
            prop_assert_eq!(reader.bytes(), Some(&bytes[..]));
            prop_assert!(!reader.is_empty());
            prop_assert_eq!(reader.str(), Some(&text[..]));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn a_varint_is_read_back(number: u64, shift in 0..64u32) {
            let mut writer = Writer::new();
            writer.varint(number >> shift);
            let written = writer.into_vec();
            prop_assert_eq!(Reader(&written).varint(), Some(number >> shift));
            prop_assert_eq!(Reader(&written[1..]).varint().is_none(), written.len() == 1);
            prop_assert_eq!(Reader(&written[..written.len() - 1]).varint(), None);
        }

        #[test]
        fn a_varint_has_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader(&bytes);
            if let Some(number) = reader.varint() {
                let mut writer = Writer::new();
                writer.varint(number);
                prop_assert_eq!(writer.into_vec(), &bytes[..bytes.len() - reader.0.len()]);
            }
        }
    }

    #[test]
    fn a_varint_ends_with_the_largest_number() {
        let mut largest = [0xff; 10];
        largest[9] = 1;
        assert_eq!(Reader(&largest).varint(), Some(u64::MAX));
        largest[9] = 3;
        assert_eq!(Reader(&largest).varint(), None);
        assert_eq!(Reader(&[0x80, 0]).varint(), None);
        assert_eq!(Reader(&[0xff; 11]).varint(), None);
    }

    #[test]
    fn what_claims_more_than_there_is_is_refused() {
        let claims = [9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Reader(&claims).bytes(), None);
        assert_eq!(Reader(&claims).count(1), None);
        let claims = [4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Reader(&claims).count(3), None);
        assert_eq!(Reader(&claims).count(2), Some(4));
        assert_eq!(Reader(&claims).count(0), Some(4));
        assert_eq!(Reader(&[2]).bool(), None);
        assert_eq!(Reader(&[1, 0, 0, 0, 0xff]).str(), None);
    }
}
