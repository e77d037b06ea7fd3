//! The node's and the engine's numbers, as Prometheus reads them.

use ringwood_lsm::{KeyspaceStatistics, LATENCY_BOUNDS_US, Latency, Statistics};
use ringwood_node::{Node, NodeStatistics};

use crate::metrics::{Page, seconds};

/// Writes what the node and its engine count.
pub(crate) fn render(node: &Node, page: &mut Page) {
    render_node(&node.statistics(), page);
    let engine = node.engine().statistics();
    render_resources(&engine, page);
    render_log(&engine, page);
    render_tables(&engine, page);
    render_background(&engine, page);
    let failed = u8::from(node.engine().failure().is_some());
    page.single(
        "ringwood_store_failed",
        "gauge",
        "1: no writes since a disk failure.",
        failed,
    );
}

fn render_node(counts: &NodeStatistics, page: &mut Page) {
    for (name, help, value) in [
        ("ringwood_keys_read_total", "Keys read.", counts.keys_read),
        (
            "ringwood_keys_found_total",
            "Keys read that had a value.",
            counts.keys_found,
        ),
        ("ringwood_keys_put_total", "Keys set.", counts.keys_put),
        (
            "ringwood_keys_deleted_total",
            "Keys deleted.",
            counts.keys_deleted,
        ),
        (
            "ringwood_writes_failed_total",
            "Writes that the engine did not take or finish.",
            counts.writes_failed,
        ),
        (
            "ringwood_requests_blocked_total",
            "Requests that had to leave their thread for the disk.",
            counts.requests_blocked,
        ),
        (
            "ringwood_pages_warm_total",
            "Pages served from a warm scan.",
            counts.pages_warm,
        ),
        (
            "ringwood_pages_cold_total",
            "Pages that sought their place anew.",
            counts.pages_cold,
        ),
        (
            "ringwood_entries_listed_total",
            "Entries in pages.",
            counts.entries_listed,
        ),
        ("ringwood_batches_total", "Batches.", counts.batches),
        (
            "ringwood_items_unprocessed_total",
            "Items of batches sent back unprocessed.",
            counts.items_unprocessed,
        ),
        (
            "ringwood_requests_limited_total",
            "Requests refused because their namespace was over its rate.",
            counts.requests_limited,
        ),
        (
            "ringwood_puts_over_quota_total",
            "Puts refused because their namespace has as many bytes as it may.",
            counts.puts_over_quota,
        ),
    ] {
        page.single(name, "counter", help, value);
    }
    page.single(
        "ringwood_parked_scans",
        "gauge",
        "Scans kept warm between two pages.",
        counts.parked_scans,
    );
    page.single(
        "ringwood_parked_scans_bytes",
        "gauge",
        "Memory that they hold.",
        counts.parked_scans_len,
    );
}

/// Memory, cache and disk.
fn render_resources(engine: &Statistics, page: &mut Page) {
    page.family(
        "ringwood_memory_bytes",
        "gauge",
        "Memory of the budget, by who holds it.",
    );
    for (consumer, bytes) in &engine.memory {
        page.sample("", &format!("consumer=\"{consumer}\""), bytes);
    }
    page.single(
        "ringwood_memory_budget_bytes",
        "gauge",
        "The budget.",
        engine.memory_budget,
    );
    page.single(
        "ringwood_cache_hits_total",
        "counter",
        "Blocks that were in the cache when wanted.",
        engine.cache_hits,
    );
    page.single(
        "ringwood_cache_misses_total",
        "counter",
        "Blocks that were not.",
        engine.cache_misses,
    );
    page.single(
        "ringwood_cache_hit_ratio",
        "gauge",
        "Hits among all, since the start; 0 before the first.",
        ratio(engine.cache_hits, engine.cache_misses),
    );
    if let Some(bytes) = engine.disk_available {
        page.single(
            "ringwood_disk_available_bytes",
            "gauge",
            "Free on the disk.",
            bytes,
        );
    }
    let full = u8::from(engine.disk_full);
    page.single(
        "ringwood_disk_full",
        "gauge",
        "1: only reads and deletes go on.",
        full,
    );
    page.single(
        "ringwood_open_tables",
        "gauge",
        "Tables open.",
        engine.open_tables,
    );
    page.single(
        "ringwood_clock_held_back_milliseconds",
        "gauge",
        "How far the machine's clock leapt ahead, while it is not followed.",
        engine.clock_held_back_ms,
    );
    page.single(
        "ringwood_clock_behind_milliseconds",
        "gauge",
        "How far the machine's clock is behind the store's time, which waits for it.",
        engine.clock_behind_ms,
    );
    page.single(
        "ringwood_snapshots",
        "gauge",
        "Snapshots held.",
        engine.snapshots,
    );
}

