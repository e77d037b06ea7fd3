//! How results are kept: every figure as JSON in `docs/benchmarks/`, and a table of them as a
//! section of `docs/benchmarks.md`, between marks. What people wrote around it stays.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Keeps `report` as `benchmarks/NAME.json` and `section` on the page, both in the directory of the
/// documents. A page without marks for the section gets them at its end.
///
/// # Errors
/// Where files cannot be read or written.
pub fn keep(docs: &Path, name: &str, report: &impl Serialize, section: &str) -> Result<()> {
    let data = docs.join("benchmarks");
    fs::create_dir_all(&data)?;
    let json = data.join(format!("{name}.json"));
    fs::write(&json, serde_json::to_string_pretty(report)? + "\n")
        .with_context(|| format!("cannot write {}", json.display()))?;
    let path = docs.join("benchmarks.md");
    let page = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        page => page.with_context(|| format!("cannot read {}", path.display()))?,
    };
    fs::write(&path, with_section(&page, name, section))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The page with this section between its marks.
fn with_section(page: &str, name: &str, section: &str) -> String {
    let begin = format!("<!-- {name}: made by bench/, do not edit -->\n");
    let end = format!("<!-- {name}: end -->");
    let section = section.trim();
    let around = page.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let (before, after) = around.unwrap_or((page, "\n"));
    format!("{before}{begin}\n{section}\n\n{end}{after}")
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
    fn only_what_stands_between_the_marks_changes() {
        let page = "a\n<!-- x: made by bench/, do not edit -->\nold\n<!-- x: end -->\nb\n";
        let once = with_section(page, "x", "new");
        assert!(once.starts_with("a\n") && once.ends_with("\nb\n") && !once.contains("old"));
        assert_eq!(with_section(&once, "x", "new"), once);
        let both = with_section(&once, "y", "other");
        assert!(both.starts_with(&once) && both.contains("other"));
        assert_eq!(with_section(&both, "y", "other"), both);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }
}
