//! How well this node is itself (Lifeguard's local health multiplier).

use core::time::Duration;

/// The worst.
const SCORE_MAX: u32 = 8;

/// 0 is well; each point lengthens what this node waits for others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    score: u32,
}

impl Health {
    /// Above this, this node does not trust what it sees.
    pub(super) const DOUBTFUL: u32 = 3;

    pub(super) const fn score(self) -> u32 {
        self.score
    }

    pub(super) fn worse(&mut self, by: u32) {
        self.score = self.score.saturating_add(by).min(SCORE_MAX);
    }

    pub(super) fn better(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// As much longer as this node is worse.
    pub(super) fn stretch(self, wait: Duration) -> Duration {
        wait * (self.score + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_has_bounds_and_stretches_waits() {
        let mut health = Health::default();
        health.better();
        let second = Duration::from_secs(1);
        assert_eq!(health.stretch(second), second);
        health.worse(2);
        assert_eq!(health.stretch(second), second * 3);
        health.worse(u32::MAX);
        assert_eq!(health.score(), SCORE_MAX);
        health.better();
        assert_eq!(health.score(), SCORE_MAX - 1);
    }
}
