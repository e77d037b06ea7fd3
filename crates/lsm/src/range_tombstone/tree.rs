//! Fragments in a tree whose nodes never change: a changed tree shares with the one before it all but
//! the nodes on the way to the change, so that readers keep what they hold and the writer copies little.
//!
//! *Invariants*
//! - `tree-1`: all leaves lie equally deep, none is empty, and an inner node names the first start below
//!   each of its children.

use std::ops::Range;
use std::sync::Arc;

use super::Fragment;
use crate::bytes::compare;
use crate::key::SeqNo;

/// Fragments of a leaf, or children of an inner node, at most.
const WIDTH_MAX: usize = 32;
/// A node with this many bytes of keys is full as well: a change copies it.
const KEYS_LEN_MAX: usize = 16 << 10;

/// Fragments in order, in few allocations.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    keys: Vec<u8>,
    seqs: Vec<SeqNo>,
    ends: Vec<Ends>,
}

/// Where a fragment's parts end: its start and its end in `keys`, its numbers in `seqs`.
#[derive(Clone, Copy, Debug)]
struct Ends {
    start: usize,
    end: usize,
    seqs: usize,
}

impl Run {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, at: usize) -> Fragment<'_> {
        let (key, seq) = match at.checked_sub(1) {
            Some(before) => (self.ends[before].end, self.ends[before].seqs),
            None => (0, 0),
        };
        let ends = self.ends[at];
        Fragment {
            start: &self.keys[key..ends.start],
            end: &self.keys[ends.start..ends.end],
            seqs: &self.seqs[seq..ends.seqs],
        }
    }

    pub(super) fn iter(&self, range: Range<usize>) -> impl Iterator<Item = Fragment<'_>> {
        range.map(|at| self.get(at))
    }

    /// How many fragments begin at or before `key`.
    #[inline]
    pub(super) fn first_behind(&self, key: &[u8]) -> usize {
        partition(self.len(), |at| compare(self.get(at).start, key).is_le())
    }

    fn push(&mut self, fragment: Fragment<'_>) {
        self.keys.extend_from_slice(fragment.start);
        let start = self.keys.len();
        self.keys.extend_from_slice(fragment.end);
        self.seqs.extend_from_slice(fragment.seqs);
        self.ends.push(Ends {
            start,
            end: self.keys.len(),
            seqs: self.seqs.len(),
        });
    }

    /// Adds a fragment behind all others, if there is anything in it. INVARIANT range-3.
    pub(super) fn append(&mut self, start: &[u8], end: &[u8], seqs: &[SeqNo]) {
        if start >= end {
            return;
        }
        if let Some(last) = self.len().checked_sub(1) {
            let before = self.get(last);
            if before.end == start && before.seqs == seqs {
                self.keys.truncate(self.ends[last].start);
                self.keys.extend_from_slice(end);
                self.ends[last].end = self.keys.len();
                return;
            }
        }
        self.push(Fragment { start, end, seqs });
    }

    fn memory_used(&self) -> usize {
        self.keys.capacity()
            + self.seqs.capacity() * size_of::<SeqNo>()
            + self.ends.capacity() * size_of::<Ends>()
    }

    fn shrink(mut self) -> Self {
        self.keys.shrink_to_fit();
        self.seqs.shrink_to_fit();
        self.ends.shrink_to_fit();
        self
    }
}

/// How many of `0..len` come before the first that `is_before` does not hold for.
#[inline]
fn partition(len: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut begin, mut end) = (0, len);
    while begin < end {
        let middle = begin.midpoint(end);
        if is_before(middle) {
            begin = middle + 1;
        } else {
            end = middle;
        }
    }
    begin
}

#[derive(Debug)]
pub(super) enum Node {
    Leaf(Run),
    Inner(Inner),
}

#[derive(Debug)]
pub(super) struct Inner {
    /// The first start below each child, one after another.
    keys: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    children: Vec<Arc<Node>>,
    /// Bytes held by the node and everything below.
    memory_used: usize,
}

impl Inner {
    fn of(children: Vec<Arc<Node>>) -> Self {
        let len = children.iter().map(|child| child.first_start().len()).sum();
        let mut keys = Vec::with_capacity(len);
        let mut ends = Vec::with_capacity(children.len());
        for child in &children {
            keys.extend_from_slice(child.first_start());
            ends.push(keys.len());
        }
        let below: usize = children.iter().map(|child| child.memory_used()).sum();
        let each = size_of::<usize>() + size_of::<Arc<Node>>();
        Self {
            memory_used: below + NODE_LEN + len + each * children.len(),
            keys,
            ends,
            children,
        }
    }

