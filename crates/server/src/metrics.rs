//! Counting requests: what it costs on the hot path, and how Prometheus reads it.
//!
//! Every thread counts in one of a few stripes, so that counting is an uncontended addition; a
//! scrape adds the stripes up.

use std::cell::Cell;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::error::Code;
use crate::route::Action;

const STRIPES: usize = 8;
const ACTIONS: usize = Action::ALL.len();
const CODES: usize = Code::ALL.len();
/// 2xx, 3xx, 4xx, 5xx.
const CLASSES: usize = 4;
/// Bucket `i` holds what took at most 2^(i + FIRST) microseconds; the last one the rest.
const BUCKETS: usize = 22;
const FIRST_BUCKET_LOG2_US: u32 = 3;

/// What the server counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    stripes: [Stripe; STRIPES],
    pub(crate) connections: AtomicUsize,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) requests_at_work: AtomicUsize,
    pub(crate) blocking_queue: AtomicUsize,
}

#[derive(Debug)]
#[repr(align(128))]
struct Stripe {
    requests: [[AtomicU64; CLASSES]; ACTIONS],
    latency: [[AtomicU64; BUCKETS]; ACTIONS],
    latency_us: [AtomicU64; ACTIONS],
    errors: [AtomicU64; CODES],
}

impl Default for Stripe {
    fn default() -> Self {
        Self {
            requests: [const { [const { AtomicU64::new(0) }; CLASSES] }; ACTIONS],
            latency: [const { [const { AtomicU64::new(0) }; BUCKETS] }; ACTIONS],
            latency_us: [const { AtomicU64::new(0) }; ACTIONS],
            errors: [const { AtomicU64::new(0) }; CODES],
        }
    }
}

impl Metrics {
    /// Counts a request that was answered with `status`.
    pub(crate) fn request(&self, action: Action, status: u16, took: Duration) {
        let stripe = self.stripe();
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        stripe.requests[action as usize][class].fetch_add(1, Relaxed);
        stripe.latency[action as usize][bucket(us)].fetch_add(1, Relaxed);
        stripe.latency_us[action as usize].fetch_add(us, Relaxed);
    }

    /// Counts a problem that was told to a client.
    pub(crate) fn problem(&self, code: Code) {
        self.stripe().errors[code as usize].fetch_add(1, Relaxed);
    }

    /// How often a problem was told to clients.
    #[cfg(fuzzing)]
    pub(crate) fn problems(&self, code: Code) -> u64 {
        self.sum(|stripe| &stripe.errors[code as usize])
    }

    fn stripe(&self) -> &Stripe {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: Cell<usize> = Cell::new(NEXT.fetch_add(1, Relaxed) % STRIPES);
        }
        &self.stripes[MINE.get()]
    }

    fn sum(&self, counter: impl Fn(&Stripe) -> &AtomicU64) -> u64 {
        self.stripes
            .iter()
            .map(|stripe| counter(stripe).load(Relaxed))
            .sum()
    }

    /// Writes what was counted in Prometheus' text format.
    pub(crate) fn render(&self, page: &mut Page) {
        page.family(
            "ringwood_http_requests_total",
            "counter",
            "Requests answered, by operation and class of status.",
        );
        for action in Action::ALL {
            for class in 0..CLASSES {
                let count = self.sum(|stripe| &stripe.requests[action as usize][class]);
                if count > 0 {
                    let labels =
                        format!("operation=\"{}\",status=\"{}xx\"", action.name(), class + 2);
                    page.sample("", &labels, count);
                }
            }
        }
        page.family(
            "ringwood_http_request_duration_seconds",
            "histogram",
            "From the whole head of a request to its answer.",
        );
        for action in Action::ALL {
            self.render_latency(page, action);
        }
        page.family(
            "ringwood_http_errors_total",
            "counter",
            "Errors told to clients, by code.",
        );
        for &code in Code::ALL {
            let count = self.sum(|stripe| &stripe.errors[code as usize]);
            if count > 0 {
                page.sample("", &format!("code=\"{}\"", code.as_str()), count);
            }
        }
        page.single(
            "ringwood_http_connections",
            "gauge",
            "Connections open.",
            self.connections.load(Relaxed),
        );
        page.single(
            "ringwood_http_connections_refused_total",
            "counter",
            "Connections turned away at the limit.",
            self.connections_refused.load(Relaxed),
        );
        page.single(
            "ringwood_http_requests_at_work",
            "gauge",
            "Requests at work that did not get their answer from memory at once.",
            self.requests_at_work.load(Relaxed),
        );
        page.single(
            "ringwood_http_blocking_queue",
            "gauge",
            "Reads that wait for or use a place to wait for the disk.",
            self.blocking_queue.load(Relaxed),
        );
    }

    fn render_latency(&self, page: &mut Page, action: Action) {
        let mut total = 0;
        let counts: Vec<u64> = (0..BUCKETS)
            .map(|at| self.sum(|stripe| &stripe.latency[action as usize][at]))
            .collect();
        if counts.iter().all(|&count| count == 0) {
            return;
        }
        let operation = format!("operation=\"{}\"", action.name());
        for (at, count) in counts.into_iter().enumerate() {
            total += count;
            let bound = if at + 1 == BUCKETS {
                "+Inf".to_owned()
            } else {
                seconds(bound_us(at))
            };
            page.sample("_bucket", &format!("{operation},le=\"{bound}\""), total);
        }
        let us = self.sum(|stripe| &stripe.latency_us[action as usize]);
        page.sample("_sum", &operation, seconds(us));
        page.sample("_count", &operation, total);
    }
}

