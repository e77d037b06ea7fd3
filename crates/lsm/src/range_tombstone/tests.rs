use proptest::prelude::*;

use super::*;

fn tombstone(start: &str, end: &str, seq: u64) -> RangeTombstone {
    RangeTombstone {
        start: start.into(),
        end: end.into(),
        seq: SeqNo::new(seq),
    }
}

/// Start, end and sequence numbers of each fragment.
fn fragments(set: &RangeTombstones) -> Vec<(&str, &str, Vec<u64>)> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    let seqs = |fragment: Fragment<'_>| fragment.seqs.iter().map(|seq| seq.get()).collect();
    set.iter()
        .map(|f| (text(f.start), text(f.end), seqs(f)))
        .collect()
}

#[test]
fn overlaps_are_cut_and_halves_grow_together() {
    let set = RangeTombstones::from_iter([
        tombstone("c", "g", 7),
        tombstone("a", "e", 5),
        tombstone("x", "x", 9),
        tombstone("m", "p", 3),
        tombstone("p", "r", 3),
    ]);
    let expected = [
        ("a", "c", vec![5]),
        ("c", "e", vec![7, 5]),
        ("e", "g", vec![7]),
        ("m", "r", vec![3]),
    ];
    assert_eq!(fragments(&set), expected);
    assert_eq!(
        set.newest_covering(b"d", SeqNo::new(6)),
        Some(SeqNo::new(5))
    );
    assert_eq!(set.newest_covering(b"d", SeqNo::new(4)), None);
    assert_eq!(set.newest_covering(b"g", SeqNo::MAX), None);
}

#[test]
fn nothing_is_copied_when_one_set_has_range_deletes() {
    let one: Arc<_> = Arc::new(RangeTombstones::from_iter([tombstone("a", "b", 1)]));
    let merged = RangeTombstones::merged(
        &[RangeTombstones::empty(), Arc::clone(&one)],
        Readers::Everywhere,
    );
    assert!(Arc::ptr_eq(&merged, &one));
    assert!(RangeTombstones::merged(&[], Readers::Everywhere).is_empty());
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0..4_u8, 0..4)
}

fn any_tombstones() -> impl Strategy<Value = Vec<RangeTombstone>> {
    let one = (any_key(), any_key(), 1..30_u64).prop_map(|(start, end, seq)| RangeTombstone {
        start,
        end,
        seq: SeqNo::new(seq),
    });
    proptest::collection::vec(one, 0..20)
}

fn naive(tombstones: &[RangeTombstone], key: &[u8], at: SeqNo) -> Option<SeqNo> {
    let covering = tombstones
        .iter()
        .filter(|t| &t.start[..] <= key && key < &t.end[..] && t.seq <= at);
    covering.map(|t| t.seq).max()
}

fn check_invariants(set: &RangeTombstones) {
    for fragment in set.iter() {
        assert!(fragment.start < fragment.end, "range-1");
        assert!(!fragment.seqs.is_empty(), "range-2");
        assert!(fragment.seqs.is_sorted_by(|a, b| a > b), "range-2");
    }
    if let Some(root) = &set.root {
        root.check();
    }
    let fragments: Vec<_> = set.iter().collect();
    for pair in fragments.windows(2) {
        assert!(pair[0].end <= pair[1].start, "range-1");
        assert!(
            pair[0].end < pair[1].start || pair[0].seqs != pair[1].seqs,
            "range-3"
        );
    }
}

