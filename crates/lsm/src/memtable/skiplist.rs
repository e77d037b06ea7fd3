//! A sorted list of entries that many threads read and extend at once without waiting.
//!
//! Nothing is ever removed or changed: an entry, once linked, stays until the whole list is dropped.
//! That is what makes a lock-free list this short. See Pugh, "Skip lists" (1990), and for the
//! insertion by compare-and-swap Herlihy and Shavit, "The Art of Multiprocessor Programming", 14.4.
//!
//! # Format
//! A node in the arena; its address is that of `Node`:
//! ```text
//! link h-1 | … | link 1 | link 0 | Node: prefix, trailer, value, lengths | user key | value if short
//! ```
//! A search mostly touches one cache line of each node it passes: the link it follows, the first eight bytes
//! of the key as a number, and, where these are equal, the beginning of the key. Longer values
//! lie in an arena of their own: among the nodes they would spread a search over twenty times as many
//! pages, and misses of the address translation then cost as much as those of the cache.
//!
//! # Invariants
//! - list-1: a node is initialised before a link to it is stored (with release), and not written later
//!   except for its links.
//! - list-2: whoever is linked on one level is linked on all levels below.
//! - list-3: on every level, keys strictly ascend.
#![allow(unsafe_code)]

use std::cmp::Ordering::{Equal, Less};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::arena::{ALIGN, Arena};
use crate::bytes::{compare, head};
use crate::key::InternalKey;
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Enough for 4^12 entries at one in four.
const HEIGHT_MAX: usize = 12;
/// Values up to this length lie behind their key: about what is left of its last cache line.
const SHORT_VALUE_LEN: usize = 64;

/// The fixed part of an entry. Links lie before it, the key and a short value behind.
#[repr(C)]
struct Node {
    prefix: u64,
    trailer: u64,
    value: NonNull<u8>,
    key_len: u32,
    value_len: u32,
}

type Link = AtomicPtr<Node>;

const _: () = assert!(align_of::<Link>() <= ALIGN && align_of::<Node>() <= ALIGN);
const _: () = assert!(size_of::<Link>().is_multiple_of(ALIGN));
const _: () = assert!(offset_of!(Node, value_len) + size_of::<u32>() == size_of::<Node>());

pub(super) struct SkipList {
    nodes: Arena,
    values: Arena,
    /// Before every entry, of full height.
    head: NonNull<Node>,
    /// Levels in use, at least one.
    height: AtomicUsize,
    /// The node last linked on each level, or the head: where an insertion in order goes on.
    finger: [Link; HEIGHT_MAX],
}

// SAFETY: nodes are shared under list-1; the arenas are `Send + Sync`.
unsafe impl Send for SkipList {}
// SAFETY: as above.
unsafe impl Sync for SkipList {}

/// An entry of a list that is borrowed for `'a`.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    node: NonNull<Node>,
    list: PhantomData<&'a SkipList>,
}

/// Remembers an entry without borrowing its list.
#[derive(Clone, Copy)]
pub(super) struct Position(NonNull<Node>);

// SAFETY: it is an address; following it is what needs care, in `Position::entry`.
unsafe impl Send for Position {}

/// A place on one level: the last node before a key, and the one behind that, or null.
#[derive(Clone, Copy)]
struct Gap {
    before: NonNull<Node>,
    behind: *mut Node,
}

/// A key that nodes are compared with.
struct Probe<'a> {
    prefix: u64,
    key: InternalKey<'a>,
}

impl SkipList {
    pub(super) fn new() -> Self {
        let (nodes, values) = (Arena::new(), Arena::new());
        let nothing = InternalKey::after_all(b"");
        let head = Node::allocate(&nodes, &values, nothing, b"", HEIGHT_MAX);
        Self {
            nodes,
            values,
            head,
            height: AtomicUsize::new(1),
            finger: std::array::from_fn(|_| Link::new(head.as_ptr())),
        }
    }

    /// Bytes taken from the allocator.
    pub(super) fn allocated(&self) -> usize {
        self.nodes.allocated() + self.values.allocated()
    }

