//! What people see: commands on terminals of 80 and 120 columns, as text in `docs/screens`.
//!
//! To be looked at after every change of them. What must hold whatever they show is checked: nothing
//! is left behind on the terminal, and no line is broken by its edge.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::server::Server;
use crate::terminal::Terminal;
use crate::{binary, load};

/// Columns of the terminals.
const COLUMNS: [u16; 2] = [80, 120];
/// Files that are imported.
const FILES: usize = 2000;
/// Bytes that the busy server holds before anybody looks.
const BYTES: u64 = 20_000_000;

/// What to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The profile to build the binary with.
    #[arg(long, default_value = "dev")]
    profile: String,
}

/// Runs the commands, and writes what they showed.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let binary = binary::build(root, &arguments.profile)?;
    let screens = root.join("docs/screens");
    fs::create_dir_all(&screens)?;
    for columns in COLUMNS {
        let directory = tempfile::tempdir()?;
        let server = Server::start(&binary, directory.path())?;
        let stage = Stage {
            binary: &binary,
            directory: directory.path(),
            server: &server,
            columns,
        };
        for (name, shown) in [
            ("status-empty", stage.status()?),
            ("import", stage.import()?),
            ("repl", stage.repl()?),
            ("bench", stage.bench()?),
            ("status", stage.busy_status()?),
        ] {
            let path = screens.join(format!("{name}-{columns}.txt"));
            fs::write(&path, stage.without_paths(&shown) + "\n")?;
            println!("{}", path.display());
        }
    }
    Ok(())
}

/// Where commands are run.
struct Stage<'a> {
    binary: &'a Path,
    directory: &'a Path,
    server: &'a Server,
    columns: u16,
}

impl Stage<'_> {
    fn start(&self, arguments: &[&str]) -> Result<Terminal> {
        let all = [&["--url", self.server.url()], arguments].concat();
        Terminal::start(self.binary, &all, self.columns, self.directory)
    }

    /// A command to its end.
    fn whole(&self, arguments: &[&str]) -> Result<String> {
        let mut terminal = self.start(arguments)?;
        ensure!(
            terminal.wait()?,
            "{arguments:?} failed\n{}",
            terminal.text()
        );
        ensure!(terminal.is_clean(), "{arguments:?} left something behind");
        Ok(titled(arguments, &terminal.text()))
    }

    /// A command as it runs, `after` it showed `text`, and at its end.
    fn in_passing(&self, arguments: &[&str], text: &str, after: Duration) -> Result<String> {
        let mut terminal = self.start(arguments)?;
        terminal.wait_for(text)?;
        thread::sleep(after);
        let passing = terminal.text();
        ensure!(
            terminal.wait()?,
            "{arguments:?} failed\n{}",
            terminal.text()
        );
        ensure!(terminal.is_clean(), "{arguments:?} left something behind");
        let end = terminal.text();
        Ok(format!(
            "{}\n\n(at the end:)\n\n{end}",
            titled(arguments, &passing)
        ))
    }

    fn status(&self) -> Result<String> {
        self.whole(&["status"])
    }

    fn import(&self) -> Result<String> {
        let tree = self.directory.join("photos");
        for number in 0..FILES {
            let file = tree
                .join(format!("{}", 2020 + number % 7))
                .join(format!("{number:04}.jpg"));
            fs::create_dir_all(file.parent().unwrap_or(&tree))?;
            fs::write(file, vec![b'x'; 20_000])?;
        }
        let tree = tree.to_string_lossy();
        let arguments = ["import", "tree", &tree, "--prefix", "photos/"];
        self.in_passing(&arguments, " files, ", Duration::from_millis(300))
            .or_else(|_| self.whole(&arguments))
    }

    fn repl(&self) -> Result<String> {
        let mut terminal = self.start(&["repl"])?;
        for (keys, shown) in [
            ("", "ringwood>"),
            ("help\r", "help COMMAND"),
            ("put greeting 'hello world'\r", "hello world'"),
            ("get gr\t", "get greeting"),
            ("\r", "\nhello world"),
            ("scan photos/20\t\t", "photos/2026/"),
            ("6/ --limit 2 --keys-only\r", "photos/2026/0013"),
            ("get nothing\r", "KEY_NOT_FOUND"),
            ("get 'half\r", "is not closed"),
            ("namespace create pets\r", "pets\n"),
            ("use pe\t", "use pets"),
            ("\r", "ringwood pets>"),
        ] {
            terminal.type_in(keys)?;
            terminal.wait_for(shown)?;
            thread::sleep(Duration::from_millis(200));
        }
        // Ctrl-C clears the line, Ctrl-D leaves.
        terminal.type_in("put never \x03")?;
        thread::sleep(Duration::from_millis(200));
        let shown = terminal.text();
        terminal.type_in("\x04")?;
        ensure!(terminal.wait()?, "the prompt failed\n{}", terminal.text());
        ensure!(terminal.is_clean(), "the prompt left something behind");
        Ok(titled(&["repl"], &shown))
    }

    fn bench(&self) -> Result<String> {
        let arguments = ["bench", "a", "--records", "5000", "--duration", "4s"];
        self.in_passing(&arguments, "measuring", Duration::from_secs(2))
    }

    /// Once, and in place, while requests come.
    fn busy_status(&self) -> Result<String> {
        load::fill(self.binary, self.server.url(), BYTES)?;
        let mut writer = load::keep_writing(self.binary, self.server.url(), BYTES)?;
        thread::sleep(Duration::from_secs(2));
        let shown = self.both();
        writer.kill()?;
        writer.wait()?;
        shown
    }

    fn both(&self) -> Result<String> {
        let once = self.whole(&["status"])?;
        let arguments = ["status", "--watch", "--every", "1s"];
        let mut terminal = self.start(&arguments)?;
        terminal.wait_for("over the last")?;
        let watched = titled(&arguments, &terminal.text());
        terminal.type_in("\x03")?;
        ensure!(terminal.wait()?, "status ended with an error");
        ensure!(terminal.is_clean(), "status left something behind");
        ensure!(
            terminal.text().starts_with("ready since"),
            "{}",
            terminal.text()
        );
        Ok(format!("{once}\n\n{watched}"))
    }

    /// Without the places of this machine.
    fn without_paths(&self, text: &str) -> String {
        let place = self.directory.to_string_lossy();
        text.replace(&format!("{place}/data"), "/var/lib/ringwood")
            .replace(&format!("{place}/state"), "~/.local/state")
            .replace(&*place, "~")
    }
}

fn titled(arguments: &[&str], shown: &str) -> String {
    format!("$ ringwood {}\n\n{shown}", arguments.join(" "))
}
