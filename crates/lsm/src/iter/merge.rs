//! Many sorted sources as one.
//!
//! The valid children are kept sorted by their next entry. A child that moved is compared with the
//! runner-up first: in a leveled tree most entries come from one level, so it mostly stays ahead,
//! which costs one comparison. Otherwise a binary search finds its new place: fewer comparisons than
//! a heap needs, and with some tens of children shifting their indices is nothing.

use std::cmp::Ordering;

use crate::cursor::Cursor;
use crate::error::Result;
use crate::key::{InternalKey, SeqNo};
use crate::slice::Slice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// The entries of several cursors in one order.
///
/// The same entry in two children appears twice, the earlier child's first.
pub(crate) struct MergeCursor<C: Cursor = Box<dyn Cursor>> {
    children: Vec<C>,
    /// Valid children in the order in which `direction` meets their entries. Empty: not valid.
    order: Vec<usize>,
    /// Forward: every other child stands behind the first one's entry. Backward: before it.
    direction: Direction,
    /// Where the children are sent when the direction turns, kept for its memory.
    turning_key: Vec<u8>,
}

impl<C: Cursor> MergeCursor<C> {
    pub(crate) fn new(children: Vec<C>) -> Self {
        Self {
            order: Vec::with_capacity(children.len()),
            children,
            direction: Direction::Forward,
            turning_key: Vec::new(),
        }
    }

    /// Moves every child, then sorts them for `direction`. One failure is everyone's: a merge that
    /// went on without a child would silently miss its entries.
    fn place_all(
        &mut self,
        direction: Direction,
        mut place: impl FnMut(usize, &mut C) -> Result<()>,
    ) -> Result<()> {
        self.order.clear();
        self.direction = direction;
        for (index, child) in self.children.iter_mut().enumerate() {
            place(index, child)?;
        }
        let valid = |&index: &usize| self.children[index].valid();
        self.order.extend((0..self.children.len()).filter(valid));
        self.order
            .sort_unstable_by(|&a, &b| compare(&self.children, direction, a, b));
        Ok(())
    }

    /// Moves the first child one entry in the present direction.
    #[inline]
    fn advance(&mut self) -> Result<()> {
        let first = self.order[0];
        let child = &mut self.children[first];
        let moved = match self.direction {
            Direction::Forward => child.next(),
            Direction::Backward => child.prev(),
        };
        if moved.is_err() {
            self.order.clear();
            return moved;
        }
        if !child.valid() {
            self.order.remove(0);
            return Ok(());
        }
        let precedes =
            |&other: &usize| compare(&self.children, self.direction, other, first).is_lt();
        if self.order.get(1).is_some_and(precedes) {
            let ahead = 1 + self.order[2..].partition_point(precedes);
            self.order[..=ahead].rotate_left(1);
        }
        Ok(())
    }

    /// Makes every child stand on the other side of the present entry.
    #[cold]
    fn turn(&mut self, direction: Direction) -> Result<()> {
        let first = self.order[0];
        let mut turning_key = std::mem::take(&mut self.turning_key);
        turning_key.clear();
        let key = self.children[first].key();
        let trailer = key.trailer();
        turning_key.extend_from_slice(key.user);
        let key = InternalKey::from_parts(&turning_key, trailer)
            .expect("the key of an entry is not a search key");

        let turned = self.place_all(direction, |index, child| {
            // The same entry in another child lies ahead if that child comes later in `direction`.
            let lies_ahead = match direction {
                Direction::Forward => index > first,
                Direction::Backward => index < first,
            };
            match direction {
                _ if index == first => return Ok(()),
                Direction::Forward => child.seek(key)?,
                Direction::Backward => child.seek_back(key)?,
            }
            match direction {
                _ if lies_ahead || !child.valid() || child.key() != key => Ok(()),
                Direction::Forward => child.next(),
                Direction::Backward => child.prev(),
            }
        });
        self.turning_key = turning_key;
        turned
    }
}

/// Which of two valid children comes first.
#[inline]
fn compare<C: Cursor>(children: &[C], direction: Direction, a: usize, b: usize) -> Ordering {
    let forward = children[a].key().cmp(&children[b].key());
    let forward = forward.then(a.cmp(&b));
    match direction {
        Direction::Forward => forward,
        Direction::Backward => forward.reverse(),
    }
}

