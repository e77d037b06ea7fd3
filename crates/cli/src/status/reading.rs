//! What a server says about itself at one moment, and how its metrics are understood.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{Client, ClientError};

/// So many namespaces are counted; a page that comes every two seconds reads no more.
pub(super) const NAMESPACES_MAX: usize = 10_000;

/// What a server says about itself.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Reading {
    pub(super) url: String,
    /// Whether it answers for data; on a full disk it does for all but puts.
    pub(super) ready: bool,
    #[serde(flatten)]
    pub(super) node: Node,
    pub(super) namespaces: Vec<String>,
    /// The metrics, by name and labels as they stand in `/metrics`; histograms without buckets.
    pub(super) metrics: BTreeMap<String, f64>,
    /// The buckets of histograms, likewise.
    #[serde(skip)]
    pub(super) buckets: BTreeMap<String, f64>,
    /// When it was asked.
    #[serde(skip)]
    pub(super) at: Instant,
    #[serde(skip)]
    pub(super) unix_ms: u64,
}

/// What `/v1/cluster/nodes/self` says.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) version: String,
    pub(super) data_dir: String,
    pub(super) state: State,
    pub(super) state_since: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
    pub(super) started_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) checkpoint: Option<Checkpoint>,
}

/// How far a checkpoint is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Checkpoint {
    pub(super) bytes: u64,
    pub(super) bytes_done: u64,
}

/// How a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ready,
    DiskFull,
    Failed,
    Stopping,
    /// It says something that we do not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Requests of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Operations as metrics name them.
    operations: &'static [&'static str],
}

/// The kinds that a person tells apart. Looking at a server is none of them.
pub(super) const KINDS: [Kind; 6] = [
    Kind {
        name: "get",
        operations: &["raw_get", "get"],
    },
    Kind {
        name: "put",
        operations: &["raw_put", "put"],
    },
    Kind {
        name: "delete",
        operations: &["raw_delete", "delete"],
    },
    Kind {
        name: "scan",
        operations: &["scan"],
    },
    Kind {
        name: "batch",
        operations: &["batch"],
    },
    Kind {
        name: "namespaces",
        operations: &[
            "namespace_create",
            "namespace_get",
            "namespace_set",
            "namespace_drop",
        ],
    },
];

/// How long something took: upper bounds of buckets in seconds, and how often it took at most that.
pub(super) type Latencies = Vec<(f64, f64)>;

