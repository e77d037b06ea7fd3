//! `repl`: the command line without `ringwood` before each command, with completion and history.
//!
//! There is one parser, that of the command line, and one way to run a command: as a process of its own,
//! given the line's words. So each does exactly what it does in a shell, and Ctrl-C ends it and not the
//! prompt. What is added is `use`, `exit` and a prompt. `words` splits lines, `complete` knows what may
//! come next, `lookup` asks the server for names, `history` what is kept.

mod complete;
mod editor;
mod history;
mod lookup;
mod words;

use std::io::{self, BufRead, IsTerminal};
use std::process::{self, Stdio};

use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Args, Command};

use crate::client::{Client, Target};
use crate::interrupt;
use crate::outcome::Outcome;
use crate::output::{self, Format};

use words::Unclosed;

/// Commands that make no sense at a prompt.
const LEFT_OUT: [&str; 4] = ["dev", "serve", "repl", "completions"];

/// Where the prompt's own commands are listed: behind all others.
const LAST: usize = 900;

/// Type commands one after the other, with completion and history.
///
/// The same commands as here, without `ringwood`. Without a terminal, commands are read from stdin, one on
/// each line; all are run, and the exit code is that of the first that failed.
#[derive(Args, Debug)]
pub(crate) struct Repl {}

impl Repl {
    /// Runs lines until there are no more, or one says `exit`.
    ///
    /// # Errors
    /// When lines cannot be read. What a command fails with is told, and the next is read.
    pub(crate) fn run(self, target: &Target, format: Format, command: &Command) -> Result<Outcome> {
        let session = Session::new(target.clone(), format, command)?;
        if io::stdin().is_terminal() {
            // A command that is running ends by it; we do not.
            interrupt::survive()?;
            editor::run(session)?;
            return Ok(Outcome::Done);
        }
        piped(session)
    }
}

fn piped(mut session: Session) -> Result<Outcome> {
    let mut first_failure = Outcome::Done;
    for (line, number) in io::stdin().lock().split(b'\n').zip(1..) {
        let line = line.context("cannot read stdin")?;
        let end = match std::str::from_utf8(&line) {
            Ok(line) => session.run(line, Stdin::Lines)?.end,
            Err(error) => {
                // One bad line is no reason to leave out those behind it.
                output::tell(format_args!(
                    "error: line {number} is not UTF-8 from byte {} on, and was not run; \
                     `batch` takes keys and values of any bytes, in base64",
                    error.valid_up_to() + 1
                ));
                End::Ran(Outcome::Usage)
            }
        };
        match end {
            End::Leave => break,
            End::Ran(outcome) if first_failure == Outcome::Done => first_failure = outcome,
            End::Ran(_) => {}
        }
    }
    Ok(first_failure)
}

/// Where a command's own input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stdin {
    Terminal,
    /// The commands come from there, so nothing else can.
    Lines,
}

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ran(Outcome),
    Leave,
}

/// What became of a line.
#[derive(Debug)]
struct Ran {
    end: End,
    /// What of it may be written down.
    keep: Option<String>,
}

/// Where commands go to, until one says otherwise.
struct Session {
    target: Target,
    format: Format,
    command: Command,
}

impl Session {
    fn new(target: Target, format: Format, command: &Command) -> Result<Self> {
        // An address that is none is better told now.
        target.client()?;
        Ok(Self {
            target,
            format,
            command: at_the_prompt(command),
        })
    }

    fn client(&self) -> Result<Client> {
        Ok(self.target.client()?)
    }

