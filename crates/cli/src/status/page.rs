//! Lays a reading out for a number of columns. Nothing here asks or waits.

use crate::client::ClientError;
use crate::human;
use crate::terminal::{Line, Style, wrap};
use crate::units::Span;

use super::attention::Notice;
use super::figures::Figures;
use super::items::{self, LABEL};
use super::reading::{Reading, State, quantile};

/// Columns from which on there are more quantiles.
const WIDE: usize = 110;
/// Columns of a cell of the table of requests.
const CELL: usize = 11;

/// The page.
pub(super) fn lines(
    now: &Reading,
    figures: &Figures,
    notices: &[Notice],
    width: usize,
) -> Vec<Line> {
    let mut lines = head(now, notices.is_empty(), width);
    for notice in notices {
        lines.extend(notice_lines(notice, width));
    }
    lines.push(Line::new());
    lines.extend(requests(figures, width));
    lines.push(Line::new());
    lines.extend(items::lines(now, figures, width));
    let over = format!("Times and shares are {}.", figures.over());
    lines.push(Line::new());
    lines.extend(
        wrap(&over, width)
            .into_iter()
            .map(|line| Line::new().with(Style::Dim, line)),
    );
    lines
}

/// The page where nobody answers.
pub(super) fn away(url: &str, error: &ClientError, width: usize) -> Vec<Line> {
    let mut lines = vec![
        Line::new()
            .with(Style::Bad, "NO ANSWER")
            .with(Style::Plain, format!(" from {url}"))
            .fitted(width),
    ];
    let todo = "It may be starting, or be stopped: see its log, or start it with `ringwood serve`.";
    lines.extend(notice_lines(
        &Notice {
            grave: true,
            what: error.to_string(),
            todo: todo.to_owned(),
        },
        width,
    ));
    lines
}

/// Every metric that is not 0, as the server names it.
pub(super) fn metrics(now: &Reading, width: usize) -> Vec<Line> {
    let happened = now.metrics.iter().filter(|(_, value)| **value != 0.0);
    let lines = happened.map(|(name, value)| {
        let value = value.to_string();
        let room = width.saturating_sub(value.len() + 1);
        Line::new()
            .with(Style::Dim, name)
            .fitted(room)
            .padded(room + 1)
            .with(Style::Plain, value)
    });
    [
        Line::new(),
        Line::new().with(Style::Bold, "metrics, those of 0 left out"),
    ]
    .into_iter()
    .chain(lines)
    .map(|line| line.fitted(width))
    .collect()
}

/// What stands below a page that is drawn again and again.
pub(super) fn footer(every: Span) -> Line {
    Line::new().with(Style::Dim, format!("every {every}; Ctrl-C ends it"))
}

/// How it is, in words, and who it is.
fn head(now: &Reading, all_is_well: bool, width: usize) -> Vec<Line> {
    let lasted = human::span(now.lasted());
    let (style, state, rest) = match now.node.state {
        State::Ready => (
            Style::Good,
            "ready",
            format!(" since {} ({lasted})", human::moment(now.node.state_since)),
        ),
        State::DiskFull => (
            Style::Bad,
            "THE DISK IS FULL",
            format!(" for {lasted}: puts are refused, reads and deletes go on"),
        ),
        State::Failed => (
            Style::Bad,
            "THE STORE FAILED",
            format!(" {lasted} ago: writes are refused, reads go on"),
        ),
        State::Stopping => (
            Style::Warning,
            "stopping",
            format!(" for {lasted}: it answers what was asked, and ends"),
        ),
        State::Unknown => (Style::Plain, "serving", String::new()),
    };
    let mut first = Line::new().with(style, state).with(Style::Plain, rest);
    if all_is_well {
        first = first
            .with(Style::Plain, ", ")
            .with(Style::Good, "nothing needs attention");
    }
    let node = &now.node;
    let about = format!(
        "ringwood {} at {}, data in {}",
        node.version, now.url, node.data_dir
    );
    let mut lines = vec![first.fitted(width)];
    lines.extend(
        wrap(&about, width)
            .into_iter()
            .map(|line| Line::new().with(Style::Dim, line)),
    );
    lines
}

fn notice_lines(notice: &Notice, width: usize) -> Vec<Line> {
    let style = if notice.grave {
        Style::Bad
    } else {
        Style::Warning
    };
    let mut lines = vec![Line::new()];
    for (number, line) in wrap(&notice.what, width.saturating_sub(2))
        .into_iter()
        .enumerate()
    {
        let mark = if number == 0 { "! " } else { "  " };
        lines.push(Line::new().with(style, format!("{mark}{line}")));
    }
    for line in wrap(&notice.todo, width.saturating_sub(2)) {
        lines.push(Line::new().with(Style::Plain, format!("  {line}")));
    }
    lines
}

/// Requests by kind: how many, how long, how many failed.
fn requests(figures: &Figures, width: usize) -> Vec<Line> {
    if figures.requests.is_empty() {
        let none = "no requests yet; `ringwood put KEY VALUE` makes one";
        return vec![
            Line::new()
                .with(Style::Bold, format!("{:<LABEL$}", "requests"))
                .with(Style::Plain, none)
                .fitted(width),
        ];
    }
    let wide = width >= WIDE;
    let columns: &[(&str, Option<f64>)] = if wide {
        &[
            ("p50", Some(0.5)),
            ("p90", Some(0.9)),
            ("p99", Some(0.99)),
            ("p99.9", Some(0.999)),
        ]
    } else {
        &[("p50", Some(0.5)), ("p99", Some(0.99))]
    };
    let cell = |text: String| format!("{text:>CELL$}");
    let label = |name: &str| format!("{name:<LABEL$}");
    let mut head = cell("a second".to_owned());
    for (name, _) in columns {
        head += &cell((*name).to_owned());
    }
    head += &cell("failed".to_owned());
    head += &format!("{:>1$}", "all", CELL + 4);
    let head = Line::new()
        .with(Style::Bold, label("requests"))
        .with(Style::Dim, head);
    let mut lines = vec![head.fitted(width)];
    for row in &figures.requests {
        let rate = row.per_second.map_or("–".to_owned(), human::rate);
        let mut figures = cell(rate);
        for (_, share) in columns {
            let took = share.and_then(|share| quantile(&row.latencies, share));
            figures += &cell(took.map_or("–".to_owned(), human::took));
        }
        let failed = human::whole(row.failed);
        let line = Line::new()
            .with(Style::Plain, label(&format!("  {}", row.kind.name)))
            .with(Style::Plain, figures)
            .with(
                if failed > 0 {
                    Style::Warning
                } else {
                    Style::Plain
                },
                cell(human::count(failed)),
            )
            .with(
                Style::Plain,
                format!("{:>1$}", human::count(human::whole(row.total)), CELL + 4),
            );
        lines.push(line.fitted(width));
    }
    lines
}