    /// Bytes of them that wait for entries.
    pub(super) fn unused(&self) -> usize {
        self.nodes.unused() + self.values.unused()
    }

    /// Adds an entry; other threads see it whole or not yet.
    ///
    /// # Panics
    /// In debug builds, when the same internal key is there.
    pub(super) fn insert(&self, key: InternalKey<'_>, value: &[u8]) {
        let height = tower_height(key);
        let node = Node::allocate(&self.nodes, &self.values, key, value, height);
        let probe = Probe::new(key);
        let gaps = self
            .gaps_at_finger(&probe, height)
            .unwrap_or_else(|| self.gaps(&probe, height));
        if self.height.load(Ordering::Relaxed) < height {
            self.height.fetch_max(height, Ordering::Relaxed);
        }
        // ORDER: from the bottom up (list-2).
        for (level, gap) in gaps.into_iter().enumerate().take(height) {
            self.link(node, level, gap, &probe);
            self.finger[level].store(node.as_ptr(), Ordering::Release);
        }
    }

    pub(super) fn first(&self) -> Option<Entry<'_>> {
        self.entry(self.next(self.head, 0))
    }

    pub(super) fn last(&self) -> Option<Entry<'_>> {
        self.entry_before(|_| true)
    }

    /// The first entry at or behind `key`.
    pub(super) fn at_or_behind(&self, key: InternalKey<'_>) -> Option<Entry<'_>> {
        let probe = Probe::new(key);
        self.entry(self.gap(|node| self.is_before(node, &probe)).behind)
    }

    /// The last entry at or before `key`.
    pub(super) fn at_or_before(&self, key: InternalKey<'_>) -> Option<Entry<'_>> {
        let probe = Probe::new(key);
        self.entry_before(|node| !self.is_behind(node, &probe))
    }

    /// The last entry before `entry`, found by a search.
    pub(super) fn before(&self, entry: Entry<'_>) -> Option<Entry<'_>> {
        let probe = Probe::new(entry.key());
        self.entry_before(|node| self.is_before(node, &probe))
    }

    /// The entry that follows `entry`.
    pub(super) fn after(&self, entry: Entry<'_>) -> Option<Entry<'_>> {
        self.entry(self.next(entry.node, 0))
    }

    fn entry_before(&self, is_before: impl Fn(NonNull<Node>) -> bool) -> Option<Entry<'_>> {
        let node = self.gap(is_before).before;
        (node != self.head).then_some(Entry {
            node,
            list: PhantomData,
        })
    }

    fn entry(&self, node: *mut Node) -> Option<Entry<'_>> {
        NonNull::new(node).map(|node| Entry {
            node,
            list: PhantomData,
        })
    }

    /// The gap on the lowest level between the nodes that are before and those that are not.
    fn gap(&self, is_before: impl Fn(NonNull<Node>) -> bool) -> Gap {
        let mut gap = Gap {
            before: self.head,
            behind: ptr::null_mut(),
        };
        for level in (0..self.height.load(Ordering::Relaxed)).rev() {
            gap = self.narrow(gap, level, &is_before);
        }
        gap
    }

    /// The gaps for a key on `height` levels, and on all above.
    fn gaps(&self, probe: &Probe<'_>, height: usize) -> [Gap; HEIGHT_MAX] {
        let mut gap = Gap {
            before: self.head,
            behind: ptr::null_mut(),
        };
        let mut gaps = [gap; HEIGHT_MAX];
        let levels = self.height.load(Ordering::Relaxed).max(height);
        for level in (0..levels).rev() {
            gap = self.narrow(gap, level, &|node| self.is_before(node, probe));
            gaps[level] = gap;
        }
        gaps
    }

    /// The gaps for a key on `height` levels, if they are where the last insertions went.
    fn gaps_at_finger(&self, probe: &Probe<'_>, height: usize) -> Option<[Gap; HEIGHT_MAX]> {
        let mut gaps = [Gap {
            before: self.head,
            behind: ptr::null_mut(),
        }; HEIGHT_MAX];
        for (level, gap) in gaps.iter_mut().enumerate().take(height) {
            gap.before = NonNull::new(self.finger[level].load(Ordering::Acquire))?;
            if gap.before != self.head && !self.is_before(gap.before, probe) {
                return None;
            }
            gap.behind = self.next(gap.before, level);
            if NonNull::new(gap.behind).is_some_and(|node| self.is_before(node, probe)) {
                return None;
            }
        }
        Some(gaps)
    }

    /// Narrows a gap found on a higher level to the nodes of `level`.
    #[inline]
    fn narrow(&self, gap: Gap, level: usize, is_before: &impl Fn(NonNull<Node>) -> bool) -> Gap {
        let Gap { mut before, behind } = gap;
        loop {
            let next = self.next(before, level);
            // `behind` was compared on the level above.
            match NonNull::new(next) {
                Some(node) if next != behind && is_before(node) => before = node,
                _ => {
                    return Gap {
                        before,
                        behind: next,
                    };
                }
            }
        }
    }

    /// Links `node` into `gap`, or, where others came first, into what has become of it.
    fn link(&self, node: NonNull<Node>, level: usize, mut gap: Gap, probe: &Probe<'_>) {
        loop {
            debug_assert!(
                NonNull::new(gap.behind).is_none_or(|node| self.is_behind(node, probe)),
                "an internal key is inserted once"
            );
            // SAFETY: `node` was allocated with more than `level` links, and so was `before`, as it is
            // linked on `level` or the head.
            let (own, link) = unsafe { (Node::link(node, level), Node::link(gap.before, level)) };
            own.store(gap.behind, Ordering::Relaxed);
            // INVARIANT list-1: release.
            let exchanged = link.compare_exchange(
                gap.behind,
                node.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            );
            if exchanged.is_ok() {
                return;
            }
            gap.behind = ptr::null_mut();
            gap = self.narrow(gap, level, &|node| self.is_before(node, probe));
        }
    }

    /// What follows `node` on `level`, on which `node` must be linked (or the head).
    fn next(&self, node: NonNull<Node>, level: usize) -> *mut Node {
        // SAFETY: nodes live as long as `self`; one linked on `level` has that link.
        unsafe { Node::link(node, level) }.load(Ordering::Acquire)
    }

    /// Whether `node`, which is of this list and not the head, sorts before the probe.
    fn is_before(&self, node: NonNull<Node>, probe: &Probe<'_>) -> bool {
        // SAFETY: nodes live as long as `self`, and are initialised (list-1).
        unsafe { Node::compare(node, probe) == Less }
    }

    /// Whether `node`, which is of this list and not the head, sorts behind the probe.
    fn is_behind(&self, node: NonNull<Node>, probe: &Probe<'_>) -> bool {
        // SAFETY: as in `is_before`.
        unsafe { Node::compare(node, probe).is_gt() }
    }
}

impl<'a> Entry<'a> {
    pub(super) fn key(self) -> InternalKey<'a> {
        // SAFETY: nodes live as long as the list, which is borrowed for 'a, and do not change (list-1).
        let (user, trailer) = unsafe { (Node::user(self.node), self.node.as_ref().trailer) };
        InternalKey::from_parts(user, trailer).expect("search keys are not inserted")
    }

    pub(super) fn value(self) -> &'a [u8] {
        // SAFETY: as in `key`.
        unsafe { Node::value(self.node) }
    }

    /// This place, to come back to it later.
    pub(super) fn position(self) -> Position {
        Position(self.node)
    }
}

