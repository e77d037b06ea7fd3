//! How `--help` is laid out: the commands in groups, in the order in which people come to need them, and the
//! options of all commands apart.

use clap::Command;

/// Above the options that every command has.
pub(crate) const GLOBAL: &str = "Options of all commands";

/// The commands, as a person meets them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Run a server", &["dev", "serve"]),
    ("Keys", &["put", "get", "delete", "scan", "batch"]),
    ("Look around", &["status", "repl", "bench"]),
    ("Namespaces and data", &["namespace", "import", "export"]),
    (
        "Upkeep of a data directory",
        &["verify", "repair", "reset-clock", "checkpoint"],
    ),
    ("Setting up", &["config", "completions"]),
];
/// For commands that no group names.
const OTHERS: &str = "More";

const EXAMPLES: &str = "\
Examples:
  ringwood dev                                  a server to try things out
  ringwood put greeting hello
  ringwood get greeting
  ringwood scan user/ --limit 10
  ringwood import tree ./site --prefix site/
  ringwood status --url localhost:7401

Exit codes: 0 done, 1 error, 2 usage, 3 not found, 4 precondition, 5 unavailable, 6 done in part.
`ringwood COMMAND --help` says more about each.";

/// Lays the help of the whole program out.
pub(crate) fn lay_out(command: Command) -> Command {
    let mut groups: Vec<(&str, Vec<&Command>)> = GROUPS
        .iter()
        .map(|(title, names)| {
            let find = |name: &&str| command.find_subcommand(name);
            (*title, names.iter().filter_map(find).collect())
        })
        .collect();
    let is_grouped = |one: &&Command| GROUPS.iter().any(|group| group.1.contains(&one.get_name()));
    let others = command.get_subcommands().filter(|one| !is_grouped(one));
    groups.push((OTHERS, others.collect()));
    groups.retain(|(_, commands)| !commands.is_empty());
    let mut text = String::new();
    for (title, commands) in groups {
        text += &format!("{title}:\n");
        for one in commands {
            let about = one.get_about().map(ToString::to_string);
            text += &format!("  {:<12} {}\n", one.get_name(), about.unwrap_or_default());
        }
        text += "\n";
    }
    let template = format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{text}{GLOBAL}:\n{{options}}\n\n{EXAMPLES}\n"
    );
    command.help_template(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_the_help_once() {
        let names = ["put", "get", "dev", "frobnicate"];
        let command = names
            .iter()
            .fold(Command::new("ringwood"), |command, name| {
                command.subcommand(Command::new(*name).about(format!("About {name}.")))
            });
        let help = lay_out(command).render_help().to_string();
        for name in names {
            let about = format!("About {name}.");
            assert_eq!(help.matches(&about).count(), 1, "{help}");
        }
        let place = |what: &str| help.find(what).unwrap();
        assert!(place("Run a server:") < place("Keys:") && place("Keys:") < place("More:"));
        assert!(
            !help.contains("Upkeep"),
            "no group without commands: {help}"
        );
    }
}
