//! What needs attention, and what to do about it.

use crate::human;

use super::reading::{Reading, State};

/// Something that a person should look after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Whether something is refused because of it.
    pub(super) grave: bool,
    /// What happened.
    pub(super) what: String,
    /// What to do.
    pub(super) todo: String,
}

/// Everything, the gravest first. What only counts up is told as long as it does.
pub(super) fn notices(now: &Reading, before: Option<&Reading>) -> Vec<Notice> {
    let states = [failed(now), full(now), damaged(now), nearly_full(now)];
    let mut notices: Vec<_> = states.into_iter().flatten().collect();
    if let Some(before) = before.filter(|before| before.node.started_at == now.node.started_at) {
        notices.extend(happenings(now, before));
    }
    notices
}

/// Bytes that the store takes on its disk.
pub(super) fn disk_used(now: &Reading) -> u64 {
    let tables: u64 = now.levels().iter().map(|(_, bytes)| bytes).sum();
    tables + now.whole("ringwood_log_disk_bytes")
}

fn failed(now: &Reading) -> Option<Notice> {
    let why = now.node.failure.as_deref().unwrap_or("it does not say why");
    (now.node.state == State::Failed).then(|| Notice {
        grave: true,
        what: format!("The disk failed the store: {why}."),
        todo:
            "Look at the disk (`dmesg`) and the server's log. Once the disk is sound, restart the \
               server: it recovers from what the disk really holds."
                .to_owned(),
    })
}

fn full(now: &Reading) -> Option<Notice> {
    let free = now.whole("ringwood_disk_available_bytes");
    (now.node.state == State::DiskFull).then(|| Notice {
        grave: true,
        what: format!("The disk is full: {} are free.", human::bytes(free)),
        todo:
            "Delete keys, or make room on the disk in another way. Puts go on by themselves then."
                .to_owned(),
    })
}

fn damaged(now: &Reading) -> Option<Notice> {
    let tables = now.whole("ringwood_damaged_tables");
    let read = now.errors().get("CORRUPT_DATA").copied().unwrap_or(0.0);
    (tables > 0 || read > 0.0).then(|| Notice {
        grave: true,
        what: format!(
            "Data on the disk is damaged: {tables} tables cannot be merged, {} requests met it.",
            human::count(human::whole(read))
        ),
        todo: format!(
            "`ringwood verify {}` names every damaged file; then see \"Corruption\" in \
             docs/operations.md.",
            now.node.data_dir
        ),
    })
}

/// A merge needs room for what it writes before it may remove what it read, so puts are refused while an
/// eighth of what the store has of its disk is not free, or 4 GiB. Somebody should look well before.
fn nearly_full(now: &Reading) -> Option<Notice> {
    let free = *now.metrics.get("ringwood_disk_available_bytes")?;
    let free = human::whole(free);
    let used = disk_used(now);
    let kept_free = (used.saturating_add(free) / 8).min(4 << 30);
    let wanted = (used / 10).max(2 * kept_free);
    (now.node.state == State::Ready && free < wanted).then(|| Notice {
        grave: false,
        what: format!("The disk is nearly full: {} are free.", human::bytes(free)),
        todo: format!(
            "Make room, {} at least: merging needs room before it gives some back, and puts are \
             refused where that is not free.",
            human::bytes(wanted)
        ),
    })
}

/// What began to happen, or goes on happening, between two readings.
fn happenings(now: &Reading, before: &Reading) -> Vec<Notice> {
    let more = |name| human::whole(now.value(name) - before.value(name));
    let old = before.errors();
    let new_error = |code: &str| {
        let count = now.errors().get(code).copied().unwrap_or(0.0);
        human::whole(count - old.get(code).copied().unwrap_or(0.0))
    };
    let all: [(u64, &str, &str); 7] = [
        (
            more("ringwood_write_stalls_total"),
            "writes were held back: flushing and merging do not keep up.",
            "Write less at once, or give it more: storage.background_threads, \
             storage.background_rate, a faster disk.",
        ),
        (
            more("ringwood_job_failures_total"),
            "jobs in the background failed; they are tried again.",
            "The server's log says why.",
        ),
        (
            new_error("OVERLOADED"),
            "requests were refused: too many were at work, or answers were not taken.",
            "Send fewer at once, or raise limits.requests and limits.answer_bytes.",
        ),
        (
            new_error("DEADLINE_EXCEEDED"),
            "requests took longer than limits.request_timeout.",
            "See whether the disk is slow or busy.",
        ),
        (
            new_error("INTERNAL"),
            "requests failed by a mistake of the server.",
            "Its log says more; please report it.",
        ),
        (
            more("ringwood_http_connections_refused_total"),
            "connections were turned away at the limit.",
            "Let clients keep their connections, or raise limits.connections and `ulimit -n`.",
        ),
        (
            more("ringwood_requests_limited_total") + more("ringwood_puts_over_quota_total"),
            "requests were refused because their namespace has used up what it may.",
            "`ringwood namespace list` shows the limits, `ringwood namespace set` raises them.",
        ),
    ];
    all.into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, todo)| Notice {
            grave: false,
            what: format!("{} {what}", human::count(count)),
            todo: todo.to_owned(),
        })
        .collect()
}
