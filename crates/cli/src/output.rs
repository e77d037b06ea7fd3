//! Printing: results to stdout, as a table or as JSON; talk to stderr.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::client::ClientError;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON object; where there are many results, one on each line.
    Json,
}

/// Prints one object as a line of JSON.
pub(crate) fn json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Prints a result: as JSON, or as the rows that `rows` makes of it.
pub(crate) fn show<T: Serialize>(
    format: Format,
    value: &T,
    rows: impl FnOnce(&T) -> Vec<Vec<String>>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => json(&mut out, value),
        Format::Table => writeln!(out, "{}", table(rows(value))),
    }
}

fn table(rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

/// Says something to the person, on stderr; programs that read JSON are not talked to.
pub(crate) fn say(format: Format, text: impl std::fmt::Display) {
    if format == Format::Table {
        eprintln!("{text}");
    }
}

/// Tells an error, on stderr: what happened, why, and what to do about it.
pub(crate) fn complain(format: Format, error: &anyhow::Error) {
    if is_broken_pipe(error) {
        return;
    }
    let problem = error.downcast_ref::<ClientError>();
    match format {
        Format::Table => {
            eprintln!("error: {error:#}");
            if let Some(help) = problem.and_then(ClientError::help) {
                eprintln!("help: {help}");
            }
        }
        Format::Json => {
            let told = serde_json::json!({
                "error": format!("{error:#}"),
                "code": problem.and_then(ClientError::code),
                "help": problem.and_then(ClientError::help),
            });
            eprintln!("{told}");
        }
    }
}

/// Whoever reads our output has had enough, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether a person reads stdout.
pub(crate) fn to_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Bytes as text on one line: what is not printable is escaped.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for one in chunk.valid().chars() {
            match one {
                '\\' => text.push_str("\\\\"),
                one if one.is_control() => text.extend(one.escape_default()),
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
    }
}
