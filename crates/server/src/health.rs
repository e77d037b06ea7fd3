//! How the server is, and since when: what `/readyz` and the page of the node tell.

use std::sync::{Mutex, PoisonError};

use ringwood_env::UnixMillis;
use serde::Serialize;
use utoipa::ToSchema;

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = NodeState)]
pub(crate) enum State {
    /// It takes every request.
    Ready,
    /// It takes reads and deletes, which make the room that puts wait for.
    DiskFull,
    /// It takes reads: the disk failed, and no write can be promised any more.
    Failed,
    /// It answers what was asked, and closes.
    Stopping,
}

/// Remembers since when the state is what it is. It changes unseen, and is found out by whoever looks;
/// the server looks once a second.
#[derive(Debug)]
pub(crate) struct Health {
    started_at: UnixMillis,
    seen: Mutex<(State, UnixMillis)>,
}

impl Health {
    pub(crate) fn new(started_at: UnixMillis) -> Self {
        Self {
            started_at,
            seen: Mutex::new((State::Ready, started_at)),
        }
    }

    /// When the server began to serve.
    pub(crate) fn started_at(&self) -> UnixMillis {
        self.started_at
    }

    /// Since when it is like this.
    pub(crate) fn since(&self, state: State, now: UnixMillis) -> UnixMillis {
        // Two numbers are as good after a panic as before.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != state {
            *seen = (state, now);
        }
        seen.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_lasts_until_another_is_seen() {
        let health = Health::new(10);
        assert_eq!(health.since(State::Ready, 20), 10);
        assert_eq!(health.since(State::DiskFull, 30), 30);
        assert_eq!(health.since(State::DiskFull, 40), 30);
        assert_eq!(health.since(State::Ready, 50), 50);
        assert_eq!(health.started_at(), 10);
    }
}
