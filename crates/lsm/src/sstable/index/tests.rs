use proptest::prelude::*;

use super::*;
use crate::key::{Kind, SeqNo};

fn key(user: &[u8], seq: u64) -> InternalKey<'_> {
    InternalKey::new(user, SeqNo::new(seq), Kind::Put)
}

fn user() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(
            prop_oneof![Just(0u8), Just(1), Just(0xfe), Just(0xff)],
            0..6
        ),
        proptest::collection::vec(b'a'..=b'c', 8..24),
    ]
}

proptest! {
    #[test]
    fn a_separator_stands_between_its_blocks(a in user(), b in user(), seq_a in 0u64..9, seq_b in 0u64..9) {
        let (a, b) = (key(&a, seq_a), key(&b, seq_b));
        prop_assume!(a != b);
        let (last, next) = (a.min(b), a.max(b));
        let mut user = Vec::new();
        let trailer = separator(last, next, &mut user);
        // `after_all` is the separator with trailer 0.
        let at_or_behind_last = (&user[..], u64::MAX - trailer) >= (last.user, u64::MAX - last.trailer());
        let before_next = (&user[..], u64::MAX - trailer) < (next.user, u64::MAX - next.trailer());
        prop_assert!(at_or_behind_last && before_next);
        prop_assert!(user.len() <= last.user.len());
    }

    #[test]
    fn searches_agree_with_a_sorted_list(mut keys in proptest::collection::vec((user(), 0u64..4), 1..60), targets in proptest::collection::vec((user(), 0u64..4), 1..20)) {
        keys.sort_by(|a, b| key(&a.0, a.1).cmp(&key(&b.0, b.1)));
        keys.dedup();
        let mut builder = IndexBuilder::new(100);
        for ((user, seq), end) in keys.iter().zip(1u64..) {
            builder.add(user, key(user, *seq).trailer(), 100 + 10 * end);
        }
        let block = IndexBlock::parse(Payload::from(builder.finish())).unwrap();
        prop_assert_eq!(block.len(), keys.len());
        prop_assert_eq!((block.base(), block.end()), (100, 100 + 10 * keys.len() as u64));
        for (user, seq) in targets.iter().chain(&keys) {
            let target = InternalKey::seek_to(user, SeqNo::new(*seq));
            let expected = keys.iter().take_while(|k| key(&k.0, k.1) < target).count();
            prop_assert_eq!(block.search(target), expected);
        }
        for (i, (user, seq)) in keys.iter().enumerate() {
            prop_assert_eq!(block.separator(i), (user.clone(), key(user, *seq).trailer()));
            prop_assert_eq!(block.handle(i), BlockHandle { offset: 100 + 10 * i as u64, len: 10 });
        }
    }
}

#[test]
fn separators_are_short() {
    let shortened = |last: &[u8], next: &[u8]| {
        let mut user = Vec::new();
        separator(key(last, 1), key(next, 1), &mut user);
        user
    };
    assert_eq!(shortened(b"abcdefgh", b"abxyz"), b"abd");
    assert_eq!(shortened(b"abcdefgh", b"abdyz"), b"abd");
    assert_eq!(shortened(b"abcdefgh", b"abd"), b"abce");
    assert_eq!(shortened(b"abc\xff\xff", b"abd"), b"abc\xff\xff");
    assert_eq!(shortened(b"ab", b"abc"), b"ab");
    assert_eq!(shortened(b"", b"a"), b"");
}

#[test]
fn index_blocks_of_odd_shape_are_refused() {
    let mut builder = IndexBuilder::new(32);
    builder.add(b"apple", 0, 50);
    builder.add(b"apricot", 0, 90);
    let sound = builder.finish();
    assert!(IndexBlock::parse(Payload::from(sound.clone())).is_ok());
    for cut in 0..sound.len() {
        assert!(
            IndexBlock::parse(Payload::from(sound[..cut].to_vec())).is_err(),
            "cut at {cut}"
        );
    }
    for (at, value) in [(8, 200), (12, 200), (18, 255), (22, 90), (34, 0)] {
        let mut odd = sound.clone();
        odd[at] = value;
        assert!(IndexBlock::parse(Payload::from(odd)).is_err(), "byte {at}");
    }
}