impl Reading {
    /// Asks the server.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(super) fn take(client: &Client) -> Result<Self, ClientError> {
        let node: Node = client.get_json("/v1/cluster/nodes/self")?;
        let namespaces = match client.namespaces(NAMESPACES_MAX) {
            Ok(listed) => names(&listed),
            // So busy that it lists none: that is told by other figures.
            Err(ClientError::Refused(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_ms = now.unwrap_or_default().as_millis();
        let mut reading = Self {
            url: client.base().to_owned(),
            ready: !matches!(node.state, State::Failed | State::Stopping),
            node,
            namespaces,
            metrics: BTreeMap::new(),
            buckets: BTreeMap::new(),
            at: Instant::now(),
            unix_ms: u64::try_from(unix_ms).unwrap_or(u64::MAX),
        };
        reading.read_metrics(&client.get_text("/metrics")?);
        Ok(reading)
    }

    /// Reads Prometheus text.
    pub(super) fn read_metrics(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let Ok(value) = value.parse() else { continue };
            let is_bucket = name
                .split('{')
                .next()
                .is_some_and(|name| name.ends_with("_bucket"));
            let place = if is_bucket {
                &mut self.buckets
            } else {
                &mut self.metrics
            };
            place.insert(name.to_owned(), value);
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether data was ever asked for.
    pub(super) fn has_requests(&self) -> bool {
        KINDS.iter().any(|kind| self.requests(*kind) > 0.0)
    }

    /// How long the state has lasted.
    pub(super) fn lasted(&self) -> Duration {
        Duration::from_millis(self.unix_ms.saturating_sub(self.node.state_since))
    }

    /// A metric without labels; 0 where the server does not have it.
    pub(super) fn value(&self, name: &str) -> f64 {
        self.metrics.get(name).copied().unwrap_or(0.0)
    }

    /// The same in whole numbers.
    pub(super) fn whole(&self, name: &str) -> u64 {
        crate::human::whole(self.value(name))
    }

    /// A metric's samples whose label `label` has the value `value`.
    fn labelled(&self, name: &str, label: &str, value: &str) -> impl Iterator<Item = (&str, f64)> {
        let wanted = format!("{label}=\"{value}\"");
        samples(&self.metrics, name).filter(move |(labels, _)| has(labels, &wanted))
    }

    /// A gauge of the keyspace that holds the data.
    pub(super) fn of_data(&self, name: &str) -> u64 {
        let found = self.labelled(name, "keyspace", "data").next();
        crate::human::whole(found.map_or(0.0, |(_, value)| value))
    }

    /// Tables and bytes of the data's levels, level by level.
    pub(super) fn levels(&self) -> Vec<(u64, u64)> {
        let of = |name, level: usize| {
            let wanted = format!("level=\"{level}\"");
            self.labelled(name, "keyspace", "data")
                .find(|(labels, _)| has(labels, &wanted))
                .map(|(_, value)| crate::human::whole(value))
        };
        (0..)
            .map_while(|level| {
                Some((
                    of("ringwood_tables", level)?,
                    of("ringwood_table_bytes", level)?,
                ))
            })
            .collect()
    }

    /// Who holds how much of the memory budget.
    pub(super) fn memory(&self) -> Vec<(String, u64)> {
        samples(&self.metrics, "ringwood_memory_bytes")
            .filter_map(|(labels, value)| {
                let name = labels.strip_prefix("consumer=\"")?.strip_suffix('"')?;
                Some((name.replace('_', " "), crate::human::whole(value)))
            })
            .collect()
    }

    /// Requests of a kind that were answered.
    pub(super) fn requests(&self, kind: Kind) -> f64 {
        self.answered(kind, |_| true)
    }

    /// Those that failed, for whatever reason: a key that is not there is no failure.
    pub(super) fn failed(&self, kind: Kind) -> f64 {
        self.answered(kind, |labels| has(labels, "status=\"5xx\""))
    }

    fn answered(&self, kind: Kind, counts: impl Fn(&str) -> bool) -> f64 {
        let operations = kind.operations.iter();
        operations
            .flat_map(|operation| {
                self.labelled("ringwood_http_requests_total", "operation", operation)
            })
            .filter(|(labels, _)| counts(labels))
            .map(|(_, count)| count)
            .sum()
    }

    /// How long requests of a kind took.
    pub(super) fn latencies(&self, kind: Kind) -> Latencies {
        let name = "ringwood_http_request_duration_seconds_bucket";
        let wanted: Vec<_> = kind
            .operations
            .iter()
            .map(|operation| format!("operation=\"{operation}\""))
            .collect();
        self.histogram(name, |labels| wanted.iter().any(|one| has(labels, one)))
    }

    /// How long writing and syncing the log took.
    pub(super) fn sync_latencies(&self) -> Latencies {
        self.histogram("ringwood_log_sync_duration_seconds_bucket", |_| true)
    }

    /// Adds up the histograms whose labels count.
    fn histogram(&self, name: &str, counts: impl Fn(&str) -> bool) -> Latencies {
        let mut sums: Latencies = Vec::new();
        for (labels, count) in samples(&self.buckets, name) {
            let bound = labels.rsplit("le=\"").next().unwrap_or_default();
            let bound = match bound.trim_end_matches('"') {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().unwrap_or(f64::INFINITY),
            };
            if counts(labels) {
                match sums.iter_mut().find(|(known, _)| *known == bound) {
                    Some((_, sum)) => *sum += count,
                    None => sums.push((bound, count)),
                }
            }
        }
        sums.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        sums
    }

    /// Errors that were told to clients, by code.
    pub(super) fn errors(&self) -> BTreeMap<&str, f64> {
        samples(&self.metrics, "ringwood_http_errors_total")
            .filter_map(|(labels, count)| {
                Some((labels.strip_prefix("code=\"")?.strip_suffix('"')?, count))
            })
            .collect()
    }
}

fn names(listed: &[Value]) -> Vec<String> {
    let all = listed.iter();
    all.filter_map(|one| one["name"].as_str().map(str::to_owned))
        .collect()
}

/// A metric's samples: what stands between the braces, and the value.
fn samples<'a>(
    all: &'a BTreeMap<String, f64>,
    name: &str,
) -> impl Iterator<Item = (&'a str, f64)> + use<'a> {
    let begin = format!("{name}{{");
    let from = all.range(begin.clone()..);
    from.map_while(move |(line, value)| {
        Some((line.strip_prefix(&begin)?.trim_end_matches('}'), *value))
    })
}

/// Whether one of the labels is `wanted`.
fn has(labels: &str, wanted: &str) -> bool {
    labels.split(',').any(|label| label == wanted)
}

/// What a share of all did not exceed, between the bounds of its bucket in proportion; nothing of nothing.
pub(super) fn quantile(latencies: &Latencies, share: f64) -> Option<f64> {
    let total = latencies.last()?.1;
    let wanted = total * share;
    let mut below = (0.0, 0.0);
    for &(bound, count) in latencies {
        if count >= wanted && count > below.1 {
            if bound.is_infinite() {
                return Some(below.0);
            }
            return Some(below.0 + (bound - below.0) * (wanted - below.1) / (count - below.1));
        }
        below = (bound, count);
    }
    None
}

/// What came to `now` since `before`.
pub(super) fn since(now: &Latencies, before: &Latencies) -> Latencies {
    let count_before = |bound| {
        let found = before.iter().find(|(known, _)| *known == bound);
        found.map_or(0.0, |(_, count)| *count)
    };
    now.iter()
        .map(|&(bound, count)| (bound, count - count_before(bound)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_in_their_buckets() {
        let all = vec![
            (1.0, 0.0),
            (2.0, 50.0),
            (4.0, 100.0),
            (f64::INFINITY, 100.0),
        ];
        assert_eq!(quantile(&all, 0.5), Some(2.0));
        assert_eq!(quantile(&all, 0.75), Some(3.0));
        assert_eq!(quantile(&all, 1.0), Some(4.0));
        assert_eq!(
            quantile(&vec![(1.0, 0.0), (f64::INFINITY, 3.0)], 0.5),
            Some(1.0)
        );
        assert_eq!(quantile(&vec![(1.0, 0.0)], 0.5), None);
        assert_eq!(quantile(&Vec::new(), 0.5), None);
        let later = vec![(1.0, 0.0), (2.0, 60.0), (4.0, 110.0)];
        assert_eq!(since(&later, &all), [(1.0, 0.0), (2.0, 10.0), (4.0, 10.0)]);
    }
}
