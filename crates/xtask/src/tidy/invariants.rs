//! Numbered invariants: whoever bears or cites a number means one that is defined.
//!
//! A definition is an item of a list in a module's header: ``//! - `wal-1`: …`` or
//! ``//! 1. `wal-1` …``. A citation is the same word in any other comment. Which words are numbers
//! of invariants follows from the definitions, so `utf-8` is none.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Finding;
use super::source::Tree;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut defined = BTreeMap::<String, Vec<String>>::new();
    let mut cited = Vec::new();
    for (path, text) in tree
        .rust()
        .filter(|(path, _)| !path.starts_with("crates/xtask/"))
    {
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            match definition(line) {
                Some(id) => defined.entry(id).or_default().push(place),
                None => cited.extend(citations(line).map(|id| (id, place.clone()))),
            }
        }
    }
    let families: BTreeSet<_> = defined.keys().filter_map(|id| family(id)).collect();
    let mut findings = Vec::new();
    for (id, place) in &cited {
        let promised = place_says_invariant(tree, place);
        let known_family = family(id).is_some_and(|family| families.contains(family));
        if (known_family || promised) && !defined.contains_key(id) {
            findings.push(Finding::error(
                place,
                format!("cites {id}, which no module header defines"),
            ));
        }
    }
    for (id, places) in &defined {
        if same_crate_twice(places) {
            let all = places.join(", ");
            findings.push(Finding::error(
                &places[0],
                format!("{id} is defined more than once: {all}"),
            ));
        }
    }
    findings
}

/// The number that a line of a module's header defines.
fn definition(line: &str) -> Option<String> {
    let item = line.trim_start().strip_prefix("//!")?.trim_start();
    let item = item.strip_prefix("- ").or_else(|| {
        let (number, rest) = item.split_once(". ")?;
        number.parse::<u32>().is_ok().then_some(rest)
    })?;
    let word = item
        .trim_start()
        .split([':', ' '])
        .next()?
        .trim_matches(['`', '*']);
    is_id(word).then(|| word.to_owned())
}

/// The words of a comment that look like numbers of invariants.
fn citations(line: &str) -> impl Iterator<Item = String> {
    let comment = line.find("//").map_or("", |at| &line[at..]);
    let words = comment.split(|one: char| !one.is_ascii_alphanumeric() && one != '-' && one != '_');
    words.filter(|word| is_id(word)).map(str::to_owned)
}

fn is_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(name, number)| {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        !name.is_empty()
            && name.bytes().all(letter)
            && !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}

fn family(id: &str) -> Option<&str> {
    id.split_once('-').map(|(family, _)| family)
}

fn place_says_invariant(tree: &Tree, place: &str) -> bool {
    let line = place.rsplit_once(':').and_then(|(path, number)| {
        tree.files
            .get(path)?
            .lines()
            .nth(number.parse::<usize>().ok()? - 1)
    });
    line.is_some_and(|line| line.contains("INVARIANT"))
}

/// Two crates may number alike; one crate may not.
fn same_crate_twice(places: &[String]) -> bool {
    let crates: Vec<_> = places
        .iter()
        .map(|place| place.split("/src/").next())
        .collect();
    crates.iter().collect::<BTreeSet<_>>().len() < crates.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::tree;

    const HEADER: &str = "//! 1. `wal-1` A frame.\n//! - wal-2: Another.\n//! - `wal-3`: third\n";

    fn findings(rest: &str) -> Vec<String> {
        let files = [
            ("crates/lsm/src/wal/mod.rs", HEADER),
            ("crates/lsm/src/wal/tests.rs", rest),
        ];
        check(&tree(&files))
            .into_iter()
            .map(|one| format!("{}: {}", one.place, one.what))
            .collect()
    }

    #[test]
    fn citations_of_what_is_defined_are_fine() {
        assert_eq!(
            findings("/// Attacks wal-1, wal-2 and `wal-3` in utf-8.\n"),
            [""; 0]
        );
    }

    #[test]
    fn a_citation_without_a_definition_is_found() {
        let cites = "crates/lsm/src/wal/tests.rs:2: cites";
        assert_eq!(
            findings("\n/// Attacks wal-4.\n"),
            [format!("{cites} wal-4, which no module header defines")]
        );
        assert_eq!(
            findings("\n// INVARIANT cache-1: x\n"),
            [format!("{cites} cache-1, which no module header defines")]
        );
    }

    #[test]
    fn a_number_stands_for_one_thing() {
        let found = findings("//! - wal-1: something else\n");
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("wal-1 is defined more than once"),
            "{found:?}"
        );
    }
}
