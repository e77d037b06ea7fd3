use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::key::{Kind, SeqNo};
use crate::sstable::filter_hash;
use crate::sstable::tests::cases;

type Entries = Vec<(Vec<u8>, u64, Vec<u8>)>;

fn build(entries: &Entries, restart_interval: usize) -> Vec<u8> {
    let mut builder = DataBlockBuilder::new(restart_interval);
    for (user, seq, value) in entries {
        let key = InternalKey::new(user, SeqNo::new(*seq), Kind::Put);
        builder.add(key, value, filter_hash(user));
    }
    builder.finish().to_vec()
}

fn cursor_over(payload: Vec<u8>) -> BlockCursor {
    let block = DataBlock::parse(Payload::from(payload)).unwrap();
    let mut cursor = BlockCursor::default();
    cursor.set_block(Arc::new(Block::Data(block)));
    cursor
}

fn current(cursor: &BlockCursor) -> Option<(Vec<u8>, u64, Vec<u8>)> {
    cursor.valid().then(|| {
        (
            cursor.key().user.to_vec(),
            cursor.key().seq().get(),
            cursor.value().to_vec(),
        )
    })
}

/// Sorted as internal keys, each once, over few user keys.
fn entries() -> impl Strategy<Value = Entries> {
    let user = prop_oneof![
        proptest::collection::vec(0u8..3, 0..6),
        proptest::collection::vec(b'x'..=b'z', 20..40),
        proptest::collection::vec(Just(b'k'), 100..200),
    ];
    let entry = (
        user,
        0u64..6,
        proptest::collection::vec(any::<u8>(), 0..300),
    );
    proptest::collection::vec(entry, 1..80).prop_map(|mut entries| {
        entries.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        entries.dedup_by(|a, b| (&a.0, a.1) == (&b.0, b.1));
        entries
    })
}

proptest! {
    #![proptest_config(cases(64))]
    #[test]
    fn gets_and_seeks_agree_with_a_sorted_list(entries in entries(), interval in 1usize..20, other in entries()) {
        let payload = build(&entries, interval);
        let block = DataBlock::parse(Payload::from(payload.clone())).unwrap();
        let mut cursor = cursor_over(payload);
        for (user, seq, _) in entries.iter().chain(&other) {
            let target = InternalKey::seek_to(user, SeqNo::new(*seq));
            let expected = entries.iter().find(|e| InternalKey::new(&e.0, SeqNo::new(e.1), Kind::Put) >= target);
            cursor.seek(target).unwrap();
            prop_assert_eq!(current(&cursor), expected.cloned());
            let found = block.get(target, filter_hash(user)).unwrap();
            let value = found.map(|found| block.bytes()[found.value].to_vec());
            prop_assert_eq!(value.as_ref(), expected.filter(|e| e.0 == *user).map(|e| &e.2));
            let expected = entries.iter().rfind(|e| InternalKey::new(&e.0, SeqNo::new(e.1), Kind::Put) <= target);
            cursor.seek_back(target).unwrap();
            prop_assert_eq!(current(&cursor), expected.cloned());
        }
    }

    #[test]
    fn walks_in_both_directions_meet_every_entry(entries in entries(), interval in 1usize..20, steps in proptest::collection::vec(any::<bool>(), 0..60)) {
        let mut cursor = cursor_over(build(&entries, interval));
        cursor.seek_to_first().unwrap();
        for entry in &entries {
            prop_assert_eq!(current(&cursor), Some(entry.clone()));
            cursor.next().unwrap();
        }
        prop_assert!(!cursor.valid());
        cursor.seek_to_last().unwrap();
        for entry in entries.iter().rev() {
            prop_assert_eq!(current(&cursor), Some(entry.clone()));
            cursor.prev().unwrap();
        }
        prop_assert!(!cursor.valid());
        // Back and forth from the middle.
        let mut at = entries.len() / 2;
        let middle = InternalKey::new(&entries[at].0, SeqNo::new(entries[at].1), Kind::Put);
        cursor.seek(middle).unwrap();
        for forward in steps {
            if forward && at + 1 < entries.len() {
                at += 1;
                cursor.next().unwrap();
            } else if !forward && at > 0 {
                at -= 1;
                cursor.prev().unwrap();
            }
            prop_assert_eq!(current(&cursor), Some(entries[at].clone()));
        }
    }
}

#[test]
fn buckets_that_several_keys_share_still_lead_to_each() {
    let entries: Entries = (0..120u32)
        .map(|n| (n.to_be_bytes().to_vec(), 1, vec![b'v'; 20]))
        .collect();
    let mut builder = DataBlockBuilder::new(4);
    // One hash for all: the bucket says "several", and the search goes by order.
    for (user, seq, value) in &entries {
        builder.add(
            InternalKey::new(user, SeqNo::new(*seq), Kind::Put),
            value,
            77,
        );
    }
    let block = DataBlock::parse(Payload::from(builder.finish().to_vec())).unwrap();
    assert!(block.buckets > 0);
    for (user, ..) in &entries {
        let target = InternalKey::seek_to(user, SeqNo::MAX);
        assert!(block.get(target, 77).unwrap().is_some());
    }
    let absent = InternalKey::seek_to(b"absent", SeqNo::MAX);
    assert_eq!(block.get(absent, 77), Ok(None));
}

#[test]
fn only_blocks_with_a_choice_of_restart_points_have_buckets() {
    let entries = |count: u32| {
        (0..count)
            .map(|n| (n.to_be_bytes().to_vec(), 1, vec![]))
            .collect::<Entries>()
    };
    let buckets = |count, interval| {
        DataBlock::parse(Payload::from(build(&entries(count), interval)))
            .unwrap()
            .buckets
    };
    assert_eq!(buckets(16, 16), 0);
    assert_eq!(buckets(17, 16), 23);
    assert!(buckets(253, 1) > 0);
    assert_eq!(buckets(254, 1), 0);
}

#[test]
fn large_entries_are_restart_points_each() {
    let entries: Entries = (0..4u8).map(|n| (vec![n; 16], 1, vec![n; 1000])).collect();
    let block = DataBlock::parse(Payload::from(build(&entries, 16))).unwrap();
    assert_eq!(block.restarts, 4);
}