impl Position {
    /// The entry at this place.
    ///
    /// # Safety
    /// The position is one of `list`'s, and of no other list.
    pub(super) unsafe fn entry(self, list: &SkipList) -> Entry<'_> {
        let _ = list;
        Entry {
            node: self.0,
            list: PhantomData,
        }
    }
}

impl<'a> Probe<'a> {
    fn new(key: InternalKey<'a>) -> Self {
        Self {
            prefix: head(key.user, 0),
            key,
        }
    }
}

impl Node {
    /// A node that nobody else knows of, its links null.
    fn allocate(
        nodes: &Arena,
        values: &Arena,
        key: InternalKey<'_>,
        value: &[u8],
        height: usize,
    ) -> NonNull<Self> {
        let (user, links_len) = (key.user, height * size_of::<Link>());
        let short_len = if value.len() <= SHORT_VALUE_LEN {
            value.len()
        } else {
            0
        };
        let piece = nodes.allocate(links_len + size_of::<Self>() + user.len() + short_len);
        // SAFETY: the pieces are aligned for what is written, as long, and ours alone (arena-1); `user`
        // and `value` lie elsewhere, or they would not be.
        unsafe {
            for level in 0..height {
                let link = piece.cast::<Link>().add(level);
                link.write(Link::new(ptr::null_mut()));
            }
            let node = piece.add(links_len).cast::<Self>();
            let user_at = node.add(1).cast::<u8>();
            let value_at = if short_len == value.len() {
                user_at.add(user.len())
            } else {
                values.allocate(value.len())
            };
            user_at.copy_from_nonoverlapping(NonNull::from(user).cast(), user.len());
            value_at.copy_from_nonoverlapping(NonNull::from(value).cast(), value.len());
            node.write(Self {
                prefix: head(user, 0),
                trailer: key.trailer(),
                value: value_at,
                key_len: u32::try_from(user.len()).expect("keys are at most MAX_KEY_LEN"),
                value_len: u32::try_from(value.len()).expect("values are at most MAX_VALUE_LEN"),
            });
            node
        }
    }

