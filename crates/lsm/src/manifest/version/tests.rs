use proptest::prelude::*;

use super::*;
use crate::key::{InternalKey, Kind, SeqNo};
use crate::manifest::testing::{meta, of};
use crate::sstable::TableMeta;

/// A key that shares its beginning with many others, so that fences are put to the test.
fn key(n: u8) -> Vec<u8> {
    let mut key = b"common/".to_vec();
    key.extend(std::iter::repeat_n(b'x', usize::from(n % 3) * 4));
    key.push(n);
    key
}

/// Bounds of a table as positions among keys in order, and whether the end is excluded.
#[derive(Clone, Debug)]
struct Span {
    from: usize,
    to: usize,
    end_is_excluded: bool,
    has_range_delete: bool,
}

fn keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<_> = (0..60).map(key).collect();
    keys.sort();
    keys
}

fn any_span() -> impl Strategy<Value = Span> {
    (0..60usize, 0..20usize, any::<bool>(), any::<bool>()).prop_map(
        |(from, len, excluded, has_range_delete)| {
            let to = (from + len).min(59);
            Span {
                from,
                to,
                end_is_excluded: excluded && to > from,
                has_range_delete,
            }
        },
    )
}

impl Span {
    fn table(&self, number: u64, seqs: [u64; 2]) -> Arc<Table> {
        let keys = keys();
        let mut meta = meta(number, [&keys[self.from], &keys[self.to]], seqs);
        if self.end_is_excluded {
            meta.largest = InternalKey::new(&keys[self.to], SeqNo::MAX, Kind::RangeDelete).to_vec();
        }
        meta.range_deletes = self.has_range_delete.into();
        of(meta)
    }

    fn holds(&self, at: usize) -> bool {
        self.from <= at && (at < self.to || (at == self.to && !self.end_is_excluded))
    }

    fn overlaps(&self, other: &Self) -> bool {
        (0..60).any(|at| self.holds(at) && other.holds(at))
    }
}

/// Spans that do not overlap, for a level; what does not fit is left out.
fn apart(spans: Vec<Span>) -> Vec<Span> {
    let mut level: Vec<Span> = Vec::new();
    for span in spans {
        // Bounds are compared as keys: an excluded end may equal the next beginning, not lie behind.
        if !level.iter().any(|other| other.overlaps(&span)) {
            level.push(span);
        }
    }
    level
}

fn numbers<'a>(tables: impl Iterator<Item = &'a Arc<Table>>) -> Vec<u64> {
    tables.map(|table| table.number.get()).collect()
}

proptest! {
    #[test]
    fn version_2_queries_give_what_a_walk_over_all_tables_gives(
        l0 in prop::collection::vec(any_span(), 0..12),
        lower in prop::collection::vec((1..7usize, prop::collection::vec(any_span(), 0..12)), 0..6),
    ) {
        // Number, level, span; higher numbers are newer, and a level is older than the one above.
        let mut all: Vec<(u64, usize, Span)> = Vec::new();
        let mut lower = lower;
        lower.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
        lower.dedup_by_key(|(level, _)| *level);
        for (level, spans) in lower {
            for span in apart(spans) {
                all.push((all.len() as u64 + 1, level, span));
            }
        }
        for span in l0 {
            all.push((all.len() as u64 + 1, 0, span));
        }
        let table = |(number, level, span): &(u64, usize, Span)| {
            (*level, span.table(*number, [number * 10, number * 10 + 9]))
        };
        let version = Version::load(all.iter().map(table)).unwrap();

        let keys = keys();
        for (at, key) in keys.iter().enumerate() {
            let found = numbers(version.tables_for(key));
            let mut expected: Vec<_> = all.iter().filter(|(.., span)| span.holds(at)).collect();
            expected.sort_by_key(|(number, level, _)| (*level, std::cmp::Reverse(*number)));
            let expected: Vec<_> = expected.iter().map(|(number, ..)| *number).collect();
            prop_assert_eq!(found, expected);
            for level in 0..LEVELS {
                let below = all.iter().any(|(_, l, span)| *l > level && span.holds(at));
                prop_assert_eq!(version.has_below(level, key), below);
            }
        }
        for (start, from) in keys.iter().enumerate().step_by(7) {
            for (end, to) in keys.iter().enumerate().skip(start).step_by(5) {
                let bound = Bound::Included(&**to);
                let asked = Span {
                    from: start,
                    to: end,
                    end_is_excluded: false,
                    has_range_delete: false,
                };
                for level in 0..LEVELS {
                    let mut found = numbers(version.overlapping(level, from, bound));
                    found.sort_unstable();
                    let expected = all.iter().filter(|(_, l, s)| *l == level && s.overlaps(&asked));
                    let expected: Vec<_> = expected.map(|(number, ..)| *number).collect();
                    prop_assert_eq!(found, expected);
                }
                let mut found = numbers(version.range_delete_tables(from, bound));
                found.sort_unstable();
                let expected = all.iter().filter(|(.., s)| s.has_range_delete && s.overlaps(&asked));
                let expected: Vec<_> = expected.map(|(number, ..)| *number).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn changes_one_after_another_end_where_loading_does(
        steps in prop::collection::vec((0..7usize, any_span(), any::<prop::sample::Index>()), 1..40),
    ) {
        let mut version = Version::default();
        let mut tables: Vec<(usize, Arc<Table>)> = Vec::new();
        for (i, (level, span, victim)) in steps.iter().enumerate() {
            let number = i as u64 + 1;
            let table = span.table(number, [number * 2, number * 2 + 1]);
            let mut removed = Vec::new();
            if tables.len() > 10 {
                let (level, table) = tables.swap_remove(victim.index(tables.len()));
                removed.push((level, table.number));
            }
            let mut added = Vec::new();
            let free = *level == 0 || {
                let left = tables.iter().filter(|(l, _)| l == level);
                let all = left.map(|(_, table)| Arc::clone(table)).chain([Arc::clone(&table)]);
                SortedRun::new(all.collect()).is_ok()
            };
            if free {
                tables.push((*level, Arc::clone(&table)));
                added.push((*level, table));
            }
            version = version.with(&added, &removed);
        }
        let show = |version: &Version| {
            let runs = version.runs().map(|run| numbers(run.tables().iter()));
            let lens: Vec<_> = (0..LEVELS).map(|level| version.level_len(level)).collect();
            (runs.collect::<Vec<_>>(), lens)
        };
        let loaded = Version::load(tables).unwrap();
        prop_assert_eq!(show(&version), show(&loaded));
    }
}

#[test]
fn version_1_tables_that_share_a_key_are_refused_and_touching_ends_are_not() {
    let bounds =
        |number, from: &[u8], to: &[u8]| meta(number, [from, to], [number * 2, number * 2]);
    let load = |level: usize, metas: [TableMeta; 2]| {
        Version::load(metas.map(|meta| (level, of(meta)))).map(|_| ())
    };
    let shared = || [bounds(1, b"a", b"k"), bounds(2, b"k", b"z")];
    assert_eq!(load(3, shared()), Err(Overlap));
    assert_eq!(load(0, shared()), Ok(()));
    let mut touching = shared();
    touching[0].largest = InternalKey::new(b"k", SeqNo::MAX, Kind::RangeDelete).to_vec();
    assert_eq!(load(3, touching), Ok(()));
    let mut interleaved = shared();
    interleaved[0].last_seq = SeqNo::new(4);
    assert_eq!(
        load(0, interleaved),
        Err(Overlap),
        "no order of age is right"
    );
}
