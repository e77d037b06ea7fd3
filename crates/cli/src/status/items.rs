//! The figures of a page that stand below its table: data, disk, memory, cache, levels, log, clients.

use crate::human;
use crate::terminal::{Line, Style, wrap};

use super::attention;
use super::figures::Figures;
use super::reading::{NAMESPACES_MAX, Reading, quantile};

/// Columns of the names before figures.
pub(super) const LABEL: usize = 12;
/// Columns of a bar.
const BAR: usize = 16;

/// A figure with its name.
struct Item {
    name: &'static str,
    text: String,
    /// How much of it is taken, drawn as a bar.
    bar: Option<f64>,
}

/// All of them, one below the other.
pub(super) fn lines(now: &Reading, figures: &Figures, width: usize) -> Vec<Line> {
    items(now, figures)
        .iter()
        .flat_map(|item| item_lines(item, width))
        .collect()
}

fn items(now: &Reading, figures: &Figures) -> Vec<Item> {
    let item = |name, text| Item {
        name,
        text,
        bar: None,
    };
    let used = attention::disk_used(now);
    let levels = now.levels();
    let tables: u64 = levels.iter().map(|(_, bytes)| bytes).sum();
    let log = now.whole("ringwood_log_disk_bytes");
    let free = now
        .metrics
        .get("ringwood_disk_available_bytes")
        .map(|free| format!(", {} free", human::bytes(human::whole(*free))));
    let budget = now.value("ringwood_memory_budget_bytes");
    let memory = now.memory();
    let held: u64 = memory.iter().map(|(_, bytes)| bytes).sum();
    let mut items = vec![
        item("data", data(now, tables)),
        item(
            "disk",
            format!(
                "{} used: {} of tables, {} of log{}",
                human::bytes(used),
                human::bytes(tables),
                human::bytes(log),
                free.unwrap_or_default()
            ),
        ),
        Item {
            name: "memory",
            text: memory_text(held, budget, memory),
            bar: Some(share(held, budget)),
        },
        item("cache", cache(figures)),
        item("levels", levels_text(&levels, now)),
        item("log", log_text(now, figures, log)),
        item(
            "clients",
            format!(
                "{} {}, {} requests at work",
                human::count(now.whole("ringwood_http_connections")),
                plural(now.whole("ringwood_http_connections"), "connection"),
                human::count(now.whole("ringwood_http_requests_at_work"))
            ),
        ),
    ];
    if let Some(checkpoint) = &now.node.checkpoint {
        let text = format!(
            "{} of {} copied",
            human::bytes(checkpoint.bytes_done),
            human::bytes(checkpoint.bytes)
        );
        items.push(Item {
            name: "checkpoint",
            text,
            bar: Some(share(checkpoint.bytes_done, lossy(checkpoint.bytes))),
        });
    }
    items
}

fn data(now: &Reading, tables: u64) -> String {
    let keys = now.of_data("ringwood_table_entries") + now.of_data("ringwood_memtable_entries");
    let bytes = tables + now.of_data("ringwood_memtable_bytes");
    let names = match now.namespaces.as_slice() {
        [] => String::new(),
        [one] => format!(", in namespace {one}"),
        all => {
            let shown = all.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
            let more = if all.len() > 3 { ", …" } else { "" };
            let least = if all.len() < NAMESPACES_MAX {
                ""
            } else {
                "at least "
            };
            let count = human::count(all.len() as u64);
            format!(", in {least}{count} namespaces: {shown}{more}")
        }
    };
    if keys == 0 {
        return format!("no keys yet{names}");
    }
    // What was replaced or deleted counts until it is merged away.
    format!(
        "at most {} {}, {}{names}",
        human::count(keys),
        plural(keys, "key"),
        human::bytes(bytes)
    )
}

