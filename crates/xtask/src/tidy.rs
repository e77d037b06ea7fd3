//! Checks of the tree that neither the compiler nor clippy makes.
//!
//! Each check is a function from what it looks at to findings, so that its tests can show it a
//! fixture that must fail. A finding fails the run; a warning is only printed.

mod crates;
mod documents;
mod finding;
mod generated;
mod invariants;
mod modules;
mod source;
mod text;

use std::path::Path;

use anyhow::{Result, ensure};

use source::Tree;

/// Runs every check over the workspace at `root`.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = Tree::tracked(root)?;
    let mut findings = crates::check(&crates::read(root)?);
    for (name, sources) in tree.crates() {
        findings.extend(modules::check(name, &sources));
    }
    findings.extend(documents::check(&tree));
    findings.extend(generated::check(&tree));
    findings.extend(invariants::check(&tree));
    findings.extend(text::check(&tree));
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    let errors = findings.iter().filter(|finding| !finding.warning).count();
    ensure!(errors == 0, "tidy found {errors} errors");
    println!(
        "tidy: {} files, no errors, {} warnings",
        tree.files.len(),
        findings.len()
    );
    Ok(())
}
