//! `status`: how a server is doing, from its health and its metrics.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::client::{Client, ClientError};
use crate::outcome::Outcome;
use crate::output::{self, Format};
use crate::units::Span;

/// Show how a server is doing.
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Show it again and again.
    #[arg(long)]
    watch: bool,
    /// How often, with --watch.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    every: Span,
}

/// What a server says about itself.
#[derive(Debug, Serialize)]
struct Picture {
    url: String,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
    namespaces: Vec<String>,
    /// The metrics, by name and labels as they stand in `/metrics`.
    metrics: BTreeMap<String, f64>,
}

impl Status {
    /// Shows it, once or until it is interrupted.
    ///
    /// # Errors
    /// [`ClientError`]; with `--watch`, a server that is away is shown as such.
    pub(crate) fn run(self, client: &Client, format: Format) -> Result<Outcome> {
        loop {
            let picture = look(client);
            if self.watch && format == Format::Table && io::stdout().is_terminal() {
                // Clears the screen and goes to its first line.
                write!(io::stdout(), "\x1b[2J\x1b[H")?;
            }
            match picture {
                Ok(picture) => {
                    output::show(format, &picture, rows)?;
                    if !self.watch {
                        return Ok(if picture.ready {
                            Outcome::Done
                        } else {
                            Outcome::Unavailable
                        });
                    }
                }
                Err(error) if self.watch => output::complain(format, &error.into()),
                Err(error) => return Err(error.into()),
            }
            thread::sleep(Duration::from(self.every));
        }
    }
}

fn look(client: &Client) -> Result<Picture, ClientError> {
    let why_not = match client.get_text("/readyz") {
        Ok(_) => None,
        Err(ClientError::Refused(problem)) => Some(problem.to_string()),
        Err(error) => return Err(error),
    };
    let listed: Value = client.get_json("/v1/namespaces")?;
    let all = listed["namespaces"].as_array().into_iter().flatten();
    let namespaces = all
        .filter_map(|one| one["name"].as_str().map(str::to_owned))
        .collect();
    let metrics = parse_metrics(&client.get_text("/metrics")?);
    Ok(Picture {
        url: client.base().to_owned(),
        ready: why_not.is_none(),
        why_not,
        namespaces,
        metrics,
    })
}

/// Reads Prometheus text; histograms' buckets are left out, their sums and counts are not.
fn parse_metrics(text: &str) -> BTreeMap<String, f64> {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        let bucket = name.split('{').next()?.ends_with("_bucket");
        (!line.starts_with('#') && !bucket).then_some(())?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn rows(picture: &Picture) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let state = picture
        .why_not
        .clone()
        .unwrap_or_else(|| "ready".to_owned());
    let mut rows = vec![
        row("server", picture.url.clone()),
        row("state", state),
        row("namespaces", picture.namespaces.join(" ")),
    ];
    // What has never happened says nothing.
    let happened = picture.metrics.iter().filter(|(_, value)| **value != 0.0);
    rows.extend(happened.map(|(name, value)| {
        let name = name.strip_prefix("ringwood_").unwrap_or(name);
        row(name, value.to_string())
    }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_without_buckets() {
        let text = "# HELP x y\n# TYPE x counter\nx 3\ny{op=\"get\",code=\"2xx\"} 0.5\nz_bucket{le=\"1\"} 9\nz_count 9\n";
        let metrics = parse_metrics(text);
        assert_eq!(metrics.len(), 3);
        assert_eq!(metrics["x"], 3.0);
        assert_eq!(metrics["y{op=\"get\",code=\"2xx\"}"], 0.5);
        assert_eq!(metrics["z_count"], 9.0);
    }
}
