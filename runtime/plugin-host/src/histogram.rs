//! How long calls take, in the buckets that Prometheus is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in nanoseconds, and as Prometheus wants them, in seconds. From
/// the cheapest call to the longest deadline of a role.
const BOUNDS: [(u64, &str); 16] = [
    (10_000, "0.00001"),
    (25_000, "0.000025"),
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
];

#[derive(Default)]
pub(crate) struct Histogram {
    /// By bound; the last is for what took longer than all of them.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// A copy at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Buckets {
    /// Bound in seconds, and how many took no longer.
    pub upto: Vec<(&'static str, u64)>,
    pub count: u64,
    pub sum_seconds: f64,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS.partition_point(|(bound, _)| *bound < nanoseconds);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub fn read(&self) -> Buckets {
        let mut count = 0;
        let mut add = |counter: &AtomicU64| {
            count += counter.load(Ordering::Relaxed);
            count
        };
        let upto: Vec<_> =
            BOUNDS.iter().zip(&self.counts).map(|((_, le), counter)| (*le, add(counter))).collect();
        add(&self.counts[BOUNDS.len()]);
        let sum_seconds = self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9;
        Buckets { upto, count, sum_seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend_and_their_texts_say_the_same() {
        for ((bound, text), (next, _)) in BOUNDS.iter().zip(&BOUNDS[1..]) {
            assert!(bound < next);
            assert_eq!((text.parse::<f64>().unwrap() * 1e9).round() as u64, *bound);
        }
    }

    #[test]
    fn a_bucket_counts_what_took_no_longer_than_its_bound() {
        let histogram = Histogram::default();
        for microseconds in [1, 10, 11, 999_999, 1_000_000, 1_000_001, 90_000_000] {
            histogram.observe(Duration::from_micros(microseconds));
        }
        let read = histogram.read();
        let upto = |le: &str| read.upto.iter().find(|(bound, _)| *bound == le).unwrap().1;
        assert_eq!((upto("0.00001"), upto("0.000025"), upto("0.5"), upto("1")), (2, 3, 3, 5));
        assert_eq!(read.count, 7);
        assert!((read.sum_seconds - 93.000_022).abs() < 1e-6, "{}", read.sum_seconds);
    }
}
