//! What was typed, kept in a file for the next time.
//!
//! The file is its owner's alone (0600). Values are nobody's business: of a `put` the key is kept. What
//! is no command is not kept, as it may be half a value, and neither is a line that begins with a space.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::words;

/// Lines that are read back.
const LINES: usize = 1000;
/// With more, the file is written anew.
const LINES_MAX: usize = 2 * LINES;

/// The file.
pub(super) struct History {
    path: PathBuf,
    file: File,
}

/// What of a line may be written down.
pub(super) fn keep(line: &str, parsed: &ArgMatches) -> Option<String> {
    if line.starts_with(char::is_whitespace) {
        return None;
    }
    match parsed.subcommand() {
        Some(("put", matches)) => {
            let key = matches.get_one::<String>("key")?;
            Some(format!("put {}", words::escape(key)))
        }
        _ => Some(line.trim_end().to_owned()),
    }
}

/// Where it is, as the XDG base directories say.
pub(super) fn path() -> Option<PathBuf> {
    let absolute = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local").join("state")))?;
    Some(state.join("ringwood").join("history"))
}

impl History {
    /// Opens the file, and returns what was kept, the oldest first.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<String>)> {
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
        }
        let file = open(path)?;
        // It may have been made by somebody else, with other rights.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        let bytes = fs::read(path)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let mut history = Self {
            path: path.to_owned(),
            file,
        };
        let last = lines[lines.len().saturating_sub(LINES)..].to_vec();
        if lines.len() > LINES_MAX {
            history.rewrite(&last)?;
        }
        Ok((history, last))
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn add(&mut self, line: &str) -> io::Result<()> {
        // In one write: another prompt may do the same.
        self.file
            .write_all(format!("{}\n", line.replace('\n', " ")).as_bytes())
    }

    fn rewrite(&mut self, lines: &[String]) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all((lines.join("\n") + "\n").as_bytes())?;
        fs::rename(&new, &self.path)?;
        self.file = open(&self.path)?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    #[test]
    fn the_file_is_its_owners_and_does_not_grow_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state").join("history");
        let (mut history, kept) = History::open(&path).unwrap();
        assert!(kept.is_empty());
        (0..=LINES_MAX).for_each(|n| history.add(&format!("get {n}")).unwrap());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let (mut history, kept) = History::open(&path).unwrap();
        assert_eq!((mode(&path), kept.len()), (0o600, LINES));
        assert_eq!(kept.last().unwrap(), &format!("get {LINES_MAX}"));
        history.add("get last").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), LINES + 1);
        assert!(text.ends_with("\nget last\n"));
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn values_are_not_kept() {
        let put = Command::new("put")
            .arg(Arg::new("key"))
            .arg(Arg::new("value"))
            .arg(Arg::new("ttl").long("ttl"));
        let command = Command::new("")
            .no_binary_name(true)
            .subcommand(put)
            .subcommand(Command::new("get").arg(Arg::new("key")));
        for (line, kept) in [
            ("put pin 'my 1234' --ttl 60", Some("put pin")),
            ("put 'a b' secret", Some(r"put a\ b")),
            (" get secret", None),
            ("get a ", Some("get a")),
        ] {
            let words = words::split(line).unwrap();
            let parsed = command.clone().try_get_matches_from(words).unwrap();
            assert_eq!(keep(line, &parsed).as_deref(), kept, "{line}");
        }
    }
}
