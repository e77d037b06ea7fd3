//! Shortest chains of moves from nodes that have too much to nodes that have too little.
//!
//! Augmenting paths, as in a maximum flow (Edmonds and Karp, 1972): a chain a → c → b moves one item
//! of a to c and another of c to b, where none of a can go to b.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// How much nodes have, and should have.
pub(super) struct Flow<'a> {
    pub(super) loads: &'a [usize],
    pub(super) quotas: &'a [usize],
}

impl Flow<'_> {
    /// The moves (item, from, to) of a shortest chain, the one from too much first; `None` when
    /// nobody has too much, or nothing can go on.
    pub(super) fn chain<I: Iterator<Item = usize>>(
        &self,
        items: impl Fn(usize) -> I,
        may_move: impl Fn(usize, usize, usize) -> bool,
    ) -> Option<Vec<(usize, usize, usize)>> {
        let (mut from, mut unreached): (Vec<_>, Vec<_>) =
            (0..self.loads.len()).partition(|&node| self.loads[node] > self.quotas[node]);
        // Who has far too much goes first, and who has too little is tried first.
        from.sort_by_key(|&node| (self.quotas[node].wrapping_sub(self.loads[node]), node));
        let mut from = VecDeque::from(from);
        unreached.sort_by_key(|&node| (!self.wants(node), node));
        let mut reached_by = alloc::vec![None; self.loads.len()];
        while let Some(node) = from.pop_front() {
            for item in items(node) {
                let mut rest = Vec::with_capacity(unreached.len());
                for &next in &unreached {
                    if !may_move(item, node, next) {
                        rest.push(next);
                        continue;
                    }
                    reached_by[next] = Some((item, node));
                    if self.wants(next) {
                        return Some(chain_to(next, &reached_by));
                    }
                    from.push_back(next);
                }
                unreached = rest;
            }
        }
        None
    }

    fn wants(&self, node: usize) -> bool {
        self.loads[node] < self.quotas[node]
    }
}

fn chain_to(end: usize, reached_by: &[Option<(usize, usize)>]) -> Vec<(usize, usize, usize)> {
    let mut chain = Vec::new();
    let mut at = end;
    while let Some((item, from)) = reached_by[at] {
        chain.push((item, from, at));
        at = from;
    }
    chain.reverse();
    chain
}
