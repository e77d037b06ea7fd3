//! Pages of servers in every state, at 80 and at 120 columns.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::reading::{Checkpoint, Node, State};
use super::*;
use crate::terminal::Style;

const NOW_MS: u64 = 1_767_225_600_000;

/// A server that has served a while.
const BUSY: &str = r#"
ringwood_http_requests_total{operation="raw_put",status="2xx"} 1203332
ringwood_http_requests_total{operation="put",status="2xx"} 8
ringwood_http_requests_total{operation="raw_get",status="2xx"} 22222222
ringwood_http_requests_total{operation="raw_get",status="4xx"} 40
ringwood_http_requests_total{operation="scan",status="2xx"} 12
ringwood_http_requests_total{operation="scan",status="5xx"} 3
ringwood_http_requests_total{operation="readyz",status="2xx"} 99
ringwood_http_request_duration_seconds_bucket{operation="raw_get",le="0.000064"} 20000000
ringwood_http_request_duration_seconds_bucket{operation="raw_get",le="0.000512"} 22222262
ringwood_http_request_duration_seconds_bucket{operation="raw_get",le="+Inf"} 22222262
ringwood_http_request_duration_seconds_bucket{operation="raw_put",le="0.001024"} 600000
ringwood_http_request_duration_seconds_bucket{operation="raw_put",le="0.008192"} 1203340
ringwood_http_request_duration_seconds_bucket{operation="raw_put",le="+Inf"} 1203340
ringwood_http_connections 41
ringwood_http_requests_at_work 3
ringwood_memory_bytes{consumer="memtables"} 41943040
ringwood_memory_bytes{consumer="open_tables"} 1048576
ringwood_memory_bytes{consumer="cache"} 157286400
ringwood_memory_budget_bytes 536870912
ringwood_cache_hits_total 982
ringwood_cache_misses_total 18
ringwood_disk_available_bytes 33285996544
ringwood_log_segments 3
ringwood_log_disk_bytes 201326592
ringwood_log_sync_duration_seconds_bucket{le="0.000400"} 500
ringwood_log_sync_duration_seconds_bucket{le="0.003200"} 1000
ringwood_log_sync_duration_seconds_bucket{le="+Inf"} 1000
ringwood_memtable_bytes{keyspace="data"} 11403776
ringwood_memtable_entries{keyspace="data"} 9000
ringwood_table_entries{keyspace="data"} 1194332
ringwood_compaction_debt_bytes{keyspace="data"} 125829120
ringwood_tables{keyspace="system",level="0"} 1
ringwood_tables{keyspace="data",level="0"} 2
ringwood_tables{keyspace="data",level="1"} 1
ringwood_tables{keyspace="data",level="2"} 0
ringwood_tables{keyspace="data",level="3"} 21
ringwood_table_bytes{keyspace="data",level="0"} 12582912
ringwood_table_bytes{keyspace="data",level="1"} 62914560
ringwood_table_bytes{keyspace="data",level="2"} 0
ringwood_table_bytes{keyspace="data",level="3"} 1342177280
"#;

fn reading(state: State, metrics: &str) -> Reading {
    let mut reading = Reading {
        url: "http://127.0.0.1:7400".to_owned(),
        ready: true,
        node: Node {
            version: "0.1.0".to_owned(),
            data_dir: "/var/lib/ringwood".to_owned(),
            state,
            state_since: NOW_MS - 11_520_000,
            failure: (state == State::Failed).then(|| "write 000012.log: I/O error".to_owned()),
            started_at: NOW_MS - 99_000_000,
            checkpoint: None,
        },
        namespaces: ["default", "pets"].map(str::to_owned).to_vec(),
        metrics: BTreeMap::new(),
        buckets: BTreeMap::new(),
        at: Instant::now(),
        unix_ms: NOW_MS,
    };
    reading.read_metrics(metrics);
    reading
}

fn page(now: &Reading, before: Option<&Reading>, width: usize) -> Vec<String> {
    let figures = Figures::of(now, before);
    let lines = page::lines(now, &figures, &attention::notices(now, before), width);
    for line in &lines {
        assert!(
            line.width() <= width,
            "{} > {width}: {line:?}",
            line.width()
        );
        assert!(!line.render(false).contains('\x1b'), "{line:?}");
    }
    lines.iter().map(|line| line.render(false)).collect()
}

