//! What was measured.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::human;
use crate::terminal::wrap;

use super::mix::{Mix, Operation};

/// Columns of a report.
const WIDTH: usize = 80;

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
        rate: Option<u64>,
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
    rate: Option<u64>,
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

impl Latency {
    /// In microseconds, as a table shows them.
    #[expect(clippy::cast_precision_loss, reason = "for people: three digits count")]
    fn cells(&self) -> [f64; 6] {
        let [p50, p95, p99, p999, max] = [
            self.p50_us,
            self.p95_us,
            self.p99_us,
            self.p999_us,
            self.max_us,
        ]
        .map(|us| us as f64);
        [self.mean_us, p50, p95, p99, p999, max]
    }
}

impl Report {
    pub(crate) fn errors(&self) -> u64 {
        self.errors
    }
}

impl Report {
    /// How many, and how quickly.
    pub(crate) fn in_short(&self) -> String {
        let count: u64 = self.operations.values().map(|one| one.count).sum();
        let mut text = format!(
            "{} records in {:.1} s, {} a second",
            human::count(count),
            self.seconds,
            human::rate(self.operations_per_second)
        );
        if let Some(error) = &self.first_error {
            text += &format!(", {} failed: {error}", human::count(self.errors));
        }
        text
    }
}

/// What was measured, in at most 80 columns.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "workload {}", self.workload.describe())?;
        let asked = self
            .rate
            .map(|rate| format!(" of {} asked for", human::count(rate)));
        let errors = match &self.first_error {
            None => "no errors".to_owned(),
            Some(error) => format!("{} errors, the first: {error}", human::count(self.errors)),
        };
        let run = format!(
            "{} operations a second{} for {:.1} s over {} connections, {errors}",
            human::rate(self.operations_per_second),
            asked.unwrap_or_default(),
            self.seconds,
            human::count(self.connections as u64),
        );
        for line in wrap(&run, WIDTH) {
            writeln!(out, "{line}")?;
        }
        writeln!(out)?;
        write!(out, "{:<8}{:>13}", "", "count")?;
        for name in ["mean", "p50", "p95", "p99", "p99.9", "max"] {
            write!(out, "{name:>9}")?;
        }
        writeln!(out)?;
        for (operation, latency) in &self.operations {
            write!(
                out,
                "{:<8}{:>13}",
                operation.name(),
                human::count(latency.count)
            )?;
            for us in latency.cells() {
                write!(out, "{:>9}", human::took(us / 1e6))?;
            }
            writeln!(out)?;
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

    #[test]
    fn a_report_fits_80_columns() {
        for rate in [None, Some(u64::from(u32::MAX))] {
            let mut samples = Samples::new();
            for operation in [Operation::Read, Operation::ReadModifyWrite] {
                samples.record(operation, Duration::from_micros(123));
                samples.record(operation, Duration::from_secs(119));
            }
            samples.fail(&anyhow::anyhow!(
                "the server answered {}",
                "at length ".repeat(20)
            ));
            let mut report = samples.report(Mix::F, 10_000, rate, Duration::from_secs(3600));
            report.operations_per_second = 9_999_999.0;
            for latency in report.operations.values_mut() {
                latency.count = 999_999_999_999;
            }
            let text = report.to_string();
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
            assert!(text.contains("\nchange"), "{text}");
        }
    }
}
