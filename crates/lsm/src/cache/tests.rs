//! The cache against a map that forgets nothing, and threads against each other.

use super::*;

/// A block that says which key it belongs to, and counts how many of its kind are alive.
struct Block {
    key: CacheKey,
    alive: Option<Arc<std::sync::atomic::AtomicIsize>>,
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(alive) = &self.alive {
            alive.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

type Cache = BlockCache<Block>;

const TABLE: usize = Cache::SHARD_LEN;

fn key(file: u64, offset: u64) -> CacheKey {
    CacheKey {
        file: FileNumber::new(file),
        offset,
    }
}

fn insert(cache: &Cache, key: CacheKey, charge: usize, priority: Priority) {
    cache.insert(key, Arc::new(Block { key, alive: None }), charge, priority);
}

/// Whether the block is there; if so it is the right one (`cache-2`).
fn holds(cache: &Cache, key: CacheKey) -> bool {
    let found = cache.get(key);
    assert!(found.as_ref().is_none_or(|block| block.key == key));
    found.is_some()
}

#[cfg(not(shuttle))]
mod alone {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64, usize, Priority),
        Get(u64),
        Remove(u64),
        RemoveFile(u64),
        SetCapacity(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let offset = || 0..2000_u64;
        let charge = prop_oneof![8 => 1..200_usize, 1 => 1000..20_000_usize];
        let priority = prop::sample::select(Priority::ALL.to_vec());
        prop_oneof![
            12 => (offset(), charge, priority).prop_map(|(o, c, p)| Op::Insert(o, c, p)),
            6 => offset().prop_map(Op::Get),
            1 => offset().prop_map(Op::Remove),
            1 => (0..5_u64).prop_map(Op::RemoveFile),
            1 => (0..40_000_usize).prop_map(|extra| Op::SetCapacity(2 * TABLE + extra)),
        ]
    }

    fn block_key(offset: u64) -> CacheKey {
        key(offset % 5, offset)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 1 } else { 64 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn holds_the_bound_and_nothing_but_what_was_inserted_cache_1_cache_2(
            ops in prop::collection::vec(op(), 1..if cfg!(miri) { 40 } else { 3000 }),
        ) {
            let cache = Cache::new(4 * TABLE);
            let mut inserted = HashMap::new();
            for op in ops {
                match op {
                    Op::Insert(offset, charge, priority) => {
                        insert(&cache, block_key(offset), charge, priority);
                        inserted.insert(offset, charge);
                    }
                    Op::Get(offset) => {
                        let found = holds(&cache, block_key(offset));
                        prop_assert!(!found || inserted.contains_key(&offset));
                    }
                    Op::Remove(offset) => {
                        cache.remove(block_key(offset));
                        inserted.remove(&offset);
                        prop_assert!(!holds(&cache, block_key(offset)));
                    }
                    Op::RemoveFile(file) => cache.remove_file(FileNumber::new(file)),
                    Op::SetCapacity(bytes) => cache.set_capacity(bytes),
                }
                let tables = cache.tables() * TABLE;
                prop_assert!(cache.used() <= cache.capacity().max(tables));
            }
            // Emptied, it has nothing charged any more but its tables.
            cache.set_capacity(0);
            prop_assert!(inserted.keys().all(|&offset| !holds(&cache, block_key(offset))));
            prop_assert_eq!(cache.used(), cache.tables() * TABLE);
        }
    }

    #[test]
    fn grows_by_a_table_at_a_time_and_keeps_everything_while_there_is_room() {
        let cache = Cache::new(usize::MAX / 2);
        let count = if cfg!(miri) { 100 } else { 20_000 };
        for n in 0..count {
            insert(&cache, key(n / 100, n % 100), 100, Priority::Data);
        }
        assert!((0..count).all(|n| holds(&cache, key(n / 100, n % 100))));
        assert!(!holds(&cache, key(count, 0)));
        let entries = usize::try_from(count).unwrap() * 112;
        assert_eq!(cache.used(), entries + cache.tables() * TABLE);
        assert!(cache.tables() * shard::SLOTS < usize::try_from(count).unwrap() * 4);
        let statistics = cache.statistics();
        assert_eq!(statistics.inserts, [0, count, 0]);
        assert_eq!(statistics.hits, [0, count, 0]);
        assert_eq!((statistics.misses, statistics.evictions), (1, [0; 3]));
    }

    #[test]
    fn what_is_read_stays_and_what_is_not_goes() {
        let cache = Cache::new(TABLE + 10 * 1600);
        for n in 0..10 {
            insert(&cache, key(1, n), 1600, Priority::Data);
        }
        for n in 10..30 {
            assert!(holds(&cache, key(1, 0)) && holds(&cache, key(1, 1)));
            insert(&cache, key(1, n), 1600, Priority::Data);
        }
        assert!(holds(&cache, key(1, 0)) && holds(&cache, key(1, 1)));
        let others = (2..30).filter(|&n| holds(&cache, key(1, n))).count();
        assert_eq!(others, 8, "the cache is full");
    }

    #[test]
    fn scans_push_out_neither_metadata_nor_blocks_in_use() {
        let cache = Cache::new(TABLE + 10 * 1600);
        for n in 0..3 {
            insert(&cache, key(1, n), 1600, Priority::Metadata);
            insert(&cache, key(2, n), 1600, Priority::Data);
            assert!(holds(&cache, key(1, n)) && holds(&cache, key(2, n)));
        }
        for n in 0..12 {
            insert(&cache, key(3, n), 1600, Priority::Scan);
        }
        assert!((0..3).all(|n| holds(&cache, key(1, n)) && holds(&cache, key(2, n))));
    }

    #[test]
    fn metadata_outlives_data_that_nobody_reads() {
        let cache = Cache::new(TABLE + 10 * 1600);
        insert(&cache, key(1, 0), 1600, Priority::Metadata);
        insert(&cache, key(2, 0), 1600, Priority::Data);
        for n in 1..22 {
            insert(&cache, key(2, n), 1600, Priority::Data);
        }
        assert!(holds(&cache, key(1, 0)) && !holds(&cache, key(2, 0)));
    }

    #[test]
    fn blocks_of_a_removed_file_go_first() {
        let cache = Cache::new(TABLE + 10 * 1600);
        for n in 0..5 {
            insert(&cache, key(1, n), 1600, Priority::Metadata);
            insert(&cache, key(2, n), 1600, Priority::Data);
            assert!(holds(&cache, key(1, n)) && holds(&cache, key(2, n)));
        }
        cache.remove_file(FileNumber::new(1));
        for n in 5..10 {
            insert(&cache, key(2, n), 1600, Priority::Data);
        }
        assert!((0..5).all(|n| !holds(&cache, key(1, n))));
        assert!((0..5).all(|n| holds(&cache, key(2, n))));
    }

    #[test]
    fn what_finds_no_room_is_not_kept() {
        let cache = Cache::new(TABLE + 1000);
        insert(&cache, key(1, 0), 500, Priority::Data);
        insert(&cache, key(1, 1), 2000, Priority::Metadata);
        insert(&cache, key(1, 2), usize::MAX, Priority::Metadata);
        assert!(holds(&cache, key(1, 0)));
        assert!(!holds(&cache, key(1, 1)) && !holds(&cache, key(1, 2)));
        assert_eq!(cache.statistics().rejected, 2);
        cache.set_capacity(0);
        assert!(!holds(&cache, key(1, 0)));
        insert(&cache, key(1, 0), 1, Priority::Metadata);
        assert!(!holds(&cache, key(1, 0)));
    }

    #[test]
    fn the_first_of_two_insertions_stays() {
        let cache = Cache::new(1 << 20);
        insert(&cache, key(1, 0), 500, Priority::Data);
        let first = cache.get(key(1, 0)).unwrap();
        let used = cache.used();
        insert(&cache, key(1, 0), 700, Priority::Data);
        assert!(Arc::ptr_eq(&first, &cache.get(key(1, 0)).unwrap()));
        assert_eq!(cache.used(), used);
    }

    #[test]
    fn gives_way_to_reservations_budget_2() {
        let cache = Cache::new(0);
        let budget = crate::budget::MemoryBudget::new(8 << 20, Arc::clone(&cache) as _);
        for n in 0..if cfg!(miri) { 20 } else { 2000 } {
            insert(&cache, key(1, n), 400_000, Priority::Data);
        }
        let full = cache.used();
        assert!(full > 7 << 20);
        let reservation = budget.reserve(crate::budget::Consumer::Memtables, 4 << 20);
        assert!(cache.used() <= 4 << 20);
        drop(reservation);
        assert_eq!(cache.capacity(), 8 << 20);
    }
}

#[cfg(not(shuttle))]
mod threads {
    use std::sync::atomic::AtomicIsize;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    const ROUNDS: u64 = if cfg!(miri) { 40 } else { 50_000 };

