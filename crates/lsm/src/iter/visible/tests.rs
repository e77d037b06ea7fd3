use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use ringwood_env::Clock;

use super::*;
use crate::error::Error;
use crate::iter::testing::{Entry, TestRun, VecCursor, any_entries, any_key, visible};
use crate::iter::{LevelCursor, MergeCursor};
use crate::range_tombstone::RangeTombstone;

/// Stands still, and counts how often it is asked.
#[derive(Debug, Default)]
struct StoppedClock {
    now: UnixMillis,
    asked: AtomicU32,
}

impl Clock for StoppedClock {
    fn wall(&self) -> UnixMillis {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.now
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

fn whole_view(at: u64) -> View {
    View {
        at: SeqNo::new(at),
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
        tombstones: Vec::new(),
        deadlines: Arc::<StoppedClock>::default(),
        tier: ReadTier::Disk,
    }
}

/// What must be seen, computed the slow way.
struct Model {
    shown: BTreeMap<Vec<u8>, (Vec<u8>, Option<UnixMillis>)>,
    at: Option<Vec<u8>>,
}

impl Model {
    fn new(entries: &[Entry], ranges: &[RangeTombstone], view: &View, now: UnixMillis) -> Self {
        let mut shown = visible(entries, ranges, view.at, now);
        shown.retain(|key, _| !is_below(&view.lower, key) && !is_above(&view.upper, key));
        Self { shown, at: None }
    }

    fn make(&mut self, step: &Step) {
        let range = |lower, upper| {
            self.shown
                .range::<[u8], _>((lower, upper))
                .map(|(key, _)| key)
        };
        use Bound::{Excluded, Included, Unbounded};
        let at = self.at.as_deref();
        let to = match step {
            Step::First => range(Unbounded, Unbounded).next(),
            Step::Last => range(Unbounded, Unbounded).next_back(),
            Step::Seek(key) => range(Included(key), Unbounded).next(),
            Step::SeekBack(key) => range(Unbounded, Included(key)).next_back(),
            Step::Next => at.and_then(|at| range(Excluded(at), Unbounded).next()),
            Step::Prev => at.and_then(|at| range(Unbounded, Excluded(at)).next_back()),
        };
        self.at = to.cloned();
    }
}

#[derive(Clone, Debug)]
enum Step {
    First,
    Last,
    Seek(Vec<u8>),
    SeekBack(Vec<u8>),
    Next,
    Prev,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::First),
        1 => Just(Step::Last),
        3 => any_key().prop_map(Step::Seek),
        3 => any_key().prop_map(Step::SeekBack),
        12 => Just(Step::Next),
        12 => Just(Step::Prev),
    ]
}

fn make<C: Cursor>(cursor: &mut VisibleCursor<C>, step: &Step) -> Result<()> {
    match step {
        Step::First => cursor.seek_to_first(),
        Step::Last => cursor.seek_to_last(),
        Step::Seek(key) => cursor.seek(key),
        Step::SeekBack(key) => cursor.seek_back(key),
        Step::Next => cursor.next(),
        Step::Prev => cursor.prev(),
    }
}

fn any_bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        2 => Just(Bound::Unbounded),
        1 => any_key().prop_map(Bound::Included),
        1 => any_key().prop_map(Bound::Excluded),
    ]
}

/// Changes from `any_entries` have sequence numbers from 1 without gaps: every tenth or so is made a
/// range delete instead, so that numbers stay unique.
fn split_ranges(
    entries: Vec<Entry>,
    ranges: &[(u64, Vec<u8>, Vec<u8>)],
) -> (Vec<Entry>, Vec<RangeTombstone>) {
    let tombstones: Vec<_> = ranges
        .iter()
        .map(|(seq, start, end)| RangeTombstone {
            start: start.min(end).clone(),
            end: start.max(end).clone(),
            seq: SeqNo::new(*seq),
        })
        .collect();
    let taken = |entry: &Entry| tombstones.iter().any(|range| range.seq == entry.seq);
    let entries = entries.into_iter().filter(|entry| !taken(entry)).collect();
    (entries, tombstones)
}

