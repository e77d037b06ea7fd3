//! `status`: how a server is doing, as a page that a person reads in five seconds.
//!
//! `reading` asks the server and understands its metrics, `figures` are what two readings say together, `page` and `items` lay a reading out, `attention` says
//! what needs some and what to do. Only this file waits, and knows of a terminal.

mod attention;
mod figures;
mod items;
mod page;
mod reading;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::client::{Client, ClientError};
use crate::interrupt::Interrupts;
use crate::outcome::Outcome;
use crate::output::{self, Format};
use crate::terminal::{self, Line, Screen};
use crate::units::Span;

use figures::Figures;
use reading::Reading;

/// How long requests are counted for a page that is shown once.
const SAMPLE: Duration = Duration::from_secs(1);

/// How long a signal may come behind the failure that goes with it.
const GONE: Duration = Duration::from_millis(500);

/// Show how a server is doing.
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Show it in place, again and again, until Ctrl-C.
    #[arg(short, long)]
    watch: bool,
    /// How often, with --watch; rates are between two readings.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    every: Span,
    /// Show every metric too, as /metrics names it.
    #[arg(long)]
    all: bool,
}

impl Status {
    /// Shows it, once or until it is interrupted.
    ///
    /// # Errors
    /// [`ClientError`]; with `--watch`, a server that is away is shown as such.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        if self.watch {
            return self.watch(client, format);
        }
        let mut reading = Reading::take(client)?;
        match format {
            Format::Json => output::json(&mut io::stdout().lock(), &reading)?,
            Format::Table => {
                // Of two readings come rates. Without requests there are none to wait for.
                let mut before = None;
                if reading.has_requests() {
                    std::thread::sleep(SAMPLE);
                    before = Some(std::mem::replace(&mut reading, Reading::take(client)?));
                }
                let figures = Figures::of(&reading, before.as_ref()).since_the_start(&reading);
                let lines = self.lines(&reading, before.as_ref(), &figures, terminal::width());
                let out = io::stdout();
                terminal::print(&mut out.lock(), &lines, terminal::has_colours(&out))?;
            }
        }
        Ok(if reading.is_ready() {
            Outcome::Done
        } else {
            Outcome::Unavailable
        })
    }

    fn watch(&self, client: &Client, format: Format) -> Result<Outcome> {
        let client = client
            .clone()
            .within(Duration::from(self.every).max(SAMPLE));
        let interrupts = Interrupts::listen()?;
        let screen = (format == Format::Table && terminal::is_capable())
            .then(Screen::open)
            .transpose()?;
        let mut last = Vec::new();
        let mut before = None;
        let mut first = true;
        loop {
            let begun = Instant::now();
            let taken = Reading::take(&client);
            match (&taken, format) {
                (Ok(reading), Format::Json) => output::json(&mut io::stdout().lock(), reading)?,
                (Err(_), Format::Json) => {}
                (Ok(reading), Format::Table) => {
                    let figures = Figures::of(reading, before.as_ref());
                    last = self.lines(reading, before.as_ref(), &figures, terminal::width());
                }
                (Err(error), Format::Table) => {
                    last = page::away(client.base(), error, terminal::width());
                }
            }
            match (&screen, taken) {
                (Some(screen), taken) => {
                    let colours = terminal::has_colours(&io::stdout());
                    if let Err(error) = screen.draw(&self.with_footer(&last), colours) {
                        // A terminal that is gone says so a moment before the signal does.
                        if interrupts.wait(GONE) {
                            break;
                        }
                        return Err(error.into());
                    }
                    before = taken.ok();
                }
                (None, taken) => {
                    print_next(format, &last, std::mem::take(&mut first))?;
                    if let Err(error) = &taken
                        && format == Format::Json
                    {
                        complain(format, error);
                    }
                    before = taken.ok();
                }
            }
            let rest = Duration::from(self.every).saturating_sub(begun.elapsed());
            if interrupts.wait(rest) {
                break;
            }
        }
        if screen.is_some() {
            drop(screen);
            // What was seen last stays on the terminal, if that is there still.
            let out = io::stdout();
            let _ = terminal::print(&mut out.lock(), &last, terminal::has_colours(&out));
        }
        Ok(Outcome::Done)
    }

    fn lines(
        &self,
        now: &Reading,
        before: Option<&Reading>,
        figures: &Figures,
        width: usize,
    ) -> Vec<Line> {
        let notices = attention::notices(now, before);
        let mut lines = page::lines(now, figures, &notices, width);
        if self.all {
            lines.extend(page::metrics(now, width));
        }
        lines
    }

    fn with_footer(&self, lines: &[Line]) -> Vec<Line> {
        let mut lines = lines.to_vec();
        lines.push(Line::new());
        lines.push(page::footer(self.every));
        lines
    }
}

/// Where nothing can be drawn over, pages follow each other.
fn print_next(format: Format, lines: &[Line], first: bool) -> io::Result<()> {
    if format == Format::Json {
        return Ok(());
    }
    let out = io::stdout();
    if !first {
        writeln!(out.lock())?;
    }
    terminal::print(&mut out.lock(), lines, terminal::has_colours(&out))
}

fn complain(format: Format, error: &ClientError) {
    output::complain(format, &anyhow::Error::msg(error.to_string()));
}

#[cfg(test)]
mod tests;