proptest! {
    #[test]
    fn answers_as_the_uncut_range_deletes(
        tombstones in any_tombstones(),
        split in any::<prop::sample::Index>(),
        questions in proptest::collection::vec((any_key(), 0..32_u64), 1..50),
    ) {
        let whole: RangeTombstones = tombstones.iter().cloned().collect();
        let (left, right) = tombstones.split_at(split.index(tombstones.len() + 1));
        let parts = [left, right].map(|part| Arc::new(part.iter().cloned().collect()));
        let merged = RangeTombstones::merged(&parts, Readers::Everywhere);
        check_invariants(&whole);
        prop_assert_eq!(&whole, &*merged);
        let mut cursor = RangeTombstoneCursor::new(merged);
        for (key, at) in questions {
            let at = SeqNo::new(at);
            let expected = naive(&tombstones, &key, at);
            prop_assert_eq!(whole.newest_covering(&key, at), expected);
            prop_assert_eq!(cursor.newest_covering(&key, at), expected);
        }
    }

    #[test]
    fn a_clipped_set_answers_the_same_inside_and_nothing_outside(
        tombstones in any_tombstones(),
        lower in any_key(),
        upper in proptest::option::of(any_key()),
        keys in proptest::collection::vec(any_key(), 1..50),
    ) {
        let whole: RangeTombstones = tombstones.iter().cloned().collect();
        let clipped = whole.clip(&lower, upper.as_deref());
        let clipped: RangeTombstones = clipped.flat_map(Fragment::tombstones).collect();
        check_invariants(&clipped);
        for key in keys {
            let inside = key >= lower && upper.as_ref().is_none_or(|upper| key < *upper);
            let expected = whole.newest_covering(&key, SeqNo::MAX).filter(|_| inside);
            prop_assert_eq!(clipped.newest_covering(&key, SeqNo::MAX), expected);
        }
    }

    /// `range-2`, with snapshots that come and go, groups of changes that are published together, and a
    /// reader who loads the set at any time after his moment.
    #[test]
    fn whoever_may_read_is_answered_as_by_the_uncut_range_deletes(
        steps in proptest::collection::vec(any_step(), 1..150),
        questions in proptest::collection::vec((any_key(), 0..200_u64), 20),
    ) {
        let mut story = Story::default();
        for step in steps {
            story.take(step);
            check_invariants(&story.set);
            for (key, at) in &questions {
                // Changes that are published together leave no moment between them.
                let moments = &story.published_once;
                let at = moments[usize::try_from(*at).unwrap() % moments.len()];
                let may_ask = at >= story.floor || story.snapshots.contains(&at);
                if may_ask {
                    let expected = naive(&story.all, key, at);
                    prop_assert_eq!(story.set.newest_covering(key, at), expected);
                }
            }
        }
        // One pass over all of them comes to the same as one after another.
        let moments = story.moments();
        let at_once =
            RangeTombstones::from_tombstones(story.all.clone(), Readers::At(&moments));
        check_invariants(&at_once);
        for (key, _) in &questions {
            for at in moments.iter().copied().chain([SeqNo::MAX]) {
                let expected = naive(&story.all, key, at);
                prop_assert_eq!(at_once.newest_covering(key, at), expected);
                prop_assert_eq!(story.set.newest_covering(key, at), expected);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Delete(Vec<u8>, Vec<u8>),
    Publish,
    TakeSnapshot,
    DropSnapshot(prop::sample::Index),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (wide_key(), wide_key()).prop_map(|(start, end)| Step::Delete(start, end)),
        3 => Just(Step::Publish),
        1 => Just(Step::TakeSnapshot),
        1 => any::<prop::sample::Index>().prop_map(Step::DropSnapshot),
    ]
}

/// Of many, so that trees have several levels.
fn wide_key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0..16_u8, 0..4)
}

/// A memtable's range deletes, one after another, and who may ask for them.
struct Story {
    all: Vec<RangeTombstone>,
    set: RangeTombstones,
    published: u64,
    /// Every moment there was.
    published_once: Vec<SeqNo>,
    /// What was published when the last range delete came.
    floor: SeqNo,
    snapshots: Vec<SeqNo>,
}

impl Default for Story {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            set: RangeTombstones::default(),
            published: 0,
            published_once: vec![SeqNo::ZERO],
            floor: SeqNo::ZERO,
            snapshots: Vec::new(),
        }
    }
}

