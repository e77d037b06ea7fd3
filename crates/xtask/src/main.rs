//! What a developer or the build machine runs: `cargo xtask tidy`, `cargo xtask test`,
//! `cargo xtask kill-test` and other trials of the binary that ships.
//!
//! This crate stands outside of the house: it reads the tree and drives the binary, and nothing
//! depends on it. It uses `std::fs` and the clock directly; the seams are for what ships.
#![allow(clippy::disallowed_methods)]

mod attack_test;
mod binary;
mod browser_test;
mod consensus;
mod count;
mod engine;
mod full_disk_test;
mod http;
mod idle_test;
mod kill_test;
mod load;
mod mutants;
mod process;
mod scale;
mod screens;
mod server;
mod sim;
mod start_test;
mod suite;
mod terminal;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the Ringwood tree")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check what the compiler does not: direction of dependencies, documents, invariants.
    Tidy,
    /// Run every test of the workspace, by nextest where it is installed, and the doctests.
    Test,
    /// Run the engine's crash oracle, its model test and its planted defects at length.
    Crash(engine::Crash),
    /// Change every byte of every kind of file, one at a time, and read the store.
    Flip(engine::Flip),
    /// Cut the power under many threads, and look what is left.
    Power(engine::Power),
    /// Work on one store from many threads, and compare it with models.
    Threads(engine::Threads),
    /// Change the code that must be right, one change at a time, and see which ones no test notices.
    Mutants(mutants::Mutants),
    /// Run consensus in simulated worlds, and every choice of small ones, with its planted defects.
    Consensus(consensus::Arguments),
    /// Simulate parts of a cluster among as many nodes as somebody likes.
    Scale(scale::Arguments),
    /// Live through simulated worlds: whole clusters from seeds.
    Sim(sim::Arguments),
    /// Import a real directory tree while the server is killed again and again.
    KillTest(kill_test::Arguments),
    /// Ask for much and take nothing, announce much and send nothing: memory, and what others notice.
    AttackTest(attack_test::Arguments),
    /// Let a real browser show a page whose name suddenly means this machine.
    BrowserTest(browser_test::Arguments),
    /// Fill small file systems until nothing more is taken, empty them by deletes, again and again.
    FullDiskTest(full_disk_test::Arguments),
    /// Kill a server with gigabytes in its store in the middle of writing, and time its starts.
    StartTest(start_test::Arguments),
    /// Count the instructions, allocations and clock reads of a request, and compare with what was kept.
    Count(count::Arguments),
    /// Measure what a server takes that nobody asks anything, with thousands of open connections too.
    IdleTest(idle_test::Arguments),
    /// Show commands on terminals of 80 and 120 columns, and write what was seen to docs/screens.
    Screens(screens::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    match chore {
        Chore::Tidy => tidy::run(&root()),
        Chore::Test => suite::run(&root()),
        Chore::Crash(arguments) => engine::crash(&root(), &arguments),
        Chore::Flip(arguments) => engine::flip(&root(), &arguments),
        Chore::Power(arguments) => engine::power(&root(), &arguments),
        Chore::Threads(arguments) => engine::threads(&root(), &arguments),
        Chore::Mutants(arguments) => mutants::run(&root(), &arguments),
        Chore::Consensus(arguments) => consensus::run(&root(), &arguments),
        Chore::Sim(arguments) => sim::run(&root(), &arguments),
        Chore::Scale(arguments) => scale::run(&root(), &arguments),
        Chore::KillTest(arguments) => kill_test::run(&root(), &arguments),
        Chore::AttackTest(arguments) => attack_test::run(&root(), &arguments),
        Chore::BrowserTest(arguments) => browser_test::run(&root(), &arguments),
        Chore::FullDiskTest(arguments) => full_disk_test::run(&root(), &arguments),
        Chore::StartTest(arguments) => start_test::run(&root(), &arguments),
        Chore::Count(arguments) => count::run(&root(), &arguments),
        Chore::IdleTest(arguments) => idle_test::run(&root(), &arguments),
        Chore::Screens(arguments) => screens::run(&root(), &arguments),
    }
}

/// The root of the workspace this program was built in.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
