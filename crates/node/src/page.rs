//! Lists a range of a namespace, page by page.
//!
//! Where the range lies in one routing group, one partition is visited, else all of them.
//!
//! # Invariants
//! - `scan-1` (23): a key that is present throughout a scan appears exactly once, in order: it lives
//!   in one partition, and each page goes on strictly behind the last key of the one before.
//! - `scan-2`: a page shows one moment, and that is when it was asked for, whatever was kept for it:
//!   a warm scan goes on only where nothing was written since it began.

use ringwood_env::UnixMillis;

use crate::cursor::Position;
use crate::error::NodeError;
use crate::namespace::Namespace;
use crate::node::Shared;
use crate::request::{Page, Scan};
use crate::scan::{Bounds, Merge};

/// Answers a scan. May wait for the disk.
pub(crate) fn answer(
    shared: &Shared,
    namespace: &Namespace,
    scan: &Scan,
    now: UnixMillis,
) -> Result<Page, NodeError> {
    namespace.check_alive()?;
    shared.limits.check_page(scan.limit)?;
    let bounds = Bounds::of(scan)?;
    let range = bounds.fingerprint();
    let at = match &scan.cursor {
        Some(cursor) => {
            let secret = &shared.identity.secret;
            Some(Position::decode(cursor, secret, namespace.id(), range)?)
        }
        None => None,
    };
    if bounds.is_empty() {
        return Ok(Page::default());
    }
    let merge = resume(shared, namespace, bounds, at.as_ref(), scan.keys_only, now)?;
    let len_max = shared.limits.page_len_max;
    let len_max = scan.len_max.map_or(len_max, |len| len.min(len_max));
    fill_page(shared, merge, scan.limit, len_max, range, now)
}

fn resume(
    shared: &Shared,
    namespace: &Namespace,
    bounds: Bounds,
    at: Option<&Position>,
    keys_only: bool,
    now: UnixMillis,
) -> Result<Merge, NodeError> {
    // INVARIANT scan-2
    if let Some(at) = at
        && let Some(warm) = shared.parked.take(at, keys_only, now)
        && warm.is_current(&shared.store)
    {
        shared.counters.pages_warm.add(1);
        return Ok(warm);
    }
    shared.counters.pages_cold.add(1);
    let last = at.map(|at| &at.last[..]);
    Merge::start(&shared.store, namespace, bounds, keys_only, last, now)
}

fn fill_page(
    shared: &Shared,
    mut merge: Merge,
    limit: usize,
    len_max: usize,
    range: u64,
    now: UnixMillis,
) -> Result<Page, NodeError> {
    let mut entries = Vec::with_capacity(limit.min(1024));
    let mut len = 0;
    while entries.len() < limit && len < len_max {
        let Some(entry) = merge.next(&shared.store, now)? else {
            break;
        };
        len += entry.key.len() + entry.entry.as_ref().map_or(0, |entry| entry.value().len());
        entries.push(entry);
    }
    shared.counters.entries_listed.add(entries.len());
    let cursor = match entries.last() {
        Some(last) if merge.has_more() => {
            let at = Position {
                namespace: merge.namespace,
                range,
                warm: 0,
                last: last.key.to_vec(),
            };
            let at = shared.parked.park(merge, at, now);
            Some(at.encode(&shared.identity.secret))
        }
        _ => None,
    };
    Ok(Page { entries, cursor })
}
