//! Checked access to the blocks of one table's file.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringwood_env::{Disk, DiskFile, OpenMode};

use super::codec::decompress;
use super::format::{
    BLOCK_HEADER_LEN, BadFooter, BlockHandle, BlockHeader, BlockKind, Encoding, FOOTER_LEN,
    FORMAT_VERSION, Footer, HEADER_LEN, file_header,
};
use super::payload::Payload;
use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::files::FileNumber;

/// The file of a table. Whatever it returns has passed its checksum.
pub(super) struct TableFile {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
    pub(super) number: FileNumber,
    pub(super) len: u64,
}

impl TableFile {
    pub(super) fn open(disk: &dyn Disk, path: &Path, number: FileNumber) -> Result<Self> {
        let file = disk
            .open(path, OpenMode::Read)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    Corruption::new(path, 0, CorruptionKind::MissingFile).into()
                }
                _ => Error::io("open", path, error),
            })?;
        let len = file.len().map_err(|error| Error::io("read", path, error))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            number,
            len,
        })
    }

    pub(super) fn corrupt(&self, offset: u64, kind: CorruptionKind) -> Error {
        Corruption::new(&self.path, offset, kind).into()
    }

    /// Bytes that match their checksum and cannot be understood.
    pub(super) fn malformed(&self, offset: u64) -> Error {
        self.corrupt(offset, CorruptionKind::Encoding)
    }

    /// Reads `len` bytes from `offset`, which must be there.
    pub(super) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_into(&mut bytes, offset, len)?;
        Ok(bytes)
    }

    /// As [`TableFile::read`], into a buffer that is used again and again. After a failure it is empty.
    pub(super) fn read_into(&self, bytes: &mut Vec<u8>, offset: u64, len: usize) -> Result<()> {
        bytes.clear();
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > self.len)
        {
            return Err(self.corrupt(offset, CorruptionKind::Truncated));
        }
        bytes.resize(len, 0);
        let read = self.file.read_at(bytes, offset);
        if read.as_ref().is_ok_and(|&read| read == len) {
            return Ok(());
        }
        bytes.clear();
        match read {
            Ok(_) => Err(self.corrupt(offset, CorruptionKind::Truncated)),
            Err(error) => Err(Error::io("read", &self.path, error)),
        }
    }

    /// Reads and checks the block at `handle`, which must be of this kind.
    pub(super) fn block(&self, handle: BlockHandle, kind: BlockKind) -> Result<Payload> {
        let bytes = self.read(handle.offset, handle.len as usize)?;
        self.unpack(bytes.into(), handle.offset, kind)
    }

    /// Checks and decompresses the bytes of a whole block that was read from `offset`.
    pub(super) fn unpack(
        &self,
        block: Cow<'_, [u8]>,
        offset: u64,
        kind: BlockKind,
    ) -> Result<Payload> {
        let (header, stored) = block
            .split_first_chunk::<BLOCK_HEADER_LEN>()
            .ok_or_else(|| self.corrupt(offset, CorruptionKind::Truncated))?;
        let header = BlockHeader::parse(header, self.number, offset)
            .map_err(|kind| self.corrupt(offset, kind))?;
        if !header.matches(stored) {
            return Err(self.corrupt(offset, CorruptionKind::Checksum));
        }
        if header.kind != kind {
            return Err(self.malformed(offset));
        }
        match header.encoding {
            Encoding::Raw => Ok(Payload::behind_header(block.into_owned())),
            encoding => decompress(encoding, stored, header.raw_len)
                .map(Payload::from)
                .map_err(|_| self.malformed(offset)),
        }
    }

    pub(super) fn header(&self) -> Result<()> {
        if self.read(0, HEADER_LEN)? == file_header(self.number) {
            Ok(())
        } else {
            Err(self.corrupt(0, CorruptionKind::Magic))
        }
    }

    /// The footer, which are the last of these bytes.
    pub(super) fn footer(&self, tail: &[u8]) -> Result<Footer> {
        let offset = self.len.saturating_sub(FOOTER_LEN as u64);
        let footer = tail
            .last_chunk::<FOOTER_LEN>()
            .ok_or_else(|| self.corrupt(offset, CorruptionKind::Truncated))?;
        Footer::parse(footer, self.number, self.len).map_err(|bad| match bad {
            BadFooter::Corrupt(kind) => self.corrupt(offset, kind),
            BadFooter::Version(found) => Error::UnsupportedFormat {
                path: self.path.clone(),
                found,
                supported: FORMAT_VERSION,
            },
        })
    }
}
