//! Who is cut off from whom, as people write it.

use std::collections::BTreeSet;

use ringwood_server::peers::Way;

use crate::outcome::UsageError;

const HELP: &str =
    "write who is on which side, as in \"n1,n2 | n3,n4,n5\", or one way, as in \"n1 > n2,n3\"";

/// The ways that are cut: between all groups of `a,b | c | d`, or from one group to the other of `a > b,c`.
/// Nodes that are not named reach everybody.
///
/// # Errors
/// [`UsageError`]: a name that no node has or that stands twice, or another shape.
pub(super) fn ways(text: &str, nodes: &BTreeSet<String>) -> Result<Vec<Way>, UsageError> {
    let one_way = text.contains('>');
    let groups: Vec<Vec<&str>> = text.split(['|', '>']).map(names).collect();
    let refused = |what: String| UsageError::new(what).with_help(HELP);
    if groups.len() < 2 || groups.iter().any(Vec::is_empty) {
        return Err(refused(format!("{text:?} names no two sides")));
    }
    if one_way && groups.len() > 2 {
        return Err(refused(format!("{text:?} has more than one direction")));
    }
    let mut seen = BTreeSet::new();
    for &name in groups.iter().flatten() {
        if !nodes.contains(name) {
            let known = nodes.iter().cloned().collect::<Vec<_>>().join(", ");
            return Err(refused(format!("there is no node {name:?}, but {known}")));
        }
        if !seen.insert(name) {
            return Err(refused(format!("{name} stands on more than one side")));
        }
    }
    let mut ways = Vec::new();
    for (at, from) in groups.iter().enumerate() {
        for (to_at, to) in groups.iter().enumerate() {
            if at == to_at || (one_way && at > to_at) {
                continue;
            }
            for from in from {
                ways.extend(to.iter().map(|to| Way {
                    from: (*from).to_owned(),
                    to: (*to).to_owned(),
                }));
            }
        }
    }
    Ok(ways)
}

fn names(group: &str) -> Vec<&str> {
    let names = group.split([',', ' ']).map(str::trim);
    names.filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Result<String, String> {
        let nodes = (1..=5).map(|n| format!("n{n}")).collect();
        let ways = ways(text, &nodes).map_err(|error| error.to_string())?;
        let ways = ways.iter().map(|way| format!("{}>{}", way.from, way.to));
        Ok(ways.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn sides_are_cut_off_both_ways_and_directions_one_way() {
        assert_eq!(
            cut("n1, n2|n3").unwrap(),
            "n1>n3 n2>n3 n3>n1 n3>n2".to_owned()
        );
        assert_eq!(cut("n1 > n2 n3").unwrap(), "n1>n2 n1>n3");
        assert_eq!(
            cut("n1 | n2 | n3").unwrap(),
            "n1>n2 n1>n3 n2>n1 n2>n3 n3>n1 n3>n2"
        );
    }

    #[test]
    fn what_names_no_sides_is_refused() {
        for (text, why) in [
            ("", "no two sides"),
            ("n1,n2", "no two sides"),
            ("n1 | ", "no two sides"),
            ("n1 > n2 > n3", "more than one direction"),
            ("n1 | n9", "there is no node \"n9\", but n1, n2"),
            ("n1,n2 | n2", "n2 stands on more than one side"),
            ("n1,n1 | n2", "n1 stands on more than one side"),
        ] {
            let told = cut(text).unwrap_err();
            assert!(told.contains(why), "{text:?}: {told}");
        }
    }
}
