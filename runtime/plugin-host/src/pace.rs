//! How much goes into one call, found out from how much time of the processor
//! calls take. By the clock they take longer on a machine that is busy, which
//! smaller calls would not change.

use std::time::Duration;

/// A call shall take no longer: whatever waits for the thread waits for it, and
/// the next items may cost several times as much before the deadline is near.
const AIM: Duration = Duration::from_millis(4);

pub(crate) struct Pace {
    now: usize,
    most: usize,
}

impl Pace {
    pub fn new(first: usize, most: usize) -> Self {
        Self { now: first, most }
    }

    /// What to put into the next call.
    pub fn size(&self) -> usize {
        self.now
    }

    /// A call with so many items used so much.
    pub fn took(&mut self, items: usize, used: Duration) {
        if used > AIM {
            let share = AIM.as_nanos() * items as u128 / used.as_nanos().max(1);
            self.now = usize::try_from(share).unwrap_or(self.most).clamp(1, self.now.max(1));
        } else if items >= self.now && used < AIM / 2 {
            self.now = (self.now * 2).min(self.most);
        }
    }

    /// A call with so many items gave no answer.
    pub fn failed(&mut self, items: usize) {
        self.now = (items / 8).clamp(1, self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever an item costs, calls end up near the aim, or at one item.
        #[test]
        fn calls_settle_at_the_aim(item_us in 1u64..100_000) {
            let mut pace = Pace::new(8, 128);
            let cost = |items: usize| Duration::from_micros(item_us * items as u64);
            for _ in 0..20 {
                pace.took(pace.size(), cost(pace.size()));
            }
            let size = pace.size();
            prop_assert!(size == 1 || cost(size) <= AIM, "{} items", size);
            prop_assert!(size == 128 || cost(size) >= AIM / 4, "{} items", size);
        }
    }

    #[test]
    fn a_failure_makes_calls_small_and_success_large_again() {
        let mut pace = Pace::new(8, 128);
        pace.failed(8);
        assert_eq!(pace.size(), 1);
        for _ in 0..10 {
            pace.took(pace.size(), Duration::from_micros(10));
        }
        assert_eq!(pace.size(), 128);
    }
}
