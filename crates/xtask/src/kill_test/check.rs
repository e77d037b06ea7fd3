//! What the server must hold: read back by a client that shares nothing with the binary.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use ureq::Agent;

use super::files::{ByKey, PREFIX};
use crate::http;

/// Threads that work at once.
pub(crate) const CLIENTS: usize = 8;

/// Longer than any value.
const BODY_MAX: u64 = 1 << 26;

pub(crate) struct Reader {
    agent: Agent,
    url: String,
}

impl Reader {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            agent: http::agent(),
            url: url.to_owned(),
        }
    }

    /// Checks that exactly these files are there, each as it is on disk, and none of `gone`.
    /// Returns how many keys were read.
    pub(crate) fn check(&self, expected: &ByKey, gone: &[String]) -> Result<usize> {
        let expected_keys: Vec<_> = expected.keys().cloned().collect();
        let files: Vec<_> = expected.iter().collect();
        in_parallel(&files, |(key, path)| {
            let wanted = Sha256::digest(fs::read(path)?);
            let (status, body) = self.get(key)?;
            ensure!(status == 200, "{key} was acknowledged, and reads {status}");
            ensure!(
                Sha256::digest(&body) == wanted,
                "{key} was acknowledged, and differs"
            );
            Ok(())
        })?;
        in_parallel(gone, |key| {
            let (status, _) = self.get(key)?;
            ensure!(status == 404, "{key} was deleted, and reads {status}");
            Ok(())
        })?;
        let listed = self.list()?;
        ensure!(listed.is_sorted_by(|a, b| a < b), "a scan is not in order");
        ensure!(
            listed == expected_keys,
            "a scan lists {} keys of {}",
            listed.len(),
            expected_keys.len()
        );
        Ok(expected.len() + gone.len())
    }

    /// Deletes a key; whether that was acknowledged.
    pub(crate) fn delete(&self, key: &str) -> bool {
        let answer = self.agent.delete(self.raw(key)).call();
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    fn get(&self, key: &str) -> Result<(u16, Vec<u8>)> {
        let mut answer = self
            .agent
            .get(self.raw(key))
            .call()
            .with_context(|| format!("cannot read {key}"))?;
        let body = answer
            .body_mut()
            .with_config()
            .limit(BODY_MAX)
            .read_to_vec()?;
        Ok((answer.status().as_u16(), body))
    }

    fn list(&self) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut cursor = String::new();
        loop {
            let prefix = utf8_percent_encode(PREFIX, NON_ALPHANUMERIC);
            let url = format!(
                "{}/v1/kv?prefix={prefix}&keys_only=true&limit=1000{cursor}",
                self.url
            );
            let mut answer = self.agent.get(url).call()?;
            let body = answer
                .body_mut()
                .with_config()
                .limit(BODY_MAX)
                .read_to_vec()?;
            let page: Value = serde_json::from_slice(&body)?;
            let items = page["items"].as_array().context("a page has items")?;
            keys.extend(
                items
                    .iter()
                    .filter_map(|item| item["key"].as_str().map(str::to_owned)),
            );
            match page["cursor"].as_str() {
                None => return Ok(keys),
                Some(next) => {
                    cursor = format!("&cursor={}", utf8_percent_encode(next, NON_ALPHANUMERIC))
                }
            }
        }
    }

    fn raw(&self, key: &str) -> String {
        format!(
            "{}/kv/{}",
            self.url,
            utf8_percent_encode(key, NON_ALPHANUMERIC)
        )
    }
}

/// Does something for each, on several threads; the first failure ends it.
fn in_parallel<T: Sync>(all: &[T], each: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            each(one)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        // All of them end before the first failure is told.
        let results: Vec<Result<()>> = threads.into_iter().map(join).collect();
        results.into_iter().collect()
    })
}
