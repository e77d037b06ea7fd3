//! What a get costs among a million range deletes in one memtable, beside one without any.
//!
//! `cargo run --release -p ringwood-lsm --example range_deletes -- [COUNT] [growing|apart]`

#![allow(clippy::disallowed_methods)] // it times what a user sees

use std::time::Instant;

use ringwood_lsm::{Db, Durability, Keyspace, KeyspaceOptions, Options, Result};

const GETS: u32 = 500_000;

fn key(n: u32) -> Vec<u8> {
    format!("q/{n:08}").into_bytes()
}

/// Nanoseconds of a get, keys in no order.
fn time_gets(keyspace: &Keyspace, keys: u32) -> Result<u128> {
    let begin = Instant::now();
    for n in 0..GETS {
        keyspace.get(&key(n.wrapping_mul(2_654_435_761) % keys))?;
    }
    Ok(begin.elapsed().as_nanos() / u128::from(GETS))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let count: u32 = arguments.next().map_or(1_000_000, |text| {
        text.parse().expect("the first argument is a count")
    });
    let is_growing = arguments.next().is_some_and(|shape| shape == "growing");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = Db::open(Options {
        memory_budget: 2 << 30,
        memtable_len: Some(1 << 30),
        ..Options::new(directory.path())
    })?;
    let keyspace = db.create_keyspace("data", KeyspaceOptions::default())?;
    for n in 0..2 * count {
        keyspace.put(&key(n), b"value", Durability::Buffered)?;
    }
    let without = time_gets(&keyspace, 2 * count)?;
    let begin = Instant::now();
    for n in 0..count {
        let (start, end) = if is_growing {
            (0, n + 1)
        } else {
            (2 * n, 2 * n + 1)
        };
        keyspace.delete_range(&key(start), &key(end), Durability::Buffered)?;
    }
    let each = begin.elapsed().as_nanos() / u128::from(count);
    let among = time_gets(&keyspace, 2 * count)?;
    println!(
        "{count} range deletes, {each} ns each; a get {without} ns without, {among} ns among them"
    );
    println!("memory by use: {:?}", db.statistics().memory);
    let begin = Instant::now();
    db.flush()?;
    println!("written out in {:?}", begin.elapsed());
    Ok(())
}
