//! What is measured: each row on a fresh directory, loaded alike.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use ringwood_bench_report::engines::Measured;

use crate::amplification;
use crate::engine::{Engine, EngineName};
use crate::workload::{Draw, VALUE_LEN, Zipf, fill_value, missing_key, present_key, shuffled};

const MIB: usize = 1 << 20;
/// Room for the whole data set, uncompressed.
const CACHE_HOT: usize = 1024 * MIB;
/// Room for metadata and little else.
const CACHE_COLD: usize = 16 * MIB;
const POINT_READS: u64 = 400_000;
const COLD_READS: u64 = 20_000;
const SCANS: u64 = 20_000;
const DURABLE_TIME: Duration = Duration::from_secs(3);
const MIXED_TIME: Duration = Duration::from_secs(4);
const YCSB_OPERATIONS: u64 = 300_000;

pub struct Row {
    pub name: &'static str,
    /// What the figure is, and whether more is better.
    pub unit: &'static str,
    pub more_is_better: bool,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Fill { shuffled: bool },
    Durable { writers: u64 },
    Overwrite,
    Reads { missing: bool },
    ColdReads,
    Scans,
    ReadWhileWriting,
    Ycsb(char),
    ReopenKilled,
    ReopenClean,
    WriteAmplification,
    SpaceAmplification,
}

impl Row {
    pub fn all() -> impl Iterator<Item = Self> {
        let rate = |name, kind| Self {
            name,
            unit: "ops/s",
            more_is_better: true,
            kind,
        };
        let cost = |name, unit, kind| Self {
            name,
            unit,
            more_is_better: false,
            kind,
        };
        [
            rate("fill-in-order", Kind::Fill { shuffled: false }),
            rate("fill-random", Kind::Fill { shuffled: true }),
            rate("durable-put-1", Kind::Durable { writers: 1 }),
            rate("durable-put-4", Kind::Durable { writers: 4 }),
            rate("durable-put-16", Kind::Durable { writers: 16 }),
            rate("durable-put-64", Kind::Durable { writers: 64 }),
            rate("overwrite", Kind::Overwrite),
            rate("read-hot", Kind::Reads { missing: false }),
            rate("read-missing", Kind::Reads { missing: true }),
            rate("read-cold", Kind::ColdReads),
            rate("scan-100", Kind::Scans),
            rate("read-while-writing", Kind::ReadWhileWriting),
            rate("ycsb-a", Kind::Ycsb('a')),
            rate("ycsb-b", Kind::Ycsb('b')),
            rate("ycsb-c", Kind::Ycsb('c')),
            rate("ycsb-d", Kind::Ycsb('d')),
            rate("ycsb-e", Kind::Ycsb('e')),
            rate("ycsb-f", Kind::Ycsb('f')),
            cost("reopen-killed", "ms", Kind::ReopenKilled),
            cost("reopen-clean", "ms", Kind::ReopenClean),
            cost(
                "write-amplification",
                "bytes/byte",
                Kind::WriteAmplification,
            ),
            cost(
                "space-amplification",
                "bytes/byte",
                Kind::SpaceAmplification,
            ),
        ]
        .into_iter()
    }

    /// `times`: how often the measured part of a row that only reads is repeated, to be profiled.
    pub fn run(
        &self,
        engine: EngineName,
        entries: u64,
        times: u64,
        directory: &Path,
    ) -> Result<Measured> {
        match self.kind {
            Kind::Fill { shuffled } => {
                let db = engine.open(directory, CACHE_HOT)?;
                timed(entries, || load(&*db, entries, shuffled))
            }
            Kind::Durable { writers } => durable_puts(engine, directory, writers),
            Kind::Overwrite => {
                let db = loaded(engine, entries, directory)?;
                timed(entries, || load(&*db, entries, true))
            }
            Kind::Reads { missing } => {
                let db = warmed(engine, entries, directory)?;
                point_reads(&*db, entries, times * POINT_READS, missing)
            }
            Kind::ColdReads => cold_reads(engine, entries, times * COLD_READS, directory),
            Kind::Scans => {
                let db = warmed(engine, entries, directory)?;
                let mut draw = Draw::new(7);
                timed(times * SCANS, || {
                    (0..times * SCANS).try_for_each(|_| {
                        let start = present_key(draw.below(entries - 100));
                        ensure!(db.scan(&start, 100)? == 100, "a scan was cut short");
                        Ok(())
                    })
                })
            }
            Kind::ReadWhileWriting => read_while_writing(engine, entries, directory),
            Kind::Ycsb(mix) => ycsb(&*warmed(engine, entries, directory)?, entries, mix),
            Kind::ReopenKilled => reopen(engine, directory, true),
            Kind::ReopenClean => reopen(engine, directory, false),
            Kind::WriteAmplification => {
                let db = engine.open(directory, CACHE_HOT)?;
                let before = amplification::written_by_process()?;
                for _ in 0..3 {
                    load(&*db, entries, true)?;
                }
                db.settle()?;
                let written = amplification::written_by_process()? - before;
                Ok(Measured::of(written as f64 / user_bytes(3 * entries)))
            }
            Kind::SpaceAmplification => {
                let db = engine.open(directory, CACHE_HOT)?;
                for _ in 0..3 {
                    load(&*db, entries, true)?;
                }
                db.settle()?;
                let held = amplification::held_by_tables(directory)?;
                let mut measured = Measured::of(held as f64 / user_bytes(entries));
                let all = amplification::held_by(directory)? as f64 / user_bytes(entries);
                measured.detail("with_logs", all);
                Ok(measured)
            }
        }
    }
}

