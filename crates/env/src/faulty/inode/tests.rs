use super::*;

const SEEDS: Range<u64> = 0..400;

/// What a crash leaves of `inode`, for each seed.
fn outcomes(inode: &Inode, mode: CrashMode) -> BTreeSet<Vec<u8>> {
    SEEDS
        .map(|seed| {
            let mut inode = inode.clone();
            inode.crash(mode, &SeededRandom::new(seed));
            assert_eq!(inode.cached, inode.durable);
            assert!(inode.pending.is_empty());
            inode.bytes().to_vec()
        })
        .collect()
}

/// One letter for each sector, `?` for a mixture, `0` for zeros; the last may be short.
fn letters(bytes: &[u8]) -> String {
    let sectors = bytes.chunks(SECTOR).map(|sector| match sector {
        [0, rest @ ..] if rest.iter().all(|byte| *byte == 0) => '0',
        [first, rest @ ..] if rest.iter().all(|byte| byte == first) => char::from(*first),
        _ => '?',
    });
    sectors.collect()
}

fn spelled(outcomes: &BTreeSet<Vec<u8>>) -> Vec<String> {
    let mut spelled: Vec<String> = outcomes.iter().map(|bytes| letters(bytes)).collect();
    spelled.dedup();
    spelled
}

fn sectors(letter: u8, count: usize) -> Vec<u8> {
    vec![letter; count * SECTOR]
}

#[test]
fn lose_all_leaves_the_last_sync() {
    let mut inode = Inode::default();
    inode.write(0, &sectors(b'a', 2));
    inode.sync();
    inode.write(SECTOR, &sectors(b'b', 2));
    inode.set_len(100);
    assert_eq!(spelled(&outcomes(&inode, CrashMode::LoseAll)), ["aa"]);
}

#[test]
fn prefix_leaves_every_prefix_and_tears_only_the_first_write_lost() {
    let mut inode = Inode::durable_with(sectors(b'a', 3));
    inode.write(0, &sectors(b'b', 2));
    inode.write(SECTOR, &sectors(b'c', 2));
    let expected = [
        "aaa", "aba", "baa", // the first write lost, or torn
        "bba", "bbc", "bca", // the second lost, or torn
        "bcc",
    ];
    assert_eq!(spelled(&outcomes(&inode, CrashMode::Prefix)), expected);
}

#[test]
fn subset_leaves_every_version_of_each_sector_independently() {
    let mut inode = Inode::durable_with(sectors(b'a', 3));
    inode.write(0, &sectors(b'b', 2));
    inode.write(SECTOR, &sectors(b'c', 2));
    let reached: BTreeSet<String> = spelled(&outcomes(&inode, CrashMode::Subset))
        .into_iter()
        .collect();
    let mut expected = BTreeSet::new();
    for first in "ab".chars() {
        for second in "abc".chars() {
            for third in "ac".chars() {
                expected.insert(String::from_iter([first, second, third]));
            }
        }
    }
    assert_eq!(reached, expected);
}

#[test]
fn inode_2_a_sector_never_has_a_later_write_without_the_earlier() {
    let mut inode = Inode::durable_with(sectors(b'a', 1));
    inode.write(0, &[b'b'; 100]);
    inode.write(100, &[b'c'; 100]);
    let outcomes = outcomes(&inode, CrashMode::Subset);
    let starts: BTreeSet<(u8, u8)> = outcomes.iter().map(|o| (o[0], o[100])).collect();
    assert_eq!(
        starts,
        BTreeSet::from([(b'a', b'a'), (b'b', b'a'), (b'b', b'c')])
    );
}

#[test]
fn an_extended_file_may_have_its_length_without_its_data() {
    let mut inode = Inode::durable_with(sectors(b'a', 1));
    inode.write(SECTOR, &sectors(b'b', 2));
    for mode in [CrashMode::Prefix, CrashMode::Subset] {
        let reached = spelled(&outcomes(&inode, mode));
        for expected in ["a", "a00", "a0b", "ab", "ab0", "abb"] {
            assert!(
                reached.iter().any(|r| r == expected),
                "{mode:?}: {expected}"
            );
        }
        assert_eq!(reached.len(), 6, "{reached:?}");
    }
}

#[test]
fn a_cut_may_be_lost_but_not_what_was_written_behind_it() {
    let mut inode = Inode::durable_with(sectors(b'a', 3));
    inode.set_len(SECTOR);
    assert_eq!(spelled(&outcomes(&inode, CrashMode::Subset)), ["a", "aaa"]);
    inode.write(SECTOR, &sectors(b'b', 1));
    let reached = spelled(&outcomes(&inode, CrashMode::Subset));
    // Never "aba": the new block belongs to the file only after the cut.
    assert_eq!(reached, ["a", "a0", "aaa", "ab"]);
}

#[test]
fn a_durable_write_takes_no_other_with_it_and_is_undone_by_none() {
    let mut inode = Inode::durable_with(sectors(b'a', 3));
    inode.write(0, &sectors(b'b', 3));
    inode.write_durably(SECTOR, &sectors(b'c', 1));
    assert_eq!(letters(inode.bytes()), "bcb");
    assert_eq!(letters(inode.durable_bytes()), "aca");
    let reached = spelled(&outcomes(&inode, CrashMode::Subset));
    assert_eq!(reached, ["aca", "acb", "bca", "bcb"]);
}

#[test]
fn a_durable_write_carries_the_length_it_needs() {
    let mut inode = Inode::durable_with(sectors(b'a', 4));
    inode.write(0, &sectors(b'b', 4));
    inode.set_len(SECTOR);
    inode.write_durably(2 * SECTOR, &sectors(b'c', 1));
    assert_eq!(letters(inode.bytes()), "b0c");
    assert_eq!(letters(inode.durable_bytes()), "a0c");
    assert_eq!(
        spelled(&outcomes(&inode, CrashMode::Subset)),
        ["a0c", "b0c"]
    );
}

#[test]
fn a_failed_sync_loses_some_and_leaves_nothing_for_the_next() {
    let mut reached = BTreeSet::new();
    for seed in SEEDS {
        let mut inode = Inode::durable_with(sectors(b'a', 2));
        inode.write(0, &sectors(b'b', 2));
        inode.fail_sync(&SeededRandom::new(seed));
        assert_eq!(letters(inode.bytes()), "bb", "still in the cache");
        inode.sync();
        reached.insert(letters(inode.durable_bytes()));
    }
    assert!(reached.iter().eq(["aa", "ab", "ba", "bb"]), "{reached:?}");
}

#[test]
fn a_write_is_cut_at_sector_bounds_of_the_file() {
    let cut: Vec<Range<usize>> = pieces(500, 600).collect();
    assert_eq!(cut, [500..512, 512..1024, 1024..1100]);
    assert_eq!(pieces(512, 0).count(), 0);
}