impl<C: Cursor> Cursor for MergeCursor<C> {
    #[inline]
    fn valid(&self) -> bool {
        !self.order.is_empty()
    }

    fn seek_to_first(&mut self) -> Result<()> {
        self.place_all(Direction::Forward, |_, child| child.seek_to_first())
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.place_all(Direction::Backward, |_, child| child.seek_to_last())
    }

    fn seek(&mut self, target: InternalKey<'_>) -> Result<()> {
        self.place_all(Direction::Forward, |_, child| child.seek(target))
    }

    fn seek_back(&mut self, target: InternalKey<'_>) -> Result<()> {
        self.place_all(Direction::Backward, |_, child| child.seek_back(target))
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        if self.direction != Direction::Forward {
            self.turn(Direction::Forward)?;
        }
        self.advance()
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        if self.direction != Direction::Backward {
            self.turn(Direction::Backward)?;
        }
        self.advance()
    }

    fn skip_older(&mut self, seq: SeqNo, target: InternalKey<'_>) -> Result<()> {
        if self.direction != Direction::Forward {
            self.turn(Direction::Forward)?;
        }
        self.place_all(Direction::Forward, |_, child| match child.valid() {
            true => child.skip_older(seq, target),
            false => Ok(()),
        })
    }

    fn skip_older_back(&mut self, seq: SeqNo, target: InternalKey<'_>) -> Result<()> {
        if self.direction != Direction::Backward {
            self.turn(Direction::Backward)?;
        }
        self.place_all(Direction::Backward, |_, child| match child.valid() {
            true => child.skip_older_back(seq, target),
            false => Ok(()),
        })
    }

    #[inline]
    fn key(&self) -> InternalKey<'_> {
        self.children[self.order[0]].key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.children[self.order[0]].value()
    }

    fn pin_value(&self) -> Slice {
        self.children[self.order[0]].pin_value()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::iter::testing::{Entry, Step, VecCursor, any_entries, check_walk};

    /// Deals entries out to children; some lie in two of them.
    fn deal(entries: &[(Entry, usize, bool)], children: usize) -> Vec<Vec<Entry>> {
        let mut dealt = vec![Vec::new(); children];
        for (entry, child, twice) in entries {
            dealt[child % children].push(entry.clone());
            if *twice && children > 1 {
                dealt[(child + 1) % children].push(entry.clone());
            }
        }
        dealt
    }

    proptest! {
        #[test]
        fn walks_as_one_sorted_list(
            entries in any_entries(0..80),
            places in proptest::collection::vec((0..7_usize, prop::bool::weighted(0.1)), 80),
            children in 1..7_usize,
            steps in proptest::collection::vec(any::<Step>(), 0..120),
        ) {
            let placed = entries.into_iter().zip(places).map(|(e, (child, twice))| (e, child, twice));
            let dealt = deal(&placed.collect::<Vec<_>>(), children);
            let mut whole = dealt.concat();
            whole.sort();
            let cursors = dealt.into_iter().map(VecCursor::new).collect();
            check_walk(MergeCursor::new(cursors), VecCursor::new(whole), &steps)?;
        }

        #[test]
        fn a_child_that_fails_is_never_left_out(
            entries in any_entries(1..40),
            children in 1..5_usize,
            fail_at in 0..60_u32,
            steps in proptest::collection::vec(any::<Step>(), 0..60),
        ) {
            let placed = entries.into_iter().enumerate().map(|(at, entry)| (entry, at, false));
            let dealt = deal(&placed.collect::<Vec<_>>(), children);
            let mut whole = dealt.concat();
            whole.sort();
            let mut cursors: Vec<_> = dealt.into_iter().map(VecCursor::new).collect();
            cursors[0].fail_at_move(fail_at);
            // `check_walk` demands that a failed move leaves the cursor not valid, and starts both
            // anew at the next seek.
            check_walk(MergeCursor::new(cursors), VecCursor::new(whole), &steps)?;
        }
    }
}
