//! Does the engine stay within its budget? Loads, compacts, scans and reads at random, and watches
//! the process's resident memory all the while.

use std::ops::Bound::Unbounded;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringwood_lsm::{Db, Durability, KeyspaceOptions, Options, ReadOptions};

use crate::workload::{Draw, VALUE_LEN, fill_value, present_key, shuffled};

pub fn run(entries: u64, budget_mib: usize, directory: &Path) -> Result<()> {
    std::fs::remove_dir_all(directory).ok();
    let result = phases(entries, budget_mib, directory);
    std::fs::remove_dir_all(directory).ok();
    result
}

fn phases(entries: u64, budget_mib: usize, directory: &Path) -> Result<()> {
    let options = Options {
        memory_budget: budget_mib << 20,
        ..Options::new(directory)
    };
    let db = Db::open(options)?;
    let keyspace = db.create_keyspace("bench", KeyspaceOptions::default())?;
    let reads = (entries / 10).max(1);

    phase(budget_mib, "load", || {
        let mut draw = Draw::new(1);
        let mut value = [0; VALUE_LEN];
        for i in 0..entries {
            fill_value(&mut draw, &mut value);
            keyspace.put(
                &present_key(shuffled(i, entries)),
                &value,
                Durability::Buffered,
            )?;
        }
        Ok(())
    })?;
    phase(budget_mib, "compact", || Ok(keyspace.compact()?))?;
    phase(budget_mib, "scan", || {
        let mut iter = keyspace.range((Unbounded, Unbounded), &ReadOptions::default())?;
        iter.seek_to_first()?;
        let mut seen = 0;
        while iter.valid() {
            ensure!(
                iter.value().len() == VALUE_LEN,
                "a value has another length"
            );
            seen += 1;
            iter.next()?;
        }
        ensure!(seen == entries, "the scan saw {seen} of {entries}");
        Ok(())
    })?;
    phase(budget_mib, "random reads", || {
        let mut draw = Draw::new(2);
        for _ in 0..reads {
            ensure!(
                keyspace.get(&present_key(draw.below(entries)))?.is_some(),
                "one is missing"
            );
        }
        Ok(())
    })?;
    println!("accounted: {:?}", db.statistics().memory);
    Ok(db.close()?)
}

/// Runs a phase and prints its time and the peak of resident memory in it.
fn phase(budget_mib: usize, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let stop = AtomicBool::new(false);
    let begin = Instant::now();
    let (result, peak) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = 0;
            while !stop.load(Ordering::Relaxed) {
                peak = peak.max(resident_bytes().unwrap_or(0));
                std::thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        let result = work();
        stop.store(true, Ordering::Relaxed);
        (result, watcher.join().expect("the watcher panicked"))
    });
    let ratio = peak as f64 / (budget_mib << 20) as f64;
    println!(
        "{name:<14} {:>6.1} s  peak RSS {:>5} MiB = {ratio:.3} of the budget",
        begin.elapsed().as_secs_f64(),
        peak >> 20
    );
    result
}

fn resident_bytes() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .context("statm has two fields")?
        .parse()?;
    Ok(pages * 4096)
}
