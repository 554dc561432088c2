//! The two bands of a range: a lower one for those who ask for a certain number,
//! and an upper one, from which the others are served first.

use pintle_sdk::names::Random;

/// Single questions before all that is taken is asked for at once. Where 97 of 100 are
/// taken, a free one is found by then 9996 times of 10000.
pub const PROBES: usize = 256;

/// Numbers from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band {
    pub first: u128,
    pub count: u128,
}

impl Band {
    /// All numbers of the band, each once, from a random one on and in steps of a random
    /// size: neighbours would be taken together, and long runs of them searched in vain.
    pub fn shuffled(self, random: &mut Random) -> impl Iterator<Item = u128> {
        let mut draw = || u128::from(random.next_u64()) % self.count.max(1);
        let start = draw();
        let mut step = draw();
        // Steps that have a divisor in common with the count would miss some; one in two
        // draws has none, and 1 never has.
        for _ in 0..64 {
            if divisor(step, self.count) == 1 {
                break;
            }
            step = draw();
        }
        if divisor(step, self.count) != 1 {
            step = 1;
        }
        // Both factors are at most 2^64.
        (0..self.count).map(move |turn| self.first + (start + turn * step) % self.count)
    }
}

/// The greatest common one.
fn divisor(a: u128, b: u128) -> u128 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// How the size of a range becomes that of its lower band: a part of it, between two
/// bounds, or nothing in a range that is too small for two.
#[derive(Debug, Clone, Copy)]
pub struct Split {
    pub part: u128,
    pub least: u128,
    pub most: u128,
    /// Ranges of no more than this have one band.
    pub whole_up_to: u128,
}

/// Addresses: a sixteenth, at least 16 and at most 256 (KEP-3070).
pub const ADDRESSES: Split = Split { part: 16, least: 16, most: 256, whole_up_to: 16 };
/// Node ports: one in 32, at least 16 and at most 128 (KEP-3668).
pub const NODE_PORTS: Split = Split { part: 32, least: 16, most: 128, whole_up_to: 15 };

impl Split {
    /// The size of the lower band in a range of this size.
    pub fn offset(self, size: u128) -> u128 {
        if size <= self.whole_up_to { 0 } else { (size / self.part).clamp(self.least, self.most) }
    }
}

/// In the order in which they are searched: the upper band, then the lower.
pub fn bands(first: u128, count: u128, offset: u128) -> [Band; 2] {
    let lower = offset.min(count);
    [Band { first: first + lower, count: count - lower }, Band { first, count: lower }]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_lower_band_grows_with_the_range() {
        fn check(split: Split, size: u128, expect: u128) {
            assert_eq!(split.offset(size), expect, "{size}");
        }
        for (size, expect) in [
            (8, 0),
            (16, 0),
            (32, 16),
            (256, 16),
            (512, 32),
            (4096, 256),
            (65536, 256),
            (1 << 64, 256),
        ] {
            check(ADDRESSES, size, expect);
        }
        for (size, expect) in [(10, 0), (16, 16), (200, 16), (2768, 86), (10_000, 128)] {
            check(NODE_PORTS, size, expect);
        }
    }

    #[test]
    fn a_band_is_seen_in_full_from_anywhere() {
        let band = Band { first: 100, count: 7 };
        for count in [1, 2, 7, 60, 2682] {
            for seed in 0..20 {
                let band = Band { count, ..band };
                let seen: Vec<u128> = band.shuffled(&mut Random::new(seed)).collect();
                assert_eq!(seen.len() as u128, count);
                let distinct: BTreeSet<u128> = seen.into_iter().collect();
                assert_eq!(distinct, (100..100 + count).collect());
            }
        }
        assert_eq!(Band { first: 1, count: 0 }.shuffled(&mut Random::new(1)).count(), 0);
        let starts: BTreeSet<u128> =
            (0..40).filter_map(|seed| band.shuffled(&mut Random::new(seed)).next()).collect();
        assert!(starts.len() > 3, "{starts:?}");
    }

    #[test]
    fn bands_share_the_range() {
        assert_eq!(
            bands(1, 254, 16),
            [Band { first: 17, count: 238 }, Band { first: 1, count: 16 }]
        );
        assert_eq!(bands(1, 14, 0), [Band { first: 1, count: 14 }, Band { first: 1, count: 0 }]);
    }
}
