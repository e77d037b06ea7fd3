//! Printing: results to stdout, as a table or as JSON; talk to stderr.
//!
//! Nothing here fails because nobody listens to talk, and nothing that was stored or sent by a server
//! reaches a terminal as a command to it: control characters are shown, not sent.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use clap::ValueEnum;
use clap::error::ContextValue;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::ser::Formatter;

use crate::client::ClientError;
use crate::outcome::{UsageError, is_closed_pipe};

/// Whether `--quiet` was given: one for the whole program, as stderr is.
static QUIET: AtomicBool = AtomicBool::new(false);

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON object; where there are many results, one on each line.
    Json,
}

/// From here on there is no talk but errors.
pub(crate) fn be_quiet() {
    QUIET.store(true, Relaxed);
}

/// Whether that was said.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Relaxed)
}

/// Prints one object as a line of JSON.
pub(crate) fn json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Plain);
    value.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// JSON in which no character is a command to a terminal: what JSON itself does not escape, is.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_command) {
            let (plain, behind) = rest.split_at(at);
            let one = behind.chars().next().expect("it was found there");
            writer.write_all(plain.as_bytes())?;
            write!(writer, "\\u{:04x}", u32::from(one))?;
            rest = &behind[one.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Prints a result: as JSON, or as the rows that `rows` makes of it.
pub(crate) fn show<T: Serialize>(
    format: Format,
    value: &T,
    rows: impl FnOnce(&T) -> Vec<Vec<String>>,
) -> io::Result<()> {
    match format {
        Format::Json => json(&mut io::stdout().lock(), value),
        Format::Table => text(format_args!("{}\n", table(rows(value)))),
    }
}

/// Prints a result that is text.
pub(crate) fn text(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")?;
    out.flush()
}

fn table(rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    table.trim_fmt()
}

/// Writes a line to stderr, if somebody listens.
pub(crate) fn tell(text: impl Display) {
    let line = plain(&text.to_string()) + "\n";
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Says something to the person, on stderr; programs that read JSON are not talked to.
pub(crate) fn say(format: Format, text: impl Display) {
    if format == Format::Table && !is_quiet() {
        tell(text);
    }
}

/// Says what was done where that shows nowhere else: to a person at a terminal. What scripts collect of
/// stderr stays empty unless something is wrong.
pub(crate) fn note(format: Format, text: impl Display) {
    if io::stderr().is_terminal() {
        say(format, text);
    }
}

/// Tells what the parser of the command line has to say: help, or a mistake. It repeats the words it was
/// given as they are; where one would command the terminal, all of it goes without such.
pub(crate) fn usage(told: &clap::Error) {
    let commands = |text: &String| text.chars().any(is_command);
    let given = told.context().any(|(_, value)| match value {
        ContextValue::String(text) => commands(text),
        ContextValue::Strings(texts) => texts.iter().any(commands),
        _ => false,
    });
    if given {
        tell(told.render().to_string().trim_end());
    } else {
        // Nobody is left to be told where it cannot be written.
        let _ = told.print();
    }
}

/// What happened, and why: each cause once, as some tell theirs themselves.
pub(crate) fn reasons(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Tells an error, on stderr: what happened, why, and what to do about it.
pub(crate) fn complain(format: Format, error: &anyhow::Error) {
    if is_closed_pipe(error) {
        return;
    }
    let problem = error.downcast_ref::<ClientError>();
    let usage = error.downcast_ref::<UsageError>();
    let help = problem
        .and_then(ClientError::help)
        .or(usage.and_then(UsageError::help));
    match format {
        Format::Table => {
            tell(format_args!("error: {}", reasons(error)));
            if let Some(help) = help {
                tell(format_args!("help: {help}"));
            }
        }
        Format::Json => {
            let told = serde_json::json!({
                "error": reasons(error),
                "code": problem.and_then(ClientError::code),
                "help": help,
            });
            let _ = json(&mut io::stderr().lock(), &told);
        }
    }
}

/// Whether a person reads stdout.
pub(crate) fn to_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether a character does something instead of standing for something: control characters, and those
/// that turn or hide what stands beside them.
pub(crate) fn is_command(one: char) -> bool {
    one.is_control()
        || matches!(one, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text of one or more lines as a terminal may have it: commands to it are shown.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '\n' | '\t' => shown.push(one),
            one if is_command(one) => shown.extend(one.escape_default()),
            one => shown.push(one),
        }
    }
    shown
}

/// As [`plain`], of any bytes.
pub(crate) fn plain_bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&plain(chunk.valid()));
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    shown
}

/// Bytes as text on one line: what is not printable is escaped.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for one in chunk.valid().chars() {
            match one {
                '\\' => text.push_str("\\\\"),
                one if is_command(one) => text.extend(one.escape_default()),
                one => text.push(one),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_stand_on_one_line() {
        assert_eq!(printable("a/ü b".as_bytes()), "a/ü b");
        assert_eq!(printable(b"a\n\t\\\xff\0"), "a\\n\\t\\\\\\xff\\u{0}");
        assert_eq!(printable("\u{202e}x".as_bytes()), "\\u{202e}x");
    }

    #[test]
    fn commands_to_a_terminal_are_shown() {
        let evil = "a\x1b]0;title\x07\u{9b}31m\u{202e}\n\tb\\";
        assert_eq!(
            plain(evil),
            "a\\u{1b}]0;title\\u{7}\\u{9b}31m\\u{202e}\n\tb\\"
        );
        assert_eq!(plain_bytes(b"a\xff\x1b\n"), "a\\xff\\u{1b}\n");
    }

    #[test]
    fn json_is_json_without_commands() {
        let value = "a\x1b\x7f\u{9b}\u{202e}\"\\ü\n";
        let mut line = Vec::new();
        json(&mut line, &value).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, "\"a\\u001b\\u007f\\u009b\\u202e\\\"\\\\ü\\n\"\n");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), value);
    }
}
