//! The seed that every call gets in place of randomness.

use std::sync::atomic::{AtomicU64, Ordering};

/// A different number for every call of one plugin; derived from a start value,
/// so that a recorded run can be repeated.
pub(crate) struct Seeds(AtomicU64);

impl Seeds {
    pub fn starting_at(start: u64) -> Self {
        Self(AtomicU64::new(start))
    }

    pub fn next(&self) -> u64 {
        mix(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// SplitMix64's finalizer: neighbouring inputs give unrelated outputs.
pub(crate) fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_and_repeat_from_the_same_start() {
        let take = |start| -> Vec<u64> {
            let seeds = Seeds::starting_at(start);
            (0..100).map(|_| seeds.next()).collect()
        };
        let first = take(1);
        assert_eq!(first, take(1));
        let mut unique = first.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), first.len());
    }
}
