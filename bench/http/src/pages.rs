//! Ranges over all partitions: how long a first page takes, and the page that follows.

use std::time::Instant;

use anyhow::{Result, ensure};
use ringwood_bench_report::http::{Latencies, Pages};
use serde_json::{Value, json};

use crate::Arguments;
use crate::client::Client;

const PAGE_LEN: usize = 100;
const VALUE_LEN: usize = 1024;
const FILL_BATCH: usize = 500;

/// Puts `count` keys of 1 KiB: `prefix` and six digits.
pub(crate) fn fill(client: &mut Client, prefix: &str, count: usize) -> Result<()> {
    for from in (0..count).step_by(FILL_BATCH) {
        let item = |n: usize| {
            let value: String = (0..VALUE_LEN)
                .map(|i| char::from(b'a' + ((n * 31 + i * (i ^ n)) % 26) as u8))
                .collect();
            let key = format!("{prefix}{n:06}");
            json!({"op": "put", "key": key, "value": value, "encoding": "utf8"})
        };
        let items: Vec<Value> = (from..count.min(from + FILL_BATCH)).map(item).collect();
        let body = serde_json::to_vec(&json!({ "items": items }))?;
        let reply: Value = serde_json::from_slice(&client.post_json("/v1/batch", &body)?)?;
        ensure!(reply["failed"] == 0, "not all was put: {reply}");
    }
    Ok(())
}

/// Measures pages that begin anywhere, each with the one that follows, after as many unmeasured
/// ones as make everything hot.
pub(crate) fn measure(
    client: &mut Client,
    arguments: &Arguments,
    keys_only: bool,
) -> Result<Pages> {
    let (keys, samples) = (arguments.range_keys, arguments.pages);
    ensure!(samples > 0 && keys >= 4 * PAGE_LEN, "too few keys or pages");
    let warming = samples.min(keys / PAGE_LEN);
    let (mut first, mut following) = (Vec::new(), Vec::new());
    for n in 0..warming + samples {
        // A stride that has no divisor in common with the range visits all of it.
        let from = n * 7919 % (keys - 3 * PAGE_LEN);
        let target = format!("/v1/kv?start=range/{from:06}&limit={PAGE_LEN}&keys_only={keys_only}");
        let (first_us, page) = timed(client, &target)?;
        check(&page, from)?;
        let cursor = page["cursor"].as_str().unwrap_or_default();
        let (following_us, page) = timed(client, &format!("{target}&cursor={cursor}"))?;
        check(&page, from + PAGE_LEN)?;
        if n >= warming {
            first.push(first_us);
            following.push(following_us);
        }
    }
    Ok(Pages {
        keys_only,
        entries: PAGE_LEN,
        samples,
        first: Latencies::of(first),
        following: Latencies::of(following),
    })
}

/// From the first byte sent to the last one received.
fn timed(client: &mut Client, target: &str) -> Result<(f64, Value)> {
    let begun = Instant::now();
    let bytes = client.get(target)?;
    let took_us = begun.elapsed().as_secs_f64() * 1e6;
    Ok((took_us, serde_json::from_slice(&bytes)?))
}

fn check(page: &Value, from: usize) -> Result<()> {
    let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
    let first = items.first().map(|item| &item["key"]);
    let expected = json!(format!("range/{from:06}"));
    ensure!(
        items.len() == PAGE_LEN && first == Some(&expected),
        "not the page from {expected}: {} entries from {first:?}",
        items.len()
    );
    Ok(())
}
