//! Comparing short byte strings, eight bytes at a time.
//!
//! Keys of one store mostly begin alike and are short: the system's `memcmp` then costs more in its
//! call, and in waiting for what was just written, than in comparing.

use std::cmp::Ordering;

/// Bytes that both begin with.
#[inline]
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let (a_words, _) = a.as_chunks::<8>();
    let (b_words, _) = b.as_chunks::<8>();
    let mut same = 0;
    for (x, y) in a_words.iter().zip(b_words) {
        let difference = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if difference != 0 {
            return same + difference.trailing_zeros() as usize / 8;
        }
        same += 8;
    }
    same + a[same..]
        .iter()
        .zip(&b[same..])
        .take_while(|(x, y)| x == y)
        .count()
}

/// Which of two byte strings sorts first.
#[inline]
pub(crate) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let len = a.len().min(b.len());
    let (a_words, _) = a[..len].as_chunks::<8>();
    let (b_words, _) = b[..len].as_chunks::<8>();
    for (x, y) in a_words.iter().zip(b_words) {
        let order = u64::from_be_bytes(*x).cmp(&u64::from_be_bytes(*y));
        if order.is_ne() {
            return order;
        }
    }
    let rest = len - len % 8;
    head(&a[..len], rest)
        .cmp(&head(&b[..len], rest))
        .then_with(|| a.len().cmp(&b.len()))
}

/// Whether two byte strings are the same.
#[inline]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && starts_with(a, b)
}

/// Whether `bytes` begin with `prefix`.
#[inline]
pub(crate) fn starts_with(bytes: &[u8], prefix: &[u8]) -> bool {
    let Some(begin) = bytes.get(..prefix.len()) else {
        return false;
    };
    let (Some(end), Some(prefix_end)) = (begin.last_chunk::<8>(), prefix.last_chunk::<8>()) else {
        return begin.iter().zip(prefix).all(|(x, y)| x == y);
    };
    // What the words leave over lies in the last eight bytes.
    let mut words = begin
        .as_chunks::<8>()
        .0
        .iter()
        .zip(prefix.as_chunks::<8>().0);
    u64::from_ne_bytes(*end) == u64::from_ne_bytes(*prefix_end)
        && words.all(|(x, y)| u64::from_ne_bytes(*x) == u64::from_ne_bytes(*y))
}

/// The eight bytes from `at` on, as a number that sorts like them; filled up with zeros.
///
/// # Panics
/// When `at` is behind the end.
#[inline]
pub(crate) fn head(bytes: &[u8], at: usize) -> u64 {
    let rest = &bytes[at..];
    if let Some(first) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*first);
    }
    match bytes.last_chunk::<8>() {
        Some(last) if !rest.is_empty() => u64::from_be_bytes(*last) << (64 - 8 * rest.len()),
        _ => rest
            .iter()
            .rev()
            .fold(0, |head, &byte| head >> 8 | u64::from(byte) << 56),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn short() -> impl Strategy<Value = Vec<u8>> {
        // Few letters, so that much is alike.
        proptest::collection::vec(0..2_u8, 0..20)
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_way(a in short(), b in short()) {
            let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
            prop_assert_eq!(common_prefix(&a, &b), same);
            prop_assert_eq!(compare(&a, &b), a.cmp(&b));
            prop_assert_eq!(starts_with(&a, &b), a.starts_with(&b));
            prop_assert!(starts_with(&a, &a[..same]));
            prop_assert_eq!(equal(&a, &b), a == b);
            prop_assert!(equal(&a, &a.clone()));
        }

        #[test]
        fn every_byte_counts(a in any::<[u8; 19]>(), at in 0..19_usize, byte in any::<u8>()) {
            let mut b = a;
            b[at] = byte;
            for len in 0..=a.len() {
                prop_assert_eq!(compare(&a[..len], &b), a[..len].cmp(&b));
                prop_assert_eq!(compare(&b, &a[..len]), b[..].cmp(&a[..len]));
            }
        }

        #[test]
        fn heads_sort_like_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            for at in 0..=bytes.len() {
                let mut first = [0; 8];
                let rest = &bytes[at..];
                let len = rest.len().min(8);
                first[..len].copy_from_slice(&rest[..len]);
                prop_assert_eq!(head(&bytes, at), u64::from_be_bytes(first));
            }
        }
    }
}
