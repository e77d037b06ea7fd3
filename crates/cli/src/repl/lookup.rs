//! Names that the server knows, for completion: few of them, and quickly or not at all.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::{Client, Range};
use crate::output;

/// A person who pressed Tab waits so long for a request, and for all of them.
const REQUEST: Duration = Duration::from_millis(250);
const ALL: Duration = Duration::from_millis(500);
/// So many names are shown.
const NAMES: usize = 100;
/// Longer ones would fill the screen, and more than one.
const NAME_LEN_MAX: usize = 1024;
/// Keys of a request.
const PAGE: usize = 50;

/// A client for completion.
pub(super) fn hurried(client: Client) -> Client {
    client.within(REQUEST)
}

/// All namespaces.
///
/// # Errors
/// When the server cannot be asked.
pub(super) fn namespaces(client: &Client) -> Result<Vec<String>> {
    let all = client.namespaces(usize::MAX)?;
    Ok(all
        .iter()
        .filter_map(|one| one["name"].as_str().map(str::to_owned))
        .collect())
}

/// Keys that begin with `typed`, up to the next `/` behind it: what lies below is for the next Tab.
///
/// Each group takes one request, so that millions of keys below one cost as much as one.
pub(super) fn keys(client: &Client, typed: &str) -> Vec<String> {
    let begun = Instant::now();
    let prefix = Some(typed.as_bytes().to_vec()).filter(|prefix| !prefix.is_empty());
    let mut names: Vec<String> = Vec::new();
    let mut start: Option<Vec<u8>> = None;
    while names.len() < NAMES && begun.elapsed() < ALL {
        let range = Range {
            prefix: prefix.clone(),
            start: start.clone(),
            keys_only: true,
            page: PAGE,
            ..Range::default()
        };
        // Without an answer there is nothing to complete.
        let Ok(page) = client.page(&range, None) else {
            break;
        };
        for item in &page.items {
            let Some(key) = item.key_bytes() else {
                continue;
            };
            if start.as_ref().is_some_and(|start| key < *start) {
                continue;
            }
            let (name, next) = group(&key, typed.len());
            start = Some(next);
            names.extend(
                String::from_utf8(name)
                    .ok()
                    .filter(|name| can_be_typed(name)),
            );
        }
        if page.cursor.is_none() || page.items.is_empty() {
            break;
        }
    }
    names.truncate(NAMES);
    names
}

/// What cannot be typed, and what nobody types, is not offered.
fn can_be_typed(name: &str) -> bool {
    name.len() <= NAME_LEN_MAX && !name.chars().any(output::is_command)
}

/// What stands for a key, and the first key behind all that it stands for.
fn group(key: &[u8], typed: usize) -> (Vec<u8>, Vec<u8>) {
    let rest = key.get(typed..).unwrap_or_default();
    match rest.iter().position(|byte| *byte == b'/') {
        Some(at) => {
            let name = key[..=typed + at].to_vec();
            let mut next = key[..typed + at].to_vec();
            next.push(b'/' + 1);
            (name, next)
        }
        None => (key.to_vec(), [key, &[0]].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_typed_is_not_offered() {
        for name in ["a", "photos/", "漢字 \\'\"", &"x".repeat(1024)] {
            assert!(can_be_typed(name), "{name}");
        }
        for name in [
            "a\x1b[31m",
            "\u{9b}",
            "a\nb",
            "\u{202e}a",
            &"x".repeat(1025),
        ] {
            assert!(!can_be_typed(name), "{name}");
        }
    }

    #[test]
    fn keys_are_grouped_by_the_next_slash() {
        let text = |key: &[u8], typed| {
            let (name, next) = group(key, typed);
            (
                String::from_utf8(name).unwrap(),
                String::from_utf8(next).unwrap(),
            )
        };
        assert_eq!(
            text(b"photos/2026/1", 2),
            ("photos/".into(), "photos0".into())
        );
        assert_eq!(
            text(b"photos/2026/1", 7),
            ("photos/2026/".into(), "photos/20260".into())
        );
        assert_eq!(
            text(b"photos/x", 7),
            ("photos/x".into(), "photos/x\0".into())
        );
        assert_eq!(text(b"a", 1), ("a".into(), "a\0".into()));
    }
}
