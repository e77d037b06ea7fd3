//! `ringwood`: the server and everything that talks to it, in one program.
//!
//! How to read it: this file says which commands there are; each command is a module with its own
//! arguments. `serve` runs a node (`dev` is the same with defaults for one person at one machine),
//! `kv`, `transfer`, `status` and `bench` are clients over HTTP, `repl` is a prompt for all of them,
//! `directory` looks after the files of a node. What they share lies below: `client`, `config`,
//! `output`, `outcome`, `units`, `human`, `terminal`, `interrupt`, and `help`, which lays `--help` out.
//!
//! Values go to stdout, talk goes to stderr; `outcome` is the list of exit codes.
// The seams of `env` are for what is stored. Files here are the user's own, and clocks time them.
#![allow(clippy::disallowed_methods)]
// These panic where nobody listens; `output` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod client;
mod config;
mod directory;
mod help;
mod human;
mod interrupt;
mod kv;
mod memory;
mod namespaces;
mod outcome;
mod output;
mod repl;
mod serve;
mod status;
mod terminal;
mod transfer;
mod units;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::{ClientError, Target};
use crate::config::ConfigError;
use crate::outcome::{Outcome, UsageError, is_closed_pipe};
use crate::output::Format;

#[derive(Parser)]
#[command(
    name = "ringwood",
    version,
    about = "A key-value store: one program for the server and its clients"
)]
struct Arguments {
    #[command(flatten)]
    target: Target,

    /// How results are printed.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "RINGWOOD_OUTPUT",
        help_heading = help::GLOBAL
    )]
    output: Format,

    /// Say nothing on stderr but errors.
    #[arg(
        short,
        long,
        global = true,
        env = "RINGWOOD_QUIET",
        value_parser = clap::builder::FalseyValueParser::new(),
        help_heading = help::GLOBAL
    )]
    quiet: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one node on this machine, to try things out.
    Dev(serve::Dev),
    /// Run a node as its configuration says.
    Serve(serve::Serve),
    /// Set a key.
    Put(kv::Put),
    /// Print the value of a key.
    Get(kv::Get),
    /// Remove keys.
    Delete(kv::Delete),
    /// List a range of keys, in order.
    Scan(kv::Scan),
    /// Do many puts, gets and deletes, read as JSON.
    Batch(kv::Batch),
    /// List, make, change and drop namespaces.
    #[command(subcommand)]
    Namespace(namespaces::Namespace),
    /// Bring data in: a directory tree, or lines of JSON.
    #[command(subcommand)]
    Import(transfer::Import),
    /// Take data out: as a directory tree, or as lines of JSON.
    #[command(subcommand)]
    Export(transfer::Export),
    /// Show how a server is doing.
    Status(status::Status),
    /// Type commands at a prompt, with completion and history.
    Repl(repl::Repl),
    /// Check every checksum of a data directory.
    Verify(directory::Verify),
    /// Save what is intact in a damaged data directory, and list what is not.
    Repair(directory::Repair),
    /// Take the time of a data directory back, after a wrong clock was believed.
    ResetClock(directory::ResetClock),
    /// Copy a data directory, by links, in no time.
    Checkpoint(directory::Checkpoint),
    /// Measure a server with one of the YCSB mixes.
    Bench(bench::Bench),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let parsed = help::lay_out(Arguments::command())
        .try_get_matches()
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(told) => {
            output::usage(&told);
            // Help is no error, but comes as one.
            return if told.use_stderr() {
                Outcome::Usage
            } else {
                Outcome::Done
            }
            .into();
        }
    };
    let format = arguments.output;
    if arguments.quiet {
        output::be_quiet();
    }
    let outcome = run(arguments).unwrap_or_else(|error| {
        output::complain(format, &error);
        outcome_of(&error)
    });
    outcome.into()
}

fn run(arguments: Arguments) -> Result<Outcome> {
    let Arguments {
        target,
        output,
        quiet: _,
        command,
    } = arguments;
    match command {
        Command::Dev(dev) => dev.run(output),
        Command::Serve(serve) => serve.run(output),
        Command::Put(put) => put.run(&target.client()?, output),
        Command::Get(get) => get.run(&target.client()?, output),
        Command::Delete(delete) => delete.run(&target.client()?, output),
        Command::Scan(scan) => scan.run(&target.client()?, output),
        Command::Batch(batch) => batch.run(&target.client()?, output),
        Command::Namespace(namespace) => namespace.run(&target.client()?, output),
        Command::Import(import) => import.run(&target.client()?, output),
        Command::Export(export) => export.run(&target.client()?, output),
        Command::Status(status) => status.run(&target.client()?, output),
        Command::Repl(repl) => repl.run(&target, output, &Arguments::command()),
        Command::Verify(verify) => verify.run(&target, output),
        Command::Repair(repair) => repair.run(output),
        Command::ResetClock(reset) => reset.run(output),
        Command::Checkpoint(checkpoint) => checkpoint.run(&target, output),
        Command::Bench(bench) => bench.run(&target.client()?, output),
        Command::Config(command) => command.run(output),
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            // Into memory first: the generator panics where stdout is closed early.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "ringwood", &mut script);
            output::text(String::from_utf8_lossy(&script))?;
            Ok(Outcome::Done)
        }
    }
}

/// How a command ends that failed like this.
fn outcome_of(error: &anyhow::Error) -> Outcome {
    if is_closed_pipe(error) {
        return Outcome::ClosedPipe;
    }
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return error.outcome();
    }
    if error.is::<ConfigError>() || error.is::<UsageError>() {
        Outcome::Usage
    } else {
        Outcome::Error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