    /// # Safety
    /// `node` was allocated with more than `level` links, and lives for `'a`.
    unsafe fn link<'a>(node: NonNull<Self>, level: usize) -> &'a Link {
        // SAFETY: links lie before the node, the lowest one nearest.
        unsafe { node.cast::<Link>().sub(level + 1).as_ref() }
    }

    /// # Safety
    /// `node` is initialised, no longer written to, and lives for `'a`.
    unsafe fn user<'a>(node: NonNull<Self>) -> &'a [u8] {
        // SAFETY: the key lies right behind the node.
        unsafe {
            let len = node.as_ref().key_len as usize;
            NonNull::slice_from_raw_parts(node.add(1).cast(), len).as_ref()
        }
    }

    /// # Safety
    /// As for [`Node::user`].
    unsafe fn value<'a>(node: NonNull<Self>) -> &'a [u8] {
        // SAFETY: `value` points at as many bytes in one of the list's arenas, as old as the node.
        unsafe {
            let Self {
                value, value_len, ..
            } = *node.as_ref();
            NonNull::slice_from_raw_parts(value, value_len as usize).as_ref()
        }
    }

    /// # Safety
    /// As for [`Node::user`].
    #[inline]
    unsafe fn compare(node: NonNull<Self>, probe: &Probe<'_>) -> std::cmp::Ordering {
        // SAFETY: passed on.
        let header = unsafe { node.as_ref() };
        let order = header.prefix.cmp(&probe.prefix);
        if order != Equal {
            return order;
        }
        // SAFETY: passed on.
        let (user, other) = (unsafe { Self::user(node) }, probe.key.user);
        compare(behind_prefix(user), behind_prefix(other))
            // Where a prefix was filled up with zeros, only the length tells "a" from "a\0".
            .then_with(|| user.len().cmp(&other.len()))
            .then_with(|| probe.key.trailer().cmp(&header.trailer))
    }
}

fn behind_prefix(user: &[u8]) -> &[u8] {
    user.get(8..).unwrap_or_default()
}

/// One in four reaches the next level. Drawn from the key, so that a replay builds the same list, and
/// with the sequence number, so that nobody chooses keys that all stand low.
fn tower_height(key: InternalKey<'_>) -> usize {
    let drawn = xxh3_64_with_seed(key.user, key.trailer());
    (1 + drawn.trailing_zeros() as usize / 2).min(HEIGHT_MAX)
}