fn render_log(engine: &Statistics, page: &mut Page) {
    page.single(
        "ringwood_log_segments",
        "gauge",
        "Log segments still needed.",
        engine.log_segments,
    );
    page.single(
        "ringwood_log_disk_bytes",
        "gauge",
        "What log segments take on the disk, those kept for another use too.",
        engine.log_disk_bytes,
    );
    for (name, help, value) in [
        (
            "ringwood_log_bytes_total",
            "Written to the log, padding included.",
            engine.log_bytes,
        ),
        (
            "ringwood_log_padding_bytes_total",
            "Padding among it.",
            engine.log_padding_bytes,
        ),
        (
            "ringwood_log_syncs_total",
            "Syncs of the log.",
            engine.log_syncs,
        ),
        (
            "ringwood_log_waits_total",
            "Writes that waited for a log segment to be made.",
            engine.log_waits,
        ),
        (
            "ringwood_write_stalls_total",
            "Writes kept waiting or refused.",
            engine.stalls,
        ),
    ] {
        page.single(name, "counter", help, value);
    }
    page.family(
        "ringwood_log_sync_duration_seconds",
        "histogram",
        "Writing and syncing one group of writes.",
    );
    render_latency(&engine.log_sync_latency, page);
}

fn render_latency(latency: &Latency, page: &mut Page) {
    let mut total = 0;
    let bounds = LATENCY_BOUNDS_US.iter().map(|&us| seconds(us));
    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(latency.counts) {
        total += count;
        page.sample("_bucket", &format!("le=\"{bound}\""), total);
    }
    page.sample("_sum", "", seconds(latency.sum_us));
    page.sample("_count", "", total);
}

fn render_tables(engine: &Statistics, page: &mut Page) {
    type Part = fn(&KeyspaceStatistics) -> u64;
    let parts: [(&'static str, &str, Part); 6] = [
        (
            "ringwood_memtable_bytes",
            "In the memtable that takes writes.",
            |part| part.memtable_bytes as u64,
        ),
        (
            "ringwood_memtable_entries",
            "Entries in memtables, deletes included.",
            |part| part.memtable_entries,
        ),
        (
            "ringwood_sealed_memtables",
            "Memtables waiting to be written out.",
            |part| part.sealed_memtables as u64,
        ),
        (
            "ringwood_l0_sublevels",
            "What a read may have to look into in level 0.",
            |part| part.l0_sublevels as u64,
        ),
        (
            "ringwood_compaction_debt_bytes",
            "To be rewritten before all levels are in shape.",
            |part| part.compaction_debt,
        ),
        (
            "ringwood_table_entries",
            "Entries in tables, deletes included.",
            |part| part.table_entries,
        ),
    ];
    for (name, help, part) in parts {
        page.family(name, "gauge", help);
        for keyspace in &engine.keyspaces {
            page.sample(
                "",
                &format!("keyspace=\"{}\"", keyspace.name),
                part(keyspace),
            );
        }
    }
    page.single(
        "ringwood_damaged_tables",
        "gauge",
        "Tables in which compactions met damage.",
        engine.damaged_tables.len(),
    );
    page.family("ringwood_tables", "gauge", "Tables, by level.");
    for_levels(engine, |labels, level| {
        page.sample("", labels, level.tables)
    });
    page.family(
        "ringwood_table_bytes",
        "gauge",
        "Bytes of tables, by level.",
    );
    for_levels(engine, |labels, level| page.sample("", labels, level.bytes));
}

fn for_levels(engine: &Statistics, mut sample: impl FnMut(&str, &ringwood_lsm::LevelStatistics)) {
    for keyspace in &engine.keyspaces {
        for (number, level) in keyspace.levels.iter().enumerate() {
            sample(
                &format!("keyspace=\"{}\",level=\"{number}\"", keyspace.name),
                level,
            );
        }
    }
}

fn render_background(engine: &Statistics, page: &mut Page) {
    for (name, help, value) in [
        (
            "ringwood_engine_gets_total",
            "Keys looked up in the engine.",
            engine.gets,
        ),
        (
            "ringwood_engine_gets_from_memtable_total",
            "Of these, found in a memtable.",
            engine.gets_from_memtable,
        ),
        (
            "ringwood_flushes_total",
            "Memtables written out.",
            engine.flushes,
        ),
        (
            "ringwood_flush_bytes_total",
            "Bytes written by that.",
            engine.flush_bytes,
        ),
        (
            "ringwood_compactions_total",
            "Compactions, moves included.",
            engine.compactions,
        ),
        (
            "ringwood_compaction_read_bytes_total",
            "Bytes that compactions read.",
            engine.compaction_read_bytes,
        ),
        (
            "ringwood_compaction_written_bytes_total",
            "Bytes that compactions wrote.",
            engine.compaction_written_bytes,
        ),
        (
            "ringwood_job_failures_total",
            "Background work that failed and is tried again.",
            engine.job_failures,
        ),
    ] {
        page.single(name, "counter", help, value);
    }
}

/// `hits` among all, with four digits.
fn ratio(hits: u64, misses: u64) -> String {
    let all = u128::from(hits) + u128::from(misses);
    let parts = (u128::from(hits) * 10_000).checked_div(all).unwrap_or(0);
    format!("{}.{:04}", parts / 10_000, parts % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_four_digits() {
        assert_eq!(ratio(0, 0), "0.0000");
        assert_eq!(ratio(1, 2), "0.3333");
        assert_eq!(ratio(5, 0), "1.0000");
        assert_eq!(ratio(u64::MAX, u64::MAX), "0.5000");
    }
}
