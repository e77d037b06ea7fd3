//! What was measured.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::mix::{Mix, Operation};

/// Latencies above this are counted as this.
const LATENCY_MAX_US: u64 = 120_000_000;

/// What one connection measures.
#[derive(Debug)]
pub(crate) struct Samples {
    latencies: BTreeMap<Operation, Histogram<u64>>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

impl Samples {
    pub(crate) fn new() -> Self {
        Self {
            latencies: BTreeMap::new(),
            errors: 0,
            first_error: None,
        }
    }

    pub(crate) fn record(&mut self, operation: Operation, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let new =
            || Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("the bounds are constant");
        self.latencies
            .entry(operation)
            .or_insert_with(new)
            .saturating_record(micros);
    }

    pub(crate) fn fail(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (operation, latencies) in other.latencies {
            match self.latencies.get_mut(&operation) {
                Some(mine) => mine.add(&latencies).expect("all have the same bounds"),
                None => _ = self.latencies.insert(operation, latencies),
            }
        }
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    pub(crate) fn report(
        self,
        mix: Mix,
        connections: usize,
        rate: Option<u32>,
        took: Duration,
    ) -> Report {
        let operations: BTreeMap<_, _> = self
            .latencies
            .iter()
            .map(|(operation, latencies)| (*operation, Latency::of(latencies)))
            .collect();
        let count: u64 = operations.values().map(|latency| latency.count).sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
        let per_second = count as f64 / took.as_secs_f64().max(1e-9);
        Report {
            workload: mix,
            connections,
            rate,
            seconds: took.as_secs_f64(),
            operations_per_second: per_second,
            errors: self.errors,
            first_error: self.first_error,
            operations,
        }
    }
}

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    workload: Mix,
    connections: usize,
    /// `None`: closed loop.
    rate: Option<u32>,
    seconds: f64,
    operations_per_second: f64,
    errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
    operations: BTreeMap<Operation, Latency>,
}

/// Latencies of one kind of operation, in microseconds.
#[derive(Debug, Serialize)]
struct Latency {
    count: u64,
    mean_us: f64,
    p50_us: u64,
    p95_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
}

impl Latency {
    fn of(latencies: &Histogram<u64>) -> Self {
        Self {
            count: latencies.len(),
            mean_us: latencies.mean(),
            p50_us: latencies.value_at_quantile(0.5),
            p95_us: latencies.value_at_quantile(0.95),
            p99_us: latencies.value_at_quantile(0.99),
            p999_us: latencies.value_at_quantile(0.999),
            max_us: latencies.max(),
        }
    }
}

impl Report {
    pub(crate) fn errors(&self) -> u64 {
        self.errors
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "workload {:?}: {:.0} operations/s over {:.1} s, {} connections, {} errors",
            self.workload, self.operations_per_second, self.seconds, self.connections, self.errors
        )?;
        if let Some(error) = &self.first_error {
            writeln!(out, "  first error: {error}")?;
        }
        for (operation, latency) in &self.operations {
            writeln!(
                out,
                "  {:<16} {:>9}  p50 {:>6} µs  p95 {:>6} µs  p99 {:>6} µs  p99.9 {:>7} µs  max {:>7} µs",
                format!("{operation:?}"),
                latency.count,
                latency.p50_us,
                latency.p95_us,
                latency.p99_us,
                latency.p999_us,
                latency.max_us
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_connections_add_up() {
        let mut all = Samples::new();
        for _ in 0..2 {
            let mut one = Samples::new();
            (1..=100).for_each(|ms| one.record(Operation::Read, Duration::from_millis(ms)));
            one.fail(&anyhow::anyhow!("no"));
            all.merge(one);
        }
        let report = all.report(Mix::A, 2, None, Duration::from_secs(2));
        let read = &report.operations[&Operation::Read];
        assert_eq!((read.count, report.errors()), (200, 2));
        assert!((49_900..=50_100).contains(&read.p50_us), "{}", read.p50_us);
        assert!((98_900..=99_100).contains(&read.p99_us), "{}", read.p99_us);
        assert_eq!(report.operations_per_second, 100.0);
    }
}