impl Story {
    fn moments(&self) -> Vec<SeqNo> {
        let mut moments = self.snapshots.clone();
        moments.push(SeqNo::new(self.published));
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Delete(start, end) => {
                let seq = SeqNo::new(self.all.len() as u64 + 1);
                let moments = self.moments();
                self.set = self.set.with(&start, &end, seq, Readers::At(&moments));
                self.floor = SeqNo::new(self.published);
                self.all.push(RangeTombstone { start, end, seq });
            }
            Step::Publish => {
                self.published = self.all.len() as u64;
                self.published_once.push(SeqNo::new(self.published));
            }
            Step::TakeSnapshot => self.snapshots.push(SeqNo::new(self.published)),
            Step::DropSnapshot(which) => {
                if !self.snapshots.is_empty() {
                    self.snapshots
                        .swap_remove(which.index(self.snapshots.len()));
                }
            }
        }
    }
}

fn numbered(n: u32) -> [u8; 4] {
    n.to_be_bytes()
}

/// Range deletes, each published before the next comes.
fn one_by_one(
    count: u32,
    range: impl Fn(u32) -> (u32, u32),
    snapshots: &[SeqNo],
) -> RangeTombstones {
    let mut set = RangeTombstones::default();
    for n in 0..count {
        let (start, end) = range(n);
        let mut moments = snapshots.to_vec();
        moments.push(SeqNo::new(n.into()));
        moments.sort_unstable();
        let seq = SeqNo::new(u64::from(n) + 1);
        set = set.with(&numbered(start), &numbered(end), seq, Readers::At(&moments));
    }
    set
}

#[test]
fn growing_range_deletes_take_the_room_of_one_or_of_one_for_each_snapshot() {
    const COUNT: u32 = 200_000;
    let set = one_by_one(COUNT, |n| (0, n + 1), &[]);
    assert!(set.memory_used() < 1000, "{}", set.memory_used());
    assert_eq!(
        set.newest_covering(&numbered(0), SeqNo::MAX),
        Some(SeqNo::new(COUNT.into()))
    );
    let set = one_by_one(COUNT, |n| (0, n + 1), &[10, 20].map(SeqNo::new));
    assert!(set.memory_used() < 2000, "{}", set.memory_used());
    let as_of = |at| set.newest_covering(&numbered(0), SeqNo::new(at));
    assert_eq!(
        [10, 20].map(as_of),
        [10, 20].map(|seq| Some(SeqNo::new(seq)))
    );
}

#[test]
fn range_deletes_apart_take_memory_in_proportion_whatever_their_order() {
    const COUNT: u32 = 100_000;
    let scattered = |n: u32| n.wrapping_mul(2_654_435_761) % COUNT;
    for set in [
        one_by_one(COUNT, |n| (2 * n, 2 * n + 1), &[]),
        one_by_one(COUNT, |n| (2 * scattered(n), 2 * scattered(n) + 1), &[]),
    ] {
        check_invariants(&set);
        let each = set.memory_used() / set.iter().count();
        assert!(each < 100, "{each} bytes each");
    }
}

#[test]
fn a_set_that_a_reader_holds_does_not_change() {
    let before = one_by_one(1000, |n| (2 * n, 2 * n + 1), &[]);
    let seen: Vec<_> = before.tombstones().collect();
    let readers = Readers::At(&[]);
    let after = before.with(&numbered(0), &numbered(5000), SeqNo::new(2000), readers);
    assert_eq!(after.iter().count(), 1);
    assert!(before.tombstones().eq(seen));
}

#[test]
fn very_long_keys_make_small_nodes() {
    let key = |n: u32| [&numbered(n)[..], &[7; 60_000]].concat();
    let mut set = RangeTombstones::default();
    for n in 0..200 {
        let seq = SeqNo::new(u64::from(n) + 1);
        set = set.with(&key(2 * n), &key(2 * n + 1), seq, Readers::At(&[]));
    }
    check_invariants(&set);
    assert_eq!(set.iter().count(), 200);
    assert_eq!(
        set.newest_covering(&key(300), SeqNo::MAX),
        Some(SeqNo::new(151))
    );
}
