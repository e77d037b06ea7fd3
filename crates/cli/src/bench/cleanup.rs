//! Removes records again, many at once.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::client::{Client, ClientError, Range};

use super::keys;
use super::progress::Progress;

/// Keys of a request.
const BATCH: usize = 1000;
/// A server that refuses for the moment is asked so often, with pauses.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(200);

/// What removing came to.
#[derive(Debug, Default)]
pub(super) struct Removal {
    pub(super) removed: u64,
    /// Records that are still there, and why.
    pub(super) left: u64,
    pub(super) why: Option<String>,
}

/// Removes keys until all are gone, one cannot be removed, or `stop` says so.
pub(super) fn remove(
    client: &Client,
    mut names: impl Iterator<Item = String>,
    progress: &mut Progress,
    stop: impl Fn() -> bool,
) -> Removal {
    let mut removal = Removal::default();
    // Where the server does not say what it allows, a batch tells what is wrong.
    let batch = client
        .limits()
        .map_or(BATCH, |limits| BATCH.min(limits.batch_items));
    while !stop() {
        let part: Vec<_> = names.by_ref().take(batch).collect();
        if part.is_empty() {
            break;
        }
        if let Err(why) = remove_part(client, &part, &stop) {
            removal.why = Some(why);
            break;
        }
        removal.removed += part.len() as u64;
        progress.show(removal.removed);
    }
    progress.finish();
    removal
}

/// Removes some keys at once. Removing one that is gone is no error, so a part may be sent again.
fn remove_part(client: &Client, names: &[String], stop: &impl Fn() -> bool) -> Result<(), String> {
    let items: Vec<_> = names
        .iter()
        .map(|name| json!({ "op": "delete", "key": name }))
        .collect();
    let batch = json!({ "items": items });
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        match client.batch(&batch) {
            Ok(report) if report["failed"] == 0 => return Ok(()),
            Ok(report) => {
                let results = report["results"].as_array().into_iter().flatten();
                let code = results.filter_map(|one| one["code"].as_str()).next();
                why = code.unwrap_or("some were not removed").to_owned();
            }
            Err(error) if error.is_passing() => why = error.to_string(),
            Err(error) => return Err(error.to_string()),
        }
        if stop() {
            break;
        }
        thread::sleep(PAUSE);
    }
    Err(why)
}

/// The records of earlier runs under a prefix: keys that are named as records are.
///
/// # Errors
/// [`ClientError`].
pub(super) fn found(client: &Client, prefix: &str) -> Result<Vec<String>, ClientError> {
    let range = Range {
        prefix: Some(prefix.as_bytes().to_vec()),
        keys_only: true,
        page: BATCH,
        ..Range::default()
    };
    let mut names = Vec::new();
    let mut cursor = None;
    loop {
        let page = client.page(&range, cursor.as_deref())?;
        let keys = page.items.into_iter().filter_map(|item| item.key);
        names.extend(keys.filter(|key| keys::is_name(prefix, key)));
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(names);
        }
    }
}
