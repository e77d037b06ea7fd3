//! The prompt on a terminal: lines are edited, completed, and remembered.

use anyhow::{Context as _, Result};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{DefaultHistory, History as _};
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use crate::output::{self, Format};
use crate::terminal::{self, Line, Style, wrap};

use super::complete::{self, Wanted};
use super::history::{self, History};
use super::{End, Session, Stdin, lookup, words};

/// Columns of a name in a list of them.
const SHOWN: usize = 60;

/// Reads and runs lines until there are no more, or one says `exit`.
///
/// # Errors
/// When the terminal cannot be read.
pub(super) fn run(session: Session) -> Result<()> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .completion_prompt_limit(200)
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .build();
    let mut editor =
        Editor::<Prompt, DefaultHistory>::with_config(config).context("cannot use the terminal")?;
    let mut kept = open_history(&mut editor)?;
    greet(&session, kept.as_ref().map(|(_, place)| place.as_str()));
    editor.set_helper(Some(Prompt {
        session,
        files: FilenameCompleter::new(),
    }));
    loop {
        let prompt = editor
            .helper()
            .map_or(String::new(), |helper| helper.text());
        let entered = match editor.readline(&prompt) {
            Ok(entered) => entered,
            // Ctrl-C: the line is gone, the prompt comes again.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error).context("cannot read the terminal"),
        };
        for line in words::commands(&entered) {
            let Some(helper) = editor.helper_mut() else {
                return Ok(());
            };
            let ran = helper.session.run(&line, Stdin::Terminal)?;
            editor.add_history_entry(line.as_str())?;
            if let (Some((history, place)), Some(keep)) = (&mut kept, &ran.keep)
                && let Err(error) = history.add(keep)
            {
                output::tell(format_args!(
                    "warning: cannot write the history to {place}: {error}"
                ));
                kept = None;
            }
            if ran.end == End::Leave {
                return Ok(());
            }
        }
    }
}

/// Without a history there is still a prompt.
fn open_history(editor: &mut Editor<Prompt, DefaultHistory>) -> Result<Option<(History, String)>> {
    let Some(path) = history::path() else {
        return Ok(None);
    };
    let place = path.display().to_string();
    match History::open(&path) {
        Ok((history, lines)) => {
            for line in lines {
                editor.history_mut().add_owned(line)?;
            }
            Ok(Some((history, place)))
        }
        Err(error) => {
            output::tell(format_args!(
                "warning: no history: cannot use {place}: {error}"
            ));
            Ok(None)
        }
    }
}

fn greet(session: &Session, history: Option<&str>) {
    let mut lines = vec![
        format!(
            "ringwood {} at {}",
            env!("CARGO_PKG_VERSION"),
            session.target.url
        ),
        "`help` lists the commands, Tab completes, Ctrl-D leaves.".to_owned(),
    ];
    if let Some(place) = history {
        lines.push(format!("History is in {place}, without values."));
    }
    for line in lines.iter().flat_map(|line| wrap(line, terminal::width())) {
        output::say(Format::Table, line);
    }
}

/// What the editor asks while a line is typed.
struct Prompt {
    session: Session,
    files: FilenameCompleter,
}

impl Prompt {
    fn text(&self) -> String {
        match self.session.target.namespace.as_str() {
            "default" => "ringwood> ".to_owned(),
            name => format!("ringwood {name}> "),
        }
    }

    /// Names that the server knows; none where it does not answer in time.
    fn names(&self, wanted: &Wanted, before: &[String], partial: &str) -> Vec<String> {
        let mut target = self.session.target.clone();
        if let Some(namespace) = complete::namespace(before) {
            namespace.clone_into(&mut target.namespace);
        }
        let Ok(client) = target.client().map(lookup::hurried) else {
            return Vec::new();
        };
        match wanted {
            Wanted::Namespace => {
                let mut names = lookup::namespaces(&client).unwrap_or_default();
                names.retain(|name| name.starts_with(partial));
                names
            }
            _ => lookup::keys(&client, partial),
        }
    }
}

impl Completer for Prompt {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = words::typed(&line[..pos]);
        let names = match complete::wanted(&self.session.command, &typed.before, &typed.partial) {
            Wanted::File => return self.files.complete(line, pos, context),
            Wanted::Anything => Vec::new(),
            Wanted::OneOf(names) => names,
            wanted => self.names(&wanted, &typed.before, &typed.partial),
        };
        // Where options may stand, a word that begins as one does would be taken for one.
        let takes_dashes =
            typed.partial.starts_with('-') || typed.before.iter().any(|word| word == "--");
        let names = names
            .into_iter()
            .filter(|name| takes_dashes || !name.starts_with('-'));
        Ok((typed.start, names.map(|name| offered(&name)).collect()))
    }
}

/// A name as it is shown and typed.
fn offered(name: &str) -> Pair {
    Pair {
        // What ends in a slash goes on.
        replacement: words::escape(name) + if name.ends_with('/') { "" } else { " " },
        display: Line::new()
            .with(Style::Plain, output::plain(name))
            .fitted(SHOWN)
            .render(false),
    }
}

impl Hinter for Prompt {
    type Hint = String;
}

impl Highlighter for Prompt {}

impl Validator for Prompt {}

impl Helper for Prompt {}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn long_names_are_shown_shortened_and_typed_whole() {
        for name in ["x".repeat(1000), "漢".repeat(300)] {
            let pair = offered(&name);
            assert!(pair.display.width() <= SHOWN && pair.display.ends_with('…'));
            assert_eq!(pair.replacement, format!("{name} "));
        }
        let pair = offered("a b\u{9b}/");
        assert_eq!(pair.replacement, "a\\ b\u{9b}/");
        assert!(pair.display.starts_with("a b") && !pair.display.contains('\u{9b}'));
    }
}