fn memory_text(held: u64, budget: f64, mut memory: Vec<(String, u64)>) -> String {
    memory.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    // What is less than a hundredth of the budget interests nobody.
    let large = memory
        .iter()
        .filter(|(_, bytes)| lossy(*bytes) * 100.0 >= budget && *bytes > 0);
    let large: Vec<_> = large
        .map(|(name, bytes)| format!("{name} {}", human::bytes(*bytes)))
        .collect();
    let who = if large.is_empty() {
        String::new()
    } else {
        format!(": {}", large.join(", "))
    };
    format!(
        "{} of {}{who}",
        human::bytes(held),
        human::bytes(human::whole(budget))
    )
}

fn cache(figures: &Figures) -> String {
    let all = figures.hits + figures.misses;
    if all == 0.0 {
        return "no table was read".to_owned();
    }
    format!(
        "{} of the blocks wanted were in it",
        human::percent(figures.hits, all)
    )
}

fn levels_text(levels: &[(u64, u64)], now: &Reading) -> String {
    let filled: Vec<_> = levels
        .iter()
        .enumerate()
        .filter(|(_, (tables, _))| *tables > 0)
        .map(|(number, (tables, bytes))| {
            format!(
                "L{number} {} in {} {}",
                human::bytes(*bytes),
                human::count(*tables),
                plural(*tables, "table")
            )
        })
        .collect();
    let debt = match now.of_data("ringwood_compaction_debt_bytes") {
        0 => "nothing to merge".to_owned(),
        debt => format!("{} to merge", human::bytes(debt)),
    };
    if filled.is_empty() {
        "no tables yet: all is in memory and in the log".to_owned()
    } else {
        format!("{}; {debt}", filled.join(", "))
    }
}

fn log_text(now: &Reading, figures: &Figures, bytes: u64) -> String {
    let segments = now.whole("ringwood_log_segments");
    let times = [0.5, 0.99].map(|share| quantile(&figures.syncs, share));
    let syncs = match times {
        [Some(p50), Some(p99)] => format!(
            "; a sync takes {}, p99 {}",
            human::took(p50),
            human::took(p99)
        ),
        _ => String::new(),
    };
    format!(
        "{} in {} {}{syncs}",
        human::bytes(bytes),
        human::count(segments),
        plural(segments, "segment")
    )
}

/// The word for so many.
fn plural(count: u64, one: &str) -> String {
    if count == 1 {
        one.to_owned()
    } else {
        format!("{one}s")
    }
}

fn item_lines(item: &Item, width: usize) -> Vec<Line> {
    let room = width.saturating_sub(LABEL);
    // On a narrow terminal the words are worth more.
    let bar = item.bar.filter(|_| room >= 2 * BAR).map(bar);
    let indent = bar.as_ref().map_or(0, |_| BAR + 3);
    let texts = wrap(&item.text, room.saturating_sub(indent));
    texts
        .into_iter()
        .enumerate()
        .map(|(number, text)| {
            let name = if number == 0 { item.name } else { "" };
            let mut line = Line::new().with(Style::Bold, format!("{name:<width$}", width = LABEL));
            line = match &bar {
                Some(bar) if number == 0 => line.then(bar.clone()),
                Some(_) => line.with(Style::Plain, " ".repeat(indent)),
                None => line,
            };
            line.with(Style::Plain, text).fitted(width)
        })
        .collect()
}

/// A bar of [`BAR`] columns in brackets, and a gap.
fn bar(share: f64) -> Line {
    let full = human::whole(share.clamp(0.0, 1.0) * lossy(BAR as u64));
    let full = usize::try_from(full).unwrap_or(BAR).min(BAR);
    Line::new()
        .with(Style::Plain, "[")
        .with(Style::Good, "#".repeat(full))
        .with(Style::Dim, "-".repeat(BAR - full))
        .with(Style::Plain, "] ")
}

fn share(part: u64, whole: f64) -> f64 {
    if whole > 0.0 {
        lossy(part) / whole
    } else {
        0.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people: three digits count")]
fn lossy(number: u64) -> f64 {
    number as f64
}