    #[test]
    fn get_insert_evict_split_and_shrink_at_once_and_leak_nothing() {
        let alive = Arc::new(AtomicIsize::new(0));
        let cache = Cache::new(8 * TABLE);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, alive) = (&cache, &alive);
                scope.spawn(move || work(cache, alive, thread));
            }
            for n in 0..ROUNDS / 100 {
                let bytes = (1 + usize::try_from(n % 8).unwrap()) * 2 * TABLE;
                cache.set_capacity(bytes);
                cache.remove_file(FileNumber::new(n % 3));
            }
        });
        assert!(cache.used() <= cache.capacity().max(cache.tables() * TABLE));
        cache.set_capacity(0);
        assert_eq!(alive.load(Relaxed), 0);
        cache.set_capacity(8 * TABLE + cache.used());
        work(&cache, &alive, 9);
        assert!(alive.load(Relaxed) > 0);
        drop(cache);
        assert_eq!(alive.load(Relaxed), 0);
    }

    fn work(cache: &Cache, alive: &Arc<AtomicIsize>, thread: u64) {
        let mut random = thread + 1;
        for _ in 0..ROUNDS {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let n = (random >> 33) % (ROUNDS / 20);
            let key = key(n % 3, n);
            if !holds(cache, key) {
                alive.fetch_add(1, Relaxed);
                let block = Block {
                    key,
                    alive: Some(Arc::clone(alive)),
                };
                let priority = Priority::ALL[usize::try_from(n % 3).unwrap()];
                cache.insert(key, Arc::new(block), 64, priority);
            }
        }
    }
}

