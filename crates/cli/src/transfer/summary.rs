//! What a transfer has done, for people and programs.

use std::fmt;
use std::time::Instant;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde::Serialize;

use crate::human;
use crate::outcome::Outcome;
use crate::output::{self, Format};

/// Of so many left out, each is named; of more, only the number is told.
const NAMED_MAX: usize = 1000;

/// Counts as it goes.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Acknowledged or written in this run.
    pub(crate) done: u64,
    pub(crate) bytes: u64,
    /// Done by an earlier run, as its journal says.
    pub(crate) done_before: u64,
    /// Compared with what is stored.
    pub(crate) verified: u64,
    pub(crate) retries: u64,
    /// Not done, and why.
    pub(crate) skipped: u64,
    pub(crate) skipped_names: Vec<Skipped>,
    pub(crate) seconds: f64,
    /// What is counted: files, items.
    #[serde(skip)]
    what: &'static str,
    #[serde(skip)]
    progress: ProgressBar,
    #[serde(skip)]
    started: Instant,
}

/// Something that was left out.
#[derive(Debug, Serialize)]
pub(crate) struct Skipped {
    pub(crate) name: String,
    pub(crate) why: String,
}

impl Summary {
    /// Begins to count, with a progress bar where a person looks on.
    pub(crate) fn start(format: Format, what: &'static str) -> Self {
        let progress = if format == Format::Json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new_spinner()
        };
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
            // What cannot be written is not seen.
            let _ = out.write_str(&human::rate(state.per_sec()));
        };
        let time = |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = out.write_str(&human::span(state.elapsed()));
        };
        let style = ProgressStyle::with_template("{spinner} {human_pos} {msg}, {rate}/s, {time}")
            .expect("the template is constant")
            .with_key("rate", rate)
            .with_key("time", time);
        progress.set_style(style);
        progress.set_message(what);
        Self {
            done: 0,
            bytes: 0,
            done_before: 0,
            verified: 0,
            retries: 0,
            skipped: 0,
            skipped_names: Vec::new(),
            seconds: 0.0,
            what,
            progress,
            started: Instant::now(),
        }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += 1;
        self.bytes += bytes;
        self.progress.inc(1);
    }

    pub(crate) fn skip(&mut self, name: String, why: String) {
        self.skipped += 1;
        if self.skipped_names.len() < NAMED_MAX {
            self.skipped_names.push(Skipped { name, why });
        }
    }

    pub(crate) fn verify(&mut self) {
        self.verified += 1;
        self.progress.inc(1);
    }

    /// Tells the result, and what it means for the exit code.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn finish(mut self, format: Format, retries: u64) -> Result<Outcome> {
        self.progress.finish_and_clear();
        self.retries = retries;
        self.seconds = self.started.elapsed().as_secs_f64();
        if format == Format::Json {
            output::json(&mut std::io::stdout(), &self)?;
        } else {
            self.tell();
        }
        Ok(if self.skipped == 0 {
            Outcome::Done
        } else {
            Outcome::Partial
        })
    }

    fn tell(&self) {
        for Skipped { name, why } in &self.skipped_names {
            output::tell(format_args!("skipped {name}: {why}"));
        }
        let others = [
            (self.done_before, "done before"),
            (self.verified, "verified"),
            (self.skipped, "skipped"),
            (self.retries, "retries"),
        ];
        let others = others.into_iter().filter(|(count, _)| *count > 0);
        let others: String = others
            .map(|(count, what)| format!(", {} {what}", human::count(count)))
            .collect();
        output::say(
            Format::Table,
            format_args!(
                "{} {}, {}, in {:.1} s{others}",
                human::count(self.done),
                // One of `files` is a `file`.
                self.what
                    .trim_end_matches(if self.done == 1 { "s" } else { "" }),
                human::bytes(self.bytes),
                self.seconds
            ),
        );
    }
}
