//! How results are kept: every figure as JSON in `docs/benchmarks/`, and beside it the page that is
//! rendered of it, in a file of its own. People write in `docs/benchmarks.md`, programs never do.
//!
//! One module for each kind of result: `engines`, `http` and `counts`. `cargo xtask tidy` checks that
//! every rendered file is what its JSON renders to ([`rendered`]).

pub mod counts;
pub mod engines;
pub mod http;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where results are kept, from the root of the tree.
pub const DIRECTORY: &str = "docs/benchmarks";

/// The kinds of results there are.
pub const NAMES: [&str; 3] = [engines::Run::NAME, http::Run::NAME, counts::Run::NAME];

/// A kind of result.
pub trait Results: Serialize + DeserializeOwned {
    /// Its files are called so.
    const NAME: &'static str;

    /// The page for people, without its heading.
    fn page(&self) -> String;

    /// A picture, where there is one.
    fn plot(&self) -> Option<String> {
        None
    }
}

/// A file that is made of results: its name in [`DIRECTORY`], and what is in it.
pub type Rendered = (String, String);

/// Prints the page of `results`, and keeps it, its figures and its picture among the documents in
/// `docs`.
///
/// # Errors
/// Where files cannot be written.
pub fn keep<R: Results>(docs: &Path, results: &R) -> Result<()> {
    println!("{}", results.page());
    let directory = docs.join("benchmarks");
    let json = serde_json::to_string_pretty(results)? + "\n";
    let mut files = render(results);
    files.push((format!("{}.json", R::NAME), json));
    fs::create_dir_all(&directory)?;
    for (name, text) in files {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// What stands beside the figures `json` of the kind `name`.
///
/// # Errors
/// Where `json` holds no figures of this kind.
///
/// # Panics
/// With a kind that is not in [`NAMES`].
pub fn rendered(name: &str, json: &str) -> Result<Vec<Rendered>> {
    match name {
        engines::Run::NAME => rendered_of::<engines::Run>(json),
        http::Run::NAME => rendered_of::<http::Run>(json),
        counts::Run::NAME => rendered_of::<counts::Run>(json),
        _ => panic!("{name} is no kind of result"),
    }
}

fn rendered_of<R: Results>(json: &str) -> Result<Vec<Rendered>> {
    Ok(render(&serde_json::from_str::<R>(json)?))
}

fn render<R: Results>(results: &R) -> Vec<Rendered> {
    let name = R::NAME;
    let page = format!(
        "<!-- Made of {name}.json: whatever is written here is overwritten. -->\n\n{}\n",
        results.page().trim()
    );
    let mut files = vec![(format!("{name}.md"), page)];
    files.extend(results.plot().map(|plot| (format!("{name}.svg"), plot)));
    files
}

/// The middle one, or the mean of the two middle ones; NaN of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

/// A figure with about three digits.
pub fn number(figure: f64) -> String {
    match figure {
        f if f >= 100_000.0 => format!("{:.0}k", f / 1e3),
        f if f >= 10_000.0 => format!("{:.1}k", f / 1e3),
        f if f >= 100.0 => format!("{f:.0}"),
        f => format!("{f:.2}"),
    }
}

/// What was measured on.
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let about = read("/proc/cpuinfo");
    let model = about
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |model| {
        model.trim_start_matches([' ', '\t', ':'])
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo");
    let kib: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} cores ({model}), {} GiB, Linux {}",
        kib >> 20,
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_its_figures_render_to() {
        let directory = std::env::temp_dir().join(format!("kept-{}", std::process::id()));
        let mut run = engines::Run::begin(1, 10);
        let row = engines::About {
            name: "fill",
            unit: "ops/s",
            more_is_better: true,
        };
        run.add(row, "ringwood", engines::Measured::of(3.0));
        run.add(row, "rocksdb", engines::Measured::of(2.0));
        keep(&directory, &run).unwrap();
        let read = |name: &str| fs::read_to_string(directory.join("benchmarks").join(name));
        let files = rendered("engines", &read("engines.json").unwrap()).unwrap();
        assert_eq!(files.len(), 2);
        for (name, text) in files {
            assert_eq!(read(&name).unwrap(), text, "{name}");
        }
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }
}