    fn key(&self, at: usize) -> &[u8] {
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.keys[begin..self.ends[at]]
    }

    /// The last child that begins at or before `key`, or the first.
    #[inline]
    fn child_of(&self, key: &[u8]) -> usize {
        let behind = partition(self.children.len(), |at| compare(self.key(at), key).is_le());
        behind.saturating_sub(1)
    }
}

/// A node with the counts of its [`Arc`].
const NODE_LEN: usize = size_of::<Node>() + 2 * size_of::<usize>();

impl Node {
    fn first_start(&self) -> &[u8] {
        match self {
            Self::Leaf(run) => run.get(0).start,
            Self::Inner(inner) => inner.key(0),
        }
    }

    /// Bytes of memory held by the node and everything below it.
    pub(super) fn memory_used(&self) -> usize {
        match self {
            Self::Leaf(run) => NODE_LEN + run.memory_used(),
            Self::Inner(inner) => inner.memory_used,
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Leaf(run) => run.len(),
            Self::Inner(inner) => inner.children.len(),
        }
    }

    fn keys_len(&self) -> usize {
        match self {
            Self::Leaf(run) => run.keys.len(),
            Self::Inner(inner) => inner.keys.len(),
        }
    }

    /// The leaf in which `key` would be.
    pub(super) fn locate<'a>(self: &'a Arc<Self>, key: &[u8]) -> Leaf<'a> {
        let mut node = self;
        let mut is_first = true;
        let mut next = None;
        loop {
            match &**node {
                Self::Leaf(run) => {
                    return Leaf {
                        node,
                        run,
                        is_first,
                        next,
                    };
                }
                Self::Inner(inner) => {
                    let at = inner.child_of(key);
                    if at + 1 < inner.children.len() {
                        next = Some(inner.key(at + 1));
                    }
                    is_first &= at == 0;
                    node = &inner.children[at];
                }
            }
        }
    }

    /// The nodes, as deep as this one, that there are when the fragments with starts from `first` to
    /// `last` (both included) are replaced by `new`.
    pub(super) fn splice(&self, first: &[u8], last: &[u8], new: &Run) -> Vec<Arc<Self>> {
        match self {
            Self::Leaf(run) => {
                let left = partition(run.len(), |at| compare(run.get(at).start, first).is_lt());
                let right = run.first_behind(last);
                let fragments = run
                    .iter(0..left)
                    .chain(new.iter(0..new.len()))
                    .chain(run.iter(right..run.len()));
                leaves(fragments, left + new.len() + run.len() - right)
            }
            Self::Inner(inner) => {
                let (left, right) = (inner.child_of(first), inner.child_of(last));
                let mut children = inner.children[..left].to_vec();
                children.extend(inner.children[left].splice(first, last, new));
                if left < right {
                    children.extend(inner.children[right].splice(first, last, &Run::default()));
                }
                children.extend_from_slice(&inner.children[right + 1..]);
                parents(join_small(children))
            }
        }
    }
}

/// A leaf on the way to a key.
pub(super) struct Leaf<'a> {
    pub(super) node: &'a Arc<Node>,
    pub(super) run: &'a Run,
    pub(super) is_first: bool,
    /// Where the next leaf begins.
    pub(super) next: Option<&'a [u8]>,
}

/// A tree over fragments in order.
pub(super) fn tree(run: &Run) -> Option<Arc<Node>> {
    root_over(leaves(run.iter(0..run.len()), run.len()))
}

/// The root over nodes that are equally deep.
pub(super) fn root_over(mut nodes: Vec<Arc<Node>>) -> Option<Arc<Node>> {
    while nodes.len() > 1 {
        nodes = parents(nodes);
    }
    let mut root = nodes.pop()?;
    while let Node::Inner(inner) = &*root
        && let [only] = &inner.children[..]
    {
        root = Arc::clone(only);
    }
    Some(root)
}

/// Shares `count` things out evenly.
fn width_of_each(count: usize) -> usize {
    count.div_ceil(count.div_ceil(WIDTH_MAX).max(1))
}

fn leaves<'a>(fragments: impl Iterator<Item = Fragment<'a>>, count: usize) -> Vec<Arc<Node>> {
    let width = width_of_each(count);
    let mut made = Vec::new();
    let mut run = Run::default();
    let mut finish = |run: &mut Run| {
        made.push(Arc::new(Node::Leaf(std::mem::take(run).shrink())));
    };
    for fragment in fragments {
        run.push(fragment);
        if run.len() >= width || run.keys.len() >= KEYS_LEN_MAX {
            finish(&mut run);
        }
    }
    if run.len() > 0 {
        finish(&mut run);
    }
    made
}

