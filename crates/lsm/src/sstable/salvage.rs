//! Saving what a damaged table still has.
//!
//! Neither footer nor index is needed: blocks lie side by side and begin with a header that has a
//! check of its own. Where one does not check, the bytes behind it are searched for the next header
//! that does, which no others do by chance: the check is seeded with the place, and the payload has
//! its checksum too. What lies between is lost.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ringwood_env::Disk;

use super::block::{Block, BlockCursor, DataBlock};
use super::file::TableFile;
use super::format::{BLOCK_HEADER_LEN, BlockHeader, BlockKind, FOOTER_LEN, HEADER_LEN};
use super::properties::TableProperties;
use super::tombstones::parse_tombstones;
use crate::error::Result;
use crate::files::FileNumber;
use crate::key::InternalKey;
use crate::range_tombstone::RangeTombstone;

const WINDOW_LEN: usize = 1 << 20;
/// What is read at a time where a longer read fails, so that one bad sector costs no more.
const PIECE_LEN: usize = 4 << 10;

/// What was found in a damaged table, beside its entries.
#[derive(Debug, Default)]
pub(crate) struct Salvaged {
    pub(crate) entries: u64,
    pub(crate) range_tombstones: Vec<RangeTombstone>,
    /// What the table said of itself, where that was intact.
    pub(crate) properties: Option<TableProperties>,
    /// In the order of the file.
    pub(crate) lost: Vec<LostBytes>,
}

/// Bytes of which nothing could be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostBytes {
    pub(crate) bytes: Range<u64>,
    /// What they were, if at least the header is sound. Nothing but entries and range tombstones
    /// is missed; the rest is made anew with the table.
    pub(crate) kind: Option<BlockKind>,
    /// User keys of the entries next to them. Lost entries lie between (both included); `None`: there is
    /// no entry on that side.
    pub(crate) after: Option<Vec<u8>>,
    pub(crate) before: Option<Vec<u8>>,
}

/// Reads the file of table `number`, however damaged, and gives each intact entry to `entry`, in order.
///
/// # Errors
/// Where the file cannot be opened, and what `entry` returns. Parts that cannot be read are lost.
pub(crate) fn salvage(
    disk: &dyn Disk,
    path: &Path,
    number: FileNumber,
    entry: &mut dyn FnMut(InternalKey<'_>, &[u8]) -> Result<()>,
) -> Result<Salvaged> {
    salvage_file(&TableFile::open(disk, path, number)?, entry)
}

pub(super) fn salvage_file(
    file: &TableFile,
    entry: &mut dyn FnMut(InternalKey<'_>, &[u8]) -> Result<()>,
) -> Result<Salvaged> {
    let mut salvage = Salvage {
        window: Window {
            file,
            offset: 0,
            bytes: Vec::new(),
        },
        found: Salvaged::default(),
        last_user: None,
        entry,
    };
    salvage.run()?;
    Ok(salvage.found)
}

struct Salvage<'a> {
    window: Window<'a>,
    found: Salvaged,
    last_user: Option<Vec<u8>>,
    entry: &'a mut dyn FnMut(InternalKey<'_>, &[u8]) -> Result<()>,
}

