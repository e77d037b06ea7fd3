//! The node's and the engine's numbers, as Prometheus reads them.

use ringwood_node::Node;

use crate::metrics::Page;

/// Writes what the node and its engine count.
pub(crate) fn render(node: &Node, page: &mut Page) {
    let counts = node.statistics();
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
