//! What a transfer has behind it, so that the next run goes on from there.
//!
//! [`Journal`] lists files that were acknowledged, in any order: a line of text each, appended and
//! handed to the system before the progress is shown. A line that was cut short is not counted.
//! [`Position`] is a place in an ordered transfer, replaced as a whole.
//!
//! # Format
//! ```text
//! ringwood-import-tree 1 <prefix, percent-encoded> <directory, percent-encoded>
//! <key, percent-encoded> <length> <modified, ns> <sha256>
//! ```

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde::{Deserialize, Serialize};

const KIND: &str = "ringwood-import-tree 1";

/// What a file was when it was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) len: u64,
    pub(crate) modified_ns: u128,
}

/// The files that were acknowledged.
#[derive(Debug)]
pub(crate) struct Journal {
    known: HashMap<Vec<u8>, Stamp>,
    out: Option<BufWriter<File>>,
}

impl Journal {
    /// Opens or makes the journal of one import; `None`: remembers nothing.
    ///
    /// # Errors
    /// When it is the journal of another import, or no journal.
    pub(crate) fn open(path: Option<&Path>, prefix: &[u8], root: &Path) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self {
                known: HashMap::new(),
                out: None,
            });
        };
        let root =
            fs::canonicalize(root).with_context(|| format!("cannot read {}", root.display()))?;
        let encode = |bytes: &[u8]| percent_encode(bytes, NON_ALPHANUMERIC).to_string();
        let head = format!(
            "{KIND} {} {}\n",
            encode(prefix),
            encode(root.as_os_str().as_encoded_bytes())
        );
        let about = || format!("journal {}", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(about)?;
        let text = fs::read(path).with_context(about)?;
        // What stands behind the last line's end was cut short.
        let whole = text
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let text = std::str::from_utf8(&text[..whole]).with_context(about)?;
        if whole > 0 && !text.starts_with(&head) {
            bail!(
                "{} is of another import; choose another file, or remove it",
                about()
            );
        }
        let known = text.lines().skip(1).map(parse).collect::<Option<_>>();
        let known =
            known.with_context(|| format!("{} is damaged; remove it to begin anew", about()))?;
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        let mut out = BufWriter::new(file);
        if whole == 0 {
            out.write_all(head.as_bytes())?;
            out.flush()?;
        }
        Ok(Self {
            known,
            out: Some(out),
        })
    }

    /// Whether this very file was acknowledged before.
    pub(crate) fn has(&self, key: &[u8], stamp: Stamp) -> bool {
        self.known.get(key) == Some(&stamp)
    }

    /// Adds a file that was acknowledged.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(crate) fn add(&mut self, key: &[u8], stamp: Stamp, hash: &str) -> Result<()> {
        if let Some(out) = &mut self.out {
            let key = percent_encode(key, NON_ALPHANUMERIC);
            writeln!(out, "{key} {} {} {hash}", stamp.len, stamp.modified_ns)
                .context("cannot write the journal")?;
        }
        Ok(())
    }

    /// Hands what was added to the system.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.out
            .as_mut()
            .map_or(Ok(()), Write::flush)
            .context("cannot write the journal")
    }
}

fn parse(line: &str) -> Option<(Vec<u8>, Stamp)> {
    let mut words = line.split(' ');
    let key = percent_decode_str(words.next()?).collect();
    let stamp = Stamp {
        len: words.next()?.parse().ok()?,
        modified_ns: words.next()?.parse().ok()?,
    };
    words.next().map(|_| (key, stamp))
}

/// How far an ordered transfer came.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// What is transferred; another transfer's place is refused.
    pub(crate) what: String,
    /// Bytes of the file, read or written, that are done with.
    pub(crate) offset: u64,
    /// The last key that is done with.
    pub(crate) last_key: Option<Vec<u8>>,
    /// Items done with.
    pub(crate) items: u64,
}

impl Place {
    /// Goes past a line of so many bytes.
    pub(crate) fn pass(&mut self, bytes: usize) {
        self.items += 1;
        self.offset += bytes as u64;
    }
}

/// Keeps a [`Place`] in a file.
#[derive(Debug)]
pub(crate) struct Position {
    path: Option<PathBuf>,
}

impl Position {
    /// The position kept at `path`, and the place to go on from. `None`: remembers nothing.
    ///
    /// # Errors
    /// When it is the position of another transfer, or no position.
    pub(crate) fn open(path: Option<&Path>, what: String) -> Result<(Self, Place)> {
        let begin = Place {
            what,
            ..Place::default()
        };
        let position = Self {
            path: path.map(Path::to_owned),
        };
        let Some(path) = path else {
            return Ok((position, begin));
        };
        let about = || format!("journal {}", path.display());
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((position, begin)),
            Err(error) => return Err(error).with_context(about),
        };
        let place: Place = serde_json::from_slice(&text).with_context(about)?;
        if place.what != begin.what {
            bail!(
                "{} is of another transfer ({}); choose another file, or remove it",
                about(),
                place.what
            );
        }
        Ok((position, place))
    }

    /// Replaces the place.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(&self, place: &Place) -> Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let mut next = path.clone().into_os_string();
        next.push(".next");
        let replaced =
            fs::write(&next, serde_json::to_vec(place)?).and_then(|()| fs::rename(&next, path));
        replaced.with_context(|| format!("cannot write the journal {}", path.display()))
    }

    /// Forgets it: the transfer is complete.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(crate) fn finish(&self) -> Result<()> {
        match self.path.as_ref().map(fs::remove_file) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
            Some(Err(error)) => Err(error).context("cannot remove the journal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        len: 3,
        modified_ns: 77,
    };

    #[test]
    fn what_was_added_is_known_again_and_a_torn_line_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let open = || Journal::open(Some(&path), b"p/", directory.path());
        let mut journal = open().unwrap();
        journal.add(b"p/a b\xff", STAMP, "00").unwrap();
        journal.add(b"p/c", STAMP, "00").unwrap();
        journal.flush().unwrap();
        drop(journal);
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 4]).unwrap();
        let mut journal = open().unwrap();
        assert!(journal.has(b"p/a b\xff", STAMP));
        assert!(
            !journal.has(b"p/a b\xff", Stamp { len: 4, ..STAMP }),
            "the file has changed"
        );
        assert!(!journal.has(b"p/c", STAMP), "its line was torn");
        journal.add(b"p/c", STAMP, "00").unwrap();
        drop(journal);
        assert!(open().unwrap().has(b"p/c", STAMP));
    }

    #[test]
    fn a_journal_of_something_else_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        drop(Journal::open(Some(&path), b"p/", directory.path()).unwrap());
        assert!(Journal::open(Some(&path), b"q/", directory.path()).is_err());
        fs::write(&path, "my diary\n").unwrap();
        assert!(Journal::open(Some(&path), b"p/", directory.path()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "my diary\n");
    }

    #[test]
    fn a_position_is_kept_until_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("position");
        let open = |what: &str| Position::open(Some(&path), what.to_owned());
        let (position, mut place) = open("x").unwrap();
        assert_eq!(place.offset, 0);
        (place.offset, place.last_key) = (5, Some(b"\xff".to_vec()));
        position.save(&place).unwrap();
        let (_, again) = open("x").unwrap();
        assert_eq!((again.offset, again.last_key), (5, Some(b"\xff".to_vec())));
        assert!(open("y").is_err());
        position.finish().unwrap();
        assert_eq!(open("x").unwrap().1.offset, 0);
    }
}
