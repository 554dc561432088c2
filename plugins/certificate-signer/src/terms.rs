//! From when until when a certificate holds.

use pintle_sdk::time;

/// Certificates begin a little before they are made, for clocks that are behind.
const BACKDATE_SECONDS: i64 = 300;
/// Twice that: what is shorter would hardly hold at all.
pub const SHORTEST_SECONDS: i64 = 2 * BACKDATE_SECONDS;
/// Below this, the minutes before the start are not taken off the end: they
/// would be more than a hundredth of the whole.
const SHORT_SECONDS: i64 = 8 * 3600;

/// In seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub not_before: i64,
    pub not_after: i64,
}

impl Terms {
    /// What was asked for, but not below ten minutes and not above `longest`.
    pub fn of(now_unix_ms: i64, asked_seconds: Option<i64>, longest_seconds: i64) -> Self {
        let now = now_unix_ms.div_euclid(1000);
        let asked = asked_seconds.unwrap_or(longest_seconds);
        let seconds = asked.max(SHORTEST_SECONDS).min(longest_seconds);
        let taken_off = if seconds < SHORT_SECONDS { 0 } else { BACKDATE_SECONDS };
        Terms {
            not_before: now - BACKDATE_SECONDS,
            not_after: now.saturating_add(seconds - taken_off),
        }
    }

    pub fn not_before(&self) -> String {
        time::format_seconds(self.not_before.saturating_mul(1000))
    }

    pub fn not_after(&self) -> String {
        time::format_seconds(self.not_after.saturating_mul(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_kept_within_limits() {
        const HOUR: i64 = 3600;
        fn check(asked: Option<i64>, longest: i64, expect: i64) {
            let terms = Terms::of(1_000_000_500, asked, longest);
            assert_eq!(terms.not_before, 1_000_000 - 300);
            assert_eq!(terms.not_after - 1_000_000, expect, "{asked:?} {longest}");
        }
        check(None, 24 * HOUR, 24 * HOUR - 300);
        check(Some(HOUR), 24 * HOUR, HOUR);
        check(Some(8 * HOUR), 24 * HOUR, 8 * HOUR - 300);
        check(Some(8 * HOUR - 1), 24 * HOUR, 8 * HOUR - 1);
        check(Some(1), 24 * HOUR, 600);
        check(Some(600), 24 * HOUR, 600);
        check(Some(25 * HOUR), 24 * HOUR, 24 * HOUR - 300);
        check(Some(HOUR), 600, 600);
        check(Some(i64::MIN), 600, 600);
    }

    #[test]
    fn times_are_written_as_kubernetes_writes_them() {
        let terms = Terms { not_before: 0, not_after: 1_767_225_600 };
        assert_eq!(terms.not_before(), "1970-01-01T00:00:00Z");
        assert_eq!(terms.not_after(), "2026-01-01T00:00:00Z");
    }
}
