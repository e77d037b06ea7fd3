//! ARCHITECTURE.md and the book name only what exists.

use super::finding::Finding;
use super::source::Tree;

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const SUMMARY: &str = "docs/SUMMARY.md";

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    match tree.files.get(ARCHITECTURE) {
        None => findings.push(Finding::error(ARCHITECTURE, "is missing")),
        Some(text) => findings.extend(code_map(tree, text)),
    }
    for page in ["README.md", "CHANGELOG.md", "LICENSE", SUMMARY] {
        if !tree.has(page) {
            findings.push(Finding::error(page, "is missing"));
        }
    }
    for (path, text) in &tree.files {
        if path.ends_with(".md") {
            findings.extend(links(tree, path, text));
        }
    }
    findings
}

/// Every path in backquotes that looks like one of the tree is one.
fn code_map(tree: &Tree, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for path in line.split('`').skip(1).step_by(2) {
            let begins = ["crates/", "docs/", ".ci/"]
                .iter()
                .any(|start| path.starts_with(start));
            let plain = path
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
            if begins && plain && !tree.has(path) {
                let place = format!("{ARCHITECTURE}:{}", number + 1);
                findings.push(Finding::error(
                    place,
                    format!("names {path}, which is not there"),
                ));
            }
        }
    }
    findings
}

/// Relative links of a page lead somewhere.
fn links(tree: &Tree, page: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let Some((target, _)) = rest.split_once(')') else {
                continue;
            };
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains(':') || target.contains(' ') {
                continue;
            }
            let path = resolve(page, target);
            if !tree.has(&path) {
                let place = format!("{page}:{}", number + 1);
                findings.push(Finding::error(
                    place,
                    format!("links to {path}, which is not there"),
                ));
            }
        }
    }
    findings
}

/// The path from the root of what `page` calls `target`.
fn resolve(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => _ = parts.pop(),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::tree;

    fn whole(architecture: &str, guide: &str) -> Vec<String> {
        let files = [
            ("ARCHITECTURE.md", architecture),
            ("README.md", "[book](docs/SUMMARY.md)"),
            ("CHANGELOG.md", ""),
            ("LICENSE", ""),
            ("docs/SUMMARY.md", "[guide](guide/first.md#top)"),
            ("docs/guide/first.md", guide),
            ("crates/lsm/src/db.rs", ""),
        ];
        let findings = check(&tree(&files));
        findings
            .into_iter()
            .map(|one| format!("{}: {}", one.place, one.what))
            .collect()
    }

    #[test]
    fn paths_of_the_code_map_must_exist() {
        assert_eq!(
            whole("`crates/lsm` holds `crates/lsm/src/db.rs` and `lsm/x`", ""),
            [""; 0]
        );
        assert_eq!(
            whole("first\n`crates/lsm/src/gone.rs`", ""),
            ["ARCHITECTURE.md:2: names crates/lsm/src/gone.rs, which is not there"]
        );
    }

    #[test]
    fn links_must_lead_somewhere() {
        assert_eq!(
            whole(
                "",
                "[up](../SUMMARY.md) [out](https://example.org) [here](#x)"
            ),
            [""; 0]
        );
        assert_eq!(
            whole("", "[up](../gone.md)"),
            ["docs/guide/first.md:1: links to docs/gone.md, which is not there"]
        );
    }

    #[test]
    fn documents_must_be_there() {
        let findings = check(&tree(&[]));
        let places: Vec<_> = findings
            .iter()
            .map(|finding| finding.place.as_str())
            .collect();
        assert_eq!(
            places,
            [
                "ARCHITECTURE.md",
                "README.md",
                "CHANGELOG.md",
                "LICENSE",
                "docs/SUMMARY.md"
            ]
        );
    }
}
