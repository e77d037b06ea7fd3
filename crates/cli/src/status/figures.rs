//! What two readings say together: rates, and latencies between them.

use super::reading::{KINDS, Kind, Latencies, Reading, since};

/// What two readings, or one, say together.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    /// Seconds between the readings; `None`: there was one.
    seconds: Option<f64>,
    /// Whether latencies and hits are those since the start of the server.
    all_along: bool,
    pub(super) requests: Vec<Requests>,
    pub(super) hits: f64,
    pub(super) misses: f64,
    pub(super) syncs: Latencies,
}

/// Requests of one kind.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    pub(super) kind: Kind,
    pub(super) per_second: Option<f64>,
    pub(super) latencies: Latencies,
    all_latencies: Latencies,
    pub(super) failed: f64,
    pub(super) total: f64,
}

impl Figures {
    /// Rates and latencies from `before` to `now`; since the server started where there is no `before`,
    /// or another server answered then.
    pub(super) fn of(now: &Reading, before: Option<&Reading>) -> Self {
        let before = before.filter(|before| before.node.started_at == now.node.started_at);
        let seconds = before.map(|before| (now.at - before.at).as_secs_f64().max(1e-3));
        let requests = KINDS.iter().filter(|kind| now.requests(**kind) > 0.0);
        let requests = requests.map(|&kind| {
            let all_latencies = now.latencies(kind);
            let new = |before: &Reading| since(&all_latencies, &before.latencies(kind));
            let more = |before: &Reading| now.requests(kind) - before.requests(kind);
            Requests {
                kind,
                per_second: before
                    .zip(seconds)
                    .map(|(before, seconds)| more(before) / seconds),
                latencies: before.map_or_else(|| all_latencies.clone(), new),
                failed: now.failed(kind),
                total: now.requests(kind),
                all_latencies,
            }
        });
        let requests = requests.collect();
        let more = |name| now.value(name) - before.map_or(0.0, |before| before.value(name));
        let syncs = now.sync_latencies();
        Self {
            seconds,
            all_along: before.is_none(),
            requests,
            hits: more("ringwood_cache_hits_total"),
            misses: more("ringwood_cache_misses_total"),
            syncs: before.map_or_else(|| syncs.clone(), |old| since(&syncs, &old.sync_latencies())),
        }
    }

    /// With latencies since the start: in a moment there may be too few requests to tell.
    pub(super) fn since_the_start(mut self, now: &Reading) -> Self {
        for requests in &mut self.requests {
            requests.latencies = requests.all_latencies.clone();
        }
        self.hits = now.value("ringwood_cache_hits_total");
        self.misses = now.value("ringwood_cache_misses_total");
        self.syncs = now.sync_latencies();
        self.all_along = true;
        self
    }

    /// What latencies are over, in words.
    pub(super) fn over(&self) -> String {
        match (self.all_along, self.seconds) {
            (false, Some(seconds)) => format!("over the last {seconds:.1} s"),
            _ => "since the start".to_owned(),
        }
    }
}