fn user_bytes(entries: u64) -> f64 {
    (entries * (20 + VALUE_LEN as u64)) as f64
}

fn with_latency(mut measured: Measured, latency: &Histogram<u64>) -> Measured {
    for (name, quantile) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)] {
        measured.detail(name, latency.value_at_quantile(quantile) as f64 / 1e3);
    }
    measured.detail("max_us", latency.max() as f64 / 1e3);
    measured
}

fn timed(operations: u64, work: impl FnOnce() -> Result<()>) -> Result<Measured> {
    let begin = Instant::now();
    work()?;
    Ok(Measured::of(
        operations as f64 / begin.elapsed().as_secs_f64(),
    ))
}

/// Puts every entry once, buffered.
fn load(db: &dyn Engine, entries: u64, in_disorder: bool) -> Result<()> {
    let mut draw = Draw::new(1);
    let mut value = [0; VALUE_LEN];
    for i in 0..entries {
        fill_value(&mut draw, &mut value);
        let i = if in_disorder { shuffled(i, entries) } else { i };
        db.put(&present_key(i), &value, false)?;
    }
    Ok(())
}

fn loaded(engine: EngineName, entries: u64, directory: &Path) -> Result<Box<dyn Engine>> {
    let db = engine.open(directory, CACHE_HOT)?;
    load(&*db, entries, true)?;
    db.settle()?;
    Ok(db)
}

/// Loaded, settled, and read through once.
fn warmed(engine: EngineName, entries: u64, directory: &Path) -> Result<Box<dyn Engine>> {
    let db = loaded(engine, entries, directory)?;
    for i in 0..entries {
        ensure!(db.get(&present_key(i))?, "entry {i} is missing");
    }
    Ok(db)
}

fn point_reads(db: &dyn Engine, entries: u64, reads: u64, missing: bool) -> Result<Measured> {
    let mut draw = Draw::new(3);
    let mut latency = histogram()?;
    // The clock is read once for sixteen reads: it would cost a tenth of a fast one.
    let measured = timed(reads, || {
        for _ in 0..reads / 16 {
            let begin = Instant::now();
            for _ in 0..16 {
                let i = draw.below(entries);
                let key = if missing {
                    missing_key(i)
                } else {
                    present_key(i)
                };
                ensure!(db.get(&key)? != missing, "wrong answer for entry {i}");
            }
            latency.saturating_record(begin.elapsed().as_nanos() as u64 / 16);
        }
        Ok(())
    })?;
    Ok(with_latency(measured, &latency))
}

fn cold_reads(engine: EngineName, entries: u64, reads: u64, directory: &Path) -> Result<Measured> {
    drop(loaded(engine, entries, directory)?);
    drop_page_cache()?;
    let db = engine.open(directory, CACHE_COLD)?;
    let mut draw = Draw::new(5);
    let mut latency = histogram()?;
    let measured = timed(reads, || {
        for _ in 0..reads {
            let begin = Instant::now();
            ensure!(
                db.get(&present_key(draw.below(entries)))?,
                "an entry is missing"
            );
            latency.saturating_record(begin.elapsed().as_nanos() as u64);
        }
        Ok(())
    })?;
    Ok(with_latency(measured, &latency))
}

/// Needs root, and says so: without it "cold" would mean nothing.
fn drop_page_cache() -> Result<()> {
    Command::new("sync").status()?;
    std::fs::write("/proc/sys/vm/drop_caches", "3")
        .context("cold reads need root, to drop the page cache")
}

fn durable_puts(engine: EngineName, directory: &Path, writers: u64) -> Result<Measured> {
    let db = engine.open(directory, CACHE_HOT)?;
    let db = &*db;
    let stop = AtomicBool::new(false);
    let begin = Instant::now();
    let (done, latency) = std::thread::scope(|scope| -> Result<_> {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                let stop = &stop;
                scope.spawn(move || -> Result<_> {
                    let mut draw = Draw::new(writer);
                    let mut value = [0; VALUE_LEN];
                    let mut latency = histogram()?;
                    while !stop.load(Ordering::Relaxed) {
                        fill_value(&mut draw, &mut value);
                        let key = present_key(draw.below(1 << 40));
                        let begin = Instant::now();
                        db.put(&key, &value, true)?;
                        latency.saturating_record(begin.elapsed().as_nanos() as u64);
                    }
                    Ok(latency)
                })
            })
            .collect();
        std::thread::sleep(DURABLE_TIME);
        stop.store(true, Ordering::Relaxed);
        let mut all = histogram()?;
        for thread in threads {
            all.add(thread.join().expect("a writer panicked")?)?;
        }
        Ok((all.len(), all))
    })?;
    let rate = done as f64 / begin.elapsed().as_secs_f64();
    Ok(with_latency(Measured::of(rate), &latency))
}

