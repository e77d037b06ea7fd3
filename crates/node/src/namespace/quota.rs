//! What a namespace has taken of its quotas: requests a second, and bytes.
//!
//! A namespace without quotas pays one look at its policy.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// Most requests a second that a quota can name; without one there is no limit.
pub(crate) const REQUESTS_PER_SECOND_MAX: u64 = 1_000_000_000;

const _: () = assert!(
    SECOND / REQUESTS_PER_SECOND_MAX > 0,
    "every request has a price"
);

/// A token bucket that holds one second's worth, full when it is made.
#[derive(Debug, Default)]
pub(crate) struct TokenBucket {
    /// Nanoseconds up to which its time is spent: what lies between it and now is there to be spent.
    spent: AtomicU64,
}

impl TokenBucket {
    /// Takes `cost` tokens where there is one at least; `now` is monotonic. What costs more than there
    /// is leaves a debt, so that a large batch passes, and is paid for by what comes behind it.
    ///
    /// # Errors
    /// How long to wait for the next token. Nothing was taken.
    pub(crate) fn take(&self, per_second: u64, cost: u64, now: Duration) -> Result<(), Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2) + SECOND;
        let price = SECOND / per_second;
        let spend = |spent: u64| {
            let spent = spent.max(now - SECOND);
            (spent.saturating_add(price) <= now)
                .then(|| spent.saturating_add(price.saturating_mul(cost)))
        };
        match self.spent.fetch_update(Relaxed, Relaxed, spend) {
            Ok(_) => Ok(()),
            Err(spent) => Err(Duration::from_nanos(spent.saturating_add(price) - now)),
        }
    }
}

/// How many bytes a namespace has, as far as is known: what was measured last, and what was put since.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    measured: AtomicU64,
    put: AtomicU64,
    /// What marked the state of the store when `put` began to count.
    since: AtomicU64,
}

impl Tally {
    pub(crate) fn bytes(&self) -> u64 {
        self.measured
            .load(Relaxed)
            .saturating_add(self.put.load(Relaxed))
    }

    /// Counts what is put.
    pub(crate) fn add(&self, bytes: usize) {
        self.put.fetch_add(bytes as u64, Relaxed);
    }

    /// Notes what lies in tables. `flushes` counts those of the store: after another one, what was put
    /// before lies in tables too.
    pub(crate) fn measure(&self, bytes: u64, flushes: u64) {
        self.measured.store(bytes, Relaxed);
        if self.since.swap(flushes, Relaxed) != flushes {
            self.put.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(5);

    fn taken(bucket: &TokenBucket, per_second: u64, now: Duration) -> u64 {
        (0..)
            .take_while(|_| bucket.take(per_second, 1, now).is_ok())
            .count() as u64
    }

    #[test]
    fn a_bucket_holds_one_second_and_fills_at_its_rate() {
        for per_second in [1, 3, 10, 1000] {
            let bucket = TokenBucket::default();
            assert_eq!(
                taken(&bucket, per_second, Duration::ZERO),
                per_second,
                "full at first"
            );
            assert_eq!(
                taken(&bucket, per_second, START),
                per_second,
                "no more than a second's worth"
            );
            let half = START + Duration::from_millis(500);
            assert_eq!(taken(&bucket, per_second, half), per_second / 2);
        }
    }

    #[test]
    fn who_waits_as_long_as_told_gets_the_next_token() {
        let bucket = TokenBucket::default();
        assert_eq!(taken(&bucket, 4, START), 4);
        let wait = bucket.take(4, 1, START).unwrap_err();
        assert_eq!(wait, Duration::from_millis(250));
        bucket.take(4, 1, START + wait).unwrap();
        bucket.take(4, 1, START + wait).unwrap_err();
    }

    #[test]
    fn a_large_cost_passes_once_and_is_paid_for_later() {
        let bucket = TokenBucket::default();
        bucket.take(10, 100, START).unwrap();
        let wait = bucket.take(10, 1, START).unwrap_err();
        assert_eq!(wait, Duration::from_millis(9100));
        bucket
            .take(REQUESTS_PER_SECOND_MAX, u64::MAX, START + wait)
            .unwrap();
        bucket.take(1, u64::MAX, START + wait).unwrap_err();
    }

    #[test]
    fn a_tally_counts_what_is_put_until_it_lies_in_tables() {
        let tally = Tally::default();
        tally.measure(100, 7);
        tally.add(20);
        assert_eq!(tally.bytes(), 120);
        tally.measure(100, 7);
        assert_eq!(tally.bytes(), 120, "it lies in memory still");
        tally.measure(115, 8);
        assert_eq!(tally.bytes(), 115);
    }
}
