//! The files of the tree, as every check sees them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Every tracked text file, by its path from the root.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: BTreeMap<String, String>,
    /// Paths of files that are not text.
    pub(crate) binary: Vec<String>,
}

impl Tree {
    /// The files that git tracks or would track.
    pub(crate) fn tracked(root: &Path) -> Result<Self> {
        let listed = Command::new("git")
            .args([
                "ls-files",
                "--cached",
                "--others",
                "--exclude-standard",
                "-z",
            ])
            .current_dir(root)
            .output()
            .context("git does not start")?;
        ensure!(listed.status.success(), "git ls-files failed");
        let mut tree = Self::default();
        for path in String::from_utf8(listed.stdout)?.split_terminator('\0') {
            // Removed, and not yet committed.
            let Ok(bytes) = fs::read(root.join(path)) else {
                continue;
            };
            match String::from_utf8(bytes) {
                Ok(text) => _ = tree.files.insert(path.to_owned(), text),
                Err(_) => tree.binary.push(path.to_owned()),
            }
        }
        Ok(tree)
    }

    /// Rust files.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self
            .files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()));
        files.filter(|(path, _)| path.ends_with(".rs"))
    }

    /// For each crate, its sources by their path below `src`.
    pub(crate) fn crates(&self) -> BTreeMap<&str, BTreeMap<&str, &str>> {
        let mut crates = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (path, text) in self.rust() {
            if let Some((name, below)) = path
                .strip_prefix("crates/")
                .and_then(|path| path.split_once("/src/"))
            {
                crates.entry(name).or_default().insert(below, text);
            }
        }
        crates
    }

    /// Whether a file or a directory of this path is there.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let directory = format!("{path}/");
        self.files.contains_key(path)
            || self.binary.iter().any(|one| one == path)
            || self
                .files
                .range(directory.clone()..)
                .next()
                .is_some_and(|(next, _)| next.starts_with(&directory))
    }
}

#[cfg(test)]
pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
    let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    Tree {
        files: files.iter().map(own).collect(),
        binary: Vec::new(),
    }
}