    /// Runs a line.
    ///
    /// # Errors
    /// When no process can be started.
    fn run(&mut self, line: &str, stdin: Stdin) -> Result<Ran> {
        let ran = |end, keep| Ok(Ran { end, keep });
        let words = match words::split(line) {
            Ok(words) => words,
            Err(Unclosed(quote)) => {
                output::tell(format_args!("error: {quote} is not closed"));
                return ran(End::Ran(Outcome::Usage), None);
            }
        };
        if words.is_empty() {
            return ran(End::Ran(Outcome::Done), None);
        }
        let parsed = match self.command.clone().try_get_matches_from(&words) {
            Ok(parsed) => parsed,
            Err(told) => {
                // Help is no error, but comes as one.
                let usage = told.use_stderr();
                output::usage(&told);
                let outcome = if usage { Outcome::Usage } else { Outcome::Done };
                let keep = (!usage).then(|| line.to_owned());
                return ran(End::Ran(outcome), keep);
            }
        };
        let keep = history::keep(line, &parsed);
        match parsed.subcommand() {
            Some(("exit", _)) => ran(End::Leave, keep),
            Some(("use", matches)) => {
                let name = matches.get_one::<String>("namespace").cloned();
                ran(End::Ran(self.turn_to(name.unwrap_or_default())), keep)
            }
            Some((name, matches)) if stdin == Stdin::Lines && wants_stdin(name, matches) => {
                output::tell(format_args!(
                    "error: {name} would read the commands that follow; give it its value, or a file"
                ));
                ran(End::Ran(Outcome::Usage), keep)
            }
            _ => ran(End::Ran(self.start(&words, stdin)?), keep),
        }
    }

    /// Makes another namespace that of the commands to come.
    fn turn_to(&mut self, namespace: String) -> Outcome {
        let asked = self.client().and_then(|client| {
            let all = lookup::namespaces(&client)?;
            Ok((all.contains(&namespace), all))
        });
        match asked {
            Ok((false, all)) => {
                output::tell(format_args!(
                    "error: there is no namespace {namespace:?}, but {}",
                    all.join(", ")
                ));
                return Outcome::NotFound;
            }
            Ok((true, _)) => {}
            Err(error) => output::tell(format_args!(
                "warning: whether it exists is not known: {error:#}"
            )),
        }
        self.target.namespace = namespace;
        Outcome::Done
    }

    fn start(&self, words: &[String], stdin: Stdin) -> Result<Outcome> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let format = match self.format {
            Format::Table => "table",
            Format::Json => "json",
        };
        let mut command = process::Command::new(program);
        // What stands on the line goes before what stands in the environment.
        command
            .args(words)
            .env("RINGWOOD_URL", &self.target.url)
            .env("RINGWOOD_NAMESPACE", &self.target.namespace)
            .env("RINGWOOD_OUTPUT", format);
        if output::is_quiet() {
            command.env("RINGWOOD_QUIET", "true");
        }
        if stdin == Stdin::Lines {
            command.stdin(Stdio::null());
        }
        let status = command.status().context("cannot start the command")?;
        Ok(status.code().map_or(Outcome::Error, Outcome::of_code))
    }
}

/// The command line's commands, as they are typed at a prompt.
fn at_the_prompt(command: &Command) -> Command {
    let commands = command
        .get_subcommands()
        .filter(|one| !LEFT_OUT.contains(&one.get_name()));
    let globals = command.get_arguments().filter(|one| one.is_global_set());
    let namespace = Arg::new("namespace").required(true).help("Its name");
    Command::new("ringwood")
        .no_binary_name(true)
        .subcommand_required(true)
        .disable_help_flag(true)
        .args(globals.cloned().map(|one| one.hide(true)))
        .subcommands(commands.cloned())
        .subcommand(
            Command::new("use")
                .display_order(LAST)
                .about("Turn to another namespace")
                .arg(namespace),
        )
        .subcommand(Command::new("exit")
.display_order(LAST).alias("quit").about("Leave; so does Ctrl-D"))
        .help_template("{subcommands}{after-help}")
        .after_help(
            "`help COMMAND` says more. Words with spaces stand in quotes. -n NAMESPACE, -o json and --url go \
             with every command.",
        )
}

/// Whether a command would read its input from stdin.
fn wants_stdin(name: &str, matches: &ArgMatches) -> bool {
    let no_file = |matches: &ArgMatches| {
        let file = matches.get_raw("file").and_then(|mut files| files.next());
        file.is_none_or(|file| file == "-")
    };
    match (name, matches.subcommand()) {
        ("put", _) => !matches.contains_id("value") && no_file(matches),
        ("batch", _) => no_file(matches),
        ("import", Some(("ndjson", matches))) => no_file(matches),
        _ => false,
    }
}
