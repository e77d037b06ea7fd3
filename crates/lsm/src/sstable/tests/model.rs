use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::cursor::{BlockRead, Cursor, ReadTier};
use crate::error::Error;

/// What a get at `at` must return.
fn expected<'e>(entries: &'e [Entry], user: &[u8], at: u64) -> Option<&'e Entry> {
    entries
        .iter()
        .find(|entry| entry.0 == user && entry.1 <= at)
}

fn current(cursor: &TableCursor) -> Option<Entry> {
    cursor.valid().then(|| {
        let key = cursor.key();
        assert_eq!(cursor.pin_value(), cursor.value());
        (
            key.user.to_vec(),
            key.seq().get(),
            key.kind(),
            cursor.value().to_vec(),
        )
    })
}

fn check_gets(table: &TableReader, entries: &[Entry], users: &[&[u8]], read: BlockRead) {
    let seqs: Vec<u64> = entries.iter().map(|entry| entry.1).collect();
    for user in users {
        for at in seqs.iter().copied().chain([0, SeqNo::MAX.get()]) {
            let found = table
                .get(user, filter_hash(user), SeqNo::new(at), read)
                .unwrap();
            let found =
                found.map(|(seq, kind, value)| (user.to_vec(), seq.get(), kind, value.to_vec()));
            assert_eq!(found.as_ref(), expected(entries, user, at));
        }
    }
}

fn check_scans(table: &Arc<TableReader>, entries: &[Entry], read: BlockRead) {
    let mut cursor = table.cursor(read);
    cursor.seek_to_first().unwrap();
    for entry in entries {
        assert_eq!(current(&cursor).as_ref(), Some(entry));
        cursor.next().unwrap();
    }
    assert!(!cursor.valid());
    cursor.seek_to_last().unwrap();
    for entry in entries.iter().rev() {
        assert_eq!(current(&cursor).as_ref(), Some(entry));
        cursor.prev().unwrap();
    }
    assert!(!cursor.valid());
}

fn check_seeks(table: &Arc<TableReader>, entries: &[Entry], targets: &[(Vec<u8>, u64)]) {
    let mut cursor = table.cursor(BlockRead::default());
    for (user, seq) in targets {
        let seq = SeqNo::new(*seq);
        for target in [
            InternalKey::seek_to(user, seq),
            InternalKey::new(user, seq, Kind::Put),
            InternalKey::after_all(user),
        ] {
            cursor.seek(target).unwrap();
            let at = entries.partition_point(|entry| key(entry) < target);
            assert_eq!(current(&cursor).as_ref(), entries.get(at));
            if cursor.valid() && at > 0 {
                cursor.prev().unwrap();
                assert_eq!(current(&cursor).as_ref(), Some(&entries[at - 1]));
            }
            cursor.seek_back(target).unwrap();
            let behind = entries.partition_point(|entry| key(entry) <= target);
            assert_eq!(
                current(&cursor).as_ref(),
                behind.checked_sub(1).map(|at| &entries[at])
            );
            if cursor.valid() {
                cursor.next().unwrap();
                assert_eq!(current(&cursor).as_ref(), entries.get(behind));
            }
        }
    }
}

fn user_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::collection::vec(0u8..3, 0..5),
        2 => proptest::collection::vec(b'a'..=b'd', 10..40),
        1 => proptest::collection::vec(any::<u8>(), 200..400),
    ]
}

fn kind_and_value() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    let value = || {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            (any::<u8>(), 0usize..3000).prop_map(|(byte, len)| vec![byte; len]),
        ]
    };
    prop_oneof![
        3 => value().prop_map(|value| (Kind::Put, value)),
        1 => Just((Kind::Delete, Vec::new())),
        1 => (any::<u64>(), value()).prop_map(|(deadline, value)| (Kind::PutExpiring, [&deadline.to_le_bytes()[..], &value].concat())),
    ]
}

