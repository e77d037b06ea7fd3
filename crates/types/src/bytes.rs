//! Taking little-endian fields off the front of untrusted bytes, and writing numbers as text.

/// What is left to read. Every method gives `None` where too little is left.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
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
    }
}
