//! `CURRENT`: which manifest is in force.
//!
//! # Format
//! One line of text, twice, so that a flipped byte neither loses the store nor names another
//! manifest:
//! ```text
//! ringwood format 1 manifest 000001 crc32c 0a1b2c3d
//! ```
//! The checksum is over the line's bytes before ` crc32c`. This layout is the same in all versions.
//!
//! # Durability on return
//! [`switch`] returns when the new name is durable. Where it fails, either manifest may be in force.

use std::io;
use std::path::Path;

use ringwood_env::{Disk, OpenMode};

use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::files::{CURRENT, FileNumber};
use crate::manifest::FORMAT_VERSION;
use crate::manifest::frame::crc32c;

const TEMPORARY: &str = "CURRENT.tmp";

/// What `CURRENT` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Current {
    pub(super) manifest: FileNumber,
    /// One of its two lines is damaged.
    pub(super) damaged: bool,
}

fn line(format: u32, manifest: FileNumber) -> String {
    let claim = format!("ringwood format {format} manifest {manifest}");
    let checksum = crc32c(&[claim.as_bytes()]);
    format!("{claim} crc32c {checksum:08x}\n")
}

fn parse_line(bytes: &[u8]) -> Option<(u32, FileNumber)> {
    let text = str::from_utf8(bytes).ok()?;
    let mut words = text.strip_prefix("ringwood format ")?.split(' ');
    let format = words.next()?.parse().ok()?;
    let manifest = words.nth(1)?.parse().ok().map(FileNumber::new)?;
    // Only the one way to write it is accepted, checksum included.
    (text == line(format, manifest)).then_some((format, manifest))
}

/// Reads the content of `CURRENT`, which is at `path`.
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Current> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let (format, manifest) = match (parse_line(first), parse_line(second)) {
        (Some(first), Some(second)) if first != second => {
            return Err(Corruption::new(path, 0, CorruptionKind::Encoding).into());
        }
        (Some(claim), _) | (_, Some(claim)) => claim,
        (None, None) => return Err(Corruption::new(path, 0, CorruptionKind::Checksum).into()),
    };
    if format != FORMAT_VERSION {
        return Err(Error::UnsupportedFormat {
            path: path.to_owned(),
            found: format,
            supported: FORMAT_VERSION,
        });
    }
    let damaged = first != second;
    Ok(Current { manifest, damaged })
}

/// Writes what will put `manifest` in force. Nothing has changed when this fails.
pub(super) fn prepare(disk: &dyn Disk, directory: &Path, manifest: FileNumber) -> Result<()> {
    let temporary = directory.join(TEMPORARY);
    match disk.remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &temporary, error));
        }
        _ => {}
    }
    let content = line(FORMAT_VERSION, manifest).repeat(2);
    let file = disk
        .open(&temporary, OpenMode::CreateNew)
        .map_err(|error| Error::io("create", &temporary, error))?;
    file.write_at(content.as_bytes(), 0)
        .map_err(|error| Error::io("write", &temporary, error))?;
    // ORDER: the content is durable before the name leads to it.
    file.sync()
        .map_err(|error| Error::io("sync", &temporary, error))
}

/// Puts in force what was [prepared](prepare). When this fails, either may be in force.
pub(super) fn switch(disk: &dyn Disk, directory: &Path) -> Result<()> {
    let temporary = directory.join(TEMPORARY);
    let current = directory.join(CURRENT);
    disk.rename(&temporary, &current)
        .map_err(|error| Error::io("replace", &current, error))?;
    // ORDER: the name is durable before anybody relies on it.
    disk.sync_dir(directory)
        .map_err(|error| Error::io("sync", directory, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Current> {
        decode(Path::new("CURRENT"), bytes)
    }

    #[test]
    fn any_one_changed_byte_leaves_the_manifest_known() {
        let number = FileNumber::new(1_234_567);
        let content = line(FORMAT_VERSION, number).repeat(2).into_bytes();
        let whole = Current {
            manifest: number,
            damaged: false,
        };
        assert_eq!(read(&content).unwrap(), whole);
        for at in 0..content.len() {
            for flip in 1..=255 {
                let mut changed = content.clone();
                changed[at] ^= flip;
                let current = read(&changed).unwrap();
                assert_eq!((current.manifest, current.damaged), (number, true), "{at}");
            }
        }
    }

    #[test]
    fn a_cut_file_is_corrupt_or_names_the_same_manifest() {
        let content = line(FORMAT_VERSION, FileNumber::new(7)).repeat(2);
        for cut in 0..content.len() {
            let error = read(&content.as_bytes()[..cut]).unwrap_err();
            assert!(matches!(error, Error::Corruption(_)), "cut at {cut}");
        }
    }

    #[test]
    fn other_formats_and_two_opinions_are_refused() {
        let seven = FileNumber::new(7);
        let newer = line(FORMAT_VERSION + 1, seven).repeat(2);
        assert!(matches!(
            read(newer.as_bytes()),
            Err(Error::UnsupportedFormat { found: 2, .. })
        ));
        let two = line(1, seven) + &line(1, FileNumber::new(8));
        assert!(matches!(read(two.as_bytes()), Err(Error::Corruption(_))));
    }
}
