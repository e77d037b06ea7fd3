//! Pages of results are what their figures render to, and nothing else.

use ringwood_bench_report::{DIRECTORY, NAMES, rendered};

use super::finding::Finding;
use super::source::Tree;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    NAMES.iter().flat_map(|name| of(tree, name)).collect()
}

fn of(tree: &Tree, name: &str) -> Vec<Finding> {
    let figures = format!("{DIRECTORY}/{name}.json");
    let Some(json) = tree.files.get(&figures) else {
        return vec![Finding::error(figures, "is missing")];
    };
    let files = match rendered(name, json) {
        Ok(files) => files,
        Err(error) => return vec![Finding::error(figures, error.to_string())],
    };
    files
        .into_iter()
        .map(|(file, text)| (format!("{DIRECTORY}/{file}"), text))
        .filter(|(path, text)| tree.files.get(path) != Some(text))
        .map(|(path, text)| Finding::error(place(tree, path, &text), mismatch(&figures)))
        .collect()
}

fn mismatch(figures: &str) -> String {
    format!("is not what {figures} renders to: it is generated, so measure again, or undo the edit")
}

/// The file, and the first line of it that differs.
fn place(tree: &Tree, path: String, text: &str) -> String {
    let Some(found) = tree.files.get(&path) else {
        return path;
    };
    let same = found.lines().zip(text.lines());
    let line = same.take_while(|(found, made)| found == made).count() + 1;
    format!("{path}:{line}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::tree;

    const FIGURES: &str = r#"{
        "machine": "m", "versions": {}, "rounds": 1, "entries": 2,
        "rows": [{"name": "fill", "unit": "ops/s", "more_is_better": true, "rounds": {
            "ringwood": [{"figure": 4.0}], "rocksdb": [{"figure": 2.0}]
        }}]
    }"#;

    fn found(page: &str, plot: &str) -> Vec<String> {
        let files = [
            ("docs/benchmarks/engines.json", FIGURES),
            ("docs/benchmarks/engines.md", page),
            ("docs/benchmarks/engines.svg", plot),
        ];
        let findings = of(&tree(&files), "engines");
        findings.into_iter().map(|one| one.place).collect()
    }

    #[test]
    fn a_page_that_was_written_in_is_found() {
        let files = rendered("engines", FIGURES).expect("figures");
        let (page, plot) = (&files[0].1, &files[1].1);
        assert!(page.contains("| fill | ops/s | 4.00 | 2.00 | – | **2.00** |"));
        assert_eq!(found(page, plot), [""; 0]);
        let row = page.lines().position(|line| line.starts_with("| fill"));
        let line = row.expect("the row is there") + 1;
        assert_eq!(
            found(&page.replace("ops/s", "**behind**"), plot),
            [format!("docs/benchmarks/engines.md:{line}")]
        );
        assert_eq!(found(page, ""), ["docs/benchmarks/engines.svg:1"]);
    }

    #[test]
    fn figures_must_be_there() {
        let findings = check(&tree(&[("docs/benchmarks/http.json", "{}")]));
        let places: Vec<_> = findings.iter().map(|one| one.place.as_str()).collect();
        assert_eq!(
            places,
            [
                "docs/benchmarks/engines.json",
                "docs/benchmarks/http.json",
                "docs/benchmarks/counts.json"
            ]
        );
    }
}