impl Salvage<'_> {
    fn run(&mut self) -> Result<()> {
        let file = self.window.file;
        if file.header().is_err() {
            self.lose(0..file.len.min(HEADER_LEN as u64), None);
        }
        let mut at = HEADER_LEN as u64;
        while at < file.len {
            at = match self.window.header(at) {
                Some(header) => self.block(at, header)?,
                None if self.is_footer(at) => file.len,
                None => {
                    let next = self.next_header(at);
                    self.lose(at..next, None);
                    next
                }
            };
        }
        Ok(())
    }

    /// Saves the block at `at`, whose header is sound; returns where the next one begins.
    fn block(&mut self, at: u64, header: BlockHeader) -> Result<u64> {
        let end = at + header.block_len() as u64;
        let block = self.window.bytes(at, header.block_len());
        let payload = block.and_then(|block| {
            self.window
                .file
                .unpack(Cow::Owned(block), at, header.kind)
                .ok()
        });
        let saved = match (payload, header.kind) {
            (None, _) => false,
            (Some(payload), BlockKind::Data) => match DataBlock::parse(payload) {
                Ok(block) => self.entries(block)?,
                Err(_) => false,
            },
            (Some(payload), BlockKind::RangeTombstones) => {
                match parse_tombstones(payload.bytes()) {
                    Ok(tombstones) => {
                        self.found.range_tombstones.extend(tombstones);
                        true
                    }
                    Err(_) => false,
                }
            }
            (Some(payload), BlockKind::Properties) => {
                let len = self.window.file.len;
                self.found.properties = TableProperties::parse(payload.bytes(), len).ok();
                self.found.properties.is_some()
            }
            (Some(_), BlockKind::Index | BlockKind::Filter) => true,
        };
        if !saved {
            self.lose(at..end, Some(header.kind));
        }
        Ok(end)
    }

    /// Gives the block's entries away; false where it breaks off.
    fn entries(&mut self, block: DataBlock) -> Result<bool> {
        let mut cursor = BlockCursor::default();
        cursor.set_block(Arc::new(Block::Data(block)));
        let mut moved = cursor.seek_to_first();
        while moved.is_ok() && cursor.valid() {
            let key = cursor.key();
            (self.entry)(key, cursor.value())?;
            self.found.entries += 1;
            for lost in self
                .found
                .lost
                .iter_mut()
                .rev()
                .take_while(|lost| lost.before.is_none())
            {
                lost.before = Some(key.user.to_vec());
            }
            let last = self.last_user.get_or_insert_default();
            last.clear();
            last.extend_from_slice(key.user);
            moved = cursor.next();
        }
        Ok(moved.is_ok())
    }

    fn lose(&mut self, bytes: Range<u64>, kind: Option<BlockKind>) {
        self.found.lost.push(LostBytes {
            bytes,
            kind,
            after: self.last_user.clone(),
            before: None,
        });
    }

    fn is_footer(&mut self, at: u64) -> bool {
        at + FOOTER_LEN as u64 == self.window.file.len
            && self
                .window
                .bytes(at, FOOTER_LEN)
                .is_some_and(|bytes| self.window.file.footer(&bytes).is_ok())
    }

    /// The next offset behind `at` where a block or the footer begins; the file's end if none does.
    fn next_header(&mut self, at: u64) -> u64 {
        let len = self.window.file.len;
        (at + 1..len)
            .find(|&at| self.window.header(at).is_some() || self.is_footer(at))
            .unwrap_or(len)
    }
}

/// The part of the file that is being walked through.
struct Window<'a> {
    file: &'a TableFile,
    offset: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// A sound header at `at`, of a block that ends within the file.
    fn header(&mut self, at: u64) -> Option<BlockHeader> {
        let (file, number) = (self.file.len, self.file.number);
        let bytes = self.part(at, BLOCK_HEADER_LEN)?;
        let header = BlockHeader::parse(bytes.first_chunk()?, number, at).ok()?;
        (at + header.block_len() as u64 <= file).then_some(header)
    }

    fn bytes(&mut self, at: u64, len: usize) -> Option<Vec<u8>> {
        self.part(at, len).map(<[u8]>::to_vec)
    }

    fn part(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        if at
            .checked_add(len as u64)
            .is_none_or(|end| end > self.file.len)
        {
            return None;
        }
        let here = at
            .checked_sub(self.offset)
            .and_then(|start| usize::try_from(start).ok());
        let start = match here.filter(|start| start + len <= self.bytes.len()) {
            Some(start) => start,
            None => {
                self.fill(at, len);
                0
            }
        };
        self.bytes.get(start..start + len)
    }

    /// Reads at least `len` bytes from `at`. What the disk does not give reads as zeros, which no
    /// checksum takes for anything.
    fn fill(&mut self, at: u64, len: usize) {
        let rest = usize::try_from(self.file.len - at).unwrap_or(usize::MAX);
        let len = len.max(WINDOW_LEN).min(rest);
        self.offset = at;
        self.bytes.clear();
        self.bytes.resize(len, 0);
        if self.file.file.read_at(&mut self.bytes, at).is_err() {
            for (i, piece) in self.bytes.chunks_mut(PIECE_LEN).enumerate() {
                piece.fill(0);
                if self
                    .file
                    .file
                    .read_at(piece, at + (i * PIECE_LEN) as u64)
                    .is_err()
                {
                    piece.fill(0);
                }
            }
        }
    }
}
