//! What every sorted source of entries can do: memtable, block, table, level, merge.

use crate::error::Result;
use crate::key::{InternalKey, SeqNo};
use crate::slice::Slice;

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadTier {
    /// Answer from memory, or fail with [`Error::WouldBlock`](crate::Error::WouldBlock).
    Memory,
    /// Read from disk where needed.
    #[default]
    Disk,
}

/// A position in a sorted sequence of entries.
///
/// After a failed move the cursor is not valid; seeking again is allowed. Moving a cursor that is
/// not valid, or asking it for its entry, is a mistake of the caller and panics or does nothing.
pub(crate) trait Cursor: Send {
    /// Whether the cursor stands on an entry.
    fn valid(&self) -> bool;

    /// Goes to the first entry.
    fn seek_to_first(&mut self) -> Result<()>;

    /// Goes to the last entry.
    fn seek_to_last(&mut self) -> Result<()>;

    /// Goes to the first entry at or behind `target`.
    fn seek(&mut self, target: InternalKey<'_>) -> Result<()>;

    /// Goes to the last entry at or before `target`.
    fn seek_back(&mut self, target: InternalKey<'_>) -> Result<()>;

    /// Goes one entry on.
    fn next(&mut self) -> Result<()>;

    /// Goes one entry back.
    fn prev(&mut self) -> Result<()>;

    /// Goes on, possibly passing over entries before `target` that are older than `seq`; never over
    /// others, nor beyond `target`. A source that cannot tell stays where it is.
    fn skip_older(&mut self, _seq: SeqNo, _target: InternalKey<'_>) -> Result<()> {
        Ok(())
    }

    /// As [`Cursor::skip_older`], going back over entries behind `target`.
    fn skip_older_back(&mut self, _seq: SeqNo, _target: InternalKey<'_>) -> Result<()> {
        Ok(())
    }

    /// The entry's key.
    fn key(&self) -> InternalKey<'_>;

    /// The entry's value as stored (an expiring one begins with its deadline).
    fn value(&self) -> &[u8];

    /// The same bytes, kept alive beyond the cursor.
    fn pin_value(&self) -> Slice;
}

impl<C: Cursor + ?Sized> Cursor for Box<C> {
    fn valid(&self) -> bool {
        (**self).valid()
    }
    fn seek_to_first(&mut self) -> Result<()> {
        (**self).seek_to_first()
    }
    fn seek_to_last(&mut self) -> Result<()> {
        (**self).seek_to_last()
    }
    fn seek(&mut self, target: InternalKey<'_>) -> Result<()> {
        (**self).seek(target)
    }
    fn seek_back(&mut self, target: InternalKey<'_>) -> Result<()> {
        (**self).seek_back(target)
    }
    fn next(&mut self) -> Result<()> {
        (**self).next()
    }
    fn prev(&mut self) -> Result<()> {
        (**self).prev()
    }
    fn skip_older(&mut self, seq: SeqNo, target: InternalKey<'_>) -> Result<()> {
        (**self).skip_older(seq, target)
    }
    fn skip_older_back(&mut self, seq: SeqNo, target: InternalKey<'_>) -> Result<()> {
        (**self).skip_older_back(seq, target)
    }
    fn key(&self) -> InternalKey<'_> {
        (**self).key()
    }
    fn value(&self) -> &[u8] {
        (**self).value()
    }
    fn pin_value(&self) -> Slice {
        (**self).pin_value()
    }
}

/// How blocks are read on behalf of a get or a cursor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockRead {
    pub(crate) tier: ReadTier,
    /// Keep data blocks in the cache. Off for compactions and for exports: they pass once.
    pub(crate) fill_cache: bool,
    /// Read this many bytes ahead when moving through blocks in order; 0: decide by the access pattern.
    pub(crate) read_ahead: usize,
}

impl Default for BlockRead {
    fn default() -> Self {
        Self {
            tier: ReadTier::Disk,
            fill_cache: true,
            read_ahead: 0,
        }
    }
}
