//! What people see of a demonstration.

use super::cluster::{Condition, Report, Row};
use crate::terminal::{Line, Style};

/// Between two columns.
const GAP: usize = 3;

/// A report, as lines.
pub(super) fn lines(report: &Report, width: usize) -> Vec<Line> {
    let header = ["NODE", "PROCESS", "STATE", "CLIENTS"];
    let rows: Vec<[(Style, String); 4]> = report.rows.iter().map(cells).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|at| {
            let cells = rows.iter().map(|row| row[at].1.chars().count());
            cells.chain([header[at].len()]).max().unwrap_or(0) + GAP
        })
        .collect();
    let mut lines = vec![row(
        header
            .iter()
            .map(|title| (Style::Bold, (*title).to_owned())),
        &widths,
    )];
    lines.extend(rows.into_iter().map(|cells| row(cells, &widths)));
    lines.push(Line::new());
    for text in footer(report) {
        lines.extend(
            crate::terminal::wrap(&text, width)
                .into_iter()
                .map(|line| Line::new().with(Style::Plain, line)),
        );
    }
    lines
}

fn row(cells: impl IntoIterator<Item = (Style, String)>, widths: &[usize]) -> Line {
    cells
        .into_iter()
        .zip(widths)
        .fold(Line::new(), |line, ((style, text), width)| {
            line.then(Line::new().with(style, text).padded(*width))
        })
}

fn cells(row: &Row) -> [(Style, String); 4] {
    let process = match row.process {
        Condition::Runs(id) => (Style::Plain, format!("{id}")),
        Condition::Paused(id) => (Style::Warning, format!("{id}, paused")),
        Condition::Ended => (Style::Bad, "none".to_owned()),
    };
    let state = match &row.state {
        None => (Style::Dim, "not known".to_owned()),
        Some(state) => {
            let style = match state.as_str() {
                "healthy" => Style::Good,
                "suspicious" | "joining" | "leaving" => Style::Warning,
                _ => Style::Bad,
            };
            (style, state.clone())
        }
    };
    [
        (Style::Plain, row.name.clone()),
        process,
        state,
        (Style::Dim, row.url.clone()),
    ]
}

fn footer(report: &Report) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(by) = &report.told_by {
        told.push(format!("States are as {by} sees them."));
    }
    for row in &report.rows {
        if let Some(why) = row.why.as_ref().filter(|why| !why.is_empty()) {
            told.push(format!("{}: {why}", row.name));
        }
    }
    if let Some(partition) = &report.partition {
        told.push(format!(
            "Cut off: {partition} (`ringwood demo heal` mends it)"
        ));
    }
    told.push(format!("Data and logs are in {}.", report.dir.display()));
    told.push(
        "In another terminal: ringwood demo kill n3, restart n3, pause n2, resume n2, \
         partition \"n1,n2 | n3\", heal, add, remove n3. Ctrl-C ends it."
            .to_owned(),
    );
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_who_runs_and_how_others_see_it() {
        let row = |name: &str, process, state: Option<&str>, why: Option<&str>| Row {
            name: name.to_owned(),
            url: format!("http://127.0.0.1:750{}", &name[1..]),
            process,
            state: state.map(str::to_owned),
            why: why.map(str::to_owned),
        };
        let report = Report {
            dir: "/d".into(),
            partition: Some("n1 | n2".to_owned()),
            rows: vec![
                row("n1", Condition::Runs(17), Some("healthy"), None),
                row(
                    "n2",
                    Condition::Paused(18),
                    Some("down"),
                    Some("no sign for 31 s"),
                ),
                row("n3", Condition::Ended, None, None),
            ],
            told_by: Some("n1".to_owned()),
        };
        let shown: Vec<String> = lines(&report, 80)
            .iter()
            .map(|line| line.render(false))
            .collect();
        let shown = shown.join("\n");
        let expected = "\
NODE   PROCESS      STATE       CLIENTS
n1     17           healthy     http://127.0.0.1:7501
n2     18, paused   down        http://127.0.0.1:7502
n3     none         not known   http://127.0.0.1:7503

States are as n1 sees them.
n2: no sign for 31 s
Cut off: n1 | n2 (`ringwood demo heal` mends it)
Data and logs are in /d.";
        assert!(shown.starts_with(expected), "{shown}");
        assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
    }
}