fn parents(children: Vec<Arc<Node>>) -> Vec<Arc<Node>> {
    let width = width_of_each(children.len());
    let mut made = Vec::new();
    let mut below: Vec<Arc<Node>> = Vec::new();
    let mut keys_len = 0;
    for child in children {
        // With one child alone, a tree would grow for ever.
        if below.len() >= width.max(2) || (below.len() >= 2 && keys_len >= KEYS_LEN_MAX) {
            made.push(Arc::new(Node::Inner(Inner::of(std::mem::take(&mut below)))));
            keys_len = 0;
        }
        keys_len += child.first_start().len();
        below.push(child);
    }
    if !below.is_empty() {
        made.push(Arc::new(Node::Inner(Inner::of(below))));
    }
    made
}

/// Makes one of neighbours that have little.
fn join_small(nodes: Vec<Arc<Node>>) -> Vec<Arc<Node>> {
    let mut joined: Vec<Arc<Node>> = Vec::with_capacity(nodes.len());
    for node in nodes {
        if let Some(last) = joined.last_mut()
            && last.width() + node.width() <= WIDTH_MAX / 2
            && last.keys_len() + node.keys_len() <= KEYS_LEN_MAX
        {
            *last = Arc::new(concat(last, &node));
        } else {
            joined.push(node);
        }
    }
    joined
}

fn concat(left: &Node, right: &Node) -> Node {
    match (left, right) {
        (Node::Leaf(left), Node::Leaf(right)) => {
            let mut run = left.clone();
            right.iter(0..right.len()).for_each(|f| run.push(f));
            Node::Leaf(run.shrink())
        }
        (Node::Inner(left), Node::Inner(right)) => {
            let children = left.children.iter().chain(&right.children);
            Node::Inner(Inner::of(children.cloned().collect()))
        }
        _ => unreachable!("INVARIANT tree-1: neighbours are equally deep"),
    }
}

/// The fragments of a tree, in order.
#[derive(Debug, Default)]
pub(crate) struct Fragments<'a> {
    /// What follows on each inner node of the way.
    above: Vec<std::slice::Iter<'a, Arc<Node>>>,
    /// The leaf, and the next fragment in it.
    leaf: Option<(&'a Run, usize)>,
}

impl<'a> Fragments<'a> {
    /// From the last one that begins at or before `key`, or else the first.
    pub(super) fn from(root: Option<&'a Arc<Node>>, key: &[u8]) -> Self {
        let mut way = Self::default();
        let mut next = root;
        while let Some(node) = next {
            next = way.enter(node, |inner| inner.child_of(key));
        }
        if let Some((run, at)) = &mut way.leaf {
            *at = run.first_behind(key).saturating_sub(1);
        }
        way
    }

    /// Notes a node of the way; the child to go on with.
    fn enter(&mut self, node: &'a Node, choose: impl Fn(&Inner) -> usize) -> Option<&'a Arc<Node>> {
        match node {
            Node::Leaf(run) => {
                self.leaf = Some((run, 0));
                None
            }
            Node::Inner(inner) => {
                let mut children = inner.children[choose(inner)..].iter();
                let child = children.next();
                self.above.push(children);
                child
            }
        }
    }

    fn next_leaf(&mut self) -> Option<()> {
        self.leaf = None;
        loop {
            match self.above.last_mut()?.next() {
                None => {
                    self.above.pop();
                }
                Some(child) => {
                    let mut next = Some(child);
                    while let Some(node) = next {
                        next = self.enter(node, |_| 0);
                    }
                    return Some(());
                }
            }
        }
    }
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Fragment<'a>;

    fn next(&mut self) -> Option<Fragment<'a>> {
        let (run, at) = match self.leaf {
            Some((run, at)) if at < run.len() => (run, at),
            _ => {
                self.next_leaf()?;
                self.leaf?
            }
        };
        self.leaf = Some((run, at + 1));
        Some(run.get(at))
    }
}

#[cfg(test)]
impl Node {
    /// Asserts `tree-1`; the depth.
    pub(super) fn check(&self) -> usize {
        match self {
            Self::Leaf(run) => {
                assert!(run.len() > 0, "tree-1");
                0
            }
            Self::Inner(inner) => {
                let depths: Vec<_> = inner.children.iter().map(|child| child.check()).collect();
                assert!(depths.iter().all(|depth| *depth == depths[0]), "tree-1");
                for (at, child) in inner.children.iter().enumerate() {
                    assert_eq!(inner.key(at), child.first_start(), "tree-1");
                }
                depths[0] + 1
            }
        }
    }
}