fn some_options() -> impl Strategy<Value = TableOptions> {
    let compression = prop_oneof![
        Just(Compression::None),
        Just(Compression::Lz4),
        Just(Compression::Zstd(3))
    ];
    (
        prop_oneof![Just(1usize), Just(64), Just(512), Just(4096)],
        compression,
        prop_oneof![Just(0u8), Just(1), Just(10)],
        1usize..20,
    )
        .prop_map(
            |(block_len, compression, filter_bits_per_key, restart_interval)| TableOptions {
                owner: fuzz::owner(),
                block_len,
                compression,
                filter_bits_per_key,
                restart_interval,
                drop_pages: true,
            },
        )
}

proptest! {
    #![proptest_config(cases(48))]
    #[test]
    fn a_table_is_a_sorted_map(
        drawn in proptest::collection::vec((user_key(), 0u64..40, kind_and_value()), 1..120),
        absent in proptest::collection::vec((user_key(), 0u64..40), 0..10),
        options in some_options(),
    ) {
        let mut entries: Vec<Entry> = drawn.into_iter().map(|(user, seq, (kind, value))| (user, seq, kind, value)).collect();
        sort(&mut entries);
        let disk = disk();
        let meta = write(&disk, options, &entries, &[]);
        let table = open(&disk).unwrap();
        prop_assert_eq!(&table.properties().meta, &meta);
        prop_assert_eq!(meta.smallest(), key(&entries[0]));
        prop_assert_eq!(meta.largest(), key(&entries[entries.len() - 1]));
        let users: Vec<&[u8]> = entries.iter().map(|entry| &entry.0[..]).chain(absent.iter().map(|absent| &absent.0[..])).collect();
        check_gets(&table, &entries, &users[users.len().saturating_sub(20)..], BlockRead::default());
        for (fill_cache, read_ahead) in [(false, 0), (false, 4096), (true, 0)] {
            check_scans(&table, &entries, BlockRead { fill_cache, read_ahead, ..BlockRead::default() });
        }
        let targets: Vec<_> = entries.iter().map(|entry| (entry.0.clone(), entry.1)).chain(absent).collect();
        check_seeks(&table, &entries, &targets);
        table.verify().unwrap();
    }
}

/// Enough for several index partitions.
fn many_entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = (0..3000u32)
        .map(|n| {
            (
                format!("key{:08}", n * 7).into_bytes(),
                u64::from(n % 50),
                Kind::Put,
                vec![b'v'; 90],
            )
        })
        .collect();
    sort(&mut entries);
    entries
}

#[test]
fn several_index_partitions_are_one_table() {
    let disk = disk();
    let entries = many_entries();
    write(
        &disk,
        TableOptions {
            block_len: 256,
            ..options()
        },
        &entries,
        &[],
    );
    let table = open(&disk).unwrap();
    assert!(table.properties().index_partitions > 3 && table.properties().data_blocks > 500);
    for read_ahead in [0, 1, 1 << 20] {
        check_scans(
            &table,
            &entries,
            BlockRead {
                fill_cache: false,
                read_ahead,
                ..BlockRead::default()
            },
        );
    }
    let targets: Vec<_> = entries
        .iter()
        .step_by(17)
        .flat_map(|entry| [(entry.0.clone(), 7), ([&entry.0[..], b"x"].concat(), 7)])
        .collect();
    check_seeks(&table, &entries, &targets);
    let users: Vec<&[u8]> = entries
        .iter()
        .step_by(501)
        .map(|entry| &entry.0[..])
        .collect();
    check_gets(&table, &entries, &users, BlockRead::default());
    table.verify().unwrap();
}

#[test]
fn changes_to_one_key_go_on_over_many_blocks() {
    let disk = disk();
    let entries: Vec<Entry> = (0..500u64)
        .rev()
        .map(|seq| (b"same".to_vec(), seq, Kind::Put, vec![b'v'; 50]))
        .collect();
    write(
        &disk,
        TableOptions {
            block_len: 200,
            ..options()
        },
        &entries,
        &[],
    );
    let table = open(&disk).unwrap();
    assert_eq!(table.properties().filter_keys, 1);
    check_gets(
        &table,
        &entries,
        &[b"same", b"sam", b"same\0"],
        BlockRead::default(),
    );
    check_scans(&table, &entries, BlockRead::default());
    table.verify().unwrap();
}