/// Two plain sources and two levels; each change lies in one of them.
fn sources(entries: &[Entry], places: &[usize], table_len: usize) -> MergeCursor {
    let mut dealt = vec![Vec::new(); 4];
    for (entry, place) in entries.iter().zip(places) {
        dealt[*place].push(entry.clone());
    }
    let children = dealt
        .into_iter()
        .enumerate()
        .map(|(index, part)| match index {
            0 | 1 => Box::new(VecCursor::new(part)) as Box<dyn Cursor>,
            _ => Box::new(LevelCursor::new(TestRun::cut(&part, table_len))),
        });
    MergeCursor::new(children.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    // visible-1, visible-2
    #[test]
    fn shows_what_the_model_shows(
        entries in any_entries(0..120),
        ranges in proptest::collection::vec((1..120_u64, any_key(), any_key()), 0..6),
        places in proptest::collection::vec(0..4_usize, 120),
        table_len in 1..10_usize,
        at in 0..130_u64,
        now in 0..20_u64,
        lower in any_bound(),
        upper in any_bound(),
        steps in proptest::collection::vec(any_step(), 1..80),
    ) {
        let (entries, ranges) = split_ranges(entries, &ranges);
        let (left, right) = ranges.split_at(ranges.len() / 2);
        let view = View {
            at: SeqNo::new(at),
            lower,
            upper,
            tombstones: [left, right].map(|part| Arc::new(part.iter().cloned().collect())).into(),
            deadlines: Arc::new(StoppedClock { now, ..StoppedClock::default() }),
            tier: ReadTier::Disk,
        };
        let mut model = Model::new(&entries, &ranges, &view, now);
        let mut cursor = VisibleCursor::new(sources(&entries, &places, table_len), view);
        for step in &steps {
            make(&mut cursor, step).unwrap();
            model.make(step);
            prop_assert_eq!(cursor.valid().then(|| cursor.key()), model.at.as_deref(), "{:?}", step);
            if let Some(key) = &model.at {
                let (value, deadline) = &model.shown[key];
                prop_assert_eq!(cursor.value(), &value[..]);
                prop_assert_eq!(&cursor.pin_value()[..], &value[..]);
                prop_assert_eq!(cursor.deadline(), *deadline);
            }
        }
    }
}

fn entry(user: &str, seq: u64, kind: Kind, value: &[u8]) -> Entry {
    Entry {
        user: user.into(),
        seq: SeqNo::new(seq),
        kind,
        value: value.into(),
    }
}

/// Counts the moves of what it wraps.
struct Counted<C>(C, u32);

macro_rules! counted {
    ($($name:ident($($argument:ident: $type:ty),*)),*) => {
        $(fn $name(&mut self, $($argument: $type),*) -> Result<()> {
            self.1 += 1;
            self.0.$name($($argument),*)
        })*
    };
}

impl<C: Cursor> Cursor for Counted<C> {
    counted!(
        seek_to_first(), seek_to_last(), next(), prev(),
        seek(target: InternalKey<'_>), seek_back(target: InternalKey<'_>),
        skip_older(seq: SeqNo, target: InternalKey<'_>),
        skip_older_back(seq: SeqNo, target: InternalKey<'_>)
    );
    fn valid(&self) -> bool {
        self.0.valid()
    }
    fn key(&self) -> InternalKey<'_> {
        self.0.key()
    }
    fn value(&self) -> &[u8] {
        self.0.value()
    }
    fn pin_value(&self) -> Slice {
        self.0.pin_value()
    }
}

#[test]
fn many_changes_of_one_key_cost_one_search() {
    let mut entries: Vec<_> = (1..=1000)
        .rev()
        .map(|n| entry("b", n, Kind::Put, b"x"))
        .collect();
    entries.insert(0, entry("a", 2000, Kind::Put, b"first"));
    entries.push(entry("c", 2001, Kind::Put, b"last"));
    for at in [5000, 500] {
        let counted = Counted(VecCursor::new(entries.clone()), 0);
        let mut cursor = VisibleCursor::new(counted, whole_view(at));
        cursor.seek_to_first().unwrap();
        while cursor.valid() {
            cursor.next().unwrap();
        }
        assert!(
            cursor.entries.1 < 60,
            "forward at {at}: {} moves",
            cursor.entries.1
        );
        cursor.seek_to_last().unwrap();
        while cursor.valid() {
            cursor.prev().unwrap();
        }
        assert!(
            cursor.entries.1 < 120,
            "backward at {at}: {} moves",
            cursor.entries.1
        );
    }
}

#[test]
fn a_wide_range_delete_is_passed_over_in_both_directions() {
    let key = |n: u64| format!("{n:05}");
    let entries: Vec<_> = (0..10_000)
        .map(|n| entry(&key(n), n + 1, Kind::Put, b"x"))
        .collect();
    let run = TestRun::cut(&entries, 100);
    let counted = Counted(LevelCursor::new(run.clone()), 0);
    let cover = RangeTombstone {
        start: key(10).into(),
        end: key(9_990).into(),
        seq: SeqNo::new(20_000),
    };
    let mut view = whole_view(30_000);
    view.tombstones
        .push(Arc::new([cover].into_iter().collect()));
    let mut cursor = VisibleCursor::new(counted, view);
    cursor.seek(key(9).as_bytes()).unwrap();
    cursor.next().unwrap();
    assert_eq!(cursor.key(), key(9_990).as_bytes());
    cursor.prev().unwrap();
    assert_eq!(cursor.key(), key(9).as_bytes());
    assert!(cursor.entries.1 < 20, "{} moves", cursor.entries.1);
    assert!(run.opened() <= 4, "{} tables opened", run.opened());
}

#[test]
fn the_clock_is_read_once_and_only_if_something_may_expire() {
    let expiring = |user, seq| entry(user, seq, Kind::PutExpiring, b"\x09\0\0\0\0\0\0\0v");
    let plain = vec![
        entry("a", 1, Kind::Put, b"v"),
        entry("b", 2, Kind::Put, b"v"),
    ];
    for (entries, reads) in [(plain, 0), (vec![expiring("a", 1), expiring("b", 2)], 1)] {
        let clock = Arc::<StoppedClock>::default();
        let view = View {
            deadlines: Arc::clone(&clock) as Arc<dyn Deadlines>,
            ..whole_view(9)
        };
        let mut cursor = VisibleCursor::new(VecCursor::new(entries), view);
        cursor.seek_to_first().unwrap();
        cursor.next().unwrap();
        assert!(cursor.valid());
        assert_eq!(clock.asked.load(Ordering::Relaxed), reads);
    }
}

#[test]
fn a_deadline_cut_short_is_corruption() {
    let entries = vec![entry("a", 1, Kind::PutExpiring, b"short")];
    let mut cursor = VisibleCursor::new(VecCursor::new(entries), whole_view(9));
    assert!(matches!(cursor.seek_to_first(), Err(Error::Corruption(_))));
    assert!(!cursor.valid());
    assert!(cursor.seek_to_last().is_err());
    assert!(!cursor.valid());
}

#[test]
fn a_failed_move_shows_nothing_until_the_next_search() {
    let entries: Vec<_> = (1..9)
        .map(|n| entry(&n.to_string(), n, Kind::Put, b""))
        .collect();
    for fail_at in 0..8 {
        let mut source = VecCursor::new(entries.clone());
        source.fail_at_move(fail_at);
        let mut cursor = VisibleCursor::new(source, whole_view(9));
        let mut failed = cursor.seek_to_first().is_err();
        while cursor.valid() {
            failed = cursor.next().is_err();
        }
        assert!(failed, "the failure of move {fail_at} was swallowed");
        cursor.seek(b"5").unwrap();
        assert_eq!(cursor.key(), b"5");
    }
}
