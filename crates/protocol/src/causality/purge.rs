//! Rules 7, 15 and 16: when a tombstone may be forgotten. When every replica has seen it and all that it
//! replaces, and never because time has passed.
//!
//! *Not here*: that nothing older of the key lies below it in the engine, and that the purged clock is
//! durable before the tombstone goes. Clocks are gossiped as of their last sync.

use alloc::vec::Vec;

use ringwood_types::{Clock, Dot, Hlc, Incarnation, Object, Sibling, Version};

use super::Clocks;
use super::plant::Plant;

/// Pairs that are kept of a minter: of a busy one the newest is never stable.
const PAIRS_MAX: usize = 8;

/// What the replicas of a partition have said of their clocks.
#[derive(Clone, Debug, Default)]
pub struct Views {
    views: Vec<(Incarnation, View)>,
}

#[derive(Clone, Debug, Default)]
struct View {
    seen: Clock,
    /// Whatever it mints behind this counter is later than this time. Sorted.
    pairs: Vec<(u64, Hlc)>,
}

impl Views {
    /// Takes note of what `replica` said: its clock, its last counter, and its hybrid time then. Old gossip
    /// does no harm.
    pub fn heard(&mut self, replica: Incarnation, seen: &Clock, last: u64, hybrid: Hlc) {
        let at = match self.views.binary_search_by_key(&replica, |view| view.0) {
            Ok(at) => at,
            Err(at) => {
                self.views.insert(at, (replica, View::default()));
                at
            }
        };
        let view = &mut self.views[at].1;
        view.seen.merge(seen);
        let newest = view.pairs.last().copied();
        if newest.is_none_or(|(counter, time)| last >= counter && hybrid > time) {
            if view.pairs.len() == PAIRS_MAX {
                view.pairs.pop(); // the older ones become stable first
            }
            view.pairs.push((last, hybrid));
        }
    }

    /// Forgets everybody but those in `present`: the clock of a stint that is over says nothing of the
    /// next (row 10). To be called with every epoch; `present` are the incarnations of all replicas, and
    /// those of minters that are not settled.
    pub fn keep(&mut self, present: &[Incarnation]) {
        self.views.retain(|(replica, _)| present.contains(replica));
    }

    /// What every replica of `present` has seen: current, rebuilding and pending ones.
    #[must_use]
    pub fn stable(&self, present: &[Incarnation]) -> Clock {
        let mut clocks = present.iter().map(|&replica| self.view(replica));
        let Some(Some(first)) = clocks.next() else {
            return Clock::new();
        };
        clocks.fold(first.seen.clone(), |stable, view| {
            view.map_or_else(Clock::new, |view| stable.intersection(&view.seen))
        })
    }

    /// The time up to which, inclusive, every version where the last write wins is stable. `minters` are
    /// the incarnations that are not settled.
    #[must_use]
    pub fn horizon(&mut self, stable: &Clock, minters: &[Incarnation]) -> Hlc {
        let reached = |views: &mut Self, minter: Incarnation| {
            let at = views.views.binary_search_by_key(&minter, |view| view.0);
            let pairs = &mut views.views[at.ok()?].1.pairs;
            let base = stable.base(minter);
            let count = pairs.partition_point(|&(counter, _)| counter <= base);
            pairs.drain(..count.saturating_sub(1));
            pairs.first().filter(|_| count > 0).map(|&(_, time)| time)
        };
        let times = minters.iter().map(|&minter| reached(self, minter));
        times
            .map(Option::unwrap_or_default)
            .min()
            .unwrap_or_default()
    }

    fn view(&self, replica: Incarnation) -> Option<&View> {
        let at = self.views.binary_search_by_key(&replica, |view| view.0);
        Some(&self.views[at.ok()?].1)
    }
}

impl Clocks {
    /// Whether `sibling` may be forgotten, where siblings stay.
    #[must_use]
    pub fn may_purge(&self, sibling: &Sibling, now_ms: u64, stable: &Clock) -> bool {
        let is_known = stable.covers(sibling.dot())
            && (stable.covers_past(&sibling.past) || self.planted.has(Plant::PurgedByDotAlone));
        sibling.is_dead(now_ms) && (is_known || self.planted.has(Plant::PurgedAtOnce))
    }

    /// Whether a tombstone or an expired version may be forgotten, where the last write wins.
    #[must_use]
    pub fn may_purge_lww(&self, version: Version, stable: &Clock, horizon: Hlc) -> bool {
        let is_latest = version.time <= horizon || self.planted.has(Plant::NoHorizon);
        stable.covers(version.dot) && is_latest || self.planted.has(Plant::PurgedAtOnce)
    }

    /// What is left of an object when all that may be forgotten is, and what that was: to be
    /// [noted](Self::note_purged), durably, before it goes.
    #[must_use]
    pub fn purge(&self, object: &Object, now_ms: u64, stable: &Clock) -> (Object, Vec<Dot>) {
        let (mut rest, mut purged) = (object.clone(), Vec::new());
        rest.retain(|sibling| {
            let goes = self.may_purge(sibling, now_ms, stable);
            if goes {
                purged.push(sibling.dot());
            }
            !goes
        });
        (rest, purged)
    }

    /// Takes note of tombstones that are about to go.
    pub fn note_purged(&mut self, dots: &[Dot]) {
        for &dot in dots {
            self.purged.add(dot);
        }
    }
}
