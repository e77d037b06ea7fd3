//! Counts what a request takes of the server's own code, by Callgrind: figures that are the same on
//! every machine, and so can be held.
//!
//! The example `count` of the server serves so many requests in one process with its clients. Each
//! load runs twice, the second time with twice as many requests: the difference is what requests
//! take, without the start and the end.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use ringwood_bench_report::counts::{Counts, Row, Run};

use crate::binary;

/// Loads, how they are called in the report, whether the bare handler has them, and how many
/// requests are counted.
const LOADS: [(&str, &str, bool, u32); 5] = [
    ("get", "get of a key in a memtable", true, 2000),
    ("get-cached", "get of a key in a cached block", false, 2000),
    ("put", "durable put, 32 together", true, 2000),
    ("page", "following page, 1 KiB values", false, 200),
    ("page-keys", "following page, keys", false, 200),
];
/// What a count may be above what is kept, as compilers and libraries change.
const SLACK: f64 = 1.05;
const ALLOCATORS: [&str; 4] = ["malloc", "calloc", "realloc", "posix_memalign"];
const CLOCKS: [&str; 1] = ["clock_gettime"];
/// How the report calls them.
const CLOCK_READS: &str = "clock reads";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Keep what is counted among the documents, instead of comparing it with what was kept.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let docs = root.join("docs");
    let kept = docs.join("benchmarks/counts.json");
    let kept: Option<Run> = match arguments.keep {
        true => None,
        false => Some(serde_json::from_slice(&fs::read(&kept)?)?),
    };
    let server = binary::build_example(root, "ringwood-server", "count")?;
    let mut rows = Vec::new();
    for (load, name, of_bare, requests) in LOADS {
        let bare = of_bare
            .then(|| count(&server, "bare", load, requests))
            .transpose()?;
        let ringwood = count(&server, "ringwood", load, requests)?;
        eprintln!("{name}: {ringwood:.1?}");
        rows.push(Row {
            name: name.to_owned(),
            ringwood,
            bare,
        });
    }
    match kept {
        None => ringwood_bench_report::keep(&docs, &Run { rows }),
        Some(kept) => compare(&kept.rows, &rows),
    }
}

/// Fails where a request takes more than it did.
fn compare(kept: &[Row], rows: &[Row]) -> Result<()> {
    let mut worse = Vec::new();
    for row in rows {
        let before = kept.iter().find(|kept| kept.name == row.name);
        let before = before.with_context(|| format!("nothing is kept of {:?}", row.name))?;
        let counts = row.ringwood.named().into_iter();
        for ((what, now), (_, then)) in counts.zip(before.ringwood.named()) {
            // A request that threads hand to each other reads clocks as often as the machine lets them wait.
            if what == CLOCK_READS && row.bare.is_none() {
                continue;
            }
            if now > then * SLACK + 0.5 {
                worse.push(format!(
                    "{}: {now:.1} {what}, and it was {then:.1}",
                    row.name
                ));
            }
        }
    }
    ensure!(
        worse.is_empty(),
        "requests take more than they did (if they must: cargo xtask count --keep)\n{}",
        worse.join("\n")
    );
    println!("no request takes more than it did");
    Ok(())
}

/// What one of so many requests takes.
fn count(server: &Path, who: &str, load: &str, requests: u32) -> Result<Counts> {
    let once = profile(server, who, load, requests)?;
    let twice = profile(server, who, load, 2 * requests)?;
    let each = |twice: u64, once: u64| twice.saturating_sub(once) as f64 / f64::from(requests);
    Ok(Counts {
        instructions: each(twice.instructions, once.instructions),
        allocations: each(twice.allocations, once.allocations),
        clock_reads: each(twice.clock_reads, once.clock_reads),
    })
}

/// What a whole run takes.
#[derive(Debug, PartialEq, Eq)]
struct Totals {
    instructions: u64,
    allocations: u64,
    clock_reads: u64,
}

fn profile(server: &Path, who: &str, load: &str, requests: u32) -> Result<Totals> {
    let directory = tempfile::tempdir()?;
    let path: PathBuf = directory.path().join("profile");
    let status = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", path.display()))
        .arg(server)
        .args([who, load, &requests.to_string()])
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .status()
        .context("valgrind does not start")?;
    ensure!(status.success(), "{who} {load} failed");
    // Names of functions may be anything.
    read(&String::from_utf8_lossy(&fs::read(path)?))
}

/// Reads a profile. A function's name stands where it is first mentioned, after a number that stands
/// for it from then on.
fn read(profile: &str) -> Result<Totals> {
    let mut names = HashMap::new();
    let mut callee = "";
    let mut totals = Totals {
        instructions: 0,
        allocations: 0,
        clock_reads: 0,
    };
    for line in profile.lines() {
        let Some((key, value)) = line.split_once(['=', ':']) else {
            continue;
        };
        match key {
            "fn" | "cfn" => {
                let (number, name) = value.split_once(' ').unwrap_or((value, ""));
                if !name.is_empty() {
                    // `'2` and the like are its calls of itself, `@` begins its version.
                    let name = name.split(['\'', '@']).next().unwrap_or(name);
                    names.insert(number, name);
                }
                if key == "cfn" {
                    callee = names.get(number).copied().unwrap_or_default();
                }
            }
            "calls" => {
                let calls: u64 = value.split(' ').next().unwrap_or_default().parse()?;
                if ALLOCATORS.contains(&callee) {
                    totals.allocations += calls;
                } else if CLOCKS.contains(&callee) {
                    totals.clock_reads += calls;
                }
            }
            "totals" => totals.instructions = value.trim().parse()?,
            _ => {}
        }
    }
    ensure!(totals.instructions > 0, "the profile has no total");
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_added_up_by_the_name_of_whom_they_call() {
        let profile = "\
events: Ir
fn=(1) main
16 3
cfn=(2) malloc
calls=5 0
16 50
cfn=(3) clock_gettime@@GLIBC_2.17
calls=2 0
16 9
fn=(4) other
cfn=(2)
calls=7 0
16 70
cfn=(5) free
calls=9 0
16 1
totals: 133
";
        let totals = Totals {
            instructions: 133,
            allocations: 12,
            clock_reads: 2,
        };
        assert_eq!(read(profile).expect("a profile"), totals);
        assert!(read("events: Ir\n").is_err());
    }

    #[test]
    fn clock_reads_of_threads_that_wait_are_not_held() {
        let row = |clock_reads, bare| Row {
            name: "page".to_owned(),
            ringwood: Counts {
                clock_reads,
                ..Counts::default()
            },
            bare,
        };
        assert!(compare(&[row(9.0, None)], &[row(13.0, None)]).is_ok());
        let bare = Some(Counts::default());
        assert!(compare(&[row(9.0, bare)], &[row(13.0, bare)]).is_err());
    }

    #[test]
    fn only_what_grew_is_told() {
        let row = |instructions, allocations| Row {
            name: "get".to_owned(),
            ringwood: Counts {
                instructions,
                allocations,
                clock_reads: 3.0,
            },
            bare: None,
        };
        let kept = [row(1000.0, 4.0)];
        assert!(compare(&kept, &[row(1000.0, 4.0)]).is_ok());
        assert!(compare(&kept, &[row(900.0, 3.0)]).is_ok());
        assert!(compare(&kept, &[row(1100.0, 4.0)]).is_err());
        assert!(compare(&kept, &[row(1000.0, 5.0)]).is_err());
        assert!(compare(&[], &[row(1.0, 1.0)]).is_err());
    }
}
