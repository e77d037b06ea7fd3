//! Which crate may use which: imports point down only.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use cargo_metadata::{DependencyKind, MetadataCommand};

use super::finding::Finding;

/// Every crate of the house with all it may depend on. The order is the house's: top floor last.
const MAY_USE: &[(&str, &[&str])] = &[
    ("ringwood-types", &[]),
    ("ringwood-env", &[]),
    ("ringwood-lsm", &["ringwood-env"]),
    ("ringwood-wire", &["ringwood-types"]),
    ("ringwood-protocol", &["ringwood-wire", "ringwood-types"]),
    (
        "ringwood-node",
        &[
            "ringwood-protocol",
            "ringwood-wire",
            "ringwood-lsm",
            "ringwood-env",
            "ringwood-types",
        ],
    ),
    (
        "ringwood-server",
        &[
            "ringwood-node",
            "ringwood-protocol",
            "ringwood-wire",
            "ringwood-lsm",
            "ringwood-env",
            "ringwood-types",
        ],
    ),
    (
        "ringwood",
        &[
            "ringwood-server",
            "ringwood-node",
            "ringwood-lsm",
            "ringwood-env",
        ],
    ),
    (
        "ringwood-sim",
        &[
            "ringwood-node",
            "ringwood-protocol",
            "ringwood-lsm",
            "ringwood-env",
            "ringwood-types",
        ],
    ),
    ("xtask", &[]),
];

/// Libraries that belong to one crate of ours, and why.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    (
        "anyhow",
        &["ringwood", "xtask"],
        "libraries have typed errors",
    ),
    (
        "tokio",
        &["ringwood-server", "ringwood"],
        "only the server and the binary are asynchronous",
    ),
    (
        "hyper",
        &["ringwood-server", "ringwood"],
        "only the server and the binary have sockets",
    ),
    ("rand", &[], "randomness comes in through env::Random"),
];

/// The direct dependencies of each crate of ours, without those for tests.
pub(crate) type Dependencies = BTreeMap<String, Vec<String>>;

pub(crate) fn read(root: &Path) -> Result<Dependencies> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()?;
    let packages = metadata.workspace_packages().into_iter().map(|package| {
        let used = package.dependencies.iter();
        let used = used.filter(|one| one.kind == DependencyKind::Normal);
        (
            package.name.to_string(),
            used.map(|one| one.name.clone()).collect(),
        )
    });
    Ok(packages.collect())
}

pub(crate) fn check(dependencies: &Dependencies) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, used) in dependencies {
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| known == name) else {
            findings.push(Finding::error(
                name,
                "this crate has no place in the house (tidy/crates.rs)",
            ));
            continue;
        };
        for other in used
            .iter()
            .filter(|other| dependencies.contains_key(*other))
        {
            if !allowed.contains(&other.as_str()) {
                findings.push(Finding::error(name, format!("must not depend on {other}")));
            }
        }
        for (library, users, why) in ONLY_IN {
            if used.iter().any(|one| one == library) && !users.contains(&name.as_str()) {
                findings.push(Finding::error(
                    name,
                    format!("must not depend on {library}: {why}"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(dependencies: &[(&str, &[&str])]) -> Vec<String> {
        let own = |(name, used): &(&str, &[&str])| {
            (
                (*name).to_owned(),
                used.iter().map(|one| (*one).to_owned()).collect(),
            )
        };
        let found = check(&dependencies.iter().map(own).collect());
        found
            .into_iter()
            .map(|finding| format!("{}: {}", finding.place, finding.what))
            .collect()
    }

    #[test]
    fn imports_that_point_up_or_aside_are_found() {
        let house: &[(&str, &[&str])] = &[
            ("ringwood-types", &["xxhash-rust"]),
            ("ringwood-env", &["rustix"]),
            ("ringwood-lsm", &["ringwood-env"]),
        ];
        assert_eq!(findings(house), [""; 0]);
        let upward: &[(&str, &[&str])] = &[
            ("ringwood-env", &["ringwood-lsm"]),
            ("ringwood-lsm", &["ringwood-types"]),
            ("ringwood-types", &[]),
        ];
        assert_eq!(
            findings(upward),
            [
                "ringwood-env: must not depend on ringwood-lsm",
                "ringwood-lsm: must not depend on ringwood-types"
            ]
        );
    }

    #[test]
    fn libraries_stay_where_they_belong_and_crates_are_known() {
        assert_eq!(
            findings(&[("ringwood-lsm", &["anyhow"]), ("garage", &[])]),
            [
                "garage: this crate has no place in the house (tidy/crates.rs)",
                "ringwood-lsm: must not depend on anyhow: libraries have typed errors"
            ]
        );
    }

    #[test]
    fn the_house_lists_floors_from_below() {
        for (at, (name, allowed)) in MAY_USE.iter().enumerate() {
            for below in *allowed {
                let known = MAY_USE[..at].iter().any(|(floor, _)| floor == below);
                assert!(known, "{name} may use {below}, which is not below it");
            }
        }
    }
}