#[test]
fn the_longest_keys_and_long_values_and_the_empty_key_are_entries_like_others() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd(1)] {
        let disk = disk();
        let noise: Vec<u8> = (0..1 << 17u64)
            .flat_map(|n: u64| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()).to_le_bytes())
            .collect();
        let mut entries: Vec<Entry> = vec![
            (Vec::new(), 1, Kind::Put, b"empty".to_vec()),
            (vec![b'k'; 64 << 10], 2, Kind::Put, Vec::new()),
            (
                [vec![b'k'; (64 << 10) - 1], vec![b'l']].concat(),
                3,
                Kind::Put,
                vec![1; 1 << 20],
            ),
            (b"noise".to_vec(), 4, Kind::Put, noise),
            (b"small".to_vec(), 5, Kind::Delete, Vec::new()),
        ];
        sort(&mut entries);
        write(
            &disk,
            TableOptions {
                compression,
                ..options()
            },
            &entries,
            &[],
        );
        let table = open(&disk).unwrap();
        let users: Vec<&[u8]> = entries.iter().map(|entry| &entry.0[..]).collect();
        check_gets(&table, &entries, &users, BlockRead::default());
        check_scans(
            &table,
            &entries,
            BlockRead {
                fill_cache: false,
                ..BlockRead::default()
            },
        );
        table.verify().unwrap();
    }
}

#[test]
fn range_deletes_widen_the_bounds_and_may_stand_alone() {
    let disk_a = disk();
    let alone = [
        tombstone(b"d", b"f", 5),
        tombstone(b"b", b"e", 9),
        tombstone(b"x", b"x", 99),
    ];
    let meta = write(&disk_a, options(), &[], &alone);
    assert_eq!((meta.entries, meta.range_deletes), (0, 2));
    assert_eq!((meta.first_seq.get(), meta.last_seq.get()), (5, 9));
    assert_eq!(
        meta.smallest(),
        InternalKey::new(b"b", SeqNo::new(9), Kind::RangeDelete)
    );
    assert!(meta.largest_is_excluded() && meta.reaches(b"e") && !meta.reaches(b"f"));
    let table = open(&disk_a).unwrap();
    assert_eq!(
        table.range_tombstones().newest_covering(b"d", SeqNo::MAX),
        Some(SeqNo::new(9))
    );
    assert_eq!(
        table
            .get(b"d", filter_hash(b"d"), SeqNo::MAX, BlockRead::default())
            .unwrap(),
        None
    );
    check_scans(&table, &[], BlockRead::default());
    check_seeks(&table, &[], &[(b"d".to_vec(), 1)]);
    table.verify().unwrap();

    let disk_b = disk();
    let entries: Vec<Entry> = vec![
        (b"c".to_vec(), 7, Kind::Put, b"v".to_vec()),
        (b"f".to_vec(), 8, Kind::Put, b"v".to_vec()),
    ];
    let meta = write(&disk_b, options(), &entries, &alone[..2]);
    assert_eq!(meta.smallest().user, b"b");
    assert!(
        meta.reaches(b"f"),
        "the entry at the excluded end is in the table"
    );
    open(&disk_b).unwrap().verify().unwrap();
}

