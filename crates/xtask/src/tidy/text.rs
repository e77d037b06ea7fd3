//! What must not stand in the tree, whatever the file: loose ends, machines, `unsafe` outside of
//! its modules, files that have grown too long.

use super::finding::Finding;
use super::source::Tree;

/// The modules that may be unsafe, each small, with its safety argument and its tests under Miri
/// or shuttle. `.ci/run` reads this list.
const UNSAFE_MODULES: &str = include_str!("unsafe_modules.txt");

/// Lines of a file at which it should be cut.
const LINES_MAX: usize = 800;

/// Checked by this file, which has to name them.
const SELF: &str = "crates/xtask/src/tidy/text.rs";

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &tree.files {
        let rust = path.ends_with(".rs");
        if path == SELF || path == "Cargo.lock" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let place = || format!("{path}:{}", number + 1);
            if let Some(word) = machine(line) {
                findings.push(Finding::error(
                    place(),
                    format!("names a machine or a host: {word}"),
                ));
            }
            if rust && let Some(word) = loose_end(line) {
                findings.push(Finding::error(
                    place(),
                    format!("{word} is a loose end; finish it"),
                ));
            }
            if rust && is_unsafe(line) && !unsafe_modules().any(|module| module == path) {
                let what = "unsafe outside of the modules in tidy/unsafe_modules.txt";
                findings.push(Finding::error(place(), what));
            }
        }
        let lines = text.lines().count();
        if rust && lines > LINES_MAX {
            findings.push(Finding::warning(
                path,
                format!("{lines} lines; cut it before {LINES_MAX}"),
            ));
        }
    }
    for module in unsafe_modules().filter(|module| !tree.files.contains_key(*module)) {
        findings.push(Finding::error(
            "tidy/unsafe_modules.txt",
            format!("names {module}, which is not there"),
        ));
    }
    findings
}

fn unsafe_modules() -> impl Iterator<Item = &'static str> {
    UNSAFE_MODULES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn loose_end(line: &str) -> Option<&'static str> {
    let comment = line.find("//").map_or("", |at| &line[at..]);
    let words = ["TODO", "FIXME", "XXX", "HACK"]
        .into_iter()
        .find(|word| comment.contains(word));
    let macros = ["todo!", "unimplemented!", "dbg!"].into_iter();
    words.or_else(|| {
        macros
            .into_iter()
            .find(|name| line.contains(&format!("{name}(")))
    })
}

fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let mut words = code.split(|one: char| !one.is_ascii_alphanumeric() && one != '_');
    words.any(|word| word == "unsafe") || code.contains("allow(unsafe_code)")
}

/// Paths that exist on one machine only, and package hosts, which belong in nobody's tree.
fn machine(line: &str) -> Option<&'static str> {
    const PATHS: &[&str] = &[
        "/home/",
        "/root/",
        "/Users/",
        "/tmp/wt/",
        "/work/main",
        "/work/shared",
    ];
    const HOSTS: &[&str] = &[
        "registry.npmjs.org",
        "pypi.org/simple",
        "index.crates.io",
        "proxy.golang.org",
    ];
    PATHS
        .iter()
        .chain(HOSTS)
        .copied()
        .find(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::tree;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let all = check(&tree(&[(path, text)])).into_iter();
        let here = all.filter(|one| one.place.starts_with(path));
        here.map(|one| format!("{}: {}", one.place, one.what))
            .collect()
    }

    #[test]
    fn loose_ends_are_found_in_code_only() {
        let path = "crates/lsm/src/db.rs";
        for bad in [
            "// TODO later",
            "fn f() { todo!() }",
            "x; // FIXME",
            "dbg!(x);",
        ] {
            assert_eq!(findings(path, bad).len(), 1, "{bad}");
        }
        assert_eq!(findings(path, "let s = \"TODO\"; // all is done"), [""; 0]);
        assert_eq!(findings("docs/src/a.md", "TODO"), [""; 0]);
    }

    #[test]
    fn unsafe_belongs_into_listed_modules() {
        for bad in [
            "unsafe { f() }",
            "unsafe impl Send for X {}",
            "#![allow(unsafe_code)]",
        ] {
            assert_eq!(findings("crates/node/src/step.rs", bad).len(), 1, "{bad}");
        }
        assert_eq!(
            findings(
                "crates/node/src/step.rs",
                "// unsafe is not used; unsafe_op"
            ),
            [""; 0]
        );
        let listed = unsafe_modules().next().unwrap();
        assert_eq!(findings(listed, "unsafe { f() }"), [""; 0]);
    }

    #[test]
    fn a_listed_module_that_is_gone_is_found() {
        let found = check(&tree(&[]));
        assert_eq!(found.len(), unsafe_modules().count());
    }

    #[test]
    fn machines_and_hosts_are_found_in_every_file() {
        for bad in [
            "see /home/me/x",
            "https://index.crates.io/",
            "cd /work/main",
        ] {
            assert_eq!(findings("README.md", bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn long_files_are_warned_of() {
        let found = check(&tree(&[(
            "crates/lsm/src/db.rs",
            &"\n".repeat(LINES_MAX + 1),
        )]));
        assert!(
            found
                .iter()
                .any(|one| one.warning && one.what.starts_with("801 lines"))
        );
    }
}
