//! Shows how far a run is: in place on a terminal, a line now and then elsewhere, and nothing to
//! programs. All of it goes to stderr.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::human;
use crate::output::{self, Format};

/// How often it is worth while to show anything.
pub(super) const TICK: Duration = Duration::from_millis(200);
/// Between two lines where nothing can be drawn over.
const SPARSE: Duration = Duration::from_secs(5);

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    After(u64),
    At(Duration),
}

/// How far a run is.
pub(super) struct Progress {
    name: &'static str,
    stop: Stop,
    started: Instant,
    bar: Option<ProgressBar>,
    /// When the next line is due, where there is no bar.
    next_line: Option<Instant>,
}

impl Progress {
    pub(super) fn start(format: Format, name: &'static str, stop: Stop) -> Self {
        let started = Instant::now();
        let (terminal, people) = (io::stderr().is_terminal(), format == Format::Table);
        let bar = (people && terminal).then(|| {
            let style = ProgressStyle::with_template("{prefix:<9} [{bar:24}] {msg}");
            let style = style
                .expect("the template is constant")
                .progress_chars("##-");
            ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr())
                .with_style(style)
                .with_prefix(name)
        });
        Self {
            name,
            stop,
            started,
            bar,
            next_line: (people && !terminal).then(|| started + SPARSE),
        }
    }

    /// So many operations are done.
    pub(super) fn show(&mut self, done: u64) {
        let now = Instant::now();
        let elapsed = now - self.started;
        let text = text(self.stop, done, elapsed);
        if let Some(bar) = &self.bar {
            bar.set_position(permille(self.stop, done, elapsed));
            bar.set_message(text);
        } else if self.next_line.is_some_and(|due| now >= due) {
            self.next_line = Some(now + SPARSE);
            output::say(Format::Table, format_args!("{}: {text}", self.name));
        }
    }

    /// Nothing of it stays on the terminal.
    pub(super) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
fn text(stop: Stop, done: u64, elapsed: Duration) -> String {
    let rate = human::rate(done as f64 / elapsed.as_secs_f64().max(1e-3));
    match stop {
        Stop::After(all) => format!("{} of {}, {rate}/s", human::count(done), human::count(all)),
        Stop::At(end) => {
            let left = human::span(end.saturating_sub(elapsed));
            format!("{}, {rate}/s, {left} left", human::count(done))
        }
    }
}

fn permille(stop: Stop, done: u64, elapsed: Duration) -> u64 {
    let share = match stop {
        Stop::After(all) => u128::from(done) * 1000 / u128::from(all.max(1)),
        Stop::At(end) => elapsed.as_millis() * 1000 / end.as_millis().max(1),
    };
    u64::try_from(share).map_or(1000, |share| share.min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_fits_a_terminal_and_ends_at_the_end() {
        let second = Duration::from_secs(1);
        let text_of = |stop| text(stop, 999_999_999, second * 3600);
        for stop in [Stop::After(999_999_999), Stop::At(second * 86_400)] {
            // Behind the name, the bar and its brackets.
            assert!(
                9 + 29 + text_of(stop).chars().count() <= 80,
                "{}",
                text_of(stop)
            );
        }
        assert_eq!(text(Stop::After(2000), 500, second), "500 of 2,000, 500/s");
        assert_eq!(
            text(Stop::At(second * 3), 500, second),
            "500, 500/s, 2 s left"
        );
        assert_eq!(permille(Stop::After(0), 0, second), 0);
        assert_eq!(permille(Stop::After(4), 1, second), 250);
        assert_eq!(permille(Stop::At(second), 1, second * 9), 1000);
    }
}
