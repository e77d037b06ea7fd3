//! What may come next on a line, as the parser of the command line knows it.

use clap::{Arg, Command, ValueHint};

/// What may stand where the cursor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// One of these.
    OneOf(Vec<String>),
    Key,
    Namespace,
    File,
    /// Something that nobody can guess.
    Anything,
}

/// What may come after the words `before`, where `partial` has been typed.
pub(super) fn wanted(root: &Command, before: &[String], partial: &str) -> Wanted {
    let mut place = Place::new(root);
    for word in before {
        place.pass(word);
    }
    place.wanted(partial)
}

/// The namespace that a line names, if it does.
pub(super) fn namespace(before: &[String]) -> Option<&str> {
    let pairs = before.windows(2);
    let spaced = pairs.filter(|pair| pair[0] == "-n" || pair[0] == "--namespace");
    let joined = before
        .iter()
        .filter_map(|word| word.strip_prefix("--namespace="));
    spaced.map(|pair| pair[1].as_str()).chain(joined).last()
}

/// Where in the grammar a line has come to.
struct Place<'a> {
    root: &'a Command,
    command: &'a Command,
    /// The names that led to the command.
    path: Vec<&'a str>,
    /// Positional arguments that are there already.
    positionals: usize,
    /// The option whose value comes next.
    option: Option<&'a Arg>,
    /// Whether `--` ended the options.
    only_positionals: bool,
}

impl<'a> Place<'a> {
    fn new(root: &'a Command) -> Self {
        Self {
            root,
            command: root,
            path: Vec::new(),
            positionals: 0,
            option: None,
            only_positionals: false,
        }
    }

    fn pass(&mut self, word: &str) {
        if self.option.take().is_some() {
            return;
        }
        if !self.only_positionals && word == "--" {
            self.only_positionals = true;
        } else if !self.only_positionals && word.starts_with('-') && word.len() > 1 {
            let found = self.option_called(word);
            self.option =
                found.filter(|arg| arg.get_action().takes_values() && !word.contains('='));
        } else if self.path.is_empty() && word == "help" {
            // What follows are commands again.
        } else if let Some(command) = self.command.find_subcommand(word) {
            self.command = command;
            self.path.push(command.get_name());
        } else {
            self.positionals += 1;
        }
    }

    fn options(&self) -> impl Iterator<Item = &'a Arg> {
        let own = self.command.get_arguments();
        let globals = self.root.get_arguments().filter(|arg| arg.is_global_set());
        let globals = globals.filter(|_| !std::ptr::eq(self.root, self.command));
        own.chain(globals).filter(|arg| !arg.is_positional())
    }

    fn option_called(&self, word: &str) -> Option<&'a Arg> {
        let name = word.split('=').next().unwrap_or(word);
        self.options().find(|arg| match name.strip_prefix("--") {
            Some(long) => arg.get_long() == Some(long),
            // Of several letters the last one's value comes next.
            None => arg.get_short() == name.chars().last(),
        })
    }

    fn wanted(&self, partial: &str) -> Wanted {
        let beginning = |names: Vec<String>| {
            let fits = names.into_iter().filter(|name| name.starts_with(partial));
            Wanted::OneOf(fits.collect())
        };
        if let Some(option) = self.option {
            return self.value_of(option, partial);
        }
        if !self.only_positionals && partial.starts_with('-') {
            let longs = self.options().filter_map(Arg::get_long);
            return beginning(longs.map(|long| format!("--{long}")).collect());
        }
        if self.command.has_subcommands() {
            let commands = self.command.get_subcommands().map(Command::get_name);
            let mut names: Vec<_> = commands.map(str::to_owned).collect();
            if self.path.is_empty() {
                names.push("help".to_owned());
            }
            return beginning(names);
        }
        let positionals: Vec<_> = self.command.get_positionals().collect();
        let several = |arg: &&&Arg| matches!(arg.get_action(), clap::ArgAction::Append);
        let next = positionals.get(self.positionals);
        match next.or_else(|| positionals.last().filter(several)) {
            Some(arg) => self.value_of(arg, partial),
            None => Wanted::Anything,
        }
    }

    fn value_of(&self, arg: &Arg, partial: &str) -> Wanted {
        let values: Vec<_> = arg
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| value.get_name().to_owned())
            .filter(|value| value.starts_with(partial))
            .collect();
        if !values.is_empty() {
            return Wanted::OneOf(values);
        }
        let of_data = matches!(
            self.path.first(),
            Some(&("get" | "put" | "delete" | "scan" | "export"))
        );
        match (self.path.as_slice(), arg.get_id().as_str()) {
            (_, "namespace") | (["namespace", "set" | "drop"], "name") => Wanted::Namespace,
            (_, "key" | "keys" | "prefix" | "start" | "end") if of_data => Wanted::Key,
            _ if is_path(arg) => Wanted::File,
            _ => Wanted::Anything,
        }
    }
}

