//! Repeating what failed for a reason that may pass, until nothing has gone forward for too long.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::client::ClientError;
use crate::units::Span;

const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How long to keep trying.
#[derive(Args, Debug, Default)]
pub(crate) struct PatienceArgs {
    /// Give up when nothing has gone forward for so long.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    give_up_after: Span,
}

/// Shared by all threads of one transfer: progress of any of them is progress.
#[derive(Debug)]
pub(crate) struct Patience {
    give_up_after: Duration,
    last_progress: Mutex<Instant>,
    retries: AtomicU64,
    stopped: AtomicBool,
}

impl Patience {
    pub(crate) fn new(arguments: &PatienceArgs) -> Self {
        Self {
            give_up_after: arguments.give_up_after.into(),
            last_progress: Mutex::new(Instant::now()),
            retries: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Does something until it succeeds, or fails for good.
    ///
    /// # Errors
    /// The failure that will not pass, or the last one when patience ended.
    pub(crate) fn insist<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut pause = PAUSE_FIRST;
        loop {
            match attempt() {
                Ok(done) => {
                    *self.last_progress.lock().expect("no holder panics") = Instant::now();
                    return Ok(done);
                }
                Err(error) if !error.is_passing() || self.is_over() => return Err(error),
                Err(_) => {
                    self.retries.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Lets every thread fail with what it has.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        let last = *self.last_progress.lock().expect("no holder panics");
        self.stopped.load(Ordering::Relaxed) || last.elapsed() >= self.give_up_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringwood_server::ProblemBody;

    fn patience(millis: u64) -> Patience {
        Patience::new(&PatienceArgs {
            give_up_after: Span(millis),
        })
    }

    fn passing() -> ClientError {
        ClientError::Unreachable {
            url: String::new(),
            why: String::new(),
        }
    }

    #[test]
    fn what_may_pass_is_repeated_and_what_will_not_is_told() {
        let (patience, mut left) = (patience(60_000), 2);
        let done = patience.insist(|| match left {
            0 => Ok("done"),
            _ => {
                left -= 1;
                Err(passing())
            }
        });
        assert_eq!((done.unwrap(), patience.retries()), ("done", 2));
        let problem = ProblemBody {
            status: 413,
            ..ProblemBody::default()
        };
        let refused =
            patience.insist(|| Err::<(), _>(ClientError::Refused(Box::new(problem.clone()))));
        assert!(matches!(refused, Err(ClientError::Refused(_))));
        assert_eq!(patience.retries(), 2);
    }

    #[test]
    fn patience_ends() {
        let started = Instant::now();
        assert!(patience(50).insist(|| Err::<(), _>(passing())).is_err());
        assert!(started.elapsed() >= Duration::from_millis(50));
        let patience = patience(60_000);
        patience.stop();
        assert!(patience.insist(|| Err::<(), _>(passing())).is_err());
        assert_eq!(patience.retries(), 0);
    }
}
