//! How soon a silent node is what.

use core::fmt;
use core::time::Duration;

/// The times of failure detection. May change while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuning {
    /// How often each node probes another. Shorter notices sooner and says more.
    pub gossip_interval: Duration,
    /// Silent for so long, a node is suspicious.
    pub suspicion_threshold: Duration,
    /// Silent for so long, it is down.
    pub down_threshold: Duration,
    /// Silent for so long, it is proposed as failed for ever, which makes its data anew elsewhere.
    pub permanent_failure_threshold: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            gossip_interval: Duration::from_secs(1),
            suspicion_threshold: Duration::from_secs(5),
            down_threshold: Duration::from_secs(30),
            permanent_failure_threshold: Duration::from_secs(600),
        }
    }
}

/// Times that contradict each other. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadTuning {
    /// Less than 10 ms, or more than a minute.
    GossipInterval,
    /// Less than three gossip intervals: no time for a probe, for one through others, and for an answer.
    SuspicionThreshold,
    /// Not longer than the suspicion threshold.
    DownThreshold,
    /// Less than twice the down threshold.
    PermanentFailureThreshold,
}

impl fmt::Display for BadTuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GossipInterval => "gossip_interval must be from 10 ms to 60 s",
            Self::SuspicionThreshold => "suspicion_threshold must be at least 3 × gossip_interval",
            Self::DownThreshold => "down_threshold must be longer than suspicion_threshold",
            Self::PermanentFailureThreshold => {
                "permanent_failure_threshold must be at least 2 × down_threshold"
            }
        })
    }
}

impl core::error::Error for BadTuning {}

impl Tuning {
    /// These times, if they make sense together.
    ///
    /// # Errors
    /// [`BadTuning`].
    pub fn checked(self) -> Result<Self, BadTuning> {
        let interval = self.gossip_interval;
        if interval < Duration::from_millis(10) || interval > Duration::from_secs(60) {
            return Err(BadTuning::GossipInterval);
        }
        if self.suspicion_threshold < interval * 3 {
            return Err(BadTuning::SuspicionThreshold);
        }
        if self.down_threshold <= self.suspicion_threshold {
            return Err(BadTuning::DownThreshold);
        }
        if self.permanent_failure_threshold / 2 < self.down_threshold {
            return Err(BadTuning::PermanentFailureThreshold);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_must_make_sense_together() {
        let good = Tuning::default();
        assert_eq!(good.checked(), Ok(good));
        let seconds = Duration::from_secs;
        for (bad, why) in [
            (
                Tuning {
                    gossip_interval: seconds(0),
                    ..good
                },
                BadTuning::GossipInterval,
            ),
            (
                Tuning {
                    gossip_interval: seconds(61),
                    ..good
                },
                BadTuning::GossipInterval,
            ),
            (
                Tuning {
                    gossip_interval: seconds(2),
                    ..good
                },
                BadTuning::SuspicionThreshold,
            ),
            (
                Tuning {
                    down_threshold: seconds(5),
                    ..good
                },
                BadTuning::DownThreshold,
            ),
            (
                Tuning {
                    permanent_failure_threshold: seconds(59),
                    ..good
                },
                BadTuning::PermanentFailureThreshold,
            ),
        ] {
            assert_eq!(bad.checked(), Err(why));
        }
    }
}