fn is_path(arg: &Arg) -> bool {
    matches!(
        arg.get_value_hint(),
        ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::value_parser;

    use super::*;

    fn command() -> Command {
        let global =
            |name: &'static str, short| Arg::new(name).long(name).short(short).global(true);
        let key = || Arg::new("key");
        let file = Arg::new("file")
            .long("file")
            .value_parser(value_parser!(PathBuf));
        let reverse = Arg::new("reverse")
            .long("reverse")
            .action(clap::ArgAction::SetTrue);
        let keys = Arg::new("keys")
            .action(clap::ArgAction::Append)
            .num_args(1..);
        let named = |name: &'static str| Command::new(name).arg(Arg::new("name"));
        Command::new("")
            .arg(global("namespace", 'n'))
            .arg(global("output", 'o').value_parser(["table", "json"]))
            .subcommand(Command::new("get").arg(key()).arg(file))
            .subcommand(Command::new("put").arg(key()).arg(Arg::new("value")))
            .subcommand(Command::new("delete").arg(keys))
            .subcommand(Command::new("scan").arg(Arg::new("prefix")).arg(reverse))
            .subcommand(
                Command::new("namespace")
                    .subcommand(named("create"))
                    .subcommand(named("drop")),
            )
    }

    #[test]
    fn what_comes_next_is_what_the_parser_would_take() {
        let one_of =
            |names: &[&str]| Wanted::OneOf(names.iter().map(|name| (*name).to_owned()).collect());
        for (line, expected) in [
            (
                "|",
                one_of(&["get", "put", "delete", "scan", "namespace", "help"]),
            ),
            ("|g", one_of(&["get"])),
            ("help |p", one_of(&["put"])),
            ("get |", Wanted::Key),
            ("get a |", Wanted::Anything),
            ("get |--f", one_of(&["--file"])),
            ("get |-", one_of(&["--file", "--namespace", "--output"])),
            ("get --file |", Wanted::File),
            ("get --file=x |", Wanted::Key),
            ("get -- |-", Wanted::Key),
            ("put a |", Wanted::Anything),
            ("delete a b |", Wanted::Key),
            ("scan --reverse |", Wanted::Key),
            ("scan -n |", Wanted::Namespace),
            ("scan -n pets |", Wanted::Key),
            ("-o |j", one_of(&["json"])),
            ("namespace |", one_of(&["create", "drop"])),
            ("namespace drop |", Wanted::Namespace),
            ("namespace create |", Wanted::Anything),
            (
                "nonsense |",
                one_of(&["get", "put", "delete", "scan", "namespace", "help"]),
            ),
        ] {
            let (before, partial) = line.split_once('|').unwrap();
            let before: Vec<_> = before.split_whitespace().map(str::to_owned).collect();
            assert_eq!(wanted(&command(), &before, partial), expected, "{line}");
        }
    }

    #[test]
    fn a_line_may_name_its_namespace() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(namespace(&words("get -n pets")), Some("pets"));
        assert_eq!(namespace(&words("--namespace=a get")), Some("a"));
        assert_eq!(namespace(&words("get a")), None);
    }
}
