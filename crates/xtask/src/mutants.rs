//! `cargo xtask mutants`: changes the code of one module after another, and shows which changes no test
//! notices. Needs `cargo install cargo-mutants`; changes that make no difference are argued away in
//! `.cargo/mutants.toml`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// `cargo xtask mutants`.
#[derive(clap::Args)]
pub(crate) struct Mutants {
    /// Modules, by name; none for all.
    modules: Vec<String>,
    /// Seconds that the tests of one change may take.
    #[arg(long, default_value_t = 120)]
    timeout: u32,
    /// Only this part of the changes, as `1/4`.
    #[arg(long)]
    shard: Option<String>,
}

/// A module, and the tests that are there to notice: as few as do, because they run for every change.
struct Module {
    name: &'static str,
    package: &'static str,
    files: &'static [&'static str],
    tests: &'static [&'static str],
}

/// What of the engine's tests attacks everything that writes and recovers.
const ENGINE: &[&str] = &[
    "--lib", "--test", "crash", "--test", "model", "--test", "recovery", "--test", "store",
];
const PURE: &[&str] = &["--lib"];
const LIB_AND_CRASH: &[&str] = &["--lib", "--test", "crash", "--test", "model"];

/// Cheap ones first.
const MODULES: [Module; 12] = [
    node("mint", &["crates/node/src/store/mint.rs"]),
    node("cursor", &["crates/node/src/cursor.rs"]),
    node("quota", &["crates/node/src/namespace/quota.rs"]),
    engine("retain", &["crates/lsm/src/compaction/retain.rs"], PURE),
    engine("plan", &["crates/lsm/src/compaction/plan.rs"], PURE),
    engine("policy", &["crates/lsm/src/compaction/policy.rs"], PURE),
    engine("expiry", &["crates/lsm/src/expiry.rs"], LIB_AND_CRASH),
    engine("read", &["crates/lsm/src/read.rs"], LIB_AND_CRASH),
    engine("commit", &["crates/lsm/src/commit.rs"], ENGINE),
    engine("recovery", &["crates/lsm/src/recovery.rs"], ENGINE),
    engine("wal", &["crates/lsm/src/wal/*.rs"], ENGINE),
    engine("manifest", &["crates/lsm/src/manifest/*.rs"], ENGINE),
];

const fn node(name: &'static str, files: &'static [&'static str]) -> Module {
    Module {
        name,
        package: "ringwood-node",
        files,
        tests: &["--lib", "--tests"],
    }
}

const fn engine(
    name: &'static str,
    files: &'static [&'static str],
    tests: &'static [&'static str],
) -> Module {
    Module {
        name,
        package: "ringwood-lsm",
        files,
        tests,
    }
}

pub(crate) fn run(root: &Path, arguments: &Mutants) -> Result<()> {
    let is_known = |name: &&String| MODULES.iter().any(|module| module.name == **name);
    if let Some(unknown) = arguments.modules.iter().find(|name| !is_known(name)) {
        let names: Vec<_> = MODULES.iter().map(|module| module.name).collect();
        bail!("no module {unknown}; there are {}", names.join(", "));
    }
    let is_wanted = |module: &&Module| {
        arguments.modules.is_empty() || arguments.modules.iter().any(|name| name == module.name)
    };
    let mut survived = Vec::new();
    for module in MODULES.iter().filter(is_wanted) {
        if !mutate(root, module, arguments)? {
            survived.push(module.name);
        }
    }
    ensure!(
        survived.is_empty(),
        "changes survived in {}; they are listed in target/mutants",
        survived.join(", ")
    );
    Ok(())
}

/// Whether every change was noticed.
fn mutate(root: &Path, module: &Module, arguments: &Mutants) -> Result<bool> {
    println!("=== {}", module.name);
    let output = root.join("target/mutants").join(module.name);
    std::fs::create_dir_all(&output)?;
    let mut command = Command::new("cargo");
    command
        .args(["mutants", "--package", module.package, "--jobs", "1"])
        .args([
            "--baseline",
            "skip",
            "--timeout",
            &arguments.timeout.to_string(),
        ])
        .arg("--output")
        .arg(&output);
    for file in module.files {
        command.args(["--file", file]);
    }
    if let Some(shard) = &arguments.shard {
        command.args(["--shard", shard]);
    }
    let status = command
        .arg("--")
        .args(module.tests)
        // The tree is copied, and what it depends on need not be built again.
        .env("CARGO_TARGET_DIR", root.join("target"))
        // The short runs: what a change breaks shows soon, and there are thousands of changes.
        .env("RINGWOOD_CRASH_SCHEDULES", "300")
        .env("RINGWOOD_CRASH_EXHAUSTIVE", "1")
        .env("RINGWOOD_MODEL_STEPS", "20000")
        .current_dir(root)
        .status()
        .context("cargo does not start")?;
    match status.code() {
        Some(0) => Ok(true),
        // Survivors, or changes that made tests run for ever.
        Some(2 | 3) => Ok(false),
        _ => bail!("cargo mutants failed: is it installed? `cargo install cargo-mutants`"),
    }
}
