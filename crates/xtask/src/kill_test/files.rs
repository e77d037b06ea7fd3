//! The real input: files that every machine with a Rust toolchain has.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use walkdir::WalkDir;

/// What every key begins with.
pub(crate) const PREFIX: &str = "tree/";

/// Longer ones a server refuses by default.
const LEN_MAX: u64 = 1 << 20;

/// Files by their key.
pub(crate) type ByKey = BTreeMap<String, PathBuf>;

/// A directory of files, linked (or copied) so that nothing changes them meanwhile.
pub(crate) struct Files {
    directory: PathBuf,
    paths: ByKey,
    bytes: u64,
}

impl Files {
    /// Takes the first `count` files below `from`, or below what the toolchain installs.
    pub(crate) fn gather(from: Option<&Path>, count: usize, into: &Path) -> Result<Self> {
        let sources = match from {
            Some(directory) => vec![directory.to_owned()],
            None => toolchain()?,
        };
        let mut files = Self {
            directory: into.to_owned(),
            paths: ByKey::new(),
            bytes: 0,
        };
        for (number, source) in sources.iter().enumerate() {
            for entry in WalkDir::new(source)
                .sort_by_file_name()
                .into_iter()
                .filter_map(Result::ok)
            {
                let len = entry.metadata().map_or(u64::MAX, |metadata| metadata.len());
                let below = entry
                    .path()
                    .strip_prefix(source)
                    .ok()
                    .and_then(Path::to_str);
                let fits =
                    entry.file_type().is_file() && len <= LEN_MAX && files.paths.len() < count;
                if let (true, Some(below)) = (fits, below) {
                    files.take(entry.path(), &format!("{number}/{below}"), len)?;
                }
            }
        }
        let found = files.paths.len();
        ensure!(
            found == count,
            "there are only {found} files to take; name more with --dir"
        );
        Ok(files)
    }

    fn take(&mut self, from: &Path, name: &str, len: u64) -> Result<()> {
        let to = self.directory.join(name);
        fs::create_dir_all(to.parent().context("a file has a parent")?)?;
        if fs::hard_link(from, &to).is_err() {
            fs::copy(from, &to)?;
        }
        self.paths.insert(format!("{PREFIX}{name}"), to);
        self.bytes += len;
        Ok(())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn by_key(&self) -> ByKey {
        self.paths.clone()
    }

    /// Draws half of the keys to go; the others stay.
    pub(crate) fn halve(&self, draw: &mut Draw) -> (Vec<String>, ByKey) {
        let mut gone: Vec<_> = self.paths.keys().cloned().collect();
        for at in (1..gone.len()).rev() {
            let other = usize::try_from(draw.below(at as u64 + 1)).expect("less than a length");
            gone.swap(at, other);
        }
        gone.truncate(self.paths.len() / 2);
        let mut kept = self.paths.clone();
        for key in &gone {
            kept.remove(key);
        }
        (gone, kept)
    }
}

/// Where the toolchain keeps its files, and cargo its sources.
fn toolchain() -> Result<Vec<PathBuf>> {
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()?;
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout)?.trim());
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let registry = cargo
        .map(|cargo| cargo.join("registry/src"))
        .filter(|path| path.is_dir());
    Ok([Some(sysroot), registry].into_iter().flatten().collect())
}

/// Random numbers from a seed (SplitMix64).
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    /// Less than `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_and_halved() {
        let from = tempfile::tempdir().unwrap();
        for number in 0..9 {
            fs::write(from.path().join(format!("f{number}")), vec![b'x'; number]).unwrap();
        }
        let into = tempfile::tempdir().unwrap();
        let files = Files::gather(Some(from.path()), 8, into.path()).unwrap();
        assert_eq!((files.len(), files.bytes()), (8, 28));
        let (gone, kept) = files.halve(&mut Draw(1));
        assert_eq!((gone.len(), kept.len()), (4, 4));
        assert!(gone.iter().all(|key| !kept.contains_key(key)));
        assert!(Files::gather(Some(from.path()), 10, &into.path().join("more")).is_err());
    }
}