#[test]
fn reads_limited_to_memory_do_not_touch_the_disk() {
    let disk = disk();
    let entries = many_entries();
    write(&disk, options(), &entries, &[]);
    let table = open(&disk).unwrap();
    let memory = BlockRead {
        tier: ReadTier::Memory,
        ..BlockRead::default()
    };
    let user = &entries[1000].0;
    let get = |read| table.get(user, filter_hash(user), SeqNo::MAX, read);
    assert!(matches!(get(memory), Err(Error::WouldBlock)));
    let mut cursor = table.cursor(memory);
    assert!(matches!(cursor.seek_to_first(), Err(Error::WouldBlock)));
    assert!(!cursor.valid());
    assert!(
        get(BlockRead {
            fill_cache: false,
            ..BlockRead::default()
        })
        .unwrap()
        .is_some()
    );
    assert!(
        matches!(get(memory), Err(Error::WouldBlock)),
        "a read that may not fill the cache did"
    );
    assert!(get(BlockRead::default()).unwrap().is_some());
    let reads = disk.operations();
    assert!(get(memory).unwrap().is_some());
    cursor.seek(InternalKey::seek_to(user, SeqNo::MAX)).unwrap();
    assert!(cursor.valid());
    assert_eq!(disk.operations(), reads);
}

#[test]
fn prefetching_changes_no_answer() {
    let disk = disk();
    let entries = many_entries();
    write(&disk, options(), &entries, &[]);
    let table = open(&disk).unwrap();
    let users: Vec<&[u8]> = entries
        .iter()
        .step_by(100)
        .map(|entry| &entry.0[..])
        .chain([&b"absent"[..], b"zzz"])
        .collect();
    for user in &users {
        table.prefetch(user, filter_hash(user));
    }
    for user in users {
        let found = table
            .get(user, filter_hash(user), SeqNo::MAX, BlockRead::default())
            .unwrap();
        assert_eq!(
            found.is_some(),
            expected(&entries, user, u64::MAX).is_some()
        );
    }
}

#[test]
fn the_filter_passes_over_most_absent_keys() {
    let disk = disk();
    let entries = many_entries();
    write(&disk, options(), &entries, &[]);
    let table = open(&disk).unwrap();
    let passed = (0..10_000u32)
        .filter(|n| {
            table
                .may_contain(filter_hash(&n.to_le_bytes()), ReadTier::Disk)
                .unwrap()
        })
        .count();
    assert!(passed < 200, "{passed} of 10000");
}

#[test]
#[should_panic(expected = "entries come in order")]
fn entries_out_of_order_are_our_mistake() {
    let mut writer = TableWriter::create(disk(), Path::new(PATH), NUMBER, options(), 0).unwrap();
    writer
        .add(InternalKey::new(b"b", SeqNo::new(1), Kind::Put), b"")
        .unwrap();
    let _ = writer.add(InternalKey::new(b"b", SeqNo::new(2), Kind::Put), b"");
}

#[test]
fn deadlines_and_counts_are_in_the_properties() {
    let disk = disk();
    let expiring = |deadline: u64| [&deadline.to_le_bytes()[..], b"v"].concat();
    let entries: Vec<Entry> = vec![
        (b"a".to_vec(), 3, Kind::PutExpiring, expiring(70)),
        (b"b".to_vec(), 2, Kind::PutExpiring, expiring(50)),
        (b"c".to_vec(), 9, Kind::Delete, Vec::new()),
        (b"c".to_vec(), 4, Kind::Put, b"12".to_vec()),
    ];
    let meta = write(&disk, options(), &entries, &[]);
    assert_eq!(meta.deadlines, Some((50, 70)));
    assert_eq!(
        (meta.entries, meta.deletes, meta.created_at_ms),
        (4, 1, 123)
    );
    assert_eq!((meta.raw_key_len, meta.raw_value_len), (4, 20));
    assert_eq!(meta.len, disk.file_len(Path::new(PATH)).unwrap());
}

#[test]
fn memory_is_accounted_for_before_the_filter_is_read() {
    let disk = disk();
    let entries = many_entries();
    write(&disk, options(), &entries, &[]);
    let table = open(&disk).unwrap();
    let before = table.memory_used();
    assert!(before >= entries.len() * 10 / 8);
    table.may_contain(1, ReadTier::Disk).unwrap();
    assert_eq!(table.memory_used(), before);
    let users: BTreeMap<_, _> = entries.iter().map(|entry| (&entry.0, ())).collect();
    assert_eq!(table.properties().filter_keys, users.len() as u64);
}