fn read_while_writing(engine: EngineName, entries: u64, directory: &Path) -> Result<Measured> {
    let db = warmed(engine, entries, directory)?;
    let db = &*db;
    let stop = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<()> {
            let mut draw = Draw::new(11);
            let mut value = [0; VALUE_LEN];
            while !stop.load(Ordering::Relaxed) {
                fill_value(&mut draw, &mut value);
                db.put(&present_key(draw.below(entries)), &value, false)?;
                written.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let mut draw = Draw::new(13);
        let mut latency = histogram()?;
        let begin = Instant::now();
        while begin.elapsed() < MIXED_TIME {
            let begin = Instant::now();
            ensure!(
                db.get(&present_key(draw.below(entries)))?,
                "an entry is missing"
            );
            latency.saturating_record(begin.elapsed().as_nanos() as u64);
        }
        let took = begin.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer panicked")?;
        let rate = Measured::of(latency.len() as f64 / took);
        let mut measured = with_latency(rate, &latency);
        measured.detail(
            "puts_per_second",
            written.load(Ordering::Relaxed) as f64 / took,
        );
        Ok(measured)
    })
}

/// The six mixes of YCSB, one thread.
fn ycsb(db: &dyn Engine, entries: u64, mix: char) -> Result<Measured> {
    let zipf = Zipf::new(entries);
    let mut draw = Draw::new(17);
    let mut value = [0; VALUE_LEN];
    let mut newest = entries;
    let operations = if mix == 'e' {
        YCSB_OPERATIONS / 10
    } else {
        YCSB_OPERATIONS
    };
    timed(operations, || {
        for _ in 0..operations {
            let percent = draw.below(100);
            match mix {
                'a' if percent < 50 => db.get(&present_key(zipf.key(&mut draw))).map(drop)?,
                'b' if percent < 95 => db.get(&present_key(zipf.key(&mut draw))).map(drop)?,
                'c' => db.get(&present_key(zipf.key(&mut draw))).map(drop)?,
                'd' if percent < 95 => {
                    let latest = newest - 1 - zipf.rank(&mut draw);
                    ensure!(db.get(&present_key(latest))?, "the latest are missing");
                }
                'e' if percent < 95 => {
                    let limit = 1 + draw.below(100) as usize;
                    db.scan(&present_key(zipf.key(&mut draw)), limit)
                        .map(drop)?;
                }
                'd' | 'e' => {
                    fill_value(&mut draw, &mut value);
                    db.put(&present_key(newest), &value, false)?;
                    newest += 1;
                }
                'f' => {
                    let key = present_key(zipf.key(&mut draw));
                    db.get(&key)?;
                    if percent < 50 {
                        fill_value(&mut draw, &mut value);
                        db.put(&key, &value, false)?;
                    }
                }
                _ => {
                    fill_value(&mut draw, &mut value);
                    db.put(&present_key(zipf.key(&mut draw)), &value, false)?;
                }
            }
        }
        Ok(())
    })
}

/// Entries written before the kill: about 58 MB of log, and no full memtable.
const REOPEN_ENTRIES: u64 = 56_000;

fn reopen(engine: EngineName, directory: &Path, killed: bool) -> Result<Measured> {
    if killed {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["write-until-killed", &engine.to_string()])
            .arg(directory)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().context("the child has no output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line)?;
        child.kill()?;
        child.wait()?;
        ensure!(line.trim() == "written", "the child wrote nothing");
    } else {
        let db = engine.open(directory, CACHE_HOT)?;
        load(&*db, REOPEN_ENTRIES, true)?;
        db.settle()?;
    }
    let begin = Instant::now();
    let db = engine.open(directory, CACHE_HOT)?;
    ensure!(db.get(&present_key(0))?, "an entry is missing");
    let took = begin.elapsed();
    for i in 0..REOPEN_ENTRIES {
        ensure!(db.get(&present_key(i))?, "entry {i} is missing");
    }
    Ok(Measured::of(took.as_secs_f64() * 1e3))
}

pub fn write_until_killed(engine: EngineName, directory: &Path) -> Result<()> {
    let db = engine.open(directory, CACHE_HOT)?;
    load(&*db, REOPEN_ENTRIES, true)?;
    println!("written");
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}
