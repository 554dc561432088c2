//! Waiting longer after each failure, with the kubelet's figures.

use serde::{Deserialize, Serialize};

const FIRST_MS: i64 = 10_000;
const LONGEST_MS: i64 = 300_000;
/// A container that ran this long since its last restart starts over.
const FORGET_MS: i64 = 2 * LONGEST_MS;

/// The first restart is immediate, the next waits 10 s, then 20 s, up to 5 min.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// How long to wait after the next failure; 0: not at all.
    delay_ms: i64,
    updated_at: i64,
}

impl Backoff {
    /// When what failed at `failed_at` may be tried again.
    pub fn ready_at(&self, failed_at: i64) -> i64 {
        failed_at + self.delay_after(failed_at)
    }

    pub fn delay_after(&self, failed_at: i64) -> i64 {
        if failed_at - self.updated_at > FORGET_MS { 0 } else { self.delay_ms }
    }

    /// Records a new try at `now` after a failure at `failed_at`.
    pub fn retried(&mut self, failed_at: i64, now: i64) {
        self.delay_ms = match self.delay_after(failed_at) {
            0 => FIRST_MS,
            delay => (delay * 2).min(LONGEST_MS),
        };
        self.updated_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_are_forgotten() {
        let mut backoff = Backoff::default();
        let mut now = 1_000_000;
        let mut delays = Vec::new();
        for _ in 0..8 {
            delays.push(backoff.delay_after(now) / 1000);
            now = backoff.ready_at(now);
            backoff.retried(now, now);
        }
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.delay_after(now + FORGET_MS), LONGEST_MS);
        assert_eq!(backoff.delay_after(now + FORGET_MS + 1), 0);
    }
}
