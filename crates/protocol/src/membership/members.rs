//! What a node knows of another.

use alloc::vec::Vec;
use core::time::Duration;

use ringwood_types::NodeId;

use super::life::Life;
use super::states::{State, Why};
use super::tuning::Tuning;
use crate::time::Time;

/// So many that say the same are enough.
pub(super) const REPORTERS_MAX: usize = 3;

/// Another node. Its times but `since` are those in which this node ran.
#[derive(Debug)]
pub(super) struct Member {
    /// The latest that was heard of.
    pub(super) life: Life,
    /// Until then it lived, as this node knows by itself.
    pub(super) heard: Time,
    /// What is said of this life of it.
    pub(super) silence: Option<Silence>,
    /// When this node asked it for the first time without an answer, and has had none since.
    pub(super) missed_since: Option<Time>,
    /// When it was last proposed as failed.
    pub(super) proposed: Option<Time>,
    pub(super) state: State,
    pub(super) since: Time,
    pub(super) why: Why,
}

/// Somebody says that it is silent.
#[derive(Debug)]
pub(super) struct Silence {
    pub(super) since: Time,
    /// Who says so, the first first; never empty.
    pub(super) reporters: Vec<NodeId>,
}

impl Member {
    pub(super) fn new(running: Time, now: Time) -> Self {
        Self {
            life: Life::UNKNOWN,
            heard: running,
            silence: None,
            missed_since: None,
            proposed: None,
            state: State::Healthy,
            since: now,
            why: Why::Member,
        }
    }

    /// Since when it is silent, as far as this node does not know better.
    pub(super) fn silent_since(&self) -> Option<Time> {
        let silence = self.silence.as_ref()?;
        Some(silence.since.max(self.heard))
    }

    pub(super) fn silent_for(&self, running: Time) -> Option<Duration> {
        self.silent_since().map(|since| running.since(since))
    }

    /// What this node finds it to be next, if that is another state. `confirmable` is how many could
    /// report it.
    pub(super) fn next_state(
        &self,
        running: Time,
        tuning: &Tuning,
        confirmable: usize,
    ) -> Option<State> {
        let silent_for = self.silent_for(running).unwrap_or_default();
        let suspicious = self.silence.is_some() && silent_for >= tuning.suspicion_threshold;
        match self.state {
            State::Healthy if suspicious => Some(State::Suspicious),
            State::Suspicious if suspicious => {
                (silent_for >= self.down_after(tuning, confirmable)).then_some(State::Down)
            }
            State::Suspicious | State::Down if !suspicious => Some(State::Healthy),
            _ => None,
        }
    }

    /// When [`next_state`](Self::next_state) will say something else, if nothing is heard.
    pub(super) fn due(&self, tuning: &Tuning, confirmable: usize) -> Option<Time> {
        let since = self.silent_since()?;
        match self.state {
            State::Healthy => Some(since.after(tuning.suspicion_threshold)),
            State::Suspicious => Some(since.after(self.down_after(tuning, confirmable))),
            _ => None,
        }
    }

    /// The word of one is doubted for twice as long as that of all that could say it (Lifeguard's
    /// dogpile).
    fn down_after(&self, tuning: &Tuning, confirmable: usize) -> Duration {
        let said = self.silence.as_ref().map_or(0, |one| one.reporters.len());
        let wanted = confirmable.clamp(1, REPORTERS_MAX);
        match (said, wanted - said.min(wanted)) {
            (_, 0) => tuning.down_threshold,
            (2, _) => tuning.down_threshold * 5 / 4,
            _ => tuning.down_threshold * 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_divide_states_and_one_reporter_is_doubted() {
        let tuning = Tuning::default();
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let mut member = Member::new(at(0), at(0));
        let next = |member: &Member, seconds| member.next_state(at(seconds), &tuning, 3);
        assert_eq!(next(&member, 1000), None);
        let reporters = Vec::from([NodeId::new(1)]);
        member.silence = Some(Silence {
            since: at(10),
            reporters,
        });
        assert_eq!(
            (next(&member, 14), next(&member, 15)),
            (None, Some(State::Suspicious))
        );
        assert_eq!(member.due(&tuning, 3), Some(at(15)));
        member.state = State::Suspicious;
        assert_eq!(
            (next(&member, 69), next(&member, 70)),
            (None, Some(State::Down))
        );
        assert_eq!(member.next_state(at(40), &tuning, 1), Some(State::Down));
        member
            .silence
            .as_mut()
            .unwrap()
            .reporters
            .push(NodeId::new(2));
        assert_eq!(
            member.due(&tuning, 3),
            Some(at(10).after(tuning.down_threshold * 5 / 4))
        );
        member
            .silence
            .as_mut()
            .unwrap()
            .reporters
            .push(NodeId::new(3));
        assert_eq!(
            (next(&member, 39), next(&member, 40)),
            (None, Some(State::Down))
        );
        // Heard since.
        member.heard = at(38);
        assert_eq!(next(&member, 40), Some(State::Healthy));
        member.state = State::Down;
        assert_eq!(
            (next(&member, 40), next(&member, 43)),
            (Some(State::Healthy), None)
        );
        member.state = State::PermanentlyFailed;
        assert_eq!((next(&member, 40), member.due(&tuning, 3)), (None, None));
    }
}