/// The page in one text, where no line is broken.
fn text(now: &Reading, before: Option<&Reading>, width: usize) -> String {
    let lines = page(now, before, width);
    let words = lines.iter().flat_map(|line| line.split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_busy_server_fits_80_columns() {
    let expected = "\
ready since 2025-12-31 20:48 UTC (3 h 12 min), nothing needs attention
ringwood 0.1.0 at http://127.0.0.1:7400, data in /var/lib/ringwood

requests       a second        p50        p99     failed            all
  get                 –      36 µs     467 µs          0     22,222,262
  put                 –     1.0 ms     8.0 ms          0      1,203,340
  scan                –          –          –          3             15

data        at most 1,203,332 keys, 1.3 GiB, in 2 namespaces: default, pets
disk        1.5 GiB used: 1.3 GiB of tables, 192 MiB of log, 31.0 GiB free
memory      [######----------] 191 MiB of 512 MiB: cache 150 MiB, memtables
                               40.0 MiB
cache       98.2 % of the blocks wanted were in it
levels      L0 12.0 MiB in 2 tables, L1 60.0 MiB in 1 table, L3 1.2 GiB in 21
            tables; 120 MiB to merge
log         192 MiB in 3 segments; a sync takes 400 µs, p99 3.1 ms
clients     41 connections, 3 requests at work

Times and shares are since the start.";
    let found = page(&reading(State::Ready, BUSY), None, 80).join("\n");
    assert_eq!(found, expected, "\n{found}");
}

#[test]
fn a_wide_terminal_is_used() {
    let lines = page(&reading(State::Ready, BUSY), None, 120);
    assert!(
        lines.iter().any(|line| line.contains("p99.9")),
        "{lines:#?}"
    );
    assert!(lines.len() < page(&reading(State::Ready, BUSY), None, 80).len());
}

#[test]
fn rates_and_latencies_lie_between_two_readings() {
    let before = reading(State::Ready, BUSY);
    let later = BUSY
        .replace("status=\"2xx\"} 22222222", "status=\"2xx\"} 22222322")
        .replace("le=\"0.000512\"} 22222262", "le=\"0.000512\"} 22222362")
        .replace("le=\"+Inf\"} 22222262", "le=\"+Inf\"} 22222362");
    let mut now = reading(State::Ready, &later);
    now.at = before.at + Duration::from_secs(2);
    let lines = page(&now, Some(&before), 80);
    let get = lines.iter().find(|line| line.starts_with("  get")).unwrap();
    let cells: Vec<_> = get.split_whitespace().collect();
    // All hundred took between 64 µs and 512 µs.
    assert_eq!(
        cells,
        ["get", "50", "288", "µs", "508", "µs", "0", "22,222,362"]
    );
    let put = lines.iter().find(|line| line.starts_with("  put")).unwrap();
    assert!(
        put.split_whitespace()
            .eq(["put", "0", "–", "–", "0", "1,203,340"]),
        "{put}"
    );
    assert!(text(&now, Some(&before), 80).contains("over the last 2.0 s"));
    // Another start counts anew.
    let mut other = before.clone();
    other.node.started_at -= 1;
    assert!(text(&now, Some(&other), 80).contains("since the start"));
}

#[test]
fn a_server_without_figures_says_so() {
    for metrics in ["", "ringwood_http_connections 1\n"] {
        for width in [80, 120] {
            let page = text(&reading(State::Ready, metrics), None, width);
            for told in [
                "no requests yet",
                "no keys yet",
                "no tables yet",
                "no table was read",
            ] {
                assert!(page.contains(told), "{told} is missing in {page}");
            }
            assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        }
    }
}

#[test]
fn every_state_is_the_first_line_in_words() {
    for width in [80, 120] {
        for (state, first, todo) in [
            (
                State::Ready,
                "ready since 2025-12-31 20:48 UTC (3 h 12 min), nothing needs attention",
                "",
            ),
            (
                State::DiskFull,
                "THE DISK IS FULL for 3 h 12 min: puts are refused, reads and deletes go on",
                "Delete keys, or make room on the disk",
            ),
            (
                State::Failed,
                "THE STORE FAILED 3 h 12 min ago: writes are refused, reads go on",
                "The disk failed the store: write 000012.log: I/O error. Look at the disk",
            ),
            (
                State::Stopping,
                "stopping for 3 h 12 min: it answers what was asked, and ends",
                "",
            ),
            (State::Unknown, "serving", ""),
        ] {
            let now = reading(state, BUSY);
            let lines = page(&now, None, width);
            assert!(lines[0].starts_with(first), "{}", lines[0]);
            assert!(text(&now, None, width).contains(todo), "{lines:#?}");
        }
    }
    let url = "http://127.0.0.1:7400".to_owned();
    let error = ClientError::Unreachable {
        url: url.clone(),
        why: "connection refused".to_owned(),
    };
    let lines = page::away(&url, &error, 80);
    assert!(lines.iter().all(|line| line.width() <= 80));
    assert_eq!(
        lines[0].render(false),
        "NO ANSWER from http://127.0.0.1:7400"
    );
}

#[test]
fn a_disk_is_nearly_full_by_its_own_measure() {
    let with_free = |free: u64| {
        let more = format!("{BUSY}ringwood_disk_available_bytes {free}\n");
        text(&reading(State::Ready, &more), None, 80).contains("nearly full")
    };
    // Beside 1.5 GiB of the store, an eighth of all is kept free: puts are refused from 0.2 GiB on.
    assert!(with_free(480 << 20));
    assert!(!with_free(520 << 20));
    // A small disk with next to nothing on it, whatever memory there is.
    let small = "ringwood_memory_budget_bytes 536870912\nringwood_disk_available_bytes 18000000\n";
    let page = text(&reading(State::Ready, small), None, 80);
    assert!(!page.contains("nearly full"), "{page}");
}

#[test]
fn what_needs_attention_says_what_to_do() {
    let before = reading(State::Ready, BUSY);
    for (more, what, todo) in [
        (
            "ringwood_damaged_tables 2\n",
            "is damaged: 2 tables",
            "ringwood verify /var/lib/ringwood",
        ),
        (
            "ringwood_disk_available_bytes 1000\n",
            "nearly full: 1000 B",
            "Make room, 386 MiB",
        ),
        (
            "ringwood_write_stalls_total 7\n",
            "7 writes were held back",
            "storage.background_rate",
        ),
        (
            "ringwood_job_failures_total 1\n",
            "1 jobs in the background",
            "log says why",
        ),
        (
            "ringwood_http_errors_total{code=\"OVERLOADED\"} 4\n",
            "4 requests were refused",
            "limits.requests",
        ),
        (
            "ringwood_puts_over_quota_total 9\n",
            "9 requests were refused",
            "ringwood namespace set",
        ),
    ] {
        let now = reading(State::Ready, &format!("{BUSY}{more}"));
        for width in [80, 120] {
            let page = text(&now, Some(&before), width);
            assert!(page.contains(what) && page.contains(todo), "{page}");
            assert!(!page.contains("nothing needs attention"), "{page}");
        }
    }
}

#[test]
fn long_names_break_and_metrics_are_cut() {
    let mut now = reading(State::Ready, BUSY);
    now.node.data_dir = "/srv/".to_owned() + &"漢字/".repeat(60);
    now.namespaces = (0..50)
        .map(|n| format!("{}-{n}", "tenant".repeat(8)))
        .collect();
    now.node.checkpoint = Some(Checkpoint {
        bytes: 1 << 30,
        bytes_done: 1 << 29,
    });
    for width in [20, 80, 120] {
        assert!(text(&now, None, width).contains("512 MiB of 1.0 GiB"));
        let metrics = page::metrics(&now, width);
        assert!(metrics.iter().all(|line| line.width() <= width));
        assert!(
            metrics.len() > 20,
            "those that are 0 are left out, and no others"
        );
    }
    let colours = Line::new().with(Style::Bad, "x").render(true);
    assert_eq!(colours, "\x1b[1;31mx\x1b[0m");
}
