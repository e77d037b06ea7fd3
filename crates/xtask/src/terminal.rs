//! A terminal that nobody looks at: a program on a pseudo-terminal, and what it shows.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pty_process::Size;
use pty_process::blocking::{Command, Pty};
use vt100::{Parser, Screen};

/// Lines of a terminal.
const ROWS: u16 = 50;
/// No program here takes longer to show something.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A program, and the terminal that it runs on.
pub(crate) struct Terminal {
    pty: Arc<Pty>,
    parser: Arc<Mutex<Parser>>,
    child: Child,
}

impl Terminal {
    /// Starts a program on a terminal of so many columns. `home` is where it finds no settings.
    pub(crate) fn start(
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        columns: u16,
        home: &Path,
    ) -> Result<Self> {
        let (pty, pts) = pty_process::blocking::open()?;
        pty.resize(Size::new(ROWS, columns))?;
        let child = Command::new(program)
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env("HOME", home)
            .env("XDG_STATE_HOME", home.join("state"))
            .env_remove("NO_COLOR")
            .spawn(pts)
            .context("the program does not start")?;
        let size = |number: u16| NonZeroU16::new(number).context("a terminal has columns");
        let parser = Arc::new(Mutex::new(Parser::new(size(ROWS)?, size(columns)?, 0)));
        let pty = Arc::new(pty);
        let (mut output, shown) = (Arc::clone(&pty), Arc::clone(&parser));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It ends with an error when the program has closed the other side.
            while let Ok(len @ 1..) = (&*output).read(&mut bytes) {
                shown
                    .lock()
                    .expect("nobody panics with it")
                    .process(&bytes[..len]);
            }
            let _ = &mut output;
        });
        Ok(Self { pty, parser, child })
    }

    /// Types something.
    pub(crate) fn type_in(&self, keys: &str) -> Result<()> {
        Ok((&*self.pty).write_all(keys.as_bytes())?)
    }

    /// Waits until something is shown.
    pub(crate) fn wait_for(&self, text: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            if Instant::now() > until {
                bail!("{text:?} was never shown, but\n{}", self.text());
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until the program has ended; whether it ended well.
    pub(crate) fn wait(&mut self) -> Result<bool> {
        let status = self.child.wait()?;
        // What it wrote last may still be on its way.
        thread::sleep(LOOK * 5);
        Ok(status.success())
    }

    /// What is on the screen.
    pub(crate) fn text(&self) -> String {
        self.look(|screen| {
            let (_, columns) = screen.size();
            let rows = screen.rows(0, columns.get());
            let rows: Vec<_> = rows.map(|row| row.trim_end().to_owned()).collect();
            rows.join("\n").trim_end().to_owned()
        })
    }

    /// Whether it is as a shell wants to find it.
    pub(crate) fn is_clean(&self) -> bool {
        self.look(|screen| {
            !screen.hide_cursor() && !screen.alternate_screen() && !screen.bracketed_paste()
        })
    }

    fn look<T>(&self, at: impl FnOnce(&Screen) -> T) -> T {
        at(self.parser.lock().expect("nobody panics with it").screen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