fn bound_us(bucket: usize) -> u64 {
    1 << (bucket + FIRST_BUCKET_LOG2_US as usize)
}

/// The first bucket whose bound is not below `us`.
fn bucket(us: u64) -> usize {
    let log2_up = u64::BITS - us.saturating_sub(1).leading_zeros();
    (log2_up.saturating_sub(FIRST_BUCKET_LOG2_US) as usize).min(BUCKETS - 1)
}

/// Microseconds, as Prometheus wants them.
pub(crate) fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// A page of metrics in Prometheus' text format.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// Begins a metric; its samples follow.
    pub(crate) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    /// Adds a sample of the metric begun last; `labels` are written out already.
    pub(crate) fn sample(&mut self, suffix: &str, labels: &str, value: impl Display) {
        let name = self.name;
        if labels.is_empty() {
            self.line(format_args!("{name}{suffix} {value}"));
        } else {
            self.line(format_args!("{name}{suffix}{{{labels}}} {value}"));
        }
    }

    /// A metric of one sample.
    pub(crate) fn single(
        &mut self,
        name: &'static str,
        kind: &str,
        help: &str,
        value: impl Display,
    ) {
        self.family(name, kind, help);
        self.sample("", "", value);
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_their_bounds_say() {
        for us in [
            0,
            1,
            7,
            8,
            9,
            16,
            17,
            1000,
            1 << 23,
            (1 << 23) + 1,
            u64::MAX,
        ] {
            let at = bucket(us);
            assert!(at == BUCKETS - 1 || us <= bound_us(at), "{us}");
            assert!(at == 0 || us > bound_us(at - 1), "{us}");
        }
    }

    #[test]
    fn a_page_adds_the_stripes_up() {
        let metrics = Metrics::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| metrics.request(Action::RawGet, 200, Duration::from_micros(12)));
            }
        });
        metrics.problem(Code::KeyNotFound);
        let mut page = Page::default();
        metrics.render(&mut page);
        let text = page.into_text();
        for line in [
            "ringwood_http_requests_total{operation=\"raw_get\",status=\"2xx\"} 4",
            "ringwood_http_request_duration_seconds_bucket{operation=\"raw_get\",le=\"0.000008\"} 0",
            "ringwood_http_request_duration_seconds_bucket{operation=\"raw_get\",le=\"0.000016\"} 4",
            "ringwood_http_request_duration_seconds_bucket{operation=\"raw_get\",le=\"+Inf\"} 4",
            "ringwood_http_request_duration_seconds_sum{operation=\"raw_get\"} 0.000048",
            "ringwood_http_errors_total{code=\"KEY_NOT_FOUND\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in\n{text}"
            );
        }
    }
}