/// Every interleaving that the checker finds: `RUSTFLAGS='--cfg shuttle' cargo test shuttle`.
#[cfg(shuttle)]
mod shuttle_schedules {
    use shuttle::thread;

    use super::*;

    /// Two readers of the keys that a writer inserts into a cache with room for two.
    fn read_while_evicting() {
        let alive = Arc::new(std::sync::atomic::AtomicIsize::new(0));
        let cache = Cache::new(TABLE + 200);
        let mut threads = Vec::new();
        for thread in 0..3_u64 {
            let (cache, alive) = (Arc::clone(&cache), Arc::clone(&alive));
            threads.push(thread::spawn(move || {
                for n in 0..3 {
                    let key = key(1, n);
                    if !holds(&cache, key) && thread != 2 {
                        alive.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let alive = Some(Arc::clone(&alive));
                        cache.insert(key, Arc::new(Block { key, alive }), 96, Priority::Scan);
                    }
                    assert!(cache.used() <= cache.capacity());
                }
            }));
        }
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        cache.set_capacity(0);
        assert_eq!(cache.used(), TABLE);
        assert_eq!(alive.load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    /// A reader of an entry that is removed and comes back.
    fn read_while_removing() {
        let cache = Cache::new(1 << 30);
        insert(&cache, key(1, 0), 100, Priority::Data);
        let reader = Arc::clone(&cache);
        let reader = thread::spawn(move || (0..2).filter(|_| holds(&reader, key(1, 0))).count());
        cache.remove(key(1, 0));
        insert(&cache, key(1, 1), 100, Priority::Data);
        insert(&cache, key(1, 0), 100, Priority::Data);
        reader.join().unwrap();
        assert!(holds(&cache, key(1, 0)) && holds(&cache, key(1, 1)));
    }

    /// Two writers that both find the shard crowded.
    fn split_at_once() {
        let cache = Cache::new(1 << 30);
        for n in 0..10 {
            insert(&cache, key(1, n), 100, Priority::Data);
        }
        let writer = |file| {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                (0..4).for_each(|n| insert(&cache, key(file, n), 100, Priority::Data))
            })
        };
        let writers = [writer(2), writer(3)];
        writers
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!((0..10).all(|n| holds(&cache, key(1, n))));
        assert!((0..4).all(|n| holds(&cache, key(2, n)) && holds(&cache, key(3, n))));
    }

    /// Two writers that both find the shard crowded, and a capacity that shrinks meanwhile.
    fn split_while_shrinking() {
        let cache = Cache::new(1 << 30);
        for n in 0..10 {
            insert(&cache, key(1, n), 100, Priority::Data);
        }
        let mut threads = Vec::new();
        for thread in 0..2 {
            let cache = Arc::clone(&cache);
            threads.push(thread::spawn(move || {
                for n in 0..4 {
                    insert(&cache, key(2 + thread, n), 100, Priority::Data);
                    holds(&cache, key(1, n));
                }
            }));
        }
        let capacity = 3 * TABLE + 300;
        cache.set_capacity(capacity);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!(cache.used() <= capacity.max(cache.tables() * TABLE));
        cache.set_capacity(0);
        assert_eq!(cache.used(), cache.tables() * TABLE);
    }

    #[test]
    fn shuttle_eviction() {
        shuttle::check_random(read_while_evicting, 5000);
        shuttle::check_pct(read_while_evicting, 5000, 4);
    }

    #[test]
    fn shuttle_removal() {
        shuttle::check_random(read_while_removing, 5000);
        shuttle::check_pct(read_while_removing, 5000, 4);
    }

    #[test]
    fn shuttle_split() {
        shuttle::check_random(split_at_once, 1000);
        shuttle::check_pct(split_at_once, 1000, 4);
        shuttle::check_random(split_while_shrinking, 500);
        shuttle::check_pct(split_while_shrinking, 500, 4);
    }
}
